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
from hypothesis import given, settings
from hypothesis import strategies as st
from small_stores import features_of, make_store
from waiting import until

from labkit.store.loader import Loader

MODES = ("one", "all", "pairs", "none")
WORLDS = range(1, 9)


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
    counts = [(image, len(told)) for image, told in enumerate(store.captions)]
    if mode == "none":
        return Counter((image, None) for image, _ in counts)
    if mode == "one":
        return Counter((image, (epoch + image) % count) for image, count in counts if count)
    return Counter((image, number) for image, count in counts for number in range(count))


def told(batch):
    """A batch's samples in the same way, without those of weight 0."""
    weighty = [image for image, weight in zip(batch.indices, batch.weight, strict=True) if weight]
    if not len(batch.rows):
        return [(int(image), None) for image in weighty]
    return [
        (int(batch.indices[row]), int(number))
        for row, number in zip(batch.rows, batch.captions, strict=True)
        if batch.weight[row]
    ]


def right_features(store, batch):
    right = np.stack([features_of(int(image)) for image in batch.indices])
    return torch.equal(batch.features, torch.from_numpy(right).to(batch.features.dtype))


@settings(deadline=None, max_examples=60)
@given(
    st.integers(1, 5),
    st.sampled_from(WORLDS),
    st.sampled_from(MODES),
    st.integers(0, 3),
    st.integers(0, 50),
    st.data(),
)
def test_each_sample_once_on_any_number_of_ranks(stores, each, world, mode, full, epoch, data):
    size = each * world
    left = data.draw(st.sampled_from(sorted({0, 1, world - 1, size - 1})), label="left over")
    count = max(1, full * size + left)
    store = stores(count)
    ranks = [Loader(store, size, rank=r, world=world, captions=mode) for r in range(world)]
    batches = [list(loader.epoch(epoch)) for loader in ranks]
    assert {len(mine) for mine in batches} == {ranks[0].steps()}
    delivered = Counter(sample for mine in batches for batch in mine for sample in told(batch))
    assert delivered == wanted(store, mode, epoch)


@pytest.mark.parametrize("mode", MODES)
def test_a_step_is_the_same_for_any_number_of_ranks(stores, mode):
    store = stores(45)
    alone = [told(batch) for batch in Loader(store, 8, seed=3, captions=mode).epoch(2)]
    for world in WORLDS:
        ranks = [
            Loader(store, 8, seed=3, rank=rank, world=world, captions=mode).epoch(2)
            for rank in range(world)
        ]
        shares = [[told(batch) for batch in rank] for rank in ranks]
        steps = zip(*shares, strict=True)
        together = [sorted(sample for share in step for sample in share) for step in steps]
        assert together == [sorted(step) for step in alone]


def test_a_rank_takes_every_worldth_sample_of_a_step(stores):
    alone = [batch.indices.tolist() for batch in Loader(stores(20), 6, captions="none").epoch(1)]
    for rank in range(4):
        loader = Loader(stores(20), 6, rank=rank, world=4, captions="none")
        for step, batch in zip(alone, loader.epoch(1), strict=True):
            assert batch.indices.tolist() == (step[rank::4] or batch.indices.tolist())
            assert batch.weight.tolist() == ([1.0] * len(step[rank::4]) or [0.0])


def test_a_rank_without_a_sample_gets_one_of_weight_0(stores):
    """5 samples in steps of 4 for 4 ranks: the last step has one sample, three ranks have none."""
    last = [
        list(Loader(stores(5), 4, rank=rank, world=4, captions="none").epoch(0))[-1]
        for rank in range(4)
    ]
    assert [batch.weight.tolist() for batch in last] == [[1.0], [0.0], [0.0], [0.0]]
    assert all(right_features(stores(5), batch) for batch in last)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_features_are_those_of_the_images(stores, mode, dtype):
    for batch in Loader(stores(45), 4, captions=mode, dtype=dtype).epoch(0):
        assert batch.features.dtype == dtype
        assert right_features(stores(45), batch)
        assert len(set(batch.indices.tolist())) == len(batch.indices)


