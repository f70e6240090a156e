#!/usr/bin/env bash
# torchmetrics: a caption's BLEU depends on the order in which its references stand.
#
# A good guess: BLEU treats the references as a set. The brevity penalty uses the length of the reference
# closest to the caption's. Where one reference is shorter and another longer by as much, COCO's scorer takes
# the shorter, whatever the order. torchmetrics takes the one that comes first. With five references of similar
# lengths such ties are frequent, so two programs that read the same file in another order report other scores.
#
# Seen with: torchmetrics 1.9.0, pycocoevalcap 1.2.0, torch 2.13.0, Python 3.11 (2026-11-28):
#   torchmetrics: 1.000 and 0.779  pycocoevalcap: 1.000 and 1.000
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.13.0 torchmetrics==1.9.0 pycocoevalcap==1.2.0
"$folder/venv/bin/python" - <<'PYTHON'
from pycocoevalcap.bleu.bleu import Bleu
from torchmetrics.functional.text import bleu_score

caption = "a dog runs fast"
references = ["a dog runs", "a dog runs fast today"]
orders = [references, references[::-1]]
torchmetrics = [round(float(bleu_score([caption], [refs], n_gram=2)), 3) for refs in orders]
coco = [round(Bleu(2).compute_score({0: refs}, {0: [caption]}, verbose=0)[0][1], 3) for refs in orders]
print("torchmetrics: {:.3f} and {:.3f}  pycocoevalcap: {:.3f} and {:.3f}".format(*torchmetrics, *coco))
assert torchmetrics == [1.0, 0.779] and coco == [1.0, 1.0], "the behaviour has changed"
PYTHON
