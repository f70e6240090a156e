"""Answers to the exercises of lab 10: right ones, and wrong ones with a part of each message."""

from dataclasses import replace

import numpy as np
import torch

from labkit.checks.lab10 import CLAIMS


def effect(log_p, own, others):
    whole = log_p(None)
    return whole - log_p(own), np.mean([whole - log_p(j) for j in others])


def with_control(control):
    """An answer with the right loss, and a control that is computed from the values of log p."""

    def answer(log_p, own, others):
        whole, gone = log_p(None), log_p(own)
        return whole - gone, control(whole, gone, np.array([log_p(j) for j in others]))

    return answer


CONTROLS = {
    lambda whole, own, others: np.max(whole - others): "is the largest",
    lambda whole, own, others: np.median(whole - others): "is the median",
    lambda whole, own, others: np.abs(whole - others).mean(): "keep the sign",
    lambda whole, own, others: others.mean(): "log p without the others",
    lambda whole, own, others: (others - own).mean(): "measure it from the whole scene",
    lambda whole, own, others: whole - np.log(np.exp(others).mean()): "mean of the losses",
}


def ratios(log_p, own, others):
    p = {j: np.exp(log_p(j)) for j in (None, own, *others)}
    return p[None] / p[own], np.mean([p[None] / p[j] for j in others])


def look_at(step, place):
    weights = torch.zeros_like(step.weights)
    weights[..., place] = 1
    return replace(step, weights=weights)


def set_weights(step, place):
    step.weights = torch.zeros_like(step.weights)
    step.weights[..., place] = 1
    return step


def write_into(step, place):
    step.weights.zero_()
    step.weights[..., place] = 1
    return step


def add_one(step, place):
    weights = step.weights.clone()
    weights[..., place] = 1
    return replace(step, weights=weights)


def normalised(step, place):
    weights = add_one(step, place).weights
    return replace(step, weights=weights / weights.sum(-1, keepdim=True))


def one_row(step, place):
    return replace(step, weights=look_at(step, place).weights[0, 0])


def change_the_map(step, place):
    return replace(step, alpha=look_at(step, place).weights)


def split(decoder, seen, first):
    return decoder.init_state(seen[None])[0], decoder.init_state(first[None])[1]


def patched_image(decoder, seen, first):
    image, state = decoder.init_state(first[None])
    image.a = seen[None]
    return image, state


def resampled_mean(values, scenes, rng):
    every = np.unique(scenes)
    drawn = rng.choice(every, len(every))
    return np.mean(np.concatenate([values[scenes == n] for n in drawn]))


def by_weights(values, scenes, rng):
    every, where = np.unique(scenes, return_inverse=True)
    times = np.bincount(rng.integers(len(every), size=len(every)), minlength=len(every))[where]
    return (times * values).sum() / times.sum()


def without_replacement(values, scenes, rng):
    every = np.unique(scenes)
    drawn = rng.choice(every, len(every), replace=False)
    return np.mean(np.concatenate([values[scenes == n] for n in drawn]))


def each_once(values, scenes, rng):
    every = np.unique(scenes)
    return values[np.isin(scenes, rng.choice(every, len(every)))].mean()


def mean_of_means(values, scenes, rng):
    every = np.unique(scenes)
    return np.mean([values[scenes == n].mean() for n in rng.choice(every, len(every))])


def draw_from(some, count):
    def answer(values, scenes, rng):
        drawn = rng.choice(some(scenes), count(scenes))
        return np.mean(np.concatenate([values[scenes == n] for n in drawn]))

    return answer


def one_case_each(values, scenes, rng):
    every = np.unique(scenes)
    return np.mean([rng.choice(values[scenes == n]) for n in rng.choice(every, len(every))])


def cases_drawn_again(values, scenes, rng):
    every = np.unique(scenes)
    parts = [values[scenes == n] for n in rng.choice(every, len(every))]
    return np.mean(np.concatenate([rng.choice(part, len(part)) for part in parts]))


def mean_of_sums(values, scenes, rng):
    every = np.unique(scenes)
    return np.mean([values[scenes == n].sum() for n in rng.choice(every, len(every))])


def without_rng(values, scenes, rng):
    return resampled_mean(values, scenes, np.random)


def many(scenes):
    return len(np.unique(scenes))


