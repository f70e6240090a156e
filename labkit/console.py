"""What a user of the command line is told when something went wrong: one line, an exit code.

With ``LABKIT_DEBUG=1`` in the environment Python's traceback comes before that line.
"""

import os
import signal
import sys
import traceback
from collections.abc import Callable
from typing import Any

EXPECTED = (OSError, ValueError, ModuleNotFoundError, MemoryError)  # their messages say it all
INTERRUPTED = 130  # the exit code of a program that Ctrl-C ended, by an old custom of shells


def run(verb: Callable[[], Any]) -> int:
    """Run a command to its end.

    What a console cannot show is shown by its number. So neither a caption nor a file's name can
    stop the work.

    Args:
        verb: the command; it may end by `SystemExit`, as those of typer do.

    Returns:
        The exit code: 0 all went well, 1 one line on standard error says what is wrong, 2 the
        command was not understood, 130 it was interrupted.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
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
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # whoever asks again need not wait
        complain("interrupted")
    return _flushed(code)


def complain(what: Exception | str) -> None:
    """Say on standard error what is wrong, in one line."""
    if isinstance(what, Exception) and os.environ.get("LABKIT_DEBUG", "0") not in ("", "0"):
        traceback.print_exception(what)
    print(f"labkit: {sentence(what)}", file=sys.stderr, flush=True)


def sentence(what: Exception | str) -> str:
    """Return an error as one line; of one that nobody expected also its kind, and how to see more."""
    text = str(what)
    if isinstance(what, OSError) and what.strerror:  # not its number
        text = f"{what.filename}: {what.strerror}" if what.filename else what.strerror
    text = " ".join(filter(None, map(str.strip, text.splitlines())))
    if isinstance(what, str) or (isinstance(what, EXPECTED) and text):
        return text
    return f"unexpected {type(what).__name__}: {text} (LABKIT_DEBUG=1 shows where it came from)"


def _flushed(code: int) -> int:
    """Write out what was printed; a reader that has gone, as in ``labkit ... | head``, is no news.

    Python would do it when it ends, and fail with a traceback.
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
