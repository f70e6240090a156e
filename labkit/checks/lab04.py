"""The exercises of lab 4: one step of the decoder, part by part.

Each part is tried with small random tensors. All matrices are square. So a product with a
transposed matrix gives wrong values, which a check can recognise, and not an error about shapes.
"""

from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from labkit.checks import Unanswered, compare, exercise, first_problem, run
from labkit.data.photos import to_input
from labkit.data.scenes import make_scenes
from labkit.data.vocabulary import BOS, EOS
from labkit.features.encoder import load_encoder
from labkit.features.prepare import SCENE_ENCODER
from labkit.model.captioner import load
from labkit.model.decoder import State
from labkit.model.generation import greedy

T, L, D, V = 3, 5, 4, 6  # words, regions, the size of all else, words of the vocabulary
SCENE = {"seed": 25, "split": "test"}  # exercise 4.7 captions the first of these scenes
LONGEST = 20  # words


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
    }
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
    }
    problem = compare(got, right, "alpha", mistakes)
    if problem is None and not torch.isfinite(answer(200 * e.detach())).all():
        return (
            "right for these scores, but exp() overflows for large ones: subtract each row's "
            "largest score first, or use softmax, which does so"
        )
    return first_problem(problem, lost_gradient(got, "alpha"))


@exercise("4.3", "Write `mix(alpha, a)`: for each word the weighted sum of the regions.")
def mix(answer: Any) -> str | None:
    """Judge the mix, eq. 13 without the gate."""
    e, a = numbers(3, (T, L), (L, D))
    alpha = e.softmax(-1)
    got = run(answer, alpha, a, name="mix")
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
    }
    return first_problem(compare(got, right, "phi", mistakes), lost_gradient(got, "phi"))


@exercise("4.4", "Write `context(phi, h, w_beta, b_beta)`: the mix times one number per word.")
def context(answer: Any) -> str | None:
    """Judge the context with its gate, section 4.2.1."""
    given = numbers(4, (T, D), (T, D), (1, D), (1,))
    phi, h, w, b = given
    got = run(answer, *given, name="context")
    raw = h @ w.T + b  # (T, 1)
    right = raw.sigmoid() * phi
    mistakes = {
        "this is phi itself: the gate is missing": phi,
        "this is the gate beta: multiply phi by it": raw.sigmoid(),
        "you multiply h by the gate, but it belongs to phi": raw.sigmoid() * h,
        "you compute the gate from phi, but it depends on h": (phi @ w.T + b).sigmoid() * phi,
        "you left out the sigmoid: a gate is between 0 and 1": raw * phi,
        "tanh is between -1 and 1, but the gate needs the sigmoid": raw.tanh() * phi,
        "you left out b_beta": (h @ w.T).sigmoid() * phi,
        "your gate closes where it should open: this is 1 - beta": (-raw).sigmoid() * phi,
        "your gate is a vector, with a number for each element of h, but the paper's is one number "
        "for each word: w_beta . h is a product and a sum": (h * w + b).sigmoid() * phi,
    }
    return first_problem(compare(got, right, "z", mistakes), lost_gradient(got, "z"))


@exercise("4.5", "Write `lstm(word, z, h, c, W_y, W_z, W_h, b)`: return the new (h, c).")
def lstm(answer: Any) -> str | None:
    """Judge the LSTM, eqs. 1, 2 and 3."""
    given = numbers(5, *[(T, D)] * 4, *[(4 * D, D)] * 3, (4 * D,))
    word, z, h, c, W_y, W_z, W_h, b = given
    got = run(answer, *given, name="lstm")
    if got is None or got is ...:
        raise Unanswered
    if not isinstance(got, tuple | list) or len(got) != 2:
        return "your function must return two things: return h, c"
    parts = word @ W_y.T + z @ W_z.T + h @ W_h.T + b
    no_word, no_z, no_h = (parts - x @ W.T for x, W in ((word, W_y), (z, W_z), (h, W_h)))
    right = _cell(parts, c)
    i, f, o, g = parts.chunk(4, -1)
    new_only = i.sigmoid() * g.tanh()
    raw = f * c + i * g.tanh()  # without the sigmoids
    mistakes = {
        "you return (c, h): h comes first": right[::-1],
        "here the order of the four parts is i, f, o, g, but torch.nn.LSTM has i, f, g, o":
            _cell(torch.cat([i, f, g, o], -1), c),
        "i and f are swapped: i lets new content in, f keeps the old":
            _cell(torch.cat([f, i, o, g], -1), c),
        "g is not a gate: it goes through tanh, not through the sigmoid":
            _cell(parts, c, torch.sigmoid),
        "you left out tanh in the last line: h = sigmoid(o) * tanh(c)":
            [o.sigmoid() * right[1], right[1]],
        "you compute h from the old c, but it depends on the new one":
            [o.sigmoid() * c.tanh(), right[1]],
        "you left out the sigmoids: gates are between 0 and 1": [o * raw.tanh(), raw],
        "you left out the old c: it enters through the gate f":
            [o.sigmoid() * new_only.tanh(), new_only],
        "you left out z: the LSTM does not see the picture": _cell(no_z, c),
        "you left out the word: the LSTM does not know the caption so far": _cell(no_word, c),
        "you left out h: the LSTM does not remember": _cell(no_h, c),
    }
    problem = compare(list(got), right, "(h, c)", mistakes)
    return first_problem(problem, lost_gradient(got[0], "h"), lost_gradient(got[1], "c"))


