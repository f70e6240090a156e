"""Data sets as people hold them: each layout, photographs elsewhere, tables, folders of no kind."""

import json
from collections import Counter

import pytest
from layouts import NAMES, coco, kaggle8k, kaggle30k, karpathy, photo, photos, text

from labkit.data.folders import Folder
from labkit.data.readers import (
    DataError,
    DataReport,
    find_layout,
    read_coco,
    read_flickr8k,
    read_flickr30k,
    read_folder,
    read_karpathy,
    read_table,
    require_captions,
)


def counts(records) -> dict[str, int]:
    return Counter(record.split for record in records)


# --- Flickr8k and Flickr30k ----------------------------------------------------------------------


@pytest.mark.parametrize("folder", ["Images", "images", "Flicker8k_Dataset", "Flickr8k_Dataset"])
@pytest.mark.parametrize("name", ["captions.txt", "Captions.csv", "Flickr8k.token.txt"])
def test_flickr8k_of_kaggle(tmp_path, folder, name):
    report = DataReport(strict=True)
    records = read_flickr8k(kaggle8k(tmp_path, folder, name), report=report)
    assert counts(records) == {"all": 12}
    assert [record.id for record in records] == NAMES
    assert records[3].captions == ("A dog 3 runs .", 'A dog, a "big" cat, 3')
    assert records[3].image == tmp_path / folder / NAMES[3]
    assert find_layout(tmp_path) == "flickr8k"


def test_captions_of_kaggle_with_the_published_lists(tmp_path):
    kaggle8k(tmp_path, "Flicker8k_Dataset")
    text(tmp_path / "Flickr8k_text/Flickr_8k.trainImages.txt", "\n".join(NAMES[:8]))
    text(tmp_path / "Flickr8k_text/Flickr_8k.devImages.txt", "\r\n".join(NAMES[8:]))
    assert counts(read_flickr8k(tmp_path)) == {"train": 8, "dev": 4}


@pytest.mark.parametrize("read", [read_flickr30k, read_folder])
def test_flickr30k_of_kaggle_and_its_row_without_a_bar(tmp_path, read):
    report = DataReport()
    records = read(kaggle30k(tmp_path), report=report)
    assert counts(records) == {"all": 12}
    assert records[0].captions[4] == "A dog runs across the grass ."
    assert {len(record.captions) for record in records} == {5}
    assert report.problems == {"missing bar, corrected": ["results.csv line 6"]}


@pytest.mark.parametrize("read", [read_flickr30k, read_folder])
def test_flickr30k_as_published(tmp_path, read):
    photos(tmp_path / "flickr30k-images")
    lines = [f"{name}#{k}\tDog {k} runs .\n" for name in NAMES for k in range(5)]
    text(tmp_path / "results_20130124.token", "".join(lines))
    assert counts(read(tmp_path, report=DataReport())) == {"all": 12}
    for split, names in {"train": NAMES[:9], "val": NAMES[9:]}.items():  # names without endings
        text(tmp_path / f"{split}.txt", "\n".join(name[:-4] for name in names))
    records = read(tmp_path, report=DataReport())
    assert counts(records) == {"train": 9, "dev": 3}
    assert {len(record.captions) for record in records} == {5}


# --- photographs that lie elsewhere --------------------------------------------------------------

PLACES = ["{}", "photos/{}", "val2014/{}", "images/val2014/{}", "a/b/c/{}"]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("apart", [False, True])
def test_karpathy_finds_photographs_beside_or_apart(tmp_path, place, apart):
    name = "COCO_val2014_000000000009.jpg"
    entry = {"filename": name, "filepath": "val2014", "cocoid": 9}
    path = karpathy(tmp_path / "json/dataset_coco.json", [entry])
    root = tmp_path / ("elsewhere" if apart else "json")
    found = photo(root / place.format(name))
    (record,) = read_karpathy(path, images=root if apart else None, report=DataReport(strict=True))
    assert (record.id, record.image) == ("9", found)


