"""Checks of lab 5: training."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from labkit.checks import compare, exercise, first_problem
from labkit.vocabulary import PAD

CAPTIONS = torch.tensor(  # two captions of 5 and 3 words, <eos> among them
    [[1, 4, 6, 5, 7, 2], [1, 8, 4, 2, 0, 0]]
)
WORDS, REGIONS = 9, 6


def numbers(*shape: int) -> Tensor:
    """Draw numbers, always the same."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(5))


@exercise("5.1", "Set `steps` to the number of steps in an epoch.")
def steps(answer: Any) -> str | None:
    """Judge the steps of an epoch over COCO's captions."""
    mistakes = {
        "the last step is short, but it is a step: round up": 4_141,
        "that is no whole number: the last step is short, round up": 4_141.13,
        "a sample is a caption, not a photograph": 828,
        "a sample is a caption, and not every photograph has exactly five": 4_140,
        "that is the number of samples; a step takes 100 of them": 414_113,
    }
    return compare(answer, 4_142, "steps", mistakes, tolerance=1e-7)


@exercise("5.2", "Write `word_loss(log_p, captions)`: the mean of -log p over the words.")
def word_loss(answer: Callable) -> str | None:
    """Judge a loss of two captions, one with padding, and its gradient."""
    scores = numbers(2, 5, WORDS).requires_grad_()
    log_p = scores.log_softmax(-1)
    asked, given = CAPTIONS[:, 1:], CAPTIONS[:, :-1]
    there = asked != PAD

    def surprise(words: Tensor) -> Tensor:
        return -log_p.gather(2, words[..., None])[..., 0]

    told = surprise(asked)
    right = told[there].mean()
    no_end = there & (asked != 2)
    mistakes = {
        "padding was counted as if it were words: leave out where asked is <pad>": told.mean(),
        "you divided by 10, but 8 words are asked for: no padding, and no <bos>": (
            told[there].sum() / 10
        ),
        "that is the sum; divide by the number of words": told[there].sum(),
        "that is the sum divided by the number of captions; divide by the number of words": (
            told[there].sum() / 2
        ),
        "that is the mean of each caption's mean: take the mean of all words": torch.stack(
            [one[mask].mean() for one, mask in zip(told, there, strict=True)]
        ).mean(),
        "the words were not moved by one: asked for is captions[:, 1:]": surprise(given)[
            given != PAD
        ].mean(),
        "<eos> is a word, too: the end must be told": told[no_end].mean(),
        "the sign is wrong: the loss is -log p": -right,
    }
    got = answer(log_p, CAPTIONS)
    return first_problem(
        compare(got, right, "the loss", mistakes), _gradient(got, right, scores, "the loss")
    )


@exercise("5.3", "Write `penalty(alpha, captions, target=1.0)`: the doubly stochastic term a word.")
def penalty(answer: Callable) -> str | None:
    """Judge the term for two targets, and its gradient."""
    scores = numbers(2, 5, REGIONS).requires_grad_()
    alpha = scores.softmax(-1)
    asked, given = CAPTIONS[:, 1:], CAPTIONS[:, :-1]
    there = asked != PAD
    count, shown = there.sum(), alpha * there[..., None]

    def both(term: Callable[[float], Tensor]) -> Tensor:
        return torch.stack([term(1.0), term(0.25)])

    def masked(mask: Tensor) -> Tensor:
        got = (alpha * mask[..., None]).sum(1)
        return both(lambda target: (target - got).square().sum() / mask.sum())

    right = masked(there)
    mistakes = {
        "padding was counted: set its weights to 0 before you sum over the steps": both(
            lambda target: (target - alpha.sum(1)).square().sum() / count
        ),
        "you summed over the regions, where the sum is 1 anyway: sum over the steps, axis 1": both(
            lambda target: (target - shown.sum(2)).square().sum() / count
        ),
        "you summed over the regions, and counted padding: sum over the steps, axis 1": both(
            lambda target: (target - alpha.sum(2)).square().sum() / count
        ),
        "you took the mean over the regions; take the sum": both(
            lambda target: (target - shown.sum(1)).square().mean(1).sum() / count
        ),
        "you took the mean over regions and captions; take the sum, and divide by the words": both(
            lambda target: (target - shown.sum(1)).square().mean()
        ),
        "that is the sum; divide by the number of words": right * count,
        "you divided by the number of captions; divide by the number of words": right * count / 2,
        "you divided by 10, but 8 words are asked for: no padding, no <bos>": right * count / 10,
        "the mask belongs to the words that are asked for: captions[:, 1:]": masked(given != PAD),
        "<eos> is a word, too: its step counts": masked(there & (asked != 2)),
        "square after the sum over the steps, not before": both(
            lambda target: (target - shown).square().sum() / count
        ),
        "the square is missing": both(lambda target: (target - shown.sum(1)).sum() / count),
        "`target` was not used": torch.stack([right[0], right[0]]),
    }
    got = [answer(alpha.clone(), CAPTIONS), answer(alpha.clone(), CAPTIONS, 0.25)]
    return first_problem(
        compare(got if None not in got else None, right, "the term", mistakes),
        _gradient(got[0], right[0], scores, "the term"),
    )


@exercise("5.4", "Set `factor` to your guess, or to what you have measured.")
def factor(answer: Any) -> str | None:
    """Judge what a target of 16/196 does to the gradient."""
    hint = "which part of the sum of (target - s_i)^2 depends on the weights, if all s_i sum to T?"
    mistakes = {
        f"the target does not scale the gradient; {hint}": 16 / 196,
        f"the target does not scale the gradient, nor its square; {hint}": (16 / 196) ** 2,
        f"the gradient does not vanish; {hint}": 0,
        f"that is the other way round, and the target does not scale it anyway; {hint}": 196 / 16,
    }
    if problem := compare(answer, 1.0, "the factor", mistakes, tolerance=0.03):
        known = problem in mistakes or "should be" not in problem
        return problem if known else f"it is not {float(answer):.3g}: measure it with `push`"
    return None


def _gradient(got: Any, right: Tensor, scores: Tensor, name: str) -> str | None:
    """Say so if what an answer gives cannot be learned from."""
    if not (isinstance(got, Tensor) and got.requires_grad):
        return f"{name} has the right value but no gradient: use torch, without .item() or .data"
    mine, true = (torch.autograd.grad(x, scores, retain_graph=True)[0] for x in (got, right))
    return compare(mine, true, f"the gradient of {name}")
