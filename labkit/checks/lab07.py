"""Checks of lab 7: telling and scoring."""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache
from itertools import combinations
from typing import Any

import numpy as np
import torch
from scipy.stats import kendalltau, spearmanr
from torch import Tensor

from labkit.checks import Unanswered, compare, exercise
from labkit.decoder import Decoder
from labkit.decoding import greedy
from labkit.encoder import load_encoder
from labkit.models import load
from labkit.photos import to_input
from labkit.preparing import SCENE_ENCODER
from labkit.scenes import make_scenes
from labkit.vocabulary import BOS, EOS

LONGEST = 20  # words
Words = Sequence[str]


@cache
def pictures() -> tuple[Decoder, Tensor]:
    """Give the shipped decoder and the features of three scenes."""
    encoder = load_encoder(SCENE_ENCODER, bf16=False)
    images = [to_input(scene.image, 112) for scene in make_scenes(3, seed=11, split="test")]
    with torch.no_grad():
        return load("scenes-soft").decoder, encoder(torch.from_numpy(np.stack(images)))


@torch.no_grad()
def tell_wrongly(decoder: Decoder, a: Tensor, fed: bool, carried: bool) -> list[int]:
    """Tell greedily, but forget to feed the last word, or to carry the state over."""
    (seen, first), told = decoder.look_at(a), [BOS]
    state = first
    while told[-1] != EOS and len(told) <= LONGEST:
        last = told[-1] if fed else BOS
        log_p, new, _ = decoder.step(torch.tensor([[last]]), seen, state)
        state = new if carried else first
        told.append(int(log_p.argmax()))
    return [word for word in told if word not in (BOS, EOS)]


@exercise("7.1", "Write `tell_greedily(decoder, a)`: give the numbers of the words, a list.")
def tell_greedily(answer: Callable) -> str | None:
    """Judge on three scenes, told by the shipped model."""
    decoder, features = pictures()
    for a in features.split(1):
        right = greedy(decoder, a)[0].words
        with torch.no_grad():
            got = answer(decoder, a)
        if got is None or got is ...:
            raise Unanswered
        got = got.flatten().tolist() if isinstance(got, Tensor) else list(got)
        if any(isinstance(word, str) for word in got):
            return "give the numbers of the words, not the words"
        mine = [int(word) for word in got]
        if mine != right:
            return _fault_of_telling(mine, right, decoder, a)
    return None


def _fault_of_telling(mine: list[int], right: list[int], decoder: Decoder, a: Tensor) -> str:
    """Name what is wrong with a caption that should have been `right`."""
    if mine in ([*right, EOS], [BOS, *right, EOS]):
        return "the words are right, but leave out <eos> at the end"
    if mine == [BOS, *right]:
        return "the words are right, but leave out <bos> at the beginning"
    if mine[: len(right) + 1] == [*right, EOS]:
        return "it goes on after <eos>: stop there"
    if len(mine) < len(right) and mine == right[: len(mine)]:
        return f"the caption is cut after {len(mine)} words: go on until <eos>, at most 20 words"
    if mine == tell_wrongly(decoder, a, fed=False, carried=True):
        return "each step was given <bos>: give it the word that was told last"
    if mine == tell_wrongly(decoder, a, fed=True, carried=False):
        return "each step was given the first state: give it the one that the last step returned"
    return f"the words are {mine}, but the likeliest ones are {right}"


@exercise("7.2", "Set `found_by_greedy` and `found_by_beam` to the probabilities of two captions.")
def probabilities(answer: Any) -> str | None:
    """Judge the two captions' probabilities."""
    if any(one is None or one is ... for one in answer):
        raise Unanswered
    product = "probabilities; a caption's is the product of its words'"
    mistakes = {
        "they are exchanged: greedy first, then the beam": [0.36, 0.21],
        f"these are the last words' {product}": [0.35, 0.9],
        f"these are the first words' {product}": [0.6, 0.4],
        "you added up; the probability of two words is the product of both": [0.95, 1.3],
        "greedy never sees 'the sun': it takes 'a' first and cannot go back": [0.36, 0.36],
        "a beam of 2 also keeps 'the', and so finds what follows it": [0.21, 0.21],
        "these are logarithms; give probabilities": [math.log(0.21), math.log(0.36)],
    }
    return compare(list(answer), [0.21, 0.36], "the pair", mistakes)


