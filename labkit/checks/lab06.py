"""The exercises of lab 6: ways to learn where to look, on a table small enough to see through.

L places, T words. A word told from a place has a known log p, so each gradient can be worked out.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from labkit.checks import compare, exercise, first_problem

T, L, V = 3, 5, 4


def numbers(seed: int, *shape: int) -> Tensor:
    """Draw a tensor that can have a gradient."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).requires_grad_()


def slope(value: Tensor, of: Tensor) -> Tensor:
    """The gradient; zero where there is none."""
    if not value.requires_grad:
        return torch.zeros_like(of)
    (grad,) = torch.autograd.grad(value, of, allow_unused=True, retain_graph=True)
    return torch.zeros_like(of) if grad is None else grad


@exercise("6.1", "Write `one_hot_argmax(scores)`: (T, L) with a 1 at each row's largest score.")
def argmax(answer: Any) -> str | None:
    """The 2017 lab's attention."""
    scores = numbers(1, T, L)
    right = one_hot(scores.argmax(-1), L).float()
    columns = one_hot(scores.argmax(0), T).float().T
    mistakes = {
        "the ones stand at each column's largest score: argmax over the last axis": columns,
        "that is the softmax: put all of it at the largest weight": scores.softmax(-1),
        "these are the places' numbers: make rows of L of them": scores.argmax(-1),
    }
    got = answer(scores)
    if problem := compare(got, right, "the weights", mistakes):
        return problem
    ties = answer(torch.zeros(1, L))
    if ties.sum() != 1:
        return "of equal scores only one place may be taken"
    if got.requires_grad or ties.amax() < 1:
        return "a sharp softmax still has a slope: that is not an argmax"
    return None


@exercise("6.2", "Write `surrogate(reward, log_choice, baseline)`: a loss, () with a gradient.")
def surrogate(answer: Any) -> str | None:
    """Its gradient is the score-function estimator."""
    log_alpha = numbers(2, T, L)
    log_choice = log_alpha.log_softmax(-1)[:, 0]  # (T,)
    reward, baseline = numbers(3, T) - 2, numbers(4, T) - 2
    loss = answer(reward, log_choice, baseline)
    if not (torch.is_tensor(loss) and loss.shape == ()):
        return compare(loss, torch.zeros(()), "the loss")
    got = slope(loss, log_alpha)
    advantage = (reward - baseline).detach()
    right = slope(-(advantage * log_choice).sum(), log_alpha)
    raw = slope(-(reward.detach() * log_choice).sum(), log_alpha)
    mistakes = {
        "its gradient makes good places less likely: a loss is made small, mind the sign": -right,
        "the baseline is not taken off the reward": raw,
        "it is the mean over the words, but a caption's terms are summed": right / T,
        "log alpha gets no gradient: detach the reward, not the choice": torch.zeros_like(right),
    }
    through = slope(loss, reward).abs().sum() + slope(loss, baseline).abs().sum()
    return first_problem(
        compare(got, right, "the gradient of log alpha", mistakes),
        "a gradient runs through the reward or the baseline: detach what the choice is judged by"
        if through > 0 else None,
    )  # fmt: skip


@exercise("6.3", "Write `to_go(log_p)`: (T,) -> (T,), this word's log p and those after it.")
def to_go(answer: Any) -> str | None:
    """The reward to go."""
    log_p = numbers(5, T)
    right = torch.stack([log_p[t:].sum() for t in range(T)])
    mistakes = {
        "these are the words before: a place changes the word it was drawn for, and those after":
            torch.stack([log_p[: t + 1].sum() for t in range(T)]),
        "the place's own word is missing": torch.stack([log_p[t + 1 :].sum() for t in range(T)]),
        "this is the reward of the whole caption, for all words": log_p.sum().expand(T),
        "your sums stand the other way round: flip back": right.flip(0),
    }  # fmt: skip
    return compare(answer(log_p), right, "the reward to go", mistakes)


@exercise("6.4", "Write `straight_through(scores, noise, temperature)`: one-hot, softmax's slope.")
def straight_through(answer: Any) -> str | None:
    """Straight-through Gumbel-softmax."""
    scores, noise, value = numbers(6, T, L), numbers(11, T, L).detach(), numbers(8, T, L).detach()
    soft = ((scores + noise) / 0.5).softmax(-1)
    hard = one_hot(soft.argmax(-1), L).float()
    blind = one_hot(scores.argmax(-1), L).float()
    got = answer(scores, noise, 0.5)
    seen = compare(got, hard, "what goes forward", {
        "that goes forward as a softmax: it looks at all places": soft,
        "the noise is not added before the largest is taken": blind,
        "that is both at once: take off the same softmax, detached": hard + soft,
    })  # fmt: skip
    if seen:
        return seen
    right = slope((soft * value).sum(), scores)
    at_one = slope(((scores + noise).softmax(-1) * value).sum(), scores)
    return compare(slope((got * value).sum(), scores), right, "the gradient", {
        "no gradient comes back: add the softmax, and take off the same, detached":
            torch.zeros_like(right),
        "the gradient is that of temperature 1: divide by the temperature": at_one,
    })  # fmt: skip


@exercise("6.5", "Write `marginal(log_alpha, log_p)`: (L,), (L, V) -> (V,), the place summed out.")
def marginal(answer: Any) -> str | None:
    """Log of sum_i alpha_i p(y | a_i)."""
    log_alpha, log_p = numbers(9, L).log_softmax(-1), numbers(10, L, V).log_softmax(-1)
    right = (log_alpha[:, None] + log_p).logsumexp(0)
    mistakes = {
        "that is the mean of the logarithms, the bound: mix probabilities, then take the log":
            (log_alpha.exp()[:, None] * log_p).sum(0),
        "these are probabilities: take the logarithm": right.exp(),
        "the weights are missing: each place counts by its alpha": log_p.logsumexp(0),
    }  # fmt: skip
    return compare(answer(log_alpha, log_p), right, "log p(y)", mistakes)
