#!/usr/bin/env bash
# Pillow: from version 13 on, Image.resize gives other pixels for tall pictures than before.
#
# A good guess: a picture that is squashed to a network's input has the same pixels with every recent Pillow.
# resize works in two passes, and rounds to 8 bits after each. Up to version 12 the first pass was always
# across. Version 13 begins with the pass down where a picture is much taller than the result. So the features of
# portrait photographs change with the Pillow that is installed, those of landscape ones do not. Two calls, first
# to (width, old height) and then to (width, height), give the same pixels with both.
#
# Seen with: Pillow 12.3.0 and 13.0.0, numpy 2.4.6, Python 3.11 (2026-11-28), 640 x 240 noise to 224 x 224:
#   values that differ: tall 0.266, wide 0.000, tall in two calls 0.000
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
cat > "$folder/squash.py" <<'PYTHON'
import sys

import numpy as np
from PIL import Image

noise = np.random.default_rng(0).integers(0, 256, (640, 240, 3), dtype=np.uint8)
tall, wide = Image.fromarray(noise), Image.fromarray(noise.transpose(1, 0, 2).copy())
size, bicubic = (224, 224), Image.Resampling.BICUBIC
squashed = [tall.resize(size, bicubic), wide.resize(size, bicubic)]
squashed.append(tall.resize((224, 640), bicubic).resize(size, bicubic))
np.save(sys.argv[1], np.stack([np.asarray(one) for one in squashed]))
PYTHON
for version in 12.3.0 13.0.0; do
  "$folder/venv/bin/pip" install --quiet "pillow==$version" numpy==2.4.6
  "$folder/venv/bin/python" "$folder/squash.py" "$folder/$version.npy"
done
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import sys

import numpy as np

old, new = (np.load(f"{sys.argv[1]}/{version}.npy") for version in ("12.3.0", "13.0.0"))
tall, wide, twice = (old != new).mean((1, 2, 3)).round(3)
print(f"values that differ: tall {tall:.3f}, wide {wide:.3f}, tall in two calls {twice:.3f}")
assert tall > 0.1 and wide == 0 and twice == 0, "the behaviour has changed"
PYTHON
