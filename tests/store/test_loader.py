import gc
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections import Counter

import numpy as np
import psutil
import pytest
import torch
from commands import torchrun
from hypothesis import given, settings
from hypothesis import strategies as st
from small_stores import features_of, make_store
from waiting import until

from labkit.store.loader import Loader

MODES = ("one", "all", "pairs", "none")
WORLD_SIZES = range(1, 9)


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    """Stores by their number of images; image i has i % 4 captions, so some have none."""
    made = {}

    def store(count):
        if count not in made:
            folder = tmp_path_factory.mktemp("stores") / str(count)
            made[count] = make_store(folder, count, captions=lambda image: (image + 1) % 4)
        return made[count]

    return store


def wanted(store, mode, epoch):
    """The samples of an epoch as pairs (image, caption), written down in the plainest way."""
    counts = [(image, len(texts)) for image, texts in enumerate(store.captions)]
    if mode == "none":
        return Counter((image, None) for image, _ in counts)
    if mode == "one":
        return Counter((image, (epoch + image) % count) for image, count in counts if count)
    return Counter((image, number) for image, count in counts for number in range(count))


def samples_of(batch):
    """A batch's samples in the same way, without those of weight 0."""
    counted = [image for image, weight in zip(batch.indices, batch.weight, strict=True) if weight]
    if not len(batch.rows):
        return [(int(image), None) for image in counted]
    return [
        (int(batch.indices[row]), int(number))
        for row, number in zip(batch.rows, batch.caption_numbers, strict=True)
        if batch.weight[row]
    ]


def of_epoch(loader, epoch):
    """The loader, at the beginning of an epoch."""
    loader.load_state_dict(loader.state_dict() | {"epoch": epoch, "position": 0})
    return loader


def right_features(store, batch):
    right = np.stack([features_of(int(image)) for image in batch.indices])
    return torch.equal(batch.features, torch.from_numpy(right).to(batch.features.dtype))


@settings(deadline=None, max_examples=60)
@given(
    st.integers(1, 5),
    st.sampled_from(WORLD_SIZES),
    st.sampled_from(MODES),
    st.integers(0, 3),
    st.integers(0, 50),
    st.sampled_from([0, 2]),
    st.data(),
)
def test_each_sample_once_on_any_number_of_ranks(
    stores, each, world_size, mode, full, epoch, workers, data
):
    size = each * world_size
    left = data.draw(st.sampled_from(sorted({0, 1, world_size - 1, size - 1})), label="left over")
    count = max(1, full * size + left)
    store = stores(count)
    how = {"world_size": world_size, "captions": mode, "num_workers": workers}
    ranks = [Loader(store, size, rank=rank, **how) for rank in range(world_size)]
    batches = [list(of_epoch(loader, epoch)) for loader in ranks]
    assert {len(mine) for mine in batches} == {len(ranks[0])}
    delivered = Counter(
        sample for mine in batches for batch in mine for sample in samples_of(batch)
    )
    assert delivered == wanted(store, mode, epoch)


@pytest.mark.parametrize("mode", MODES)
def test_a_step_is_the_same_for_any_number_of_ranks(stores, mode):
    store = stores(45)
    alone = [samples_of(batch) for batch in of_epoch(Loader(store, 8, seed=3, captions=mode), 2)]
    for world_size in WORLD_SIZES:
        ranks = [
            of_epoch(Loader(store, 8, 3, rank=rank, world_size=world_size, captions=mode), 2)
            for rank in range(world_size)
        ]
        shares = [[samples_of(batch) for batch in rank] for rank in ranks]
        steps = zip(*shares, strict=True)
        together = [sorted(sample for share in step for sample in share) for step in steps]
        assert together == [sorted(step) for step in alone]


def test_a_rank_takes_every_fourth_sample_of_a_step(stores):
    alone = [batch.indices.tolist() for batch in Loader(stores(20), 6, captions="none")]
    for rank in range(4):
        loader = Loader(stores(20), 6, rank=rank, world_size=4, captions="none")
        for step, batch in zip(alone, loader, strict=True):
            assert batch.indices.tolist() == (step[rank::4] or batch.indices.tolist())
            assert batch.weight.tolist() == ([1.0] * len(step[rank::4]) or [0.0])