def test_karpathy_finds_the_names_of_2017(tmp_path):
    entries = [{"filename": f"COCO_{part}2014_{n:012}.jpg", "filepath": f"{part}2014", "cocoid": n}
               for n, part in ((9, "val"), (10, "train"))]  # fmt: skip
    karpathy(tmp_path / "dataset_coco.json", entries)
    names = "train2017/000000000009.jpg", "val2017/000000000010.jpg"
    both = [photo(tmp_path / name, shade) for shade, name in enumerate(names)]
    records = read_karpathy(tmp_path, report=DataReport(strict=True))
    assert [record.image for record in records] == both


def test_coco_of_2017_finds_the_names_of_2014(tmp_path):
    path = coco(tmp_path, "val2017", [9], folder=tmp_path / "x")
    (tmp_path / "x/000000000009.jpg").rename(tmp_path / "x/COCO_train2014_000000000009.jpg")
    (record,) = read_coco(path, report=DataReport(strict=True))
    assert record.image.name == "COCO_train2014_000000000009.jpg"


@pytest.mark.parametrize("name", ["val2017/{}.jpg", "sub\\{}.jpg", "./val2017/{}.jpg",
                                  "C:\\data\\{}.jpg", "/kaggle/input/val2017/{}.jpg"])  # fmt: skip
def test_coco_names_with_folders_of_any_kind(tmp_path, name):
    path = coco(tmp_path, "val2017", [1, 2], "{}.jpg")
    data = json.loads(path.read_text())
    for image in data["images"]:
        image["file_name"] = name.format(image["id"])
    text(path, data)
    records = read_coco(tmp_path, report=DataReport(strict=True))
    assert [record.image for record in records] == [
        tmp_path / f"val2017/{n}.jpg" for n in (1, 2)
    ]


def test_nothing_outside_the_folder_is_found(tmp_path):
    secret = photo(tmp_path / "secret.jpg")
    photo(tmp_path / "data/1.jpg")
    given = ["../secret.jpg", str(secret), "..\\secret.jpg", "secret.jpg", "", "..", "/", "1.jpg"]
    rows = [{"file_name": name, "text": "A dog."} for name in given]
    report = DataReport()
    (record,) = read_table(text(tmp_path / "data/metadata.json", rows), report=report)
    assert record.id == "1.jpg"
    assert report.problems["missing image"] == [
        "../secret.jpg", str(secret), "secret.jpg", "..", "/",
    ]  # fmt: skip


def test_a_name_found_twice_is_reported_unless_it_is_one_photograph(tmp_path):
    for number, place in enumerate(["a/1.jpg", "b/1.jpg", "a/2.jpg"]):
        photo(tmp_path / place, number)
    photo(tmp_path / "b/2.jpg", 2)
    text(tmp_path / "captions.csv", "file,caption\n1.jpg,A dog.\n2.jpg,A cat.\nb/1.jpg,A fox.\n")
    report = DataReport()
    records = read_table(tmp_path, report=report)
    assert {record.id: record.image.relative_to(tmp_path).as_posix() for record in records} == {
        "2.jpg": "a/2.jpg", "b/1.jpg": "b/1.jpg",
    }  # fmt: skip
    assert report.problems["photograph found several times"] == ["1.jpg"]


def test_a_folder_that_links_to_itself_and_hidden_files(tmp_path):
    kaggle8k(tmp_path)
    (tmp_path / "Images/again").symlink_to(tmp_path)
    photo(tmp_path / "__MACOSX/Images/1.jpg")
    photo(tmp_path / "Images/._1.jpg")
    assert len(Folder(tmp_path, DataReport()).photos) == 12
    assert counts(read_flickr8k(tmp_path, report=DataReport(strict=True))) == {"all": 12}


def test_a_linked_folder_of_photographs(tmp_path):
    photos(tmp_path / "disk/photos")
    kaggle8k(tmp_path / "set", "gone")
    for name in NAMES:
        (tmp_path / "set/gone" / name).unlink()
    (tmp_path / "set/Images").symlink_to(tmp_path / "disk/photos")
    assert counts(read_flickr8k(tmp_path / "set")) == {"all": 12}


