"""What `labkit probe` measures and writes, on a few drawn scenes and made-up photographs.

Slow (half a minute): the shipped models are asked all questions, and Java tokenizes captions.
"""

import json
import shutil

import numpy as np
import pytest
import torch
from commands import assert_one_sentence, labkit
from PIL import Image

from labkit import Captioner, make_scenes
from labkit.data.photos import to_input
from labkit.data.redraw import redraw
from labkit.data.scenes import is_true
from labkit.data.vocabulary import BOS
from labkit.evaluation import probes
from labkit.evaluation.interventions import Estimate
from labkit.evaluation.metrics import score
from labkit.evaluation.pointing_game import points_at
from labkit.evaluation.probes import Row, probe_photos, rows_of
from labkit.evaluation.removals import SceneProbe
from labkit.evaluation.scene_probes import probe_scenes
from labkit.figures.probe_report import as_markdown, draw_rows, pooled, side_by_side
from labkit.model.captioner import PRETRAINED
from labkit.model.decoder import pad_captions
from labkit.store.shards import FeatureStore
from labkit.store.writer import StoreWriter

COUNT = 24


@pytest.fixture(scope="module")
def soft():
    return Captioner.from_pretrained("scenes-soft")


@pytest.fixture(scope="module")
def probe(soft):
    return SceneProbe(soft, make_scenes(COUNT, 0, "test"), progress=False)


@pytest.fixture(scope="module")
def tables():
    """The rows of both models of scenes, by question and case."""
    found = {}
    for name in ("soft", "hard"):
        rows = probe_scenes(Captioner.from_pretrained(f"scenes-{name}"), COUNT, 0, "test", False)
        found[name] = {(row.question, row.case): row.found for row in rows}
        assert len(found[name]) == len(rows)
    return found


def test_a_loss_is_what_the_decoder_says_of_both_pictures(probe, soft):
    """All three removals, by the decoder's own forward pass, for one named object and another."""
    def log_p(pictures, caption):
        a = soft.encoder(torch.stack([torch.from_numpy(to_input(one, 112)) for one in pictures]))
        words = pad_captions([[BOS, *caption]] * len(a))
        with torch.inference_mode():
            return -soft.decoder(a, words).nll.view(len(caption), len(a)).T

    one = next(one for one in probe.named if one.word > 4)
    caption, name = probe.captions[one.scene].words, f"scene-0-test-{one.scene:06d}"
    for j in (one.thing, *one.others):
        whole, without = log_p([redraw(name), redraw(name, j)], caption)
        for word, k in (("shape", one.word), ("colour", one.word - 1)):
            lost = (whole - without)[k].item()
            assert probe.loss(one, j, word) == pytest.approx(lost, abs=1e-3)


def test_named_objects_are_those_of_the_captions(probe):
    assert len(probe.named) > COUNT
    for one in probe.named:
        words = probe.text(probe.captions[one.scene]).split()
        things = probe.things[one.scene]
        thing = things[one.thing]
        assert words[one.word - 1 : one.word + 1] == [thing.colour, thing.shape]
        kinds = [(other.colour, other.shape) for other in things]
        assert kinds.count((thing.colour, thing.shape)) == 1
        assert sorted((one.thing, *one.others)) == list(range(len(things)))
        alpha = probe.captions[one.scene].alpha[one.word]
        assert probe.points_at(one, one.thing) == points_at(alpha, (7, 7), thing.box)


