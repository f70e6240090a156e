"""Models by name: they load, tell any photograph, and say what is wrong."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

import labkit
from labkit import evaluation
from labkit.captions import DataReport
from labkit.metrics import Scores
from labkit.models import PRETRAINED, evaluate_run
from labkit.preparing import SCENE_ENCODER, prepare
from labkit.scenes import is_true, make_scenes, things_of
from labkit.shards import FeatureStore


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def test_every_shipped_model_has_a_card_that_tells_its_scores():
    assert "scenes-soft" in labkit.shipped()
    for name in labkit.shipped():
        card = (PRETRAINED / name / "card.md").read_text()
        for word in ("Data", "Command", "Seed", "Scores", "Known failures"):
            assert f"## {word}" in card, (name, word)


@pytest.mark.parametrize("name", ["scenes-soft", "scenes-hard"])
def test_the_shipped_scene_models_tell_unseen_scenes(name):
    """Weights that did not load right would tell nothing true."""
    captioner = labkit.load(name)
    scenes = make_scenes(40, seed=1234, split="test")
    told = [captioner.tell(scene.image) for scene in scenes]
    true = [is_true(t.text, things_of(s.facts)) for t, s in zip(told, scenes, strict=True)]
    assert np.mean(true) > 0.35
    for caption in told:
        assert caption.alpha.shape == (len(caption.words), 7, 7)
        np.testing.assert_allclose(caption.alpha.sum((1, 2)), 1, atol=1e-4)


def test_photographs_of_any_shape_and_kind(tmp_path):
    captioner = labkit.load("scenes-soft")
    wide = Image.fromarray(make_scenes(1, seed=5)[0].image).resize((300, 90))
    wide.convert("L").save(tmp_path / "grey.png")
    assert captioner.tell(tmp_path / "grey.png").words
    assert captioner.tell(np.asarray(wide)).text == captioner.tell(wide).text


def test_a_folder_without_a_model_and_damaged_weights(tmp_path):
    with pytest.raises(FileNotFoundError, match="scenes-soft"):
        labkit.load(tmp_path / "nothing")
    shutil.copytree(PRETRAINED / "scenes-soft", tmp_path / "broken")
    weights = tmp_path / "broken" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"model\.safetensors is damaged"):
        labkit.load(tmp_path / "broken")


def test_other_weights_of_the_encoder_are_refused():
    captioner = labkit.load("scenes-soft")
    captioner.encoder_facts = captioner.encoder_facts | {"weights_hash": "0" * 16}
    with pytest.raises(ValueError, match="other weights"):
        captioner.encoder  # noqa: B018


@pytest.fixture
def copy(tmp_path):
    """A copy of a shipped model, to be spoiled."""
    return shutil.copytree(PRETRAINED / "scenes-soft", tmp_path / "my model ü")


def rewrite(folder, change):
    file = folder / "config.json"
    config = json.loads(file.read_text())
    change(config)
    file.write_text(json.dumps(config))


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda c: c["decoder"].update(heads=8), "another version of labkit.*'heads' is not known"),
        (lambda c: c["decoder"].pop("vocabulary"), "another version.*'vocabulary' is missing"),
        (lambda c: c["decoder"].pop("feature"), "'feature' is missing"),
        (lambda c: c["decoder"].update(attention="spiral"), "spiral"),
        (lambda c: c["decoder"].update(hidden="many"), r"config\.json"),
        (lambda c: c["decoder"].update(hidden=-1), r"config\.json"),
        (lambda c: c["decoder"].update(hidden=257), "does not fit"),
        (lambda c: c["decoder"].update(vocabulary=30), "has 29 words.* 30"),
        (lambda c: c.pop("decoder"), "is no config.json of a run"),
        (lambda c: c.update(encoder=None), "is no config.json of a run"),
        (lambda c: c.update(data=3), "is no config.json of a run"),
        (lambda c: c.clear(), "is no config.json of a run"),
    ],
)
def test_a_config_of_another_version_is_one_sentence(copy, change, message):
    rewrite(copy, change)
    with pytest.raises(ValueError, match=message) as caught:
        labkit.load(copy)
    assert str(copy) in str(caught.value) and "\n" not in str(caught.value)


def test_sizes_that_no_memory_holds_are_compared_before_they_are_made(copy):
    rewrite(copy, lambda c: c["decoder"].update(hidden=90_000, embedding=90_000))
    with pytest.raises(ValueError, match=r"does not fit|config\.json"):
        labkit.load(copy)


def test_a_config_without_what_may_be_absent_loads(copy):
    rewrite(copy, lambda c: (c.pop("data"), c.pop("train"), c["decoder"].pop("dropout")))
    assert labkit.load(copy).data is None


def test_files_of_different_runs_are_not_mixed(copy):
    words = json.loads((copy / "vocabulary.json").read_text())["words"]
    (copy / "vocabulary.json").write_text(json.dumps({"words": [*words, "zebra"]}))
    with pytest.raises(ValueError, match=r"vocabulary\.json has 30 words.*29: take both"):
        labkit.load(copy)
    shutil.copy(PRETRAINED / "scenes-soft" / "vocabulary.json", copy)
    shutil.copy(PRETRAINED / "scenes-hard" / "model.safetensors", copy)
    shutil.copy(PRETRAINED / "flickr8k-soft" / "model.safetensors", copy)
    with pytest.raises(ValueError, match=r"model\.safetensors does not fit.*take both"):
        labkit.load(copy)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"size": 224}, "another encoder: its grid"),
        ({"grid": [14, 14]}, "another encoder: its grid"),
        ({"fit": "crop"}, "another encoder: its fit"),
        ({"weights": "/not/here.pth"}, "here.pth is missing"),
    ],
)
def test_other_encoders_are_refused(change, message):
    captioner = labkit.load("scenes-soft")
    captioner.encoder_facts = captioner.encoder_facts | change
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        captioner.encoder  # noqa: B018


def test_a_model_that_does_not_know_its_encoder_says_so():
    captioner = labkit.load("scenes-soft")
    captioner.encoder_facts = {"name": "numbers", "grid": [7, 7]}
    with pytest.raises(ValueError, match="does not say which encoder"):
        captioner.tell(make_scenes(1, seed=5)[0].image)


def test_captions_are_told_in_float32_wherever_bf16_is_fast(monkeypatch):
    scene = make_scenes(1, seed=5)[0].image
    exact = labkit.load("scenes-soft").tell(scene)
    monkeypatch.setattr("labkit.encoder.bf16_is_fast", lambda: True)
    captioner = labkit.load("scenes-soft")
    told = captioner.tell(scene)
    assert not captioner.encoder.bf16
    assert (told.text, told.score) == (exact.text, exact.score)


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "1", "LA", "I", "F"])
def test_a_pil_image_of_any_mode_is_told(mode):
    captioner = labkit.load("scenes-soft")
    image = Image.fromarray(make_scenes(1, seed=5)[0].image).convert(mode)
    assert captioner.tell(image).text == captioner.tell(image.convert("RGB")).text


def test_a_shipped_model_is_scored_on_stores_of_each_precision(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(evaluation, "score", lambda *_: Scores(*[0.5] * 7))
    for bf16 in (True, False):
        store = tmp_path / str(bf16)
        records = make_scenes(4, 3, "dev", pixels=112)
        prepare(records, store, SCENE_ENCODER, {"source": "x"}, DataReport(), bf16=bf16)
        evaluate_run("scenes-soft", store, progress=False)
        assert capsys.readouterr().err == ""  # the model does not say which it was
        said = FeatureStore(store, "dev").encoder["precision"]
        assert said == ("bf16" if bf16 else "fp32")
    run = shutil.copytree(PRETRAINED / "scenes-soft", tmp_path / "run")
    rewrite(run, lambda c: c["encoder"].update(precision="bf16"))
    evaluate_run(run, tmp_path / "True", progress=False)
    assert capsys.readouterr().err == ""
    evaluate_run(run, tmp_path / "False", progress=False)
    (line,) = capsys.readouterr().err.splitlines()
    assert "was prepared in fp32" in line and "features in bf16" in line
    rewrite(run, lambda c: c["encoder"].update(weights="/elsewhere/lite0.pth"))
    evaluate_run(run, tmp_path / "True", progress=False)
    rewrite(run, lambda c: c["encoder"].update(weights_hash="0" * 16))
    with pytest.raises(ValueError, match="prepared with another encoder"):
        evaluate_run(run, tmp_path / "True", progress=False)
