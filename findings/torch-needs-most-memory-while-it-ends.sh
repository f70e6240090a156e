#!/usr/bin/env bash
# torch, built for CUDA: a program that only imports it needs most memory while it ends, not while it works.
#
# A good guess: the peak that /usr/bin/time or a job's accounting reports for a small CPU program is what it
# needed for its work. With the CUDA build on a machine without a graphics card, a quarter more is added after
# the last line of Python, while the libraries are unloaded: 509 MiB at the last line, 635 MiB in the end. The
# program's own reading of its peak does not see it. A process that ends by os._exit, as multiprocessing's
# workers do, never needs it. So a comparison of small programs by their peak compares how they end.
#
# Seen with: torch 2.14.1 (CUDA 13.0 build), Linux x86_64, Python 3.11, no graphics card (2026-11-28):
#   at its last line 509 MiB, ended by os._exit 509 MiB, ended as usual 635 MiB
# (asserted: as usual at least 80 MiB more than by os._exit, and the last line within 20 MiB of os._exit)
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.14.1 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import os
import subprocess
import sys

PEAK = "import torch, resource; print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, flush=True)"


def run(code):
    """What the program prints, and its peak as its parent sees it, in MiB."""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    said = process.stdout.read()
    _, status, used = os.wait4(process.pid, 0)
    assert status == 0
    return int(said), used.ru_maxrss // 1024


run(PEAK)  # the files are read
line, usual = run(PEAK)
_, at_once = run(PEAK + "; import os; os._exit(0)")
print(f"at its last line {line} MiB, ended by os._exit {at_once} MiB, ended as usual {usual} MiB")
assert usual - at_once >= 80 and abs(at_once - line) <= 20, "the behaviour has changed"
PYTHON
