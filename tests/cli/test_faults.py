"""Disks that are full or may not be written to: one sentence, and what was good before is kept."""

import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from commands import assert_one_sentence, labkit
from safetensors.torch import load_file

from labkit import train
from labkit.data.scenes import make_scenes
from labkit.store.writer import StoreWriter
from labkit.training.config import PHOTOS, resolve
from labkit.training.trainer import Trainer

SIZES = {"hidden_dim": 64, "feature_dim": 8, "embed_dim": 8, "attention_dim": 8, "batch_size": 5}


@pytest.fixture
def disk(small_disk):
    return small_disk("4m")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    root = tmp_path_factory.mktemp("data") / "store"
    with StoreWriter(root, 4, 8, {"grid": [2, 2]}, {"made": "for a test"}, 10) as writer:
        for scene in make_scenes(10):
            a = np.random.default_rng(0).normal(size=(4, 8))
            writer.add("train", scene.id, a, scene.captions)
    return root


def fill(disk: Path, left: int) -> Path:
    """Take all but so many pages of 4 KiB."""
    ballast = disk / "ballast"
    ballast.write_bytes(bytes(4096 * (os.statvfs(disk).f_bavail - left)))
    return ballast


def test_training_on_a_disk_that_fills_up_keeps_the_last_checkpoint(store, disk):
    settings = {"epochs": 2, "precision": "fp32", "min_count": 1} | SIZES
    train(store, disk / "run", settings | {"epochs": 1}, progress=False)
    run = disk / "run"
    shutil.copytree(run, disk.parent / "kept")
    for name in ("checkpoint.safetensors", "model.safetensors", "metrics.jsonl"):
        assert (run / name).exists()
    words = ["train", store, "--out", disk / "other"]
    words += [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]
    ballast = fill(disk, 10)
    done = labkit(*words)
    assert_one_sentence(done, "checkpoint.safetensors not written: No space left on device")
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    for folder in ("other", "run"):  # its own user is root here, whom only the disk can stop
        done = labkit("train", store, "--out", disk / folder, "--resume")
        assert_one_sentence(done, "cannot be written to: name another folder")
    subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
    for path in (disk.parent / "kept").iterdir():
        assert (run / path.name).read_bytes() == path.read_bytes()
    ballast.unlink()
    assert labkit(*words, "--resume").returncode == 0  # nothing was begun there
    whole = train(store, disk.parent / "whole", settings, progress=False)
    ours = load_file(disk / "other" / "checkpoint.safetensors")
    for name, value in whole.decoder.state_dict().items():
        assert (ours[f"model.{name}"] == value).all()


def test_a_file_that_may_not_grow_keeps_the_last_checkpoint(store, tmp_path):
    """A limit on a file's size stands for a full disk, where none can be mounted."""
    settings = {"epochs": 3, "precision": "fp32", "min_count": 1, "save_every": 1} | SIZES
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    class Limited(Trainer):
        def train_step(self, batch):
            if self.state.step == 2:
                resource.setrlimit(resource.RLIMIT_FSIZE, (9000, before[1]))
            return super().train_step(batch)

    run = Limited(store, tmp_path / "run", resolve(PHOTOS, settings), progress=False)
    try:
        with pytest.raises(OSError, match=r"checkpoint\.safetensors not written: File too large"):
            run.run()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not [path for path in (tmp_path / "run").iterdir() if path.name.startswith(".part-")]
    train(store, tmp_path / "run", resume=True, progress=False)
    train(store, tmp_path / "whole", settings, progress=False)
    for name in ("model.safetensors", "metrics.jsonl"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_preparing_and_exporting_on_a_full_disk(disk):
    ballast = fill(disk, 20)
    done = labkit("prepare", "scenes", "--count", 10, "--out", disk / "store")
    assert_one_sentence(done, "train-00000.npy not written: No space left on device")
    done = labkit("export", "scenes-soft", disk / "page", "--to", "browser")
    assert_one_sentence(done, "page not written: No space left on device")
    assert not (disk / "page").exists() and not list(disk.glob(".part-*"))
    ballast.unlink()
    assert labkit("prepare", "scenes", "--count", 10, "--out", disk / "store").returncode == 0


def test_a_short_form_of_the_benchmark_of_kills(tmp_path):
    """Real processes, killed once each: training in one and two, preparing, exporting."""
    script = Path(__file__).parents[2] / "benchmarks" / "kills.py"
    done = subprocess.run(
        [sys.executable, str(script), "--each", "1", "train", "train-2", "prepare-2", "export"],
        capture_output=True, text=True, timeout=600, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert [line.split(" | ")[1] for line in done.stdout.splitlines()[2:]] == ["1"] * 4