def _cell(parts: Tensor, c: Tensor, squash: Any = torch.tanh) -> list[Tensor]:
    """Update an LSTM, given its four parts (T, 4D)."""
    i, f, o, g = parts.chunk(4, -1)
    c = f.sigmoid() * c + i.sigmoid() * squash(g)
    return [o.sigmoid() * c.tanh(), c]


@exercise("4.6", "Write `word_log_p(word, h, z, L_o, L_h, L_z, b_o)`: log p of each of V words.")
def word_log_p(answer: Any) -> str | None:
    """Judge the probability of the next word, eq. 7."""
    given = numbers(6, *[(T, D)] * 3, (V, D), (D, D), (D, D), (V,))
    word, h, z, L_o, L_h, L_z, b_o = given
    got = run(answer, *given, name="word_log_p")
    from_h, from_z = h @ L_h.T, z @ L_z.T
    logits = (word + from_h + from_z) @ L_o.T + b_o
    mistakes = {
        "these are the probabilities: we want their logarithms": logits.softmax(-1),
        "these are the scores of the words, before the softmax": logits,
        "your probabilities sum to 1 over the steps, but they must sum to 1 over the vocabulary":
            logits.log_softmax(0),
        "you left out E y_{t-1}, the last word": ((from_h + from_z) @ L_o.T + b_o).log_softmax(-1),
        "you left out h": ((word + from_z) @ L_o.T + b_o).log_softmax(-1),
        "you left out b_o": ((word + from_h + from_z) @ L_o.T).log_softmax(-1),
        "you left out z: the word is predicted without the picture":
            ((word + from_h) @ L_o.T + b_o).log_softmax(-1),
        "L_h and L_z are transposed: L_h h for all rows of h is h @ L_h.T":
            ((word + h @ L_h + z @ L_z) @ L_o.T + b_o).log_softmax(-1),
    }
    problem = compare(got, logits.log_softmax(-1), "log p", mistakes)
    return first_problem(problem, lost_gradient(got, "log p"))


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
    return compare(got[1], alpha, "alpha", tolerance=1e-2) or _ignores_weigh(answer, a, alpha)


def _ignores_weigh(answer: Any, a: Tensor, alpha: Tensor) -> str | None:
    """Replace the softmax by even weights, as the lab does later, and see if that has an effect."""
    try:
        with torch.no_grad():
            _, even = answer(a, lambda e: torch.full_like(e, 1 / e.shape[-1]))
    except TypeError:  # a function without this argument
        return None
    same = even.shape == alpha.shape and torch.allclose(even, alpha, atol=1e-3)
    return "you ignore `weigh`: pass it on to step" if same else None


@cache
def caption() -> tuple[Tensor, list[int], Tensor, dict[str, list[int]]]:
    """Return a (L, D) of the scene, the ids and weights of its caption, and the ids of mistakes."""
    decoder = load("scenes-soft").decoder
    pixels = torch.from_numpy(to_input(make_scenes(1, **SCENE)[0].image, SCENE_ENCODER.size))
    features = load_encoder(SCENE_ENCODER, bf16=False)(pixels[None])

    def decode(feed: bool = True, carry: bool = True, mean: bool = True) -> list[int]:
        """Decode greedily, with a part left out (or none: then as `labkit.model.generation.greedy`)."""
        encoded, first = decoder.init_state(features)
        state = first = first if mean else State(0 * first.h, 0 * first.c)
        ids = [BOS]
        while len(ids) <= LONGEST and ids[-1] != EOS:
            last = torch.tensor([[ids[-1] if feed else BOS]])
            log_p, after, _ = decoder.step(last, encoded, state)
            state = after if carry else first
            ids.append(log_p.argmax().item())
        return [word for word in ids if word not in (BOS, EOS)]

    with torch.no_grad():
        (right,) = greedy(decoder, features, LONGEST)
        a = decoder.reduce(decoder.norm(features[0]))
        ids = right.words
        return a, ids, right.alpha, {
            "<bos> marks the beginning and is not a word of the caption": [BOS, *ids],
            "<eos> marks the end and is not a word of the caption": [*ids, EOS],
            "<bos> and <eos> are not words of the caption": [BOS, *ids, EOS],
            "the last word is missing: leave out only <eos>": ids[:-1],
            "each step needs the word generated last, not <bos> each time": decode(feed=False),
            "each step needs the h and c of the step before it, not the first ones":
                decode(carry=False),
            "the first h and c come from the mean annotation vector: call start(a)":
                decode(mean=False),
        }  # fmt: skip
