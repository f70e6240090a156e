"""Training from a reward of whole captions, and from a model that is trained already.

Slow: real trainings, and Java for the scores.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import assert_one_sentence, labkit
from test_trainer import SMALL, StoppedError, make_store, stopping

from labkit import Captioner, FeatureStore, make_scenes
from labkit.store.writer import StoreWriter
from labkit.training.compare import compare
from labkit.training.config import PHOTOS, resolve
from labkit.training.dev_split import DevSplit
from labkit.training.reward_trainer import RewardTrainer
from labkit.training.rewards import images_of, read_reward
from labkit.training.run import starting_point, train
from labkit.training.run_folder import _same

torch.set_num_threads(1)

REWARD = {"learning_rate": 1e-2, "batch_size": 8, "epochs": 8, "samples": 4, "save_every": 2,
          "log_every": 3}  # fmt: skip


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A store, a model trained on it, and a reward that pays for captions without 'there'."""
    folder = tmp_path_factory.mktemp("base")
    store = make_store(folder / "store", dev=True)
    train(store, folder / "start", SMALL | {"epochs": 6}, progress=False)
    file = folder / "mine.py"
    file.write_text("def plain(caption, references, facts):\n    return 'there' not in caption\n")
    return store, {"start": str(folder / "start"), "caption_reward": f"{file}:plain"} | REWARD


def rewards(rows: list[dict]) -> list[float]:
    return [-row["loss"] for row in rows if "loss" in row]


@pytest.mark.parametrize("more", [
    {}, {"caption_baseline": "greedy"}, {"caption_baseline": "group"}, {"caption_baseline": "none"},
    {"kl_weight": 0.01},
], ids=str)  # fmt: skip
def test_the_reward_rises(base, tmp_path, more):
    store, settings = base
    done = train(store, tmp_path / "run", settings | more, progress=False)
    paid = rewards(done.state.rows)
    assert paid[0] < 0.8 and paid[-1] > paid[0] + 0.15
    best = max(row["reward"] for row in done.state.rows if "reward" in row)
    assert done.state.best[0] == pytest.approx(best, abs=1e-4)
    kept = Captioner.from_pretrained(tmp_path / "run")
    assert kept.vocabulary.words == done.start.vocabulary.words


def test_kl_keeps_it_near_its_start(base, tmp_path):
    store, settings = base
    paid = {}
    for weight in (0.0, 5.0):
        run = tmp_path / str(weight)
        done = train(store, run, settings | {"kl_weight": weight}, progress=False)
        paid[weight] = rewards(done.state.rows)[-1]
    assert paid[5.0] < paid[0.0] - 0.1


def test_words_and_regions_are_learned_at_once(base, tmp_path):
    store, settings = base
    hard = SMALL | {"attention": "reinforce", "soft_share": 0.0, "epochs": 6}
    train(store, tmp_path / "start", hard, progress=False)
    settings = settings | {"start": str(tmp_path / "start")}
    done = train(store, tmp_path / "run", settings, progress=False)
    before = done.start.decoder.attention
    for name in ("W_a.weight", "v"):
        one, other = done.decoder.attention.state_dict()[name], before.state_dict()[name]
        assert (one - other).abs().max() > 0.01, name
    assert rewards(done.state.rows)[-1] > rewards(done.state.rows)[0]


def test_a_stopped_run_resumes_exactly(base, tmp_path):
    store, settings = base
    settings = settings | {"kl_weight": 0.01, "caption_baseline": "greedy", "epochs": 2}
    whole = train(store, tmp_path / "whole", settings, progress=False)
    with pytest.raises(StoppedError):
        given = resolve(starting_point(store, settings), settings)
        stopping(RewardTrainer)(store, tmp_path / "cut", given, progress=False).run()
    done = train(store, tmp_path / "cut", settings, resume=True, progress=False)
    assert done.state.rows == whole.state.rows
    for name, value in done.decoder.state_dict().items():
        assert torch.equal(value, whole.decoder.state_dict()[name]), name


