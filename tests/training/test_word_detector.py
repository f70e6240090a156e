"""Which words an image calls for: the equation, what is learned, and what the captions gain."""

import json
import math
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from commands import assert_one_sentence, labkit

from labkit import Captioner, FeatureStore, prepare_scenes, train
from labkit.evaluation.evaluate import _gather
from labkit.model import checkpoint
from labkit.model.beams import beam_search
from labkit.model.captioner import PRETRAINED, decoding_of
from labkit.model.captions import EVIDENCE, Caption, minimum_bayes_risk
from labkit.model.generation import generate
from labkit.model.word_detector import FILE, PER_WORD, WordDetector
from labkit.store.writer import StoreWriter
from labkit.training.word_detector import fit_word_detector


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return prepare_scenes(tmp_path_factory.mktemp("scenes") / "store", count=300, progress=False)


@pytest.fixture(scope="module")
def fitted(store, tmp_path_factory):
    """A copy of a model with a detector of its own, and what was measured."""
    model = tmp_path_factory.mktemp("detector") / "model"
    shutil.copytree(PRETRAINED / "scenes-soft", model)
    found = fit_word_detector(model, model, store, progress=False)
    config = json.loads((model / "config.json").read_text())
    config["generation"]["mbr_candidates"] = 8
    (model / "config.json").write_text(json.dumps(config))
    return model, found


@pytest.fixture(scope="module")
def captioner(fitted):
    return Captioner.from_pretrained(fitted[0])


def features(store, split="dev", count=20):
    return torch.from_numpy(FeatureStore(store, split).read(np.arange(count))).float()


def test_words_of_an_image_are_told_from_others(store, fitted, captioner):
    """In scenes it has not seen, words that are said have more evidence than words that are not."""
    assert fitted[1].images == 300
    assert fitted[1].words == len(captioner.vocabulary)
    assert fitted[1].loss < 0.9 * fitted[1].loss_constant
    images = FeatureStore(store, "dev")
    evidence, right, pairs = captioner.detector.evidence(features(store)), 0, 0
    colours = captioner.vocabulary.ids(["red", "green", "blue", "yellow", "white"])
    for row, texts in zip(evidence, images.captions, strict=False):
        said = {word for text in texts for word in captioner.vocabulary.encode(text)}
        for one in said & {*colours}:
            for other in {*colours} - said:
                right, pairs = right + bool(row[one] > row[other]), pairs + 1
    assert pairs > 50
    assert right > 0.7 * pairs


def test_the_evidence_is_the_equation(store, captioner):
    """Word by word, with plain sums."""
    decoder, detector = captioner.decoder, captioner.detector
    (a,) = features(store, count=1)
    with torch.no_grad():
        regions = [decoder.reduce(decoder.norm(one)) for one in a]
    mean = [sum(float(one[d]) for one in regions) / len(regions) for d in range(len(regions[0]))]
    most = [max(float(one[d]) for one in regions) for d in range(len(regions[0]))]
    hidden = [sum(map(math.prod, zip(row, mean + most, strict=True)))
              for row in detector.weight.tolist()]  # fmt: skip
    (found,) = detector.evidence(a[None]).tolist()
    for word, row in enumerate(decoder.embedding.weight.tolist()):
        logit = sum(map(math.prod, zip(row, hidden, strict=True))) + float(detector.bias[word])
        brings = -math.log1p(math.exp(-logit)) - float(detector.log_prior[word]) - PER_WORD
        assert found[word] == pytest.approx(brings if word > 3 else 0, abs=1e-3), word


def test_a_run_with_a_start_says_that_it_needs_another_detector(store, fitted, tmp_path, capsys):
    note = f"has ended, run labkit detect-words {tmp_path / 'run'}"
    train(store, tmp_path / "run", start=fitted[0], epochs=1, train_split="dev", progress=False)
    assert capsys.readouterr().err.count(note) == 1
    # a model that takes the most likely caption asks none, and one without a start has none to lose
    train(store, tmp_path / "one", start=fitted[0], mbr_candidates=0, epochs=1, train_split="dev",
          progress=False)  # fmt: skip
    train(store, tmp_path / "new", mbr_candidates=8, epochs=1, train_split="dev", hidden_dim=8,
          progress=False)  # fmt: skip
    assert "detect-words" not in capsys.readouterr().err


