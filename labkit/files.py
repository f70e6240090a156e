"""Files that are whole or absent, and memory that is kept."""

import ctypes
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any


@contextmanager
def whole(path: str | Path) -> Iterator[Path]:
    """Write a file beside ``path`` and rename it when all of it is on the disk.

    Whoever reads ``path`` sees the old file or the new one, never a part, also after a kill or a
    loss of power. If the block raises, the old file stays and the part is removed.

    Yields:
        The path to write to. It ends like ``path``, since some writers go by the ending.
    """
    path = Path(path)
    part = path.with_name(f".part-{os.getpid()}-{path.name}")
    try:
        yield part
        _to_disk(part)
        os.replace(part, path)
        _to_disk(path.parent)  # the folder's entry
    finally:
        part.unlink(missing_ok=True)


def _to_disk(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_json(path: str | Path, value: Any) -> None:
    """Write ``value`` as JSON, whole or not at all."""
    with whole(path) as part:
        part.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read_json(path: str | Path) -> Any:
    """Read a JSON file.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is not JSON.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is damaged, it is not JSON: {error}") from error


def sha256(path: Path) -> str:
    """Take the SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fingerprint(content: Any) -> str:
    """Take the SHA-256 of anything JSON-able."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def keep_freed_memory() -> None:
    """Ask the C library to keep freed memory for the next tensor.

    Otherwise each tensor of some megabytes is mapped anew from the system, which first fills it
    with zeros: on a CPU that takes several times longer than the arithmetic on it. It halves the
    time of a training step. Only glibc knows the call; elsewhere nothing happens.
    """
    with suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(-3, 32 << 20)  # M_MMAP_THRESHOLD: blocks up to 32 MiB come from the heap,
        libc.mallopt(-1, (1 << 31) - 1)  # M_TRIM_THRESHOLD: and the heap is not given back
