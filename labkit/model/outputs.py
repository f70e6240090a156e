"""What the decoder gives for a batch of captions: the loss of each word, and where it attended."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn.utils import rnn

from labkit.model.attention import AttentionStep


@dataclass
class SampledPlaces:
    """Which regions were sampled, for the objective. All are (B, T), zero after a caption's end.

    Attributes:
        mask: 1 for each word.
        log_p: log p(y_t) of the reference's word, without gradient.
        log_choice: log alpha of the sampled region, 0 for a soft step.
        entropy: Of alpha, in nats.
        baseline: The expected log p of a word; None where the objective computes its own.
    """

    mask: Tensor
    log_p: Tensor
    log_choice: Tensor
    entropy: Tensor
    baseline: Tensor | None


@dataclass
class DecoderOutput:
    """What the decoder predicts for a batch of captions, teacher forced.

    The words of all captions lie one behind the other, step by step; padding is not among them.

    Attributes:
        nll: (words,) -log p(y_t | y_<t, a) of the reference's words, in nats.
        mean_log_p: (words,) the mean of log p over the vocabulary, for label smoothing.
        targets: (words,) the reference's words.
        alpha: (B, T, L) the weights, zero after a caption's end.
        sampled: The sampled regions, for mechanisms that learn from them; else None.
        distribution: Computes `log_p`.
    """

    nll: Tensor
    mean_log_p: Tensor
    targets: Tensor
    alpha: Tensor
    sampled: SampledPlaces | None
    distribution: Callable[[], Tensor] = field(repr=False)

    @property
    def log_p(self) -> Tensor:
        """(words, V) log p of all words, computed when asked for: the loss needs `nll` alone."""
        return self.distribution()


def by_caption(
    log_p: Tensor, steps: Sequence[AttentionStep], targets: rnn.PackedSequence
) -> tuple[Tensor, SampledPlaces | None]:
    """Lay out by caption and step where the words attended.

    Args:
        log_p: (words,) log p of the reference's words, without gradient.
        steps: Where each step attended.
        targets: The words, packed.

    Returns:
        alpha (B, T, L), and the sampled regions, if there are any.
    """

    def table(rows: Tensor) -> Tensor:
        """From (words, ...) to (B, T, ...), zero after a caption's end."""
        return rnn.pad_packed_sequence(rnn.PackedSequence(rows, *targets[1:]), batch_first=True)[0]

    def gathered(name: str) -> Tensor | None:
        parts = [getattr(step, name) for step in steps]
        return None if parts[0] is None else table(rows(parts))

    sampled = None
    if (log_choice := gathered("log_choice")) is not None:
        entropy = gathered("entropy")
        assert entropy is not None  # a mechanism that samples gives both
        words = table(torch.ones_like(log_p))
        sampled = SampledPlaces(words, table(log_p), log_choice, entropy, gathered("baseline"))
    return table(rows([step.alpha for step in steps])), sampled


def rows(parts: Sequence[Tensor]) -> Tensor:
    """Put the (n, 1, ...) of all steps one below the other: (words, ...)."""
    return torch.cat([part[:, 0] for part in parts])
