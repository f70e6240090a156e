"""Checks of lab 11: rewards of whole captions, a loss that learns from them, and their price."""

import re
from collections.abc import Callable
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import torch
from torch import Tensor

from labkit.checks import compare, exercise, first_problem, run, true_or_false
from labkit.data.scenes import Thing, holds, is_true, objects_right, read_caption

SCENE = [
    Thing("small", "red", "circle", 0.2, 0.8, 0.2),
    Thing("large", "blue", "star", 0.7, 0.7, 0.36),
    Thing("large", "red", "circle", 0.3, 0.25, 0.36),
]
TRUE = [
    "a small red circle and a large blue star",
    "a large red circle is above a blue star",
    "there is a large red circle above a small red circle",
    "a blue star",
    "a small red circle and a red circle and a blue star",
]
FALSE = [
    "a large red circle is below a large blue star",  # the relation alone is false
    "a small red circle and a small blue star",  # one phrase is false
    "a blue star and a large blue star",  # one shape, named twice
    *("a small green square and a white cross", "a red circle red", ""),
]
CAPTIONS = [*TRUE, *FALSE]


def _each(worth: Callable[[str], float]) -> list[float]:
    return [float(worth(caption)) for caption in CAPTIONS]


def _true(caption: str) -> float:
    return float(is_true(caption, SCENE))


def _phrases_right(caption: str) -> float:
    right, count = objects_right(caption, SCENE)
    return right / max(count, 1)


def _true_of_one_shape_twice(caption: str) -> bool:
    """As `is_true`, but two phrases may fit the same shape."""
    phrases, links = read_caption(caption) or ([], [])
    chosen = product(*([one for one in SCENE if phrase.fits(one)] for phrase in phrases))
    return bool(phrases) and any(
        all(link is None or holds(link, *some[k : k + 2]) for k, link in enumerate(links))
        for some in chosen
    )


@exercise("11.1", "Write `truth(caption, things)`: 1 if the whole caption is true, else 0.")
def truth(answer: Any) -> str | None:
    """Judge eleven captions of one scene."""
    got = [run(answer, caption, list(SCENE), name="truth") for caption in CAPTIONS]
    right = _each(_true)
    return compare(got, right, "the list of all rewards", {
        "it is the other way round: 1 for a true caption": [1 - one for one in right],
        "a false caption gets -1: give it 0": [2 * one - 1 for one in right],
        "that is the share of phrases that are right: one false phrase makes the caption false":
            _each(_phrases_right),
        "that is the number of phrases that are right: a reward for each phrase pays for more of "
        "them": _each(lambda caption: objects_right(caption, SCENE)[0]),
        "one right phrase is enough for you: the whole caption must be true":
            _each(lambda caption: _phrases_right(caption) > 0),
        "you judge the phrases only: the relation must be true, too":
            _each(lambda caption: is_true(_with_and(caption), SCENE)),
        "a shape may be named twice: two phrases must fit two different shapes":
            _each(_true_of_one_shape_twice),
        "that rewards each caption that can be read: it must also be true of the scene":
            _each(lambda caption: read_caption(caption) is not None),
        "each caption gets the same reward, so nothing can be learned": [1.0] * len(CAPTIONS),
    })  # fmt: skip


@exercise("11.2", "Write `advantage(reward)`: (N, K) -> (N, K), less the mean of the others.")
def advantage(answer: Any) -> str | None:
    """Check the leave-one-out baseline."""
    rng = torch.Generator().manual_seed(1)
    reward = torch.rand(3, 4, generator=rng, dtype=torch.float64).round(decimals=2)
    mean, others = reward.mean(1, keepdim=True), (reward.sum(1, keepdim=True) - reward) / 3
    of_other_pictures = (reward.sum(0, keepdim=True) - reward) / (len(reward) - 1)
    got = run(answer, reward.clone(), name="advantage")
    return compare(got, reward - others, "the advantage", {
        "the sign is wrong: a caption that is better than the others has a positive advantage":
            others - reward,
        "that is the baseline: subtract it from the reward": others,
        "the baseline is missing: that is the reward itself": reward,
        "your baseline knows the sample: the mean contains the caption's own reward. That only "
        "makes all advantages (K - 1) / K of the right ones, but take the mean of the others":
            reward - mean,
        "that is the sum of the others: take their mean": reward - others * 3,
        "the others are divided by K: there are K - 1 of them":
            reward - others * 3 / 4,
        "that compares a caption with those of other pictures: the samples of a picture are a row":
            reward - of_other_pictures,
        "that is one mean for all pictures: some are harder than others, so compare within a row":
            reward - reward.mean(),
        "your baseline knows the sample: the best caption of a picture is one of those that are "
        "judged": reward - reward.amax(1, keepdim=True),
        "do not divide by the standard deviation: it depends on the sample":
            (reward - mean) / reward.std(1, keepdim=True),
        "do not divide by the standard deviation, which depends on the sample":
            (reward - mean) / reward.std(1, correction=0, keepdim=True),
    })  # fmt: skip


