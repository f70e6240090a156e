"""Models by name: they load, caption any photograph, and say what is wrong."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

import labkit
from labkit.data.photos import to_input
from labkit.data.readers import DataReport
from labkit.data.scenes import is_true, make_scenes, things_of
from labkit.evaluation import evaluate as evaluation
from labkit.evaluation.evaluate import evaluate_model
from labkit.evaluation.metrics import Scores
from labkit.features.prepare import SCENE_ENCODER, prepare
from labkit.model.captioner import PRETRAINED, Captioner
from labkit.model.config import GenerationConfig
from labkit.store.shards import FeatureStore


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def test_every_pretrained_model_has_a_card_with_its_scores():
    assert "scenes-soft" in labkit.list_pretrained()
    for name in labkit.list_pretrained():
        card = (PRETRAINED / name / "card.md").read_text()
        for word in ("Data", "Command", "Seed", "Scores", "Known failures"):
            assert f"## {word}" in card, (name, word)


@pytest.mark.parametrize("name", ["scenes-soft", "scenes-hard", "scenes-sees-word"])
def test_the_pretrained_scene_models_caption_unseen_scenes(name):
    """With weights that were loaded wrongly no caption would be true."""
    captioner = Captioner.from_pretrained(name)
    scenes = make_scenes(40, seed=1234, split="test")
    photos = [captioner.caption(scene.image) for scene in scenes]
    true = [is_true(p.text, things_of(s.facts)) for p, s in zip(photos, scenes, strict=True)]
    assert np.mean(true) > 0.35
    for photo in photos:
        assert photo.alpha.shape == (len(photo.words), 7, 7)
        np.testing.assert_allclose(photo.alpha.sum((1, 2)), 1, atol=1e-4)


def test_photographs_of_any_shape_and_kind(tmp_path):
    captioner = Captioner.from_pretrained("scenes-soft")
    wide = Image.fromarray(make_scenes(1, seed=5)[0].image).resize((300, 90))
    wide.convert("L").save(tmp_path / "grey.png")
    assert captioner.caption(tmp_path / "grey.png").words
    assert captioner(np.asarray(wide)).text == captioner.caption(wide).text  # called: the same


def described(photo):
    return photo.words, photo.score, photo.alpha.tolist()


def test_options_by_name_are_a_configuration():
    """As keywords or as one object; a number of beams asks for the most likely caption of them."""
    captioner = Captioner.from_pretrained("scenes-soft")
    scene = make_scenes(1, seed=5)[0].image
    options = {"num_beams": 3, "length_penalty": 0.0, "max_length": 9, "no_repeat_ngram_size": 2}
    by_name = captioner.caption(scene, **options)
    assert described(by_name) == described(captioner.caption(scene, GenerationConfig(**options)))
    assert len(by_name.words) <= 9
    three = described(captioner.caption(scene, GenerationConfig(num_beams=3)))
    assert described(captioner.caption(scene, num_beams=3)) == three
    captioner.generation = GenerationConfig(mbr_candidates=8)
    assert described(captioner.caption(scene, num_beams=3)) == three
    mbr = captioner.caption(scene, GenerationConfig(mbr_candidates=8))
    assert described(captioner.caption(scene)) == described(mbr)
    features = captioner.encoder(torch.from_numpy(to_input(scene, 112))[None])
    assert described(captioner.generate(features, num_beams=3)[0]) == three


def test_words_can_be_suppressed():
    captioner = Captioner.from_pretrained("scenes-soft")
    scene = make_scenes(1, seed=5)[0].image
    words = captioner.caption(scene).words
    without = captioner.caption(scene, suppress=words[1:3])
    assert without.words and not {*words[1:3]} & {*without.words}
    with pytest.raises(ValueError, match="the vocabulary has no word 'zebra'"):
        captioner.caption(scene, suppress=["zebra"])
    with pytest.raises(ValueError, match="no word 'RED'; did you mean red"):
        captioner.caption(scene, suppress=["RED"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_beams": 0}, "^num_beams is a whole number from 1 to 100, not 0$"),
        ({"length_penalty": -1}, "^length_penalty is a number from 0 to 10, not -1$"),
        ({"beams": 3}, "^there is no setting 'beams': choose from attention_mode, length_penalty"),
        ({"attention_mode": "argmax"}, "no mode 'argmax': choose expectation"),
    ],
    ids=str,
)
def test_options_that_cannot_be_are_named(options, message):
    captioner = Captioner.from_pretrained("scenes-soft")
    with pytest.raises(ValueError, match=message):
        captioner.caption(make_scenes(1, seed=5)[0].image, **options)


def test_features_of_another_shape_are_refused():
    captioner = Captioner.from_pretrained("scenes-soft")
    for shape in ((112,), (49, 112), (1, 49, 111), (1, 48, 112), (1, 49, 112, 1)):
        with pytest.raises(ValueError, match=r"scenes-soft needs features \(N, 49, 112\), not"):
            captioner.generate(torch.zeros(shape))


def test_features_in_place_of_a_photograph_are_refused():
    with pytest.raises(TypeError, match="features go to `generate`"):
        Captioner.from_pretrained("scenes-soft")(torch.zeros(1, 49, 112))


def test_a_folder_without_a_model_and_damaged_weights(tmp_path):
    with pytest.raises(FileNotFoundError, match="scenes-soft"):
        Captioner.from_pretrained(tmp_path / "nothing")
    shutil.copytree(PRETRAINED / "scenes-soft", tmp_path / "broken")
    weights = tmp_path / "broken" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"model\.safetensors is damaged"):
        Captioner.from_pretrained(tmp_path / "broken")


def test_other_weights_of_the_encoder_are_refused():
    captioner = Captioner.from_pretrained("scenes-soft")
    captioner.encoder_facts = captioner.encoder_facts | {"weights_hash": "0" * 16}
    with pytest.raises(ValueError, match="other weights"):
        captioner.encoder  # noqa: B018


@pytest.fixture
def copy(tmp_path):
    """A copy of a pretrained model, to be damaged."""
    return shutil.copytree(PRETRAINED / "scenes-soft", tmp_path / "my model ü")


def rewrite(folder, change):
    file = folder / "config.json"
    config = json.loads(file.read_text())
    change(config)
    file.write_text(json.dumps(config))


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda c: c["model"].update(heads=8), "does not know.*no setting 'heads'"),
        (lambda c: c["model"].pop("vocab_size"), "does not know.*vocab_size is missing"),
        (lambda c: c["model"].pop("encoder_dim"), "encoder_dim is missing"),
        (lambda c: c["model"].update(attention="spiral"), "spiral"),
        (lambda c: c["model"].update(hidden_dim="many"), r"config\.json"),
        (lambda c: c["model"].update(hidden_dim=-1), r"config\.json"),
        (lambda c: c["model"].update(hidden_dim=257), "does not fit"),
        (lambda c: c["model"].update(vocab_size=30), "has 29 words.* 30"),
        (lambda c: c["generation"].update(num_beams=0), r"config\.json.*num_beams is"),
        (lambda c: c["generation"].update(beam=3), r"config\.json.*no setting 'beam'"),
        (lambda c: c.pop("model"), "not the config.json of a run"),
        (lambda c: c.pop("training"), "not the config.json of a run"),
        (lambda c: c.pop("generation"), "not the config.json of a run"),
        (lambda c: c.update(encoder=None), "not the config.json of a run"),
        (lambda c: c.update(data=3), "not the config.json of a run"),
        (lambda c: c["training"].update(dev_split=5), "not the config.json of a run"),
        (lambda c: c.clear(), "not the config.json of a run"),
    ],
)
def test_a_config_of_another_version_is_one_sentence(copy, change, message):
    rewrite(copy, change)
    with pytest.raises(ValueError, match=message) as caught:
        Captioner.from_pretrained(copy)
    assert str(copy) in str(caught.value) and "\n" not in str(caught.value)


def test_sizes_that_no_memory_holds_are_compared_before_they_are_made(copy):
    rewrite(copy, lambda c: c["model"].update(hidden_dim=90_000, embed_dim=90_000))
    with pytest.raises(ValueError, match=r"does not fit|config\.json"):
        Captioner.from_pretrained(copy)


def test_a_config_without_what_may_be_absent_loads(copy):
    rewrite(copy, lambda c: (c.pop("data"), c["training"].clear(), c["model"].pop("dropout")))
    assert Captioner.from_pretrained(copy).data is None


def test_files_of_different_runs_are_not_mixed(copy):
    words = json.loads((copy / "vocabulary.json").read_text())["words"]
    (copy / "vocabulary.json").write_text(json.dumps({"words": [*words, "zebra"]}))
    with pytest.raises(ValueError, match=r"vocabulary\.json has 30 words.*29: take both"):
        Captioner.from_pretrained(copy)
    shutil.copy(PRETRAINED / "scenes-soft" / "vocabulary.json", copy)
    shutil.copy(PRETRAINED / "scenes-hard" / "model.safetensors", copy)
    shutil.copy(PRETRAINED / "flickr8k-soft" / "model.safetensors", copy)
    with pytest.raises(ValueError, match=r"model\.safetensors does not fit.*take both"):
        Captioner.from_pretrained(copy)


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
    captioner = Captioner.from_pretrained("scenes-soft")
    captioner.encoder_facts = captioner.encoder_facts | change
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        captioner.encoder  # noqa: B018


def test_a_model_that_does_not_know_its_encoder_says_so():
    captioner = Captioner.from_pretrained("scenes-soft")
    captioner.encoder_facts = {"name": "numbers", "grid": [7, 7]}
    with pytest.raises(ValueError, match="does not say which encoder"):
        captioner.caption(make_scenes(1, seed=5)[0].image)


def test_photos_are_captioned_in_float32_even_where_bf16_is_fast(monkeypatch):
    scene = make_scenes(1, seed=5)[0].image
    exact = Captioner.from_pretrained("scenes-soft").caption(scene)
    monkeypatch.setattr("labkit.features.encoder.bf16_is_fast", lambda: True)
    captioner = Captioner.from_pretrained("scenes-soft")
    photo = captioner.caption(scene)
    assert not captioner.encoder.bf16
    assert (photo.text, photo.score) == (exact.text, exact.score)


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "1", "LA", "I", "F"])
def test_a_pil_image_of_any_mode_is_captioned(mode):
    captioner = Captioner.from_pretrained("scenes-soft")
    image = Image.fromarray(make_scenes(1, seed=5)[0].image).convert(mode)
    assert captioner.caption(image).text == captioner.caption(image.convert("RGB")).text


def test_a_pretrained_model_is_scored_on_stores_of_each_precision(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(evaluation, "score", lambda *_: Scores(*[0.5] * 7))
    for bf16 in (True, False):
        store = tmp_path / str(bf16)
        records = make_scenes(4, 3, "dev", pixels=112)
        prepare(records, store, SCENE_ENCODER, {"source": "x"}, DataReport(), bf16=bf16)
        evaluate_model("scenes-soft", store, progress=False)
        assert capsys.readouterr().err == ""  # the model does not say which it was
        said = FeatureStore(store, "dev").encoder["precision"]
        assert said == ("bf16" if bf16 else "fp32")
    run = shutil.copytree(PRETRAINED / "scenes-soft", tmp_path / "run")
    rewrite(run, lambda c: c["encoder"].update(precision="bf16"))
    evaluate_model(run, tmp_path / "True", progress=False)
    assert capsys.readouterr().err == ""
    evaluate_model(run, tmp_path / "False", progress=False)
    (line,) = capsys.readouterr().err.splitlines()
    assert "was prepared in fp32" in line and "features in bf16" in line
    rewrite(run, lambda c: c["encoder"].update(weights="/elsewhere/lite0.pth"))
    evaluate_model(run, tmp_path / "True", progress=False)
    rewrite(run, lambda c: c["encoder"].update(weights_hash="0" * 16))
    with pytest.raises(ValueError, match="prepared with another encoder"):
        evaluate_model(run, tmp_path / "True", progress=False)


def test_a_captioner_and_its_captions_show_what_they_are():
    captioner = Captioner.from_pretrained("scenes-soft")
    told = captioner.caption(make_scenes(1)[0].image)
    words = len(captioner.vocabulary)
    assert repr(captioner) == f"Captioner('scenes-soft', soft attention, {words} words)"
    assert repr(told) == f"CaptionedPhoto({told.text!r})"
    with pytest.raises(TypeError, match=r"^generate takes features, not a ndarray: photographs go"):
        captioner.generate(make_scenes(1)[0].image)
