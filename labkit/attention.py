"""Where to look: a score for each region, weights from the scores, and how the weights are used.

Every mechanism here scores the regions in the same way (`Attention.scores`) and differs only in
`Attention.choose`: what it makes of the scores. Decoder, training, decoding and figures call
these two methods and do not know which mechanism they have.

Symbols as in Xu et al. 2015 (arXiv 1502.03044): annotation vectors ``a`` (N, L, D), weights
``alpha`` (N, K, L). N pictures are looked at together, and K captions are told of each at once:
one in training, the width of the beam in beam search. So a beam never copies the features.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass
class Seen:
    """What the decoder keeps of N pictures while it tells them."""

    a: Tensor  # (N, L, D) annotation vectors
    keys: Tensor  # (N, L, A) 2 (W_a a + b): does not depend on the step, computed once


@dataclass
class Glance:
    """Where one step looked."""

    alpha: Tensor  # (N, K, L) the weights; they sum to 1 over the regions
    weights: Tensor  # (N, K, L) what the context is made with: alpha, or one-hot


class Attention(nn.Module):
    """The attention model f_att, a perceptron with one hidden layer (eq. 4).

    Some peers use ReLU in place of tanh, or a sum of tanhs without ``v``. The paper leaves the
    choice open; its code has tanh and ``v``, and so have we.

    Args:
        feature: D, the size of an annotation vector.
        size: A, the size of the hidden layer.
    """

    def __init__(self, feature: int, size: int):
        super().__init__()
        self.of_region = nn.Linear(feature, size)  # W_a and b
        self.v = nn.Parameter(torch.empty(size).uniform_(-1, 1) * size**-0.5)

    def see(self, a: Tensor) -> Seen:
        """Project the annotation vectors (N, L, D) once, for all steps."""
        return Seen(a, 2 * self.of_region(a))  # keys (N, L, A), twice W_a a + b: see `scores`

    def scores(self, seen: Seen, query: Tensor) -> Tensor:
        """e_ti = v . tanh(W_a a_i + W_s h_{t-1} + b), eq. 4.

        Args:
            seen: N pictures.
            query: W_s h_{t-1}, (N, K, A).

        Returns:
            Scores (N, K, L), in float32: a softmax in bf16 loses places of small weight.

        A CPU computes sigmoid in bf16 several times faster than tanh, and
        tanh(x) = 2 sigmoid(2x) - 1 exactly. The keys hold the 2 of 2x already.
        """
        half = torch.sigmoid(seen.keys.unsqueeze(1) + 2 * query.unsqueeze(2))  # (N, K, L, A)
        return (2 * (half @ self.v) - self.v.sum()).float()  # (N, K, L)

    def choose(self, scores: Tensor) -> Glance:
        """Turn scores (N, K, L) into weights. Each mechanism has its own way."""
        raise NotImplementedError

    def forward(self, seen: Seen, query: Tensor) -> tuple[Tensor, Glance]:
        """Look once.

        Args:
            seen: N pictures.
            query: W_s h_{t-1}, (N, K, A).

        Returns:
            phi(a, alpha) (N, K, D), before the gate, and the `Glance`.
        """
        glance = self.choose(self.scores(seen, query))
        return glance.weights.to(seen.a.dtype) @ seen.a, glance  # (N, K, L) x (N, L, D)


class SoftAttention(Attention):
    """Deterministic 'soft' attention: the context is the expected annotation vector (eq. 13)."""

    def choose(self, scores: Tensor) -> Glance:
        """alpha_ti = softmax over the regions (eq. 5), used as it is."""
        alpha = scores.softmax(-1)  # (N, K, L)
        return Glance(alpha, alpha)


ATTENTIONS = {"soft": SoftAttention}
