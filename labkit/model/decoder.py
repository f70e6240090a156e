"""The LSTM that tells: Xu et al. 2015, section 3.1.2, with the gate of section 4.2.1.

Fast by construction, at no cost in clarity: the features are projected once and not at each word,
the words' share of the LSTM's gates is one product for all steps, one product of ``h`` serves
attention, gate and LSTM, the batch shrinks as its shorter captions end, and the vocabulary
product is done once for all words of the batch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, pad
from torch.nn.utils import rnn

from labkit.data.vocabulary import PAD
from labkit.model.attention import AttentionStep, HardConfig, EncodedImage, at_least_float32
from labkit.model.hard_attention import ATTENTIONS
from labkit.validation import Count, Part, Size, checked, means

EVEN = 64  # the words of a batch are filled up to a multiple of this: oneDNN makes new code for
# each size of a product that it has not met, and that takes longer than the product itself
KEPT = ("alpha", "log_ways", "log_choice", "entropy", "baseline")  # of each step's `AttentionStep`


@checked()
class ModelOptions(HardConfig):
    """The decoder as a training chooses it. All sizes are numbers of units."""

    attention: Annotated[
        Literal[*ATTENTIONS], means("the mechanism, a key of `labkit.model.hard_attention.ATTENTIONS`")
    ] = "soft"
    feature_dim: Annotated[Size, means("the size that annotation vectors are feature_dim to")] = 512
    embedding: Annotated[Size, means("E, the size of a word's vector")] = 512
    hidden: Annotated[Size, means("H, the size of the LSTM's state")] = 512
    attention_dim: Annotated[Size, means("A, the hidden layer of the attention model")] = 256
    dropout: Annotated[Part, means("before the vocabulary product, the paper's place")] = 0.5
    word_dropout: Annotated[Part, means("on the embedded words")] = 0.2
    feature_dropout: Annotated[Part, means("on whole channels of the annotation vectors")] = 0.2
    no_repeat_ngram_size: Annotated[
        Count, means("in beam search, no run of so many words comes twice; 0 allows any")
    ] = 0
    mbr_candidates: Annotated[
        Count, means("of so many captions that ended, beam search takes the one that agrees most "
                     "with the others; 0: the likeliest")
    ] = 0  # fmt: skip
    max_words: Annotated[
        int, means("the longest caption that it learns from, and that it writes", ge=1, le=1000)
    ] = 24


@checked(kw_only=False)
class ModelConfig(ModelOptions):
    """The decoder's shape, and the options of hard attention."""

    vocabulary: Annotated[int, means("V, how many words", ge=1, le=1_000_000)]
    feature: Annotated[int, means("D, the size of an annotation vector", ge=1, le=100_000)]


@dataclass
class State:
    """The LSTM's state between two words."""

    h: Tensor  # (N, K, H)
    c: Tensor  # (N, K, H)


@dataclass
class SampledPlaces:
    """What places were drawn by lot, for the objective. All are (B, T), zero after a caption."""

    there: Tensor  # 1 for each word
    log_p: Tensor  # log p(y_t) of the word that the person wrote, without gradient
    log_choice: Tensor  # log alpha of the place drawn, 0 for a soft step
    entropy: Tensor  # of alpha, in nats
    baseline: Tensor  # the log p of a word that was expected


@dataclass
class DecoderOutput:
    """What the decoder says of a batch of captions, teacher forced.

    The words of all captions lie one behind the other, step by step; padding is not among them.
    """

    log_p: Tensor  # (words, V) log p(y_t | y_<t, a)
    targets: Tensor  # (words,) the word that the person wrote
    alpha: Tensor  # (B, T, L) zero where a caption has ended
    drawn: SampledPlaces | None = None  # where places were drawn by lot


