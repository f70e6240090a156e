"""Captions as files: COCO's results format and the kinds of human captions to score against."""

import json

import pytest
from small_stores import features_of

from labkit.data.records import DataError, DataReport
from labkit.data.rows import match_names
from labkit.evaluation.results import read_references, read_results, score_file, write_results
from labkit.store.writer import StoreWriter


def test_ids_of_coco_are_numbers_in_the_file_and_come_back(tmp_path):
    generated = {"391895": "a man rides", "a1.jpg": "a dog"}
    write_results(tmp_path / "generated.json", generated)
    written = json.loads((tmp_path / "generated.json").read_text())
    assert [one["image_id"] for one in written] == [391895, "a1.jpg"]
    assert read_results(tmp_path / "generated.json") == generated


def test_only_plain_numbers_become_numbers(tmp_path):
    generated = dict.fromkeys(("7", "007", "0", "-1", "1e3", "²", "٣", "9" * 30), "a dog")
    write_results(tmp_path / "generated.json", generated)
    written = [one["image_id"] for one in json.loads((tmp_path / "generated.json").read_text())]
    assert [name for name in written if isinstance(name, int)] == [7, 0]
    assert read_results(tmp_path / "generated.json") == generated


def test_references_of_each_kind_are_the_same(tmp_path):
    human = {"1": ["a dog runs", "the dog"], "2": ["a boat on a lake"]}
    pairs = [(image, text) for image, texts in human.items() for text in texts]
    notes = [{"image_id": int(image), "caption": text} for image, text in pairs]
    (tmp_path / "coco.json").write_text(json.dumps({"annotations": notes}))
    lines = [f"{image}#{k}\t{text}\n" for k, (image, text) in enumerate(pairs)]
    (tmp_path / "token.txt").write_text("".join(lines))
    rows = "".join(f"{image},{text}\n" for image, text in pairs)
    (tmp_path / "table.csv").write_text("image_id,caption\n" + rows)
    rows = [json.dumps({"image": image, "caption": texts}) for image, texts in human.items()]
    (tmp_path / "lines.jsonl").write_text("\n".join(rows))
    images = [{"filename": image, "sentences": [{"raw": text} for text in texts]}
              for image, texts in human.items()]  # fmt: skip
    (tmp_path / "karpathy.json").write_text(json.dumps({"images": images}))
    for name in ("coco.json", "token.txt", "table.csv", "lines.jsonl", "karpathy.json"):
        assert read_references(tmp_path / name) == human


def test_a_file_of_another_system_is_scored(tmp_path):  # slow: METEOR's Java program is started
    notes = [{"image_id": k, "caption": f"a dog number {k} runs far away"} for k in (1, 2, 3)]
    (tmp_path / "human.json").write_text(json.dumps({"annotations": notes}))
    generated = [{"image_id": note["image_id"], "caption": note["caption"]} for note in notes[:2]]
    (tmp_path / "generated.json").write_text(json.dumps(generated))
    scores, images, left = score_file(tmp_path / "human.json", tmp_path / "generated.json")
    assert (images, left) == (2, 1)
    assert scores.bleu4 == pytest.approx(1) and scores.meteor == pytest.approx(1)


@pytest.mark.parametrize(
    ("generated", "message"),
    [
        ({"images": 3}, "not in COCO's results format"),
        ([{"caption": "a dog"}], "not in COCO's results format"),
        ([{"image_id": 1, "caption": "a"}, {"image_id": 1, "caption": "b"}], "two captions of one"),
        ([{"image_id": 1, "caption": "a"}, {"image_id": "1", "caption": "b"}], "two captions of"),
        ([{"image_id": 1, "caption": ["a", "b"]}], "two captions of one image, '1'"),
        ([{"image_id": 1, "caption": None}], r"entry\[0\] has null for a caption"),
        ([{"image_id": 1, "caption": 5}], r"entry\[0\] has 5 for a caption"),
        ([{"image_id": 1, "caption": []}], "has null for a caption"),
        ([{"image_id": 1, "caption": "a \ud83d"}], "a broken character"),
        ([{"image_id": None, "caption": "a"}], r"malformed entry: generated.json entry\[0\]"),
        ([], "no captions|empty"),
        ("[", "malformed file"),
    ],
)
def test_files_that_are_no_results(tmp_path, generated, message):
    content = generated if isinstance(generated, str) else json.dumps(generated)
    (tmp_path / "generated.json").write_text(content)
    with pytest.raises(DataError, match=message):
        read_results(tmp_path / "generated.json")


