"""Answers to the exercises of lab 7: right ones, and wrong ones with a part of each message."""

import math
from collections import Counter
from itertools import combinations

import numpy as np
import torch
from scipy.stats import spearmanr

from labkit.data.vocabulary import BOS, EOS


def generate(decoder, a, feed_last=True, pass_state=True, after=0, limit=20):
    """Generate greedily; the options are mistakes."""
    (image, first), words = decoder.init_state(a), [BOS]
    state = first
    while len(words) <= limit and (EOS not in words or after):
        last = words[-1] if feed_last else BOS
        log_p, new, _ = decoder.step(torch.tensor([[last]]), image, state)
        state = new if pass_state else first
        after -= EOS in words
        words.append(int(log_p.argmax()))
    return words


def greedy_caption(decoder, a, **options):
    return [word for word in generate(decoder, a, **options) if word not in (BOS, EOS)]


def ngrams(words, n):
    return Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))


def matches(hypothesis, references, n, most=max):
    theirs = [ngrams(words, n) for words in references]
    counts = ngrams(hypothesis, n).items()
    found = sum(min(k, most([one[ngram] for one in theirs])) for ngram, k in counts)
    return found, len(hypothesis) - n + 1


def any_of(hypothesis, references, n):
    """Without clipping."""
    theirs = set().union(*(ngrams(words, n) for words in references))
    found = sum(k for ngram, k in ngrams(hypothesis, n).items() if ngram in theirs)
    return found, len(hypothesis) - n + 1


def closest(lengths, length):
    return min((abs(k - length), k) for k in lengths)[1]


def longer(lengths, length):
    """Take the longer one of two that are equally close."""
    return -min((abs(k - length), -k) for k in lengths)[1]


def brevity(c, r):
    return min(1, math.exp(1 - r / c))


def bleu(hypotheses, references, factor=brevity, choose=closest, root=4):
    counts, c, r = np.zeros((4, 2)), 0, 0
    for words, some in zip(hypotheses, references, strict=True):
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
    ("7.1", greedy_caption),
    ("7.2", [0.21, 0.36]),
    ("7.3", matches),
    ("7.4", bleu),
    ("7.5", tau),
]
OPEN = {"7.2": [..., ...]}


WRONG = [
    ("7.1", lambda d, a: generate(d, a)[1:], "leave out <eos>"),
    ("7.1", lambda d, a: generate(d, a)[:-1], "leave out <bos>"),
    ("7.1", lambda d, a: generate(d, a, after=3)[1:], "continues after <eos>"),
    ("7.1", lambda d, a: greedy_caption(d, a, feed_last=False), "given <bos>"),
    ("7.1", lambda d, a: greedy_caption(d, a, pass_state=False), "the first state"),
    ("7.1", lambda d, a: greedy_caption(d, a, limit=4), "stops after 4 words"),
    ("7.1", lambda d, a: ["a", "red", "star"], "not the words"),
    ("7.2", [0.36, 0.21], "swapped"),
    ("7.2", [0.95, 1.3], "the product of both"),
    ("7.2", [0.21, 0.21], "also keeps 'the'"),
    ("7.3", any_of, "clip each n-gram"),
    ("7.3", lambda t, r, n: matches(t, r, n, sum), "sum over the references"),
    ("7.3", lambda t, r, n: matches(t, r[:1], n), "the first reference only"),
    ("7.3", lambda t, r, n: matches(t, r, n)[::-1], "swapped"),
    ("7.3", lambda t, r, n: matches(t, r, n)[0] / 3, "not one number"),
    ("7.3", lambda t, r, n: max(matches(t, [one], n) for one in r), "on its own"),
    ("7.3", lambda t, r, n: (matches(t, r, n)[0], len(t)), "len(hypothesis) - n + 1"),
    ("7.4", lambda t, r: bleu(t, r, lambda c, r: 1), "is missing"),
    ("7.4", lambda t, r: bleu(t, r, lambda c, r: math.exp(1 - r / c)), "must not exceed 1"),
    ("7.4", lambda t, r: bleu(t, r, lambda c, r: min(1, c / r)), "not c/r"),
    ("7.4", lambda t, r: bleu(t, r, choose=lambda k, _: min(k)), "not of the shortest"),
    ("7.4", lambda t, r: bleu(t, r, choose=lambda k, _: k[0]), "not of the first"),
    ("7.4", lambda t, r: bleu(t, r, choose=longer), "take the shorter one"),
    ("7.4", lambda t, r: bleu(t, r, root=1), "fourth root"),
    ("7.4", lambda t, r: np.mean([bleu([x], [y]) for x, y in zip(t, r, strict=True)]), "sum the"),
    ("7.5", lambda p, m: (tau(p, m) + 1) / 2, "share of pairs that agree"),
    ("7.5", lambda p, m: -tau(p, m), "the sign is wrong"),
    ("7.5", lambda p, m: np.corrcoef(p, m)[0, 1], "Pearson"),
    ("7.5", lambda p, m: spearmanr(p, m).statistic, "Spearman"),
]
