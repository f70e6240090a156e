"""The LSTM that tells: Xu et al. 2015, section 3.1.2, with the gate of section 4.2.1.

Fast by construction, at no cost in clarity: the features are projected once and not at each word,
the words' share of the LSTM's gates is one product for all steps, one product of ``h`` serves
attention, gate and LSTM, the batch shrinks as its shorter captions end, and the vocabulary
product is done once for all words of the batch.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, pad
from torch.nn.utils.rnn import pack_padded_sequence, pad_sequence

from labkit.attention import ATTENTIONS, Glance, Seen
from labkit.vocabulary import PAD


@dataclass(frozen=True)
class DecoderConfig:
    """The decoder's shape. All sizes are numbers of units."""

    vocabulary: int  # V, how many words
    feature: int  # D, the size of an annotation vector as the encoder gives it
    attention: str = "soft"  # the mechanism, a key of labkit.attention.ATTENTIONS
    reduced: int = 512  # the size that annotation vectors are reduced to
    embedding: int = 512  # E
    hidden: int = 512  # H
    scorer: int = 256  # A, the hidden layer of the attention model
    dropout: float = 0.5  # before the vocabulary product, the paper's place
    word_dropout: float = 0.2  # on the embedded words
    feature_dropout: float = 0.2  # on whole channels of the annotation vectors

    def __post_init__(self):
        if self.attention not in ATTENTIONS:
            known = ", ".join(ATTENTIONS)
            raise ValueError(f"there is no attention {self.attention!r}: choose from {known}")


@dataclass
class State:
    """The LSTM's state between two words."""

    h: Tensor  # (N, K, H)
    c: Tensor  # (N, K, H)


@dataclass
class Told:
    """What the decoder says of a batch of captions, teacher forced.

    The words of all captions lie one behind the other, step by step; padding is not among them.
    """

    log_p: Tensor  # (words, V) log p(y_t | y_<t, a)
    targets: Tensor  # (words,) the word that the person wrote
    alpha: Tensor  # (B, T, L) zero where a caption has ended