RIGHT = [
    ("10.1", effect),
    ("10.2", look_at),
    ("10.3", split),
    ("10.4", resampled_mean),
    ("10.5", CLAIMS),
    ("10.1", lambda f, own, others: list(map(torch.tensor, effect(f, own, others)))),
    ("10.1", lambda f, own, others: np.array(effect(f, own, others))),
    ("10.2", set_weights),
    ("10.2", lambda step, place: replace(step, weights=look_at(step, place).weights > 0)),
    ("10.2", lambda step, place: replace(step, weights=look_at(step, place).weights.double())),
    ("10.3", lambda d, seen, first: list(split(d, seen, first))),
    ("10.4", by_weights),
    ("10.4", lambda v, s, rng: torch.tensor(resampled_mean(v, s, rng))),
    ("10.5", {claim: np.bool_(right) for claim, right in CLAIMS.items()}),
]
OPEN = {"10.5": dict.fromkeys(CLAIMS, ...)}
WRONG = [
    ("10.1", lambda f, own, others: f(None) - f(own), "the control is missing"),
    ("10.1", lambda f, own, others: [f(None) - f(own)], "the control is missing"),
    ("10.1", lambda f, own, others: np.diff(effect(f, own, others))[0] * -1, "their difference"),
    ("10.1", lambda f, own, others: tuple(-x for x in effect(f, own, others)), "signs"),
    ("10.1", lambda f, own, others: effect(f, own, others)[::-1], "swapped"),
    ("10.1", lambda f, own, others: (f(own), np.mean([f(j) for j in others])), "subtract it"),
    ("10.1", lambda f, own, others: (f(None) - f(own), 0.0), "removes nothing"),
    ("10.1", lambda f, own, others: (f(None) - f(own), f(None)), "must be a loss"),
    ("10.1", lambda f, own, others: (f(None) - f(own), effect(f, own, [own, *others])[1]),
     "take the others only"),
    ("10.1", lambda f, own, others: effect(f, own, others[:1]), "the first of the other objects"),
    ("10.1", lambda f, own, others: effect(f, own, others[-1:]), "the last of the other objects"),
    *(("10.1", with_control(control), says) for control, says in CONTROLS.items()),
    ("10.1", lambda f, own, others: np.array([[1, -1], [0, 1]]) @ effect(f, own, others),
     "do not subtract"),
    ("10.1", ratios, "ratios"),
    ("10.1", lambda f, own, others: (f(None) - f(own), sum(f(None) - f(j) for j in others)),
     "is a sum"),
    ("10.1", lambda f, own, others: effect(lambda j: np.exp(f(j)), own, others), "logarithms"),
    ("10.1", lambda f, own, others: (f(None) - f(own), f(None) - f(others)), "of one object"),
    ("10.1", lambda f, own, others: (f(None) - f(own), [f(None) - f(j) for j in others]),
     "return two numbers"),
    ("10.2", lambda step, place: look_at(step, place).weights, "not a tensor"),
    ("10.2", lambda step, place: step, "the model's own"),
    ("10.2", change_the_map, "the model's own"),
    ("10.2", write_into, "`alpha` has changed"),
    ("10.2", add_one, "must be 0"),
    ("10.2", lambda s, k: replace(s, weights=look_at(s, k).weights * s.alpha), "must be 1"),
    ("10.2", lambda s, k: replace(s, weights=1 - look_at(s, k).weights), "other way round"),
    ("10.2", lambda s, k: type(s)(*[look_at(s, k).weights] * 2), "replace `weights` only"),
    ("10.2", normalised, "a part of their"),
    ("10.2", lambda s, k: replace(s, weights=look_at(s, k).weights.numpy()), "must be a tensor"),
    ("10.2", one_row, "shape"),
    ("10.2", lambda s, k: type(s)(s.alpha, look_at(s, k).weights), "lost its other parts"),
    ("10.3", lambda d, seen, first: split(d, first, seen), "swapped"),
    ("10.3", lambda d, seen, first: d.init_state(seen[None]), "both parts got `seen`"),
    ("10.3", lambda d, seen, first: d.init_state(first[None]), "both parts got `first`"),
    ("10.3", lambda d, seen, first: split(d, seen, first)[::-1], "the order"),
    ("10.3", lambda d, seen, first: split(d, seen, first)[0], "return two things"),
    ("10.3", lambda d, seen, first: (seen, first), "call `decoder.init_state`"),
    ("10.3", lambda d, *a: (d.init_state(a[0][None]), d.init_state(a[1][None])), "each part"),
    ("10.3", lambda d, seen, first: split(d, seen + first, first), "have changed"),
    ("10.3", lambda d, seen, first: d.init_state(torch.stack([seen, first])), "one picture"),
    ("10.3", patched_image, "have changed"),
    ("10.3", lambda d, *a: (d.init_state(a[0])[0], d.init_state(a[1])[1]), "`seen[None]`"),
    ("10.3", lambda d, seen, first: d.init_state(seen[None], first[None]), "call it twice"),
    ("10.4", lambda v, s, rng: rng.choice(v, len(v)).mean(), "you drew cases"),
    ("10.4", lambda v, s, rng: v.mean(), "with replacement"),
    ("10.4", without_replacement, "with replacement"),
    ("10.4", lambda v, s, rng: resampled_mean(v, s, np.random.default_rng(1)), "is given"),
    ("10.4", each_once, "cases twice"),
    ("10.4", mean_of_means, "each case must count the same"),
    ("10.4", draw_from(np.unique, len), "as many scenes as there are"),
    ("10.4", draw_from(np.unique, lambda scenes: 1), "as many scenes as there are"),
    ("10.4", draw_from(np.asarray, many), "drawn more often"),
    ("10.4", draw_from(many, many), "have gaps"),
    ("10.4", lambda v, s, rng: rng.choice(v, 3), "return one number"),
    ("10.4", lambda v, s, rng: resampled_mean(v, s, rng) + 1, "no three scenes"),
    ("10.4", mean_of_sums, "no three scenes"),
    ("10.4", one_case_each, "one of its cases"),
    ("10.4", cases_drawn_again, "among the cases of a scene"),
    ("10.4", without_rng, "draw with `rng`"),
    *(("10.5", CLAIMS | {claim: not right}, claim) for claim, right in CLAIMS.items()),
    ("10.5", {claim: str(right) for claim, right in CLAIMS.items()}, "quotation marks"),
    ("10.5", dict(list(CLAIMS.items())[1:]), "is missing"),
]  # fmt: skip
