#!/usr/bin/env bash
# datasets (Hugging Face): a picture that was changed in place is stored as it was before.
#
# A good guess: the picture that a function for Dataset.map gives back, or that Dataset.from_dict is given, is the one
# that is stored. But a Pillow image that was opened from a file still knows the file's name, and then only the name
# is stored: the next reader opens the file anew. What thumbnail or paste did to it is lost, and nothing is said.
# resize makes an image without a name, which is stored. Where the data set holds the bytes (as from Parquet) there is
# no name either, and all changes are kept. So a region that was blanked out to see whether a captioner looks at it,
# or a face that was hidden, is back as soon as the pictures lie in a folder.
#
# Seen with: datasets 5.2.0, Pillow 13.0.0, numpy 2.4.6, Python 3.11 (2026-11-29), a grey picture of 640 x 480, made
# 64 wide, or with its left half black:
#   files: thumbnail (640, 480), resize (64, 48), mean with the half black 200
#   bytes: thumbnail (64, 48), resize (64, 48), mean with the half black 100
#   from_dict: given (64, 48), stored (640, 480)
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet datasets==5.2.0 pillow==13.0.0 numpy==2.4.6
export HF_HOME="$folder/cache" HF_HUB_OFFLINE=1
"$folder/venv/bin/python" - "$folder/a.jpg" <<'PYTHON'
import sys
from pathlib import Path

import datasets
import numpy as np
from PIL import Image

datasets.disable_progress_bars()
path = Path(sys.argv[1])
Image.new("RGB", (640, 480), (200, 200, 200)).save(path)
pictures = datasets.Features({"image": datasets.Image()})


def thumbnail(row):
    row["image"].thumbnail((64, 64))
    return row


def resize(row):
    return {"image": row["image"].resize((64, 48))}


def blacken(row):
    row["image"].paste((0, 0, 0), (0, 0, 320, 480))
    return row


seen = {}
for kind, source in (("files", str(path)), ("bytes", path.read_bytes())):
    data = datasets.Dataset.from_dict({"image": [source]}, features=pictures)
    small, smaller, half = (data.map(change)[0]["image"] for change in (thumbnail, resize, blacken))
    seen[kind] = (small.size, smaller.size, round(float(np.asarray(half).mean())))
    print("{}: thumbnail {}, resize {}, mean with the half black {}".format(kind, *seen[kind]))
given = Image.open(path)
given.thumbnail((64, 64))
stored = datasets.Dataset.from_dict({"image": [given]})[0]["image"]
print(f"from_dict: given {given.size}, stored {stored.size}")
assert seen["files"] == ((640, 480), (64, 48), 200), "the behaviour has changed"
assert seen["bytes"] == ((64, 48), (64, 48), 100), "the example is wrong"
assert (given.size, stored.size) == ((64, 48), (640, 480)), "the behaviour has changed"
PYTHON
