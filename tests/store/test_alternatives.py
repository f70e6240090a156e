import mmap
import os
import subprocess
import sys
from multiprocessing import shared_memory

import numpy as np
import pytest
import torch
from small_stores import PER_SHARD, features_of, make_store
from torch.utils.data import DataLoader
from waiting import until

from labkit.store.alternatives import LOADERS, StoreDataset
from labkit.store.memory import memory_left, memory_now, peak_memory
from labkit.store.writer import StoreWriter

MIB = 1 << 20


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """45 images in 7 files; image i has i % 4 captions."""
    return make_store(tmp_path_factory.mktemp("store"), 45, captions=lambda image: image % 4)


@pytest.mark.parametrize("name", LOADERS)
def test_every_loader_delivers_every_image_once(store, name):
    seen, loader = [], LOADERS[name](store, 4, 1)
    loader.set_epoch(2)
    for batch in loader:
        right = np.stack([features_of(int(image)) for image in batch.indices])
        assert torch.equal(batch.features, torch.from_numpy(right).float())
        assert batch.rows.tolist() == list(range(len(batch.indices)))
        assert batch.weight.tolist() == [1.0] * len(batch.indices)
        seen += zip(batch.indices.tolist(), batch.caption_numbers.tolist(), strict=True)
    wanted = [(image, (2 + image) % (image % 4)) for image in range(45) if image % 4]
    assert sorted(seen) == wanted
    assert seen != wanted  # it is shuffled


@pytest.mark.parametrize("name", LOADERS)
def test_every_epoch_has_another_order(store, name):
    loader, orders = LOADERS[name](store, 4), []
    for epoch in (0, 1, 0, None):  # None: what follows by itself
        if epoch is not None:
            loader.set_epoch(epoch)
        orders.append([image for batch in loader for image in batch.indices.tolist()])
    assert orders[0] == orders[2] != orders[1] == orders[3]


