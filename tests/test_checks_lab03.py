"""The exercises of lab 3: right answers, untouched cells, and typical mistakes."""

import pytest

from labkit.checks import check


def place_of(image, per_shard):
    return divmod(image, per_shard)


def share_of(order, step, batch, rank, world):
    return order[step * batch : (step + 1) * batch][rank::world]


def share_in_a_row(order, step, batch, rank, world):
    """Another right answer: each process takes a part in a row."""
    together = order[step * batch : (step + 1) * batch]
    size = -(-len(together) // world)
    return list(together[rank * size : (rank + 1) * size])


def state_after(steps, batch, samples):
    epoch, step = divmod(steps, -(-samples // batch))
    return epoch, step * batch


@pytest.mark.parametrize(
    ("number", "answer"),
    [
        ("3.1", 19_929),
        ("3.2", place_of),
        ("3.3", share_of),
        ("3.3", share_in_a_row),
        ("3.4", state_after),
    ],
)
def test_right_answers(number, answer):
    assert check(number, answer).right is True


UNTOUCHED = {
    "3.1": ...,
    "3.2": lambda image, per_shard: None,
    "3.3": lambda order, step, batch, rank, world: None,
    "3.4": lambda steps, batch, samples: None,
}


@pytest.mark.parametrize("number", UNTOUCHED)
def test_untouched_cells_are_told_what_to_do(number):
    verdict = check(number, UNTOUCHED[number])
    assert verdict.right is None and verdict.text.startswith("not answered yet. ")


MISTAKES = [
    ("3.1", 9_964, "4 bytes a number"),
    ("3.1", 19_930, "round down"),
    ("3.1", 21_399, "2^30"),
    ("3.1", 4e9 / (196 * 512 * 2), "no whole number"),
    ("3.2", lambda i, per: (i % per, i // per), "exchanged"),
    ("3.2", lambda i, per: (i // per + 1, i % per), "files are counted from 1"),
    ("3.2", lambda i, per: (i / per, i % per), "with //"),
    ("3.3", lambda o, t, b, r, w: o[t * b : (t + 1) * b], "comes 3 times"),
    ("3.3", lambda o, t, b, r, w: o[(t * w + r) * b :][:b], "3 times 6 samples"),
    ("3.3", lambda o, t, b, r, w: o[r * 8 : r * 8 + 8][t * 2 :][:2], "one process alone"),
    ("3.3", lambda o, t, b, r, w: o[t * b : (t + 1) * b][r : b - 1 : w], "never come"),
    ("3.3", lambda o, t, b, r, w: o[t * b : (t + 1) * b][r:], "more than once"),
    ("3.4", lambda n, b, s: divmod(n * b, s), "counted as full"),
    ("3.4", lambda n, b, s: divmod(n, -(-s // b)), "in steps"),
    ("3.4", lambda n, b, s: (n // (s // b), n % (s // b) * b), "round up"),
]


@pytest.mark.parametrize(("number", "answer", "sentence"), MISTAKES)
def test_mistakes_are_named(number, answer, sentence):
    verdict = check(number, answer)
    assert verdict.right is False and sentence in verdict.text
