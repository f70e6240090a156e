#!/usr/bin/env bash
# CIDEr-D (pycocoevalcap): a caption that is word for word the reference scores 10 only if it has four words or more.
#
# A good guess: CIDEr is the mean similarity of the n-grams, times 10, so a caption that equals its only reference
# gets 10. But the mean is over n = 1, 2, 3, 4, whether the caption has n-grams of that length or not: a perfect caption
# of one word gets 2.5, of two 5, of three 7.5. So the best that a corpus allows depends on how short its
# references are, and scores of data sets of short captions (labels, signs, "a dog") cannot be compared with COCO's.
# And a perfect caption may get less than a wrong one: "red bus", the reference of its picture, gets 5.0, and "grey cat
# sleeps on a warm chair" 8.1 where the reference has a sofa.
#
# Seen with: pycocoevalcap 1.2, numpy 2.2.6, Linux x86_64, Python 3.11 (2026-11-28):
#   2.5  bus
#   5.0  red bus
#   7.5  old red bus
#   10.0 old red bus waits
#   10.0 old red bus waits outside
#   8.1  grey cat sleeps on a warm chair  (its reference: grey cat sleeps on a warm sofa)
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet pycocoevalcap==1.2 numpy==2.2.6
"$folder/venv/bin/python" - <<'PYTHON'
from pycocoevalcap.cider.cider import Cider

OTHERS = ["grey cat sleeps on a warm sofa", "two boys kick a ball", "snow covers the roof"]
LONG = "old red bus waits outside"
for count, best in ((1, 2.5), (2, 5.0), (3, 7.5), (4, 10.0), (5, 10.0)):
    caption = " ".join(LONG.split()[3 - min(count, 3) : max(count, 3)])
    references = {n: [text] for n, text in enumerate([caption, *OTHERS])}
    _, scores = Cider().compute_score(references, references)
    print(f"{scores[0]:<4.1f} {caption}")
    assert len(caption.split()) == count and abs(scores[0] - best) < 1e-6, "the behaviour has changed"
captions = references | {1: ["grey cat sleeps on a warm chair"]}
wrong = Cider().compute_score(references, captions)[1][1]
print(f"{wrong:<4.1f} {captions[1][0]}  (its reference: {OTHERS[0]})")
assert wrong > 8.0, "the behaviour has changed"
PYTHON
