"""The checks of every lab pass what is right, and name the mistake in what is not.

The answers are in ``answers_labNN.py``: RIGHT ones, WRONG ones with a part of the message that they
get, and OPEN, where an untouched cell is not a function that returns nothing.
"""

from collections import Counter
from importlib import import_module

import pytest
import torch
from answers_lab06 import surrogate

from labkit.checks import check, exercises
from labkit.checks.decoding import caption
from labkit.model.captioner import Captioner

torch.set_num_threads(1)

LABS = {lab: import_module(f"answers_lab{lab:02}") for lab in range(12)}
RIGHT = [pair for answers in LABS.values() for pair in answers.RIGHT]
WRONG = [case for answers in LABS.values() for case in answers.WRONG]
OPEN = {number: value for a in LABS.values() for number, value in getattr(a, "OPEN", {}).items()}
CAPTION = "4.7"  # needs a model: see the last test


@pytest.mark.parametrize("lab", LABS)
def test_every_exercise_is_tried(lab):
    asked = [one.number for one in exercises(lab) if one.number != CAPTION]
    assert list(dict(LABS[lab].RIGHT)) == asked
    tried = Counter(number for number, _, _ in LABS[lab].WRONG)
    assert set(tried) == set(asked) and min(tried.values()) >= 2


@pytest.mark.parametrize(("number", "answer"), RIGHT)
def test_right_answers_pass(number, answer):
    assert check(number, answer).right is True
    with torch.no_grad():  # as some labs have it
        assert check(number, answer).right is True


@pytest.mark.parametrize("number", [*dict(RIGHT), CAPTION])
def test_untouched_cells_say_what_to_do(number):
    verdict = check(number, OPEN.get(number, lambda *given, **named: None))
    assert verdict.right is None
    assert verdict.text.startswith("not answered yet. ")


@pytest.mark.parametrize(("number", "answer", "says"), WRONG)
def test_mistakes_are_named(number, answer, says):
    verdict = check(number, answer)
    assert verdict.right is False and says in verdict.text


@pytest.mark.parametrize(
    ("number", "value", "name"),
    [("1.3", ["a", "man"], ""), ("2.5", 0.3, ""), ("4.3", torch.ones(3, 4), "soft_context")],
)
def test_a_value_in_place_of_a_function(number, value, name):
    verdict = check(number, value)
    assert verdict.right is False
    assert f'pass the function itself, do not call it: check("...", {name}' in verdict.text


def test_gradients_that_pass_in_lab_6_are_the_right_ones():
    """The checks' own formula against a sum over all places, with the probabilities as weights."""
    scores = torch.zeros(2, requires_grad=True)
    log_p = torch.tensor([0.0, -3.0])
    alpha, log_alpha = scores.softmax(0), scores.log_softmax(0)
    bound = (alpha * log_p).sum()
    (exact,) = torch.autograd.grad(bound, scores, retain_graph=True)
    mean = torch.zeros(2)
    for place in (0, 1):
        loss = surrogate(log_p[place], log_alpha[place], torch.tensor(7.0))
        mean -= alpha[place].detach() * torch.autograd.grad(loss, scores, retain_graph=True)[0]
    torch.testing.assert_close(mean, exact)


def test_the_caption_generated_in_lab_4():
    a, right, alpha, mistakes = caption()
    words = Captioner.from_pretrained("scenes-soft").vocabulary.decode(right)
    assert words == "a large yellow cross is right of a small yellow circle"
    assert check("4.7", lambda given: (right, alpha)).right is True
    for sentence, ids in mistakes.items():
        assert ids != right
        assert check("4.7", lambda given, ids=ids: (ids, alpha)).text == f"not yet: {sentence}"
    assert "two things" in check("4.7", lambda given: right).text
    assert "alpha" in check("4.7", lambda given: (right, alpha.flip(0))).text
    assert "your words have the ids [4, 9]" in check("4.7", lambda given: ([4, 9], alpha)).text
    assert check("4.7", lambda given: (..., ...)).right is None
    ignored = check("4.7", lambda given, phi=None: (right, alpha))
    assert "you ignore `phi`" in ignored.text
    longer = torch.cat([alpha, alpha[:1]])
    assert "one row too many" in check("4.7", lambda given: (right, longer)).text
    assert a.shape == (49, 128)