def test_features_larger_than_a_piece_are_converted_whole(tmp_path):
    from labkit.store.shards import FeatureStore
    from labkit.store.writer import StoreWriter

    large = np.random.default_rng(0).standard_normal((70, 1000)).astype(np.float16)
    with StoreWriter(tmp_path, 70, 1000, {}, {}) as writer:
        writer.add("train", "a", large, ["large"])
    for dtype in (torch.float32, torch.bfloat16):
        (batch,) = Loader(FeatureStore(tmp_path, "train"), 1, dtype=dtype).epoch(0)
        assert torch.equal(batch.features[0], torch.from_numpy(large).to(dtype))


def test_one_tells_every_caption_in_turn(stores):
    store = stores(45)
    loader, seen = Loader(store, 7, captions="one"), Counter()
    for epoch in range(12):  # a multiple of 1, 2 and 3 captions
        seen.update(sample for batch in loader.epoch(epoch) for sample in told(batch))
    counts = [len(captions) for captions in store.captions]
    assert seen == {(i, n): 12 // count for i, count in enumerate(counts) for n in range(count)}


def test_shuffle_false_keeps_the_order_of_the_store(stores):
    loader = Loader(stores(20), 6, captions="none", shuffle=False)
    assert np.concatenate([batch.indices for batch in loader.epoch(4)]).tolist() == list(range(20))


@pytest.mark.parametrize("mode", MODES)
def test_resume_at_every_step_equals_the_uninterrupted_order(stores, mode):
    store = stores(20)
    loader = Loader(store, 4, seed=9, captions=mode)
    epochs = [[told(batch) for batch in loader.epoch(epoch)] for epoch in range(2)]
    for step in range(loader.steps()):
        stopped = Loader(store, 4, seed=9, captions=mode)
        for _ in zip(range(step + 1), stopped.epoch(1), strict=False):
            pass
        state = json.loads(json.dumps(stopped.state()))
        again = Loader(store, 4, seed=9, captions=mode)
        rest = [told(batch) for batch in again.epoch(*again.resume(state))]
        assert rest == epochs[1][step + 1 :]


@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 4), st.integers(1, 3)), max_size=5))
def test_resume_with_other_ranks_batches_and_readers(stores, settings):
    """Each tuple is a process group's batch, ranks and readers, stopped after one step."""
    store, delivered = stores(45), Counter()
    state = Loader(store, 1).state()
    for size, world, readers in [*settings, (5, 2, 1)]:
        ranks = [Loader(store, size, rank=r, world=world, readers=readers) for r in range(world)]
        starts = {loader.resume(state) for loader in ranks}
        assert len(starts) == 1
        last = (size, world, readers) == (5, 2, 1)
        for loader in ranks:
            for step, batch in enumerate(loader.epoch(*starts.copy().pop())):
                if step and not last:
                    break
                delivered.update(told(batch))
                state = loader.state()
    assert delivered == wanted(store, "one", 0)


def test_state_is_small_and_counts_what_was_delivered_not_what_was_read(stores):
    loader = Loader(stores(45), 4, readers=3)
    for step, _ in enumerate(loader.epoch(0), start=1):
        assert loader.state()["position"] == min(4 * step, loader.samples())
    assert len(json.dumps(loader.state())) < 300


def test_a_state_of_another_store_or_order_is_refused(stores):
    state = Loader(stores(45), 4).state()
    for loader, said in [
        (Loader(stores(20), 4), "another fingerprint"),
        (Loader(stores(45), 4, seed=1), "another seed"),
        (Loader(stores(45), 4, captions="pairs"), "another captions"),
        (Loader(stores(45), 4, shuffle=False), "another shuffle"),
    ]:
        with pytest.raises(ValueError, match=said):
            loader.resume(state)


def test_a_batch_lives_until_the_next_and_a_copy_for_ever(stores):
    loader = Loader(stores(45), 4, readers=0)
    places = {batch.features.data_ptr() for batch in loader.epoch(0)}
    assert len(places) <= 2  # memory is used again
    kept = list(Loader(stores(45), 4, readers=0, copy=True).epoch(0))
    assert all(right_features(stores(45), batch) for batch in kept)