def test_agreement_and_evidence_choose_together():
    """Against plain counting, and the evidence alone decides between captions alike in all else."""
    random = np.random.default_rng(0)
    changed = 0
    for _ in range(50):
        captions = [random.integers(4, 9, random.integers(0, 6)).tolist() for _ in range(5)]
        scores = random.normal(-2, 0.2, 5).tolist()
        evidence = torch.tensor(random.normal(0, 8, 9))
        weights = torch.tensor(scores).div(0.35).softmax(0).tolist()

        def value(one, captions=captions, weights=weights, evidence=evidence):
            pairs = zip(captions, weights, strict=True)
            agrees = sum(w * f1(one, other) for other, w in pairs)
            return agrees + EVIDENCE * sum(float(evidence[word]) for word in {*one})

        chosen = captions[minimum_bayes_risk(captions, scores, evidence=evidence)]
        assert value(chosen) == pytest.approx(max(map(value, captions)), abs=1e-5)
        changed += chosen != captions[minimum_bayes_risk(captions, scores)]
    assert changed > 10
    assert minimum_bayes_risk([[5, 6], [6, 7]], [-1, -1], evidence=torch.arange(9.0)) == 1


def f1(one, other):
    def ngrams(words):
        return [tuple(words[i : i + n]) for n in range(1, 5) for i in range(len(words) - n + 1)]

    left, shared = ngrams(other), 0
    for ngram in ngrams(one):
        if ngram in left:
            left.remove(ngram)
            shared += 1
    return 2 * shared / max(len(ngrams(one)) + len(ngrams(other)), 1)


def test_the_model_asks_its_detector_where_it_chooses(store, captioner):
    a, decoder = features(store, "train", 100), captioner.decoder
    detector = replace(captioner.detector, weight=4 * captioner.detector.weight)  # to change more
    with_it = generate(decoder, a, captioner.generation, detector=detector)
    found = beam_search(decoder, a, 8, 24, 0.6, mbr=True, evidence=detector.evidence(a),
                        no_repeat_ngram_size=captioner.generation.no_repeat_ngram_size)  # fmt: skip
    assert [one.words for one in with_it] == [one.words for one in found]
    for caption, brings in zip(with_it, detector.evidence(a), strict=True):
        mean = sum(brings[word].item() for word in {*caption.words}) / len({*caption.words})
        assert caption.evidence == pytest.approx(mean, abs=1e-5)
    alone = generate(decoder, a, captioner.generation)
    assert {one.evidence for one in alone} == {None}
    assert [one.words for one in alone] != [one.words for one in with_it]
    plain = generate(decoder, a, captioner.generation.updated({"num_beams": 3}), detector=detector)
    assert {one.evidence for one in plain} == {None}  # the most likely caption is returned
    with_it = generate(decoder, a, captioner.generation, detector=captioner.detector)
    decoded = [captioner.vocabulary.decode(one.words) for one in with_it]
    assert [photo.text for photo in captioner.generate(a)] == decoded


def test_commands_say_that_a_detector_helped(store, fitted, tmp_path):
    """Evaluation, calibration, and a caption's share of wrong ones."""
    model = tmp_path / "model"
    shutil.copytree(fitted[0], model)
    done = labkit("evaluate", model, "--data", store, "--split", "dev")
    assert done.returncode == 0, done.stderr
    assert "with a word detector" in done.stdout
    beams = labkit("evaluate", model, "--data", store, "--split", "dev", "--num-beams", "2")
    assert "detector" not in beams.stdout
    done = labkit("calibrate", model, "--data", store, "--split", "train", "--overwrite")
    assert done.returncode == 0, done.stderr
    captioner = Captioner.from_pretrained(model)
    curve, a = captioner.calibration, features(store)
    assert curve.evidence != 0  # it has a say; in scenes, hardly any
    own = generate(captioner.decoder, a, captioner.generation, detector=captioner.detector)
    for photo, one in zip(captioner.generate(a), own, strict=True):
        assert photo.wrong == pytest.approx(curve.share_wrong(one.score, one.evidence))
        assert photo.wrong != curve.share_wrong(one.score)
    again = labkit("detect-words", model, "--data", store, "--seed", "1", "--overwrite")
    assert "calibration.json was measured without it: run labkit calibrate" in again.stderr
    checked = labkit("calibrate", model, "--data", store, "--check")  # with another detector
    assert_one_sentence(checked, "no calibration to check")
    assert "calibration.json was measured with other weights" in checked.stderr
    (model / FILE).unlink()  # then captions are chosen in another way, and the curve says nothing
    assert {photo.wrong for photo in Captioner.from_pretrained(model).generate(a)} == {None}


def test_processes_share_what_the_detector_said():
    class Alone:  # a group of one, whose gathering does not change anything
        def gather(self, tensor):
            return tensor

    captions = [Caption([4, 5], -1.5, torch.rand(2, 3), 0.25), Caption([], -2.0, torch.rand(0, 3)),
                Caption([7], -0.5, torch.rand(1, 3), -1.0)]  # fmt: skip
    found = _gather(Alone(), np.array([2, 0, 1]), captions, 3)
    assert [one.words for one in found] == [[], [7], [4, 5]]
    assert [one.evidence for one in found] == [None, -1.0, 0.25]
    assert [one.score for one in found] == [-2.0, -0.5, -1.5]


