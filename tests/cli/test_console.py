"""How a command ends, whatever happens: real processes, their exit codes, and what they print."""

import os
import signal
import subprocess
import sys
import time

import pytest

from labkit.console import sentence

RUN = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # which a script's background jobs ignore
{before}
from labkit.cli.main import main
sys.argv = ["labkit", *sys.argv[1:]]
main()
"""
QUICK = "split"  # a command that does not import torch
BROKEN = "import labkit.store.export; labkit.store.export.shard_sizes = lambda *_: {}['x']"
BUFFERED = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}


def labkit(*words, before="", **how):
    command = [sys.executable, "-c", RUN.format(before=before), *map(str, words)]
    how = {"capture_output": True, "text": True, "timeout": 300, "env": BUFFERED} | how
    return subprocess.run(command, **how)


def test_what_nobody_expected_is_one_line_and_a_variable_shows_more():
    done = labkit(QUICK, before=BROKEN)
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("labkit: unexpected KeyError: 'x' (LABKIT_DEBUG=1 shows")
    more = labkit(QUICK, before=BROKEN, env=BUFFERED | {"LABKIT_DEBUG": "1"})
    assert more.returncode == 1
    assert "Traceback" in more.stderr and "in <lambda>" in more.stderr
    assert more.stderr.endswith(done.stderr)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ValueError("a sentence"), "a sentence"),
        (ValueError("in two\n  lines of  text\n"), "in two lines of  text"),
        (FileNotFoundError(2, "No such file or directory", "x.json"),
         "x.json: No such file or directory"),
        (OSError(28, "train.npy not written: No space left on device"),
         "train.npy not written: No space left on device"),
        (FileExistsError("x.json exists: name another file"), "x.json exists: name another file"),
        (MemoryError(), "unexpected MemoryError: "),
        (ValueError(), "unexpected ValueError: "),
        (TypeError("no\nway"), "unexpected TypeError: no way (LABKIT_DEBUG=1"),
    ],
    ids=str,
)  # fmt: skip
def test_an_error_is_one_line(error, said):
    assert sentence(error).startswith(said)
    assert "\n" not in sentence(error)
    assert said.startswith("unexpected") or sentence(error) == said


def test_an_interrupted_command_says_so_in_one_line(tmp_path):
    """As Ctrl-C does, while threads, readers and METEOR's Java work."""
    program = subprocess.Popen(
        [sys.executable, "-u", "-c", RUN.format(before=""), "demo", "--count", "100"],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    with program:
        try:
            while not program.stdout.readline().startswith("3/4"):
                assert program.poll() is None
            time.sleep(1)  # in the middle of anything
            os.killpg(program.pid, signal.SIGINT)
            _, said = program.communicate(timeout=60)
        finally:
            program.kill()
    assert program.returncode == 130
    assert "Traceback" not in said
    assert said.splitlines()[-1] == "labkit: interrupted"


def test_a_reader_that_goes_away_is_no_news():
    """As in ``labkit split | head -n 0``."""
    command = [sys.executable, "-c", RUN.format(before=""), QUICK]
    program = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=BUFFERED, text=True
    )
    program.stdout.close()
    with program:
        said = program.stderr.read()
        assert program.wait(300) == 1
    assert said == ""


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_under_standard_output():
    with open("/dev/full", "w") as full:
        done = labkit(QUICK, stdout=full, stderr=subprocess.PIPE, capture_output=False)
    assert done.returncode == 1
    assert done.stderr == "labkit: No space left on device\n"


@pytest.mark.parametrize(
    ("console", "shown"),
    [
        ({"PYTHONIOENCODING": "ascii"}, rb"\u65e5 \xfc \udcff"),
        ({"PYTHONIOENCODING": "cp1252:strict"}, b"\\u65e5 \xfc \\udcff"),
        ({"PYTHONIOENCODING": "utf-8"}, "日 ü \\udcff".encode()),
        ({"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, rb"\u65e5 \xfc \udcff"),
    ],
    ids=str,
)
def test_a_console_of_few_letters_shows_the_others_by_number(console, shown):
    said = ascii("日 ü \udcff")  # the last is a byte of a file's name that is no letter
    before = "import labkit.store.export as module; "
    before += f"module.shard_sizes = lambda *_: print({said}) or []"
    done = labkit(QUICK, before=before, env=BUFFERED | console, text=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.splitlines()[0] == shown


def test_exit_handlers_and_threads_end_before_the_process():
    """Libraries are not unloaded, which Python's own end of a process would do."""
    before = """
import atexit, threading
from labkit import console
run = console.run
def run_with_both(app):
    atexit.register(print, "handler", end="")
    threading.Thread(target=lambda: (threading.main_thread().join(), print("thread"))).start()
    return run(app)
console.run = run_with_both
"""
    done = labkit(QUICK, "1", before=before)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["1 files: 1", "thread", "handler"]
