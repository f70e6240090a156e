"""Statistics of attention maps: how sharp they are, how much they move, how similar they are.

They need no bounding boxes, so they apply to photographs, too.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class MapScores:
    """Means over the generated words or captions.

    Attributes:
        entropy: Of a word's weights, in nats: 0 at a single region, log L if all are equal.
        moves: The share of pairs of successive words whose largest weights lie on different
            regions.
        coverage: How much of its T words' attention a caption spreads over different regions:
            sum_i min(1, sum_t alpha_ti) / min(T, L). It is 1 if no region gets more than one
            word's share, and 1 / T if all words look at one region.
    """

    entropy: float
    moves: float
    coverage: float


@dataclass(frozen=True)
class Agreement:
    """How similar two sets of maps of the same words are.

    Attributes:
        same_place: The share of words whose largest weights lie on the same region.
        overlap: The mean of sum_i min(alpha_i, alpha'_i): 1 for identical maps.
    """

    same_place: float
    overlap: float


def map_scores(maps: Sequence[Tensor]) -> MapScores:
    """Compute the statistics of the maps of some captions.

    Args:
        maps: For each caption the weights (T, L) of its words.
    """
    maps = [alpha for alpha in maps if len(alpha)]
    entropies = [torch.special.entr(alpha).sum(-1) for alpha in maps]  # (T,) each
    moves = [alpha.argmax(-1).diff() != 0 for alpha in maps]  # (T - 1,) each
    covers = [alpha.sum(0).clamp(max=1).sum() / min(alpha.shape) for alpha in maps]
    return MapScores(_mean(entropies), _mean(moves), _mean([cover[None] for cover in covers]))


def agreement(one: Sequence[Tensor], other: Sequence[Tensor]) -> Agreement:
    """Compare the maps of two models, or of two trainings of one model, word by word.

    Args:
        one: For each caption the weights (T, L), teacher forced: the words must be the same.
        other: The same for the other model.

    Raises:
        ValueError: The captions do not have the same number of words or regions.
    """
    if [alpha.shape for alpha in one] != [alpha.shape for alpha in other]:
        raise ValueError("maps to compare must be of the same words: use teacher forcing for both")
    pairs = list(zip(one, other, strict=True))
    return Agreement(
        _mean([a.argmax(-1) == b.argmax(-1) for a, b in pairs]),
        _mean([torch.minimum(a, b).sum(-1) for a, b in pairs]),
    )


def _mean(parts: Sequence[Tensor]) -> float:
    """The mean of all numbers; 0 if there are none."""
    numbers = torch.cat([torch.zeros(0), *(part.float() for part in parts)])
    return numbers.mean().item() if len(numbers) else 0.0