@exercise("11.3", "Write `loss(advantage, log_p, mask)`: (N, K), (N, K, T), (N, K, T) -> ().")
def loss(answer: Any) -> str | None:
    """Check the gradient of log p, and that nothing else has one."""
    n, k, t = 2, 3, 5
    rng = torch.Generator().manual_seed(2)
    log_p = (torch.rand(n, k, t, generator=rng) - 2).requires_grad_()
    given = torch.randn(n, k, generator=rng).requires_grad_()
    lengths = torch.tensor([[5, 2, 3], [1, 4, 5]])
    mask = (torch.arange(t) < lengths[..., None]).float()
    found = run(answer, given, log_p, mask, name="loss")
    if not (torch.is_tensor(found) and found.shape == ()):
        return compare(found, torch.zeros(()), "the loss")
    got, a = _gradient(found, log_p), given.detach()[..., None]
    right = -a * mask
    before_the_end = (torch.arange(t) < lengths[..., None] - 1).float()
    by_length = right / lengths[..., None]
    pays_for_length = ("that is a mean over each caption's words, which pays for length: in a long "
                       "false caption each word")  # fmt: skip
    return first_problem(
        _multiple(got, right) or compare(got, right, "the gradient of log p", {
            "its gradient makes good captions less likely: a loss is minimised, mind the sign":
                -right,
            "words after <eos> count: multiply by the mask": -a.expand_as(mask),
            "<eos> itself is a choice, too: when to stop is learned by it": -a * before_the_end,
            f"{pays_for_length} is blamed less": by_length,
            f"{pays_for_length} has less of the blame": by_length / (n * k),
            "the advantage is missing: all captions become more likely, good or bad": -mask,
            "that is p, not log p: keep the logarithm": -a * log_p.exp() * mask,
            "log p gets no gradient: detach the advantage, not the choice":
                torch.zeros_like(right),
            "only the first word learns: all words of a caption have earned its reward":
                -a * mask * (torch.arange(t) == 0),
            "captions that are worse than the others teach nothing: keep negative advantages":
                right * (a > 0),
        }),
        "a gradient flows through the advantage: detach it"
        if _gradient(found, given).any() else None,
    )  # fmt: skip


def _gradient(value: Tensor, wrt: Tensor) -> Tensor:
    """The gradient with respect to `wrt`; zero where there is none."""
    if not value.requires_grad:
        return torch.zeros_like(wrt)
    (grad,) = torch.autograd.grad(value, wrt, allow_unused=True, retain_graph=True)
    return torch.zeros_like(wrt) if grad is None else grad


def _multiple(got: Tensor, right: Tensor) -> str | None:
    """What to say if `got` is a fraction of `right`: a mean in the place of a sum."""
    factor = float((got * right).sum() / right.square().sum())
    if 0 < factor < 0.999 and torch.allclose(got, factor * right, atol=1e-5):
        return f"its gradient is {factor:.3g} times the right one: take a sum, not a mean"
    return None


GUESSES = {
    "fewer captions state a relation": True,
    "captions become shorter": True,
    "fewer shapes are given with their size": True,
    "most captions name a single shape": False,
    "captions of no words become common": False,
}


@exercise("11.4", "Enter True or False for each guess in `guesses`.")
def guesses(answer: Any) -> str | None:
    """Check the guesses against what the run has shown."""
    fewer, shorter, sizes, single, none = GUESSES
    why = {
        fewer: "look at the curve of relations: a relation can be false, *and* cannot",
        shorter: "look at the number of words: what is not said cannot be false",
        sizes: "look at the curve of sizes: it falls slowly, since sizes are seldom wrong",
        single: "it would be true more often, but this model hardly ever samples such a caption, "
                "and what is never sampled is never rewarded",
        none: "it says nothing that is true, so it has no reward",
    }  # fmt: skip
    return true_or_false(answer, GUESSES, why, "guess")


def _with_and(caption: str) -> str:
    """*And* in the place of each relation."""
    return re.sub(r"( is)? (left of|right of|above|below) ", " and ", caption)


