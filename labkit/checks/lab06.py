"""Checks of lab 6: ways to learn where to look, on a table of T words and L regions.

The table gives log p of each word from each region, so every gradient can be computed exactly.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from labkit.checks import compare, exercise, first_problem

T, L, V = 3, 5, 4


def numbers(seed: int, *shape: int) -> Tensor:
    """Return a random tensor that can have a gradient."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).requires_grad_()


def gradient(value: Tensor, wrt: Tensor) -> Tensor:
    """Return the gradient with respect to `wrt`; zero where there is none."""
    if not value.requires_grad:
        return torch.zeros_like(wrt)
    (grad,) = torch.autograd.grad(value, wrt, allow_unused=True, retain_graph=True)
    return torch.zeros_like(wrt) if grad is None else grad


@exercise("6.1", "Write `one_hot_argmax(scores)`: (T, L) with a 1 at each row's largest score.")
def argmax(answer: Any) -> str | None:
    """The 2017 lab's attention."""
    scores = numbers(1, T, L)
    right = one_hot(scores.argmax(-1), L).float()
    columns = one_hot(scores.argmax(0), T).float().T
    mistakes = {
        "each column has its 1 at its largest score: take the argmax over the last axis": columns,
        "that is the softmax: put all the weight on the largest": scores.softmax(-1),
        "these are the indices of the regions: make each a row of L numbers": scores.argmax(-1),
    }
    got = answer(scores)
    if problem := compare(got, right, "the weights", mistakes):
        return problem
    ties = answer(torch.zeros(1, L))
    if ties.sum() != 1:
        return "if several scores are equal, only one region may be chosen"
    if got.requires_grad or ties.amax() < 1:
        return "a sharp softmax still has a gradient: that is not an argmax"
    return None


@exercise("6.2", "Write `surrogate(reward, log_choice, baseline)`: a loss of shape ().")
def surrogate(answer: Any) -> str | None:
    """Its gradient is the score-function estimator."""
    log_alpha = numbers(2, T, L)
    log_choice = log_alpha.log_softmax(-1)[:, 0]  # (T,)
    reward, baseline = numbers(3, T) - 2, numbers(4, T) - 2
    loss = answer(reward, log_choice, baseline)
    if not (torch.is_tensor(loss) and loss.shape == ()):
        return compare(loss, torch.zeros(()), "the loss")
    got = gradient(loss, log_alpha)
    advantage = (reward - baseline).detach()
    right = gradient(-(advantage * log_choice).sum(), log_alpha)
    raw = gradient(-(reward.detach() * log_choice).sum(), log_alpha)
    mistakes = {
        "its gradient makes good regions less likely: a loss is minimised, mind the sign": -right,
        "the baseline is not subtracted from the reward": raw,
        "that is the mean over the words, but the terms of a caption are summed": right / T,
        "log alpha gets no gradient: detach the reward, not the choice": torch.zeros_like(right),
    }
    through = gradient(loss, reward).abs().sum() + gradient(loss, baseline).abs().sum()
    return first_problem(
        compare(got, right, "the gradient of log alpha", mistakes),
        "a gradient flows through the reward or the baseline: detach their difference"
        if through > 0 else None,
    )  # fmt: skip


@exercise(
    "6.3", "Write `to_go(log_p)`: (T,) -> (T,), the sum of this word's log p and all later ones."
)
def to_go(answer: Any) -> str | None:
    """The reward to go."""
    log_p = numbers(5, T)
    right = torch.stack([log_p[t:].sum() for t in range(T)])
    mistakes = {
        "that sums the words before: a region affects its own word and the words after it":
            torch.stack([log_p[: t + 1].sum() for t in range(T)]),
        "the region's own word is missing": torch.stack([log_p[t + 1 :].sum() for t in range(T)]),
        "that is the reward of the whole caption, the same for all words": log_p.sum().expand(T),
        "your sums are in reverse order: flip back": right.flip(0),
    }  # fmt: skip
    return compare(answer(log_p), right, "the reward to go", mistakes)


@exercise("6.4", "Write `straight_through(scores, noise, temperature)`: one-hot, softmax gradient.")
def straight_through(answer: Any) -> str | None:
    """Straight-through Gumbel-softmax."""
    scores, noise, value = numbers(6, T, L), numbers(11, T, L).detach(), numbers(8, T, L).detach()
    soft = ((scores + noise) / 0.5).softmax(-1)
    hard = one_hot(soft.argmax(-1), L).float()
    without_noise = one_hot(scores.argmax(-1), L).float()
    got = answer(scores, noise, 0.5)
    forward = compare(got, hard, "the forward pass", {
        "the forward pass is a softmax: it looks at all regions": soft,
        "the noise is not added before the largest score is taken": without_noise,
        "that is the sum of both: subtract the same softmax, detached": hard + soft,
    })  # fmt: skip
    if forward:
        return forward
    right = gradient((soft * value).sum(), scores)
    at_one = gradient(((scores + noise).softmax(-1) * value).sum(), scores)
    return compare(gradient((got * value).sum(), scores), right, "the gradient", {
        "there is no gradient: add the softmax, and subtract the same softmax, detached":
            torch.zeros_like(right),
        "the gradient is that of temperature 1: divide by the temperature": at_one,
    })  # fmt: skip


@exercise("6.5", "Write `marginal(log_alpha, log_p)`: (L,), (L, V) -> (V,), sum the region out.")
def marginal(answer: Any) -> str | None:
    """Log of sum_i alpha_i p(y | a_i)."""
    log_alpha, log_p = numbers(9, L).log_softmax(-1), numbers(10, L, V).log_softmax(-1)
    right = (log_alpha[:, None] + log_p).logsumexp(0)
    mistakes = {
        "that is the mean of the logarithms, the bound: mix probabilities, then take the log":
            (log_alpha.exp()[:, None] * log_p).sum(0),
        "these are probabilities: take the logarithm": right.exp(),
        "the weights are missing: weight each region by its alpha": log_p.logsumexp(0),
    }  # fmt: skip
    return compare(answer(log_alpha, log_p), right, "log p(y)", mistakes)
