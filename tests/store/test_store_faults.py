"""Each fault ends in one sentence that names file and image, never in wrong features."""

import errno
import faulthandler
import hashlib
import json
import multiprocessing
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from small_stores import PER_SHARD, add, features_of, make_store, writer

from labkit.files import fingerprint
from labkit.store.loader import Loader
from labkit.store.shards import FeatureStore, StoreError, splits

SHARDS = range(4)  # 25 images, 7 in a file


def verify(store):
    for split in splits(store):
        FeatureStore(store, split).verify()


@pytest.fixture
def folder(tmp_path) -> Path:
    return make_store(tmp_path / "store").root


def shard(folder: Path, number: int) -> Path:
    return folder / f"train-{number:05d}.npy"


def flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 0x10
    path.write_bytes(content)


def read_everything(folder: Path) -> dict[str, np.ndarray]:
    """All that an epoch delivers, by id, until it ends or stops at an error."""
    store, got = FeatureStore(folder, "train"), {}
    try:
        for batch in Loader(store, 1):
            got[store.ids[int(batch.indices[0])]] = batch.features[0].clone().numpy()
    finally:
        for id, features in got.items():
            right = features_of(int(id.split("-")[1])).astype(np.float32)
            np.testing.assert_array_equal(features, right)
    return got


def edit_manifest(folder: Path, change) -> None:
    """Change the manifest as someone would who knows how: with a right fingerprint."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest["splits"]["train"]["shards"])
    del manifest["fingerprint"]
    path.write_text(json.dumps(manifest | {"fingerprint": fingerprint(manifest)}))


@pytest.mark.parametrize("number", SHARDS)
@pytest.mark.parametrize("image", [0, 3])
def test_a_flipped_byte_in_a_shard(folder, number, image):
    path = shard(folder, number)
    flip(path, 128 + 24 * image + 5)
    said = f"{re.escape(str(path))}: image 'image-{PER_SHARD * number + image}' does not match"
    with pytest.raises(StoreError, match=said):
        read_everything(folder)
    with pytest.raises(StoreError, match=said):
        verify(folder)


@pytest.mark.parametrize("number", SHARDS)
def test_a_flipped_byte_in_a_header_changes_no_feature_and_is_verified(folder, number):
    flip(shard(folder, number), 20)
    assert len(read_everything(folder)) == 25
    with pytest.raises(StoreError, match=f"{re.escape(str(shard(folder, number)))}: its header"):
        verify(folder)


@pytest.mark.parametrize("number", SHARDS)
def test_a_flipped_byte_in_the_records(folder, number):
    path = shard(folder, number).with_suffix(".jsonl")
    flip(path, 40)
    with pytest.raises(StoreError, match=f"{re.escape(str(path))} does not match its SHA-256"):
        FeatureStore(folder, "train")


def test_a_flipped_byte_anywhere_in_the_manifest(folder):
    path = folder / "manifest.json"
    whole = path.read_bytes()
    for place in range(0, len(whole), 7):
        flip(path, place)
        with pytest.raises(ValueError, match="manifest") as error:
            FeatureStore(folder, "train")
        assert str(path) in str(error.value)
        path.write_bytes(whole)
    assert len(read_everything(folder)) == 25


@pytest.mark.parametrize("number", SHARDS)
@pytest.mark.parametrize("suffix", [".npy", ".jsonl"])
def test_a_truncated_file(folder, number, suffix):
    path = shard(folder, number).with_suffix(suffix)
    os.truncate(path, path.stat().st_size - 1)
    with pytest.raises(StoreError, match=f"{re.escape(str(path))} has .* bytes"):
        FeatureStore(folder, "train")


def test_a_file_truncated_while_it_is_read(folder):
    store = FeatureStore(folder, "train")
    store.read([24])
    os.truncate(shard(folder, 3), 200)
    with pytest.raises(StoreError, match="image 'image-24'"):
        store.read([24])


@pytest.mark.parametrize("number", SHARDS)
@pytest.mark.parametrize("suffix", [".npy", ".jsonl"])
def test_a_missing_or_renamed_file(folder, number, suffix):
    path = shard(folder, number).with_suffix(suffix)
    path.rename(path.with_name(f"renamed{suffix}"))
    with pytest.raises(FileNotFoundError, match=f"{re.escape(str(path))} is missing"):
        FeatureStore(folder, "train")


def test_a_file_removed_while_the_store_is_open(folder):
    store = FeatureStore(folder, "train")
    shard(folder, 1).unlink()
    with pytest.raises(FileNotFoundError, match=r"train-00001\.npy is missing"):
        list(Loader(store, 4))


def test_two_shards_of_one_size_swapped(folder):
    shard(folder, 0).rename(folder / "other")
    shard(folder, 2).rename(shard(folder, 0))
    (folder / "other").rename(shard(folder, 2))
    said = r"train-0000[02]\.npy: image 'image-\d+' does not match"
    with pytest.raises(StoreError, match=said):
        read_everything(folder)
    with pytest.raises(StoreError, match=said):
        verify(folder)


@pytest.mark.parametrize("name", ["../outside.npy", "/etc/outside.npy", "a/../../x.npy", ".."])
def test_a_manifest_that_points_outside_the_folder(folder, name):
    shutil.copy(shard(folder, 0), folder.parent / "outside.npy")
    shutil.copy(shard(folder, 0).with_suffix(".jsonl"), folder.parent / "outside.jsonl")
    edit_manifest(folder, lambda shards: shards[0].update(name=name))
    with pytest.raises(StoreError, match=f"manifest.json names '{re.escape(name)}'"):
        FeatureStore(folder, "train")


class Trap:
    """An object that would write a file if someone unpickled it."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("same_size", [False, True])