class Decoder(nn.Module):
    """An LSTM that looks at the picture before each word."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.config = config
        D, E, H, A = config.feature_dim, config.embedding, config.hidden, config.attention_dim
        # Networks give features of any size: those of stride 16 are six times those of the last
        # block, enough to saturate every tanh below. So each vector is scaled first.
        self.norm = nn.LayerNorm(config.feature, elementwise_affine=False)
        self.reduce = nn.Linear(config.feature, D, bias=False)
        self.attention = ATTENTIONS[config.attention](D, A, H, config)
        self.words = nn.Embedding(config.vocabulary, E)  # the matrix E
        self.first = nn.Linear(D, 2 * H)  # the two MLPs that start c and h
        self.W_y = nn.Linear(E, 4 * H)  # the LSTM's gates: the word's share,
        self.W_z = nn.Linear(D, 4 * H, bias=False)  # the context's share,
        # One product of h for W_s h of `equations.scores`, the gate of `equations.context_gate` and
        # W_h h of `equations.lstm_gates`; `equations.Parameters.of` cuts it into these again.
        self.W_h = nn.Linear(H, A + 1 + 4 * H)  # h's: query, gate beta, LSTM gates
        self.L_h = nn.Linear(H, E)
        self.L_z = nn.Linear(D, E, bias=False)
        self.bias = nn.Parameter(torch.zeros(config.vocabulary))  # of L_o, which is the matrix E:
        # a word is told by the same vector that reads it
        self.dropout = nn.Dropout(config.dropout)
        self.word_dropout = nn.Dropout(config.word_dropout)
        self.feature_dropout = nn.Dropout1d(config.feature_dropout)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Small words; a forget gate that starts open, so that early words are remembered."""
        nn.init.normal_(self.words.weight, std=self.config.embedding**-0.5)
        H, A = self.config.hidden, self.config.attention_dim
        nn.init.ones_(self.W_h.bias.detach()[A + 1 + H : A + 1 + 2 * H])

    def init_state(self, a: Tensor, captions: int = 1, attention_mode: str | None = None) -> tuple[EncodedImage, State]:
        """Prepare N pictures to be told.

        Args:
            a: annotation vectors (N, L, D).
            captions: K, how many captions of each picture will be told side by side.
            attention_mode: how to look, see `labkit.model.attention.Attention.see`.

        Returns:
            What was seen, and the first state: h_0 and c_0 from the mean annotation vector
            (the two unnumbered equations between eq. 6 and eq. 7).
        """
        a = self.feature_dropout(self.norm(a).mT).mT  # a channel is dropped in all regions
        a = self.reduce(a)
        # `equations.initial_state`: h_0 and c_0 by one product
        h, c = torch.tanh(self.first(a.mean(1, keepdim=True))).expand(-1, captions, -1).chunk(2, -1)
        return self.attention.see(a, attention_mode), State(h, c)

    def move(self, word_gates: Tensor, seen: EncodedImage, state: State) -> tuple[State, Tensor, AttentionStep]:
        """One step of attention, gate and LSTM.

        Args:
            word_gates: the share of y_{t-1} in the LSTM's gates, (N, K, 4H).
            seen: the pictures.
            state: h_{t-1} and c_{t-1}.

        Returns:
            The new state. The contexts z_t that the word is told from, (N, K, P, D), one for each
            way to see the picture. And where it looked.
        """
        H, A = self.config.hidden, self.config.attention_dim
        # W_s h_{t-1} of eq. 4, the gate's and W_h h_{t-1} of eq. 1, by one product
        query, gate, hidden_gates = self.W_h(state.h).split([A, 1, 4 * H], -1)
        fed, views, glance = self.attention(seen, query, state.h)  # (N, K, D), (N, K, P, D)
        beta = torch.sigmoid(gate)  # beta_t = sigma(f_beta(h_{t-1})), z_t = beta_t phi, (N, K, 1)
        # `equations.lstm_gates`, `lstm_memory` and `lstm_hidden`; W_y E y_{t-1} comes ready-made
        gates = word_gates + hidden_gates + self.W_z(beta * fed)  # eq. 1
        i, f, o, g = gates.chunk(4, -1)  # (N, K, H)
        c = torch.sigmoid(f) * state.c + torch.sigmoid(i) * torch.tanh(g)  # eq. 2
        h = torch.sigmoid(o) * torch.tanh(c)  # eq. 3
        return State(h, c), beta.unsqueeze(2) * views, glance

    def tell(
        self, embedded: Tensor, h: Tensor, z: Tensor, log_mixture: Tensor | None = None
    ) -> Tensor:  # fmt: skip
        """Give log p(y_t) from L_o(E y_{t-1} + L_h h_t + L_z z_t), eq. 7, the ways summed out.

        Args:
            embedded: E y_{t-1}, (..., E).
            h: h_t, (..., H).
            z: z_t, (..., P, D).
            log_mixture: the logarithms of the ways' shares, (..., P); None where there is one way.

        Returns:
            (..., V), in float32 or finer.
        """
        # `equations.logits` and `word_probabilities`, for as many words as there are, in logarithms
        kept = self.dropout(torch.ones_like(embedded)).unsqueeze(-2)  # alike for all ways
        mixed = ((embedded + self.L_h(h)).unsqueeze(-2) + self.L_z(z)) * kept  # (..., P, E)
        log_p = at_least_float32(linear(mixed, self.words.weight, self.bias)).log_softmax(-1)
        if log_mixture is None:
            return log_p[..., 0, :]
        return (log_p + log_mixture[..., None]).logsumexp(-2)

    def step(self, words: Tensor, seen: EncodedImage, state: State) -> tuple[Tensor, State, AttentionStep]:
        """Tell one word more.

        Args:
            words: the words told last, (N, K).
            seen: the pictures.
            state: the state after those words' forerunners.

        Returns:
            log p of each next word (N, K, V), the new state, and where it looked.
        """
        embedded = self.word_dropout(self.words(words))
        state, z, glance = self.move(self.W_y(embedded), seen, state)
        return self.tell(embedded, state.h, z, glance.log_mixture), state, glance

    def forward(self, a: Tensor, captions: Tensor, attention_mode: str | None = None) -> DecoderOutput:
        """Tell captions, each word from the true ones before it (teacher forcing).

        Args:
            a: annotation vectors, one picture a caption, (B, L, D).
            captions: word ids (B, T + 1), ``<bos>`` first, ``<pad>`` after ``<eos>``.
            attention_mode: how to look, see `labkit.model.attention.Attention.see`.
        """
        lengths = (captions[:, 1:] != PAD).sum(1).cpu()
        targets = rnn.pack_padded_sequence(captions[:, 1:], lengths, True, enforce_sorted=False)
        words = rnn.pack_padded_sequence(captions[:, :-1], lengths, True, enforce_sorted=False)
        seen, state = self.init_state(a[words.sorted_indices], attention_mode=attention_mode)  # longest caption first
        spare = -len(words.data) % EVEN
        filled = pad(words.data, (0, spare), value=PAD)
        embedded = self.word_dropout(self.words(filled))  # (words + spare, E)
        sizes = words.batch_sizes.tolist()
        # W_y E y_{t-1} of `equations.lstm_gates`, for the words of all steps at once
        steps = self.W_y(embedded).unsqueeze(1).split([*sizes, spare])
        attention_modes = []
        for word_gates in steps[:-1]:  # (n, 1, 4H) for the n captions that go on
            if (n := len(word_gates)) < len(state.h):
                seen, state = seen.first(n), State(state.h[:n], state.c[:n])
            state, z, glance = self.move(word_gates, seen, state)
            attention_modes.append({"h": state.h, "z": z} | {name: getattr(glance, name) for name in KEPT})
        attention_mode = {  # each (words, ...), step by step; without what this attention does not have
            name: torch.cat([one[name][:, 0] for one in attention_modes])
            for name, part in attention_modes[0].items()
            if part is not None
        }
        told_from = (_fill(attention_mode.get(name), spare) for name in ("h", "z", "log_ways"))
        log_p = self.tell(embedded, *told_from)  # all words in one product
        return _told(log_p[: len(words.data)], targets, attention_mode)


