import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from small_stores import DIM, ENCODER, LENGTH, SOURCE, add, features_of, make_store, writer

from labkit.store.shards import FeatureStore, StoreError, find_split, splits
from labkit.store.writer import StoreWriter


def verify(store):
    for split in splits(store):
        FeatureStore(store, split).verify()


def content(store: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in store.iterdir()}


def test_what_is_written_is_read(tmp_path):
    with writer(tmp_path) as into:
        for image in range(20):
            add(into, "dev" if image % 4 == 0 else "train", image, captions=image % 3)
    assert splits(tmp_path) == ["train", "dev"]
    for split, images in [
        ("dev", range(0, 20, 4)),
        ("train", [image for image in range(20) if image % 4]),
    ]:
        store = FeatureStore(tmp_path, split)
        assert store.ids == [f"image-{image}" for image in images]
        assert [len(texts) for texts in store.captions] == [image % 3 for image in images]
        assert (store.length, store.dim) == (LENGTH, DIM)
        assert (store.encoder, store.source) == (ENCODER, SOURCE)
        np.testing.assert_array_equal(
            store.read(range(len(store))), np.stack([features_of(image) for image in images])
        )


def test_images_are_read_in_any_order(tmp_path):
    wanted = [24, 0, 24, 7]
    found = make_store(tmp_path).read(wanted)
    np.testing.assert_array_equal(found, np.stack([features_of(image) for image in wanted]))


def test_a_store_is_a_sequence_of_images(tmp_path):
    store = make_store(tmp_path)
    np.testing.assert_array_equal(store[3], features_of(3))
    np.testing.assert_array_equal(store[-1], features_of(len(store) - 1))
    np.testing.assert_array_equal(store[5:8], store.read([5, 6, 7]))
    np.testing.assert_array_equal(np.stack(list(store)), store.read(range(len(store))))
    with pytest.raises(IndexError):
        store[len(store)]


def test_a_shard_is_an_ordinary_array(tmp_path):
    make_store(tmp_path)
    shards = [np.load(path, allow_pickle=False) for path in sorted(tmp_path.glob("train-*.npy"))]
    assert [shard.shape for shard in shards] == [(7, 3, 4)] * 3 + [(4, 3, 4)]
    np.testing.assert_array_equal(np.concatenate(shards)[20], features_of(20))


def test_boxes_and_facts_are_kept(tmp_path):
    boxes = [[None, [0.0, 0.25, 0.5, 1.0]]]
    with writer(tmp_path) as into:
        into.add("train", "a", features_of(0), ["a dog"], boxes, {"shapes": 2})
        into.add("train", "b", features_of(1), ["un café"])
    store = FeatureStore(tmp_path, "train")
    assert store.boxes == [boxes, None]
    assert store.facts == [{"shapes": 2}, {}]
    assert store.captions[1] == ("un café",)


def test_the_fingerprint_stands_for_the_content(tmp_path):
    same, again = make_store(tmp_path / "a"), make_store(tmp_path / "b")
    other = make_store(tmp_path / "c", captions=lambda image: 4)
    assert same.fingerprint == again.fingerprint != other.fingerprint


def test_another_process_can_be_sent_a_store(tmp_path):
    store = pickle.loads(pickle.dumps(make_store(tmp_path)))
    np.testing.assert_array_equal(store.read([3])[0], features_of(3))


def test_float32_is_rounded_to_float16(tmp_path):
    exact = np.full((LENGTH, DIM), 1 / 3, np.float64)
    with writer(tmp_path) as into:
        into.add("train", "a", exact, [])
    assert (FeatureStore(tmp_path, "train").read([0]) == np.float16(1 / 3)).all()


@pytest.mark.parametrize(
    ("features", "said"),
    [
        (np.full((LENGTH, DIM), np.nan), "NaN"),
        (np.full((LENGTH, DIM), -np.inf), "infinity"),
        (np.full((LENGTH, DIM), 70_000.0), "65,504"),
        (np.zeros((LENGTH, DIM + 1)), r"floats \(3, 4\), found float64 \(3, 5\)"),
        (np.zeros((LENGTH, DIM), np.int64), "found int64"),
        (np.zeros((LENGTH, DIM), object), "found object"),
    ],
)
def test_the_writer_refuses_wrong_features(tmp_path, features, said):
    with writer(tmp_path) as into:
        add(into, "train", 0)
        with pytest.raises(ValueError, match=said) as error:
            into.add("train", "broken.jpg", features, ["a"])
        assert "broken.jpg" in str(error.value)
        add(into, "train", 1)
    store = FeatureStore(tmp_path, "train")
    assert store.ids == ["image-0", "image-1"]
    np.testing.assert_array_equal(store.read([1])[0], features_of(1))


def test_the_writer_refuses_an_id_twice_a_string_for_captions_and_a_path_for_a_split(tmp_path):
    with writer(tmp_path) as into:
        add(into, "train", 0)
        with pytest.raises(ValueError, match=r"image-0.*before"):
            add(into, "dev", 0)
        with pytest.raises(ValueError, match="not a string"):
            into.add("train", "a", features_of(1), "a dog")
        with pytest.raises(ValueError, match="split"):
            into.add("../train", "b", features_of(1), [])


