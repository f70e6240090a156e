"""The exercises of lab 4: one step of the decoder, part by part.

Each part is tried with small numbers drawn by lot. All matrices are square, so that a transposed
product gives values, which can be told from the right ones, and not only an error of shapes.
"""

from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from labkit.checks import Unanswered, compare, exercise, first_problem, run
from labkit.decoder import State
from labkit.decoding import greedy
from labkit.encoder import load_encoder
from labkit.models import load
from labkit.photos import to_input
from labkit.preparing import SCENE_ENCODER
from labkit.scenes import make_scenes
from labkit.vocabulary import BOS, EOS

T, L, D, V = 3, 5, 4, 6  # words, regions, and the size of all else; words of the vocabulary
SCENE = {"seed": 25, "split": "test"}  # the first scene of these is told in exercise 4.7
LONGEST = 20  # words


def numbers(seed: int, *shapes: tuple[int, ...]) -> list[Tensor]:
    """Draw tensors of these shapes, which can have a gradient."""
    chance = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=chance).requires_grad_() for shape in shapes]


def learns(got: Any, name: str) -> str | None:
    """Say so if a tensor has lost its gradient."""
    if torch.is_tensor(got) and got.requires_grad:
        return None
    return (
        f"{name} has the right values but no gradient, so it could not be trained: "
        "detach(), item(), numpy() and torch.tensor() cut the gradient off"
    )


@exercise("4.1", "Write `scores(a, h, W_a, W_s, b, v)`: a row of L scores for each of T words.")
def scores(answer: Any) -> str | None:
    """Eq. 4."""
    given = numbers(1, (L, D), (T, D), (D, D), (D, D), (D,), (D,))
    a, h, W_a, W_s, b, v = given
    try:
        got = run(answer, *given, name="scores")
    except RuntimeError as error:
        if "must match the size" not in str(error):
            raise
        return (
            "W_a a is (L, A) and W_s h is (T, A). Give each an axis of its own, (1, L, A) and "
            "(T, 1, A): then they add up to (T, L, A)"
        )
    region, state = a @ W_a.T, (h @ W_s.T)[:, None]  # (L, A), (T, 1, A)
    inner = region + state + b  # (T, L, A)
    right = inner.tanh() @ v
    mistakes = {
        "you left out tanh. Without it W_s h adds the same to all regions of a word, and the "
        "softmax takes that away: every word would look at the same place": inner @ v,
        "you left out W_s h: then every word looks at the same place": (region + b).tanh() @ v
        + torch.zeros(T, 1),
        "you left out W_a a: then all regions have one score": (state + b).tanh() @ v
        + torch.zeros(T, L),
        "you left out b": (region + state).tanh() @ v,
        "tanh comes before v, not after it": (inner @ v).tanh(),
        "you left out v: the hidden layer is summed as it is": inner.tanh().sum(-1),
        "you did not sum over the hidden layer: @ v does both, multiply and sum": inner.tanh() * v,
        "your scores stand the other way round: a row for each word, a column for each region":
            right.T,
        "W_a is transposed: W_a a_i for all rows of a is a @ W_a.T":
            (a @ W_a + state + b).tanh() @ v,
        "W_s is transposed: W_s h for all rows of h is h @ W_s.T":
            (region + (h @ W_s)[:, None] + b).tanh() @ v,
        "these are the weights already: the softmax is the next exercise": right.softmax(-1),
        "b goes inside the tanh": ((region + state).tanh() + b) @ v,
        "both matrices are transposed: W_a a_i for all rows of a is a @ W_a.T":
            (a @ W_a + (h @ W_s)[:, None] + b).tanh() @ v,
    }
    return first_problem(compare(got, right, "e", mistakes), learns(got, "e"))


@exercise("4.2", "Write `weights(e)`: positive, and the sum of each row is 1.")
def weights(answer: Any) -> str | None:
    """Eq. 5."""
    (e,) = numbers(2, (T, L))
    got = run(answer, e, name="weights")
    right = e.softmax(-1)
    mistakes = {
        "your weights sum to 1 over the words; they must over the regions": e.softmax(0),
        "your weights sum to 1 over all words together; each word has 1 to give":
            e.flatten().softmax(0).view(T, L),
        "you left out the exponential: some weights are negative": e / e.sum(-1, keepdim=True),
        "you left out the sum below the line": e.exp(),
        "these are the logarithms of the weights": e.log_softmax(-1),
        "a sigmoid looks at each region alone; the regions of a word share 1": e.sigmoid(),
        "the likeliest region takes all: that is hard attention, lab 6":
            one_hot(e.argmax(-1), L).float(),
    }
    problem = compare(got, right, "alpha", mistakes)
    if problem is None and not torch.isfinite(answer(200 * e.detach())).all():
        return (
            "right for these scores, but exp() overflows for large ones: subtract each row's "
            "largest score first, or use softmax, which does"
        )
    return first_problem(problem, learns(got, "alpha"))


