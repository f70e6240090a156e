"""Answers to the exercises of lab 11: right ones, and wrong ones with a part of each message."""

import re
from itertools import permutations

import numpy as np
import torch

from labkit.checks.lab11 import GUESSES
from labkit.data.scenes import holds, is_true, objects_right, read_caption


def truth(caption, things):
    return float(is_true(caption, things))


def by_hand(caption, things):
    phrases, links = read_caption(caption) or ([], [])
    for some in permutations(things, len(phrases)):
        fit = all(p.fits(one) for p, one in zip(phrases, some, strict=True))
        lie = all(link is None or holds(link, *some[k : k + 2]) for k, link in enumerate(links))
        if phrases and fit and lie:
            return 1
    return 0


def share_right(caption, things):
    right, count = objects_right(caption, things)
    return right / max(count, 1)


def phrases_alone(caption, things):
    return is_true(say_less(caption), things)


def one_shape_twice(caption, things):
    phrases, links = read_caption(caption) or ([], [])
    if not phrases or not all(any(p.fits(one) for one in things) for p in phrases):
        return 0
    fitting = [[one for one in things if p.fits(one)] for p in phrases]
    return float(all(
        link is None or any(holds(link, one, b) for one in fitting[k] for b in fitting[k + 1])
        for k, link in enumerate(links)
    ))  # fmt: skip


def advantage(reward):
    others = (reward.sum(1, keepdim=True) - reward) / (reward.shape[1] - 1)
    return reward - others


def one_by_one(reward):
    found = torch.empty_like(reward)
    for n, row in enumerate(reward):
        for k in range(len(row)):
            found[n, k] = row[k] - torch.cat([row[:k], row[k + 1 :]]).mean()
    return found


def less_all(reward):
    return reward - reward.mean(1, keepdim=True)


def group(correction):
    return lambda reward: less_all(reward) / reward.std(1, keepdim=True, correction=correction)


def loss(advantage, log_p, mask):
    return -(advantage.detach()[..., None] * log_p * mask).sum()


def by_caption(advantage, log_p, mask):
    return -(advantage.detach() * (log_p * mask).sum(-1)).sum()


def through(advantage, log_p, mask):
    return -(advantage[..., None] * log_p * mask).sum()


def per_word(advantage, log_p, mask):
    return -(advantage.detach() * (log_p * mask).sum(-1) / mask.sum(-1)).sum()


def without_eos(advantage, log_p, mask):
    shorter = torch.cat([mask[..., 1:], torch.zeros_like(mask[..., :1])], -1)
    return loss(advantage, log_p, shorter)


def first_word(advantage, log_p, mask):
    return loss(advantage, log_p[..., :1], mask[..., :1])


def good_ones(advantage, log_p, mask):
    return loss(advantage.relu(), log_p, mask)


def say_less(caption):
    return re.sub("( is)? (left of|right of|above|below) ", " and ", caption)


def without_there(caption):
    return say_less(caption).removeprefix("there is ")


def sizeless(caption):
    return re.sub("(small|large) ", "", say_less(caption))


def swapped(caption):
    return " and ".join(without_there(caption).split(" and ")[::-1])


def worth(caption, things, relation):
    return truth(caption, things) * facts(caption, relation) / (4 + relation)


def facts(caption, relation, shapes=1, size=1, most=2):
    phrases, links = read_caption(caption) or ([], [])
    sizes = sum(phrase.size is not None for phrase in phrases)
    told = shapes * min(len(phrases), most) + size * min(sizes, most)
    return told + relation * (any(links) if most == 2 else sum(map(bool, links)))


def paid(share):
    """A reward that multiplies the truth with another share."""
    return lambda caption, things, w: truth(caption, things) * share(caption, w)


def least_weight(told, untold):
    return 4 * (untold / told - 1)


