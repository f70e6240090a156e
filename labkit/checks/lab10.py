"""Checks of lab 10: effects with their controls, interventions, and the bootstrap over scenes."""

from collections.abc import Mapping, Sequence
from itertools import combinations, combinations_with_replacement
from typing import Any

import numpy as np
import torch

from labkit.checks import Unanswered, compare, exercise, first_problem, run
from labkit.model.attention import AttentionStep, EncodedImage
from labkit.model.config import ModelConfig
from labkit.model.decoder import Decoder, State

CLAIMS = {
    "the third model's colour words need the object": True,
    "the third model's maps explain its colour words": False,
    "its attention accounts for 4.9 - 4.2 = 0.7 nats": False,
    "the hard model did not look where its maps say": False,
    "a model that points better has words that follow their look more often": False,
}


@exercise("10.1", "Write `effect(log_p, own, others)`: the loss without its object, the control.")
def effect(answer: Any) -> str | None:
    """Check both losses, on one word of a scene with four objects."""
    table = {None: -0.2, 0: -0.9, 1: -6.2, 2: -0.3, 3: -0.6}
    own, others = 1, [0, 2, 3]

    def log_p(j: int | None) -> float:
        if j is not None and np.ndim(j):
            raise TypeError("log_p takes the number of one object, or None")
        return table[j]

    got = run(answer, log_p, own, others, name="effect")
    lost = table[None] - table[own]
    each = [table[None] - table[j] for j in others]
    control = float(np.mean(each))
    missing = ("the control is missing: return two numbers, since without it nobody knows whether "
               "removing anything at all would do the same")  # fmt: skip
    if isinstance(got, tuple | list) and any(map(np.ndim, got)):
        return "return two numbers: if there are several others, the control is the mean over them"
    if np.ndim(got) == 0 or np.size(got) == 1:
        subtracted = compare(got, lost - control) is None
        return "return the loss and the control, not their difference" if subtracted else missing
    p = {j: np.exp(value) for j, value in table.items()}
    return compare(got, (lost, control), "the pair", {
        "the signs are wrong: a loss is positive if the word became less likely": (-lost, -control),
        "the two are swapped: first the loss without its own object": (control, lost),
        "that is log p without the object: subtract it from log p in the whole scene":
            (table[own], float(np.mean([table[j] for j in others]))),
        "your control removes nothing: it must remove another object": (lost, 0.0),
        "your control is log p of the whole scene: it must be a loss, with another object removed":
            (lost, table[None]),
        "your control removes the word's own object, too: take the others only":
            (lost, float(np.mean([lost, *each]))),
        "your control removes one of the other objects: take the mean over all": (lost, each[0]),
        "your control is a sum over the other objects: take the mean": (lost, sum(each)),
        "those are differences of probabilities: keep the logarithms":
            (p[None] - p[own], float(np.mean([p[None] - p[j] for j in others]))),
    })  # fmt: skip


@exercise("10.2", "Write `look_at(step, place)`: a step that looks at one region only.")
def look_at(answer: Any) -> str | None:
    """Check the weights, and that the model's own map is kept."""
    alpha = torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(1)).softmax(-1)
    given, place = alpha.clone(), 3
    step = AttentionStep(given, given, entropy=torch.ones(2, 3))
    got = run(answer, step, place, name="look_at")
    if not isinstance(got, AttentionStep):
        return "return a step, not a tensor: `replace(step, weights=...)`"
    right = torch.zeros_like(alpha)
    right[..., place] = 1
    added = alpha.clone()
    added[..., place] = 1
    written = not torch.equal(given, alpha)
    return first_problem(
        "the look is the model's own: replace `weights`, which the context is made with"
        if torch.equal(got.weights, alpha) else None,
        compare(got.weights, right, "`weights`", {
            "the other regions keep their weights: they must be 0": added,
            "the region keeps the model's own weight: it must be 1": alpha * right,
            "the region gets no weight, and all others do: it is the other way round": 1 - right,
        }),
        "`alpha` has changed, too: make a new tensor, because for soft attention `alpha` and "
        "`weights` are the same one" if written else None,
        "`alpha` is not the model's own any more: replace `weights` only"
        if not torch.equal(got.alpha, alpha) else None,
        "the step has lost its other parts: `replace` keeps them" if got.entropy is None else None,
    )  # fmt: skip


class Patient(Decoder):
    """A decoder that says what is wrong with the vectors that it gets."""

    def init_state(self, a: Any, *more: Any, **named: Any) -> tuple[EncodedImage, State]:
        """Do what a decoder does."""
        if more or named:
            raise TypeError("init_state takes the vectors of one picture here: call it twice")
        if np.ndim(a) != 3:
            raise ValueError("init_state takes N pictures: add an axis, as in `seen[None]`")
        return super().init_state(a)