class Decoder(nn.Module):
    """An LSTM that looks at the picture before each word."""

    def __init__(self, config: DecoderConfig):
        super().__init__()
        self.config = config
        D, E, H, A = config.reduced, config.embedding, config.hidden, config.scorer
        # Networks give features of any size: those of stride 16 are six times those of the last
        # block, enough to saturate every tanh below. So each vector is scaled first.
        self.norm = nn.LayerNorm(config.feature, elementwise_affine=False)
        self.reduce = nn.Linear(config.feature, D, bias=False)
        self.attention = ATTENTIONS[config.attention](D, A)
        self.words = nn.Embedding(config.vocabulary, E)  # the matrix E
        self.first = nn.Linear(D, 2 * H)  # the two MLPs that start c and h
        self.of_word = nn.Linear(E, 4 * H)  # the LSTM's gates: the word's share,
        self.of_context = nn.Linear(D, 4 * H, bias=False)  # the context's share,
        self.of_hidden = nn.Linear(H, A + 1 + 4 * H)  # h's: query, gate beta, LSTM gates
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
        H, A = self.config.hidden, self.config.scorer
        nn.init.ones_(self.of_hidden.bias.detach()[A + 1 + H : A + 1 + 2 * H])

    def look_at(self, a: Tensor, captions: int = 1) -> tuple[Seen, State]:
        """Prepare N pictures to be told.

        Args:
            a: annotation vectors (N, L, D).
            captions: K, how many captions of each picture will be told side by side.

        Returns:
            What was seen, and the first state: h_0 and c_0 from the mean annotation vector
            (the two unnumbered equations below eq. 3).
        """
        a = self.feature_dropout(self.norm(a).mT).mT  # a channel is dropped in all regions
        a = self.reduce(a)
        h, c = torch.tanh(self.first(a.mean(1, keepdim=True))).expand(-1, captions, -1).chunk(2, -1)
        return self.attention.see(a), State(h, c)

    def move(self, word_gates: Tensor, seen: Seen, state: State) -> tuple[State, Tensor, Glance]:
        """One step of attention, gate and LSTM.

        Args:
            word_gates: the share of y_{t-1} in the LSTM's gates, (N, K, 4H).
            seen: the pictures.
            state: h_{t-1} and c_{t-1}.

        Returns:
            The new state, the context z_t (N, K, D), and where it looked.
        """
        H, A = self.config.hidden, self.config.scorer
        query, gate, hidden_gates = self.of_hidden(state.h).split([A, 1, 4 * H], -1)
        phi, glance = self.attention(seen, query)  # (N, K, D)
        z = torch.sigmoid(gate) * phi  # beta_t = sigma(f_beta(h_{t-1})), z_t = beta_t phi
        gates = word_gates + self.of_context(z) + hidden_gates  # eq. 1
        i, f, o, g = gates.chunk(4, -1)
        c = torch.sigmoid(f) * state.c + torch.sigmoid(i) * torch.tanh(g)  # eq. 2
        h = torch.sigmoid(o) * torch.tanh(c)  # eq. 3
        return State(h, c), z, glance

    def tell(self, embedded: Tensor, h: Tensor, z: Tensor) -> Tensor:
        """Give log p(y_t) from L_o(E y_{t-1} + L_h h_t + L_z z_t), eq. 7: (..., V) float32."""
        mixed = self.dropout(embedded + self.L_h(h) + self.L_z(z))
        return linear(mixed, self.words.weight, self.bias).float().log_softmax(-1)

    def step(self, words: Tensor, seen: Seen, state: State) -> tuple[Tensor, State, Glance]:
        """Tell one word more.

        Args:
            words: the words told last, (N, K).
            seen: the pictures.
            state: the state after those words' forerunners.

        Returns:
            log p of each next word (N, K, V), the new state, and where it looked.
        """
        embedded = self.word_dropout(self.words(words))
        state, z, glance = self.move(self.of_word(embedded), seen, state)
        return self.tell(embedded, state.h, z), state, glance

    def forward(self, a: Tensor, captions: Tensor) -> Told:
        """Tell captions, each word from the true ones before it (teacher forcing).

        Args:
            a: annotation vectors, one picture a caption, (B, L, D).
            captions: word ids (B, T + 1), ``<bos>`` first, ``<pad>`` after ``<eos>``.
        """
        lengths = (captions[:, 1:] != PAD).sum(1).cpu()
        targets = pack_padded_sequence(captions[:, 1:], lengths, True, enforce_sorted=False)
        words = pack_padded_sequence(captions[:, :-1], lengths, True, enforce_sorted=False)
        seen, state = self.look_at(a[words.sorted_indices])  # longest caption first
        embedded = self.word_dropout(self.words(words.data))  # (words, E)
        gates = self.of_word(embedded).unsqueeze(1).split(words.batch_sizes.tolist())
        hs, zs, alphas = [], [], []
        for word_gates in gates:  # (n, 1, 4H) for the n captions that go on
            if (n := len(word_gates)) < len(state.h):
                seen, state = Seen(seen.a[:n], seen.keys[:n]), State(state.h[:n], state.c[:n])
            state, z, glance = self.move(word_gates, seen, state)
            hs.append(state.h[:, 0])
            zs.append(z[:, 0])
            alphas.append(pad(glance.alpha[:, 0], (0, 0, 0, len(a) - n)))
        log_p = self.tell(embedded, torch.cat(hs), torch.cat(zs))  # all words in one product
        alpha = torch.stack(alphas, 1)[words.unsorted_indices]  # (B, T, L)
        return Told(log_p, targets.data, alpha)


def pad_captions(captions: Sequence[Sequence[int]]) -> Tensor:
    """Put captions of word ids into one tensor (C, longest), with ``<pad>`` at the ends."""
    return pad_sequence([torch.tensor(ids) for ids in captions], True, PAD)