def _fill(x: Tensor | None, spare: int) -> Tensor | None:
    """Add empty rows."""
    return None if x is None else pad(x, (0, 0) * (x.dim() - 1) + (0, spare))


def _told(log_p: Tensor, targets: rnn.PackedSequence, attention_mode: dict[str, Tensor]) -> DecoderOutput:
    """Lay out by caption and step what the words' looks were."""

    def table(x: Tensor) -> Tensor:
        """From (words, ...) to (B, T, ...), zero after a caption's end."""
        return rnn.pad_packed_sequence(rnn.PackedSequence(x, *targets[1:]), batch_first=True)[0]

    drawn = None
    if "log_choice" in attention_mode:
        right = log_p.detach().gather(1, targets.data[:, None])[:, 0]
        parts = (attention_mode[name] for name in ("log_choice", "entropy", "baseline"))
        drawn = SampledPlaces(*map(table, (torch.ones_like(right), right, *parts)))
    return DecoderOutput(log_p, targets.data, table(attention_mode["alpha"]), drawn)


def pad_captions(captions: Sequence[Sequence[int]]) -> Tensor:
    """Put captions of word ids into one tensor (C, longest), with ``<pad>`` at the ends."""
    return rnn.pad_sequence([torch.tensor(ids) for ids in captions], True, PAD)
