#!/usr/bin/env bash
# torchvision: its class for Flickr8k finds nothing in Flickr8k's own caption file, and does not say so.
#
# A good guess: torchvision.datasets.Flickr8k(root, ann_file) reads Flickr8k.token.txt, the file that the data
# set comes with, as Flickr30k(root, ann_file) reads the file of the same form of Flickr30k. But it expects an
# HTML page that the authors' site once had. Of the token file it makes a data set of length 0, without an
# error or a warning, so a training loop over it ends at once. Flickr30k reads the Flickr8k file correctly.
#
# Seen with: torchvision 0.29.1, torch 2.14.1, Python 3.11 (2026-11-28):
#   Flickr8k: 0 images  Flickr30k: 2 images
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.14.1 torchvision==0.29.1
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import sys
from pathlib import Path

from torchvision.datasets import Flickr8k, Flickr30k

root = Path(sys.argv[1])
lines = [
    "1000000001_0a1b2c3d4e.jpg#0\tA dog runs on the grass .",
    "1000000001_0a1b2c3d4e.jpg#1\tA brown dog is outside .",
    "1000000002_5f6a7b8c9d.jpg#0\tTwo children sit on a wall .",
]
file = root / "Flickr8k.token.txt"
file.write_text("\n".join(lines) + "\n")
found = [len(Flickr8k(str(root), str(file))), len(Flickr30k(str(root), str(file)))]
print("Flickr8k: {} images  Flickr30k: {} images".format(*found))
assert found == [0, 2], "the behaviour has changed"
PYTHON
