"""The exercises of lab 4: the functions of `labkit.model.equations`, one by one.

Each part is tried with small random tensors. All matrices are square. So a product with a
transposed matrix gives wrong values, which a check can recognise, and not an error about shapes.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from labkit.checks import Unanswered, compare, exercise, first_problem, run
from labkit.checks.decoding import caption

T, L, D, V = 3, 5, 4, 6  # words, regions, the size of all else, words of the vocabulary


def numbers(seed: int, *shapes: tuple[int, ...]) -> list[Tensor]:
    """Return random tensors of these shapes, which require a gradient."""
    rng = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=rng).requires_grad_() for shape in shapes]


def lost_gradient(got: Any, name: str) -> str | None:
    """Return a message if a tensor has lost its gradient."""
    if torch.is_tensor(got) and got.requires_grad:
        return None
    return (
        f"{name} has the right values but no gradient, so it could not be trained: "
        "detach(), item(), numpy() and torch.tensor() lose the gradient"
    )


@exercise("4.1", "Write `scores(a, h, W_a, W_s, b, v)`: a row of L scores for each of T words.")
def scores(answer: Any) -> str | None:
    """Judge the scores, eq. 4."""
    given = numbers(1, (L, D), (T, D), (D, D), (D, D), (D,), (D,))
    a, h, W_a, W_s, b, v = given
    try:
        got = run(answer, *given, name="scores")
    except RuntimeError as error:
        if "must match the size" not in str(error):
            raise
        return (
            "W_a a is (L, A) and W_s h is (T, A). Give each of them a new axis, (1, L, A) and "
            "(T, 1, A): then the sum is (T, L, A)"
        )
    region, state = a @ W_a.T, (h @ W_s.T)[:, None]  # (L, A), (T, 1, A)
    inner = region + state + b  # (T, L, A)
    right = inner.tanh() @ v
    mistakes = {
        "you left out tanh. Without it W_s h adds the same number to all regions of a word, and "
        "the softmax cancels that: every word would look at the same place": inner @ v,
        "you left out W_s h: then every word looks at the same place": (region + b).tanh() @ v
        + torch.zeros(T, 1),
        "you left out W_a a: then all regions have the same score": (state + b).tanh() @ v
        + torch.zeros(T, L),
        "you left out b": (region + state).tanh() @ v,
        "tanh comes before v, not after it": (inner @ v).tanh(),
        "you left out v: you sum over the hidden layer without it": inner.tanh().sum(-1),
        "you did not sum over the hidden layer: @ v does both, multiply and sum": inner.tanh() * v,
        "your scores are transposed: we want a row for each word and a column for each region":
            right.T,
        "W_a is transposed: W_a a_i for all rows of a is a @ W_a.T":
            (a @ W_a + state + b).tanh() @ v,
        "W_s is transposed: W_s h for all rows of h is h @ W_s.T":
            (region + (h @ W_s)[:, None] + b).tanh() @ v,
        "these are already the weights: the softmax is the next exercise": right.softmax(-1),
        "b goes inside the tanh": ((region + state).tanh() + b) @ v,
        "both matrices are transposed: W_a a_i for all rows of a is a @ W_a.T":
            (a @ W_a + (h @ W_s)[:, None] + b).tanh() @ v,
    }  # fmt: skip
    return first_problem(compare(got, right, "e", mistakes), lost_gradient(got, "e"))


@exercise("4.2", "Write `weights(e)`: positive numbers, and the sum of each row is 1.")
def weights(answer: Any) -> str | None:
    """Judge the weights, eq. 5."""
    (e,) = numbers(2, (T, L))
    got = run(answer, e, name="weights")
    right = e.softmax(-1)
    mistakes = {
        "your weights sum to 1 over the words, but they must sum to 1 over the regions":
            e.softmax(0),
        "your weights sum to 1 over all words together, but each word has a sum of 1":
            e.flatten().softmax(0).view(T, L),
        "you left out the exponential: some weights are negative": e / e.sum(-1, keepdim=True),
        "you left out the sum in the denominator": e.exp(),
        "these are the logarithms of the weights": e.log_softmax(-1),
        "a sigmoid treats each region alone, but the regions of a word share a sum of 1":
            e.sigmoid(),
        "the likeliest region has all the weight: that is hard attention, lab 6":
            one_hot(e.argmax(-1), L).float(),
    }  # fmt: skip
    problem = compare(got, right, "alpha", mistakes)
    if problem is None and not torch.isfinite(answer(200 * e.detach())).all():
        return (
            "right for these scores, but exp() overflows for large ones: subtract each row's "
            "largest score first, or use softmax, which does so"
        )
    return first_problem(problem, lost_gradient(got, "alpha"))


@exercise("4.3", "Write `soft_context(a, alpha)`: for each word the weighted sum of the regions.")
def soft_context(answer: Any) -> str | None:
    """Judge the expected context, eq. 13."""
    e, a = numbers(3, (T, L), (L, D))
    alpha = e.softmax(-1)
    got = run(answer, a, alpha, name="soft_context")
    right = alpha @ a
    mistakes = {
        "this is the mean of all regions, whatever the weights: alpha is not used":
            a.mean(0).expand(T, D),
        "this is the mean of all regions, one for all words: alpha is not used": a.mean(0),
        "you add up the regions without their weights": a.sum(0).expand(T, D),
        "you multiply the regions by their weights, but do not add them up": alpha[..., None] * a,
        "the weights already sum to 1: do not divide by L": right / L,
        "you use the likeliest region alone: that is hard attention, lab 6": a[alpha.argmax(-1)],
        "your result is transposed: we want a row for each word": right.T,
    }  # fmt: skip
    return first_problem(compare(got, right, "phi", mistakes), lost_gradient(got, "phi"))


@exercise("4.4", "Write `context_gate(h, w_beta, b_beta)`: one number per word, (T, 1).")
def context_gate(answer: Any) -> str | None:
    """Judge the gate, section 4.2.1."""
    given = numbers(4, (T, D), (1, D), (1,))
    h, w, b = given
    got = run(answer, *given, name="context_gate")
    raw = h @ w.T + b  # (T, 1)
    right = raw.sigmoid()
    mistakes = {
        "you left out the sigmoid: a gate is between 0 and 1": raw,
        "tanh is between -1 and 1, but the gate needs the sigmoid": raw.tanh(),
        "you left out b_beta": (h @ w.T).sigmoid(),
        "your gate closes where it should open: this is 1 - beta": (-raw).sigmoid(),
        "your gate is a vector, with a number for each element of h, but the paper's is one number "
        "for each word: w_beta . h is a product and a sum": (h * w + b).sigmoid(),
        "the numbers are right, but keep the last axis, (T, 1): it lets beta multiply (T, D)":
            right[:, 0],
        "this is one gate for all words together: each word has its own": raw.sum().sigmoid(),
    }  # fmt: skip
    return first_problem(compare(got, right, "beta", mistakes), lost_gradient(got, "beta"))


LSTM = ("lstm_gates", "lstm_memory", "lstm_hidden")


@exercise("4.5", "Write `lstm_gates`, `lstm_memory` and `lstm_hidden`, eqs. 1, 2 and 3.")
def lstm(answer: Any) -> str | None:
    """Judge the three functions of the LSTM."""
    if callable(answer):
        run(answer, *numbers(5, *[(T, D)] * 3, *[(4 * D, D)] * 3, (4 * D,)))
        answer = ()
    if len(answer) != len(LSTM):
        return f'pass the three functions: check("4.5", [{", ".join(LSTM)}])'
    gates, memory, hidden = answer
    return first_problem(_gates(gates), _memory(memory), _hidden(hidden))


def _gates(answer: Any) -> str | None:
    """Judge the gates, eq. 1."""
    given = numbers(5, *[(T, D)] * 3, *[(4 * D, D)] * 3, (4 * D,))
    Ey, h, z, W_y, W_h, W_z, b = given
    got = run(answer, *given, name="lstm_gates")
    if not isinstance(got, tuple | list) or len(got) != 4:
        return "lstm_gates must return four things: return i, f, o, g"
    parts = Ey @ W_y.T + h @ W_h.T + z @ W_z.T + b  # (T, 4D)
    no_word, no_h, no_z = (parts - x @ W.T for x, W in ((Ey, W_y), (h, W_h), (z, W_z)))
    right = _squashed(parts)
    i, f, o, g = right
    one, two, three, four = parts.chunk(4, -1)
    mistakes = {
        "here the order of the four parts is i, f, o, g, but torch.nn.LSTM has i, f, g, o":
            _squashed(torch.cat([one, two, four, three], -1)),
        "return them in the order i, f, o, g": [i, f, g, o],
        "i and f are swapped: i comes first": [f, i, o, g],
        "you left out the sigmoids and the tanh: gates are between 0 and 1":
            [one, two, three, four],
        "you left out the sigmoids: gates are between 0 and 1": [one, two, three, g],
        "you left out the tanh of g": [i, f, o, four],
        "g is not a gate: it goes through tanh, not through the sigmoid": [i, f, o, four.sigmoid()],
        "you left out z: the LSTM does not see the picture": _squashed(no_z),
        "you left out the word: the LSTM does not know the caption so far": _squashed(no_word),
        "you left out h: the LSTM does not remember": _squashed(no_h),
        "you left out b": _squashed(parts - b),
    }  # fmt: skip
    problem = compare(list(got), right, "(i, f, o, g)", mistakes)
    return first_problem(problem, *map(lost_gradient, got, "ifog"))


def _squashed(parts: Tensor) -> list[Tensor]:
    """Return i, f, o and g, given their four parts (T, 4D)."""
    i, f, o, g = parts.chunk(4, -1)
    return [i.sigmoid(), f.sigmoid(), o.sigmoid(), g.tanh()]


def _memory(answer: Any) -> str | None:
    """Judge the memory, eq. 2."""
    given = numbers(8, *[(T, D)] * 4)
    f, c, i, g = given
    got = run(answer, *given, name="lstm_memory")
    again = "f, i and g have gone through sigmoid and tanh already, in lstm_gates"
    mistakes = {
        "you left out the old c: it enters through the gate f": i * g,
        "you left out the new content: i lets g in": f * c,
        "i and f are swapped: i lets new content in, f keeps the old": i * c + f * g,
        again: f.sigmoid() * c + i.sigmoid() * g.tanh(),
        f"{again}, and c is not squashed here": (f * c + i * g).tanh(),
    }  # fmt: skip
    return first_problem(compare(got, f * c + i * g, "c", mistakes), lost_gradient(got, "c"))


def _hidden(answer: Any) -> str | None:
    """Judge the state, eq. 3."""
    o, c = given = numbers(9, (T, D), (T, D))
    got = run(answer, *given, name="lstm_hidden")
    mistakes = {
        "you left out tanh: h = o * tanh(c)": o * c,
        "o has gone through the sigmoid already, in lstm_gates": o.sigmoid() * c.tanh(),
        "c goes through tanh, not through the sigmoid: h = o * tanh(c)": o * c.sigmoid(),
        "tanh belongs to c alone: h = o * tanh(c)": (o * c).tanh(),
        "this is tanh(c): the gate o is missing": c.tanh(),
    }  # fmt: skip
    return first_problem(compare(got, o * c.tanh(), "h", mistakes), lost_gradient(got, "h"))


@exercise("4.6", "Write `logits(Ey, h, z, L_o, L_h, L_z, b_o)`: a number for each of V words.")
def logits(answer: Any) -> str | None:
    """Judge the exponent of eq. 7."""
    given = numbers(6, *[(T, D)] * 3, (V, D), (D, D), (D, D), (V,))
    Ey, h, z, L_o, L_h, L_z, b_o = given
    got = run(answer, *given, name="logits")
    from_h, from_z = h @ L_h.T, z @ L_z.T
    right = (Ey + from_h + from_z) @ L_o.T + b_o
    mistakes = {
        "these are the probabilities: leave out the softmax": right.softmax(-1),
        "these are the logarithms of the probabilities: leave out the softmax":
            right.log_softmax(-1),
        "this is the sum before L_o: L_o turns it into a number for each word":
            Ey + from_h + from_z,
        "you left out E y_{t-1}, the last word": (from_h + from_z) @ L_o.T + b_o,
        "you left out h": (Ey + from_z) @ L_o.T + b_o,
        "you left out b_o": (Ey + from_h + from_z) @ L_o.T,
        "you left out z: the word is predicted without the picture": (Ey + from_h) @ L_o.T + b_o,
        "L_h and L_z are transposed: L_h h for all rows of h is h @ L_h.T":
            (Ey + h @ L_h + z @ L_z) @ L_o.T + b_o,
    }  # fmt: skip
    return first_problem(compare(got, right, "n", mistakes), lost_gradient(got, "n"))


@exercise("4.7", "Write `generate(a)`: the ids of the words, chosen greedily, and alpha (T, L).")
def generate(answer: Any) -> str | None:
    """Judge a caption from greedy decoding."""
    a, captions, alpha, mistakes = caption()
    with torch.no_grad():
        got = answer(a) if callable(answer) else answer
    if got is None or got is ... or any(part is ... for part in got):
        raise Unanswered
    if len(got) != 2 or not torch.is_tensor(got[1]):
        return "your function must return two things: a list of ids, and the weights, a tensor"
    ids = [int(word) for word in got[0]]
    for sentence, wrong in mistakes.items():
        if ids == wrong:
            return sentence
    if ids != captions:
        return f"your words have the ids {ids}, but labkit's have {captions}"
    if torch.is_tensor(got[1]) and len(got[1]) == len(alpha) + 1:
        return "alpha has one row too many: leave out the weights for <eos>"
    return compare(got[1], alpha, "alpha", tolerance=1e-2) or _ignores_phi(answer, a, alpha)


def _ignores_phi(answer: Any, a: Tensor, alpha: Tensor) -> str | None:
    """Replace phi by the mean of all regions, as the lab does later, and see if it matters."""
    try:
        with torch.no_grad():
            _, blind = answer(a, lambda a, alpha: a.mean(-2).expand(len(alpha), -1))
    except TypeError:  # a function without this argument
        return None
    same = blind.shape == alpha.shape and torch.allclose(blind, alpha, atol=1e-3)
    return "you ignore `phi`: pass it on to step" if same else None
