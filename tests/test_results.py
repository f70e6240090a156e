"""Captions as files: COCO's results format and the kinds of human captions to score against."""

import json

import pytest

from labkit.records import DataError
from labkit.results import read_references, read_results, score_file, write_results


def test_ids_of_coco_are_numbers_in_the_file_and_come_back(tmp_path):
    told = {"391895": "a man rides", "a1.jpg": "a dog"}
    write_results(tmp_path / "told.json", told)
    written = json.loads((tmp_path / "told.json").read_text())
    assert [one["image_id"] for one in written] == [391895, "a1.jpg"]
    assert read_results(tmp_path / "told.json") == told


def test_references_of_each_kind_are_the_same(tmp_path):
    human = {"1": ["a dog runs", "the dog"], "2": ["a boat on a lake"]}
    pairs = [(image, text) for image, texts in human.items() for text in texts]
    notes = [{"image_id": int(image), "caption": text} for image, text in pairs]
    (tmp_path / "coco.json").write_text(json.dumps({"annotations": notes}))
    lines = [f"{image}#{k}\t{text}\n" for k, (image, text) in enumerate(pairs)]
    (tmp_path / "token.txt").write_text("".join(lines))
    for name in ("coco.json", "token.txt"):
        assert read_references(tmp_path / name) == human


def test_a_file_of_another_system_is_scored(tmp_path):  # slow: METEOR's Java program is started
    notes = [{"image_id": k, "caption": f"a dog number {k} runs far away"} for k in (1, 2, 3)]
    (tmp_path / "human.json").write_text(json.dumps({"annotations": notes}))
    told = [{"image_id": note["image_id"], "caption": note["caption"]} for note in notes[:2]]
    (tmp_path / "told.json").write_text(json.dumps(told))
    scores, images, left = score_file(tmp_path / "human.json", tmp_path / "told.json")
    assert (images, left) == (2, 1)
    assert scores.bleu4 == pytest.approx(1) and scores.meteor == pytest.approx(1)


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"images": 3}, "not in COCO's results format"),
        ([{"caption": "a dog"}], "not in COCO's results format"),
        ([{"image_id": 1, "caption": "a"}, {"image_id": 1, "caption": "b"}], "two captions of one"),
    ],
)
def test_files_that_are_no_results(tmp_path, told, message):
    (tmp_path / "told.json").write_text(json.dumps(told))
    with pytest.raises(DataError, match=message):
        read_results(tmp_path / "told.json")


def test_files_that_are_no_references(tmp_path):
    (tmp_path / "a.json").write_text('{"images": []}')
    (tmp_path / "b.txt").write_text("a dog runs\n")
    for name in ("a.json", "b.txt"):
        with pytest.raises(DataError, match="holds no human captions"):
            read_references(tmp_path / name)
    with pytest.raises(FileNotFoundError, match=r"c\.txt is missing"):
        read_references(tmp_path / "c.txt")


def test_an_image_without_human_captions(tmp_path):
    (tmp_path / "told.json").write_text('[{"image_id": 7, "caption": "a dog"}]')
    (tmp_path / "human.json").write_text('{"annotations": [{"image_id": 1, "caption": "x"}]}')
    with pytest.raises(ValueError, match="no human captions to compare with, such as '7'"):
        score_file(tmp_path / "human.json", tmp_path / "told.json")


def test_captions_in_another_writing_are_scored_with_a_warning(tmp_path, capsys):
    note = {"image_id": 1, "caption": "собака бежит"}
    (tmp_path / "told.json").write_text(json.dumps([note]))
    (tmp_path / "human.json").write_text(json.dumps({"annotations": [note]}))
    score_file(tmp_path / "human.json", tmp_path / "told.json")
    assert "METEOR and its stemmer are English" in capsys.readouterr().err