# --- tables --------------------------------------------------------------------------------------

TABLES = {
    "metadata.jsonl": '{"file_name": "1.jpg", "text": "A dog."}\n{"file_name": "2.jpg", '
                      '"text": "A cat, running."}\n',
    "one.jsonl": '{"image": "1.jpg", "captions": ["A dog."]}\n\n'
                 '{"image": "2.jpg", "captions": ["A cat, running."]}',
    "metadata.csv": 'file_name,text\n1.jpg,A dog.\n2.jpg,"A cat, running."\n',
    "a.csv": "File Name;Caption\n1.jpg;A dog.\n2.jpg;A cat, running.\n",
    "b.tsv": "image\tcaption\n1.jpg\tA dog.\n2.jpg\tA cat, running.\n",
    "no_header.tsv": "1.jpg\tA dog.\n2.jpg\tA cat, running.\n",
    "no_header.csv": "1.jpg,A dog.\n2.jpg,A cat, running.\n",
    "numbered.csv": "id,image,caption\n7,1.jpg,A dog.\n8,2.jpg,\"A cat, running.\"\n",
    "list.csv": "filename,raw,img_id\n"
                "1.jpg,\"[\"\"A dog.\"\"]\",0\n2.jpg,\"['A cat, running.']\",1\n",
    "list.json": [{"filename": "1.jpg", "caption": "A dog."},
                  {"filename": "2.jpg", "caption": ["A cat, running."]}],
    "object.json": {"1.jpg": "A dog.", "2.jpg": ["A cat, running."]},
    "data.json": {"version": 1, "data": [{"image": "1", "caption": "A dog."},
                                         {"image": "2", "caption": "A cat, running."}]},
    "windows.csv": "file_name,text\r\n1.jpg,A dog.\r\n2.jpg,\"A cat, running.\"\r\n",
}  # fmt: skip


@pytest.mark.parametrize("name", TABLES)
def test_tables_of_each_form_say_the_same(tmp_path, name):
    photos(tmp_path, ["1.jpg", "2.jpg"])
    text(tmp_path / name, TABLES[name])
    for read in (read_table, read_folder):
        records = read(tmp_path, report=DataReport())
        assert [record.image.name for record in records] == ["1.jpg", "2.jpg"]
        assert [record.captions for record in records] == [("A dog.",), ("A cat, running.",)]
        assert counts(records) == {"all": 2}


def test_a_caption_that_ends_in_a_number_makes_no_token_file(tmp_path):
    photos(tmp_path, ["1.jpg", "2.jpg"])
    text(tmp_path / "t.tsv", "file\tcaption\tsplit\n1.jpg\tA player wears #12\ttrain\n"
         "2.jpg\tA cat.\tdev\n")  # fmt: skip
    records = read_table(tmp_path, report=DataReport(strict=True))
    assert [(r.image.name, r.captions, r.split) for r in records] == [
        ("1.jpg", ("A player wears #12",), "train"), ("2.jpg", ("A cat.",), "dev")]  # fmt: skip


def test_a_table_with_captions_in_several_rows_and_columns_and_a_split(tmp_path):
    photos(tmp_path, ["1.jpg", "2.jpg", "3.jpg"])
    rows = ["image,caption_1,caption_2,split",
            "1.jpg,A dog.,The dog.,train", "1.jpg,It runs.,,train",
            "2.jpg,A cat.,The cat.,validation", "3.jpg,A fox.,The fox.,"]  # fmt: skip
    text(tmp_path / "t.csv", "\n".join(rows))
    report = DataReport()
    records = read_table(tmp_path, report=report)
    assert [(r.split, r.captions) for r in records] == [
        ("train", ("A dog.", "The dog.", "It runs.")),
        ("dev", ("A cat.", "The cat.")),
    ]
    assert report.problems["image without a split"] == ["3.jpg"]
    assert any("'validation'" in note and "'dev'" in note for note in report.notes)