def test_a_shard_of_objects_is_never_unpickled(folder, tmp_path, same_size):
    path, sprung = shard(folder, 0), tmp_path / "sprung"
    size = path.stat().st_size
    np.save(path, np.array([Trap(sprung)], dtype=object), allow_pickle=True)
    if same_size:  # even if the manifest is made to fit
        size = path.stat().st_size
        edit_manifest(
            folder,
            lambda shards: shards[0].update(
                bytes=size, sha256=hashlib.sha256(path.read_bytes()).hexdigest()
            ),
        )
    with pytest.raises(StoreError, match=re.escape(str(path))):
        read_everything(folder)
    assert not sprung.exists()


def test_an_error_of_a_reader_reaches_the_caller_who_can_resume_there(folder):
    path = shard(folder, 1)
    whole = path.read_bytes()
    store = FeatureStore(folder, "train")
    loader, images = Loader(store, 4, num_workers=3), []
    flip(path, 128)
    with pytest.raises(StoreError, match="image 'image-7'"):
        for batch in loader:
            images += batch.indices.tolist()
    path.write_bytes(whole)
    assert loader.position == len(images) < 25
    images += [image for batch in loader for image in batch.indices.tolist()]
    assert sorted(images) == list(range(25)) and loader.epoch == 1


def test_a_file_that_is_cut_off_while_it_is_read(folder):
    """Readers map files: what is gone kills them, and this process says what is wrong."""
    faulthandler.disable()  # it would report a reader's end as if it were the test's
    loader = Loader(FeatureStore(folder, "train"), 1, captions="none", shuffle=False)
    before = multiprocessing.active_children()
    assert len(list(loader)) == 25  # now they have mapped all files
    readers = [child for child in multiprocessing.active_children() if child not in before]
    os.truncate(shard(folder, 1), 0)
    with pytest.raises(StoreError, match=r"train-00001.npy: image 'image-7' does not match"):
        for step, batch in enumerate(loader):
            assert (batch.features[0].numpy() == features_of(step)).all()
    assert len(readers) == 2
    assert -signal.SIGBUS in [reader.exitcode for reader in readers]
    faulthandler.enable()


def fill(folder: Path) -> None:
    """Write as much of the 25 images as fits."""
    with writer(folder) as into:
        done = into.done("train")
        for image in range(25):
            if f"image-{image}" not in done:
                add(into, "train", image)


def same_files(one: Path, other: Path) -> bool:
    names = sorted(path.name for path in one.iterdir())
    return names == sorted(path.name for path in other.iterdir()) and all(
        (one / name).read_bytes() == (other / name).read_bytes() for name in names
    )


