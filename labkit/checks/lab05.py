"""Checks of lab 5: training."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from labkit.checks import compare, exercise, first_problem
from labkit.data.vocabulary import PAD

CAPTIONS = torch.tensor(  # two captions of 5 and 3 words, <eos> among them
    [[1, 4, 6, 5, 7, 2], [1, 8, 4, 2, 0, 0]]
)
WORDS, REGIONS = 9, 6


def numbers(*shape: int) -> Tensor:
    """Return random numbers, the same on every call."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(5))


@exercise("5.1", "Set `steps` to the number of steps in an epoch.")
def steps(answer: Any) -> str | None:
    """Check the number of steps in an epoch over COCO's captions."""
    mistakes = {
        "the last batch is smaller, but it is a step, too: round up": 4_141,
        "that is not a whole number: the last batch is smaller, so round up": 4_141.13,
        "a sample is a caption, not a photograph": 828,
        "a sample is a caption, and not every photograph has exactly five": 4_140,
        "that is the number of samples; a step takes 100 of them": 414_113,
    }
    return compare(answer, 4_142, "steps", mistakes, tolerance=1e-7)


@exercise("5.2", "Write `word_loss(log_p, captions)`: the mean of -log p over the words.")
def word_loss(answer: Callable[..., Any]) -> str | None:
    """Check the loss of two captions, one with padding, and its gradient."""
    scores = numbers(2, 5, WORDS).requires_grad_()
    log_p = scores.log_softmax(-1)
    targets, inputs = CAPTIONS[:, 1:], CAPTIONS[:, :-1]
    mask = targets != PAD

    def nll_of(words: Tensor) -> Tensor:
        return -log_p.gather(2, words[..., None])[..., 0]

    nll = nll_of(targets)
    right = nll[mask].mean()
    without_eos = mask & (targets != 2)
    mistakes = {
        "padding was counted as if it were words: leave out the targets that are <pad>": nll.mean(),
        "you divided by 10, but there are 8 targets: neither <pad> nor <bos> is one": (
            nll[mask].sum() / 10
        ),
        "that is the sum; divide by the number of words": nll[mask].sum(),
        "that is the sum divided by the number of captions; divide by the number of words": (
            nll[mask].sum() / 2
        ),
        "that is the mean of each caption's mean: take the mean over all words": torch.stack(
            [one[words].mean() for one, words in zip(nll, mask, strict=True)]
        ).mean(),
        "the words were not shifted by one: the targets are captions[:, 1:]": nll_of(inputs)[
            inputs != PAD
        ].mean(),
        "<eos> counts as a word, too: the model has to predict the end": nll[without_eos].mean(),
        "the sign is wrong: the loss is -log p": -right,
    }
    got = answer(log_p, CAPTIONS)
    return first_problem(
        compare(got, right, "the loss", mistakes), _gradient(got, right, scores, "the loss")
    )


@exercise(
    "5.3", "Write `penalty(alpha, captions, target=1.0)`: the doubly stochastic term per word."
)
def penalty(answer: Callable[..., Any]) -> str | None:
    """Check the term for two targets, and its gradient."""
    scores = numbers(2, 5, REGIONS).requires_grad_()
    alpha = scores.softmax(-1)
    targets, inputs = CAPTIONS[:, 1:], CAPTIONS[:, :-1]
    mask = targets != PAD
    count, shown = mask.sum(), alpha * mask[..., None]

    def both(term: Callable[[float], Tensor]) -> Tensor:
        return torch.stack([term(1.0), term(0.25)])

    def masked(by: Tensor) -> Tensor:
        received = (alpha * by[..., None]).sum(1)
        return both(lambda target: (target - received).square().sum() / by.sum())

    right = masked(mask)
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
        "you divided by 10, but there are 8 targets: no <pad>, no <bos>": right * count / 10,
        "the mask must follow the targets, captions[:, 1:]": masked(inputs != PAD),
        "<eos> is a word, too: its step counts": masked(mask & (targets != 2)),
        "square after summing over the steps, not before": both(
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
    """Check what a target of 16/196 does to the gradient."""
    hint = "which part of the sum of (target - s_i)^2 depends on the weights, if all s_i sum to T?"
    mistakes = {
        f"the target does not scale the gradient; {hint}": 16 / 196,
        f"neither the target nor its square scales the gradient; {hint}": (16 / 196) ** 2,
        f"the gradient does not vanish; {hint}": 0,
        f"that is the inverse, and the target does not scale the gradient anyway; {hint}": 196 / 16,
    }
    if problem := compare(answer, 1.0, "the factor", mistakes, tolerance=0.03):
        if problem in mistakes or "should be" not in problem:
            return problem
        return f"it is not {float(answer):.3g}: measure it with `penalty_gradient`"
    return None


def _gradient(got: Any, right: Tensor, scores: Tensor, name: str) -> str | None:
    """Say so if an answer has no gradient, or a wrong one."""
    if not (isinstance(got, Tensor) and got.requires_grad):
        return f"{name} has the right value but no gradient: use torch, without .item() or .data"
    mine, true = (torch.autograd.grad(x, scores, retain_graph=True)[0] for x in (got, right))
    return compare(mine, true, f"the gradient of {name}")
