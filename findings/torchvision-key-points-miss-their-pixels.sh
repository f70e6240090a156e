#!/usr/bin/env bash
# torchvision: a key point that is flipped twice and one that is rotated by 180 degrees lie a pixel apart.
#
# A good guess: KeyPoints (v2) follow the image through any transform, if one only knows whether (0, 0) is the
# centre or the corner of the first pixel. But the flips take it for the centre (x becomes W - 1 - x), while rotate,
# perspective and resize take it for the corner. Whichever is meant, one group is wrong: by a pixel at half a turn, and
# after a flip and an enlargement by 8, by 7 pixels. Boxes, where the corner is meant throughout, are right. So where
# people looked or pointed (gaze, the mouse traces of Localized Narratives) drifts against the image, the more the
# smaller the image is when it is flipped, and flipping first or last gives other points.
#
# Seen with: torchvision 0.29.1, torch 2.14.1, Python 3.11 (2026-11-29), a white pixel at column 2, row 1 of an
# image of 8 x 4, a point (2, 1) or (2.5, 1.5) on it, and a box around it:
#   both flips: pixel (5, 2), points (5.0, 2.0) and (4.5, 1.5), box from (5.0, 2.0)
#   half a turn: pixel (5, 2), points (6.0, 3.0) and (5.5, 2.5), box from (5.0, 2.0)
#   x of the point: flip, enlarge 40.0, enlarge, flip 47.0
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.14.1 torchvision==0.29.1 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import torch
from torchvision import tv_tensors
from torchvision.transforms.v2 import functional as F

SIZE = (4, 8)


def point(x, y):
    return tv_tensors.KeyPoints(torch.tensor([[x, y]]), canvas_size=SIZE)


image = torch.zeros(1, *SIZE)
image[0, 1, 2] = 1
box = tv_tensors.BoundingBoxes(torch.tensor([[2.0, 1.0, 3.0, 2.0]]), format="XYXY", canvas_size=SIZE)
things = (tv_tensors.Image(image), point(2.0, 1.0), point(2.5, 1.5), box)


def turned(transform):
    image, *others = (transform(thing) for thing in things)
    _, y, x = image.nonzero()[0].tolist()
    return ((x, y), *(tuple(round(n, 3) for n in other[0, :2].tolist()) for other in others))


seen = {
    "both flips": turned(lambda thing: F.vertical_flip(F.horizontal_flip(thing))),
    "half a turn": turned(lambda thing: F.rotate(thing, 180.0)),
}
for name, where in seen.items():
    print("{}: pixel {}, points {} and {}, box from {}".format(name, *where))
first = F.resize(F.horizontal_flip(point(2.0, 1.0)), [32, 64])[0, 0].item()
last = F.horizontal_flip(F.resize(point(2.0, 1.0), [32, 64]))[0, 0].item()
print(f"x of the point: flip, enlarge {first}, enlarge, flip {last}")
assert seen["both flips"] == ((5, 2), (5, 2), (4.5, 1.5), (5, 2)), "the behaviour has changed"
assert seen["half a turn"] == ((5, 2), (6, 3), (5.5, 2.5), (5, 2)), "the behaviour has changed"
assert (first, last) == (40, 47), "the behaviour has changed"
PYTHON