def test_a_folder_does_not_start_a_program(base, tmp_path):
    """A resumed run reads its settings from its folder; a reward in them is a file of code."""
    store, settings = base
    run = tmp_path / "run"
    train(store, run, settings | {"epochs": 1}, progress=False)
    with pytest.raises(ValueError, match=r"mine\.py:plain, and a folder does not start a program"):
        train(store, run, resume=True, progress=False)
    named = {"caption_reward": settings["caption_reward"]}
    train(store, run, named, resume=True, progress=False)


def test_a_model_may_go_on_from_another(base, tmp_path):
    """Without a reward: its weights and words are the start's, and it learns from references."""
    store, settings = base
    more = {"start": settings["start"], "epochs": 1, "learning_rate": 1e-6, "precision": "fp32"}
    done = train(store, tmp_path / "run", more, progress=False)
    for name, value in done.start.decoder.state_dict().items():
        torch.testing.assert_close(done.decoder.state_dict()[name], value, atol=1e-4, rtol=0)
    assert done.decoder.config.hidden_dim == SMALL["hidden_dim"]  # as the start has it


def test_what_cannot_be_started_is_said_in_a_sentence(base, tmp_path):
    store, settings = base
    run = tmp_path / "run"
    for more, says in (
        ({"start": str(tmp_path / "none")}, "is not a trained model"),
        ({"start": "scenes-soft"}, "another encoder than scenes-soft"),
        ({"hidden_dim": 32}, "the settings ask for another model than"),
        ({"first_state": "learned"}, "the settings ask for another model than"),
        ({"caption_reward": None, "kl_weight": 1.0}, "kl_weight is of learning from a reward"),
        ({"caption_reward": "truth"}, "the reward truth needs drawn scenes"),
        ({"caption_reward": "bleu"}, "no reward 'bleu'"),
    ):
        with pytest.raises((ValueError, FileNotFoundError), match=says):
            train(store, run, settings | more, progress=False)
        assert not (run / "checkpoint.safetensors").exists()
    assert resolve(PHOTOS).training.caption_reward is None


def test_the_command(base, tmp_path):
    store, settings = base
    words = ["train", store, "--out", tmp_path / "run", "--from", settings["start"], "--reward"]
    done = labkit(*words, settings["caption_reward"], "--epochs", 1)
    assert done.returncode == 0, done.stderr
    assert "with a mean reward of" in done.stderr
    facts = json.loads((tmp_path / "run" / "config.json").read_text())["training"]
    assert facts["samples"] == 4 and facts["caption_reward"] == settings["caption_reward"]
    assert_one_sentence(labkit(*words[:3], tmp_path / "no", *words[4:], "nonsense"))


def without_captions(store, root):
    """Copy a store, all splits without captions."""
    one = FeatureStore(store, "train")
    with StoreWriter(root, one.length, one.dim, one.encoder, one.source, 10) as writer:
        for split in ("train", "dev"):
            some = FeatureStore(store, split)
            for row, image in enumerate(some.ids):
                writer.add(split, image, some.read([row])[0], [])
    return root


def test_a_reward_that_reads_no_references_needs_none(base, tmp_path):
    """Neither to learn from, nor to choose the epoch by; the words are the start's."""
    store, settings = base
    bare = without_captions(store, tmp_path / "bare")
    done = train(bare, tmp_path / "run", settings | {"epochs": 2}, progress=False)
    scored = [row for row in done.state.rows if "reward" in row]
    assert [set(row) for row in scored] == [{"epoch", "step", "reward"}] * 2
    assert done.state.best == [max(row["reward"] for row in scored), 0]
    for more, says in (
        ({"caption_reward": "cider"}, "CIDEr needs references, and the training split has none"),
        ({"caption_reward": None}, "no image of the split 'train' has a caption"),
        ({"start": None}, "no word occurs 4 times"),
    ):
        with pytest.raises(ValueError, match=says):
            train(bare, tmp_path / "no", settings | more, progress=False)


