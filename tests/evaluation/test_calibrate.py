"""How sure a model can be: the rule for wrong captions, the curve, and the command."""

import json
import shutil

import numpy as np
import pytest
import torch
from commands import assert_one_sentence, labkit

from labkit import FeatureStore, prepare_scenes
from labkit.evaluation.calibrate import cross_validated, fit, is_wrong, reliability, stems
from labkit.model import checkpoint
from labkit.model.calibration import Calibration
from labkit.model.captioner import PRETRAINED, Captioner

CAT = ["a cat sleeps on a couch", "two kittens and a cat", "an orange cat lies there"]


@pytest.mark.parametrize(("caption", "words"), [
    ("a black and white dog runs through the grass", "black white dog run grass"),
    ("two dogs are playing", "two dog play"),
    ("Women and a child jumped", "person person jump"),
    ("riding bikes, a man rides a bike", "ride bike person ride bike"),
    ("the dress of glass", "dress glass"),
    ("falling down, it sails and fizzes", "fall sail fizz"),
    ("puppies and parties", "puppi parti"),
    ("friendly crowds and a grooming family", "friend person groom person"),
    ("it is in there", ""),
    ("", ""),
])  # fmt: skip
def test_stems(caption, words):
    assert stems(caption) == words.split()


def test_a_cat_is_no_boy():
    assert is_wrong("a boy is riding a bike", CAT)
    assert not is_wrong("a cat is sitting on a couch", CAT)  # one detail of three that nobody names
    assert not is_wrong("cats on a boat", CAT)  # half of its words
    assert not is_wrong("a man rides a bike", ["a young girl on her bike"])  # people are one kind
    assert is_wrong("", CAT)
    assert is_wrong("there it is", CAT)


def test_the_curve_is_the_one_that_drew_the_answers():
    random = np.random.default_rng(0)
    scores = random.normal(-3, 1, 20_000)
    p = 1 / (1 + np.exp(-(-6 - 1.5 * scores)))
    wrong = (random.random(len(p)) < p).astype(float)
    intercept, (slope,) = fit(scores[:, None], wrong)
    assert intercept == pytest.approx(-6, abs=0.3)
    assert slope == pytest.approx(-1.5, abs=0.08)
    curve = Calibration(
        intercept=intercept, slope=slope, captions=len(p), wrong=wrong.mean(), decoding="greedy",
        weights="",
    )  # fmt: skip
    assert curve.share_wrong(-3.0) == pytest.approx(1 / (1 + np.exp(1.5)), abs=0.02)
    assert 0 <= curve.share_wrong(1e6) < 1e-6
    assert curve.share_wrong(-1e6) == 1


def test_what_is_told_is_found():
    random = np.random.default_rng(1)
    scores = random.normal(-3, 1, 20_000)
    wrong = (random.random(len(scores)) < 1 / (1 + np.exp(6 + 1.5 * scores))).astype(float)
    found = reliability(cross_validated(scores[:, None], wrong), wrong)
    assert np.abs(np.subtract(found.predicted, found.observed)).max() < 0.03
    assert found.predicted == sorted(found.predicted)
    assert found.auc > 0.7
    assert found.brier < found.brier_constant
    chance = reliability(cross_validated(random.permutation(scores)[:, None], wrong), wrong)
    assert chance.auc == pytest.approx(0.5, abs=0.02)
    assert chance.brier == pytest.approx(chance.brier_constant, rel=0.01)


@pytest.fixture(scope="module")
def scenes_store(tmp_path_factory):
    return prepare_scenes(tmp_path_factory.mktemp("scenes") / "store", count=150, progress=False)


def test_command_and_what_the_model_says_then(scenes_store, tmp_path, capsys):
    """A copy of a model learns how often it is wrong, and says so of each caption."""
    model = tmp_path / "model"
    shutil.copytree(PRETRAINED / "scenes-soft", model)
    (model / "calibration.json").unlink(missing_ok=True)
    assert Captioner.from_pretrained(model).calibration is None
    done = labkit("calibrate", model, "--data", scenes_store, "--split", "train", "--json",
                  tmp_path / "scores.json")  # fmt: skip
    assert done.returncode == 0, done.stderr
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert (model / "calibration.png").stat().st_size > 1000
    captioner = Captioner.from_pretrained(model)
    assert captioner.calibration.captions == scores["captions"]
    a = torch.from_numpy(FeatureStore(scenes_store, "train").read(np.arange(5))).float()
    for one in captioner.generate(a):
        assert one.wrong == captioner.calibration.share_wrong(one.score)
    assert {one.wrong for one in captioner.generate(a, num_beams=2)} == {None}
    assert {one.wrong for one in captioner.generate(a, suppress=["large"])} == {None}
    checked = labkit("calibrate", model, "--data", scenes_store, "--split", "train", "--check")
    assert checked.returncode == 0, checked.stderr
    shown = dict(line.split(maxsplit=1) for line in checked.stdout.splitlines())
    assert shown["wrong"] == f"{scores['wrong']:.3f}"
    assert float(shown["brier"]) < scores["brier"]  # here each caption had its share in the curve
    decoder = captioner.decoder
    checkpoint.save(model / "model.safetensors", decoder.half().state_dict(), {"epoch": 9})
    assert Captioner.from_pretrained(model).calibration is not None  # the same weights
    decoder.bias.data[5] += 1
    checkpoint.save(model / "model.safetensors", decoder.state_dict(), {"epoch": 9})
    assert Captioner.from_pretrained(model).calibration is None
    assert "measured with other weights: run labkit calibrate" in capsys.readouterr().err
    again = labkit("calibrate", model, "--data", scenes_store, "--split", "train")
    assert again.returncode == 1
    assert "calibration.json exists" in again.stderr
    (model / "calibration.json").unlink()
    none = labkit("calibrate", model, "--data", scenes_store, "--split", "train", "--check")
    assert_one_sentence(none, "no calibration to check")
    for damaged in ('{"intercept": 1}', ""):  # the sentence says what to do, and that helps
        (model / "calibration.json").write_text(damaged)
        with pytest.raises(ValueError, match=r"calibration\.json.*: run labkit calibrate --overwr"):
            Captioner.from_pretrained(model)
    mended = labkit("calibrate", model, "--data", scenes_store, "--split", "train", "--overwrite")
    assert mended.returncode == 0, mended.stderr
    assert Captioner.from_pretrained(model).calibration is not None


def test_a_check_writes_no_folder(tmp_path):
    done = labkit("calibrate", "scenes-soft", "--check", "--out", tmp_path / "out")
    assert_one_sentence(done, "--check writes no calibration: leave out --out")
    assert not (tmp_path / "out").exists()
