"""Files that are whole or absent, and checkpoints made of them."""

import copy
import multiprocessing
import os
import platform
import random
import signal
import subprocess
import sys
import time

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel
from waiting import until

from labkit import files
from labkit.files import atomic_write, read_json, write_json
from labkit.model import checkpoint

torch.set_num_threads(1)
FORK = multiprocessing.get_context("fork")  # quick: torch is loaded already


# ------------------------------------------------------------------------------------------ files


def names(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "words.txt"
    with atomic_write(path) as part:
        assert part.parent == tmp_path and part != path and part.suffix == ".txt"
        part.write_text("one")
        assert not path.exists()
    assert path.read_text() == "one" and names(tmp_path) == ["words.txt"]
    with atomic_write(str(path)) as part:
        part.write_text("two")
        assert path.read_text() == "one"
    assert path.read_text() == "two" and names(tmp_path) == ["words.txt"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path, error):
    path = tmp_path / "words.txt"
    path.write_text("old")
    with pytest.raises(error), atomic_write(path) as part:
        part.write_text("ne")
        raise error
    assert path.read_text() == "old" and names(tmp_path) == ["words.txt"]
    with pytest.raises(error), atomic_write(path):
        raise error  # before anything was written
    assert names(tmp_path) == ["words.txt"]


def test_a_file_that_nobody_wrote_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError), atomic_write(tmp_path / "words.txt"):
        pass
    assert names(tmp_path) == []


def umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_words(path) -> None:
    with atomic_write(path) as part:
        part.write_text("three")


def write_checkpoint(path) -> None:
    checkpoint.save(path, {"x": torch.ones(9)}, {})


@pytest.mark.parametrize("write", [write_words, write_checkpoint])
def test_the_disk_has_it_all_before_the_name_changes(tmp_path, monkeypatch, write):
    """In this order: the bytes are on disk, the file has its name, the folder is on disk."""
    calls, fsync, replace = [], os.fsync, os.replace

    def watch_fsync(handle):
        calls.append(("fsync", os.fstat(handle).st_ino, os.fstat(handle).st_size))
        fsync(handle)

    def watch_replace(old, new):
        calls.append(("replace", os.stat(old).st_ino, str(new)))
        replace(old, new)

    monkeypatch.setattr(os, "fsync", watch_fsync)
    monkeypatch.setattr(os, "replace", watch_replace)
    path = tmp_path / "file"
    write(path)
    file, folder = path.stat(), tmp_path.stat()
    assert calls[:2] == [("fsync", file.st_ino, file.st_size), ("replace", file.st_ino, str(path))]
    assert [call[:2] for call in calls[2:]] == [("fsync", folder.st_ino)]
    assert file.st_mode & 0o777 == 0o666 & ~umask()  # readable by whoever may read other files


def test_json_round_trip(tmp_path):
    value = {"words": ["ä", 1, 2.5, None, True], "deep": {"er": []}}
    write_json(tmp_path / "a.json", value)
    assert read_json(tmp_path / "a.json") == value
    assert names(tmp_path) == ["a.json"]
    with pytest.raises(TypeError):
        write_json(tmp_path / "a.json", {"not": object()})
    assert read_json(tmp_path / "a.json") == value and names(tmp_path) == ["a.json"]


@pytest.mark.parametrize("content", [b"", b'{"a": 1', b"\xff\xfe"])
def test_damaged_json_is_named(tmp_path, content):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.json is damaged, it is not JSON"):
        read_json(tmp_path / "a.json")
    with pytest.raises(FileNotFoundError):
        read_json(tmp_path / "b.json")


