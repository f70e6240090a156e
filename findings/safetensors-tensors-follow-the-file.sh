#!/usr/bin/env bash
# safetensors: tensors that load_file and safe_open return for torch stay tied to the file.
#
# A good guess: load_file reads the weights, and afterwards the file may change. With torch the tensors are
# views of the mapped file instead. If another program rewrites the file in place (same size, as a sync tool
# or a copy over it does), the loaded weights change, without a word. The numpy functions and
# safetensors.torch.load, which takes bytes, copy. So a program that keeps loaded tensors must clone them,
# or see that files are replaced by renaming and never rewritten.
#
# Seen with: safetensors 0.8.0, torch 2.13.0, Linux x86_64, Python 3.11 (2026-11-28):
#   safe_open: [2.0, 2.0]  load_file: [2.0, 2.0]  load(bytes): [1.0, 1.0]  numpy load_file: [1.0, 1.0]
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet safetensors==0.8.0 torch==2.13.0 numpy==2.4.6
"$folder/venv/bin/python" - "$folder/weights.safetensors" <<'PYTHON'
import sys

import torch
from safetensors import safe_open
from safetensors.numpy import load_file as load_numpy
from safetensors.torch import load, load_file, save

path = sys.argv[1]
ones, twos = save({"w": torch.ones(2)}), save({"w": torch.full((2,), 2.0)})
assert len(ones) == len(twos)
with open(path, "wb") as file:
    file.write(ones)
with safe_open(path, "pt") as file:
    opened = file.get_tensor("w")
loaded, numpy = load_file(path)["w"], load_numpy(path)["w"]
with open(path, "rb") as file:
    from_bytes = load(file.read())["w"]
with open(path, "r+b") as file:  # another program writes newer weights into the same file
    file.write(twos)
seen = [x.tolist() for x in (opened, loaded, from_bytes, numpy)]
print("safe_open: {}  load_file: {}  load(bytes): {}  numpy load_file: {}".format(*seen))
assert seen == [[2.0, 2.0], [2.0, 2.0], [1.0, 1.0], [1.0, 1.0]], "the behaviour has changed"
PYTHON
