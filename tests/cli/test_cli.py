"""The command line as a user types it: real files, exit codes, what is printed.

Slow (half a minute): real processes prepare a store, train a captioner on it and score it, and
caption photographs. The other commands run in the tests' own process.
"""

import json

import numpy as np
import pytest
from commands import assert_one_sentence, labkit, new_process
from PIL import Image

from labkit.data.scenes import make_scenes
from labkit.model.captioner import list_pretrained
from labkit.store.shards import FeatureStore
from labkit.store.writer import StoreWriter

VERBS = [
    ["demo"], ["data"], ["prepare", "scenes"], ["prepare", "flickr8k"], ["prepare", "coco"],
    ["prepare", "karpathy"], ["prepare", "flickr30k"], ["prepare", "table"], ["prepare", "auto"],
    ["train"], ["compare"], ["evaluate"], ["caption"], ["info"],
    ["verify"], ["export"], ["split"], ["grade"], ["score"], ["models"], ["probe"],
    ["people"], ["doctor"],
]  # fmt: skip


def test_help_has_an_example_for_every_verb():
    from typer.testing import CliRunner

    from labkit.cli.main import app

    for verb in VERBS:
        result = CliRunner().invoke(app, [*verb, "--help"])
        assert result.exit_code == 0
        assert f"Example: labkit {' '.join(verb)}" in result.output, verb


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A small store of scenes and a run of one epoch, made by the command line."""
    folder = tmp_path_factory.mktemp("work")
    prepare = "prepare", "scenes", "--out", "store", "--count", 60, "--seed", 3
    done = new_process(*prepare, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "60 train, 10 dev, 10 test" in done.stdout
    done = labkit("train", "store", "--out", "run", "--epochs", 1, cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder


def test_prepare_twice_changes_nothing_and_other_things_are_refused(work):
    before = {path.name: path.stat().st_mtime_ns for path in (work / "store").iterdir()}
    again = labkit("prepare", "scenes", "--out", "store", "--count", 60, "--seed", 3, cwd=work)
    assert again.returncode == 0
    assert before == {path.name: path.stat().st_mtime_ns for path in (work / "store").iterdir()}
    other = labkit("prepare", "scenes", "--out", "store", "--count", 50, cwd=work)
    assert_one_sentence(other, "store", "another folder")


def test_info_verify_export_and_split(work, tmp_path):
    done = labkit("info", "store", cwd=work)
    assert done.returncode == 0 and "train: 1 files, 300 captions" in done.stdout
    assert labkit("verify", "store", cwd=work).stdout.strip() == "store is intact"
    words = ["export", "store", tmp_path / "out", "--to", "safetensors", "--split", "dev"]
    assert labkit(*words, cwd=work).returncode == 0
    assert list((tmp_path / "out").iterdir())
    assert_one_sentence(labkit(*words, cwd=work), "exists")
    nine = "9 files: 10000 10000 10000 10000 10000 10000 10000 10000 2783"
    assert labkit("split").stdout.strip() == nine


def test_models_are_listed_with_what_they_are():
    lines = labkit("models").stdout.splitlines()
    assert [line.split()[0] for line in lines] == list_pretrained()
    assert all(len(line.split()) > 3 for line in lines)


def test_the_run_folder_holds_what_it_should(work):
    names = {path.name for path in (work / "run").iterdir() if path.name[0] != "."}
    assert names == {
        "config.json", "vocabulary.json", "metrics.jsonl", "loss.png", "model.safetensors",
        "checkpoint.safetensors",
    }  # fmt: skip
    done = labkit("train", "store", "--out", "run", cwd=work)
    assert_one_sentence(done, "run", "--resume")


def test_evaluate_writes_scores_and_captions(work):
    done = labkit(
        "evaluate", "run", "--split", "test", "--num-beams", 3, "--json", "scores.json",
        "--captions", "captions.json", cwd=work,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    scores = json.loads((work / "scores.json").read_text())
    names = {"bleu1", "bleu2", "bleu3", "bleu4", "meteor", "rouge_l", "cider", "pointing"}
    assert names <= set(scores)
    assert all(0 <= scores[name] <= 10 for name in names)
    assert (scores["split"], scores["images"]) == ("test", 10)
    assert "3 beams" in scores["decoding"]
    captions = json.loads((work / "captions.json").read_text())
    assert len(captions) == 10 and set(captions[0]) == {"image_id", "caption"}
    assert f"{scores['meteor']:.3f}" in done.stdout


def test_hard_attention_is_trained_and_states_its_attention_mode(work):
    """Slow: another training."""
    done = labkit(
        "train", "store", "--out", "hard", "--attention", "reinforce", "--epochs", 1,
        "--set", "reward=to_go", "--set", "soft_share=0.25", cwd=work,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    kept = json.loads((work / "hard" / "config.json").read_text())
    model, training = kept["model"], kept["training"]
    assert (model["attention"], model["soft_share"]) == ("reinforce", 0.25)
    assert training["reward"] == "to_go"
    words = ["evaluate", "hard", "--num-beams", 1]
    assert "attending to the single most likely region" in labkit(*words, cwd=work).stdout
    assert "by their weights" in labkit(*words, "--attention-mode", "expectation", cwd=work).stdout
    done = labkit(*words, "--attention-mode", "twice", cwd=work)
    assert_one_sentence(done, "argmax, sample or expectation")
    resumed = labkit("train", "store", "--out", "hard", "--resume", cwd=work)
    assert resumed.returncode == 0, resumed.stderr  # what is not given is as it was
    scene = make_scenes(1, seed=9)[0].image
    Image.fromarray(scene).save(work / "scene.png")
    words = ["caption", "hard", "scene.png", "--out", "h", "--attention-mode", "sample"]
    done = labkit(*words, cwd=work)
    assert done.returncode == 0 and (work / "h" / "scene.png").exists()


def test_settings_that_are_not_understood(work):
    train = ["train", "store", "--out", "new"]
    assert_one_sentence(labkit(*train, "--set", "epoch=1", cwd=work), "no setting 'epoch'")
    assert_one_sentence(labkit(*train, "--set", "seed=one", cwd=work), "seed is a whole number")
    done = labkit(*train, "--attention", "hard", cwd=work)
    assert_one_sentence(done, "not 'hard'", "reinforce", "register_attention")
    done = labkit("evaluate", "run", "--attention-mode", "argmax", cwd=work)
    assert_one_sentence(done, "argmax")


def test_compare_shows_mechanisms_side_by_side(work):
    """Slow: two trainings."""
    done = labkit(
        "compare", "store", "--attention", "argmax", "--attention", "best=marginal:places=4",
        "--seeds", 1, "--set", "epochs=1", "--out", "both", cwd=work,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    table = json.loads((work / "both" / "table.json").read_text())
    assert list(table) == ["argmax", "best"]
    assert {"pointing", "pointing_human", "objects_right", "captions_true"} <= set(table["best"])
    assert done.stdout == (work / "both" / "table.md").read_text(encoding="utf-8")
    strips = {path.name for path in (work / "both" / "strips").iterdir()}
    assert strips == {f"{k}-{name}.png" for k in range(4) for name in ("argmax", "best")}


def test_evaluate_what_cannot_be_scored(work):
    assert_one_sentence(labkit("evaluate", "run", "--split", "all", cwd=work), "all", "train")
    assert_one_sentence(labkit("evaluate", "nothing", cwd=work), "nothing", "labkit train")


def test_good_photos_are_captioned_and_bad_ones_are_named(work):
    scene = make_scenes(1, seed=9)[0].image
    Image.fromarray(scene).resize((200, 120)).save(work / "good.png")
    Image.fromarray(scene).convert("L").save(work / "grey.jpg")
    (work / "text.jpg").write_text("no photograph")
    photos = ["good.png", "grey.jpg", "text.jpg", "missing.jpg"]
    done = new_process("caption", "run", *photos, "--out", "maps", cwd=work)
    assert done.returncode == 1
    assert [line.split("\t")[0] for line in done.stdout.splitlines()] == photos[:2]
    assert "text.jpg" in done.stderr and "missing.jpg" in done.stderr
    assert "Traceback" not in done.stderr
    assert {path.name for path in (work / "maps").iterdir()} == {"good.png", "grey.png"}
    assert np.asarray(Image.open(work / "maps" / "good.png")).std() > 10


def test_no_picture_of_a_caption_takes_the_place_of_a_file(work, tmp_path):
    scenes = [Image.fromarray(scene.image) for scene in make_scenes(2, seed=9)]
    long = "n" * 251 + ".jpg"
    names = ["me.png", "a-2.jpg", "a.jpg", "x/a.jpg", ".hidden.jpg", long, "an ü 日本.jpg"]
    (tmp_path / "x").mkdir()
    for name in names:
        scenes[0].save(tmp_path / name)
    mine = (tmp_path / "me.png").read_bytes()
    done = labkit("caption", work / "run", *names, "--out", ".", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert [line.split("\t")[0] for line in done.stdout.splitlines()] == names
    assert (tmp_path / "me.png").read_bytes() == mine
    new = {"me-2", "a-2", "a", "a-3", ".hidden", "n" * 251, "an ü 日本"}
    assert {path.stem for path in tmp_path.glob("*.png")} == new | {"me"}
    assert "me-2.png" in done.stderr and "a-3.png" in done.stderr
    assert len(done.stderr.splitlines()) == 2

    before = {path: path.read_bytes() for path in tmp_path.glob("*.png")}
    scenes[1].save(tmp_path / "x" / long)
    again = labkit("caption", work / "run", f"x/{long}", "x/a.jpg", "--out", ".", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert before == {path: path.read_bytes() for path in before}
    assert {path.stem for path in set(tmp_path.glob("*.png")) - set(before)} == {
        "n" * 249 + "-2", "a-4"}  # fmt: skip


def test_outputs_are_seen_before_the_work_and_never_overwritten(work, tmp_path):
    mine, new = tmp_path / "mine.json", tmp_path / "made" / "here" / "scores.json"
    mine.write_text("mine")
    for words in (
        ["evaluate", "no-run", "--json", mine],
        ["evaluate", "no-run", "--captions", mine, "--json", tmp_path / "other.json"],
        ["score", "nothing", "nothing", "--json", mine],
        ["grade", "nothing.ipynb", "--json", mine],
    ):  # were there any work done, something else would be wrong first
        assert_one_sentence(labkit(*words, cwd=work), "mine.json exists", "--overwrite")
    assert_one_sentence(labkit("evaluate", "no-run", "--json", mine / "x", cwd=work), "no folder")
    same = ["--json", new, "--captions", new]
    assert_one_sentence(labkit("evaluate", "no-run", *same, cwd=work), "asked for twice")
    assert mine.read_text() == "mine"
    words = ["--json", new, "--captions", mine, "--overwrite"]
    done = labkit("evaluate", "run", "--max-length", 3, *words, cwd=work)
    assert done.returncode == 0, done.stderr
    assert "at most 3 words" in json.loads(new.read_text())["decoding"]
    captions = [one["caption"] for one in json.loads(mine.read_text())]
    assert captions and max(len(text.split()) for text in captions) <= 3


def test_scores_are_printed_before_they_are_written(work, tmp_path, monkeypatch):
    """A disk that is full by then loses the file, not the scores."""

    def full(*_, **__):
        raise OSError(28, "No space left")

    monkeypatch.setattr("labkit.cli.scoring.write_json", full)
    words = ["evaluate", "run", "--num-beams", 1, "--json", tmp_path / "scores.json"]
    done = labkit(*words, cwd=work)
    assert_one_sentence(done, "No space left")
    assert "cider" in done.stdout and "meteor" in done.stdout


@pytest.mark.parametrize(
    "words",
    [
        ["demo", "--out"],
        ["compare", "{store}", "--attention", "soft", "--out"],
        ["prepare", "scenes", "--count", 60, "--out"],
    ],
    ids=lambda words: words[0],
)
def test_a_folder_of_other_files_is_left_alone(work, tmp_path, words):
    """Also one with files that have the names of those that would be written."""
    for name in ("index.html", "scores.json", "table.json", "store/manifest.json", "run/a.txt",
                 "runs/soft-0/config.json", "train-00000.npy"):  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("{}")
    before = {path for path in tmp_path.rglob("*") if path.is_file()}
    words = [str(word).format(store=work / "store") for word in words]
    done = labkit(*words, ".", cwd=tmp_path)
    assert_one_sentence(done, "holds files that are not labkit's: name a new folder")
    assert {path for path in tmp_path.rglob("*") if path.is_file()} == before
    assert {path.read_text() for path in before} == {"{}"}


def test_a_bad_photograph_is_named_before_the_mechanisms_are_trained(work, tmp_path):
    words = ["compare", work / "store", "--attention", "soft", "--out", tmp_path / "out"]
    done = labkit(*words, "--photo", tmp_path / "none.jpg")
    assert_one_sentence(done, "none.jpg is missing")
    assert not (tmp_path / "out").exists()


def test_two_processes_do_not_prepare_one_folder(tmp_path):
    out = tmp_path / "store"
    with StoreWriter(out, 49, 112, {}, {}) as writer:
        writer.add("train", "a", np.zeros((49, 112), np.float16), ["a"])
        parts = [path for path in out.iterdir() if path.name.startswith(".part-")]
        assert parts
        done = new_process("prepare", "scenes", "--count", 60, "--out", out)
        assert_one_sentence(done, "store is being written by another process")
        assert all(part.exists() for part in parts)
    assert FeatureStore(out, "train").ids == ["a"]


def test_words_that_are_not_understood_give_exit_code_2(work):
    wrong = {"--num-beams": [0, 101], "--max-length": [0], "--length-penalty": [-1]}
    for option, value in ((name, value) for name, values in wrong.items() for value in values):
        assert labkit("evaluate", "run", option, value, cwd=work).returncode == 2
    assert labkit("train").returncode == 2
    assert labkit("prepare", "scenes", "--out", "x", "--count", "many").returncode == 2
    assert labkit("sing").returncode == 2


def make_coco(root, captions=True):
    """Two photographs in COCO's layout; without captions, a test split."""
    (root / "annotations").mkdir(parents=True)
    split = "train2014" if captions else "test2014"
    (root / split).mkdir()
    images = []
    for number, scene in enumerate(make_scenes(2, seed=4)):
        name = f"{number:012d}.jpg"
        Image.fromarray(scene.image).save(root / split / name)
        images.append({"id": number, "file_name": name})
    notes = [{"id": 7, "image_id": 0, "caption": "A circle."},
             {"id": 8, "image_id": 1, "caption": "A square."}]  # fmt: skip
    name = "captions" if captions else "image_info"
    content = {"images": images} | ({"annotations": notes} if captions else {})
    (root / "annotations" / f"{name}_{split}.json").write_text(json.dumps(content))


