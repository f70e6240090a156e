#!/usr/bin/env bash
# Quantus: in the pointing game, a picture without the object is a hit, and so is a map of zeros in a batch.
#
# A good guess: a map can only hit an object that is there. With an empty mask Quantus's other measures of place give
# NaN, and a comment in the source of PointingGame says that it does too. But it writes the NaN into an array of
# booleans, where it becomes True. And all pixels that share the greatest value point: a map of zeros (Grad-CAM, where
# all is clipped) points everywhere and so always hits. (It is refused only where the whole batch is zero.) No warning
# comes. So the share of hits rises with every word that has no mask (a small object that was lost when the mask was
# made smaller or cropped, a caption that names what is not there), and with every dead map.
#
# Seen with: quantus 0.6.0, numpy 2.2.6, Python 3.11 (2026-11-29), a map whose peak lies below, and an object above:
#   object there: PointingGame False, others 0.00 to 0.26
#   no object: PointingGame True, others nan
#   object there, map of zeros: PointingGame True
#   share of hits of four wrong maps, two of them without an object: 0.5
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet quantus==0.6.0 numpy==2.2.6 opencv-python==5.0.0.93 scipy==1.17.1
"$folder/venv/bin/python" - <<'PYTHON'
import warnings

import numpy as np
import quantus

OTHERS = (
    quantus.RelevanceRankAccuracy, quantus.RelevanceMassAccuracy, quantus.AttributionLocalisation,
    quantus.AUC, quantus.TopKIntersection,
)  # fmt: skip
y, x = np.mgrid[:16, :16]
peak = np.exp(-((y - 12) ** 2 + (x - 8) ** 2) / 50)[None]
above, nowhere = np.zeros((2, 1, 16, 16), int)
above[0, 1:6, 4:12] = 1


def scores(measure, maps, masks, **options):
    """What a measure of place says; these do not ask the model or look at the pictures."""
    pictures = np.zeros((len(maps), 3, 16, 16), np.float32)
    return measure(**options)(None, pictures, np.zeros(len(maps), int), np.stack(maps), np.stack(masks))


def others(mask):
    return [scores(m, [peak], [mask], **({"k": 20} if m is quantus.TopKIntersection else {}))[0] for m in OTHERS]


with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    hits = scores(quantus.PointingGame, [peak, peak, peak, peak], [above, above, nowhere, nowhere])
    _, zeros = scores(quantus.PointingGame, [peak, 0 * peak], [above, above])
assert not said, "the behaviour has changed"
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    there, absent = others(above), others(nowhere)
print(f"object there: PointingGame {hits[0]}, others {min(there):.2f} to {max(there):.2f}")
print(f"no object: PointingGame {hits[2]}, others {' '.join(sorted({str(float(score)) for score in absent}))}")
print(f"object there, map of zeros: PointingGame {zeros}")
print(f"share of hits of four wrong maps, two of them without an object: {np.mean(hits)}")
assert [bool(hit) for hit in hits] == [False, False, True, True] and zeros, "the behaviour has changed"
assert np.isnan(absent).all() and np.isfinite(there).all(), "the behaviour has changed"
PYTHON
