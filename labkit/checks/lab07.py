"""Checks of lab 7: generating and scoring captions."""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import torch
from scipy.stats import kendalltau, spearmanr
from torch import Tensor

from labkit.checks import Unanswered, compare, exercise
from labkit.checks.decoding import faulty_greedy, pretrained
from labkit.data.vocabulary import BOS, EOS
from labkit.model.decoder import Decoder
from labkit.model.generation import greedy

Words = Sequence[str]
Part = Callable[..., Any]  # of a computation, right or wrong


@exercise("7.1", "Write `greedy_caption(decoder, a)`: return the ids of the words, a list.")
def greedy_caption(answer: Part) -> str | None:
    """Check the captions of three scenes, with the pretrained model."""
    decoder, features = pretrained(3, seed=11, split="test")
    for a in features.split(1):
        right = greedy(decoder, a)[0].words
        with torch.no_grad():
            got = answer(decoder, a)
        if got is None or got is ...:
            raise Unanswered
        got = got.flatten().tolist() if isinstance(got, Tensor) else list(got)
        if any(isinstance(word, str) for word in got):
            return "return the ids of the words, not the words"
        mine = [int(word) for word in got]
        if mine != right:
            return _fault_of_caption(mine, right, decoder, a)
    return None


def _fault_of_caption(mine: list[int], right: list[int], decoder: Decoder, a: Tensor) -> str:
    """Name what is wrong with a caption that should have been `right`."""
    if mine in ([*right, EOS], [BOS, *right, EOS]):
        return "the words are right, but leave out <eos> at the end"
    if mine == [BOS, *right]:
        return "the words are right, but leave out <bos> at the beginning"
    if mine[: len(right) + 1] == [*right, EOS]:
        return "it continues after <eos>: stop there"
    if len(mine) < len(right) and mine == right[: len(mine)]:
        return f"the caption stops after {len(mine)} words: continue until <eos>, or 20 words"
    if mine == faulty_greedy(decoder, a, feed_last=False, pass_state=True):
        return "every step was given <bos>: give it the word that was generated last"
    if mine == faulty_greedy(decoder, a, feed_last=True, pass_state=False):
        return "every step was given the first state: give it the one that the last step returned"
    return f"the word ids are {mine}, but the most likely ones are {right}"


@exercise("7.2", "Set `found_by_greedy` and `found_by_beam` to the probabilities of two captions.")
def probabilities(answer: Any) -> str | None:
    """Check the probabilities of the two captions."""
    if any(one is None or one is ... for one in answer):
        raise Unanswered
    product = "probabilities; that of a caption is the product over its words"
    mistakes = {
        "they are swapped: greedy first, then beam search": [0.36, 0.21],
        f"these are the last words' {product}": [0.35, 0.9],
        f"these are the first words' {product}": [0.6, 0.4],
        "you added; the probability of two words is the product of both": [0.95, 1.3],
        "greedy never finds 'the sun': it takes 'a' first and cannot go back": [0.36, 0.36],
        "a search with 2 beams also keeps 'the', and so finds what follows it": [0.21, 0.21],
        "these are logarithms; give probabilities": [math.log(0.21), math.log(0.36)],
    }
    return compare(list(answer), [0.21, 0.36], "the pair", mistakes)


# ---------------------------------------------------------------------------------------- BLEU


def ngrams(words: Words, n: int) -> Counter[Words]:
    """Count the runs of n words."""
    return Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))


def found(hypothesis: Words, references: Sequence[Words], n: int, most: Part = max) -> int:
    """Count the n-grams that are found; `most` combines the counts in all references."""
    theirs = [ngrams(words, n) for words in references]
    mine = ngrams(hypothesis, n).items()
    return sum(min(count, most([one[ngram] for one in theirs])) for ngram, count in mine)


CAPTION = ["a", "a", "a", "a", "red", "circle", "on", "a", "star"]
REFERENCES = [t.split() for t in ("a red circle and a star", "a circle on a large red star")]


@exercise(
    "7.3", "Write `matches(hypothesis, references, n)`: count the n-grams found, and all n-grams."
)
def matches(answer: Part) -> str | None:
    """Check the counts for n-grams of one to four words."""
    sizes = (1, 2, 3, 4)
    totals = [len(CAPTION) - n + 1 for n in sizes]
    most = max(map(len, REFERENCES))

    def table(most_of: Part) -> list[list[int]]:
        counts = [found(CAPTION, REFERENCES, n, most_of) for n in sizes]
        return list(map(list, zip(counts, totals, strict=True)))

    right = table(max)
    mistakes = {
        "'a' counts too often: clip each n-gram at its largest count in any one reference": table(
            lambda counts: math.inf if any(counts) else 0
        ),
        "you clipped at the sum over the references; take the largest count": table(sum),
        "you looked at the first reference only": table(lambda counts: counts[0]),
        "an n-gram need not occur in every reference; one is enough": table(min),
        "each distinct n-gram was counted once; count how often it occurs": [
            [
                sum(found(one, REFERENCES, n) > 0 for one in ngrams(CAPTION, n)),
                len(ngrams(CAPTION, n)),
            ]
            for n in sizes
        ],
        "clip each n-gram on its own: each may be most frequent in a different reference": [
            [max(found(CAPTION, [one], n) for one in REFERENCES), len(CAPTION) - n + 1]
            for n in sizes
        ],
        "there are len(hypothesis) - n + 1 n-grams": [[one, len(CAPTION)] for one, _ in right],
        "the two counts are swapped: the found ones come first": [two[::-1] for two in right],
        "the second count is of the hypothesis, not of a reference: this is a precision": [
            [one, most - n + 1] for (one, _), n in zip(right, sizes, strict=True)
        ],
    }
    got = [answer(list(CAPTION), [list(words) for words in REFERENCES], n) for n in sizes]
    if any(one is None or one is ... for one in got):
        raise Unanswered
    if any(np.ndim(one) == 0 for one in got):
        return "return two counts, the n-grams found and all n-grams, not one number"
    return compare([list(one) for one in got], right, "the count", mistakes, tolerance=1e-9)