@exercise("4.3", "Write `mix(alpha, a)`: for each word the sum of the regions by their weights.")
def mix(answer: Any) -> str | None:
    """Eq. 13, without the gate."""
    e, a = numbers(3, (T, L), (L, D))
    alpha = e.softmax(-1)
    got = run(answer, alpha, a, name="mix")
    right = alpha @ a
    mistakes = {
        "this is the mean of all regions, whatever the weights: alpha is not used":
            a.mean(0).expand(T, D),
        "this is the mean of all regions, one for all words: alpha is not used": a.mean(0),
        "you add up the regions without their weights": a.sum(0).expand(T, D),
        "you weigh the regions, but you do not add them up": alpha[..., None] * a,
        "the weights sum to 1 already: do not divide by L": right / L,
        "you took the likeliest region alone: that is hard attention, lab 6": a[alpha.argmax(-1)],
        "your contexts stand the other way round: a row for each word": right.T,
    }
    return first_problem(compare(got, right, "phi", mistakes), learns(got, "phi"))


@exercise("4.4", "Write `context(phi, h, w_beta, b_beta)`: the mix times one number a word.")
def context(answer: Any) -> str | None:
    """The gate of section 4.2.1."""
    given = numbers(4, (T, D), (T, D), (1, D), (1,))
    phi, h, w, b = given
    got = run(answer, *given, name="context")
    raw = h @ w.T + b  # (T, 1)
    right = raw.sigmoid() * phi
    mistakes = {
        "this is phi itself: the gate is left out": phi,
        "this is the gate beta: multiply phi with it": raw.sigmoid(),
        "the gate is multiplied with h; it must be with phi": raw.sigmoid() * h,
        "the gate is computed from phi; it must be from h": (phi @ w.T + b).sigmoid() * phi,
        "you left out the sigmoid: a gate lies between 0 and 1": raw * phi,
        "tanh lies between -1 and 1; the gate wants the sigmoid": raw.tanh() * phi,
        "you left out b_beta": (h @ w.T).sigmoid() * phi,
        "your gate closes where it should open: that is 1 - beta": (-raw).sigmoid() * phi,
        "your gate is a vector, a number for each place in h; the paper's is one number for each "
        "word: w_beta . h is a product and a sum": (h * w + b).sigmoid() * phi,
    }
    return first_problem(compare(got, right, "z", mistakes), learns(got, "z"))


@exercise("4.5", "Write `lstm(word, z, h, c, W_y, W_z, W_h, b)`, which gives the new (h, c).")
def lstm(answer: Any) -> str | None:
    """Eqs. 1, 2 and 3."""
    given = numbers(5, *[(T, D)] * 4, *[(4 * D, D)] * 3, (4 * D,))
    word, z, h, c, W_y, W_z, W_h, b = given
    got = run(answer, *given, name="lstm")
    if got is None or got is ...:
        raise Unanswered
    if not isinstance(got, tuple | list) or len(got) != 2:
        return "your function must give two things: return h, c"
    parts = word @ W_y.T + z @ W_z.T + h @ W_h.T + b
    no_word, no_z, no_h = (parts - x @ W.T for x, W in ((word, W_y), (z, W_z), (h, W_h)))
    right = _cell(parts, c)
    i, f, o, g = parts.chunk(4, -1)
    forgot, raw = i.sigmoid() * g.tanh(), f * c + i * g.tanh()  # the new alone; no gates
    mistakes = {
        "you return (c, h): h comes first": right[::-1],
        "the order of the four parts is i, f, o, g here; torch.nn.LSTM has i, f, g, o":
            _cell(torch.cat([i, f, g, o], -1), c),
        "i and f are exchanged: i lets the new in, f keeps the old":
            _cell(torch.cat([f, i, o, g], -1), c),
        "g is no gate: it goes through tanh, not through the sigmoid":
            _cell(parts, c, torch.sigmoid),
        "you left out tanh in the last line: h = sigmoid(o) * tanh(c)":
            [o.sigmoid() * right[1], right[1]],
        "h is made of the old c; it must be of the new one": [o.sigmoid() * c.tanh(), right[1]],
        "you left out the sigmoids: gates lie between 0 and 1": [o * raw.tanh(), raw],
        "the old c is forgotten: it comes in by the gate f": [o.sigmoid() * forgot.tanh(), forgot],
        "you left out z: the LSTM does not see the picture": _cell(no_z, c),
        "you left out the word: the LSTM does not know what was said": _cell(no_word, c),
        "you left out h: the LSTM does not remember": _cell(no_h, c),
    }
    problem = compare(list(got), right, "(h, c)", mistakes)
    return first_problem(problem, learns(got[0], "h"), learns(got[1], "c"))


def _cell(parts: Tensor, c: Tensor, squash: Any = torch.tanh) -> list[Tensor]:
    """Move an LSTM by its four parts (T, 4D)."""
    i, f, o, g = parts.chunk(4, -1)
    c = f.sigmoid() * c + i.sigmoid() * squash(g)
    return [o.sigmoid() * c.tanh(), c]