def test_one_shard_at_a_time_mixes_no_files(store):
    for batch in LOADERS["one shard"](store, 4):
        assert len({image // PER_SHARD for image in batch.indices.tolist()}) == 1


def test_the_others_mix_all_files(store):
    for name in set(LOADERS) - {"one shard"}:
        first = next(iter(LOADERS[name](store, 30)))
        assert len({image // PER_SHARD for image in first.indices.tolist()}) == 7


CAPPED = """
import resource, sys, psutil
from labkit.store.shards import FeatureStore
from labkit.store.alternatives import LOADERS
store = FeatureStore(sys.argv[1], "train")
used = psutil.Process().memory_info().data
resource.setrlimit(resource.RLIMIT_DATA, (used + (24 << 20),) * 2)
try:
    LOADERS["in memory"](store, 2)
except MemoryError as error:
    print(error)
print(sum(len(batch.indices) for batch in LOADERS["streamed"](store, 1)))
"""


def test_what_does_not_fit_is_refused_before_it_is_read_and_can_be_streamed(tmp_path):
    """32 MiB of features in a process that may take 24 MiB more."""
    with StoreWriter(tmp_path, 256, 1024, {}, {}, 16) as writer:
        for image in range(64):
            writer.add("train", str(image), np.full((256, 1024), image / 64), ["a"])
    done = subprocess.run(
        [sys.executable, "-c", CAPPED, str(tmp_path)], capture_output=True, text=True, timeout=300,
        env=os.environ | {"OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    message, count = done.stdout.splitlines()
    assert "64 images take 32 MiB of memory" in message
    assert "stream" in message
    assert count == "64"


def test_an_ordinary_data_loader_can_read_a_store(store):
    seen = []
    for indices, features in DataLoader(StoreDataset(store), batch_size=4, shuffle=True):
        right = np.stack([features_of(int(image)) for image in indices])
        assert torch.equal(features, torch.from_numpy(right))
        seen += indices.tolist()
    assert sorted(seen) == list(range(45))


def test_a_data_loader_with_workers_can_read_a_store(store):
    """Slow (some seconds): the worker is a new process, which imports torch."""
    loader = DataLoader(
        StoreDataset(store), batch_size=9, num_workers=1, multiprocessing_context="spawn"
    )
    got = {int(i): row for indices, rows in loader for i, row in zip(indices, rows, strict=True)}
    assert sorted(got) == list(range(45))
    assert torch.equal(got[44], torch.from_numpy(features_of(44)))


def test_a_dataset_gives_single_items_too(store):
    index, features = StoreDataset(store)[7]
    assert (index, len(StoreDataset(store))) == (7, 45)
    assert torch.equal(features, torch.from_numpy(features_of(7)))


def fresh_memory(size: int) -> mmap.mmap:
    """Memory from the system, in use: an array may be given some that the process had before."""
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    np.frombuffer(memory, np.uint8)[:] = 1
    return memory


def test_peak_memory_sees_own_memory_after_it_was_freed():
    mapped = []
    for _ in range(3):
        with peak_memory(every=0.01) as peak:
            before = memory_now()
            held = fresh_memory(64 * MIB)
            now = memory_now()
            high = before.own + 60 * MIB
            until(lambda peak=peak, high=high: peak.own > high, "a look at the peak")
            held.close()
        assert 60 * MIB < now.own - before.own < 80 * MIB
        assert peak.own - before.own > 60 * MIB
        mapped.append(now.mapped - before.mapped)
    assert min(mapped) < 8 * MIB  # more, when another program with torch's files just ended


def test_a_mapped_file_is_not_the_processs_own(tmp_path):
    np.save(tmp_path / "a.npy", np.ones(128 * MIB, np.uint8))
    before = memory_now()
    held = np.load(tmp_path / "a.npy", mmap_mode="r")
    assert held.sum() == 128 * MIB
    now = memory_now()  # other programs that come and go change what is shared of torch's files
    assert now.mapped - before.mapped > 64 * MIB
    assert now.own - before.own < 8 * MIB


def test_shared_memory_is_counted_apart():
    before = memory_now()
    block = shared_memory.SharedMemory(create=True, size=16 * MIB)
    try:
        np.frombuffer(block.buf, np.uint8, 16 * MIB)[:] = 1
        now = memory_now()
    finally:
        block.close()
        block.unlink()
    assert now.shared - before.shared == 16 * MIB
    assert now.own - before.own < 8 * MIB


HOLD = """
import sys
held = bytearray(b"x") * (48 << 20)
print("held", flush=True)
sys.stdin.read()
"""


def test_memory_of_children_counts():
    before = memory_now()
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", HOLD], **pipes) as child:
        child.stdout.readline()
        now = memory_now()
        child.stdin.close()
    assert 45 * MIB < now.own - before.own < 90 * MIB


FORK = """
import multiprocessing, numpy as np
from labkit.store.memory import memory_now
held = np.ones(64 << 20, np.uint8)
before = memory_now()
context = multiprocessing.get_context("fork")
started, done = context.Event(), context.Event()
def wait():
    started.set()
    done.wait(30)
child = context.Process(target=wait)
child.start()
started.wait(30)
print((memory_now().own - before.own) / 2**20)
done.set()
child.join(60)
"""


def run(script: str) -> str:
    python = [sys.executable, "-c", script]
    done = subprocess.run(python, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_memory_that_a_fork_shares_counts_once():
    """64 MiB that parent and child have in common."""
    assert float(run(FORK)) < 32


LIMITS = """
import psutil, resource
from labkit.store.memory import memory_left
used = psutil.Process().memory_info()
resource.setrlimit(resource.RLIMIT_DATA, (used.data + (50 << 20),) * 2)
print(memory_left() / 2**20)
resource.setrlimit(resource.RLIMIT_AS, (used.vms + (20 << 20),) * 2)
print(memory_left() / 2**20)
"""


def test_memory_left_knows_a_limit():
    data, space = map(float, run(LIMITS).split())
    assert 40 < data <= 50
    assert 10 < space <= 20
    assert memory_left() > 0
