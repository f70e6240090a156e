"""How good a mechanism's gradient estimate is at a fixed model: its variance and its bias.

The model, the images and the captions stay as they are, and there is no dropout. Only the regions
that the attention samples vary, so the gradient of soft attention does not vary at all.
"""

import copy
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from labkit.model.decoder import Decoder
from labkit.training.objective import Objective


@dataclass(frozen=True)
class Moments:
    """Mean and variance of a gradient estimate, for a group of parameters of n numbers.

    Attributes:
        mean: (n,) over the samples.
        variance: (n,) of one sample.
        draws: The number of samples.
    """

    mean: Tensor
    variance: Tensor
    draws: int

    @property
    def size(self) -> float:
        """The norm of the mean."""
        return self.mean.norm().item()

    @property
    def total_variance(self) -> float:
        """The variances of all numbers, summed: the mean squared distance from the mean."""
        return self.variance.sum().item()

    def bias(self, reference: "Moments") -> tuple[float, float]:
        """Measure the bias against an unbiased estimator of the same gradient.

        Returns:
            The distance of the two means, and how large it would be by chance alone.
        """
        chance = self.variance / self.draws + reference.variance / reference.draws
        return (self.mean - reference.mean).norm().item(), chance.sum().sqrt().item()


def with_attention(decoder: Decoder, attention: str, **options: Any) -> Decoder:
    """Return a decoder with the same weights and another attention mechanism.

    Args:
        decoder: The decoder, which stays as it is.
        attention: A key of `labkit.model.hard_attention.ATTENTIONS`.
        options: Fields of `labkit.model.config.ModelConfig`.

    Raises:
        ValueError: A field is unknown, or a value out of range.
    """
    other = Decoder(replace(decoder.config, attention=attention, **options))
    other.load_state_dict(decoder.state_dict(), strict=False)  # a baseline it may not have
    return other.to(next(decoder.parameters()))


def moments(
    decoder: Decoder, objective: Objective, a: Tensor, captions: Tensor, draws: int = 50
) -> dict[str, Moments]:
    """Estimate the gradient of a batch's loss per word many times.

    Args:
        decoder: The decoder, which stays as it is.
        objective: The loss.
        a: Annotation vectors (B, L, D).
        captions: Word ids (B, T + 1).
        draws: How many times.

    Returns:
        The moments of its gradient for each part of the decoder ("attention" makes the scores).
    """
    decoder = copy.deepcopy(decoder).eval()
    decoder.attention.train()  # it samples as in training; nothing else does
    a, captions = (x.repeat_interleave(objective.config.samples, 0) for x in (a, captions))
    for _ in range(30):  # as in a long training: until a moving average has settled
        with torch.no_grad():
            loss = objective(decoder(a, captions))
        decoder.attention.update_baseline(-loss.nll / loss.words)
    sums: dict[str, list[Tensor]] = {}
    for draw in range(1, draws + 1):
        for name, grad in _gradient(decoder, objective, a, captions).items():
            mean, squares = sums.setdefault(name, [torch.zeros_like(grad), torch.zeros_like(grad)])
            step = grad - mean
            mean += step / draw  # Welford's way: no difference of large numbers
            squares += step * (grad - mean)
    found = sums.items()
    return {name: Moments(mean, sq / max(draws - 1, 1), draws) for name, (mean, sq) in found}


def _gradient(
    decoder: Decoder, objective: Objective, a: Tensor, captions: Tensor
) -> dict[str, Tensor]:
    """One estimate, by parts of the decoder."""
    decoder.zero_grad()
    loss = objective(decoder(a, captions))
    (loss.total / loss.words).backward()
    decoder.attention.update_baseline(-loss.nll / loss.words)
    parts: dict[str, list[Tensor]] = {}
    for name, parameter in decoder.named_parameters():
        baseline = "baseline_head" in name  # which is not part of the model
        if parameter.grad is not None and not baseline:
            parts.setdefault(name.split(".")[0], []).append(parameter.grad.flatten().double())
    return {name: torch.cat(grads) for name, grads in parts.items()}
