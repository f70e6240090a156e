#!/usr/bin/env bash
# pytorch-grad-cam: where a map has many zeros, ROAD erases the whole picture, and praises a map of the wrong place.
#
# A good guess: ROADMostRelevantFirst(80) replaces the fifth of the pixels that the map ranks highest, and (20) four
# fifths of them, as the paper does, which sorts the pixels. But the pixels that are kept are those below the
# percentile, and where it is 0 there are none: a map that is zero in 70 % of its pixels (Grad-CAM clips at zero) loses
# all of them at every percentile up to 70, and what is then scored is a picture of noise. The other way round,
# ROADLeastRelevantFirst never removes less than all zeros. So ROADCombined rewards clipping: below, two maps have the
# same cone, and one is cut off at zero. For the wrong corner the score turns from below zero to above it.
#
# Seen with: grad-cam 1.5.7, torch 2.14.1, Python 3.11 (2026-11-29), a model that sees one square of a grey picture:
#   part removed at 80, 50 and 20, most relevant first: whole cone 0.20 0.50 0.80, clipped cone 0.20 1.00 1.00
#   part removed at 80, 50 and 20, least relevant first: whole cone 0.21 0.50 0.81, clipped cone 0.74 0.74 0.81
#   ROADCombined: on the square, whole 0.25, clipped 0.41; in the wrong corner, whole -0.12, clipped 0.10
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet grad-cam==1.5.7 torch==2.14.1 torchvision==0.29.1 numpy==2.4.6 scipy==1.17.1
"$folder/venv/bin/python" - <<'PYTHON'
import numpy as np
import torch
from pytorch_grad_cam.metrics.road import ROADCombined, ROADLeastRelevantFirst, ROADMostRelevantFirst

SQUARE = (..., slice(6, 13), slice(6, 13))
torch.manual_seed(0)
picture = 0.4 + 0.02 * torch.randn(1, 3, 32, 32)
picture[SQUARE] += 0.5
targets = [lambda output: output[0]]


def model(pictures):
    return pictures[SQUARE].mean((1, 2, 3))[:, None]


def cone(row, column, clipped):
    y, x = np.mgrid[:32, :32]
    height = 10 - np.hypot(y - row, x - column)
    height = np.maximum(height, 0) if clipped else height - height.min()
    return (height / height.max()).astype(np.float32)[None]


def removed(road, cam):
    parts = []
    for percentile in (80, 50, 20):
        _, after = road(percentile)(picture, cam, targets, model, return_visualization=True)
        parts.append((after != picture).any(1).float().mean().item())
    return np.array(parts)


whole, clipped = (cone(24, 24, clip) for clip in (False, True))
wanted = np.array([0.2, 0.5, 0.8])
for road, order in ((ROADMostRelevantFirst, "most"), (ROADLeastRelevantFirst, "least")):
    parts = [removed(road, cam) for cam in (whole, clipped)]
    shown = ["{:.2f} {:.2f} {:.2f}".format(*part) for part in parts]
    print(f"part removed at 80, 50 and 20, {order} relevant first: whole cone {shown[0]}, clipped cone {shown[1]}")
    assert np.abs(parts[0] - wanted).max() < 0.02, "the behaviour has changed"
    if order == "most":
        assert (parts[1][1:] == 1).all(), "the behaviour has changed"
    else:
        assert parts[1].min() >= (clipped == 0).mean() > 0.7, "the behaviour has changed"
right, right_clipped, wrong, wrong_clipped = (
    ROADCombined()(picture, cone(place, place, clip), targets, model).item()
    for place in (9, 24)
    for clip in (False, True)
)
print(
    f"ROADCombined: on the square, whole {right:.2f}, clipped {right_clipped:.2f}; "
    f"in the wrong corner, whole {wrong:.2f}, clipped {wrong_clipped:.2f}"
)
assert wrong < -0.05 and wrong_clipped > 0.05 and right_clipped > right + 0.1, "the behaviour has changed"
PYTHON