@pytest.mark.parametrize("name", ["metadata.jsonl", "metadata.csv"])
def test_hugging_faces_folder_of_images(tmp_path, name):
    for number, split in enumerate(["train", "validation", "test"]):
        photo(tmp_path / split / "1.jpg", number)  # the same name in each
        text(tmp_path / split / name, TABLES[name].replace("2.jpg", "1.jpg"))
    report = DataReport()
    records = read_folder(tmp_path, report=report)
    assert {(r.split, r.id, len(r.captions), r.image.parent.name) for r in records} == {
        ("train", "train/1.jpg", 2, "train"), ("test", "test/1.jpg", 2, "test"),
        ("dev", "dev/1.jpg", 2, "validation"),
    }  # fmt: skip
    assert not report
    assert any("same ids" in note for note in report.notes)


def test_one_table_for_the_folders_of_splits_and_one_table_a_split(tmp_path):
    for split in ("train", "val"):
        photo(tmp_path / f"one/{split}/{split}.jpg")
        photo(tmp_path / f"several/all/{split}.jpg")
        text(tmp_path / f"several/{split}.csv", f"file,caption\n{split}.jpg,A dog.\n")
    rows = "file,caption\ntrain/train.jpg,A dog.\nval/val.jpg,A cat.\n"
    text(tmp_path / "one/metadata.csv", rows)
    assert counts(read_table(tmp_path / "one")) == {"train": 1, "dev": 1}
    assert counts(read_table(tmp_path / "several")) == {"train": 1, "dev": 1}
    assert counts(read_table(tmp_path / "several", ["val"])) == {"val": 1}
    text(tmp_path / "several/notes.csv", "file,caption\ntrain.jpg,Another.\n")
    with pytest.raises(DataError, match=r"several tables, .*notes\.csv.*: give one"):
        read_table(tmp_path / "several")
    assert counts(read_table(tmp_path / "several/val.csv")) == {"dev": 1}


def test_rows_that_cannot_be_read_are_named_and_the_rest_is_kept(tmp_path):
    photos(tmp_path, ["1.jpg", "2.jpg", "3.jpg", "4.jpg", "5.jpg"])
    rows = ["image,caption", '1.jpg,"never closed', "2.jpg", "3.jpg,A dog, a cat, and more",
            '4.jpg,"Fine, with a\u2028break"', "", ",no name", "5.jpg,A \x0c fox"]  # fmt: skip
    text(tmp_path / "c.csv", "\n".join(rows))
    report = DataReport()
    records = read_table(tmp_path, report=report)
    assert [r.captions[0] for r in records] == [
        '"never closed', "A dog, a cat, and more", "Fine, with a break", "A fox",
    ]  # fmt: skip
    assert report.problems == {
        "unmatched quotes, read as text": ["c.csv line 2"],
        "malformed line": ["c.csv line 3: '2.jpg'"],
        "unquoted delimiter, read as text": ["c.csv line 4"],
        "malformed entry": ["c.csv line 7"],
        "image without a caption": ["2.jpg"],
    }


# --- COCO's form ---------------------------------------------------------------------------------


def test_splits_that_number_from_one_are_both_kept(tmp_path):
    for shade, split in enumerate(["train2017", "val2017"]):
        coco(tmp_path, split, [1, 2, 3][: 3 - shade], "{}.jpg", shade=90 * shade)
    report = DataReport()
    records = read_coco(tmp_path, report=report)
    assert [r.id for r in records] == ["train/1", "train/2", "train/3", "dev/1", "dev/2"]
    assert records[3].captions[0] == "val2017: 0 dogs run by 1"
    assert not report
    assert "same ids to different images" in report.notes[0]


def test_one_id_for_two_photographs_of_a_split_is_reported(tmp_path):
    path = coco(tmp_path, "train2017", [1, 2, 3], "{}.jpg")
    data = json.loads(path.read_text())
    data["images"][1]["id"] = 1
    text(path, data)
    report = DataReport()
    assert [r.id for r in read_coco(tmp_path, report=report)] == ["3"]
    assert report.problems["one id for two photographs"] == ["1 in train"]