CORPORA = [  # the first is shorter than its references, the second is longer
    (
        ["a small red circle left of a star", "a red cross and a blue square"],
        [
            [  # the second is as close as the last, and shorter
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
    hypotheses: Sequence[Words], references: Sequence[Sequence[Words]], pick: Part, brevity: Part,
    mean: Part,
) -> float:
    """Return BLEU-4 with a choice of parts, right ones and wrong ones."""
    pairs = list(zip(hypotheses, references, strict=True))
    precisions = [
        sum(found(*pair, n) for pair in pairs) / sum(len(words) - n + 1 for words in hypotheses)
        for n in (1, 2, 3, 4)
    ]
    c = sum(map(len, hypotheses))
    r = sum(pick([len(one) for one in some], len(words)) for words, some in pairs)
    return brevity(c, r) * mean(precisions)


def closest(lengths: list[int], length: int) -> int:
    """Choose the closest reference length, and the shorter one of two equally close."""
    return min((abs(one - length), one) for one in lengths)[1]


def brevity_penalty(c: int, r: int) -> float:
    """Return BLEU's factor for captions that are too short."""
    return min(1.0, math.exp(1 - r / c))


def geometric(values: list[float]) -> float:
    """Return the geometric mean."""
    return math.prod(values) ** (1 / len(values))


@exercise("7.4", "Write `bleu(hypotheses, references)`: return BLEU-4 of a set of captions.")
def bleu(answer: Part) -> str | None:
    """Check two sets, one shorter and one longer than the references."""
    sets = [
        (
            [text.split() for text in hypotheses],
            [[one.split() for one in some] for some in references],
        )
        for hypotheses, references in CORPORA
    ]

    right_parts = closest, brevity_penalty, geometric

    def both(pick: Part = closest, brevity: Part = brevity_penalty,
             mean: Part = geometric) -> list[float]:  # fmt: skip
        return [corpus_bleu(*one, pick, brevity, mean) for one in sets]

    each = [
        np.mean([corpus_bleu([h], [r], *right_parts) for h, r in zip(*one, strict=True)])
        for one in sets
    ]
    mistakes = {
        "the factor for short captions is missing": both(brevity=lambda c, r: 1),
        "the factor must not exceed 1: longer captions get no reward": both(
            brevity=lambda c, r: math.exp(1 - r / c)
        ),
        "the factor has c and r swapped: it is exp(1 - r/c)": both(
            brevity=lambda c, r: min(1, math.exp(1 - c / r))
        ),
        "the factor is exp(1 - r/c), not c/r": both(brevity=lambda c, r: min(1, c / r)),
        "r is the length of the closest reference, not of the shortest": both(
            pick=lambda lengths, length: min(lengths)
        ),
        "r is the length of the closest reference, not of the longest": both(
            pick=lambda lengths, length: max(lengths)
        ),
        "if two references are equally close, take the shorter one": both(
            pick=lambda lengths, length: -min((abs(one - length), -one) for one in lengths)[1]
        ),
        "r is the length of the closest reference, not of the first": both(
            pick=lambda lengths, length: lengths[0]
        ),
        "take the geometric mean of the four precisions, not the arithmetic one": both(
            mean=lambda values: sum(values) / len(values)
        ),
        "you forgot the fourth root": both(mean=math.prod),
        "that is the mean of each caption's BLEU: sum the counts over all captions first": each,
    }
    got = [answer(*one) for one in sets]
    return compare(got if None not in got else None, both(), "BLEU of two sets", mistakes)


# --------------------------------------------------------------------------------------- people


@exercise("7.5", "Write `tau(people, metric)`: return Kendall's tau of two lists of numbers.")
def tau(answer: Part) -> str | None:
    """Check it on numbers of very different scales."""
    people = [3.9, 1.2, 2.5, 3.1, 1.8, 2.2, 3.6]
    metric = [0.61, 0.08, 0.43, 0.35, 0.12, 0.99, 0.52]
    pairs = list(combinations(range(len(people)), 2))
    agree = sum((people[i] - people[j]) * (metric[i] - metric[j]) > 0 for i, j in pairs)
    right = kendalltau(people, metric).statistic
    mistakes = {
        "divide by the number of pairs": 2 * agree - len(pairs),
        "that is the share of pairs that agree; subtract those that disagree": agree / len(pairs),
        "that is the share of pairs that disagree": 1 - agree / len(pairs),
        "the sign is wrong: pairs that agree count as plus": -right,
        "you counted each pair once, but divided by n * n: there are n (n - 1) / 2 pairs": (
            2 * agree - len(pairs)
        )
        / len(people) ** 2,
        "a pair counts once: you counted it twice, or divided by half of the pairs": 2 * right,
        "that is Pearson's correlation of the numbers; tau looks only at their order": np.corrcoef(
            people, metric
        )[0, 1],
        "that is Spearman's correlation of the ranks; tau counts pairs": spearmanr(
            people, metric
        ).statistic,
    }
    return compare(answer(people, metric), right, "tau", mistakes)