def test_the_command(store, tmp_path):
    model = tmp_path / "model"
    shutil.copytree(PRETRAINED / "scenes-soft", model)
    split = ("--train-split", "dev", "--dev-split", "dev", "--data", store)
    done = labkit("detect-words", model, *split, "--json", tmp_path / "found.json")
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "found.json").read_text())
    assert set(found) == {"words", "images", "loss", "loss_constant", "epoch", "candidates"}
    assert "takes the most likely caption, and asks no detector" in done.stderr
    detector = Captioner.from_pretrained(model).detector
    again = labkit("detect-words", model, *split)
    assert_one_sentence(again, FILE, "exists")
    labkit("detect-words", model, *split, "--overwrite")
    same = Captioner.from_pretrained(model).detector
    assert torch.equal(detector.weight, same.weight)  # a seed decides
    labkit("detect-words", model, *split, "--overwrite", "--seed", "1")
    assert not torch.equal(detector.weight, Captioner.from_pretrained(model).detector.weight)
    assert_one_sentence(labkit("detect-words", "scenes-soft", *split), "--out")
    inside = labkit("detect-words", model, *split, "--out", store)
    assert_one_sentence(inside, "holds a store: name another folder")
    same = labkit("detect-words", model, *split, "--json", model / FILE, "--overwrite")
    assert same.returncode == 1 and FILE in same.stderr
    assert Captioner.from_pretrained(model).detector is not None
    none = labkit("detect-words", model, "--data", store, "--train-split", "nowhere", "--overwrite")
    assert_one_sentence(none, "nowhere")


def test_a_split_without_captions_has_no_words(store, tmp_path):
    there = FeatureStore(store, "dev")
    parts = (tmp_path / "store", there.length, there.dim, there.encoder, there.source, 10)
    with StoreWriter(*parts) as writer:
        for split, texts in [("train", there.captions[0]), ("dev", [])]:
            writer.add(split, f"{split}-0", there[0], list(texts))
    for splits in ({}, {"train_split": "dev", "dev_split": "train"}):
        with pytest.raises(ValueError, match=r"dev has no captions to learn words from"):
            fit_word_detector(
                "scenes-soft", tmp_path / "out", tmp_path / "store", progress=False, **splits
            )
    assert not [*(tmp_path / "out").iterdir()]


def test_a_wrong_file_is_named_and_a_new_one_mends_it(store, fitted, tmp_path, capsys):
    model = tmp_path / "model"
    shutil.copytree(fitted[0], model)
    whole = (model / FILE).read_bytes()
    tensors, facts = checkpoint.load(model / FILE)
    decoder = Captioner.from_pretrained(model).decoder
    decoder.bias.data[5] += 1
    assert WordDetector.load(model, decoder, checkpoint.checksum(decoder.state_dict())) is None
    assert "fitted to other weights: run labkit detect-words" in capsys.readouterr().err
    for spoiled in ({"bias": tensors["bias"]}, tensors | {"bias": tensors["bias"][:3]}):
        checkpoint.save(model / FILE, spoiled, facts)  # as of a run trained anew with other sizes
        assert Captioner.from_pretrained(model).detector is None
        assert "fitted to other weights" in capsys.readouterr().err
    for bias in (tensors["bias"] * math.nan, tensors["bias"].float()):
        checkpoint.save(model / FILE, tensors | {"bias": bias}, facts)
        with pytest.raises(ValueError, match=rf"{FILE}.* NaN, infinity or other numbers .*bias"):
            Captioner.from_pretrained(model)
    (model / FILE).write_bytes(whole[:-7])
    with pytest.raises(ValueError, match=rf"{FILE} is damaged"):
        Captioner.from_pretrained(model)
    capsys.readouterr()
    splits = {"train_split": "dev", "dev_split": "dev", "progress": False}
    fit_word_detector(model, model, store, overwrite=True, **splits)  # which mends it
    assert capsys.readouterr().err == ""
    assert Captioner.from_pretrained(model).detector is not None


def test_the_splits_are_those_of_the_run(store, tmp_path):
    model = tmp_path / "model"
    shutil.copytree(PRETRAINED / "scenes-soft", model)
    config = json.loads((model / "config.json").read_text())
    config["training"] |= {"train_split": "test", "dev_split": "test"}
    (model / "config.json").write_text(json.dumps(config))
    found = fit_word_detector(model, model, store, progress=False)
    assert found.images == len(FeatureStore(store, "test")) != len(FeatureStore(store, "train"))


def test_one_candidate_asks_no_detector(store, captioner):
    config = replace(captioner.generation, mbr_candidates=1)
    assert "detector" not in decoding_of(config, captioner.decoder, captioner.detector)
    assert generate(captioner.decoder, features(store), config, detector=captioner.detector)


def test_captions_without_words_have_no_evidence():
    assert minimum_bayes_risk([[], [5]], [-0.1, -3.0], evidence=torch.full((9,), -100.0)) == 0