# ---------------------------------------------------------------------------------------- BLEU


def runs(words: Words, n: int) -> Counter:
    """Count the runs of n words."""
    return Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))


def found(told: Words, references: Sequence[Words], n: int, most: Callable = max) -> int:
    """Count the told runs that are found; `most` makes one number of a run's counts."""
    theirs = [runs(words, n) for words in references]
    mine = runs(told, n).items()
    return sum(min(count, most([one[run] for one in theirs])) for run, count in mine)


TOLD = ["a", "a", "a", "a", "red", "circle", "on", "a", "star"]
REFERENCES = [t.split() for t in ("a red circle and a star", "a circle on a large red star")]


@exercise(
    "7.3", "Write `matches(told, references, n)`: give the found and all n-grams, two counts."
)
def matches(answer: Callable) -> str | None:
    """Judge the counts for runs of one to four words."""
    sizes = (1, 2, 3, 4)
    totals = [len(TOLD) - n + 1 for n in sizes]
    most = max(map(len, REFERENCES))

    def table(most_of: Callable) -> list:
        counts = [found(TOLD, REFERENCES, n, most_of) for n in sizes]
        return list(map(list, zip(counts, totals, strict=True)))

    right = table(max)
    mistakes = {
        "'a' counts too often: clip each n-gram at its count in the reference that has most": table(
            lambda counts: math.inf if any(counts) else 0
        ),
        "you clipped at the sum over the references; take the one that has most": table(sum),
        "you looked at the first reference only": table(lambda counts: counts[0]),
        "an n-gram must not stand in every reference; one is enough": table(min),
        "each different n-gram was counted once; count how often it was told": [
            [sum(found(run, REFERENCES, n) > 0 for run in runs(TOLD, n)), len(runs(TOLD, n))]
            for n in sizes
        ],
        "clip each n-gram by itself: each may have its most in another reference": [
            [max(found(TOLD, [one], n) for one in REFERENCES), len(TOLD) - n + 1] for n in sizes
        ],
        "there are len(told) - n + 1 runs of n words": [[one, len(TOLD)] for one, _ in right],
        "the two counts are exchanged: the found ones come first": [two[::-1] for two in right],
        "divide by the told n-grams, not by those of a reference: it is a precision": [
            [one, most - n + 1] for (one, _), n in zip(right, sizes, strict=True)
        ],
    }
    got = [answer(list(TOLD), [list(words) for words in REFERENCES], n) for n in sizes]
    if any(one is None or one is ... for one in got):
        raise Unanswered
    if any(np.ndim(one) == 0 for one in got):
        return "give two counts, the found and all, not one number"
    return compare([list(one) for one in got], right, "found and all", mistakes, tolerance=1e-9)


CORPORA = [  # the first is shorter than its references, the second is longer
    (
        ["a small red circle left of a star", "a red cross and a blue square"],
        [
            [  # the second is as near as the last, and shorter
                "a small red circle is left of a star",
                "a red circle and a blue star",
                "a red circle and a star",
            ],
            [
                "there is a large red cross and a square in it",
                "there is a large red cross and a blue square",
                "there is a very large red cross and a blue square in it",
            ],
        ],
    ),
    (
        ["there is a small red circle left of a large blue star", "a cross and a square"],
        [
            ["a small red circle left of a star", "a red circle left of a large blue star"],
            ["a cross and a square", "a cross"],
        ],
    ),
]


def corpus_bleu(
    told: list, references: list, pick: Callable, brevity: Callable, mean: Callable
) -> float:
    """Give BLEU-4 with a choice of parts, right ones and wrong ones."""
    pairs = list(zip(told, references, strict=True))
    shares = [
        sum(found(*pair, n) for pair in pairs) / sum(len(words) - n + 1 for words in told)
        for n in (1, 2, 3, 4)
    ]
    c = sum(map(len, told))
    r = sum(pick([len(one) for one in some], len(words)) for words, some in pairs)
    return brevity(c, r) * mean(shares)