def test_the_rows_rest_on_what_they_say(probe, tables):
    found = tables["soft"]
    texts = map(probe.text, probe.captions)
    true = [is_true(text, things) for text, things in zip(texts, probe.things, strict=True)]
    level = found["captions that are true", "as the model is"]
    assert (level.n, level.mean) == (COUNT, np.mean(true))
    words = sum(len(caption.words) for caption in probe.captions)
    assert found["log p that a word of its caption loses", "no context"].n == words
    named, scenes = len(probe.named), len({one.scene for one in probe.named})
    pointing = found["the largest weight lies on the object named", "shape word"]
    assert (pointing.n, pointing.images) == (named, scenes)
    lost = "lost by the shape word when an object is removed"
    both = "attention and first state"
    assert found[lost, f"its own, for {both}"].n == named
    controls = sum(len(one.others) for one in probe.named)
    assert found[lost, f"control: another, for {both}"].n == controls
    steered = "the first phrase names the object that all steps are made to look at"
    assert found[steered, "made to look"].n == sum(map(len, probe.things)) == len(probe.without)
    for one in found.values():
        assert one.low <= one.mean <= one.high


def test_soft_and_hard_attention_differ_in_what_their_words_come_from(tables):
    """The effects that the book tells of, which are large, beside their controls."""
    look = "the word names the object that its step is made to look at"
    lost = "lost by the shape word when an object is removed"
    gone = "an object is not named any more when one is removed"
    for name, table in tables.items():
        assert table["true captions lost", "shuffled weights"].low > 0.2
        assert table[look, "shape word, control: its own object"].mean > 0.9
        assert table[lost, "its own, for attention and first state"].low > 3
        assert abs(table[lost, "control: another, for attention and first state"].mean) < 0.3
        assert table[gone, "its own"].mean > 0.9 > 0.3 > table[gone, "control: another"].mean, name
    soft, hard = tables["soft"], tables["hard"]
    assert soft[look, "shape word, another object"].low > 0.7
    assert hard[look, "shape word, another object"].high < 0.4
    assert abs(soft[lost, "its own, for first state"].mean) < 0.1
    assert hard[lost, "its own, for attention"].high < 3 < soft[lost, "its own, for attention"].low


# ---------------------------------------------------------------------------------- photographs


def photos(folder, count=8, dim=None, captions=2):
    """A store of made-up vectors that says it holds photographs of the shipped models' encoder."""
    encoder = Captioner.from_pretrained("flickr8k-soft").encoder_facts
    shape = encoder["grid"][0] * encoder["grid"][1], dim or encoder["dim"]  # (L, D)
    texts = ["a dog runs on the grass", "two people stand near a lake", "a man in a red shirt"]
    rng = np.random.default_rng(0)
    with StoreWriter(folder, *shape, encoder, {"source": "made up"}) as writer:
        for n in range(count):
            a = rng.standard_normal(shape).astype(np.float16)
            writer.add("dev", f"{n}.jpg", a, [texts[(n + k) % 3] for k in range(captions)])
    return folder


def test_photographs_are_asked_all_but_removal(tmp_path):
    captioner = Captioner.from_pretrained("flickr8k-soft")
    store = FeatureStore(photos(tmp_path / "store"), "dev")
    rows = probe_photos(captioner, store, progress=False)
    table = {(row.question, row.case): row.found for row in rows}
    assert {row.unit for row in rows} == {"CIDEr", "nats"} and len(rows) == 11
    config = captioner.generation.updated({"num_beams": 1})
    captions = captioner.generate(torch.from_numpy(store.read(range(8))), config)
    references = dict(zip(store.ids, store.captions, strict=True))
    whole = score(references, {id: one.text for id, one in zip(store.ids, captions, strict=True)})
    assert table["CIDEr of its captions", "as the model is"].mean == pytest.approx(whole.cider)
    words = sum(len(one.words) for one in captions)
    assert table["log p that a word of its caption loses", "uniform weights"].n == words
    some = probe_photos(captioner, store, 5, progress=False)
    assert {row.found.images for row in some} == {5}


def test_batches_change_nothing(probe, monkeypatch):
    changes = probe.changes["shuffled weights"], {"weights": torch.arange(COUNT)}
    whole = [[probe.text(one) for one in probe.caption(probe.a, **change)] for change in changes]
    monkeypatch.setattr(probes, "BATCH_SIZE", 5)
    parts = [[probe.text(one) for one in probe.caption(probe.a, **change)] for change in changes]
    assert whole == parts


