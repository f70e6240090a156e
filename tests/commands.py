"""Commands as a user types them: in a process of their own, or quickly in this one."""

import contextlib
import io
import os
import subprocess
import sys
import warnings

import pytest

from labkit import console
from labkit.cli.main import app

TRAINING = "labkit.training.run, torch._dynamo"  # the latter is imported by optimizers


def new_process(*words, cwd=None) -> subprocess.CompletedProcess:
    """Run ``labkit`` in a new process. Slow: it imports torch, and scores start METEOR's Java."""
    command = [sys.executable, "-m", "labkit", *map(str, words)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300)


def labkit(*words, cwd=None) -> subprocess.CompletedProcess:
    """Run ``labkit`` in this process, which has torch and METEOR's Java from the tests before."""
    command, out, err = ["labkit", *map(str, words)], io.StringIO(), io.StringIO()

    def show(message, category, *_, **__):
        print(f"{category.__name__}: {message}", file=sys.stderr)

    with (
        pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err), warnings.catch_warnings(),
    ):  # fmt: skip
        warnings.simplefilter("ignore", DeprecationWarning)  # as outside of tests
        warnings.showwarning = show
        patch.setattr(sys, "argv", command)
        patch.chdir(cwd or ".")
        code = console.run(app)
    return subprocess.CompletedProcess(command, code, out.getvalue(), err.getvalue())


def assert_one_sentence(done: subprocess.CompletedProcess, *words: str) -> None:
    """The command failed with exit code 1 and one line that holds these words."""
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    lines = done.stderr.strip().splitlines()
    assert lines[-1].startswith("labkit: "), done.stderr
    assert all(word in lines[-1] for word in words), lines[-1]


def torchrun(
    count: int, script, *words, first: str | None, restarts: int = 0
) -> subprocess.CompletedProcess:
    """Run a script in several real processes, by torchrun; give what they print.

    Args:
        count: the number of processes.
        script: the file, with its full path.
        words: what the script finds in `sys.argv`.
        first: modules that torchrun imports and its processes inherit; without, torchrun runs as a
            user types it, and each process imports torch, which is slow.
        restarts: how often all processes are started again if one has failed.
    """
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    if restarts:  # else torch 2.14 hands on the addresses of the processes that ended
        environment["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"
    program, options = ["-m", "torch.distributed.run"], []
    if first:
        program = ["-c", f"import {first}; from torch.distributed.run import main; main()"]
        options = ["--start-method=fork", "--run-path"]
    options = ["--standalone", f"--nproc-per-node={count}", f"--max-restarts={restarts}", *options]
    return subprocess.run(
        [sys.executable, *program, *options, *map(str, [script, *words])],
        capture_output=True, text=True, timeout=600, env=environment,
    )  # fmt: skip
