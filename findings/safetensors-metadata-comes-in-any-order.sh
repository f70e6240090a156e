#!/usr/bin/env bash
# safetensors: the same tensors with the same metadata give other bytes each time, even within one process.
#
# A good guess: a format without pickle, which sorts its tensors by type and name, writes the same file for the same
# content, so two models can be compared by a checksum. The header's `__metadata__` comes from a hash map whose
# order is random. With one entry the files are equal; with two or more they are not.
#
# Seen with: safetensors 0.8.0, torch 2.14.1, Python 3.11 (2026-11-28):
#   different files of 50: without metadata 1, with one entry 1, with three 6
# (The last number is 6 at most, for three entries have six orders.)
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.14.1 numpy==2.4.6 safetensors==0.8.0
"$folder/venv/bin/python" - <<'PYTHON'
import torch
from safetensors.torch import save

tensors = {"weight": torch.arange(6.0).view(2, 3), "bias": torch.zeros(3)}
about = {"epoch": "1", "seed": "0", "license": "MIT"}
counts = [
    len({save(tensors, metadata) for _ in range(50)})
    for metadata in (None, {"epoch": "1"}, about)
]
print("different files of 50: without metadata {}, with one entry {}, with three {}".format(*counts))
assert counts[:2] == [1, 1] and counts[2] > 1, "the behaviour has changed"
PYTHON
