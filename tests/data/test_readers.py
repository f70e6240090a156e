"""The readers on small data sets made here, sound and spoiled, and on the shared photographs."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labkit.data.readers import (
    CaptionedImage,
    DataError,
    DataReport,
    augment,
    read_coco,
    read_flickr8k,
    read_karpathy,
    require_captions,
    tokenize,
)
from labkit.data.scenes import make_scenes


def write(path: Path, content: str | bytes | dict) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, dict):
        content = json.dumps(content)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def by_split(records) -> dict[str, list[str]]:
    splits: dict[str, list[str]] = {}
    for record in records:
        splits.setdefault(record.split, []).append(record.id)
    return splits


# --- words ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("caption", "words"),
    [
        ("A black dog is running , fast .", "a black dog is running fast"),
        ("The man's T-shirt, isn't red!", "the man 's t-shirt isn't red"),
        ("a man 's hat", "a man 's hat"),
        ('The dogs\' toys (two) & a "ball"', "the dogs toys two a ball"),
        ("It\u2019s caf\u00e9 no. 7;", "it 's caf\u00e9 no 7"),
        ("Cafe\u0301", "caf\u00e9"),
        ("a dog--black-and-white--sits", "a dog black-and-white sits"),
        ("under_score 'quoted' -dash-", "under score quoted dash"),
        (" \t.\n", ""),
    ],
)
def test_tokenize(caption, words):
    assert tokenize(caption) == words.split()


@settings(deadline=None)
@given(st.text())
def test_words_joined_give_the_same_words(text):
    words = tokenize(text)
    assert tokenize(" ".join(words)) == words
    assert not any(word == "" or " " in word for word in words)


# --- the report ----------------------------------------------------------------------------------


def test_report_counts_and_names():
    report = DataReport()
    assert not report
    assert "no problems" in str(report)
    for i in range(8):
        report.add("missing image", f"{i}.jpg")
    report.add("empty file", "list.txt")
    assert report
    assert len(report) == 9
    assert str(report).splitlines() == [
        "9 problems in the data:",
        "  missing image: 8 (0.jpg, 1.jpg, 2.jpg, 3.jpg, 4.jpg and 3 more)",
        "  empty file: 1 (list.txt)",
    ]


def test_strict_report_stops_at_the_first():
    with pytest.raises(DataError, match=r"missing image: a\.jpg"):
        DataReport(strict=True).add("missing image", "a.jpg")


# --- Flickr8k ------------------------------------------------------------------------------------

SPLITS = {"train": ["t1.jpg", "t2.jpg"], "dev": ["d1.jpg"], "test": ["e1.jpg"]}


@pytest.fixture
def flickr(tmp_path):
    lines = []
    for split, names in SPLITS.items():
        write(tmp_path / f"Flickr8k_text/Flickr_8k.{split}Images.txt", "\n".join(names) + "\n")
        for name in names:
            write(tmp_path / "Flicker8k_Dataset" / name, b"x")
            lines += [f"{name}#{i}\tDog number {i} of {name[:2]} ." for i in range(5)]
    write(tmp_path / "Flickr8k_text/Flickr8k.token.txt", "\n".join(lines) + "\n")
    return tmp_path


TOKEN, LIST = "Flickr8k_text/Flickr8k.token.txt", "Flickr8k_text/Flickr_8k.{}Images.txt"


def test_flickr8k(flickr):
    report = DataReport(strict=True)
    records = read_flickr8k(flickr, report=report)
    assert by_split(records) == SPLITS
    assert records[0].captions[4] == "Dog number 4 of t1 ."
    assert records[0].image == flickr / "Flicker8k_Dataset/t1.jpg"
    assert records[0].facts == {"file": "Flicker8k_Dataset/t1.jpg"}


def test_flickr8k_splits_in_the_order_asked_for(flickr):
    assert list(by_split(read_flickr8k(flickr, ["dev", "train"]))) == ["dev", "train"]


def test_flickr8k_texts_in_the_root_and_the_other_spelling(flickr):
    for path in (flickr / "Flickr8k_text").iterdir():
        path.rename(flickr / path.name)
    (flickr / "Flicker8k_Dataset").rename(flickr / "Flickr8k_Dataset")
    assert by_split(read_flickr8k(flickr)) == SPLITS


@pytest.mark.parametrize("gone", list(SPLITS))
def test_flickr8k_without_one_list(flickr, gone):
    (flickr / LIST.format(gone)).unlink()
    rest = {split: names for split, names in SPLITS.items() if split != gone}
    report = DataReport()
    assert by_split(read_flickr8k(flickr, report=report)) == rest
    assert not report, "captions of photographs that are there are no orphans"
    with pytest.raises(DataError, match=f"no split '{gone}', only: {', '.join(rest)}"):
        read_flickr8k(flickr, [gone])


def test_flickr8k_without_lists_is_one_split(flickr):
    for split in SPLITS:
        (flickr / LIST.format(split)).unlink()
    assert by_split(read_flickr8k(flickr)) == {"all": ["d1.jpg", "e1.jpg", "t1.jpg", "t2.jpg"]}


def test_flickr8k_without_captions_can_still_be_captioned(flickr):
    (flickr / TOKEN).unlink()
    report = DataReport()
    records = read_flickr8k(flickr, report=report)
    assert by_split(records) == SPLITS
    assert all(record.captions == () for record in records)
    assert report.problems["split without captions"] == ["train", "dev", "test"]
    assert "4 photographs" in report.problems["no captions file"][0]
    with pytest.raises(DataError, match=r"no usable captions for train, dev, test .*token\.txt"):
        require_captions(report, flickr)


def test_flickr8k_orphans_are_named_and_left_out(flickr):
    orphans = [f"2258277193_586949ec62.jpg.1#{i}" for i in range(5)]
    with open(flickr / TOKEN, "a") as file:
        file.writelines(f"{key}\tAn orphan .\n" for key in orphans)
    report = DataReport()
    assert by_split(read_flickr8k(flickr, report=report)) == SPLITS
    assert report.problems == {"caption without an image": orphans}
    with pytest.raises(DataError, match="caption without an image"):
        read_flickr8k(flickr, report=DataReport(strict=True))


def test_flickr8k_spoiled(flickr):
    (flickr / "Flicker8k_Dataset/t1.jpg").unlink()
    with open(flickr / LIST.format("train"), "a") as file:
        file.write("t3.jpg\nt2.jpg\n\n")
    write(flickr / "Flicker8k_Dataset/t3.jpg", b"x")
    with open(flickr / TOKEN, "ab") as file:
        file.write(b"no tab\nno number\tA dog .\nt2.jpg#0\tAgain .\nt2.jpg#6\t .\n\xff.jpg#0\tHm\n")
    write(flickr / "Flickr8k.token.txt", "a second one")
    report = DataReport()
    records = read_flickr8k(flickr, report=report)
    assert by_split(records) == {**SPLITS, "train": ["t2.jpg"]}
    assert len(records[0].captions) == 5
    assert {kind: len(names) for kind, names in report.problems.items()} == {
        "file found twice": 1,
        "not UTF-8, read as Windows-1252": 1,
        "malformed line": 2,
        "caption without an image": 1,
        "caption given twice": 1,
        "empty caption": 1,
        "missing image": 1,
        "image without a caption": 1,
        "image listed twice": 1,
    }
    assert report.problems["missing image"] == ["Flicker8k_Dataset/t1.jpg"]


def test_flickr8k_windows_line_ends_and_mark(flickr):
    for path in (flickr / "Flickr8k_text").iterdir():
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    report = DataReport(strict=True)
    assert by_split(read_flickr8k(flickr, report=report)) == SPLITS


def test_flickr8k_empty_files(flickr):
    write(flickr / LIST.format("dev"), "")
    report = DataReport()
    rest = {"train": SPLITS["train"], "test": SPLITS["test"]}
    assert by_split(read_flickr8k(flickr, report=report)) == rest
    assert report.problems == {"empty file": [str(flickr / LIST.format("dev"))]}
    with pytest.raises(DataError, match=r"no split 'dev', only: train, test.*; empty file: "):
        read_flickr8k(flickr, ["dev"])


def test_flickr8k_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="not a folder"):
        read_flickr8k(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="Flicker8k_Dataset"):
        read_flickr8k(tmp_path)


# --- COCO ----------------------------------------------------------------------------------------


def coco_file(numbers, captions=True) -> dict:
    images = [
        {"id": n, "file_name": f"{n:012}.jpg", "license": 4, "coco_url": f"http://x/{n}"}
        for n in numbers
    ]
    notes = [
        {"id": 10 * n + i, "image_id": n, "caption": f"Dog {i} of {n}."}
        for i in range(2)
        for n in numbers
    ]
    licences = [{"id": 4, "name": "Attribution License"}]
    return {"images": images, "licenses": licences} | ({"annotations": notes} if captions else {})


def coco(root: Path, split: str, numbers, kind="captions", images="") -> Path:
    for n in numbers:
        write(root / images / split / f"{n:012}.jpg", b"x")
    content = coco_file(numbers, kind == "captions")
    return write(root / f"annotations/{kind}_{split}.json", content)


def test_coco_of_one_year(tmp_path):
    coco(tmp_path, "train2017", [3, 1])
    coco(tmp_path, "val2017", [2], images="images")
    records = read_coco(tmp_path, report=DataReport(strict=True))
    assert by_split(records) == {"train": ["3", "1"], "dev": ["2"]}
    assert records[0].captions == ("Dog 0 of 3.", "Dog 1 of 3.")
    assert records[0].facts == {
        "file": "train2017/000000000003.jpg",
        "licence": "Attribution License",
        "source": "http://x/3",
    }
    assert records[2].image.is_file()


@pytest.mark.parametrize("name", ["dev", "val", "val2017"])
def test_coco_a_record_bears_the_name_asked_for(tmp_path, name):
    coco(tmp_path, "train2017", [1])
    coco(tmp_path, "val2017", [2])
    assert by_split(read_coco(tmp_path, [name])) == {name: ["2"]}


def test_coco_an_image_listed_twice_has_its_captions_once(tmp_path):
    content = coco_file([3, 1])
    content["images"].append(content["images"][0])
    write(tmp_path / "annotations/captions_train2017.json", content)
    for n in (3, 1):
        write(tmp_path / f"train2017/{n:012}.jpg", b"x")
    report = DataReport()
    records = read_coco(tmp_path, report=report)
    assert [record.captions for record in records] == [
        ("Dog 0 of 3.", "Dog 1 of 3."), ("Dog 0 of 1.", "Dog 1 of 1.")]  # fmt: skip
    assert report.problems == {"image listed twice": ["captions_train2017.json images[2]"]}


def test_coco_of_several_years(tmp_path):
    coco(tmp_path, "train2014", [1, 2])
    coco(tmp_path, "train2017", [2, 3])
    coco(tmp_path, "val2014", [4])
    report = DataReport()
    records = read_coco(tmp_path, report=report)
    assert by_split(records) == {"train2014": ["1", "2"], "train2017": ["3"], "dev": ["4"]}
    assert report.problems == {"image listed twice": ["train2017/000000000002.jpg"]}
    with pytest.raises(DataError, match="'train', only: train2014, train2017, val2014, dev, val"):
        read_coco(tmp_path, ["train"])


def test_coco_test_split_has_no_captions(tmp_path):
    coco(tmp_path, "val2014", [1])
    coco(tmp_path, "test2014", [2], kind="image_info")
    report = DataReport()
    records = read_coco(tmp_path, report=report)
    assert [(r.split, len(r.captions)) for r in records] == [("dev", 2), ("test", 0)]
    assert not report
    assert "no captions of test are published" in report.notes[0]


def test_coco_reads_what_is_there(tmp_path):
    write(tmp_path / "annotations/captions_train2014.json", coco_file([1]))
    write(tmp_path / "annotations/instances_val2014.json", "{}")
    coco(tmp_path, "val2014", [2])
    assert by_split(read_coco(tmp_path)) == {"dev": ["2"]}
    with pytest.raises(DataError, match=r"missing image: .*in train2017 or images/.*--images"):
        read_coco(tmp_path, ["train2014"])


def test_coco_spoiled(tmp_path):
    path = coco(tmp_path, "val2017", [1, 2, 3])
    data = json.loads(path.read_text())
    data["images"] += [{"id": 5}, "no entry", {"id": 6, "file_name": "missing.jpg"}]
    data["annotations"] = [x for x in data["annotations"] if x["image_id"] != 2]
    data["annotations"] += [
        {"id": 71, "image_id": 7, "caption": "An orphan."},
        {"id": 72, "image_id": 1, "caption": "..."},
        {"id": 73, "image_id": 1, "caption": None},
        {"id": 74, "image_id": 6, "caption": "Its file is gone."},
    ]
    write(path, data)
    write(tmp_path / "val2017/unlisted.jpg", b"x")
    write(tmp_path / "captions_val2017.json", data)
    report = DataReport()
    assert by_split(read_coco(tmp_path, report=report)) == {"dev": ["1", "3"]}
    assert report.problems == {
        "file found twice": [str(tmp_path / "captions_val2017.json")],
        "malformed entry": [
            "captions_val2017.json images[3]",
            "captions_val2017.json images[4]",
            "captions_val2017.json annotations[6]",
        ],
        "caption without an image": ["captions_val2017.json annotation 71"],
        "empty caption": ["captions_val2017.json annotation 72"],
        "image without a caption": ["val2017/unlisted.jpg", "val2017/000000000002.jpg"],
        "missing image": ["val2017/missing.jpg"],
    }


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        ("", "empty file"),
        ("{}", "empty file"),
        ('{"images": [', "malformed file"),
        ("[1]", "malformed file"),
        ('{"images": 5}', "malformed file"),
        ('{"annotations": []}', "malformed file"),
        (b"\xff\xfe", "empty file"),
        (b"\xff\xfe{", "malformed file"),
    ],
)
def test_coco_broken_file_is_reported_and_the_rest_read(tmp_path, content, kind):
    coco(tmp_path, "train2017", [1])
    path = coco(tmp_path, "val2017", [])
    (tmp_path / "val2017").mkdir()
    write(path, content)
    report = DataReport()
    assert by_split(read_coco(tmp_path, report=report)) == {"train": ["1"]}
    assert list(report.problems) == [kind]
    assert "captions_val2017.json" in report.problems[kind][0]


def test_coco_not_there(tmp_path):
    with pytest.raises(DataError, match="no image that can be used"):
        read_coco(tmp_path)
    with pytest.raises(DataError, match="no split 'train', only: none"):
        read_coco(tmp_path, ["train"])


# --- Karpathy ------------------------------------------------------------------------------------


def karpathy(root: Path, name: str, entries: list[tuple[str, str]], folder: str, **more) -> Path:
    """Write dataset_<name>.json with (file, split) entries and their files."""
    images = []
    for number, (file, split) in enumerate(entries):
        sentences = [{"raw": f"Dog {i}.", "tokens": ["dog", str(i)], "sentid": i} for i in range(5)]
        image = {"filename": file, "split": split, "imgid": number, "sentences": sentences}
        images.append(image | {key: value(number) for key, value in more.items()})
        write(root / folder / file, b"x")
    return write(root / f"dataset_{name}.json", {"images": images, "dataset": name})


COCO_ENTRIES = [("a.jpg", "test"), ("b.jpg", "restval"), ("c.jpg", "train"), ("d.jpg", "val")]


@pytest.fixture
def karpathy_coco(tmp_path):
    more = {"cocoid": lambda n: 100 + n, "filepath": lambda n: "val2014"}
    return karpathy(tmp_path, "coco", COCO_ENTRIES, "val2014", **more)


def test_karpathy_coco(karpathy_coco):
    records = read_karpathy(karpathy_coco.parent, report=DataReport(strict=True))
    assert by_split(records) == {
        "test": ["100"],
        "restval": ["101"],
        "train": ["102"],
        "dev": ["103"],
    }
    assert records[0].captions == tuple(f"Dog {i}." for i in range(5))
    assert records[0].facts == {"file": "val2014/a.jpg"}
    assert read_karpathy(karpathy_coco) == records


def test_karpathy_train_with_restval(karpathy_coco):
    records = read_karpathy(karpathy_coco, ["train+restval", "dev"])
    assert by_split(records) == {"train": ["101", "102"], "dev": ["103"]}


def test_karpathy_val_is_taken_too(karpathy_coco):
    assert by_split(read_karpathy(karpathy_coco, ["val"])) == {"val": ["103"]}
    with pytest.raises(DataError, match="no split 'trian', only: test, restval, train, dev, val"):
        read_karpathy(karpathy_coco, ["trian"])


@pytest.mark.parametrize("folder", [".", "flickr30k-images", "Flicker8k_Dataset"])
def test_karpathy_flickr_finds_the_photographs(tmp_path, folder):
    karpathy(tmp_path, "flickr30k", COCO_ENTRIES, folder)
    records = read_karpathy(tmp_path, ["train"], DataReport(strict=True))
    assert [(r.id, r.image.resolve()) for r in records] == [
        ("c.jpg", (tmp_path / folder / "c.jpg").resolve())
    ]


def test_karpathy_spoiled(karpathy_coco):
    data = json.loads(karpathy_coco.read_text())
    (karpathy_coco.parent / "val2014/a.jpg").unlink()
    data["images"][2]["sentences"] = [{"raw": "A cat."}, {"raw": "!"}, {"tokens": ["a"]}]
    data["images"].append({"filename": "e.jpg", "split": "train", "sentences": []})
    data["images"].append({"filename": "f.jpg"})
    write(karpathy_coco.parent / "val2014/e.jpg", b"x")
    write(karpathy_coco, data)
    report = DataReport()
    records = read_karpathy(karpathy_coco, report=report)
    assert by_split(records) == {"restval": ["101"], "train": ["102"], "dev": ["103"]}
    assert records[1].captions == ("A cat.",)
    assert report.problems == {
        "malformed entry": [
            "dataset_coco.json images[5]",
            "dataset_coco.json images[2] caption 2",
        ],
        "empty caption": ["dataset_coco.json images[2] caption 1"],
        "missing image": ["val2014/a.jpg"],
        "image without a caption": ["val2014/e.jpg"],
    }


def test_karpathy_which_file(karpathy_coco, tmp_path):
    other = write(tmp_path / "dataset_flickr8k.json", "")
    with pytest.raises(DataError, match=r"give one, such as .*dataset_coco\.json"):
        read_karpathy(tmp_path)
    with pytest.raises(DataError, match="empty file"):
        read_karpathy(other, report=DataReport())
    with pytest.raises(FileNotFoundError, match=r"no dataset_\*\.json"):
        read_karpathy(tmp_path / "val2014")


# --- the photographs beside the project ----------------------------------------------------------


def test_the_shared_flickr8k(shared):
    report = DataReport(strict=True)
    records = read_flickr8k(shared / "data/flickr8k", report=report)
    assert Counter(record.split for record in records) == {"train": 6000, "dev": 1000}
    assert {len(record.captions) for record in records} == {5}


def test_the_shared_coco(shared):
    report = DataReport(strict=True)
    records = read_coco(shared / "data/coco_mini", ["train2017", "val2017"], report)
    assert Counter(record.split for record in records) == {"train2017": 26, "val2017": 50}
    assert all(record.facts["licence"].startswith("Attribution") for record in records)


# --- augmentation --------------------------------------------------------------------------------


def test_a_mirror_exchanges_left_and_right():
    captions = ("Right of a bright car, the leftmost man", "he copyrights the LEFT-HAND one, left")
    records = [CaptionedImage(name, Path(name), captions, name) for name in ("train", "dev")]
    plain, flipped, dev = augment(records)
    assert (plain, dev) == tuple(records)
    assert (flipped.id, flipped.split, flipped.flipped) == ("train#1", "train", True)
    assert flipped.crop is None
    assert flipped.captions == (
        "Left of a bright car, the rightmost man",
        "he copyrights the Right-HAND one, right",
    )


def test_a_training_split_in_capitals_is_augmented_too():
    records = [CaptionedImage("a", Path("a"), ("one",), name) for name in ("Train", "RESTVAL")]
    assert [copy.id for copy in augment(records)] == ["a", "a#1"] * 2


def test_a_copy_of_a_scene_does_not_say_where_its_shapes_were():
    scene = make_scenes(1, seed=2, split="train")[0]
    plain, copy = augment([scene])
    assert plain is scene and "things" in scene.facts and copy.boxes is None
    assert copy.facts == {name: fact for name, fact in scene.facts.items() if name != "things"}


def test_further_copies_are_crops_the_same_each_time():
    records = [CaptionedImage(f"{n}", Path("x"), ("the left one",), "train") for n in range(50)]
    copies = list(augment(records, 4))
    assert [copy.id for copy in copies[:5]] == ["0", "0#1", "0#2", "0#3", "1"]
    assert copies == list(augment(records, 4))
    crops = np.array([copy.crop for copy in copies if copy.crop])
    assert len(np.unique(crops, axis=0)) == len(crops) == 100
    assert (crops >= 0).all() and (crops <= 1).all()
    sides = crops[:, 2:] - crops[:, :2]
    area, ratio = sides.prod(1), sides[:, 0] / sides[:, 1]
    assert area.min() > 0.4 and area.max() < 0.91 and area.max() - area.min() > 0.3
    assert ratio.min() > 0.75 and ratio.max() < 1.3
    assert [(copy.flipped, copy.captions[0]) for copy in copies[2:4]] == [
        (False, "the left one"),
        (True, "the right one"),
    ]