@pytest.mark.parametrize("ids", [("1", 1), (1, "1"), ("000000000001", 1), (1.0, 1)])
def test_ids_match_whatever_their_type(tmp_path, ids):
    photo(tmp_path / "train2017/a.jpg")
    images = [{"id": ids[0], "file_name": "a.jpg"}]
    notes = [{"id": 5, "image_id": ids[1], "caption": "A dog."}]
    path = tmp_path / "annotations/captions_train2017.json"
    text(path, {"images": images, "annotations": notes})
    (record,) = read_coco(tmp_path, report=DataReport(strict=True))
    assert record.captions == ("A dog.",)


def test_what_is_wrong_with_one_entry_costs_that_entry(tmp_path):
    path = coco(tmp_path, "train2017", [1, 2], "{}.jpg")
    data = json.loads(path.read_text()) | {"licenses": None}
    data["images"][0]["license"] = []
    data["images"] += [{"id": True, "file_name": "1.jpg"}, {"id": 9, "file_name": "\udc00.jpg"}]
    wrong = ["\ud83d dog", "nul \0", None, 5, ["a"]]
    for number, caption in enumerate(wrong, 90):
        data["annotations"].append({"id": number, "image_id": 1, "caption": caption})
    rejected = {"id": 99, "image_id": 2, "caption": "Too dark.", "is_rejected": True}
    text(path, data | {"annotations": [*data["annotations"], rejected]})
    report = DataReport()
    records = read_coco(tmp_path, report=report)
    assert [len(record.captions) for record in records] == [2, 2]
    assert report.problems == {
        "malformed entry": [
            f"captions_train2017.json {place}"
            for place in ("images[2]", "images[3]", *(f"annotations[{n}]" for n in (6, 7, 8)))
        ],
        "rejected caption": ["captions_train2017.json annotation 99"],
        "caption with a broken character": [
            f"captions_train2017.json annotation {n}" for n in (90, 91)
        ],
    }


def test_cocos_form_under_other_names(tmp_path):
    """VizWiz: annotations/train.json, a test split without captions."""
    for split, ids in {"train": [1, 2, 3], "val": [4, 5], "test": [6]}.items():
        path = coco(tmp_path, split, ids)
        path.rename(path.with_name(f"{split}.json"))
    path = tmp_path / "annotations/test.json"
    text(path, {"images": json.loads(path.read_text())["images"]})
    assert find_layout(tmp_path) == "coco" == find_layout(path)
    assert counts(read_folder(tmp_path)) == {"train": 3, "dev": 2, "test": 1}


@pytest.mark.parametrize("filepath", [5, True, ["a"], "\ud800"])
def test_a_filepath_that_is_no_text_is_reported(tmp_path, filepath):
    photo(tmp_path / "Images/a.jpg")
    karpathy(tmp_path / "dataset_x.json", [{"filename": "a.jpg", "filepath": filepath}])
    report = DataReport()
    (record,) = read_karpathy(tmp_path, report=report)
    assert record.image.name == "a.jpg"
    assert report.problems == {"malformed entry": ["dataset_x.json images[0] filepath"]}


# --- encodings -----------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be",
                                      "utf-32"])  # fmt: skip
@pytest.mark.parametrize("form", ["table", "token", "json"])
def test_unicode_of_any_kind(tmp_path, encoding, form):
    photo(tmp_path / "Images/1.jpg")
    content = {
        "table": "image,caption\n1.jpg,Un café \u2028 rouge\x0c .\n",
        "token": "1.jpg#0\tUn café \u2028 rouge\x0c .\n",
        "json": '[{"image": "1.jpg", "caption": "Un café \u2028 rouge ."}]',
    }[form]
    text(tmp_path / "captions.txt", content.encode(encoding))
    (record,) = read_flickr8k(tmp_path, report=DataReport(strict=True))
    assert record.captions == ("Un café rouge .",)


