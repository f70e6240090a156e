"""The LSTM decoder: Xu et al. 2015, section 3.1.2, with the gate of section 4.2.1.

Fast, and still the equations line by line: what does not change is computed once and not at each
word, products of all words are one product, and the batch shrinks as its shorter captions end. The
book's chapter 'Why is it fast?' has the reasons and the measured gains.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import linear
from torch.nn.utils import rnn

from labkit.data.vocabulary import PAD
from labkit.model import mixture
from labkit.model.attention import AttentionStep, EncodedImage, Layer, Layers
from labkit.model.config import ModelConfig
from labkit.model.draws import dropout
from labkit.model.gradients import StepLinear, compute_dtype, even, log_probs, word_log_likelihood
from labkit.model.hard_attention import ATTENTIONS
from labkit.model.outputs import DecoderOutput, by_caption, rows

FEW_WORDS = 10  # words that a caption has at least, about


@dataclass
class State:
    """The LSTM's state between two words: ``h`` and ``c``, (N, K, H) each."""

    h: Tensor
    c: Tensor


class StepDecoder(Protocol):
    """What generation calls: a `Decoder`, or one that an intervention stands before."""

    def init_state(
        self, a: Tensor, captions: int = 1, attention_mode: str | None = None
    ) -> tuple[EncodedImage, State]:
        """See `Decoder.init_state`."""

    def step(
        self, words: Tensor, image: EncodedImage, state: State
    ) -> tuple[Tensor, State, AttentionStep]:
        """See `Decoder.step`."""


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
        query = A if config.scores_see_word else 0
        self.W_y = nn.Linear(E, 4 * H + query)  # the LSTM's gates: the word's share,
        self.W_z = nn.Linear(D, 4 * H, bias=False)  # the context's share,
        self.W_h = nn.Linear(H, A + 1 + 4 * H)  # the state's: query, gate beta, LSTM gates
        self.L_h = nn.Linear(H, E)
        self.L_z = nn.Linear(D, E, bias=False)
        self.bias = nn.Parameter(torch.zeros(config.vocab_size))  # of L_o, which is the matrix E:
        # a word is predicted by the same vector that reads it
        self.dropout = nn.Dropout(config.dropout)
        self.word_dropout = nn.Dropout(config.word_dropout)
        self.feature_dropout = nn.Dropout1d(config.feature_dropout)
        self.context_dropout = nn.Dropout(config.context_dropout)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Small embeddings; a forget gate that starts open, so that early words are remembered."""
        nn.init.normal_(self.embedding.weight, std=self.config.embed_dim**-0.5)
        H, A = self.config.hidden_dim, self.config.attention_dim
        nn.init.ones_(self.W_h.bias.detach()[A + 1 + H : A + 1 + 2 * H])
        if self.config.first_state == "learned":  # the bias alone: the image has no share in it
            nn.init.zeros_(self.init_hc.weight).requires_grad_(False)

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
        state = self._first_state(_mean(a), captions)
        image = self.attention.encode(a, attention_mode)
        if captions > 1 and captions * FEW_WORDS > a.shape[1]:
            # sum_i alpha_i (W a_i) = W sum_i alpha_i a_i, and here regions are fewer than words
            size = 4 * self.config.hidden_dim
            image.a = linear(a, torch.cat([self.W_z.weight, self.L_z.weight]))  # (N, L, 4H + E)
            image.layers = Layers(
                nn.Identity(), self.W_h, lambda z: z[..., :size], lambda z: z[..., size:]
            )
        else:
            image.layers = Layers(nn.Identity(), self.W_h, self.W_z, self.L_z)
        return image, state

    def _normalised(self, a: Tensor) -> Tensor:
        """Normalise each vector, and drop some channels in all regions: (N, L, encoder_dim)."""
        a = a.to(compute_dtype(a))
        with torch.autocast(a.device.type, enabled=False):  # it would compute in float32
            channels, draws = self.norm(a).mT, self.attention.draws
            return dropout(self.feature_dropout, channels, draws, "captions").mT

    def _first_state(self, mean: Tensor, captions: int = 1) -> State:
        # `equations.initial_state`, by one product
        hc = torch.tanh(self.init_hc(mean).unsqueeze(1))  # (N, 1, 2H)
        return State(*hc.expand(-1, captions, -1).chunk(2, -1))

    def _encode(
        self, a: Tensor, images: Tensor | None, order: Tensor, sizes: Sequence[int],
        attention_mode: str | None,
    ) -> tuple[Tensor, EncodedImage, State, nn.Linear | None]:  # fmt: skip
        """Encode the captions' images for training, a row for each caption in this order.

        Returns:
            The normalised vectors (B, L, .); the encoded images; h_0 and c_0; and the layer R that
            reduces the vectors, None if they are reduced.
        """
        order = order if images is None else images[order]
        dropped = self.training and self.config.feature_dropout  # other channels for each caption
        R: nn.Linear | None
        if dropped or 2 * len(a) > len(order):
            # sum_i alpha_i (R a_i) = R sum_i alpha_i a_i: a vector a word passes R, not all regions
            a, R = self._normalised(a[order]), self.reduce
            reduce: Layer = StepLinear(R, sizes, a.dtype)
        else:  # several captions share an image, whose regions pass R once
            a, R = self.reduce(self._normalised(a)).index_select(0, order), None
            reduce = nn.Identity()
        image = self.attention.encode(a, attention_mode, R)
        W_h, W_z = (StepLinear(layer, sizes, a.dtype) for layer in (self.W_h, self.W_z))
        image.layers = Layers(reduce, W_h, W_z, self.L_z)
        return a, image, self._first_state(_mean(a) if R is None else R(_mean(a))), R

    def lstm_step(
        self, word_gates: Tensor, image: EncodedImage, state: State
    ) -> tuple[State, Tensor, AttentionStep]:
        """One step of attention, gate and LSTM.

        Args:
            word_gates: The share of y_{t-1} in the LSTM's gates, (N, K, 4H); and in the query, if
                scores see the word, (N, K, 4H + A).
            image: The images.
            state: h_{t-1} and c_{t-1}.

        Returns:
            The new state; the context z_t, which `Layers.L_z` of the image takes; and where it
            attended.
        """
        H, A, layers = self.config.hidden_dim, self.config.attention_dim, image.layers
        assert layers is not None  # `init_state` and `forward` set them
        # W_s h_{t-1} of eq. 4, the gate's share and W_h h_{t-1} of eq. 1: one layer, one product
        query, gate, hidden_gates = layers.W_h(state.h).split([A, 1, 4 * H], -1)
        if self.config.scores_see_word:
            word_gates, word_query = word_gates.split([4 * H, A], -1)
            query = query + word_query
        context, step = self.attention(image, query, state.h)
        # `equations.context_gate`: beta_t = sigma(f_beta(h_{t-1}))
        beta = torch.sigmoid(gate) if self.config.gate else torch.ones_like(gate)  # (N, K, 1)
        beta = dropout(self.context_dropout, beta, self.attention.draws, "step")  # 0: no context
        z = beta * layers.reduce(context)  # eq. 6, (N, K, D); or W_z z and L_z z side by side
        # `equations.lstm_gates`, `lstm_memory` and `lstm_hidden`; W_y E y_{t-1} comes ready-made
        gates = word_gates + hidden_gates + layers.W_z(z)  # eq. 1; its sigmas and tanh follow
        i, f, o, g = gates.chunk(4, -1)  # (N, K, H)
        c = torch.sigmoid(f) * state.c + torch.sigmoid(i) * torch.tanh(g)  # eq. 2
        h = torch.sigmoid(o) * torch.tanh(c)  # eq. 3
        step.beta = beta
        return State(h, c), z, step

    def word_log_probs(self, embedded: Tensor, h: Tensor, seen: Tensor) -> Tensor:
        """Give log p(y_t) from L_o(E y_{t-1} + L_h h_t + L_z z_t), eq. 7.

        Args:
            embedded: E y_{t-1}, (..., E).
            h: h_t, (..., H).
            seen: L_z z_t, (..., E).

        Returns:
            (..., V), in float32 or finer.
        """
        # `equations.logits` and `word_probabilities`, for as many words as there are, in logarithms
        mixed = self.dropout(embedded + self.L_h(h) + seen)
        return log_probs(mixed, self.embedding.weight, self.bias)  # L_o is the matrix E

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
        if self.training:
            embedded = self.word_dropout(self.embedding(words))
            word_gates = self.W_y(embedded)
        else:  # many captions go on from the same word
            ids, which = words.unique(return_inverse=True)
            embedded, word_gates = self.embedding(words), self.W_y(self.embedding(ids))[which]
        state, z, step = self.lstm_step(word_gates, image, state)
        if step.mixture is None:
            assert image.layers is not None
            log_p = self.word_log_probs(embedded, state.h, image.layers.L_z(z))
        else:
            log_p = mixture.log_probs_of_step(self, embedded, state.h, image, step)
        return log_p, state, step

    def forward(
        self, a: Tensor, captions: Tensor, attention_mode: str | None = None,
        images: Tensor | None = None,
    ) -> DecoderOutput:  # fmt: skip
        """Predict captions, each word from the reference's words before it (teacher forcing).

        Args:
            a: Annotation vectors of N images, (N, L, D).
            captions: Word ids (B, T + 1), ``<bos>`` first, ``<pad>`` after ``<eos>``.
            attention_mode: See `labkit.model.attention.Attention.encode`.
            images: (B,) which of the N images each caption describes; without, each its own.
        """
        lengths = (captions[:, 1:] != PAD).sum(1).cpu()
        targets = rnn.pack_padded_sequence(captions[:, 1:], lengths, True, enforce_sorted=False)
        words = rnn.pack_padded_sequence(captions[:, :-1], lengths, True, enforce_sorted=False)
        sizes = words.batch_sizes.tolist()  # n_t, how many captions have not ended
        assert words.sorted_indices is not None  # longest caption first
        a, image, state, R = self._encode(a, images, words.sorted_indices, sizes, attention_mode)
        draws = self.attention.draws
        embedded = dropout(self.word_dropout, self.embedding(even(words.data)), draws, "words")
        # W_y E y_{t-1} of `equations.lstm_gates`, for the words of all steps at once
        gates = self.W_y(embedded)[: len(words.data)].unsqueeze(1).split(sizes)
        hidden, contexts, steps = [], [], []
        for word_gates in gates:  # (n, 1, 4H) for the n captions that have not ended
            if draws is not None:
                draws.next_step()
            if (n := len(word_gates)) < len(state.h):
                image, state = image.first(n), State(state.h[:n], state.c[:n])
            state, z, step = self.lstm_step(word_gates, image, state)
            hidden.append(state.h)
            contexts.append(z)
            steps.append(step)
        if draws is not None:
            draws.end_steps()
        h, z = even(rows(hidden)), even(rows(contexts))  # (words, ...)
        if steps[0].mixture is None:  # eq. 7 as in `word_log_probs`, for all words at once
            mixed = dropout(self.dropout, embedded + self.L_h(h) + self.L_z(z), draws, "words")
            mixed = mixed[: len(words.data)]
            output = mixed, self.embedding.weight, self.bias
            log_p, mean = word_log_likelihood(*output, targets.data)
            distribution: Callable[[], Tensor] = partial(log_probs, *output)
        else:
            parts = mixture.Components(self, embedded, h, a, steps, R)
            log_p, mean = parts.log_likelihood(targets.data)
            distribution = parts.log_probs
        alpha, sampled = by_caption(log_p.detach(), steps, targets)
        return DecoderOutput(-log_p, mean, targets.data, alpha, sampled, distribution)


def _mean(a: Tensor) -> Tensor:
    """The mean annotation vector, (N, L, D) -> (N, D), as a product: in bf16 that is faster."""
    return (a.new_ones(len(a), 1, a.shape[1]) @ a)[:, 0] / a.shape[1]


def pad_captions(captions: Sequence[Sequence[int]]) -> Tensor:
    """Put captions of word ids into one tensor (C, longest), with ``<pad>`` at the ends."""
    return rnn.pad_sequence([torch.tensor(ids) for ids in captions], True, PAD)