def test_a_rank_without_a_sample_gets_one_of_weight_0(stores):
    """5 samples in steps of 4 for 4 ranks: the last step has one sample, three ranks have none."""
    last = [
        list(Loader(stores(5), 4, rank=rank, world_size=4, captions="none"))[-1]
        for rank in range(4)
    ]
    assert [batch.weight.tolist() for batch in last] == [[1.0], [0.0], [0.0], [0.0]]
    assert all(right_features(stores(5), batch) for batch in last)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_features_are_those_of_the_images(stores, mode, dtype):
    for batch in Loader(stores(45), 4, captions=mode, dtype=dtype):
        assert batch.features.dtype == dtype
        assert right_features(stores(45), batch)
        assert len(set(batch.indices.tolist())) == len(batch.indices)


def test_large_features_are_converted_completely(tmp_path):
    from labkit.store.shards import FeatureStore
    from labkit.store.writer import StoreWriter

    large = np.random.default_rng(0).standard_normal((70, 1000)).astype(np.float16)
    with StoreWriter(tmp_path, 70, 1000, {}, {}) as writer:
        writer.add("train", "a", large, ["large"])
    for dtype in (torch.float32, torch.bfloat16):
        (batch,) = Loader(FeatureStore(tmp_path, "train"), 1, dtype=dtype)
        assert torch.equal(batch.features[0], torch.from_numpy(large).to(dtype))


def test_one_uses_every_caption_in_turn(stores):
    store = stores(45)
    loader, seen = Loader(store, 7, captions="one"), Counter()
    for _ in range(12):  # a multiple of 1, 2 and 3 captions
        seen.update(sample for batch in loader for sample in samples_of(batch))
    counts = [len(captions) for captions in store.captions]
    assert seen == {(i, n): 12 // count for i, count in enumerate(counts) for n in range(count)}


def test_shuffle_false_keeps_the_order_of_the_store(stores):
    loader = Loader(stores(20), 6, captions="none", shuffle=False)
    assert np.concatenate([batch.indices for batch in loader]).tolist() == list(range(20))


@pytest.mark.parametrize("mode", MODES)
def test_resume_at_every_step_equals_the_uninterrupted_order(stores, mode):
    store = stores(20)
    loader = Loader(store, 4, seed=9, captions=mode)
    epochs = [[samples_of(batch) for batch in loader] for _ in range(3)]
    for step in range(len(loader)):
        stopped = Loader(store, 4, seed=9, captions=mode)
        stopped.set_epoch(1)
        for _ in zip(range(step + 1), stopped, strict=False):
            pass
        state = json.loads(json.dumps(stopped.state_dict()))
        resumed = Loader(store, 4, seed=9, captions=mode)
        resumed.load_state_dict(state)
        resumed.set_epoch(1)  # the current one: the position stays
        assert [samples_of(batch) for batch in resumed] == epochs[1][step + 1 :]
        assert [samples_of(batch) for batch in resumed] == epochs[2]


@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 4), st.integers(0, 2)), max_size=5))
def test_resume_with_other_ranks_batches_and_workers(stores, settings):
    """Each tuple is a process group's batch, ranks and workers, stopped after one step."""
    store, delivered = stores(45), Counter()
    state = Loader(store, 1).state_dict()
    for size, world_size, workers in [*settings, (5, 2, 1)]:
        ranks = [
            Loader(store, size, rank=rank, world_size=world_size, num_workers=workers)
            for rank in range(world_size)
        ]
        last, states = (size, world_size, workers) == (5, 2, 1), []
        for loader in ranks:
            loader.load_state_dict(state)
            for batch in loader:
                delivered.update(samples_of(batch))
                if not last:
                    break
            states.append(loader.state_dict())
        assert all(other == states[0] for other in states)
        state = states[0]
        if state["epoch"]:  # nothing is left
            break
    assert delivered == wanted(store, "one", 0)
    assert (state["epoch"], state["position"]) == (1, 0)


def test_the_state_is_small_and_counts_what_was_delivered_not_what_was_read(stores):
    loader = Loader(stores(45), 4, num_workers=3)
    for step, _ in enumerate(loader, start=1):
        assert loader.state_dict()["position"] == min(4 * step, loader.num_samples)
    assert len(json.dumps(loader.state_dict())) < 300


