"""Waiting for a condition, with an end."""

import time
from collections.abc import Callable


def until(true: Callable[[], object], what: str, seconds: float = 120) -> None:
    """Ask again and again until it is true; a busy machine may take long, but not for ever."""
    begun = time.monotonic()
    while not true():
        assert time.monotonic() < begun + seconds, f"waited {seconds} s for {what}"
        time.sleep(0.01)
