"""The names of splits, and splits made by a seed."""

import random
from collections import Counter
from pathlib import Path

import pytest

from labkit.data.readers import CaptionedImage, DataError, make_splits
from labkit.data.records import DataReport
from labkit.data.rows import Row
from labkit.data.splits import parse_shares, pick, split_name

SHARES = {"train": 0.8, "dev": 0.1, "test": 0.1}


def images(count: int, split: str = "all") -> list[CaptionedImage]:
    return [CaptionedImage(f"{n}.jpg", Path(f"{n}.jpg"), ("A dog.",), split) for n in range(count)]


def by_id(records) -> dict[str, str]:
    return {record.id: record.split for record in records}


@pytest.mark.parametrize(
    ("given", "name"),
    [("val", "dev"), ("Validation", "dev"), ("TRAIN", "train"),
     ("restval", "restval"), ("train2017", "train2017"), ("my split/1", "my-split-1"),
     ("训练", "")],
)  # fmt: skip
def test_names_of_splits_are_those_a_store_takes(given, name):
    assert split_name(given) == name


def test_splits_are_picked_by_the_sources_names_and_by_ours():
    rows = [Row("", f"{split}.jpg", split=split) for split in ("train", "validation", "x")]

    def picked(*asked):
        found = pick(rows, asked or None, Path("set"), report := DataReport())
        return [row.split for row in found], report.notes

    assert picked()[0] == ["train", "dev", "x"]
    assert picked()[1] == ["the split 'validation' of set is called 'dev' here"]
    assert picked("dev")[0] == ["dev"]
    assert picked("val")[0] == ["val"]
    assert picked("validation", "train+x")[0] == ["validation", "train", "train"]
    with pytest.raises(DataError, match="set has no split 'test', only: train, dev, x"):
        picked("test")


def test_made_splits_are_exact_and_depend_on_the_seed_and_the_ids_alone():
    records = images(3000)
    found = by_id(make_splits(records, SHARES))
    assert {s: n / 3000 for s, n in Counter(found.values()).items()} == pytest.approx(SHARES)
    mixed = random.Random(5).sample(records, len(records))
    assert by_id(make_splits(mixed, SHARES)) == found
    hundred = by_id(make_splits(records[:100], {"train": 0.9, "dev": 0.1, "test": 0.0}))
    assert Counter(hundred.values()) == {"train": 90, "dev": 10}
    assert by_id(make_splits(records, SHARES, seed=1)) != found
    assert [r.split for r in make_splits(mixed, SHARES)] == sorted(
        found.values(), key=list(SHARES).index
    )


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("count", [3, 5, 12])
def test_no_made_split_is_empty(seed, count):
    records = make_splits(images(count), SHARES, seed)
    assert set(by_id(records).values()) == set(SHARES) and len(by_id(records)) == count


def test_splits_are_made_of_one_split_only():
    assert Counter(by_id(make_splits(images(20, "train"), SHARES)).values()).total() == 20
    with pytest.raises(DataError, match="has splits, train, dev: leave out --make-splits"):
        make_splits(images(5, "train") + images(5, "dev"), SHARES)
    with pytest.raises(DataError, match="2 images cannot make the splits train, dev, test"):
        make_splits(images(2), SHARES)


def test_shares():
    assert parse_shares("0.8, 0.1,.1") == SHARES
    assert parse_shares("0.9,0.1") == {"train": 0.9, "dev": 0.1}
    wrong = "", "1", "0.8;0.1;0.1", "0.5,0.1,0.1", "0,0.5,0.5", "nan,0.5,0.5", "2,-1,0", "80,10,10"
    for text in (*wrong, "0.7,0.1,0.1,0.1", "a,b,c"):
        with pytest.raises(ValueError, match="--make-splits takes the shares of train, dev and"):
            parse_shares(text)
