import json
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from commands import TRAINING, torchrun
from small_stores import DIM, LENGTH, features_of, make_store, writer

from labkit.store.export import export, shard_sizes
from labkit.store.shards import StoreError


@pytest.fixture
def store(tmp_path):
    return make_store(tmp_path / "store", captions=lambda image: image % 4)


def check(store, samples):
    """Every image once, in order, with its features and captions."""
    assert len(samples) == 25
    for image, (id, captions, features) in enumerate(samples):
        assert (id, tuple(captions)) == (store.ids[image], store.captions[image])
        assert features.dtype == np.float16
        np.testing.assert_array_equal(features, features_of(image))


def test_round_trip_through_webdataset(store, tmp_path):
    import webdataset as wds

    out = export(store.root, "train", "webdataset", tmp_path / "out")
    tars = [str(path) for path in sorted(out.iterdir())]
    assert len(tars) == len(store.shards)
    read = wds.WebDataset(tars, shardshuffle=False).decode()
    check(store, [(s["json"]["id"], s["json"]["captions"], s["npy"]) for s in read])


def test_a_folder_whose_name_looks_like_an_address_is_a_folder(store, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    out = export(store.root, "train", "webdataset", Path("exp:1") / "wds")
    with tarfile.open(min(out.iterdir())) as tar:
        assert len(tar.getnames()) == 2 * store.shards[0]["count"]


def test_a_split_is_found_by_its_other_names(store, tmp_path):
    assert len(list(export(store.root, "training", "safetensors", tmp_path / "o").iterdir())) == 4


def test_round_trip_through_mosaicml_streaming(store, tmp_path):
    # Some 60 packages come with it, and an older NumPy: no part of the tests' environment.
    streaming = pytest.importorskip("streaming", reason="needs labkit[export]")
    out = export(store.root, "train", "mds", tmp_path / "out")
    read = streaming.StreamingDataset(local=str(out), validate_hash="xxh64", batch_size=1)
    check(store, [(read[i]["id"], read[i]["captions"], read[i]["features"]) for i in range(25)])


def test_round_trip_through_safetensors(store, tmp_path):
    from safetensors import safe_open

    out, samples = export(store.root, "train", "safetensors", tmp_path / "o"), []
    for path in sorted(out.iterdir()):
        with safe_open(path, "np") as file:
            ids, captions = (json.loads(file.metadata()[name]) for name in ("ids", "captions"))
            samples += zip(ids, captions, file.get_tensor("features"), strict=True)
    check(store, samples)


def test_a_damaged_store_is_not_exported(store, tmp_path):
    path = store.root / "train-00002.npy"
    content = bytearray(path.read_bytes())
    content[150] ^= 1
    path.write_bytes(content)
    with pytest.raises(StoreError, match=r"train-00002\.npy: image 'image-14'"):
        export(store.root, "train", "safetensors", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


def test_what_another_export_is_writing_is_left_alone(store, tmp_path):
    """Also what one left that was killed: who knows whose it is?"""
    (tmp_path / ".part-out").mkdir()
    (tmp_path / ".part-out" / "a.tar").write_text("half of it")
    out = export(store.root, "train", "safetensors", tmp_path / "out")
    assert out.is_dir()
    assert (tmp_path / ".part-out" / "a.tar").read_text() == "half of it"
    assert {path.name for path in tmp_path.iterdir()} == {"store", ".part-out", "out"}


def test_a_link_that_leads_nowhere_is_no_free_place(store, tmp_path):
    (tmp_path / "out").symlink_to(tmp_path / "gone")
    with pytest.raises(FileExistsError, match="exists"):
        export(store.root, "train", "safetensors", tmp_path / "out")
    assert (tmp_path / "out").is_symlink()


def test_wrong_requests_are_refused(store, tmp_path):
    with pytest.raises(ValueError, match="choose one of webdataset, mds, safetensors"):
        export(store.root, "train", "hdf5", tmp_path / "out")
    with pytest.raises(FileExistsError, match="exists"):
        export(store.root, "train", "safetensors", store.root)
    with pytest.raises(StoreError, match="no split 'dev'"):
        export(store.root, "dev", "safetensors", tmp_path / "out")


@pytest.mark.parametrize(
    ("to", "module"), [("webdataset", "webdataset"), ("mds", "streaming")]
)
def test_a_tool_that_is_not_installed_is_named(store, tmp_path, monkeypatch, to, module):
    monkeypatch.setitem(sys.modules, module, None)  # as if it were not there
    with pytest.raises(ModuleNotFoundError, match=r"needs .*labkit\[export\]"):
        export(store.root, "train", to, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_files_of_the_lab_of_2017():
    assert shard_sizes(82_783, 10_000) == [10_000] * 8 + [2_783]
    assert shard_sizes(20, 10) == [10, 10]
    assert shard_sizes(0, 10) == []
    with pytest.raises(ValueError, match="files of 0"):
        shard_sizes(5, 0)


def test_two_processes_train_from_two_exports(tmp_path):
    """Real processes under torchrun (gloo), webdataset's reader: `benchmarks/from_export.py`.

    35 images in five files, so that one process has a file more. What an image shows is all in
    its features, which makes the loss fall fast.
    """
    shapes = [f"a {colour} {shape}" for colour in ("red", "blue") for shape in ("cross", "star")]
    folders = []
    for part, images in ("a", range(21)), ("b", range(21, 35)):
        with writer(tmp_path / part) as into:
            for image in images:
                features = np.zeros((LENGTH, DIM), np.float16)
                features[:, image % DIM] = 4
                into.add("train", f"image-{image}", features, [shapes[image % DIM]])
        folders.append(export(tmp_path / part, "train", "webdataset", tmp_path / f"{part}-tars"))
    script = Path(__file__).parents[2] / "benchmarks" / "from_export.py"
    words = ["--epochs", 3, "--batch", 8, "--learning-rate", 0.01]
    done = torchrun(2, script, *folders, *words, first=f"webdataset, {TRAINING}")
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [sorted(row["images"]) for row in rows] == [[14, 21]] * 3
    assert all(row["weights_alike"] for row in rows)
    assert rows[-1]["loss"] < rows[0]["loss"] / 2