RELATED = [
    "a large red circle is above a blue star",
    "there is a red circle left of an orange star",
    "a small red cross and a white star",
    "there is a small red star is right of a black cross",
]


@exercise("11.5", "Write `say_less(caption)`: the caption with *and* in place of its relation.")
def say_less(answer: Any) -> str | None:
    """Read what it makes of four captions."""
    for caption in RELATED:
        made = run(answer, caption, name="say_less")
        if not isinstance(made, str):
            return f"return the caption, a string, not {type(made).__name__}"
        if problem := _said_less(caption, made):
            return f"{problem} ('{caption}' becomes '{made}')"
    return None


def _said_less(caption: str, made: str) -> str | None:
    asked, after = read_caption(caption), read_caption(made)
    if asked is None or after is None:
        return "that is no caption of the grammar: take away all words of the relation, and *is*"
    (before, _), (phrases, links) = asked, after
    sizeless = [replace(phrase, size=None) for phrase in before]
    return first_problem(
        "the relation is still there" if any(links) else None,
        "a shape is missing: keep both phrases" if len(phrases) < len(before) else None,
        "the sizes are gone: only the relation goes" if phrases == sizeless != before else None,
        "the phrases have changed: only the relation goes" if phrases != before else None,
    )


@exercise("11.6", "Write `worth(caption, things, relation)`: truth times the share of facts told.")
def worth(answer: Any) -> str | None:
    """Judge the captions of 11.1, with a relation that counts 1, and one that counts 3."""
    return first_problem(*(_worth(answer, relation) for relation in (1, 3)))


def _worth(answer: Any, relation: int) -> str | None:
    got = [run(answer, one, list(SCENE), relation, name="worth") for one in CAPTIONS]
    total = 4 + relation

    def each(formula: Callable[[float, int, int, int], float]) -> list[float]:
        told = [map(min, _told(one), (2, 2, 1)) for one in CAPTIONS]
        return [formula(_true(one), *some) for one, some in zip(CAPTIONS, told, strict=True)]

    right = each(lambda true, n, sizes, links: true * (n + sizes + relation * links) / total)
    mistakes = {
        "false captions are paid, too: multiply by the truth":
            each(lambda true, n, sizes, links: (n + sizes + relation * links) / total),
        "truth and share are added, so false captions are paid, too: multiply them":
            each(lambda true, n, sizes, links: true + (n + sizes + relation * links) / total),
        "that is a number of facts: divide by 4 + relation": [one * total for one in right],
        "all true captions get the same: multiply by the share of facts":
            each(lambda true, *_: true),
        "the sizes are not counted":
            each(lambda true, n, sizes, links: true * (n + relation * links) / total),
        "the shapes are not counted":
            each(lambda true, n, sizes, links: true * (sizes + relation * links) / total),
        "the relation is not counted": each(lambda true, n, sizes, _: true * (n + sizes) / total),
        "you divide by 5: with another weight of the relation the full caption must still get 1":
            [one * total / 5 for one in right],
        "the relation counts 1, whatever its weight":
            each(lambda true, n, sizes, links: true * (n + sizes + links) / total),
        "more than two shapes, two sizes and one relation are not paid":
            [_true(one) * float(np.dot(_told(one), (1, 1, relation))) / total for one in CAPTIONS],
    }  # fmt: skip
    mistakes = {sentence: each for sentence, each in mistakes.items() if each != right}
    return compare(got, right, f"the list of all rewards, with relation={relation}", mistakes)


def _told(caption: str) -> tuple[int, int, int]:
    """How many shapes, sizes and relations a caption tells."""
    phrases, links = read_caption(caption) or ([], [])
    sizes = sum(phrase.size is not None for phrase in phrases)
    return len(phrases), sizes, sum(link is not None for link in links)


@exercise("11.7", "Write `least_weight(told, untold)`: from which weight on a relation pays.")
def least_weight(answer: Any) -> str | None:
    """Check the weight at which both captions are worth the same."""
    told, untold = 0.5, 0.7
    right = 4 * (untold / told - 1)
    return compare(run(answer, told, untold, name="least_weight"), right, "the weight", {
        "the two are swapped: without the relation more captions are true":
            4 * (told / untold - 1),
        "that is the difference of the shares: compare the rewards": untold - told,
        "that is what a relation costs of the truth: solve for its weight": 1 - told / untold,
        "without the relation four facts are told, not one": untold / told - 1,
        "the weight is in the divisor, too: the share without the relation is 4 / (4 + w)":
            4 * untold / told,
    })  # fmt: skip
