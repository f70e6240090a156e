"""The LSTM decoder: Xu et al. 2015, section 3.1.2, with the gate of section 4.2.1.

Fast by construction, at no cost in clarity: the features are projected once and not at each word,
the words' share of the LSTM's gates is one product for all steps, one product of ``h`` serves
attention, gate and LSTM, the batch shrinks as its shorter captions end, and the vocabulary
product is done once for all words of the batch.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, pad
from torch.nn.utils import rnn

from labkit.data.vocabulary import PAD
from labkit.model.attention import AttentionStep, EncodedImage
from labkit.model.config import ModelConfig
from labkit.model.gradients import (
    StepLinear,
    at_least_float32,
    compute_dtype,
    word_log_likelihood,
)
from labkit.model.hard_attention import ATTENTIONS

EVEN = 64  # the words of a batch are filled up to a multiple of this: oneDNN makes new code for
# each size of a product that it has not met, and that takes longer than the product itself


@dataclass
class State:
    """The LSTM's state between two words: ``h`` and ``c``, (N, K, H) each."""

    h: Tensor
    c: Tensor


class Layers(NamedTuple):
    """What a step of the LSTM passes: `Decoder.W_h` and `Decoder.W_z`, or their fast forms."""

    W_h: Callable[[Tensor], Tensor]
    W_z: Callable[[Tensor], Tensor]


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
        log_p: (words,) log p(y_t | y_<t, a) of the reference's words.
        mean_log_p: (words,) the mean of log p over the vocabulary, for label smoothing.
        alpha: (B, T, L) the weights, zero after a caption's end.
        sampled: The sampled regions, for mechanisms that learn from them; else None.
    """

    log_p: Tensor
    mean_log_p: Tensor
    alpha: Tensor
    sampled: SampledPlaces | None = None


class Decoder(nn.Module):
    """An LSTM that attends to the image before each word.

    Args:
        config: Its sizes, dropout and attention mechanism.

    Example:
        >>> import torch
        >>> from labkit import Decoder, ModelConfig
        >>> decoder = Decoder(ModelConfig(vocab_size=12, encoder_dim=8)).eval()
        >>> a = torch.randn(2, 49, 8)  # annotation vectors of two images
        >>> decoder(a, torch.tensor([[1, 5, 6, 2], [1, 7, 2, 0]])).alpha.shape
        torch.Size([2, 3, 49])
    """

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.config = config
        D, E, H, A = config.feature_dim, config.embed_dim, config.hidden_dim, config.attention_dim
        # Networks give features of any size: those of stride 16 are six times those of the last
        # block, enough to saturate every tanh below. So each vector is normalised first.
        self.norm = nn.LayerNorm(config.encoder_dim, elementwise_affine=False)
        self.reduce = nn.Linear(config.encoder_dim, D, bias=False)
        self.attention = ATTENTIONS[config.attention](config)
        self.embedding = nn.Embedding(config.vocab_size, E)  # the matrix E
        self.init_hc = nn.Linear(D, 2 * H)  # the two MLPs that start h and c
        self.W_y = nn.Linear(E, 4 * H)  # the LSTM's gates: the word's share,
        self.W_z = nn.Linear(D, 4 * H, bias=False)  # the context's share,
        self.W_h = nn.Linear(H, A + 1 + 4 * H)  # the state's: query, gate beta, LSTM gates
        self.L_h = nn.Linear(H, E)
        self.L_z = nn.Linear(D, E, bias=False)
        self.bias = nn.Parameter(torch.zeros(config.vocab_size))  # of L_o, which is the matrix E:
        # a word is predicted by the same vector that reads it
        self.dropout = nn.Dropout(config.dropout)
        self.word_dropout = nn.Dropout(config.word_dropout)
        self.feature_dropout = nn.Dropout1d(config.feature_dropout)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Small embeddings; a forget gate that starts open, so that early words are remembered."""
        nn.init.normal_(self.embedding.weight, std=self.config.embed_dim**-0.5)
        H, A = self.config.hidden_dim, self.config.attention_dim
        nn.init.ones_(self.W_h.bias.detach()[A + 1 + H : A + 1 + 2 * H])

    def init_state(
        self, a: Tensor, captions: int = 1, attention_mode: str | None = None
    ) -> tuple[EncodedImage, State]:
        """Encode N images, and start the LSTM.

        Args:
            a: Annotation vectors (N, L, D) of the encoder.
            captions: K, how many captions of each image are generated side by side.
            attention_mode: See `labkit.model.attention.Attention.encode`.

        Returns:
            The encoded images; and h_0, c_0 from the mean annotation vector (the two unnumbered
            equations between eq. 6 and eq. 7).
        """
        a = self.reduce(self._normalised(a))
        return self.attention.encode(a, attention_mode), self._first_state(a.mean(1), captions)

    def _normalised(self, a: Tensor) -> Tensor:
        """Normalise each vector, and drop some channels in all regions: (N, L, encoder_dim)."""
        a = a.to(compute_dtype(a))
        with torch.autocast(a.device.type, enabled=False):  # it would compute in float32
            return self.feature_dropout(self.norm(a).mT).mT

    def _first_state(self, mean: Tensor, captions: int = 1) -> State:
        # `equations.initial_state`, by one product
        hc = torch.tanh(self.init_hc(mean).unsqueeze(1))  # (N, 1, 2H)
        return State(*hc.expand(-1, captions, -1).chunk(2, -1))

    def lstm_step(
        self, word_gates: Tensor, image: EncodedImage, state: State, layers: Layers | None = None
    ) -> tuple[State, Tensor, AttentionStep]:
        """One step of attention, gate and LSTM.

        Args:
            word_gates: The share of y_{t-1} in the LSTM's gates, (N, K, 4H).
            image: The images.
            state: h_{t-1} and c_{t-1}.
            layers: What stands for `W_h` and `W_z`; None: themselves.

        Returns:
            The new state. The context z_t that the word is predicted from, (N, K, D); or for a
            mixture those of its components, (N, K, P, D). And where it attended.
        """
        H, A = self.config.hidden_dim, self.config.attention_dim
        layers = layers or self
        # W_h h_{t-1} of eq. 4, the gate's and W_h h_{t-1} of eq. 1, by one product
        query, gate, hidden_gates = layers.W_h(state.h).split([A, 1, 4 * H], -1)
        context, step = self.attention(image, query, state.h)  # (N, K, D)
        # `equations.context_gate`: beta_t = sigma(f_beta(h_{t-1}))
        beta = torch.sigmoid(gate)  # (N, K, 1)
        z = beta * context  # (N, K, D)
        # `equations.lstm_gates`, `lstm_memory` and `lstm_hidden`; W_y E y_{t-1} comes ready-made
        gates = word_gates + hidden_gates + layers.W_z(z)  # eq. 1
        i, f, o, g = gates.chunk(4, -1)  # (N, K, H)
        c = torch.sigmoid(f) * state.c + torch.sigmoid(i) * torch.tanh(g)  # eq. 2
        h = torch.sigmoid(o) * torch.tanh(c)  # eq. 3
        if step.mixture is not None:
            z = beta.unsqueeze(2) * _components(step.mixture, image.a)  # (N, K, P, D)
        return State(h, c), z, step

    def word_log_probs(self, embedded: Tensor, h: Tensor, z: Tensor) -> Tensor:
        """Give log p(y_t) from L_o(E y_{t-1} + L_h h_t + L_z z_t), eq. 7.

        Args:
            embedded: E y_{t-1}, (..., E).
            h: h_t, (..., H).
            z: z_t, (..., D).

        Returns:
            (..., V), in float32 or finer.
        """
        # `equations.logits` and `word_probabilities`, for as many words as there are, in logarithms
        return self._output(self.dropout(embedded + self.L_h(h) + self.L_z(z)))

    def mixture_log_probs(
        self, embedded: Tensor, h: Tensor, z: Tensor, log_mixture: Tensor
    ) -> Tensor:
        """Give log of sum_p exp(log_mixture_p) p(y_t | z_tp): eq. 7, summed over components.

        Args:
            embedded: E y_{t-1}, (..., E).
            h: h_t, (..., H).
            z: The components' contexts, (..., P, D).
            log_mixture: The logarithms of their shares, (..., P).

        Returns:
            (..., V), in float32 or finer.
        """
        kept = self.dropout(torch.ones_like(embedded)).unsqueeze(-2)  # the same for all components
        log_p = self._output(((embedded + self.L_h(h)).unsqueeze(-2) + self.L_z(z)) * kept)
        return (log_p + log_mixture[..., None]).logsumexp(-2)

    def _output(self, mixed: Tensor) -> Tensor:
        logits = linear(mixed, self.embedding.weight, self.bias)  # L_o is the matrix E
        return at_least_float32(logits).log_softmax(-1)

    def step(
        self, words: Tensor, image: EncodedImage, state: State
    ) -> tuple[Tensor, State, AttentionStep]:
        """Predict one word more.

        Args:
            words: The previous words, (N, K).
            image: The images.
            state: The state before those words.

        Returns:
            log p of each next word (N, K, V), the new state, and where it attended.
        """
        embedded = self.word_dropout(self.embedding(words))
        state, z, step = self.lstm_step(self.W_y(embedded), image, state)
        if step.log_mixture is not None:
            log_p = self.mixture_log_probs(embedded, state.h, z, step.log_mixture)
        else:
            log_p = self.word_log_probs(embedded, state.h, z)
        return log_p, state, step

    def forward(
        self, a: Tensor, captions: Tensor, attention_mode: str | None = None
    ) -> DecoderOutput:
        """Predict captions, each word from the reference's words before it (teacher forcing).

        Args:
            a: Annotation vectors, one image for each caption, (B, L, D).
            captions: Word ids (B, T + 1), ``<bos>`` first, ``<pad>`` after ``<eos>``.
            attention_mode: See `labkit.model.attention.Attention.encode`.
        """
        lengths = (captions[:, 1:] != PAD).sum(1).cpu()
        targets = rnn.pack_padded_sequence(captions[:, 1:], lengths, True, enforce_sorted=False)
        words = rnn.pack_padded_sequence(captions[:, :-1], lengths, True, enforce_sorted=False)
        sizes = words.batch_sizes.tolist()  # n_t, how many captions have not ended
        a = self._normalised(a[words.sorted_indices])  # longest caption first
        image = self.attention.encode(a, attention_mode, self.reduce)
        # sum_i alpha_i (R a_i) = R sum_i alpha_i a_i: one vector a word passes R, not all regions
        image.reduce = StepLinear(self.reduce, sizes, a.dtype)
        layers = Layers(StepLinear(self.W_h, sizes, a.dtype), StepLinear(self.W_z, sizes, a.dtype))
        state = self._first_state(self.reduce(a.mean(1)))
        embedded = self.word_dropout(self.embedding(words.data))
        # W_y E y_{t-1} of `equations.lstm_gates`, for the words of all steps at once
        gates = self.W_y(embedded).unsqueeze(1).split(sizes)
        hidden, contexts, steps = [], [], []
        for word_gates in gates:  # (n, 1, 4H) for the n captions that have not ended
            if (n := len(word_gates)) < len(state.h):
                image, state = image.first(n), State(state.h[:n], state.c[:n])
            state, z, step = self.lstm_step(word_gates, image, state, layers)
            hidden.append(state.h)
            contexts.append(z)
            steps.append(step)
        h, z = _rows(hidden), _rows(contexts)  # (words, ...)
        mixed = self.dropout(embedded + self.L_h(h) + self.L_z(z))
        log_p, mean_log_p = word_log_likelihood(
            mixed, self.embedding.weight, self.bias, targets.data
        )
        return _output(log_p, mean_log_p, targets, steps)