def test_without_its_manifest_there_is_no_store(tmp_path):
    into = writer(tmp_path)
    add(into, "train", 0)
    with pytest.raises(FileNotFoundError, match=r"manifest\.json"):
        splits(tmp_path)
    into.finish()
    assert splits(tmp_path) == ["train"]


def test_a_store_without_images_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no image was added"), writer(tmp_path):
        pass
    assert not (tmp_path / "manifest.json").exists()


def test_a_finished_store_is_not_written_over(tmp_path):
    make_store(tmp_path)
    with pytest.raises(FileExistsError, match="finished store"):
        writer(tmp_path)


def test_writing_resumes_after_an_exception_with_the_same_files_in_the_end(tmp_path):
    make_store(tmp_path / "reference")
    for stop in (3, 7, 16, 24):
        with pytest.raises(KeyboardInterrupt), writer(tmp_path / "broken") as into:
            for image in range(25):
                if f"image-{image}" not in into.done("train"):
                    add(into, "train", image)
                if image == stop:
                    raise KeyboardInterrupt
        assert not (tmp_path / "broken" / "manifest.json").exists()
        assert not list((tmp_path / "broken").glob(".part-*"))
    with writer(tmp_path / "broken") as into:
        assert len(into.done("train")) == 21
        for image in range(21, 25):
            add(into, "train", image)
    assert content(tmp_path / "broken") == content(tmp_path / "reference")


def test_an_unfinished_store_with_other_settings_is_refused(tmp_path):
    with pytest.raises(KeyboardInterrupt), writer(tmp_path) as into:
        for image in range(8):
            add(into, "train", image)
        raise KeyboardInterrupt
    with pytest.raises(StoreError, match="another encoder"):
        StoreWriter(tmp_path, LENGTH, DIM, {"name": "other"}, SOURCE, 7)
    with pytest.raises(StoreError, match="another images_per_shard"):
        writer(tmp_path, per_shard=8)


def test_images_of_several_splits_may_come_mixed(tmp_path):
    with writer(tmp_path) as into:
        for image in range(30):
            add(into, ("train", "dev", "test")[image % 3], image)
    for number, split in enumerate(("train", "dev", "test")):
        store = FeatureStore(tmp_path, split)
        np.testing.assert_array_equal(store.read([9])[0], features_of(27 + number))


def test_verify_is_content_with_a_whole_store(tmp_path, capsys):
    make_store(tmp_path)
    assert verify(tmp_path) is None
    assert capsys.readouterr().err == ""


def test_an_unknown_split_and_a_position_outside_are_named(tmp_path):
    store = make_store(tmp_path)
    with pytest.raises(StoreError, match="no split 'val': it has train"):
        FeatureStore(tmp_path, "val")
    for outside in (-1, 25):
        with pytest.raises(IndexError, match="has 25 images"):
            store.read([0, outside])


def test_a_later_format_is_refused(tmp_path):
    make_store(tmp_path)
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 3}))
    with pytest.raises(StoreError, match="no manifest of format 2"):
        splits(tmp_path)


@pytest.mark.parametrize(
    "captions, facts, message",
    [
        (["a dog \ud83d"], None, "surrogates not allowed"),
        (["a dog"], {"file": "a\udce9.jpg"}, "surrogates not allowed"),
        (["a dog"], {"size": np.int64(3)}, "not JSON serializable"),
        (["a dog", None], None, "must be a list of strings"),
        ("a dog", None, "must be a list of strings"),
    ],
)
def test_an_image_that_cannot_be_written_is_named_at_once(tmp_path, captions, facts, message):
    into = writer(tmp_path / "empty")
    with pytest.raises(ValueError, match=f"image 'b'.*{message}"):
        into.add("train", "b", features_of(1), captions, facts=facts)
    with pytest.raises(ValueError, match="no image was added"):
        into.finish()
    assert not (tmp_path / "empty" / "manifest.json").exists()

    with writer(tmp_path / "store") as into:
        add(into, "train", 0)
        with pytest.raises(ValueError, match="image 'b'"):
            into.add("train", "b", features_of(1), captions, facts=facts)
        add(into, "train", 2)
    store = FeatureStore(tmp_path / "store", "train")
    assert store.ids == ["image-0", "image-2"]
    assert (store.read([1])[0] == features_of(2)).all()


@pytest.mark.parametrize(("there", "name", "found"), [
    (["train", "dev", "val"], "val", "val"),
    (["train", "validation"], "dev", "validation"),
    (["train2017", "val2017"], "val", "val2017"),
    (["train2017", "Val_2014"], "dev", "Val_2014"),
    (["training", "test-2015"], "test", "test-2015"),
    (["train", "restval", "dev"], "train", "train"),
])  # fmt: skip
def test_a_split_goes_by_names_of_the_same_meaning(tmp_path, there, name, found):
    with writer(tmp_path) as into:
        for image, split in enumerate(there):
            add(into, split, image)
    assert find_split(tmp_path, name) == found


def test_a_split_that_cannot_be_found_is_named_with_those_there(tmp_path):
    with writer(tmp_path) as into:
        for image, split in enumerate(["val2014", "val2017", "restval"]):
            add(into, split, image)
    with pytest.raises(StoreError, match="several splits like 'dev': choose val2014 or val2017"):
        find_split(tmp_path, "dev")
    for name in ("train", "val2015", "", "rest"):
        with pytest.raises(StoreError, match=f"no split '{name}': it has val2014, val2017, rest"):
            find_split(tmp_path, name)