COUNT_FAULTS = """
import ctypes, resource, runpy, sys
if sys.argv[2] == "keep":
    runpy.run_path(sys.argv[1])["keep_freed_memory"]()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.memset.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]
for turn in range(4):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    blocks = [libc.malloc(4 << 20) for _ in range(8)]
    for block in blocks:
        libc.memset(block, 1, 4 << 20)
    for block in blocks:
        libc.free(block)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc keeps memory when asked")
def test_freed_memory_is_kept():
    """The system maps thousands of pages for eight blocks of 4 MB, none when they were kept."""
    command = [sys.executable, "-c", COUNT_FAULTS]
    faults = [
        int(subprocess.check_output([*command, files.__file__, how], timeout=300))
        for how in ("plain", "keep")
    ]
    assert faults[1] < 100 < faults[0]


# ------------------------------------------------------------------------------------ checkpoints


def make():
    """A small model with dropout, its moving average, its optimiser."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.Dropout(0.5), nn.Linear(8, 3))
    average = AveragedModel(model, multi_avg_fn=lambda a, b, n: torch._foreach_lerp_(a, b, 0.3))
    return model, average, torch.optim.AdamW(model.parameters(), 0.01, weight_decay=0.1)


def learn(model, average, optimizer, steps: int) -> None:
    """Steps on random data, which a step's number chooses: they depend on weights and moments."""
    for step in range(steps):
        torch.manual_seed(step)
        optimizer.zero_grad()
        model(torch.randn(5, 6)).square().mean().backward()
        optimizer.step()
        average.update_parameters(model)


def snapshot(model, average, optimizer) -> dict:
    return copy.deepcopy(checkpoint.state_of(model, average, optimizer))


def same(one: dict, other: dict) -> bool:
    return one.keys() == other.keys() and all(
        one[k].dtype == other[k].dtype and torch.equal(one[k], other[k]) for k in one
    )


def test_a_resumed_run_equals_one_that_was_not_stopped(tmp_path):
    path, first = tmp_path / "a.safetensors", make()
    learn(*first, 3)
    facts = {"epoch": 2, "loss": 0.1 + 0.2, "rows": [{"a": 1}], "name": "ä"}
    checkpoint.save(path, checkpoint.state_of(*first), facts)
    saved = snapshot(*first)
    learn(*first, 4)

    second = make()
    learn(*second, 1)  # elsewhere
    tensors, read = checkpoint.load(path)
    assert read == facts
    checkpoint.restore(tensors, *second)
    assert same(snapshot(*second), saved)
    learn(*second, 4)
    assert same(snapshot(*second), snapshot(*first))
    assert not same(snapshot(*second), saved)


@pytest.mark.parametrize("part", ["model.", "average.", "adam."])
def test_a_step_depends_on_every_part(part):
    """With one part of another moment the next step is another: so none may be missing."""
    parts = make()
    learn(*parts, 2)
    right = snapshot(*parts)
    learn(*parts, 1)
    wrong, expected = snapshot(*parts), snapshot(*parts)
    for mixed, equal in (
        (right, True),
        (right | {name: x for name, x in wrong.items() if name.startswith(part)}, False),
    ):
        checkpoint.restore(copy.deepcopy(mixed), *parts)
        learn(*parts, 1)
        assert same(snapshot(*parts), expected) == equal


def test_a_state_before_the_first_step(tmp_path):
    first, second = make(), make()
    checkpoint.save(tmp_path / "a.safetensors", checkpoint.state_of(*first), {})
    learn(*first, 2)
    learn(*second, 1)
    checkpoint.restore(checkpoint.load(tmp_path / "a.safetensors")[0], *second)
    learn(*second, 2)
    assert same(snapshot(*first), snapshot(*second))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.int64])
def test_every_tensor_comes_back_as_it_was(tmp_path, dtype):
    tensors = {
        "scalar": torch.tensor(3, dtype=dtype),
        "transposed": torch.arange(6).view(2, 3).to(dtype).T,
        "none": torch.zeros(0, 4, dtype=dtype),
    }
    checkpoint.save(tmp_path / "a.safetensors", tensors, {})
    assert same(checkpoint.load(tmp_path / "a.safetensors")[0], tensors)