def nearest(lengths: list[int], length: int) -> int:
    """Choose the reference length that is nearest, the shorter one of two."""
    return min((abs(one - length), one) for one in lengths)[1]


def short(c: int, r: int) -> float:
    """Give BLEU's factor for captions that are too short."""
    return min(1.0, math.exp(1 - r / c))


def geometric(shares: list[float]) -> float:
    """Give the geometric mean."""
    return math.prod(shares) ** (1 / len(shares))


@exercise("7.4", "Write `bleu(told, references)`: give BLEU-4 of a set of captions.")
def bleu(answer: Callable) -> str | None:
    """Judge on two sets, one shorter and one longer than the references."""
    sets = [
        (
            [text.split() for text in told],
            [[one.split() for one in some] for some in references],
        )
        for told, references in CORPORA
    ]

    def both(pick: Callable = nearest, brevity: Callable = short, mean: Callable = geometric):
        return [corpus_bleu(*one, pick, brevity, mean) for one in sets]

    each = [
        np.mean([corpus_bleu([t], [r], nearest, short, geometric) for t, r in zip(*s, strict=True)])
        for s in sets
    ]
    mistakes = {
        "the factor for short captions is missing": both(brevity=lambda c, r: 1),
        "the factor must not pass 1: longer captions get no reward": both(
            brevity=lambda c, r: math.exp(1 - r / c)
        ),
        "the factor has c and r exchanged: it is exp(1 - r/c)": both(
            brevity=lambda c, r: min(1, math.exp(1 - c / r))
        ),
        "the factor is exp(1 - r/c), not c/r": both(brevity=lambda c, r: min(1, c / r)),
        "r is the length of the nearest reference, not of the shortest": both(
            pick=lambda lengths, length: min(lengths)
        ),
        "r is the length of the nearest reference, not of the longest": both(
            pick=lambda lengths, length: max(lengths)
        ),
        "if two references are equally near, take the shorter one": both(
            pick=lambda lengths, length: -min((abs(one - length), -one) for one in lengths)[1]
        ),
        "r is the length of the nearest reference, not of the first": both(
            pick=lambda lengths, length: lengths[0]
        ),
        "take the geometric mean of the four precisions, not the arithmetic one": both(
            mean=lambda shares: sum(shares) / len(shares)
        ),
        "you forgot the fourth root": both(mean=math.prod),
        "that is the mean of each caption's BLEU: sum the counts over all captions first": each,
    }
    got = [answer(*one) for one in sets]
    return compare(got if None not in got else None, both(), "BLEU of two sets", mistakes)


# --------------------------------------------------------------------------------------- people


@exercise("7.5", "Write `tau(people, metric)`: give Kendall's tau of two lists of numbers.")
def tau(answer: Callable) -> str | None:
    """Judge on numbers of very different scales."""
    people = [3.9, 1.2, 2.5, 3.1, 1.8, 2.2, 3.6]
    metric = [0.61, 0.08, 0.43, 0.35, 0.12, 0.99, 0.52]
    pairs = list(combinations(range(len(people)), 2))
    agree = sum((people[i] - people[j]) * (metric[i] - metric[j]) > 0 for i, j in pairs)
    right = kendalltau(people, metric).statistic
    mistakes = {
        "divide by the number of pairs": 2 * agree - len(pairs),
        "that is the share of pairs that agree; take off those that disagree": agree / len(pairs),
        "that is the share of pairs that disagree": 1 - agree / len(pairs),
        "the sign is wrong: pairs that agree count plus": -right,
        "each pair was counted once, but divided by n * n: there are n (n - 1) / 2 pairs": (
            2 * agree - len(pairs)
        )
        / len(people) ** 2,
        "a pair counts once: you counted it twice, or divided by half of the pairs": 2 * right,
        "that is Pearson's correlation, of the numbers; tau is of their order": np.corrcoef(
            people, metric
        )[0, 1],
        "that is Spearman's correlation, of the ranks; tau counts pairs": spearmanr(
            people, metric
        ).statistic,
    }
    return compare(answer(people, metric), right, "tau", mistakes)