def test_windows_1252_is_read_and_said_and_sound_lines_stay_as_they_are(tmp_path):
    photos(tmp_path / "Images", ["1.jpg", "2.jpg"])
    lines = b"1.jpg#0\tUn caf\xe9 \x96 rouge .\n", "2.jpg#0\tUn thé 茶 .\n".encode()
    text(tmp_path / "captions.txt", b"".join(lines))
    report = DataReport()
    one, other = read_flickr8k(tmp_path, report=report)
    assert (one.captions, other.captions) == (("Un café – rouge .",), ("Un thé 茶 .",))
    assert report.problems == {"not UTF-8, read as Windows-1252": ["captions.txt line 1"]}


def test_other_kinds_of_photographs_count(tmp_path):
    names = ["1.webp", "2.JPG", "3.jpeg", "4.png", "5.bmp", "6.tif", "7.heic"]
    for name in names:
        text(tmp_path / "Images" / name, "x")
    text(tmp_path / "captions.txt", "".join(f"{name}#0\tA dog .\n" for name in names[:-1]))
    report = DataReport()
    assert [record.id for record in read_flickr8k(tmp_path, report=report)] == names[:-1]
    assert report.problems == {"image without a caption": ["Images/7.heic"]}


def test_of_several_data_sets_the_nearest_is_taken_and_equally_near_ones_are_refused(tmp_path):
    kaggle8k(tmp_path / "some/one")
    coco(tmp_path / "far/from/here", "train2017", [1])
    assert find_layout(tmp_path) == "flickr8k"
    coco(tmp_path / "some/other", "train2017", [1])
    with pytest.raises(DataError) as error:
        read_folder(tmp_path)
    one, other = tmp_path / "some/one", tmp_path / "some/other"
    assert str(error.value) == (
        f"{tmp_path} holds several data sets, {one} (flickr8k), {other} (coco): "
        "give the folder of one of them"
    )
    assert find_layout(one) == "flickr8k" and find_layout(other) == "coco"


def test_captions_in_each_splits_folder_are_one_data_set(tmp_path):
    for split, ids in {"train2017": [1, 2], "val2017": [3]}.items():
        coco(tmp_path, split, ids)
        name = f"captions_{split}.json"
        (tmp_path / "annotations" / name).rename(tmp_path / split / name)
    assert counts(read_folder(tmp_path)) == {"train": 2, "dev": 1}


# --- what cannot be used -------------------------------------------------------------------------


def test_an_unknown_folder_says_what_it_holds_and_what_is_needed(tmp_path):
    text(tmp_path / "notes.md", "x")
    for read in (read_folder, read_flickr8k, read_flickr30k, read_coco, read_karpathy, read_table):
        with pytest.raises((DataError, FileNotFoundError)) as error:
            read(tmp_path)
        assert "holds no photographs and 1 other file: notes.md" in str(error.value)
        assert "no problems" not in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("read", [read_folder, read_flickr8k, read_flickr30k])
def test_photographs_alone_need_the_flag(tmp_path, read):
    photos(tmp_path / "holiday", ["1.jpg", "2.webp"])
    report = DataReport()
    assert len(read(tmp_path, report=report)) == 2
    with pytest.raises(DataError, match=r"2 photographs \(2 in holiday\).*--without-captions"):
        require_captions(report, tmp_path)


@pytest.mark.parametrize("content", ["image,caption\n", "image,caption\nx.jpg,A dog\n", "\x00",
                                     "hi", "image,caption\n1000_ab.jpg,...\n"])  # fmt: skip
def test_a_captions_file_of_which_nothing_is_usable(tmp_path, content):
    text(kaggle8k(tmp_path) / "captions.txt", content)
    report = DataReport()
    with pytest.raises(DataError) as error:
        read_flickr8k(tmp_path, report=report)
        require_captions(report, tmp_path)
    assert "\n" not in str(error.value)