def test_the_same_checkpoint_is_the_same_file(tmp_path):
    """Two runs that learned the same are compared byte by byte."""
    tensors, facts = {"x": torch.arange(3.0), "a": torch.ones(2)}, {"epoch": 1, "b": [1.5, None]}
    written = set()
    for n in range(10):
        checkpoint.save(tmp_path / f"{n}.safetensors", tensors, facts)
        written.add((tmp_path / f"{n}.safetensors").read_bytes())
    assert len(written) == 1


def test_what_was_loaded_outlives_the_file(tmp_path):
    """A resumed run reads a checkpoint and then writes the next over it."""
    path = tmp_path / "a.safetensors"
    checkpoint.save(path, {"x": torch.full((1000,), 1.0)}, {})
    tensors, _ = checkpoint.load(path)
    checkpoint.save(path, {"x": torch.full((1000,), 2.0)}, {})
    assert tensors["x"].eq(1).all() and checkpoint.load(path)[0]["x"].eq(2).all()


def test_an_error_while_writing_leaves_the_old_checkpoint(tmp_path):
    path = tmp_path / "a.safetensors"
    checkpoint.save(path, {"x": torch.ones(3)}, {"epoch": 1})
    with pytest.raises(TypeError):
        checkpoint.save(path, {"x": torch.zeros(3)}, {"epoch": object()})
    tensors, facts = checkpoint.load(path)
    assert tensors["x"].tolist() == [1, 1, 1] and facts == {"epoch": 1}
    assert names(tmp_path) == ["a.safetensors"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda whole: b"",
        lambda whole: whole[:5],
        lambda whole: whole[:60],
        lambda whole: whole[:-1],
        lambda whole: whole + b"x",
        lambda whole: b"\xff" * 8 + whole[8:],
        lambda whole: bytes(len(whole)),
        lambda whole: b"this is no checkpoint, it is a letter to a friend",
        lambda whole: whole.replace(b'\\"epoch\\"', b'\\"epoch  '),
    ],
    ids=["empty", "5 bytes", "60 bytes", "cut", "longer", "length", "zeros", "text", "facts"],
)
def test_a_damaged_file_is_named(tmp_path, damage):
    path = tmp_path / "a.safetensors"
    checkpoint.save(path, {"x": torch.ones(30)}, {"epoch": 1})
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match=r"a\.safetensors is damaged, or no file of labkit's"):
        checkpoint.load(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no file .*a\.safetensors"):
        checkpoint.load(tmp_path / "a.safetensors")


def write_without_end(path) -> None:
    """Write one checkpoint after another, each with its number everywhere."""
    number = checkpoint.load(path)[1]["number"] if path.exists() else 0
    while True:
        number += 1
        tensors = {name: torch.full((300_000,), number) for name in "xy"}
        checkpoint.save(path, tensors, {"number": number})


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_kill_leaves_a_whole_checkpoint(tmp_path):
    """Twenty processes that write without a pause, each killed at another moment."""
    path, rng, last, interrupted = tmp_path / "a.safetensors", random.Random(0), 0, 0
    for _ in range(20):
        process = FORK.Process(target=write_without_end, args=(path,), daemon=True)
        process.start()
        until(lambda last=last: path.exists() and read_number(path) > last, "a checkpoint")
        time.sleep(rng.uniform(0, 0.03))
        os.kill(process.pid, signal.SIGKILL)
        process.join(60)
        tensors, facts = checkpoint.load(path)
        assert facts["number"] > last
        assert all(tensors[name].eq(facts["number"]).all() for name in "xy")
        last = facts["number"]
        interrupted += len(names(tmp_path)) > 1
        for part in tmp_path.glob(".part-*"):
            part.unlink()
    assert interrupted > 0  # some were killed in the midst of writing


def read_number(path) -> int:
    return checkpoint.load(path)[1]["number"]
