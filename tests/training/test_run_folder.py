"""A run's folder and its course: nothing is lost, and why it ended is said."""

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from itertools import count
from multiprocessing import get_context

import numpy as np
import pytest
import torch
from commands import TRAINING, assert_one_sentence, labkit, torchrun
from test_trainer import SMALL, make_store, rows_of, stopping

from labkit.evaluation.evaluate import evaluate_model
from labkit.model import checkpoint
from labkit.model.captioner import Captioner
from labkit.training import dev_split
from labkit.training.config import PHOTOS, TrainingConfig, resolve
from labkit.training.dev_split import ENOUGH
from labkit.training.run import train
from labkit.training.schedule import DivergedError, Schedule, TrainState
from labkit.training.trainer import Trainer

torch.set_num_threads(1)
ENOUGH_SECONDS = 240


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Without a dev split: nothing starts Java."""
    return make_store(tmp_path_factory.mktemp("data") / "store")


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    return make_store(tmp_path_factory.mktemp("data") / "store", dev=True)


def typed(settings):
    return [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]


# ---------------------------------------------------------------------- an epoch is never lost


def test_an_epoch_is_saved_before_it_is_scored(scored, tmp_path, monkeypatch):
    """The scorer fails once, in the second epoch; resumed, the curve is that of an unbroken run."""
    whole = train(scored, tmp_path / "whole", SMALL, progress=False)
    real, calls = dev_split.evaluate, []

    def failing(*given, **named):
        calls.append(1)
        if len(calls) == 2:
            raise ChildProcessError("METEOR's Java program ended")
        return real(*given, **named)

    monkeypatch.setattr(dev_split, "evaluate", failing)
    with pytest.raises(ChildProcessError, match=r"Java program ended; epoch 2 is saved, --resume"):
        train(scored, tmp_path / "cut", SMALL, progress=False)
    _, kept = checkpoint.load(tmp_path / "cut" / "checkpoint.safetensors")
    assert kept["epoch"] == 1 and kept["step"] == 2 * len(whole.loader)
    assert (kept["loader"]["epoch"], kept["loader"]["position"]) == (2, 0)  # trained, not scored
    resumed = train(scored, tmp_path / "cut", resume=True, progress=False)
    assert resumed.state == whole.state
    assert rows_of(tmp_path / "cut") == rows_of(tmp_path / "whole")
    state = Captioner.from_pretrained(tmp_path / "cut").decoder.state_dict()
    for name, value in Captioner.from_pretrained(tmp_path / "whole").decoder.state_dict().items():
        assert torch.equal(state[name], value), name


ONE_EPOCH = SMALL | {"epochs": 1, "save_every": 1000}
RUN_FILES = ("model.safetensors", "checkpoint.safetensors", "metrics.jsonl", "loss.png")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the process that is killed is forked")
def test_a_kill_between_two_files_at_the_end_loses_none(store, tmp_path):
    """Killed before each rename; before the last ones all steps are done, and none is repeated."""
    train(store, tmp_path / "whole", ONE_EPOCH, progress=False)
    wanted = {name: (tmp_path / "whole" / name).read_bytes() for name in RUN_FILES}
    late = 0
    for number in count(1):
        out = tmp_path / str(number)
        child = get_context("fork").Process(target=killed_before, args=[number, store, out])
        child.start()
        child.join(ENOUGH_SECONDS)
        assert child.exitcode in (0, -signal.SIGKILL)
        if child.exitcode == 0:  # there are no more renames
            break
        if not (out / "checkpoint.safetensors").exists():
            continue
        late += checkpoint.load(out / "checkpoint.safetensors")[1]["epoch"] == 1
        train(store, out, resume=True, progress=False)
        assert {name: (out / name).read_bytes() for name in RUN_FILES} == wanted, number
    assert late >= 2  # the checkpoint was the last one; the log or its figure was not


def test_what_a_killed_training_left_behind_is_removed(store, tmp_path):
    train(store, tmp_path, ONE_EPOCH, progress=False)
    for name in ("checkpoint.safetensors", "model.safetensors"):
        (tmp_path / f".part-123-{name}").write_bytes(b"half of it")
    train(store, tmp_path, resume=True, progress=False)
    assert not list(tmp_path.glob(".part-*"))


def test_a_model_without_its_checkpoint_is_not_written_over(store, tmp_path):
    train(store, tmp_path, ONE_EPOCH, progress=False)
    (tmp_path / "checkpoint.safetensors").unlink()
    kept = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    for resume in (False, True):
        with pytest.raises(FileExistsError, match=r"without its checkpoint\.safetensors: name ano"):
            train(store, tmp_path, ONE_EPOCH | {"hidden_dim": 9}, resume=resume, progress=False)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == kept


def test_a_start_that_was_replaced_is_noticed(store, tmp_path):
    """Its place is the same, and its weights are those of another run."""
    for seed in (0, 1):
        train(store, tmp_path / str(seed), ONE_EPOCH, seed=seed, progress=False)
    shutil.copytree(tmp_path / "0", tmp_path / "start")
    more = {"start": tmp_path / "start", "epochs": 1}
    train(store, tmp_path / "run", more, progress=False)
    train(store, tmp_path / "run", resume=True, progress=False)
    shutil.copy(tmp_path / "1" / "model.safetensors", tmp_path / "start")
    with pytest.raises(ValueError, match=r"started from other weights than .*start has now"):
        train(store, tmp_path / "run", resume=True, progress=False)


def killed_before(number, store, out):
    """Train, and be killed before the rename of this number."""
    real, numbers = os.replace, count(1)

    def replace(*names):
        if next(numbers) == number:
            os.kill(os.getpid(), signal.SIGKILL)
        real(*names)

    os.replace = replace
    train(store, out, ONE_EPOCH, progress=False)


# -------------------------------------------------------------------------- whose folder it is

LOCK = "import sys; from labkit.files import only_one\n"
LOCK += "with only_one(sys.argv[1]): print('locked', flush=True); sys.stdin.read()"


@pytest.fixture
def locked(tmp_path):
    """A folder that another process writes."""
    folder = tmp_path / "taken"
    folder.mkdir()
    command = [sys.executable, "-c", LOCK, str(folder)]
    other = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert other.stdout.readline() == "locked\n"
    yield folder
    other.kill()
    other.communicate(timeout=60)


def test_one_training_at_a_time_writes_a_folder(store, tmp_path, locked):
    with pytest.raises(FileExistsError, match="another process"):
        train(store, locked, SMALL, progress=False)
    assert not (locked / "config.json").exists()
    first = Trainer(store, tmp_path / "run", resolve(PHOTOS, SMALL), progress=False)
    second = Trainer(store, tmp_path / "run", resolve(PHOTOS, SMALL), progress=False)
    with first.folder.alone(), pytest.raises(FileExistsError, match="another process"):
        second.run()
    third = Trainer(store, tmp_path / "run", resolve(PHOTOS, SMALL | {"seed": 1}), progress=False)
    with pytest.raises(FileExistsError, match="another run by now"):
        second.run()  # its settings were written over
    assert third.run().epoch == 3


@pytest.mark.parametrize("what", ["locked", "diverged"])
def test_what_stops_one_process_stops_all(store, tmp_path, locked, what):
    """Real processes under torchrun: none is left waiting."""
    script = tmp_path / "run.py"
    script.write_text(
        "import sys, torch\nfrom labkit.distributed import init_distributed\n"
        "from labkit.training.config import PHOTOS, resolve\n"
        "from labkit.training.trainer import Trainer\n"
        "class Spoiled(Trainer):\n"
        "    def loss(self, batch):\n"
        "        loss, nll, words = super().loss(batch)\n"
        "        bad = sys.argv[3] == 'diverged' and self.group.rank and self.state.step == 4\n"
        "        return (loss * float('nan') if bad else loss), nll, words\n"
        f"settings = resolve(PHOTOS, {SMALL!r})\n"
        "try: Spoiled(*sys.argv[1:3], settings, group=init_distributed(), progress=False).run()\n"
        "except (ValueError, FileExistsError) as error: print(f'ENDED {error}')\n"
    )
    out = locked if what == "locked" else tmp_path / "group"
    done = torchrun(2, script, store, out, what, first=TRAINING)
    ended = done.stdout.split("ENDED")[1:]  # two processes may write into one line
    says = "another process" if what == "locked" else "epoch 1, at step 5: its gradient is nan"
    assert len(ended) == 2 and done.stdout.count(says) == 2, done.stdout + done.stderr


def test_a_run_that_died_before_its_first_checkpoint_does_not_block_its_folder(store, tmp_path):
    """A real process, killed at once."""
    run = tmp_path / "run"
    more = SMALL | {"epochs": 9999, "save_every": 99999}
    words = ["train", store, "--out", run, *typed(more)]
    command = [sys.executable, "-m", "labkit", *map(str, words)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE)
    until = time.monotonic() + ENOUGH_SECONDS
    while not (run / "config.json").exists():
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    for file in ("checkpoint.safetensors", "model.safetensors"):
        (run / file).unlink(missing_ok=True)  # it may have been quick
    done = train(store, run, SMALL | {"hidden_dim": 16, "epochs": 1}, progress=False)
    assert done.state.epoch == 1 and Captioner.from_pretrained(run).decoder.config.hidden_dim == 16
    with pytest.raises(FileExistsError, match="--resume"):
        train(store, run, SMALL, progress=False)


def test_files_of_the_user_are_not_written_over(store, tmp_path):
    (tmp_path / "loss.png").write_bytes(b"mine")
    for resume in (False, True):
        with pytest.raises(FileExistsError, match="not labkit's: name a new folder"):
            train(store, tmp_path, SMALL, resume, progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["loss.png"]


def test_what_changes_nothing_that_is_learned_may_differ_when_resumed(store, tmp_path):
    whole = train(store, tmp_path / "whole", SMALL | {"log_every": 1}, progress=False)
    with pytest.raises(KeyboardInterrupt):
        cut = stopping(Trainer, KeyboardInterrupt)
        cut(store, tmp_path / "cut", resolve(PHOTOS, SMALL), progress=False).run()
    free = {"num_workers": 0, "log_every": 1, "save_every": 7, "patience": 50}
    train(store, tmp_path / "cut", free, resume=True, progress=False)
    facts = json.loads((tmp_path / "cut" / "config.json").read_text())
    assert {name: facts["training"][name] for name in free} == free
    state = Captioner.from_pretrained(tmp_path / "cut").decoder.state_dict()
    for name, value in Captioner.from_pretrained(whole.folder.path).decoder.state_dict().items():
        assert torch.equal(state[name], value), name
    for name, value in {"epochs": 5, "seed": 2, "warmup_ratio": 0.1, "batch_size": 9}.items():
        with pytest.raises(ValueError, match=f"has {name} = "):
            train(store, tmp_path / "cut", {name: value}, resume=True, progress=False)


def test_a_checkpoint_of_another_version_is_named(store, tmp_path):
    train(store, tmp_path, SMALL | {"epochs": 1}, progress=False)
    path = tmp_path / "checkpoint.safetensors"
    tensors, facts = checkpoint.load(path)
    less = {name: value for name, value in tensors.items() if "L_h" not in name}
    for spoiled, said in ((tensors, facts | {"colour": 3}), (less, facts), ({}, facts)):
        checkpoint.save(path, spoiled, said)
        with pytest.raises(ValueError, match=r"checkpoint\.safetensors is of another version"):
            train(store, tmp_path, resume=True, progress=False)


# ---------------------------------------------------------------------- which splits there are


@pytest.mark.parametrize(("overrides", "sizes"), [
    ({}, {"train2017": 24, "val2017": 8}),
    ({}, {"train": 24, "validation": 8, "other": 3}),
    ({"train_split": "other", "dev_split": "val"}, {"other": 24, "train": 3, "dev": 8}),
])  # fmt: skip
def test_splits_may_have_other_names(tmp_path, overrides, sizes):
    """Slow: the metrics start Java."""
    train_split, dev_split = [name for name in sizes if sizes[name] >= 8]
    store = make_store(tmp_path / "store", splits=sizes)
    done = train(store, tmp_path / "run", SMALL | {"epochs": 1} | overrides, progress=False)
    assert (done.train.split, done.dev.split) == (train_split, dev_split)
    facts = json.loads((tmp_path / "run" / "config.json").read_text())["training"]
    assert (facts["train_split"], facts["dev_split"]) == (train_split, dev_split)
    assert evaluate_model(tmp_path / "run", num_beams=1, progress=False).split == dev_split
    train(store, tmp_path / "run", overrides, resume=True, progress=False)


def test_a_split_that_is_not_there_is_said_before_the_work(tmp_path):
    store = make_store(tmp_path / "store", splits={"first": 4, "val2014": 4, "val2017": 4})
    words = ["train", store, "--out", tmp_path / "run"]
    assert_one_sentence(labkit(*words), "no split 'train': it has first, val2014, val2017")
    words += ["--train-split", "first"]
    assert_one_sentence(labkit(*words), "several splits like 'dev': choose val2014 or val2017")
    assert_one_sentence(labkit(*words, "--dev-split", "test"), "no split 'test'")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("sizes", "says"), [
    ({"train": 24, "more": 4}, "the store has no dev split (it has train, more), so no epoch"),
    ({"train": 24, "dev": 4}, "the split dev has no captions, so no epoch is scored"),
])  # fmt: skip
def test_without_captions_to_score_all_epochs_are_trained_and_the_last_is_kept(
    tmp_path, capsys, sizes, says
):
    store = make_store(tmp_path / "store", splits=sizes, references=False)
    done = train(store, tmp_path / "run", SMALL | {"epochs": 6, "patience": 1}, progress=False)
    said = capsys.readouterr().err
    assert said.count(says) == 1
    assert "all 6 epochs are done; the last is kept, none was scored" in said
    assert done.state.epoch == done.state.kept == 6
    assert checkpoint.load(tmp_path / "run" / "model.safetensors")[1] == {"epoch": 6}


# --------------------------------------------------------------------- when it ends, and why


def test_few_images_are_judged_by_their_loss(tmp_path, capsys):
    """CIDEr of one image is always 0. Slow: the metrics start Java."""
    store = make_store(tmp_path / "store", splits={"train": 24, "dev": 1})
    config = SMALL | {"epochs": 12, "learning_rate": 0.01, "ema_decay": 0.5, "patience": 2}
    done = train(store, tmp_path / "run", config, progress=False)
    rows = [row for row in rows_of(tmp_path / "run") if "dev_loss" in row]
    best = min(rows, key=lambda row: row["dev_loss"])
    assert best["epoch"] > 4 and done.state.kept == best["epoch"]
    assert done.state.epoch in (12, best["epoch"] + 2)
    assert rows[0]["cider"] == 0
    said = capsys.readouterr().err
    assert "captions of 1 image, too few" in said and f"epoch {best['epoch']} is kept, with" in said


def test_the_loss_on_dev_is_that_of_the_captions(scored, tmp_path):
    """Against one caption at a time, in another order of computing."""
    done = train(scored, tmp_path / "run", SMALL | {"epochs": 1}, progress=False)
    model, total, words = done.average.module.eval(), 0.0, 0
    for row, captions in enumerate(done.dev.captions):
        a = torch.from_numpy(done.dev.read([row])).float()
        for text in captions:
            ids = torch.tensor([done.vocabulary.encode(text)])
            with torch.no_grad():
                log_p = model(a, ids).log_p
            total -= log_p[range(len(log_p)), ids[0, 1:]].sum().item()
            words += len(log_p)
    row = rows_of(tmp_path / "run")[-1]
    assert row["dev_loss"] == pytest.approx(total / words, abs=1e-4)


def test_patience_waits_for_the_end_of_the_warm_up():
    config = TrainingConfig(epochs=30, warmup_ratio=0.5, patience=3)
    schedule = Schedule(config, steps=4)  # warm until epoch 15
    at = TrainState()
    while not schedule.over(at):
        at.step += 4
        at.judge([0.5 if at.epoch == 1 else 0.1, -3.0], counts=at.step > schedule.warmup_steps)
        at.epoch += 1
    assert (at.epoch, at.kept) == (18, 2)
    assert schedule.ending(at, "CIDEr 0.500 (greedy)") == (
        "stopped after epoch 18 of 30: none of the last 3 was better on the dev split; "
        "epoch 2 is kept, with CIDEr 0.500 (greedy) on the dev split"
    )


def test_where_cider_stands_still_the_loss_decides():
    at = TrainState()
    for epoch, found in enumerate([[0.0, -5.0], [0.0, -4.0], [0.0, -4.5], [0.1, -6.0]]):
        at.epoch = epoch
        at.judge(found, counts=True)
        assert (at.kept, at.waited) == [(1, 0), (2, 0), (2, 1), (4, 0)][epoch]


def test_stopping_early_is_said(tmp_path):
    """Slow: a real training, and Java."""
    store = make_store(tmp_path / "store", splits={"train": 24, "dev": ENOUGH})
    more = SMALL | {"epochs": 40, "patience": 1, "ema_decay": 0, "learning_rate": 0.1}
    done = labkit("train", store, "--out", tmp_path / "run", *typed(more))
    assert done.returncode == 0, done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith("stopped after epoch ") and "of 40: none of the last 1 was" in last
    assert "is kept, with CIDEr" in last


# ---------------------------------------------------------------------- losses that are not finite


class Spoiling(Trainer):
    """From a step on, the loss or the gradient is not finite."""

    at_step, spoil = 7, "loss"

    def loss(self, batch):
        loss, nll, words = super().loss(batch)
        if self.state.step >= self.at_step:
            return (loss, math.nan, words) if self.spoil == "loss" else (loss * 1e38 * 1e38, *[
                nll, words])  # fmt: skip
        return loss, nll, words


@pytest.mark.parametrize(("spoil", "says"), [
    ("loss", r"epoch 2, at step 8: the loss is nan; epoch 1 is kept"),
    ("gradient", r"epoch 2, at step 8: its gradient is (inf|nan); epoch 1 is kept"),
])  # fmt: skip
def test_training_stops_at_the_first_loss_that_is_not_finite(store, tmp_path, spoil, says):
    run = Spoiling(store, tmp_path / "run", resolve(PHOTOS, SMALL), progress=False)
    run.spoil = spoil
    with pytest.raises(DivergedError, match=says) as error:
        run.run()
    assert isinstance(error.value, FloatingPointError) and isinstance(error.value, ValueError)
    tensors, state = checkpoint.load(tmp_path / "run" / "checkpoint.safetensors")
    assert (state["step"], state["epoch"]) == (6, 1)
    assert all(value.isfinite().all() for value in tensors.values())
    assert all(value.isfinite().all() for value in run.decoder.parameters())
    assert checkpoint.load(tmp_path / "run" / "model.safetensors")[1] == {"epoch": 1}
    assert all(math.isfinite(row.get("loss", 0)) for row in rows_of(tmp_path / "run"))


def test_a_loss_that_is_not_finite_gets_one_sentence_on_the_command_line(store, tmp_path):
    """A real one, from a checkpoint with damaged weights."""
    run = tmp_path / "run"

    class Cut(Trainer):
        def save(self):
            super().save()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Cut(store, run, resolve(PHOTOS, SMALL), progress=False).run()
    tensors, state = checkpoint.load(run / "checkpoint.safetensors")
    tensors["model.bias"][5] = math.nan
    checkpoint.save(run / "checkpoint.safetensors", tensors, state)
    before = (run / "checkpoint.safetensors").read_bytes()
    done = labkit("train", store, "--out", run, "--resume")
    assert_one_sentence(done, "epoch 1, at step 4: the loss is nan; no epoch was finished")
    assert (run / "checkpoint.safetensors").read_bytes() == before
    assert not (run / "model.safetensors").exists()


def test_weights_too_large_to_be_kept_are_not(store, tmp_path):
    run = Trainer(store, tmp_path / "run", resolve(PHOTOS, SMALL), progress=False)
    run._train_epoch()
    with torch.no_grad():
        run.average.module.bias.fill_(1e5)
    with pytest.raises(DivergedError, match="too large to be kept"):
        run._score_epoch()
    assert not run.folder.model.exists()


# ------------------------------------------------------------------------------ what is left alone


def test_the_callers_random_state_stays_as_it_was(scored, tmp_path):
    torch.manual_seed(12)
    np.random.seed(12)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    config = SMALL | {"attention": "gumbel", "epochs": 1}
    first = train(scored, tmp_path / "a", config, progress=False)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])
    torch.manual_seed(99)
    again = train(scored, tmp_path / "b", config, progress=False)
    assert again.state.rows == first.state.rows


@pytest.mark.parametrize("more", [
    {"warmup_ratio": 0.0}, {"warmup_ratio": 1.0}, {"max_grad_norm": 0.0}, {"seed": 2**63 - 1},
    {"ema_decay": 0.0},
])  # fmt: skip
def test_settings_at_the_ends_of_their_ranges_learn(store, tmp_path, more):
    config = SMALL | {"epochs": 20, "learning_rate": 0.01, "ema_decay": 0.9} | more
    rows = train(store, tmp_path / "run", config, progress=False).state.rows
    losses = [row["loss"] for row in rows if "loss" in row]
    assert losses[-1] < 0.7 * losses[0]