@exercise("10.3", "Write `split(decoder, seen, first)`: image from `seen`, state from `first`.")
def split(answer: Any) -> str | None:
    """Check which vectors each part got."""
    rng = torch.Generator().manual_seed(2)
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(3)
        decoder = Patient(ModelConfig(vocab_size=12, encoder_dim=8, hidden_dim=16)).eval()
        seen, first = torch.randn(2, 6, 8, generator=rng)  # (6, 8) each
        got = run(answer, decoder, seen, first, name="split")
        pairs = {name: decoder.init_state(a[None]) for name, a in (("s", seen), ("f", first))}
    if not (isinstance(got, tuple | list) and len(got) == 2):
        return "return two things: the image that attention looks at, and the first state"
    if isinstance(got[0], State) and isinstance(got[1], EncodedImage):
        return "the order is wrong: first the image, then the state, as `init_state` does"
    if not (isinstance(got[0], EncodedImage) and isinstance(got[1], State)):
        return "call `decoder.init_state` for each part: it returns an image and a state"
    found = "".join(_whose(value, k, pairs) for k, value in enumerate(got))
    return {
        "sf": None,
        "fs": "the two are swapped: attention must look at `seen`, the state come from `first`",
        "ss": "both parts got `seen`: the state must come from `first`",
        "ff": "both parts got `first`: attention must look at `seen`",
    }.get(found, "the vectors have changed: pass `seen[None]` and `first[None]` as they are")


def _whose(part: EncodedImage | State, k: int, pairs: Mapping[str, tuple]) -> str:
    """From which vectors a part was made; "?" if from neither."""
    name = ("a", "h")[k]
    mine = getattr(part, name)
    for whose, pair in pairs.items():
        other = getattr(pair[k], name)
        if mine.shape == other.shape and torch.allclose(mine, other, atol=1e-5):
            return whose
    return "?"


BY_SCENE = [np.array(some, float) for some in ([0], [1, 1, 1], [4, 4])]
VALUES, SCENES = np.concatenate(BY_SCENE), np.array([5, 7, 7, 7, 9, 9])
DRAWS = 1000


@exercise("10.4", "Write `resampled_mean(values, scenes, rng)`: the mean of all cases of one draw.")
def resampled_mean(answer: Any) -> str | None:
    """Draw often, and see which means come out: each mistake has others."""
    rng = np.random.default_rng(0)
    found = [run(answer, VALUES.copy(), SCENES.copy(), rng, name="resampled_mean")]
    if np.ndim(found[0]):
        return "return one number: the mean of all cases of the scenes that were drawn"
    found += [answer(VALUES.copy(), SCENES.copy(), rng) for _ in range(DRAWS)]
    if not np.isfinite(found).all():
        return (
            "a draw has no cases: the numbers of the scenes have gaps, so draw from these numbers"
        )
    got = {_rounded(mean) for mean in found}
    if len(got) == 1:
        unchanged = "all scenes are there once: draw with replacement"
        return unchanged if got == {_rounded(VALUES.mean())} else (
            "each call gives the same mean: use the generator `rng` that is given")  # fmt: skip
    if got <= _means(BY_SCENE, 3):
        often = sum(_rounded(mean) == 1 for mean in found) / len(found)  # the second one thrice
        return first_problem(
            "some means never come out: draw as many scenes as there are" if len(got) < 8 else None,
            "scenes with many cases are drawn more often: draw from each scene's number once"
            if often > 2 / 27 else None,
        )  # fmt: skip
    sets = [some for size in (1, 2, 3) for some in combinations(BY_SCENE, size)]
    mistakes = {
        "a scene that is drawn twice must bring its cases twice":
            {_rounded(np.concatenate(some).mean()) for some in sets},
        "that is the mean of the scenes' means: each case must count the same":
            _means([one.mean(keepdims=True) for one in BY_SCENE], 3),
        "you drew cases: those of a scene are not independent, so draw scenes, each with all its "
        "cases": _means([VALUES[k : k + 1] for k in range(6)], 6),
        "you drew a scene for each case: draw as many scenes as there are": _means(BY_SCENE, 6),
    }  # fmt: skip
    other = f"one draw has the mean {found[0]:.4g}, which no three of these three scenes have"
    return next((sentence for sentence, means in mistakes.items() if got <= means), other)


def _means(parts: Sequence[np.ndarray], size: int) -> set[float]:
    """The means that can come out if `size` of the parts are drawn, with replacement."""
    drawn = combinations_with_replacement(parts, size)
    return {_rounded(np.concatenate(some).mean()) for some in drawn}


def _rounded(mean: float) -> float:
    return round(float(mean), 6)


@exercise("10.5", "Enter True or False for each claim in `claims`.")
def conclusions(answer: Any) -> str | None:
    """Check the conclusions against what this lab has measured."""
    if not isinstance(answer, Mapping) or {..., None} & set(answer.values()):
        raise Unanswered
    missing = [claim for claim in CLAIMS if claim not in answer]
    need, maps, share, false, points = CLAIMS
    why = {
        need: "compare what the word loses without its object with the control",
        maps: "its loss comes through the first state, and its word does not follow a look",
        share: "losses of parts need not add up; attention alone was measured, and loses 0.1",
        false: "its context was made of that region alone: the map is true, but the word came from "
               "an earlier look",
        points: "compare soft with hard: where do they look at the colour word, and what follows?",
    }  # fmt: skip
    wrong = (f"'{c}': {why[c]}" for c, right in CLAIMS.items() if answer.get(c) != right)
    return first_problem(
        f"the claim '{missing[0]}' is missing: keep the keys as they are" if missing else None,
        next(wrong, None),
    )
