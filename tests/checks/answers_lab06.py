"""Answers to the exercises of lab 6: right ones, and wrong ones with a part of each message."""

from torch.nn.functional import one_hot


def one_hot_argmax(scores):
    return one_hot(scores.argmax(-1), scores.shape[-1]).float()


def surrogate(reward, log_choice, baseline):
    return -((reward - baseline).detach() * log_choice).sum()


def to_go(log_p):
    return log_p.flip(0).cumsum(0).flip(0)


def straight_through(scores, noise, temperature):
    soft = ((scores + noise) / temperature).softmax(-1)
    return one_hot_argmax(soft) + (soft - soft.detach())


def marginal(log_alpha, log_p):
    return (log_alpha[:, None] + log_p).logsumexp(0)


RIGHT = [
    ("6.1", one_hot_argmax),
    ("6.2", surrogate),
    ("6.3", to_go),
    ("6.4", straight_through),
    ("6.5", marginal),
]
WRONG = [
    ("6.1", lambda e: one_hot(e.argmax(0), 3).float().T, "over the last axis"),
    ("6.1", lambda e: e.softmax(-1), "that is the softmax"),
    ("6.1", lambda e: e.argmax(-1), "indices of the regions"),
    ("6.1", lambda e: e.argmax(-1).tolist(), "indices of the regions"),
    ("6.1", lambda e: (e == e.max(-1, keepdim=True).values).float(), "scores are equal"),
    ("6.1", lambda e: (1000 * e).softmax(-1), "still has a gradient"),
    ("6.2", lambda r, c, b: ((r - b).detach() * c).sum(), "mind the sign"),
    ("6.2", lambda r, c, b: -(r.detach() * c).sum(), "baseline is not subtracted"),
    ("6.2", lambda r, c, b: -((r - b).detach() * c).mean(), "mean over the words"),
    ("6.2", lambda r, c, b: -((r - b) * c).sum(), "gradient flows through the reward"),
    ("6.2", lambda r, c, b: -((r - b) * c.detach()).sum(), "detach the reward, not"),
    ("6.2", lambda r, c, b: -((r - b).detach() * c), "shape"),
    ("6.3", lambda p: p.cumsum(0), "words before"),
    ("6.3", lambda p: p.flip(0).cumsum(0).flip(0) - p, "own word is missing"),
    ("6.3", lambda p: p.sum().expand(3), "whole caption"),
    ("6.3", lambda p: p.flip(0).cumsum(0), "flip back"),
    ("6.4", lambda e, g, t: ((e + g) / t).softmax(-1), "looks at all regions"),
    ("6.4", lambda e, g, t: one_hot_argmax(e + g), "there is no gradient"),
    ("6.4", lambda e, g, t: straight_through(e, 0 * g, t), "noise is not added"),
    ("6.4", lambda e, g, t: one_hot_argmax(e + g) + ((e + g) / t).softmax(-1), "sum of both"),
    ("6.4", lambda e, g, t: straight_through(e, g, 1.0), "temperature 1"),
    ("6.5", lambda a, p: (a.exp()[:, None] * p).sum(0), "the bound"),
    ("6.5", lambda a, p: (a.exp() @ p.exp()), "take the logarithm"),
    ("6.5", lambda a, p: p.logsumexp(0), "weights are missing"),
]
