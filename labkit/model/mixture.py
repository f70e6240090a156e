"""Words predicted from a mixture: p(y_t) = sum_p share_p p(y_t | z_tp), with eq. 7 for each p.

For `labkit.model.hard_attention.MarginalAttention`. A component costs as much as a word does
without a mixture: a product with the whole vocabulary. So only those with a share are computed, and
all of them, of all words of a batch, by one product. The loss needs the targets' probabilities
alone, and never the mixture of all the others.
"""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn.utils import rnn

from labkit.model.attention import Attention, AttentionStep, EncodedImage, Layer, one_place
from labkit.model.draws import dropout
from labkit.model.gradients import even, log_probs, word_log_likelihood
from labkit.model.outputs import rows


class OutputLayers(Protocol):
    """The layers of a `labkit.model.decoder.Decoder` that predict a word."""

    reduce: nn.Linear
    L_h: nn.Linear
    L_z: nn.Linear
    embedding: nn.Embedding
    bias: nn.Parameter
    dropout: nn.Dropout
    attention: Attention


def log_probs_of_step(
    decoder: OutputLayers, embedded: Tensor, h: Tensor, image: EncodedImage, step: AttentionStep
) -> Tensor:
    """Log p of each next word, (N, K, V), of a `labkit.model.decoder.Decoder`.

    Args:
        decoder: Its output layer is used.
        embedded: E y_{t-1}, (N, K, E).
        h: h_t, (N, K, H).
        image: The images.
        step: Where the step attended.
    """
    found, layers = step.mixture, image.layers
    assert found is not None and layers is not None and step.beta is not None
    weights = torch.cat([one_place(found.places, found.rest), found.rest.unsqueeze(2)], 2)
    contexts = (weights.flatten(1, 2).to(image.a.dtype) @ image.a).unflatten(1, weights.shape[1:3])
    z = step.beta.unsqueeze(2) * layers.reduce(contexts)  # (N, K, P + 1, D)
    mixed = (embedded + decoder.L_h(h)).unsqueeze(2) + layers.L_z(z)  # (N, K, P + 1, E)
    kept = decoder.dropout(torch.ones_like(embedded)).unsqueeze(2)  # the same for all components
    log_p = log_probs(mixed * kept, decoder.embedding.weight, decoder.bias)
    return (log_p + found.log_shares.unsqueeze(-1)).logsumexp(2)


class Components:
    """The components of all words of a batch: each word's rest, and its regions with a share.

    Args:
        decoder: Its output layer is used.
        embedded: E y_{t-1} of all words, (words, E), step by step.
        h: h_t, (words, H).
        a: The images' vectors, those with long captions first.
        steps: Where each step attended; K is 1.
        reduce: The layer that reduces contexts made of ``a``; None if ``a`` is reduced.
    """

    def __init__(
        self, decoder: OutputLayers, embedded: Tensor, h: Tensor, a: Tensor,
        steps: Sequence[AttentionStep], reduce: Layer | None,
    ):  # fmt: skip
        mixtures = [step.mixture for step in steps if step.mixture is not None]  # all have one
        betas = [step.beta for step in steps if step.beta is not None]
        sizes = [len(step.alpha) for step in steps]
        self.log_shares = rows([one.log_shares for one in mixtures])  # (words, P + 1)
        # the single regions that have a share: word w, component p
        w, p = self.log_shares[:, :-1].isfinite().nonzero(as_tuple=True)
        image = torch.cat([torch.arange(n, device=a.device) for n in sizes])  # of each word
        single = a[image[w], rows([one.places for one in mixtures])[w, p]]
        rest = _of_all_steps(rows([one.rest for one in mixtures]).to(a.dtype), a, sizes)
        last = torch.full_like(image, self.log_shares.shape[1] - 1)
        self.w = w = torch.cat([w, torch.arange(len(image), device=a.device)])  # (components,)
        self.p = torch.cat([p, last])
        contexts = even(torch.cat([single, rest]))
        contexts = (contexts if reduce is None else reduce(contexts))[: len(w)]
        z = rows(betas)[w] * contexts
        # the same for all components
        kept = dropout(decoder.dropout, torch.ones_like(embedded), decoder.attention.draws, "words")
        kept = kept[w]
        mixed = ((embedded + decoder.L_h(h))[w] + decoder.L_z(even(z))[: len(w)]) * kept
        self.output = mixed, decoder.embedding.weight, decoder.bias

    def log_likelihood(self, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Log p of the targets, and the components' means of log p, by their shares.

        Args:
            targets: (words,) word ids.

        Returns:
            (words,) each, in float32 or finer.
        """
        log_p, mean = word_log_likelihood(*self.output, targets[self.w])
        mean = mean * self.log_shares[self.w, self.p].exp()
        return self._sum(log_p), torch.zeros_like(mean[: len(targets)]).index_add(0, self.w, mean)

    def log_probs(self) -> Tensor:
        """Log p of all words, (words, V)."""
        return self._sum(log_probs(*self.output))

    def _sum(self, log_p: Tensor) -> Tensor:
        """From log p of the components, (components, ...), to that of their sum, (words, ...)."""
        more = (1,) * (log_p.dim() - 1)
        table = log_p.new_full((*self.log_shares.shape, *log_p.shape[1:]), -torch.inf)
        shares = self.log_shares[self.w, self.p].view(-1, *more)
        return table.index_put((self.w, self.p), log_p + shares).logsumexp(1)


def _of_all_steps(weights: Tensor, a: Tensor, sizes: Sequence[int]) -> Tensor:
    """The contexts of all words, (words, D), from their weights (words, L), by one product."""
    steps = rnn.PackedSequence(weights, torch.tensor(sizes))
    table, lengths = rnn.pad_packed_sequence(steps, batch_first=True)  # (B, T, L)
    return rnn.pack_padded_sequence(table @ a, lengths, batch_first=True).data
