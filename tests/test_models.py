"""Models by name: they load, tell any photograph, and say what is wrong."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

import labkit
from labkit.models import PRETRAINED
from labkit.scenes import is_true, make_scenes, things_of


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


def test_a_caption_is_as_long_as_the_model_was_trained_with(tmp_path):
    """Runs of before have the number among the training's settings alone."""
    assert labkit.load("flickr8k-soft").decoder.config.max_words == 24
    shutil.copytree(PRETRAINED / "scenes-soft", tmp_path / "run")
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    config["train"]["max_words"] = 2
    (tmp_path / "run" / "config.json").write_text(json.dumps(config))
    captioner, scene = labkit.load(tmp_path / "run"), make_scenes(1, seed=5)[0]
    assert len(captioner.tell(scene.image).words) == 2
    longer = captioner.tell(scene.image, labkit.Decoding(max_words=9))
    assert len(longer.words) > 2


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