def test_a_file_that_may_not_grow_is_named_and_writing_resumes_later(folder, tmp_path):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (400, before[1]))  # a file of 7 images has 464 bytes
    try:
        with pytest.raises(OSError, match=r"train-00000.* not written") as error:
            fill(tmp_path / "full")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert error.value.errno == errno.EFBIG
    assert not (tmp_path / "full" / "manifest.json").exists()
    fill(tmp_path / "full")
    assert same_files(tmp_path / "full", folder)


FEW = """
import resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
from labkit import FeatureStore, Loader
store = FeatureStore(sys.argv[1], "train")
loader = Loader(store, batch_size=50, num_workers=2)
seen = [batch.indices.copy() for _ in range(2) for batch in loader]
print(len(seen), sum(map(len, seen)), len(store.read(range(len(store)))))
"""


def test_more_files_than_a_process_may_open(tmp_path):
    """Of 300 files, a process that may have 256 open reads all; no reader ends for want of one."""
    with writer(tmp_path, per_shard=1) as into:
        for image in range(300):
            add(into, "train", image)
    command = [sys.executable, "-W", "error", "-c", FEW, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (done.stdout, done.stderr) == ("12 600 300\n", "")


def test_nothing_is_added_after_a_failed_write(tmp_path):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    into = writer(tmp_path)
    resource.setrlimit(resource.RLIMIT_FSIZE, (400, before[1]))
    try:
        with pytest.raises(OSError, match="not written"):
            for image in range(7):
                add(into, "train", image)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    with pytest.raises(ValueError, match="closed file"):
        add(into, "train", 7)
    with pytest.raises(ValueError, match="closed file"):
        into.finish()
    assert not (tmp_path / "manifest.json").exists()


@pytest.fixture
def disk(small_disk):
    return small_disk("64k")


@pytest.mark.parametrize("left", [0, 1, 2, 3, 5, 8])
def test_a_full_disk(disk, folder, left):
    """`left` of its 16 pages are free; the store needs one for each file and the folder."""
    store, ballast = disk / "store", disk / "ballast"
    free = os.statvfs(disk).f_bavail
    ballast.write_bytes(bytes(4096 * max(0, free - left)))
    with pytest.raises(OSError, match=f"{re.escape(str(store))}.* not written: No space") as error:
        fill(store)
    assert error.value.errno == errno.ENOSPC
    with pytest.raises(FileNotFoundError, match="no finished store"):
        splits(store)
    ballast.unlink()
    fill(store)
    assert same_files(store, folder)


KILLED = """
import os, random, signal, sys, time
from pathlib import Path
from small_stores import add, writer

def write(folder):
    with writer(folder) as into:
        done = into.done("train")
        for image in range(25):
            if f"image-{image}" not in done:
                add(into, "train", image)

folder, rng, kills = Path(sys.argv[1]), random.Random(0), 0
begin = time.perf_counter()
write(folder / "timed")
took = time.perf_counter() - begin
number = 0
while kills < 100:
    child = os.fork()
    if child == 0:
        write(folder / str(number))
        os._exit(0)
    time.sleep(rng.uniform(0, took / 2))
    os.kill(child, signal.SIGKILL)
    killed = os.WIFSIGNALED(os.waitpid(child, 0)[1])
    kills += killed
    if not killed:
        assert (folder / str(number) / "manifest.json").exists()
        number += 1
if not (folder / str(number) / "manifest.json").exists():
    write(folder / str(number))
print(kills, number + 1)
"""


def test_kill_at_a_hundred_random_moments_of_writing(folder, tmp_path):
    """A process that writes is killed, started again, killed...: the files are always the same."""
    stores = tmp_path / "killed"
    stores.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(stores)], cwd=Path(__file__).parents[1],
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    kills, count = map(int, done.stdout.split())
    assert kills == 100
    for number in range(count):
        (stores / str(number) / "unfinished.json").unlink(missing_ok=True)
        assert same_files(stores / str(number), folder)
        assert len(read_everything(stores / str(number))) == 25
