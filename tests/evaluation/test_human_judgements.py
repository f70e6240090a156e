"""Agreement of metrics with people, on small files made here in Flickr8k's layouts."""

from pathlib import Path

import pytest

from labkit.data.records import DataError
from labkit.evaluation.human_judgements import Judgement, agreement_with_people, read_judgements

CAPTIONS = {
    "dog.jpg": ["a brown dog runs over the grass", "the dog is running on green grass",
                "a dog runs outside"],
    "boat.jpg": ["two men sit in a small boat", "two men in a boat on a lake"],
    "child.jpg": ["a child climbs a red wall", "a child on a climbing wall"],
}  # fmt: skip


def write(path: Path, rows: list[tuple]) -> Path:
    path.write_text("".join("\t".join(map(str, row)) + "\n" for row in rows))
    return path


def test_experts_give_three_judgements_and_a_crowd_one(tmp_path):
    rows = [("dog.jpg", "dog.jpg#0", 4, 3, 4), ("dog.jpg", "boat.jpg#1", 1, 1, 1)]
    experts = read_judgements(write(tmp_path / "ExpertAnnotations.txt", rows))
    assert [one.value for one in experts] == [4, 3, 4, 1, 1, 1]
    assert experts[3] == Judgement("dog.jpg", "boat.jpg#1", 1)
    rows = [("dog.jpg", "dog.jpg#0", 1, 3, 0), ("dog.jpg", "boat.jpg#1", 1 / 3, 1, 2)]
    crowd = read_judgements(write(tmp_path / "CrowdFlowerAnnotations.txt", rows))
    assert [one.value for one in crowd] == pytest.approx([1, 1 / 3])


def test_taus_of_a_small_table():
    """Slow: METEOR's Java program is started.

    BLEU-1 of "two men in a boat on a lake" beside the dog is low, of the dog's own captions high.
    """
    judged = [
        Judgement("dog.jpg", "dog.jpg#2", 4), Judgement("dog.jpg", "boat.jpg#1", 1),
        Judgement("boat.jpg", "boat.jpg#1", 4), Judgement("boat.jpg", "child.jpg#0", 1),
    ]  # fmt: skip
    found = agreement_with_people(judged, CAPTIONS)
    assert set(found) >= {"bleu1", "bleu4", "meteor", "rouge_l", "cider"}
    # Of the six pairs two are ties on the people's side; the other four agree. Machine: no ties.
    # tau-b = 4 / sqrt(4 * 6), tau-c = 2 * 4 * m / (n^2 (m - 1)) with n = 4, m = 2.
    for metric in ("bleu1", "meteor", "rouge_l"):
        assert found[metric].tau_b == pytest.approx(4 / 24**0.5)
        assert found[metric].tau_c == pytest.approx(1)
    assert found["bleu1"].judgements == 4
    turned = [Judgement(one.image, one.caption, -one.value) for one in judged]
    turned = agreement_with_people(turned, CAPTIONS)
    assert turned["meteor"].tau_b == pytest.approx(-4 / 24**0.5)


def test_a_caption_is_not_compared_with_itself():
    judged = [Judgement("child.jpg", "child.jpg#0", 4), Judgement("child.jpg", "boat.jpg#0", 1)]
    found = agreement_with_people(judged, {**CAPTIONS, "child.jpg": ["a b", "x y"]})
    assert found["bleu1"].tau_b < 1  # both share nothing with what is left


@pytest.mark.parametrize("line", ["a.jpg a.jpg#0 4 3 4", "a.jpg\ta.jpg#0\t4\t3", "a\tb\tc\td\te"])
def test_other_layouts_are_named(tmp_path, line):
    (tmp_path / "e.txt").write_text(line + "\n")
    with pytest.raises(DataError, match=r"line 1 of .*e\.txt is not image, caption and three"):
        read_judgements(tmp_path / "e.txt")
    with pytest.raises(FileNotFoundError, match=r"none\.txt is missing"):
        read_judgements(tmp_path / "none.txt")


@pytest.mark.parametrize("judged", [("no.jpg", "dog.jpg#0"), ("dog.jpg", "dog.jpg#9")])
def test_judgements_of_what_is_not_there(judged):
    with pytest.raises(DataError, match="not among the captions"):
        agreement_with_people([Judgement(*judged, 1)], CAPTIONS)
