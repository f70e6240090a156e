"""The checks of lab 9 pass what is right, and name the mistake in what is not."""

import pytest

from labkit.checks import check, exercises


def hours(images, rate, machines):
    return images / rate / machines / 3600


def together(losses, words):
    return sum(loss * count for loss, count in zip(losses, words, strict=True)) / sum(words)


BYTES = 82_783 * 64 * 1280 * 2
RIGHT = {"9.1": BYTES, "9.2": hours, "9.3": together}
WRONG = [
    ("9.1", BYTES // 2, "count of numbers"),
    ("9.1", BYTES * 2, "halves of two"),
    ("9.1", BYTES / 1e9, "give bytes"),
    ("9.2", lambda n, r, m: n / r / m, "those are seconds"),
    ("9.2", lambda n, r, m: n / r / 3600, "half as long, not as long"),
    ("9.2", lambda n, r, m: n / r * m / 3600, "not twice as long"),
    ("9.3", lambda losses, words: sum(losses) / len(losses), "mean of the means"),
    ("9.3", lambda losses, words: sum(losses), "sum of the means"),
    ("9.3", lambda losses, words: together(losses, words) * sum(words), "number of all words"),
]


def test_every_exercise_is_tried():
    assert [one.number for one in exercises(9)] == list(RIGHT)
    assert {number for number, _, _ in WRONG} == set(RIGHT)


@pytest.mark.parametrize("number", RIGHT)
def test_right_answers_pass_and_none_is_told_what_to_do(number):
    assert check(number, RIGHT[number]).right is True
    for untouched in (..., lambda *given: None) if number != "9.1" else (...,):
        verdict = check(number, untouched)
        assert verdict.right is None and "not answered yet" in verdict.text


@pytest.mark.parametrize(("number", "answer", "says"), WRONG)
def test_mistakes_are_named(number, answer, says):
    verdict = check(number, answer)
    assert verdict.right is False and says in verdict.text
