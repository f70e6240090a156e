"""What a command prints, and how it reports errors: one line on standard error, an exit code.

Captions and file names come from files, and a terminal obeys control characters. So all that is
printed passes `printable`.

With ``LABKIT_DEBUG=1`` in the environment, Python's traceback precedes that line.
"""

import atexit
import os
import re
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

EXPECTED = (OSError, ValueError, ModuleNotFoundError, MemoryError)  # their messages suffice
# Control characters, separators of lines, and what turns the direction of writing; not those that
# join or separate letters, nor the marks that a right-to-left text needs.
_COMMANDS = re.compile("[\0-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
INTERRUPTED = 130  # the exit code of a program ended by Ctrl-C, as in shells
TERMINATED = 143  # and by SIGTERM
PEER_LOST = re.compile("closed by peer|reset by peer|remote process has exited", re.IGNORECASE)


def run(verb: Callable[[], Any]) -> int:
    """Run a command to its end.

    Characters that the console cannot display are escaped, so that no caption or file name can stop
    the work.

    Args:
        verb: The command; it may raise `SystemExit`, as typer's commands do.

    Returns:
        The exit code: 0 success; 1 an error, reported in one line on standard error; 2 the command
        was not understood; 130 it was interrupted; 143 SIGTERM asked it to end.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        with on_signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED)):
            verb()
        code = 0
    except SystemExit as end:  # typer turns an interrupt into this, too
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except KeyboardInterrupt:
        code = INTERRUPTED
    except Exception as error:
        complain(error)
        code = 1
    if code == INTERRUPTED:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # a second Ctrl-C ends it at once
        complain("interrupted")
    if code == TERMINATED:
        complain("terminated")
    return _flushed(code)


@contextmanager
def on_signal(number: int, handler: Callable[..., Any]) -> Iterator[None]:
    """Handle a signal inside the block; Python can do so in its main thread alone."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(number, handler)
    try:
        yield
    finally:
        signal.signal(number, before or signal.SIG_DFL)


def leave_at_once() -> Callable[[int], None]:
    """Let this process end as multiprocessing ends its own: libraries are not unloaded first.

    PyTorch's need a quarter of a second and 126 MiB for that, if built for CUDA. Called before all
    else: exit handlers run in reverse order, so this one comes after those of everything imported
    later, and after all threads have ended.

    Returns:
        A function that notes the exit code.
    """
    codes = [1]

    def end() -> None:
        for stream in filter(None, (sys.stdout, sys.stderr)):
            with suppress(OSError, ValueError):
                stream.flush()
        os._exit(codes[-1])

    atexit.register(end)
    return codes.append


def printable(text: str, keep: str = "\t\n") -> str:
    r"""Write what a terminal would obey as escapes: no file may move the cursor or hide text.

    Args:
        text: What is to be printed.
        keep: Control characters that stay.

    Example:
        >>> printable("a dog\x1b[2J")
        'a dog\\x1b[2J'
    """
    return _COMMANDS.sub(lambda one: one[0] if one[0] in keep else ascii(one[0])[1:-1], text)


def say(what: object, error: bool = False, flush: bool = False) -> None:
    """Print a text that may come from a file, on standard output or on standard error."""
    print(printable(str(what)), file=sys.stderr if error else sys.stdout, flush=flush)


def complain(what: Exception | str) -> None:
    """Report an error or a warning on standard error, in one line."""
    if isinstance(what, Exception) and os.environ.get("LABKIT_DEBUG", "0") not in ("", "0"):
        say("".join(traceback.format_exception(what)).rstrip(), error=True)
    say(f"labkit: {sentence(what)}", error=True, flush=True)


def sentence(what: Exception | str) -> str:
    """Format an error as one line; an unexpected one with its type, and how to see more."""
    text = str(what)
    if isinstance(what, OSError) and what.strerror:  # not its number
        text = f"{what.filename}: {what.strerror}" if what.filename else what.strerror
    text = " ".join(filter(None, map(str.strip, text.splitlines())))
    if isinstance(what, RuntimeError) and PEER_LOST.search(text):
        return "another process of torchrun's has ended: its own message says why"
    if isinstance(what, str) or (isinstance(what, EXPECTED) and text):
        return text
    return f"unexpected {type(what).__name__}: {text} (LABKIT_DEBUG=1 shows where it came from)"


def _flushed(code: int) -> int:
    """Flush standard output, silently if its reader is gone, as in ``labkit ... | head``.

    Python would do it on exit, and fail with a traceback.
    """
    try:
        if sys.stdout:
            sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            complain(error)
        return code or 1
    return code
