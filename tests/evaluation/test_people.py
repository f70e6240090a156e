"""People scored against people: each caption in turn, and a model against the same references.

Slow: METEOR's Java program is started.
"""

import json
import statistics
from dataclasses import astuple

import pytest
from commands import assert_one_sentence, labkit

from labkit.data.records import DataError
from labkit.evaluation.metrics import score
from labkit.evaluation.people import score_in_turn, score_people

HUMAN = {
    "1": ["a brown dog runs over the grass", "the dog is running", "a dog on green grass"],
    "2": ["two men ride a red train", "two men on a train", "men travel by train together"],
}
GENERATED = {"1": "a dog runs on grass", "2": "two men sit on a train"}


def write(path, captions):
    """Write captions as COCO's annotations."""
    pairs = [(int(id), text) for id, texts in captions.items() for text in texts]
    notes = [{"image_id": id, "caption": text} for id, text in pairs]
    path.write_text(json.dumps({"annotations": notes}))
    return path


def test_each_caption_is_scored_against_the_others():
    first = score(
        {"1": HUMAN["1"][1:], "2": HUMAN["2"][1:]}, {"1": HUMAN["1"][0], "2": HUMAN["2"][0]}
    )
    last = score(
        {"1": HUMAN["1"][:2], "2": HUMAN["2"][:2]}, {"1": HUMAN["1"][2], "2": HUMAN["2"][2]}
    )
    turns = score_in_turn(HUMAN)
    assert len(turns) == 3 and turns[0] == first and turns[2] == last
    assert turns[0] != turns[1] != turns[2]


def test_a_model_is_scored_against_the_same_references():
    turns = score_in_turn(HUMAN, GENERATED)
    for k, turn in enumerate(turns):
        others = {id: texts[:k] + texts[k + 1 :] for id, texts in HUMAN.items()}
        assert turn == score(others, GENERATED)
    against_all = score(HUMAN, GENERATED)
    assert statistics.fmean(turn.bleu1 for turn in turns) < against_all.bleu1


def test_an_image_with_fewer_captions_begins_again():
    human = {"1": HUMAN["1"], "2": [*HUMAN["2"][:2], " "]}  # a blank one does not count
    turns = score_in_turn(human)
    again = score(
        {"1": HUMAN["1"][:2], "2": [HUMAN["2"][1]]}, {"1": HUMAN["1"][2], "2": HUMAN["2"][0]}
    )
    assert len(turns) == 3 and turns[2] == again


@pytest.mark.parametrize(
    ("human", "generated", "message"),
    [
        ({}, None, "nothing to score"),
        ({"a": ["x", "y"], "b": ["z", ""]}, None, r"1 image\(s\) with fewer than two.*'b'"),
        ({"a": "a dog"}, None, "'a' must be a list"),
        ({"a": ["x", "y"]}, {}, "no generated caption.*'a'"),
        ({"a": ["x", "y"]}, {"a": "x", "b": "x"}, "no human captions.*'b'"),
    ],
)
def test_what_cannot_be_scored_in_turn(human, generated, message):
    with pytest.raises(ValueError, match=message):
        score_in_turn(human, generated)


def test_all_are_scored_on_the_images_that_all_have(tmp_path):
    human = write(tmp_path / "human.json", HUMAN | {"3": ["a cat"], "4": ["a boat", "a ship"]})
    for name, more in (("a.json", {"3": "a cat", "4": "a boat"}), ("b.json", {})):
        (tmp_path / name).write_text(json.dumps(GENERATED | more))
    found = score_people(human, [tmp_path / "a.json", tmp_path / "b.json"])
    a, b = found.systems.values()
    assert (found.images, found.left_out) == (2, 2) and a == b == score_in_turn(HUMAN, GENERATED)
    assert found.people == score_in_turn(HUMAN)
    assert score_people(human).images == 3


def test_references_without_two_captions_of_an_image(tmp_path):
    human = write(tmp_path / "human.json", {"1": ["a dog"], "2": ["a cat", "cats"]})
    (tmp_path / "one.json").write_text('{"1": "a dog"}')
    message = r"human.json has no image with two human captions and a caption in \S+one.json: "
    with pytest.raises(DataError, match=message):
        score_people(human, [tmp_path / "one.json"])
    done = labkit("people", write(tmp_path / "human.json", {"1": ["a dog"]}))
    assert_one_sentence(done, "no image with two human captions: one of them")


def test_the_command_prints_a_row_for_people_and_for_each_file(tmp_path):
    write(tmp_path / "human.json", HUMAN | {"3": ["a cat"]})
    (tmp_path / "people").write_text(json.dumps(GENERATED))  # its row is not taken for theirs
    words = ["people", "human.json", "people", "--json", "scores.json"]
    done = labkit(*words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr == "left out, with one human caption or no generated one: 1 of 3 images\n"
    header, _, *rows = done.stdout.split("\n\n")[0].splitlines()
    names = [cell.strip() for cell in header.split("|")[1:-1]]
    written = json.loads((tmp_path / "scores.json").read_text())
    for row, turns in zip(rows, [written["people"], written["systems"]["people"]], strict=True):
        cell = [cell.strip() for cell in row.split("|")[1:-1]][names.index("meteor")]
        values = [turn["meteor"] for turn in turns]
        assert cell == f"{statistics.fmean(values):.3f} ± {statistics.stdev(values):.3f}"
    assert "2 images, 3 turns" in done.stdout
    assert [tuple(turn.values()) for turn in written["people"]] == [
        astuple(turn) for turn in score_in_turn(HUMAN)]  # fmt: skip
    assert_one_sentence(labkit(*words, cwd=tmp_path), "scores.json exists", "--overwrite")
