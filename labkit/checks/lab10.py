"""Checks of lab 10: effects with their controls, interventions, and the bootstrap over scenes."""

from collections.abc import Mapping, Sequence
from itertools import combinations, combinations_with_replacement, product
from typing import Any

import numpy as np
import torch

from labkit.checks import compare, exercise, first_problem, run, true_or_false
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
    """Check both losses, on one word of a scene with five objects: each mistake gives others."""
    table = {None: -0.4, 0: -0.2, 1: -6.4, 2: -1.8, 3: -0.7, 4: -1.0}
    own, others = 1, [0, 2, 3, 4]

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
        **{f"your control removes {one} of the other objects: take the mean over all":
           (lost, each[k]) for one, k in (("the first", 0), ("the last", -1))},
        "your control is the largest loss without another object: take the mean": (lost, max(each)),
        "your control is the median over the other objects: take the mean":
            (lost, float(np.median(each))),
        "a word may become likelier, and its loss is negative then: keep the sign":
            (lost, float(np.mean(np.abs(each)))),
        "your control is log p without the others: subtract it from log p in the whole scene":
            (lost, float(np.mean([table[j] for j in others]))),
        "your control is measured from the scene without the word's own object: measure it from "
        "the whole scene": (lost, lost - control),
        "the first number must be the loss alone: do not subtract the control from it":
            (lost - control, control),
        "your control is a sum over the other objects: take the mean": (lost, sum(each)),
        "those are differences of probabilities: keep the logarithms":
            (p[None] - p[own], float(np.mean([p[None] - p[j] for j in others]))),
        "those are ratios of probabilities: keep the logarithms":
            (p[None] / p[own], float(np.mean([p[None] / p[j] for j in others]))),
        "your control has the mean of probabilities: take the mean of the losses":
            (lost, table[None] - float(np.log(np.mean([p[j] for j in others])))),
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
    if not isinstance(got.weights, torch.Tensor):
        return f"`weights` must be a tensor, not {type(got.weights).__name__}"
    right = torch.zeros_like(alpha)
    right[..., place] = 1
    added = alpha.clone()
    added[..., place] = 1
    written = not torch.equal(given, alpha)
    return first_problem(
        "the look is the model's own: return a step with other `weights`, for the context is made "
        "with them"
        if torch.equal(got.weights, alpha) else None,
        compare(got.weights, right, "`weights`", {
            "the other regions keep their weights: they must be 0": added,
            "the region keeps the model's own weight: it must be 1": alpha * right,
            "the region gets no weight, and all others do: it is the other way round": 1 - right,
            "the other regions keep a part of their weights: they must be 0":
                added / added.sum(-1, keepdim=True),
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
    if any(len(_values(part, k)[0]) != 1 for k, part in enumerate(got)):
        return "each part must hold one picture: call `init_state` for `seen` and `first` apart"
    return {
        "sf": None,
        "fs": "the two are swapped: attention must look at `seen`, the state come from `first`",
        "ss": "both parts got `seen`: the state must come from `first`",
        "ff": "both parts got `first`: attention must look at `seen`",
    }.get(found, "the vectors have changed: pass `seen[None]` and `first[None]` as they are")


def _whose(part: EncodedImage | State, k: int, pairs: Mapping[str, tuple[Any, Any]]) -> str:
    """From which vectors a part was made; "?" if from neither, or from both."""
    mine = _values(part, k)
    for whose, pair in pairs.items():
        theirs = _values(pair[k], k)
        if all(a.shape == b.shape and torch.allclose(a, b, atol=1e-5)
               for a, b in zip(mine, theirs, strict=True)):  # fmt: skip
            return whose
    return "?"


def _values(part: EncodedImage | State, k: int) -> list[torch.Tensor]:
    """What an image (k = 0) or a state (k = 1) holds of the vectors."""
    return [getattr(part, name) for name in (("a", "keys", "exp_keys"), ("h", "c"))[k]]


BY_SCENE = [np.array(some, float) for some in ([0], [0, 1, 2], [3, 5])]
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
            "the same generator gives another mean the second time: draw with `rng`"
            if _repeated(answer) != _repeated(answer) else None,
        )  # fmt: skip
    sets = [some for size in (1, 2, 3) for some in combinations(BY_SCENE, size)]
    mistakes = {
        "a scene that is drawn twice must bring its cases twice":
            {_rounded(np.concatenate(some).mean()) for some in sets},
        "that is the mean of the scenes' means: each case must count the same":
            _means([one.mean(keepdims=True) for one in BY_SCENE], 3),
        "a scene brings one of its cases: it must bring all of them":
            {_rounded(np.mean(some)) for scenes in combinations_with_replacement(BY_SCENE, 3)
             for some in product(*scenes)},
        "you drew cases: those of a scene are not independent, so draw scenes, each with all its "
        "cases": _means([VALUES[k : k + 1] for k in range(6)], 6),
        "you drew a scene for each case: draw as many scenes as there are": _means(BY_SCENE, 6),
        "you drew again among the cases of a scene: bring each of them once for each time that the "
        "scene is drawn": _means_drawn_twice(),
    }  # fmt: skip
    strange = next(mean for mean in found if _rounded(mean) not in _means(BY_SCENE, 3))
    other = f"one draw has the mean {strange:.4g}: no three scenes that may be drawn have it"
    return next((sentence for sentence, means in mistakes.items() if got <= means), other)


def _means(parts: Sequence[np.ndarray], size: int) -> set[float]:
    """The means that can come out if `size` of the parts are drawn, with replacement."""
    drawn = combinations_with_replacement(parts, size)
    return {_rounded(np.concatenate(some).mean()) for some in drawn}


def _means_drawn_twice() -> set[float]:
    """The means that can come out if scenes are drawn, and then cases in each of them."""
    means = set()
    for scenes in combinations_with_replacement(BY_SCENE, 3):
        sums, cases = {0.0}, 0
        for some in scenes:
            for _ in some:
                sums = {old + new for old in sums for new in some}
            cases += len(some)
        means |= {_rounded(total / cases) for total in sums}
    return means


def _repeated(answer: Any) -> list[float]:
    """The means of some draws with one generator, the same at each call."""
    rng = np.random.default_rng(1)
    return [_rounded(answer(VALUES.copy(), SCENES.copy(), rng)) for _ in range(20)]


def _rounded(mean: float) -> float:
    return round(float(mean), 6)


@exercise("10.5", "Enter True or False for each claim in `claims`.")
def conclusions(answer: Any) -> str | None:
    """Check the conclusions against what this lab has measured."""
    need, maps, share, false, points = CLAIMS
    why = {
        need: "compare what the word loses without its object with the control",
        maps: "its loss comes through the first state, and its word does not follow a look",
        share: "losses of parts need not add up; attention alone was measured, and loses 0.1",
        false: "its context was made of that region alone: the map is true, but the word mostly "
               "came from elsewhere",
        points: "compare soft with hard: where do they look at the colour word, and what follows?",
    }  # fmt: skip
    return true_or_false(answer, CLAIMS, why, "claim")
