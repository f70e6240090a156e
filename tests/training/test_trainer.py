"""Training: it learns, survives kill -9, resumes exactly, and several processes equal one."""

import json
import multiprocessing
import os
import signal
import time

import numpy as np
import pytest
import torch
from commands import TRAINING, torchrun
from waiting import until

from labkit.evaluation.evaluate import evaluate_model
from labkit.model.attention import Attention
from labkit.model.captioner import Captioner
from labkit.model.hard_attention import register_attention
from labkit.store.shards import FeatureStore
from labkit.store.writer import StoreWriter
from labkit.training.config import PHOTOS, TrainingConfig, resolve
from labkit.training.dev_split import ENOUGH
from labkit.training.run import train
from labkit.training.trainer import Trainer

SMALL = {
    "epochs": 3, "batch_size": 8, "feature_dim": 16, "embed_dim": 16, "hidden_dim": 24,
    "attention_dim": 8, "warmup_ratio": 0.3, "log_every": 2, "save_every": 3, "min_count": 1,
    "precision": "fp32", "captions": "pairs",
}  # fmt: skip
COLOURS = ["red", "green", "blue", "black"]


def make_store(root, images=24, regions=4, dim=8, dev=False, splits=None, references=True):
    """Each image has one lit region of one colour; its captions say which colour.

    `splits` are the sizes by name; all but the first have captions only with `references`.
    """
    splits = splits or ({"train": images} | ({"dev": 8} if dev else {}))
    rng = np.random.default_rng(0)
    with StoreWriter(root, regions, dim, {"grid": [2, 2]}, {"made": "for a test"}, 10) as writer:
        for split, size in splits.items():
            for number in range(size):
                colour = number % len(COLOURS)
                a = rng.normal(0, 0.1, (regions, dim)).astype(np.float32)
                a[rng.integers(regions), colour] += 2
                texts = [f"a {COLOURS[colour]} light", f"there is a {COLOURS[colour]} light here"]
                texts = texts[: 1 + number % 2] if references or split == next(iter(splits)) else []
                writer.add(split, f"{split}{number}", a, texts)
    return root


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return make_store(tmp_path_factory.mktemp("data") / "store")


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def rows_of(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_learns_and_is_reproducible(store, tmp_path):
    more = SMALL | {"epochs": 30, "learning_rate": 0.01, "ema_decay": 0.9, "patience": 99}
    trainer = train(store, tmp_path / "a", more, progress=False)
    losses = [row["loss"] for row in trainer.state.rows if "loss" in row]
    assert losses[-1] < 0.5 * losses[0]
    again = train(store, tmp_path / "b", more, progress=False)
    assert again.state.rows == trainer.state.rows
    features = torch.from_numpy(FeatureStore(store, "train").read(range(24))).float()
    photos = Captioner.from_pretrained(tmp_path / "a").generate(features)
    right = [word in photo.text for word, photo in zip(COLOURS * 6, photos, strict=True)]
    assert np.mean(right) >= 0.6  # by chance it would be a quarter


def test_the_dev_split_is_captioned_free_running_and_the_best_epoch_kept(tmp_path):
    """Slow: the metrics start Java."""
    store = make_store(tmp_path / "store", splits={"train": 24, "dev": ENOUGH})
    config = SMALL | {"epochs": 6, "learning_rate": 0.01, "ema_decay": 0.5, "patience": 2}
    trainer = train(store, tmp_path / "run", config, progress=False)
    scored = [row for row in rows_of(tmp_path / "run") if "cider" in row]
    assert {"bleu4", "meteor", "rouge_l", "dev_loss"} <= set(scored[-1])
    best = max(scored, key=lambda row: (row["cider"], -row["dev_loss"]))
    assert trainer.state.kept == best["epoch"]
    assert trainer.state.best == pytest.approx([best["cider"], -best["dev_loss"]], abs=1e-4)
    assert len(scored) <= best["epoch"] + 2
    kept = evaluate_model(tmp_path / "run", num_beams=1, progress=False).as_dict()
    assert kept["cider"] == pytest.approx(best["cider"], abs=0.02)  # it is kept in fp16
    assert kept["split"] == "dev" and kept["decoding"].startswith("greedy")


def test_a_run_is_not_overwritten(store, tmp_path):
    train(store, tmp_path / "run", SMALL | {"epochs": 1}, progress=False)
    with pytest.raises(FileExistsError, match="--resume"):
        train(store, tmp_path / "run", SMALL, progress=False)
    with pytest.raises(ValueError, match="hidden_dim = 24, not 32"):
        train(store, tmp_path / "run", {"hidden_dim": 32}, resume=True, progress=False)
    other = make_store(tmp_path / "other", images=20)
    with pytest.raises(ValueError, match="another store"):
        train(other, tmp_path / "run", resume=True, progress=False)


def start(store, out, config):
    """A real process that trains, or resumes; forked, for torch is loaded already."""
    context = multiprocessing.get_context("fork")
    how = {"resume": True, "progress": False}
    process = context.Process(target=train, args=(store, out, config), kwargs=how)
    process.start()
    return process


LEARNED = {"baseline": "learned", "reward": "to_go", "samples": 2}
KINDS = [
    *({"captions": captions} for captions in ("one", "pairs", "all")),
    {"attention": "reinforce"},
    {"attention": "reinforce", **LEARNED},
    {"attention": "gumbel", "temperature": 3.0},
    {"attention": "marginal", "sum_share": 0.7, "places": 2},
]


class StoppedError(Exception):
    pass


def stopping(kind: type[Trainer], error: type[BaseException] = StoppedError) -> type[Trainer]:
    """A trainer that is stopped by an error after the checkpoint of its fourth step."""

    class Stopping(kind):
        def save(self):
            super().save()
            if self.state.step >= 4:
                raise error

    return Stopping


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_a_run_stopped_inside_an_epoch_resumes_exactly(store, tmp_path, kind):
    """Stop after a checkpoint inside an epoch, resume, compare curve and weights."""
    config = SMALL | {"save_every": 2} | kind
    whole = train(store, tmp_path / "whole", config, progress=False)
    with pytest.raises(StoppedError):
        stopping(Trainer)(store, tmp_path / "cut", resolve(PHOTOS, config), progress=False).run()
    train(store, tmp_path / "cut", config, resume=True, progress=False)
    assert rows_of(tmp_path / "cut") == rows_of(tmp_path / "whole")
    state = Captioner.from_pretrained(tmp_path / "cut").decoder.state_dict()
    for name, value in Captioner.from_pretrained(tmp_path / "whole").decoder.state_dict().items():
        assert torch.equal(state[name], value), name
    assert whole.state.step == 3 * len(whole.loader)


def test_killed_at_random_moments_the_curve_is_the_same(store, tmp_path):
    """Real processes, kill -9."""
    config = SMALL | {"epochs": 12, "patience": 99, "save_every": 2}
    begun = time.monotonic()
    whole = train(store, tmp_path / "whole", config, progress=False)
    took = time.monotonic() - begun
    run, kills = tmp_path / "killed", 0
    random = np.random.default_rng(int.from_bytes(os.urandom(4), "little"))
    for _ in range(3):
        process = start(store, run, config)
        saved = run / "checkpoint.safetensors"
        until(lambda path=saved, one=process: path.exists() or not one.is_alive(), "a checkpoint")
        time.sleep(random.uniform(0, took / 3))
        process.kill()
        process.join(60)
        kills += process.exitcode == -signal.SIGKILL
    last = start(store, run, config)
    last.join(300)
    assert last.exitcode == 0
    assert kills >= 1
    assert rows_of(run) == whole.state.rows


@pytest.mark.parametrize(("world_size", "more", "first"), [
    (2, {}, None), (4, {"attention": "reinforce", "soft_share": 1.0}, TRAINING),
])  # fmt: skip
def test_several_processes_train_as_one(store, tmp_path, world_size, more, first):
    """Real processes under torchrun (gloo). Slow: once each of them imports torch.

    Without dropout the sums are the same but for the order in which floats are added: the losses,
    kept to 4 digits, agree within 0.002. Soft steps sample nothing: with them alone it is the same
    for hard attention, and its moving average is that of all processes.
    """
    config = SMALL | {"dropout": 0.0, "word_dropout": 0.0, "feature_dropout": 0.0, "epochs": 2}
    config |= more
    one = train(store, tmp_path / "one", config, progress=False)
    script = tmp_path / "run.py"
    script.write_text(
        "import sys, json, torch\ntorch.set_num_threads(1)\n"
        "from labkit.training.run import train\n"
        "from labkit.distributed import init_distributed\n"
        "store, run, overrides = *sys.argv[1:3], json.loads(sys.argv[3])\n"
        "train(store, run, overrides, group=init_distributed(), progress=False)"
    )
    words = store, tmp_path / "group", json.dumps(config)
    done = torchrun(world_size, script, *words, first=first)
    assert done.returncode == 0, done.stderr
    ours, theirs = one.state.rows, rows_of(tmp_path / "group")
    assert [row["step"] for row in theirs] == [row["step"] for row in ours]
    for mine, yours in zip(ours, theirs, strict=True):
        for name, value in mine.items():
            tolerance = 0.002 if name == "loss" else 0.05
            assert yours[name] == pytest.approx(value, abs=tolerance), (name, mine, yours)
    if more:
        runs = [Captioner.from_pretrained(tmp_path / run) for run in ("one", "group")]
        averages = [run.decoder.attention.baseline_average.item() for run in runs]
        assert averages[0] < -0.5 and averages[0] == pytest.approx(averages[1], abs=0.01)


def test_a_mechanism_of_ones_own_is_trained_like_any_other(store, tmp_path, registry):
    class Sharp(Attention):
        def attend(self, scores, image, h):
            return self.expectation(2 * scores)

    register_attention("sharp", Sharp)
    settings = SMALL | {"attention": "sharp", "epochs": 12}
    done = train(store, tmp_path / "run", settings, progress=False)
    losses = [row["loss"] for row in done.state.rows if "loss" in row]
    assert losses[-1] < losses[0] - 0.15
    captioner = Captioner.from_pretrained(tmp_path / "run")
    assert isinstance(captioner.decoder.attention, Sharp)
    assert captioner.generate(torch.zeros(1, 4, 8), num_beams=2)[0].alpha.shape[1:] == (2, 2)


def test_a_training_config_is_followed(store, tmp_path):
    config = TrainingConfig(epochs=1, batch_size=12, min_count=1, precision="fp32")
    sizes = {name: SMALL[name] for name in SMALL if name.endswith("_dim")}
    for run, given in ("one", {"overrides": config}), ("other", {"training": config}):
        done = train(store, tmp_path / run, **given, **sizes, progress=False)
        assert done.state.step == 3  # 36 captions
        assert done.decoder.config.hidden_dim == SMALL["hidden_dim"]
    with pytest.raises(TypeError, match="such as hidden_dim=64"):
        train(store, tmp_path / "no", done.decoder.config)


def test_bad_settings_are_named_before_anything_is_written(store, tmp_path):
    for overrides, says in (
        ({"precision": "half"}, "precision is auto, bf16 or fp32"),
        ({"epochs": 0}, "epochs is a whole number from 1"),
        ({"hiden_dim": 9}, "no setting 'hiden_dim'"),
    ):
        with pytest.raises(ValueError, match=says):
            train(store, tmp_path / "run", SMALL | overrides, progress=False)
    assert not (tmp_path / "run").exists()