def _components(mixture: Tensor, a: Tensor) -> Tensor:
    """The context of each component: (N, K, P, L) x (N, L, D) -> (N, K, P, D)."""
    return (mixture.flatten(1, 2).to(a.dtype) @ a).unflatten(1, mixture.shape[1:3])


def _rows(parts: Sequence[Tensor]) -> Tensor:
    """Put the (n, 1, ...) of all steps one below the other: (words, ...)."""
    return torch.cat([part[:, 0] for part in parts])


def _output(
    log_p: Tensor, mean_log_p: Tensor, targets: rnn.PackedSequence, steps: Sequence[AttentionStep]
) -> DecoderOutput:
    """Lay out by caption and step where the words attended."""

    def table(rows: Tensor) -> Tensor:
        """From (words, ...) to (B, T, ...), zero after a caption's end."""
        return rnn.pad_packed_sequence(rnn.PackedSequence(rows, *targets[1:]), batch_first=True)[0]

    def gathered(name: str) -> Tensor | None:
        parts = [getattr(step, name) for step in steps]
        return None if parts[0] is None else table(_rows(parts))

    sampled = None
    if (log_choice := gathered("log_choice")) is not None:
        right = log_p.detach()
        sampled = SampledPlaces(
            table(torch.ones_like(right)), table(right), log_choice, gathered("entropy"),
            gathered("baseline"),
        )  # fmt: skip
    return DecoderOutput(log_p, mean_log_p, gathered("alpha"), sampled)


def pad_captions(captions: Sequence[Sequence[int]]) -> Tensor:
    """Put captions of word ids into one tensor (C, longest), with ``<pad>`` at the ends."""
    return rnn.pad_sequence([torch.tensor(ids) for ids in captions], True, PAD)