def test_a_split_without_captions_can_be_captioned_not_scored(work):
    make_coco(work / "coco", captions=False)
    done = labkit(
        "prepare", "coco", "coco", "--out", "unknown", "--size", 112, "--block", "stride16",
        cwd=work,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    done = labkit("evaluate", "run", "--data", "unknown", "--split", "test", cwd=work)
    assert_one_sentence(done, "unknown", "no captions", "not scored")


def test_another_encoder_is_refused(work):
    make_coco(work / "coco2")
    done = labkit("prepare", "coco", "coco2", "--out", "large", "--size", 64, cwd=work)
    assert done.returncode == 0, done.stderr
    done = labkit("evaluate", "run", "--data", "large", "--split", "train", cwd=work)
    assert_one_sentence(done, "large", "encoder")


def test_copies_of_training_photographs_are_added(work):
    make_coco(work / "coco4")
    words = ["prepare", "coco", "coco4", "--out", "more", "--size", 64, "--augment", 3]
    assert labkit(*words, cwd=work).returncode == 0
    ids = FeatureStore(work / "more", "train").ids
    plain = [name for name in ids if "#" not in name]
    copies = [f"{name}{copy}" for name in plain for copy in ("", "#1", "#2")]
    assert plain and sorted(ids) == sorted(copies)


def test_bad_photographs_are_counted_and_strict_stops(work):
    make_coco(work / "coco3")
    (work / "coco3" / "train2014" / f"{1:012d}.jpg").write_bytes(b"")
    words = ["prepare", "coco", "coco3", "--size", 64]
    done = labkit(*words, "--out", "lenient", cwd=work)
    assert done.returncode == 0
    assert "1 problem" in done.stderr and f"{1:012d}.jpg is empty" in done.stderr
    assert_one_sentence(labkit(*words, "--out", "strict", "--strict", cwd=work), "unreadable image")