def test_files_that_are_no_references(tmp_path):
    (tmp_path / "a.json").write_text('{"images": []}')
    (tmp_path / "b.txt").write_text("a dog runs\n")
    (tmp_path / "c.json").write_text('{"annotations": []}')
    (tmp_path / "d.csv").write_text("image,caption\n1.jpg,...\n")
    for name in ("a.json", "b.txt", "c.json", "d.csv"):
        with pytest.raises(DataError, match="holds no readable human"):
            read_references(tmp_path / name)
    with pytest.raises(FileNotFoundError, match=r"e\.txt is missing"):
        read_references(tmp_path / "e.txt")
    with pytest.raises(FileNotFoundError, match=r"e\.json is missing: name a file of generated"):
        read_results(tmp_path / "e.json")


def test_an_image_without_human_captions(tmp_path):
    (tmp_path / "generated.json").write_text('[{"image_id": 7, "caption": "a dog"}]')
    (tmp_path / "human.json").write_text('{"annotations": [{"image_id": 1, "caption": "x"}]}')
    message = "1 of 1 images .* no human captions to compare with, such as '7'; .* are named '1'"
    with pytest.raises(ValueError, match=message):
        score_file(tmp_path / "human.json", tmp_path / "generated.json")


def test_captions_in_another_writing_are_scored_with_a_warning(tmp_path, capsys):
    note = {"image_id": 1, "caption": "собака бежит"}
    (tmp_path / "generated.json").write_text(json.dumps([note]))
    (tmp_path / "human.json").write_text(json.dumps({"annotations": [note]}))
    score_file(tmp_path / "human.json", tmp_path / "generated.json")
    assert "METEOR and its stemmer are English" in capsys.readouterr().err
def test_results_of_each_form_are_the_same(tmp_path):
    forms = {
        "object.json": '{"1": "a dog", "b.jpg": "a cat, too"}',
        "lists.json": '{"1": ["a dog"], "b.jpg": [{"caption": "a cat, too"}]}',
        "coco.json": '{"annotations": [{"image_id": 1, "caption": "a dog"}, '
        '{"image_id": "b.jpg", "caption": "a cat,\\n too"}]}',
        "lines.jsonl": '{"image_id": 1, "caption": "a dog"}\n{"image_id": "b.jpg", "caption": '
        '"a cat, too"}\n',
        "table.csv": 'image,caption\n1,a dog\nb.jpg,"a cat, too"\n',
        "table.tsv": "image\tcaption\n1\ta dog\nb.jpg\ta cat, too\n",
    }
    for name, content in forms.items():
        (tmp_path / name).write_text(content)
        assert read_results(tmp_path / name) == {"1": "a dog", "b.jpg": "a cat, too"}, name


@pytest.mark.parametrize(
    ("wanted", "there", "found"),
    [
        (["1"], {"1": ["1"]}, {"1": "1"}),
        (["000000000001"], {"1": ["1"]}, {"000000000001": "1"}),
        (["1"], {"dev/1": ["dev/1"]}, {"1": "dev/1"}),
        (["a.jpg"], {"5": ["5", "val2014/a.jpg"]}, {"a.jpg": "5"}),
        (["a"], {"x/a.png": ["x/a.png"]}, {"a": "x/a.png"}),
        (["COCO_val2014_000000000042"], {"42": ["42"]}, {"COCO_val2014_000000000042": "42"}),
        (["007"], {"007": ["007"], "7": ["7"]}, {"007": "007"}),
        (["07"], {"007": ["007"], "7": ["7"]}, {}),
        (["a"], {"a.jpg": ["a.jpg"], "a.png": ["a.png"]}, {}),
        (["0"], {"000": ["000"]}, {"0": "000"}),
        (["b"], {"a": ["a"]}, {}),
    ],
)
def test_names_of_images_match(wanted, there, found):
    assert match_names(wanted, there) == found


def test_two_names_of_one_image_are_two_captions(tmp_path):
    (tmp_path / "generated.json").write_text('{"7": "a dog", "007": "a cat"}')
    (tmp_path / "human.csv").write_text("image,caption\n7.jpg,a dog\n")
    with pytest.raises(DataError, match="two captions of one image, '007'"):
        score_file(tmp_path / "human.csv", tmp_path / "generated.json")


def test_references_of_a_store_are_found_by_the_photographs_names(tmp_path):
    store = tmp_path / "store"
    with StoreWriter(store, 3, 4, {"name": "numbers"}, {}) as writer:
        writer.add("dev", "9", features_of(9), ["a dog runs far away"], facts={"file": "v/a.jpg"})
    (tmp_path / "generated.csv").write_text("image,caption\na.jpg,a dog runs far away\n")
    report = DataReport()
    scores, images, left = score_file(store, tmp_path / "generated.csv", report=report)
    assert (images, left, scores.bleu4) == (1, 0, pytest.approx(1)) and not report