@pytest.mark.skipif(not hasattr(os, "posix_fadvise"), reason="the system can't be asked")
def test_so_many_images_are_asked_of_the_disk_at_once(tmp_path, monkeypatch):
    store, asked = make_store(tmp_path, 150), []
    monkeypatch.setattr(os, "posix_fadvise", lambda file, *read: asked.append(read))
    size, known = store.length * store.dim * 2, []
    for _ in store.each(range(150)):
        known.append(len(asked))
    assert [known[row] for row in (0, 63, 64, 127, 128, 149)] == [64, 64, 128, 128, 150, 150]
    assert asked[:3] == [(128 + row * size, size, os.POSIX_FADV_WILLNEED) for row in range(3)]


@pytest.mark.parametrize("mapped", [False, True])
def test_the_bytes_of_each_image_are_shown(tmp_path, mapped):
    store, wanted = make_store(tmp_path, 45), [44, 0, 7, 7, 30]
    shown = [bytes(image) for image in store.each(wanted, mapped)]
    assert shown == [features_of(index).tobytes() for index in wanted]


def test_two_epochs_of_one_loader_may_run_side_by_side(stores):
    loader = Loader(stores(20), 4, captions="none")
    for one, other in zip(loader.epoch(0), loader.epoch(1), strict=True):
        assert right_features(stores(20), one)
        assert right_features(stores(20), other)


def test_wrong_settings_are_refused(stores):
    for wrong in ({"batch_size": 0}, {"readers": -1}, {"rank": 2, "world": 2}, {"captions": "two"}):
        with pytest.raises(ValueError, match=r"at least 1|captions is one"):
            Loader(stores(20), **({"batch_size": 4} | wrong))


def test_a_store_without_captions_can_be_read_but_not_trained_on(tmp_path):
    store = make_store(tmp_path, 5, captions=lambda image: 0)
    with pytest.raises(ValueError, match="no image of the split 'train' has a caption"):
        Loader(store, 2)
    assert sum(len(batch.indices) for batch in Loader(store, 2, captions="none").epoch(0)) == 5


@pytest.fixture
def readers():
    """A function that gives the processes begun since, without those that have ended."""
    gc.collect()  # loaders of other tests end theirs
    me, before = psutil.Process(), psutil.Process().children(recursive=True)

    def begun():
        children = [child for child in me.children(recursive=True) if child not in before]
        return {child.pid for child in children if child.status() != psutil.STATUS_ZOMBIE}

    return begun


def test_readers_are_kept_for_the_next_epoch_and_end_with_the_loader(stores, readers):
    loader = Loader(stores(45), 2, readers=3)
    assert not readers()  # none before they are needed
    list(loader.epoch(0))
    first = readers()
    assert len(first) == 3
    list(loader.epoch(1))
    assert readers() == first
    del loader
    assert not readers()


def test_an_early_break_leaves_nothing_running(stores, readers):
    for _ in Loader(stores(45), 2, readers=4).epoch(0):
        assert len(readers()) == 4
        break
    assert not readers()


def test_a_reader_that_is_killed_is_done_without_and_replaced(stores, readers):
    loader, images, killed = Loader(stores(45), 2, readers=2, captions="none"), [], set()
    with pytest.warns(UserWarning, match="a process that read ahead has ended"):
        for step, batch in enumerate(loader.epoch(0)):
            assert right_features(stores(45), batch)
            images += batch.indices.tolist()
            if step in (3, 9):
                killed.add(reader := readers().pop())
                os.kill(reader, signal.SIGKILL)
                until(lambda: killed.isdisjoint(readers()), "a killed reader to end")
    assert sorted(images) == list(range(45))
    assert len(killed) == 2 and not readers() & killed
    assert sum(len(batch.indices) for batch in loader.epoch(1)) == 45
    assert len(readers()) == 2


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_without_readers_this_process_reads(stores, readers, dtype):
    for batch in Loader(stores(45), 4, readers=0, dtype=dtype).epoch(0):
        assert right_features(stores(45), batch)
        assert not readers()


