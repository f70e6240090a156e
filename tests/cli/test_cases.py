"""The small inputs beside the project that once failed, each with what is right.

Slow: some are encoded, or start Java.
"""

import json
import shutil
from collections import Counter
from pathlib import Path

import pytest
from commands import labkit

from labkit.data.readers import READERS, DataError, DataReport, find_layout, require_captions
from labkit.evaluation.results import read_references, read_results, score_file
from labkit.store.shards import FeatureStore, splits


@pytest.fixture(scope="module")
def cases(shared) -> Path:
    if not (shared / "data/cases").is_dir():
        pytest.skip("needs the cases beside the project")
    return shared / "data/cases"


KARPATHY = {"train": 8, "dev": 2, "test": 2}
READ = [  # folder, reader, how many of each split, what is reported
    ("kaggle8k", "flickr8k", {"all": 12}, {}),
    ("kaggle8k_renamed", "flickr8k", {"all": 12}, {}),
    ("kaggle30k", "flickr30k", {"all": 12}, {"missing bar, corrected": 1}),
    ("orig30k", "flickr30k", {"all": 12}, {}),
    ("karp30k", "karpathy", KARPATHY, {}),
    ("hf", "table", {"train": 1}, {}),
    ("coco_sameids", "coco", {"train": 8, "dev": 4}, {}),
    ("coco_strids", "coco", {"train": 8}, {}),
    ("coco_subfolder", "coco", {"train": 8}, {}),
    ("co/backslash", "coco", {"train": 3}, {}),
    ("co/surrogate", "coco", {"train": 3}, {"caption with a broken character": 1}),
    ("co/lic_none", "coco", {"train": 3}, {}),
    ("co/cap_null", "coco", {"train": 3}, {"malformed entry": 1}),
    ("fl/cp1252", "flickr8k", {"all": 3}, {"not UTF-8, read as Windows-1252": 1}),
    ("fl/webp", "flickr8k", {"all": 3}, {}),
]


@pytest.mark.parametrize(("folder", "reader", "counts", "problems"), READ)
def test_each_case_is_read_and_recognised(cases, folder, reader, counts, problems):
    report = DataReport()
    records = READERS[reader](cases / folder, report=report)
    assert Counter(record.split for record in records) == counts
    assert all(record.captions for record in records)
    assert len({record.id for record in records}) == len(records)
    assert {kind: len(names) for kind, names in report.problems.items()} == problems
    assert find_layout(cases / folder) == reader
    require_captions(report, folder)


def test_years_can_be_named_and_are_kept_apart(cases):
    report = DataReport(strict=True)
    records = READERS["coco"](cases / "coco_years", ["train2017", "val2017"], report)
    assert Counter(record.split for record in records) == {"train2017": 10, "val2017": 2}


def test_validation_is_dev_and_that_is_said(cases):
    report = DataReport()
    path = cases / "kp/split_validation"
    records = READERS["karpathy"](path, report=report, images=cases / "kaggle8k/Images")
    assert Counter(record.split for record in records) == KARPATHY
    assert "the split 'validation'" in report.notes[0]


def test_rejected_captions_are_named_and_not_learned(cases):
    report = DataReport()
    READERS["coco"](cases / "co/rejected", report=report)
    assert len(report.problems["rejected caption"]) == 6
    with pytest.raises(DataError, match=r"no usable captions for train .*rejected.*--without-capt"):
        require_captions(report, cases / "co/rejected")


# --- scores --------------------------------------------------------------------------------------


def test_results_with_null_are_refused_and_a_list_of_one_is_its_caption(cases):
    with pytest.raises(DataError, match=r"res_null\.json entry\[0\] has null for a caption"):
        read_results(cases / "score/res_null.json")
    assert read_results(cases / "score/res_list.json") == read_results(cases / "score/res_bom.json")


@pytest.mark.parametrize("name", ["res_list", "res_name", "res_zero", "res_bom"])
@pytest.mark.parametrize("references", ["refs.json", "refs_bom.token.txt"])
def test_scores_are_those_of_equal_captions(cases, name, references):
    folder = cases / "score"
    scores, images, left = score_file(folder / references, folder / f"{name}.json")
    assert (images, left) == (3, 0)
    assert scores.bleu1 == pytest.approx(1) and scores.bleu4 == pytest.approx(1)


def test_a_line_separator_within_a_caption_is_no_line_end(cases):
    found = read_references(cases / "score/refs_u2028.token.txt")
    assert found == {"1.jpg": ["a man rides", "a man x"], "2.jpg": ["a dog runs"], "3.jpg": ["z"]}


# --- commands ------------------------------------------------------------------------------------


def test_prepare_makes_splits_and_states_them(cases, tmp_path):
    words = "prepare", "auto", cases / "kaggle8k", "--size", 64, "--out"
    made = "--make-splits", "0.5,0.25,0.25", "--split-seed", 3
    done = labkit(*words, "store", *made, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "is read as flickr8k" in done.stderr
    store = tmp_path / "store"
    assert sum(len(FeatureStore(store, name)) for name in splits(store)) == 12
    source = FeatureStore(store, "dev").source
    assert source.pop("images")  # a fingerprint
    assert source == {
        "source": "flickr8k", "splits": ["train", "dev", "test"],
        "made_splits": {"train": 0.5, "dev": 0.25, "test": 0.25, "seed": 3},
    }  # fmt: skip
    done = labkit(*words, "all", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert splits(tmp_path / "all") == ["all"]
    assert "To train, add --make-splits" in done.stderr
    done = labkit("prepare", "auto", cases / "karp30k", *made, "--out", "x", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1].startswith("labkit: the source has splits, train, ")
    assert not (tmp_path / "x").exists()


def test_prepare_keeps_both_splits_and_leaves_a_bad_caption_out(cases, tmp_path):
    words = "prepare", "coco", "--size", 64
    done = labkit(*words, cases / "coco_sameids", "--out", "a", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert FeatureStore(tmp_path / "a", "dev").ids == ["dev/1", "dev/2", "dev/3", "dev/4"]
    assert FeatureStore(tmp_path / "a", "dev").captions[0][0].startswith("val2017 person 1")
    done = labkit(*words, cases / "co/surrogate", "--out", "b", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "captions_train2017.json annotation 10" in done.stderr
    assert len(FeatureStore(tmp_path / "b", "train")) == 3


def test_prepare_without_usable_captions_stops_before_encoding(cases, tmp_path):
    words = "prepare", "coco", cases / "co/rejected", "--size", 64, "--out"
    done = labkit(*words, "store", cwd=tmp_path)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("labkit: ") and "--without-captions" in last
    assert not (tmp_path / "store").exists()
    done = labkit(*words, "store", "--without-captions", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(FeatureStore(tmp_path / "store", "train")) == 3


def test_photographs_elsewhere_and_an_unknown_folder(cases, tmp_path):
    shutil.copy(cases / "kp/split_validation/dataset_flickr8k.json", tmp_path)
    words = "prepare", "karpathy", "dataset_flickr8k.json", "--size", 64, "--out"
    done = labkit(*words, "store", "--images", cases / "kaggle8k", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "8 train, 2 dev, 2 test" in done.stdout
    done = labkit("prepare", "flickr8k", ".", "--out", "none", cwd=tmp_path)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("labkit: ") and "Flicker8k_Dataset" in last
    assert "dataset_flickr8k.json" in last and "no problems" not in last
    assert json.loads((tmp_path / "dataset_flickr8k.json").read_text())
