"""A generated caption, the words that none has, and the one of several that agrees most."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from labkit.data.vocabulary import BOS, PAD, UNK

EVIDENCE = 0.015
"""What a nat of a word detector's evidence counts beside the agreement, which goes from 0 to 1.

Chosen on Flickr8k's dev split, see `benchmarks/experiments.md`.
"""
NEVER_GENERATED = [PAD, BOS, UNK]
"""The model may well have learned to predict ``<unk>``, but it means nothing to a reader."""


@dataclass(frozen=True)
class Caption:
    """What was generated for one image.

    Attributes:
        words: Word ids, without ``<bos>`` and ``<eos>``.
        score: log p of the words, and of ``<eos>`` where it came; for beam search see there.
        alpha: (len(words), L) where each word attended.
        evidence: What a word detector says of the words, see `labkit.model.word_detector`: nats,
            the mean over the different ones; None if none was asked.
    """

    words: list[int]
    score: float
    alpha: Tensor
    evidence: float | None = None


def minimum_bayes_risk(
    captions: Sequence[Sequence[int]], scores: Sequence[float], temperature: float = 0.35,
    evidence: Tensor | None = None,
) -> int:  # fmt: skip
    """Which caption agrees most with all of them: minimum Bayes risk (Kumar & Byrne 2004).

    Two captions agree by the F1 score of the n-grams of one to four words that they share. Each
    counts by exp(score / ``temperature``), the caption itself among them: it agrees wholly with
    itself, so of two that agree equally with the others the more likely one is returned.

    Args:
        captions: Word ids; at least one caption.
        scores: How likely each is, a logarithm.
        temperature: The lower, the more the likely captions count.
        evidence: (V,) what each word brings, by a word detector, see `labkit.model.word_detector`:
            the agreement of a caption grows by `EVIDENCE` times the sum over its different words.

    Returns:
        Its number.
    """
    numbers: dict[tuple[int, ...], int] = {}  # of the different n-grams
    each = [
        [
            numbers.setdefault(ngram, len(numbers))
            for n in range(1, 5)
            for ngram in zip(*(words[k:] for k in range(n)), strict=False)
        ]
        for words in captions
    ]
    # how often each caption has each n-gram, (captions, n-grams)
    counts = torch.stack(
        [torch.tensor(ids, dtype=torch.long).bincount(minlength=len(numbers)) for ids in each]
    ).float()
    shared = torch.stack([counts.minimum(row).sum(1) for row in counts])
    sizes = counts.sum(1)
    agreement = 2 * shared / (sizes + sizes[:, None]).clamp(min=1)
    shares = torch.tensor(scores).div(temperature).softmax(0)
    value = agreement @ shares
    if evidence is not None:
        brought = [evidence[sorted({*words})].sum() for words in captions]
        value += EVIDENCE * torch.stack(brought).cpu()
    return int(value.argmax())


def forbid(log_p: Tensor, suppress_tokens: Sequence[int]) -> None:
    """Take all probability from words: from `NEVER_GENERATED`, and from those that are named.

    Args:
        log_p: (..., V) of the next words, changed in place.
        suppress_tokens: Word ids.

    Raises:
        ValueError: There is no such word, or no other is left.
    """
    if wrong := [word for word in suppress_tokens if not 0 <= word < log_p.shape[-1]]:
        raise ValueError(f"suppress_tokens has {wrong[0]}: ids go from 0 to {log_p.shape[-1] - 1}")
    never = {*NEVER_GENERATED, *suppress_tokens}
    if len(never) == log_p.shape[-1]:
        raise ValueError("all words are suppressed: leave one, or <eos>")
    log_p[..., [*never]] = -torch.inf


def forbid_repeats(log_p: Tensor, generated: Tensor, n: int) -> None:
    """Take all probability from the last word, and from those that would repeat an n-gram.

    Args:
        log_p: (N, k, V) of the next words, changed in place.
        generated: (N, k, t) the words so far.
        n: The length of an n-gram.
    """
    length = generated.shape[-1]
    log_p.scatter_(-1, generated[..., -1:], -torch.inf)
    for begin in range(length - n + 1):
        again = generated[..., begin : begin + n - 1] == generated[..., length - n + 1 :]
        word = generated[..., begin + n - 1, None]
        repeats = again.all(-1, keepdim=True)  # (N, k, 1)
        banned = log_p.gather(-1, word).masked_fill(repeats, -torch.inf)
        log_p.scatter_(-1, word, banned)