def test_readers_do_not_write_to_a_batch_that_is_in_use(stores):
    for step, batch in enumerate(Loader(stores(45), 8, captions="none").epoch(0)):
        if step < 3:
            time.sleep(0.1)  # in which a wrong reader would write
        assert right_features(stores(45), batch)


def all_right(loader, told):
    told.put([right_features(loader.store, batch) for batch in loader.epoch(1)])


@pytest.mark.parametrize("daemon", [False, True])
def test_a_loader_that_is_inherited_reads_beside_its_original(stores, daemon):
    """A process made by fork has readers of its own; a daemon may have none, and reads itself."""
    loader, fork = Loader(stores(45), 4, captions="none"), multiprocessing.get_context("fork")
    list(loader.epoch(0))
    told = fork.Queue()
    other = fork.Process(target=all_right, args=(loader, told), daemon=daemon)
    other.start()
    for epoch in range(20):
        assert all(right_features(stores(45), batch) for batch in loader.epoch(epoch))
    assert told.get(timeout=120) == [True] * 12
    other.join(120)
    assert other.exitcode == 0


OPEN = """
import sys
from labkit.store.loader import Loader
from labkit.store.shards import FeatureStore
batches = Loader(FeatureStore(sys.argv[1], "train"), 4).epoch(0)
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
    for batch in loader.epoch(epoch):
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
def test_readers_end_with_a_program_that_is_killed_or_interrupted(tmp_path, how):
    root = make_store(tmp_path, 45).root
    program = subprocess.Popen(
        [sys.executable, "-c", LONG, str(root)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    with program:
        assert program.stdout.readline() == "reads\n"
        readers = psutil.Process(program.pid).children()
        assert len(readers) == 2
        for _ in range(8):  # of 12 batches, so both have read
            assert program.stdout.readline() == "reads\n"
        if how == signal.SIGKILL:
            program.kill()
        else:
            os.killpg(program.pid, how)  # as a terminal does: to the readers, too
        said = program.communicate(timeout=60)[1]
    until(lambda: not any(map(runs, readers)), "the readers to end")
    assert said.count("Traceback") == said.count("KeyboardInterrupt") == (how == signal.SIGINT)


def test_fifty_epochs_leak_neither_files_nor_processes_nor_memory(tmp_path, readers):
    store, process = make_store(tmp_path, 45), psutil.Process()
    loader = Loader(store, 4, readers=3)

    def run(epochs):
        for epoch in range(epochs):
            for step, _ in enumerate(loader.epoch(epoch)):
                if epoch % 3 == 0 and step == 5:
                    break  # now and then a break
        memory = [psutil.Process(pid).memory_info().rss for pid in readers()]
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


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_features_reach_a_gpu(stores, dtype):
    kept = list(Loader(stores(45), 4, dtype=dtype, device="cuda").epoch(0))
    for batch in kept:
        assert batch.features.is_cuda
        batch.features = batch.features.cpu()
        assert right_features(stores(45), batch)


RANK = """
import json, sys
import torch.distributed as dist
from labkit.store.loader import Loader
from labkit.store.shards import FeatureStore
dist.init_process_group("gloo")
rank, world = dist.get_rank(), dist.get_world_size()
loader = Loader(FeatureStore(sys.argv[1], "train"), 6, rank=rank, world=world, captions="none")
mine = [batch.indices[batch.weight.numpy() > 0].tolist() for batch in loader.epoch(0)]
shares = [None] * world
dist.all_gather_object(shares, mine)
if rank == 0:
    print(json.dumps(shares))
dist.destroy_process_group()
"""


@pytest.mark.parametrize("world", [2, 4])
def test_processes_under_torchrun_share_an_epoch(tmp_path, world):
    """Slow (5 to 15 seconds): every process imports torch."""
    store = make_store(tmp_path / "store", 45)
    script = tmp_path / "rank.py"
    script.write_text(RANK)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    done = subprocess.run(
        [*torchrun, f"--nproc-per-node={world}", str(script), str(store.root)],
        capture_output=True, text=True, timeout=300, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    shares = json.loads(done.stdout.splitlines()[-1])
    assert len({len(mine) for mine in shares}) == 1
    assert sorted(image for mine in shares for step in mine for image in step) == list(range(45))
