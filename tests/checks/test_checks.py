"""The verdicts of a check on right answers, wrong answers, and no answer."""

import numpy as np
import pytest
import torch

from labkit import checks


@pytest.fixture
def made_up(monkeypatch):
    """Two exercises of a lab 99 that does not exist."""
    monkeypatch.setattr(checks, "_EXERCISES", {})
    monkeypatch.setattr(checks, "import_module", lambda name: None)
    right = torch.tensor([[0.25, 0.75], [0.5, 0.5]])
    columns = right / right.sum(0)

    @checks.exercise("99.1", "Give the weights.")
    def weights(answer):
        mistakes = {"they sum to 1 over the words; they must over the regions": columns}
        return checks.compare(answer, right, "alpha", mistakes)

    @checks.exercise("99.2", "Write a function that doubles.")
    def doubles(answer):
        return checks.compare(answer(2), 4, "double of 2")

    return right, columns


def test_a_right_answer_of_any_type(made_up):
    right, _ = made_up
    with_gradient = right.clone().requires_grad_()
    for answer in (right, right.numpy(), right.tolist(), list(right), with_gradient):
        verdict = checks.check("99.1", answer)
        assert verdict.right is True
        assert repr(verdict) == "Exercise 99.1: right."
    assert checks.check("99.2", lambda x: 2 * x).right is True


@pytest.mark.parametrize("nothing", [..., None])
def test_without_an_answer_the_verdict_says_what_to_do(made_up, nothing):
    verdict = checks.check("99.1", nothing)
    assert verdict.right is None
    assert repr(verdict) == "Exercise 99.1: not answered yet. Give the weights."
    assert checks.check("99.2", lambda x: nothing).right is None


def test_the_verdict_says_why_an_answer_is_wrong(made_up):
    right, columns = made_up
    messages = {
        "they sum to 1 over the words; they must over the regions": columns,
        "alpha has shape (2,), but it should have (2, 2)": right[0],
        "alpha is 0.1 at position (0, 1), but it should be 0.75": torch.full((2, 2), 0.1),
        "alpha contains values that are not finite": right * np.nan,
        "alpha should be numbers of shape (2, 2), not str": "left",
        "alpha is a function: call it, and pass what it returns": lambda x: right,
    }
    for sentence, answer in messages.items():
        verdict = checks.check("99.1", answer)
        assert verdict.right is False and verdict.text == f"not yet: {sentence}"
    broken = checks.check("99.2", lambda x: x / 0)
    assert broken.right is False
    assert broken.text == "not yet: your code raised ZeroDivisionError: division by zero"


def test_exercises_that_do_not_exist(made_up):
    with pytest.raises(ValueError, match=r"no exercise 99\.7: there are 99\.1, 99\.2"):
        checks.check("99.7", 1)


def test_labs_that_do_not_exist():
    with pytest.raises(ValueError, match="no checks for lab 98"):
        checks.check("98.1", 1)