RIGHT = [
    ("11.1", truth),
    ("11.2", advantage),
    ("11.3", loss),
    ("11.4", GUESSES),
    ("11.5", say_less),
    ("11.6", worth),
    ("11.7", least_weight),
    ("11.1", is_true),
    ("11.1", by_hand),
    ("11.2", one_by_one),
    ("11.2", lambda reward: less_all(reward) * 4 / 3),
    ("11.3", by_caption),
    ("11.4", {guess: np.bool_(right) for guess, right in GUESSES.items()}),
    ("11.5", without_there),
    ("11.7", lambda told, untold: np.float64(4 * (untold - told) / told)),
]
OPEN = {"11.4": dict.fromkeys(GUESSES, ...)}
WRONG = [
    ("11.1", lambda c, t: 1 - truth(c, t), "the other way round"),
    ("11.1", lambda c, t: 2 * truth(c, t) - 1, "gets -1"),
    ("11.1", share_right, "the share of phrases"),
    ("11.1", lambda c, t: objects_right(c, t)[0], "pays for more of them"),
    ("11.1", lambda c, t: share_right(c, t) > 0, "one right phrase is enough"),
    ("11.1", phrases_alone, "the phrases only"),
    ("11.1", one_shape_twice, "two different shapes"),
    ("11.1", lambda c, t: read_caption(c) is not None, "can be read"),
    ("11.1", lambda c, t: 1, "the same reward"),
    ("11.1", lambda c, t: len(c.split()), "the list of all rewards is"),
    ("11.2", lambda r: -advantage(r), "the sign is wrong"),
    ("11.2", lambda r: r - advantage(r), "that is the baseline"),
    ("11.2", lambda r: r, "the baseline is missing"),
    ("11.2", less_all, "your baseline knows the sample: the mean contains"),
    ("11.2", lambda r: r - (r.sum(1, keepdim=True) - r), "the sum of the others"),
    ("11.2", lambda r: r - (r.sum(1, keepdim=True) - r) / 4, "divided by K"),
    ("11.2", lambda r: advantage(r.T).T, "those of other pictures"),
    ("11.2", lambda r: r - r.mean(), "one mean for all pictures"),
    ("11.2", lambda r: r - r.amax(1, keepdim=True), "the best caption"),
    ("11.2", group(1), "it depends on the sample"),
    ("11.2", group(0), "which depends on the sample"),
    ("11.2", lambda r: advantage(r).mean(1), "shape"),
    ("11.3", lambda *given: -loss(*given), "mind the sign"),
    ("11.3", through, "a gradient flows through the advantage"),
    ("11.3", lambda a, log_p, m: loss(a, log_p, torch.ones_like(m)), "words after <eos> count"),
    ("11.3", without_eos, "<eos> itself is a choice"),
    ("11.3", per_word, "pays for length"),
    ("11.3", lambda a, *given: per_word(a, *given) / a.numel(), "pays for length"),
    ("11.3", lambda a, *given: loss(a, *given) / a.numel(), "0.167 times the right one"),
    ("11.3", lambda a, p, m: loss(a, p, m) / m.sum(), "take a sum, not a mean"),
    ("11.3", lambda a, log_p, m: loss(torch.ones_like(a), log_p, m), "the advantage is missing"),
    ("11.3", lambda a, log_p, m: loss(a, log_p.exp(), m), "not log p"),
    ("11.3", lambda a, log_p, m: loss(a, log_p.detach(), m), "detach the advantage, not"),
    ("11.3", first_word, "only the first word"),
    ("11.3", good_ones, "keep negative advantages"),
    ("11.3", lambda a, log_p, m: -(a.detach()[..., None] * log_p * m).sum(-1), "shape"),
    *(("11.4", GUESSES | {guess: not right}, guess) for guess, right in GUESSES.items()),
    ("11.4", dict(list(GUESSES.items())[1:]), "is missing"),
    ("11.5", lambda caption: caption, "the relation is still there"),
    ("11.5", lambda c: re.sub("left of|right of|above|below", "and", c), "no caption of the"),
    ("11.5", lambda c: re.sub("( is)? (left|right|above|below) ", " and ", c), "no caption of the"),
    ("11.5", sizeless, "the sizes are gone"),
    ("11.5", lambda c: say_less(c).split(" and ")[0], "a shape is missing"),
    ("11.5", swapped, "the phrases have changed"),
    ("11.5", lambda c: say_less(c).replace("star", "cross"), "the phrases have changed"),
    ("11.5", lambda c: say_less(c).split(), "return the caption, a string"),
    ("11.6", lambda c, t, w: facts(c, w) / (4 + w), "false captions are paid, too: multiply"),
    ("11.6", lambda c, t, w: truth(c, t) + facts(c, w) / (4 + w), "are added"),
    ("11.6", paid(facts), "that is a number of facts"),
    ("11.6", lambda c, t, w: truth(c, t), "all true captions get the same"),
    ("11.6", paid(lambda c, w: facts(c, w, size=0) / (4 + w)), "the sizes are not counted"),
    ("11.6", paid(lambda c, w: facts(c, w, shapes=0) / (4 + w)), "the shapes are not counted"),
    ("11.6", paid(lambda c, w: facts(c, 0) / (4 + w)), "the relation is not counted"),
    ("11.6", paid(lambda c, w: facts(c, w) / 5), "you divide by 5"),
    ("11.6", paid(lambda c, w: facts(c, 1) / (4 + w)), "whatever its weight"),
    ("11.6", paid(lambda c, w: facts(c, w, most=9) / (4 + w)), "more than two shapes"),
    ("11.7", lambda told, untold: least_weight(untold, told), "swapped"),
    ("11.7", lambda told, untold: untold - told, "compare the rewards"),
    ("11.7", lambda told, untold: 1 - told / untold, "solve for its weight"),
    ("11.7", lambda told, untold: untold / told - 1, "four facts are told, not one"),
    ("11.7", lambda told, untold: 4 * untold / told, "in the divisor, too"),
]  # fmt: skip
