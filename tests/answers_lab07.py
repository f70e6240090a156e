"""Answers to the exercises of lab 7: right ones, and wrong ones with what is said of them."""

import math
from collections import Counter
from itertools import combinations

import numpy as np
import torch
from scipy.stats import spearmanr

from labkit.vocabulary import BOS, EOS


def tell(decoder, a, fed=True, carried=True, after=0, limit=20):
    """Tell greedily; the options are mistakes."""
    (seen, first), told = decoder.look_at(a), [BOS]
    state = first
    while len(told) <= limit and (EOS not in told or after):
        last = told[-1] if fed else BOS
        log_p, new, _ = decoder.step(torch.tensor([[last]]), seen, state)
        state = new if carried else first
        after -= EOS in told
        told.append(int(log_p.argmax()))
    return told


def tell_greedily(decoder, a, **options):
    return [word for word in tell(decoder, a, **options) if word not in (BOS, EOS)]


def runs(words, n):
    return Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))


def matches(told, references, n, most=max):
    theirs = [runs(words, n) for words in references]
    counts = runs(told, n).items()
    return sum(min(k, most([one[run] for one in theirs])) for run, k in counts), len(told) - n + 1


def any_of(told, references, n):
    """Without clipping."""
    theirs = set().union(*(runs(words, n) for words in references))
    return sum(k for run, k in runs(told, n).items() if run in theirs), len(told) - n + 1


def near(lengths, length):
    return min((abs(k - length), k) for k in lengths)[1]


def far(lengths, length):
    """Take the longer one of two that are equally near."""
    return -min((abs(k - length), -k) for k in lengths)[1]


def brevity(c, r):
    return min(1, math.exp(1 - r / c))


def bleu(told, references, factor=brevity, choose=near, root=4):
    counts, c, r = np.zeros((4, 2)), 0, 0
    for words, some in zip(told, references, strict=True):
        counts += [matches(words, some, n) for n in (1, 2, 3, 4)]
        lengths = [len(one) for one in some]
        c += len(words)
        r += choose(lengths, len(words))
    return factor(c, r) * (counts[:, 0] / counts[:, 1]).prod() ** (1 / root)


def tau(people, metric):
    pairs = list(combinations(range(len(people)), 2))
    agree = sum((people[i] - people[j]) * (metric[i] - metric[j]) > 0 for i, j in pairs)
    return (2 * agree - len(pairs)) / len(pairs)


RIGHT = [
    ("7.1", tell_greedily),
    ("7.2", [0.21, 0.36]),
    ("7.3", matches),
    ("7.4", bleu),
    ("7.5", tau),
]
OPEN = {"7.2": [..., ...]}


WRONG = [
    ("7.1", lambda d, a: tell(d, a)[1:], "leave out <eos>"),
    ("7.1", lambda d, a: tell(d, a)[:-1], "leave out <bos>"),
    ("7.1", lambda d, a: tell(d, a, after=3)[1:], "goes on after <eos>"),
    ("7.1", lambda d, a: tell_greedily(d, a, fed=False), "given <bos>"),
    ("7.1", lambda d, a: tell_greedily(d, a, carried=False), "the first state"),
    ("7.1", lambda d, a: tell_greedily(d, a, limit=4), "cut after 4 words"),
    ("7.1", lambda d, a: ["a", "red", "star"], "not the words"),
    ("7.2", [0.36, 0.21], "exchanged"),
    ("7.2", [0.95, 1.3], "the product of both"),
    ("7.2", [0.21, 0.21], "also keeps 'the'"),
    ("7.3", any_of, "clip each n-gram"),
    ("7.3", lambda t, r, n: matches(t, r, n, sum), "sum over the references"),
    ("7.3", lambda t, r, n: matches(t, r[:1], n), "the first reference only"),
    ("7.3", lambda t, r, n: matches(t, r, n)[::-1], "exchanged"),
    ("7.3", lambda t, r, n: matches(t, r, n)[0] / 3, "not one number"),
    ("7.3", lambda t, r, n: max(matches(t, [one], n) for one in r), "by itself"),
    ("7.3", lambda t, r, n: (matches(t, r, n)[0], len(t)), "len(told) - n + 1 runs"),
    ("7.4", lambda t, r: bleu(t, r, lambda c, r: 1), "is missing"),
    ("7.4", lambda t, r: bleu(t, r, lambda c, r: math.exp(1 - r / c)), "must not pass 1"),
    ("7.4", lambda t, r: bleu(t, r, lambda c, r: min(1, c / r)), "not c/r"),
    ("7.4", lambda t, r: bleu(t, r, choose=lambda k, _: min(k)), "not of the shortest"),
    ("7.4", lambda t, r: bleu(t, r, choose=lambda k, _: k[0]), "not of the first"),
    ("7.4", lambda t, r: bleu(t, r, choose=far), "take the shorter one"),
    ("7.4", lambda t, r: bleu(t, r, root=1), "fourth root"),
    ("7.4", lambda t, r: np.mean([bleu([x], [y]) for x, y in zip(t, r, strict=True)]), "sum the"),
    ("7.5", lambda p, m: (tau(p, m) + 1) / 2, "share of pairs that agree"),
    ("7.5", lambda p, m: -tau(p, m), "the sign is wrong"),
    ("7.5", lambda p, m: np.corrcoef(p, m)[0, 1], "Pearson"),
    ("7.5", lambda p, m: spearmanr(p, m).statistic, "Spearman"),
]