def test_cider_does_not_choose_an_epoch_without_references(base, tmp_path):
    store, _ = base
    reward = read_reward("cider", images_of(FeatureStore(store, "train")))
    judge = DevSplit(without_captions(store, tmp_path / "bare"), "dev", reward)
    assert judge.store is None and "no captions, so no epoch is scored" in judge.notes[0]


def test_a_run_is_resumed_from_any_folder(base, tmp_path, monkeypatch):
    """Its start and its reward are named by their full paths; both may be moved together."""
    store, settings = base
    for place in ("here", "there"):
        (tmp_path / place).mkdir()
    shutil.copytree(settings["start"], tmp_path / "here" / "start")
    shutil.copy(settings["caption_reward"].removesuffix(":plain"), tmp_path / "here" / "mine.py")
    monkeypatch.chdir(tmp_path / "here")
    given = settings | {"start": "start", "caption_reward": "mine.py:plain", "epochs": 1}
    train(store, tmp_path / "run", given, progress=False)
    monkeypatch.chdir(tmp_path / "there")
    again = {"caption_reward": "../here/mine.py:plain"}
    train(store, tmp_path / "run", again, resume=True, progress=False)
    with pytest.raises(ValueError, match=r"has start = .*here/start, not "):
        train(store, tmp_path / "run", again | {"start": settings["start"]}, resume=True)
    for name in ("start", "mine.py"):
        (tmp_path / "here" / name).rename(name)
    moved = {"start": "start", "caption_reward": "mine.py:plain"}
    train(store, tmp_path / "run", moved, resume=True, progress=False)
    for more in ({"caption_reward": "cider"}, {"kl_weight": 0.5}, {"samples": 3},
                 {"caption_baseline": "none"}):  # fmt: skip
        with pytest.raises(ValueError, match=f"has {next(iter(more))} = .*: resume with its"):
            train(store, tmp_path / "run", moved | more, resume=True, progress=False)


def test_the_dev_split_needs_what_the_reward_reads(tmp_path):
    """That is said before the first epoch: at its end, the epoch would be lost."""
    scene, store = make_scenes(1, seed=1)[0], tmp_path / "store"
    with StoreWriter(store, 4, 8, {"grid": [2, 2]}, {"made": "for a test"}, 10) as writer:
        for split, facts in (("train", scene.facts), ("dev", None)):
            writer.add(split, split, np.zeros((4, 8), np.float16), scene.captions, None, facts)
    settings = SMALL | {"epochs": 1, "caption_reward": "truth"}
    with pytest.raises(ValueError, match="needs drawn scenes, and the dev split has other images"):
        train(store, tmp_path / "run", settings, progress=False)


def test_a_reward_of_another_function_is_another_reward():
    """Its name is a file's and a function's: the file is there, so it was not moved."""
    file = Path(__file__)
    assert not _same("caption_reward", f"{file}:one", f"/elsewhere/{file.name}:one")
    assert _same("caption_reward", f"/elsewhere/{file.name}:one", f"{file}:one")
    assert not _same("caption_reward", f"/elsewhere/{file.name}:one", f"{file}:two")
    assert not _same("caption_reward", "cider", "truth") and _same("start", "/gone/a", "b/a")


def test_a_reward_can_be_compared_with_references(base, tmp_path):
    """In a comparison too, a mechanism with a start or a reward has the defaults of those."""
    store, settings = base
    text = f"x=soft:start={settings['start']},caption_reward={settings['caption_reward']}"
    found = compare(store, ["soft", text], tmp_path / "out", 1, SMALL | {"epochs": 1}, (), None,
                    False)  # fmt: skip
    assert list(found) == ["soft", "x"]
    facts = json.loads((tmp_path / "out" / "runs" / "x-0" / "config.json").read_text())
    assert facts["training"]["samples"] == 4