# ------------------------------------------------------------------------------ tables, figures


def test_rows_become_a_table_and_a_figure():
    rows = rows_of("Is it?", "share", {"yes": [(1, 0), (0.5, 1)], "never": [], "no": [(0, 3)]})
    rows += [Row("How much?", "all", "nats", Estimate(3, 2, 1.25, -0.5, 2))]
    assert [row.case for row in rows] == ["yes", "no", "all"]
    assert as_markdown(rows, "One.").splitlines() == [
        "One.", "", "| question | case | estimate | 95% interval | n | images |",
        "|---|---|---|---|---|---|", "| Is it? | yes | 0.750 | 0.500 to 1.000 | 2 | 2 |",
        "|  | no | 0.000 |  | 1 | 1 |",
        "| How much? | all | 1.250 nats | -0.500 to 2.000 | 3 | 2 |",
    ]  # fmt: skip
    figure = draw_rows(rows, "A title")
    one, two = figure.axes
    assert one.get_title("left") == "Is it? (share)" and two.get_title("left") == "How much? (nats)"
    assert [label.get_text() for label in one.get_yticklabels()] == ["yes", "no"]
    assert [tuple(line.get_xdata()) for line in two.lines[:2]] == [(-0.5, 2), (1.25,)]
    assert rows[2].as_dict() == {
        "question": "How much?", "case": "all", "unit": "nats", "n": 3, "images": 2, "mean": 1.25,
        "low": -0.5, "high": 2,
    }  # fmt: skip


def test_runs_are_pooled_and_models_put_side_by_side():
    def rows(shift: float, *cases: str) -> list[dict]:
        found = Estimate(5, 3, 0.5 + shift, 0.4 + shift, 0.6 + shift)
        return [Row(case[0], case, "nats" if case[0] == "q" else "share", found).as_dict()
                for case in cases]  # fmt: skip

    one = pooled([rows(0, "q1", "p1"), rows(0.2, "q1", "q2", "p1")])
    assert [(row["case"], row["runs"], row["n"]) for row in one] == [
        ("q1", 2, 10), ("p1", 2, 10), ("q2", 1, 5)]  # fmt: skip
    assert [one[0][key] for key in ("mean", "low", "high")] == pytest.approx([0.6, 0.4, 0.8])
    alone = Estimate(1, 1, 0.25, None, None)
    other = pooled([[Row("q", "q2", "nats", alone).as_dict()]])
    lines = side_by_side({"soft": one, "hard": other}, "9 scenes", 2).splitlines()
    assert lines[0] == "| question | case | soft | hard |"
    assert lines[2:5] == [  # questions stay together
        "| q, nats | q1 | 0.60 [0.40, 0.80] |  |",
        "|  | q2 | 0.70 [0.60, 0.80] | 0.25 |",
        "| p | p1 | 0.60 [0.40, 0.80] |  |",
    ]
    assert lines[6].startswith("9 scenes; 2 runs of each")


def test_the_command_writes_a_table_and_a_figure(tmp_path):
    out = tmp_path / "made" / "probed"
    words = ["probe", "scenes-hard", "--out", out, "--count", 12]
    done = labkit(*words)
    assert done.returncode == 0, done.stderr
    assert not done.stderr  # no progress bar: standard error is no terminal
    assert {path.name for path in out.iterdir()} == {"table.json", "table.md", "figure.png"}
    table = json.loads((out / "table.json").read_text())
    assert table["model"] == "scenes-hard"
    assert table["images"] == "12 drawn scenes of seed 0, split dev"
    assert len(table["rows"]) > 30 and all(row["n"] and row["images"] for row in table["rows"])
    assert done.stdout == (out / "table.md").read_text()
    assert "Captions: greedy, at most 24 words." in done.stdout
    assert np.asarray(Image.open(out / "figure.png")).std() > 10
    assert_one_sentence(labkit(*words), "table.json exists", "--overwrite")
    done = labkit("probe", "flickr8k-hard", "--data", photos(tmp_path / "s"), "--out", out,
                  "--overwrite")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "8 photographs" in json.loads((out / "table.json").read_text())["images"]