def test_a_state_of_another_store_or_order_is_refused(stores):
    state = Loader(stores(45), 4).state_dict()
    for loader, message in [
        (Loader(stores(20), 4), "another fingerprint"),
        (Loader(stores(45), 4, seed=1), "another seed"),
        (Loader(stores(45), 4, captions="pairs"), "another captions"),
        (Loader(stores(45), 4, shuffle=False), "another shuffle"),
    ]:
        with pytest.raises(ValueError, match=message):
            loader.load_state_dict(state)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"position": None}, "no epoch and position"),
        ({"epoch": "1"}, "no epoch and position"),
        ({"position": -1}, "has position -1"),
        ({"position": 46}, "has position 46, and an epoch has 45 samples"),
    ],
)
def test_a_state_that_is_none_is_refused(stores, change, message):
    loader = Loader(stores(45), 4, captions="none")
    with pytest.raises(ValueError, match=message):
        loader.load_state_dict(loader.state_dict() | change)
    assert (loader.epoch, loader.position) == (0, 0)


def images(batches):
    return [int(image) for batch in batches for image in batch.indices]


def test_each_iteration_is_the_rest_of_an_epoch_and_then_the_next_one_begins(stores):
    loader = Loader(stores(20), 6, captions="none")
    assert len(loader) == 4
    epochs = [images(loader) for _ in range(3)]
    assert all(sorted(epoch) == list(range(20)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]
    loader.set_epoch(1)
    taken = []
    for batch in loader:
        taken.append(batch.indices)
        if len(taken) == 2:
            break
    assert (loader.epoch, loader.position, len(loader)) == (1, 12, 4)
    assert [*np.concatenate(taken), *images(loader)] == epochs[1]
    assert images(loader) == epochs[2]
    for _ in loader:
        break
    loader.set_epoch(0)  # another one: from its beginning
    assert images(loader) == epochs[0]


def test_after_a_break_at_the_last_batch_nothing_is_left_of_the_epoch(stores):
    loader = Loader(stores(20), 20, captions="none")
    for _ in loader:
        break
    assert (loader.epoch, loader.position) == (0, 20)
    assert not list(loader)
    assert (loader.epoch, loader.position) == (1, 0)


def test_a_second_iteration_ends_the_first(stores):
    loader = Loader(stores(20), 4, captions="none")
    one, two = iter(loader), iter(loader)
    seen = images([next(one)]) + images([next(two)])
    with pytest.raises(RuntimeError, match="another iteration of this loader has begun"):
        next(one)
    seen += images(two)
    assert sorted(seen) == list(range(20))
    with pytest.raises(RuntimeError, match="another iteration"):
        list(zip(loader, loader, strict=True))


def test_an_iteration_ends_when_the_position_is_changed(stores):
    loader = Loader(stores(20), 4, captions="none")
    state = loader.state_dict()
    for change in (lambda: loader.set_epoch(7), lambda: loader.load_state_dict(state)):
        batches = iter(loader)
        next(batches)
        change()
        with pytest.raises(RuntimeError, match="its position was changed"):
            next(batches)
    batches = iter(loader)
    next(batches)
    loader.set_epoch(0)  # the current one
    assert len(list(batches)) == 4


def test_the_memory_of_a_batch_is_used_again(stores):
    loader = Loader(stores(45), 4, num_workers=0)
    assert len({batch.features.data_ptr() for batch in loader}) == 1
    loader = Loader(stores(45), 4, num_workers=3)
    assert len({batch.features.data_ptr() for batch in loader}) == 3


@pytest.mark.skipif(not hasattr(os, "posix_fadvise"), reason="the system can't be asked")
def test_so_many_images_are_asked_of_the_disk_at_once(tmp_path, monkeypatch):
    store, asked = make_store(tmp_path, 150), []
    monkeypatch.setattr(os, "posix_fadvise", lambda file, *read: asked.append(read))
    size = store.length * store.dim * 2
    known = [len(asked) for _ in store.iter_bytes(range(150))]
    assert [known[row] for row in (0, 63, 64, 127, 128, 149)] == [64, 64, 128, 128, 150, 150]
    assert asked[:3] == [(128 + row * size, size, os.POSIX_FADV_WILLNEED) for row in range(3)]


def test_the_bytes_of_each_image_are_shown(tmp_path):
    store, wanted = make_store(tmp_path, 45), [44, 0, 7, 7, 30]
    right = [features_of(index).tobytes() for index in wanted]
    assert [bytes(image) for image in store.iter_bytes(wanted)] == right
    assert [bytes(image) for image in store.iter_mapped_bytes(wanted)] == right


def test_wrong_settings_are_refused(stores):
    ranks = {"rank": 2, "world_size": 2}
    for wrong in ({"batch_size": 0}, {"num_workers": -1}, ranks, {"captions": "two"}):
        with pytest.raises(ValueError, match=r"at least 1|captions is one"):
            Loader(stores(20), **({"batch_size": 4} | wrong))


def test_a_batch_by_number_is_refused_with_what_to_do(stores):
    with pytest.raises(TypeError, match="`for batch in loader`"):
        Loader(stores(20), 4)[0]


def test_a_store_without_captions_can_be_read_but_not_trained_on(tmp_path):
    store = make_store(tmp_path, 5, captions=lambda image: 0)
    with pytest.raises(ValueError, match="no image of the split 'train' has a caption"):
        Loader(store, 2)
    assert sum(len(batch.indices) for batch in Loader(store, 2, captions="none")) == 5


@pytest.fixture
def workers():
    """A function that gives the processes begun since, without those that have ended."""
    gc.collect()  # loaders of other tests end theirs
    me, before = psutil.Process(), psutil.Process().children(recursive=True)

    def begun():
        children = [child for child in me.children(recursive=True) if child not in before]
        return {child.pid for child in children if child.status() != psutil.STATUS_ZOMBIE}

    return begun


def test_workers_are_kept_for_the_next_epoch_and_end_with_the_loader(stores, workers):
    loader = Loader(stores(45), 2, num_workers=3)
    assert not workers()  # none before they are needed
    list(loader)
    first = workers()
    assert len(first) == 3
    list(loader)
    assert workers() == first
    del loader
    assert not workers()


def test_an_early_break_leaves_nothing_running(stores, workers):
    for _ in Loader(stores(45), 2, num_workers=4):
        assert len(workers()) == 4
        break
    assert not workers()


def test_a_worker_that_is_killed_is_done_without_and_replaced(stores, workers):
    loader, images, killed = Loader(stores(45), 2, num_workers=2, captions="none"), [], set()
    with pytest.warns(UserWarning, match="a process that read ahead has ended"):
        for step, batch in enumerate(loader):
            assert right_features(stores(45), batch)
            images += batch.indices.tolist()
            if step in (3, 9):
                killed.add(worker := workers().pop())
                os.kill(worker, signal.SIGKILL)
                until(lambda: killed.isdisjoint(workers()), "a killed worker to end")
    assert sorted(images) == list(range(45))
    assert len(killed) == 2 and not workers() & killed
    assert sum(len(batch.indices) for batch in loader) == 45
    assert len(workers()) == 2


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_without_workers_this_process_reads(stores, workers, dtype):
    for batch in Loader(stores(45), 4, num_workers=0, dtype=dtype):
        assert right_features(stores(45), batch)
        assert not workers()


def test_workers_do_not_write_to_a_batch_that_is_in_use(stores):
    for step, batch in enumerate(Loader(stores(45), 8, captions="none")):
        if step < 3:
            time.sleep(0.1)  # in which a wrong worker would write
        assert right_features(stores(45), batch)


def all_right(loader, results):
    results.put([right_features(loader.store, batch) for batch in loader])


@pytest.mark.parametrize("daemon", [False, True])
def test_a_loader_that_is_inherited_reads_beside_its_original(stores, daemon):
    """A process made by fork has workers of its own; a daemon may have none, and reads itself."""
    loader, fork = Loader(stores(45), 4, captions="none"), multiprocessing.get_context("fork")
    list(loader)
    results = fork.Queue()
    other = fork.Process(target=all_right, args=(loader, results), daemon=daemon)
    other.start()
    for _ in range(20):
        assert all(right_features(stores(45), batch) for batch in loader)
    assert results.get(timeout=120) == [True] * 12
    other.join(120)
    assert other.exitcode == 0


OPEN = """
import sys
from labkit.store.loader import Loader
from labkit.store.shards import FeatureStore
batches = iter(Loader(FeatureStore(sys.argv[1], "train"), 4))
print(len(next(batches).indices))
"""


def test_a_program_may_end_in_the_middle_of_an_epoch(tmp_path):
    root = make_store(tmp_path, 45).root
    python = [sys.executable, "-c", OPEN, str(root)]
    done = subprocess.run(python, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stdout, done.stderr) == (0, "4\n", "")


LONG = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # which a script's background jobs ignore
from labkit.store.loader import Loader
from labkit.store.shards import FeatureStore
loader = Loader(FeatureStore(sys.argv[1], "train"), 4)
for epoch in range(10**9):
    for batch in loader:
        if not epoch:
            print("reads", flush=True)
"""


def runs(process: psutil.Process) -> bool:
    """Whether it does; one that nobody waits for may stay as a zombie."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_workers_end_with_a_program_that_is_killed_or_interrupted(tmp_path, how):
    root = make_store(tmp_path, 45).root
    program = subprocess.Popen(
        [sys.executable, "-c", LONG, str(root)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    with program:
        assert program.stdout.readline() == "reads\n"
        workers = psutil.Process(program.pid).children()
        assert len(workers) == 2
        for _ in range(8):  # of 12 batches, so both have read
            assert program.stdout.readline() == "reads\n"
        if how == signal.SIGKILL:
            program.kill()
        else:
            os.killpg(program.pid, how)  # as a terminal does: to the workers, too
        said = program.communicate(timeout=60)[1]
    until(lambda: not any(map(runs, workers)), "the workers to end")
    assert said.count("Traceback") == said.count("KeyboardInterrupt") == (how == signal.SIGINT)


def test_fifty_epochs_leak_neither_files_nor_processes_nor_memory(tmp_path, workers):
    store, process = make_store(tmp_path, 45), psutil.Process()
    loader = Loader(store, 4, num_workers=3)

    def run(epochs):
        for epoch in range(epochs):
            for step, _ in enumerate(loader):
                if epoch % 3 == 0 and step == 5:
                    break  # sometimes
        memory = [psutil.Process(pid).memory_info().rss for pid in workers()]
        return process.num_fds(), len(memory), process.memory_info().rss, max(memory)

    files, processes, *memory = run(5)
    files_later, processes_later, *memory_later = run(50)
    assert (files_later, processes_later) == (files, processes) == (files, 3)
    assert max(np.subtract(memory_later, memory)) < 4 << 20


def test_a_closed_store_leaves_no_open_file(tmp_path):
    before = psutil.Process().num_fds()
    store = make_store(tmp_path, 45)
    store.read(range(45))
    assert psutil.Process().num_fds() == before + len(store.shards)
    del store
    assert psutil.Process().num_fds() == before


RANK = """
import json, sys
import torch.distributed as dist
from labkit.store.loader import Loader
from labkit.store.shards import FeatureStore
dist.init_process_group("gloo")
rank, size = dist.get_rank(), dist.get_world_size()
loader = Loader(FeatureStore(sys.argv[1], "train"), 6, rank=rank, world_size=size, captions="none")
mine = [batch.indices[batch.weight.numpy() > 0].tolist() for batch in loader]
shares = [None] * size
dist.all_gather_object(shares, mine)
if rank == 0:
    print(json.dumps(shares))
dist.destroy_process_group()
"""


@pytest.mark.parametrize("world_size", [2, 4])
def test_processes_under_torchrun_share_an_epoch(tmp_path, world_size):
    store = make_store(tmp_path / "store", 45)
    script = tmp_path / "rank.py"
    script.write_text(RANK)
    done = torchrun(world_size, script, store.root, first="labkit.store.loader")
    assert done.returncode == 0, done.stderr
    shares = json.loads(done.stdout.splitlines()[-1])
    assert len({len(mine) for mine in shares}) == 1
    assert sorted(image for mine in shares for step in mine for image in step) == list(range(45))
