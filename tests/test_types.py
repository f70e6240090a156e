"""labkit is typed: mypy finds no fault in it, and finds those of a program that uses it.

Slow the first time: mypy reads torch, and keeps what it has read in ``.mypy_cache``.
"""

import re
import subprocess
import sys

import pytest
from test_frame import ROOT

IMPORTS = """\
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from labkit import (
    Attention, Captioner, Decoder, FeatureStore, GenerationConfig, Loader, ModelConfig, Trainer,
    greedy, prepare_scenes, register_attention, score, train,
)
from labkit.evaluation import Intervened
from labkit.model.attention import AttentionStep, EncodedImage

"""
RIGHT = """\
captioner = Captioner.from_pretrained("flickr8k-soft")
text: str = captioner.caption("photo.jpg", num_beams=3).text
for photo in (Path("photo.jpg"), Image.new("RGB", (8, 8)), np.zeros((8, 8, 3), np.uint8)):
    captioner.caption(photo)
store: Path = prepare_scenes("stores/scenes", count=8)
trainer: Trainer = train(store, "runs/small", learning_rate=2e-3, hidden_dim=128)
bleu: float = score({"a.jpg": ["a dog runs"]}, {"a.jpg": "a dog"}).bleu4
config = replace(GenerationConfig(num_beams=3, attention_mode="argmax"), max_length=8)
decoder = Decoder(ModelConfig(vocab_size=12, encoder_dim=8))
for batch in Loader(FeatureStore(store, "train"), batch_size=4):
    features: Tensor = batch.features
    words: list[int] = greedy(decoder, features)[0].words
    greedy(Intervened(decoder, "zero"), features)


class Uniform(Attention):
    def attend(self, scores: Tensor, image: EncodedImage, h: Tensor) -> AttentionStep:
        return self.expectation(torch.zeros_like(scores))


register_attention("uniform", Uniform)
"""
WRONG = """\
from labkit import Captoner  # attr-defined

Captioner.from_pretrained()  # call-arg
Captioner.from_pretrained("flickr8k-soft").caption("photo.jpg").txt  # attr-defined
train("stores/scenes")  # call-arg
ModelConfig(vocab_size="many", encoder_dim=8)  # arg-type
ModelConfig(vocab_size=12, encoder_dim=8, hiden_dim=4)  # call-arg
ModelConfig(12, 8)  # call-arg
GenerationConfig(attention_mode="best")  # arg-type
GenerationConfig().num_beams = 2  # misc
replace(GenerationConfig(), num_beam=2)  # call-arg
score(["a dog runs"], {"a.jpg": "a dog"})  # arg-type
register_attention("uniform", Decoder)  # arg-type
"""


@pytest.fixture(scope="module")
def faults(tmp_path_factory) -> list[tuple[str, int, str]]:
    """What mypy says of labkit and of two programs: the file, the line, and the kind of fault."""
    programs = []
    for name, body in (("right", RIGHT), ("wrong", WRONG)):
        programs.append(tmp_path_factory.mktemp("programs") / f"{name}.py")
        programs[-1].write_text(IMPORTS + body)
    checked = subprocess.run(
        [sys.executable, "-m", "mypy", "labkit", *programs], cwd=ROOT, capture_output=True,
        text=True, timeout=900,
    )  # fmt: skip
    lines = [line for line in checked.stdout.splitlines() if ": note: " not in line]
    assert lines and re.match(r"Found \d+ errors? in", lines[-1]), checked.stdout + checked.stderr
    found = [re.fullmatch(r"(.+?):(\d+): error: .*\[([\w-]+)\]", line) for line in lines[:-1]]
    assert all(found), checked.stdout
    return [(match[1], int(match[2]), match[3]) for match in found]


def of(faults, name):
    return [(line, kind) for file, line, kind in faults if file.endswith(name)]


def test_labkit_has_no_fault(faults):
    assert not [fault for fault in faults if fault[0].startswith("labkit")]


def test_a_right_program_has_no_fault(faults):
    assert not of(faults, "right.py")


def test_each_wrong_line_is_reported(faults):
    lines = (IMPORTS + WRONG).splitlines()
    marked = [(n, line.split("  # ")[1]) for n, line in enumerate(lines, 1) if "  # " in line]
    assert of(faults, "wrong.py") == marked