def test_a_run_of_scenes_is_asked_about_its_own_split_and_seed(tmp_path):
    """A store may hold fewer scenes than are asked about: any number can be drawn."""
    store = tmp_path / "store"
    assert labkit("prepare", "scenes", "--count", 10, "--seed", 4, "--out", store).returncode == 0
    words = "probe", "scenes-soft", "--data", store, "--count", 11, "--out", tmp_path / "out"
    done = labkit(*words, "--split", "train")
    assert "11 drawn scenes of seed 4, split train" in done.stdout, done.stderr
    done = labkit(*words, "--split", "tset", "--overwrite")
    assert_one_sentence(done, "scenes have the splits train, dev, test, not 'tset'")


def test_what_cannot_be_asked_is_said_in_one_sentence(tmp_path):
    def refused(model, *words, says):
        done = labkit("probe", model, "--out", tmp_path / "out", *words)
        assert_one_sentence(done, *says)
        assert not list((tmp_path / "out").glob("*"))

    refused("flickr8k-soft", says=["flickr8k-soft comes without its data", "--data"])
    refused("no-model", says=["no-model is not a trained model"])
    refused("scenes-soft", "--data", tmp_path / "none", says=["none", "no finished store"])
    labkit("prepare", "scenes", "--count", 10, "--out", tmp_path / "scenes")
    refused("flickr8k-soft", "--data", tmp_path / "scenes", says=["holds drawn scenes", "--data"])
    other = photos(tmp_path / "photos")
    refused("scenes-soft", "--data", other, says=["another encoder"])
    refused("flickr8k-soft", "--data", other, "--split", "test", says=["no split 'test'"])
    bare = photos(tmp_path / "bare", captions=0)
    refused("flickr8k-soft", "--data", bare, says=["bare: dev has 0 images with captions"])
    (tmp_path / "file").write_text("mine")
    done = labkit("probe", "scenes-soft", "--out", tmp_path / "file")
    assert_one_sentence(done, "file")
    assert labkit("probe", "scenes-soft", "--out", tmp_path, "--count", 2).returncode == 2


def test_a_report_may_lie_in_the_run_and_the_runs_own_files_stay(tmp_path):
    """Each command gets past its outputs, and stops at what else is wrong."""
    run = shutil.copytree(PRETRAINED / "scenes-soft", tmp_path / "run")
    (run / "probed").mkdir()
    for report in (run / "probed" / "table.json", run / "scores.json"):
        report.write_text("{}")
    done = labkit("probe", run, "--out", run / "probed", "--split", "tset", "--overwrite")
    assert_one_sentence(done, "scenes have the splits")
    for verb in ("evaluate", "calibrate"):
        words = [verb, run, "--data", tmp_path / "none", "--overwrite", "--json"]
        assert_one_sentence(labkit(*words, run / "scores.json"), "no finished store")
        for own in ("config.json", "vocabulary.json", "model.safetensors"):
            assert_one_sentence(labkit(*words, run / own), f"{own} is read by this command")


def test_a_store_that_was_moved_is_asked_for(tmp_path):
    run = shutil.copytree(PRETRAINED / "scenes-soft", tmp_path / "run")
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps(config | {"data": str(tmp_path / "gone")}))
    for words in (["evaluate", run], ["probe", run, "--out", tmp_path / "out"],
                  ["calibrate", run, "--out", tmp_path / "out"]):  # fmt: skip
        done = labkit(*words)
        assert_one_sentence(done, "run was trained on", "gone, which is not there: name it with")
