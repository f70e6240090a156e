#!/usr/bin/env bash
# litdata: a JPEG that was opened from memory is compressed once more; one opened from a path is kept.
#
# A good guess: a photograph given as an opened PIL image is stored with the pixels that it has. An image that
# Image.open read from a path is stored byte for byte. The same bytes read from a zip or tar member (BytesIO)
# are decoded and saved again at Pillow's default quality, 75, and nothing is said. So features computed from
# the data set differ from those of the files.
#
# Seen with: litdata 0.2.76, torch 2.14.1, torchvision 0.29.1, Pillow 13.0.0, Python 3.11 (2026-11-28):
#   largest difference of a pixel: from a path 0, from memory 7
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.14.1 torchvision==0.29.1 litdata==0.2.76 pillow==13.0.0 numpy==2.4.6
cat > "$folder/store.py" <<'PYTHON'
import io
import sys
from pathlib import Path

import numpy as np
from litdata import StreamingDataset, optimize
from PIL import Image

folder = Path(sys.argv[1])
path = folder / "a.jpg"


def sample(from_memory):
    return Image.open(io.BytesIO(path.read_bytes()) if from_memory else path)


if __name__ == "__main__":
    y, x = np.mgrid[:64, :64]
    picture = np.stack([x * 4, y * 4, (x + y) * 2], -1).astype(np.uint8)
    Image.fromarray(picture).save(path, quality=60, subsampling=0)
    optimize(sample, [False, True], str(folder / "out"), chunk_size=10, num_workers=1, verbose=False)
    want = np.asarray(Image.open(path)).astype(int)
    stored = [np.moveaxis(one.numpy(), 0, -1) for one in StreamingDataset(str(folder / "out"))]
    found = [int(abs(one - want).max()) for one in stored]
    print("largest difference of a pixel: from a path {}, from memory {}".format(*found))
    assert found[0] == 0 and found[1] > 2, "the behaviour has changed"
PYTHON
"$folder/venv/bin/python" "$folder/store.py" "$folder" 2>/dev/null