@exercise("4.6", "Write `word_log_p(word, h, z, L_o, L_h, L_z, b_o)`: log p of each of V words.")
def word_log_p(answer: Any) -> str | None:
    """Eq. 7."""
    given = numbers(6, *[(T, D)] * 3, (V, D), (D, D), (D, D), (V,))
    word, h, z, L_o, L_h, L_z, b_o = given
    got = run(answer, *given, name="word_log_p")
    of_h, of_z = h @ L_h.T, z @ L_z.T
    logits = (word + of_h + of_z) @ L_o.T + b_o
    mistakes = {
        "these are the probabilities: we want their logarithms": logits.softmax(-1),
        "these are the scores of the words before the softmax": logits,
        "your probabilities sum to 1 over the steps; they must over the words of the vocabulary":
            logits.log_softmax(0),
        "you left out E y_{t-1}, the last word": (((of_h + of_z) @ L_o.T + b_o).log_softmax(-1)),
        "you left out h": ((word + of_z) @ L_o.T + b_o).log_softmax(-1),
        "you left out b_o": ((word + of_h + of_z) @ L_o.T).log_softmax(-1),
        "you left out z: the word is told without the picture":
            ((word + of_h) @ L_o.T + b_o).log_softmax(-1),
        "L_h and L_z are transposed: L_h h for all rows of h is h @ L_h.T":
            ((word + h @ L_h + z @ L_z) @ L_o.T + b_o).log_softmax(-1),
    }
    problem = compare(got, logits.log_softmax(-1), "log p", mistakes)
    return first_problem(problem, learns(got, "log p"))


@exercise("4.7", "Write `tell(a)`: the ids of the words told greedily, and alpha (T, L).")
def tell(answer: Any) -> str | None:
    """A caption told greedily."""
    a, captions, alpha, mistakes = caption()
    with torch.no_grad():
        got = answer(a) if callable(answer) else answer
    if got is None or got is ... or any(part is ... for part in got):
        raise Unanswered
    if len(got) != 2 or not torch.is_tensor(got[1]):
        return "your function must give two things: a list of ids, and the weights, a tensor"
    ids = [int(word) for word in got[0]]
    for sentence, wrong in mistakes.items():
        if ids == wrong:
            return sentence
    if ids != captions:
        return f"your words are the numbers {ids}, but labkit's are {captions}"
    if torch.is_tensor(got[1]) and len(got[1]) == len(alpha) + 1:
        return "alpha has a row too many: the look before <eos> is not wanted"
    return compare(got[1], alpha, "alpha", tolerance=1e-2) or _weighs(answer, a, alpha)


def _weighs(answer: Any, a: Tensor, alpha: Tensor) -> str | None:
    """Put even weights in the place of the softmax's, as the lab does later."""
    try:
        with torch.no_grad():
            _, even = answer(a, lambda e: torch.full_like(e, 1 / e.shape[-1]))
    except TypeError:  # a function of its own, without this argument
        return None
    same = even.shape == alpha.shape and torch.allclose(even, alpha, atol=1e-3)
    return "you take no notice of `weigh`: hand it on to step" if same else None


@cache
def caption() -> tuple[Tensor, list[int], Tensor, dict[str, list[int]]]:
    """Give a (L, D) of the first scene of `SCENE`, what is told of it, and what mistakes tell."""
    decoder = load("scenes-soft").decoder
    pixels = torch.from_numpy(to_input(make_scenes(1, **SCENE)[0].image, SCENE_ENCODER.size))
    features = load_encoder(SCENE_ENCODER, bf16=False)(pixels[None])

    def follow(feed: bool = True, carry: bool = True, mean: bool = True) -> list[int]:
        """Tell, as `labkit.decoding.greedy` does where nothing is left out."""
        seen, first = decoder.look_at(features)
        state = first = first if mean else State(0 * first.h, 0 * first.c)
        told = [BOS]
        while len(told) <= LONGEST and told[-1] != EOS:
            last = torch.tensor([[told[-1] if feed else BOS]])
            log_p, after, _ = decoder.step(last, seen, state)
            state = after if carry else first
            told.append(log_p.argmax().item())
        return [word for word in told if word not in (BOS, EOS)]

    with torch.no_grad():
        (right,) = greedy(decoder, features, LONGEST)
        a = decoder.reduce(decoder.norm(features[0]))
        ids = right.words
        return a, ids, right.alpha, {
            "<bos> is where it begins, not a word that is told": [BOS, *ids],
            "<eos> ends the telling and is not part of the caption": [*ids, EOS],
            "<bos> and <eos> are no words of the caption": [BOS, *ids, EOS],
            "the last word is missing: only <eos> is left out": ids[:-1],
            "each step must be given the word that was told last, not <bos> each time":
                follow(feed=False),
            "each step must be given the h and c of the step before it, not the first ones":
                follow(carry=False),
            "the first h and c come from the mean annotation vector: call start(a)":
                follow(mean=False),
        }  # fmt: skip
