"""Where to look: a score for each region, weights from the scores, and how the weights are used.

Every mechanism scores the regions in the same way (`Attention.scores`) and differs only in
`Attention.choose`: what it makes of the scores while it learns. Decoder, training, decoding and
figures do not know which mechanism they have. Here is the soft one; the hard ones, and the list
of all, are in `labkit.model.hard_attention`.

Symbols as in Xu et al. 2015 (arXiv 1502.03044): annotation vectors ``a`` (N, L, D), weights
``alpha`` (N, K, L). N pictures are looked at together, and K captions are told of each at once:
one in training, the width of the beam in beam search. So a beam never copies the features.
"""

from dataclasses import dataclass, replace
from typing import Annotated, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from labkit.validation import Share, Weight, checked, means

ATTENTION_MODES = {
    "one": "looking at one place, the likeliest",
    "sampled": "looking at one place, drawn by lot",
    "expected": "looking at all places, by their weights",
}


@checked()
class HardConfig:
    """Options of the hard mechanisms, see `labkit.model.hard_attention` and `labkit.training.objective`.

    Those up to `samples` are of "reinforce", and the paper's where it names a value; it gives none
    for lambda_r and lambda_e.
    """

    soft_share: Annotated[Share, means("how often a caption takes soft steps instead")] = 0.5
    one_coin: Annotated[bool, means("one coin for the batch, as the paper's code has it")] = False
    lambda_r: Annotated[
        Weight, means("weight of the score-function term; 1 is the bound's own gradient")
    ] = 1.0
    lambda_e: Annotated[Weight, means("weight of alpha's entropy")] = 0.01
    reward: Annotated[
        Literal["caption", "to_go", "mean"],
        means("log p of the whole caption; of this word and those after it; of the caption, "
              "divided by its words"),
    ] = "caption"  # fmt: skip
    baseline: Annotated[
        Literal["average", "others", "learned"],
        means("what is taken off the reward: a moving average; the mean of the same caption's "
              "other samples; a learned guess"),
    ] = "average"  # fmt: skip
    samples: Annotated[int, means("how often each caption is in the batch", ge=1, le=1000)] = 1
    temperature: Annotated[
        float, means("of Gumbel noise, at the start of training", gt=0, le=100)
    ] = 1.0
    temperature_end: Annotated[float, means("and at its end", gt=0, le=100)] = 0.5
    cooling: Annotated[Literal["linear", "exponential"], means("the way between")] = "exponential"
    sum_share: Annotated[
        Share, means('how often a caption of "marginal" learns from the sum over places')
    ] = 0.7
    places: Annotated[
        int, means('how many likely places "marginal" sums out one by one', ge=1, le=100_000)
    ] = 8

    def __post_init__(self):
        if self.baseline == "others" and self.samples < 2:
            raise ValueError("the baseline of the other samples needs samples to be 2 or more")


@dataclass
class EncodedImage:
    """What the decoder keeps of N pictures while it tells them."""

    a: Tensor  # (N, L, D) annotation vectors
    keys: Tensor  # (N, L, A) 2 (W_a a + b): does not depend on the step, computed once
    attention_mode: str | None  # how to look, a key of LOOKS; None: as the mechanism learns
    soft_mask: Tensor | None = None  # (N, 1, 1) bool: which learn from all places this time

    def first(self, n: int) -> "Seen":
        """Keep the first n pictures."""
        soft_mask = None if self.soft_mask is None else self.soft_mask[:n]
        return replace(self, a=self.a[:n], keys=self.keys[:n], soft_mask=soft_mask)


@dataclass
class AttentionStep:
    """Where one step looked.

    The next word is told from each of P ways to see the picture, and log p(y) is the logarithm of
    the sum over them of exp(log_ways) p(y | way). Only `labkit.model.hard_attention.MarginalAttention` has more
    than one.
    """

    alpha: Tensor  # (N, K, L) the weights; they sum to 1 over the regions
    weights: Tensor  # (N, K, L) what the state is fed with: alpha, or one-hot
    ways: Tensor | None = None  # (N, K, P, L) weights; None: the context is the only way
    log_mixture: Tensor | None = None  # (N, K, P) log of each way's share
    log_choice: Tensor | None = None  # (N, K) log alpha of the place drawn; 0 for a soft step
    entropy: Tensor | None = None  # (N, K) of alpha, in nats
    baseline: Tensor | None = None  # (N, K) the log p of a word that is expected


class Attention(nn.Module):
    """The attention model f_att, a perceptron with one hidden layer (eq. 4).

    Some peers use ReLU in place of tanh, or a sum of tanhs without ``v``. The paper leaves the
    choice open; its code has tanh and ``v``, and so have we.

    Args:
        feature: D, the size of an annotation vector.
        size: A, the size of the hidden layer.
        hidden: H, the size of the decoder's state.
        config: options of the hard mechanisms.
    """

    attention_modes = tuple(ATTENTION_MODES)  # how it may look when it does not learn; the first is its own way
    progress = 1.0  # how much of the training is done, of 1; set by the training at each step

    def __init__(self, feature: int, size: int, hidden: int = 1, config: HardConfig | None = None):
        super().__init__()
        self.config = config or HardConfig()
        self.W_a = nn.Linear(feature, size)  # W_a and b
        self.v = nn.Parameter(torch.empty(size).uniform_(-1, 1) * size**-0.5)

    def see(self, a: Tensor, attention_mode: str | None = None) -> EncodedImage:
        """Project the annotation vectors once, for all steps.

        Args:
            a: (N, L, D).
            attention_mode: a key of `ATTENTION_MODES`. By default it looks as it learns while it is trained, and in
                evaluation in its own way.

        Raises:
            ValueError: this mechanism cannot look so.
        """
        if attention_mode not in (None, *self.attention_modes):
            raise ValueError(f"this attention cannot look {attention_mode!r}: {' or '.join(self.attention_modes)}")
        # W_a a_i + b of `equations.scores`, once for all steps, and doubled for the sigmoid there
        keys = 2 * self.W_a(a)  # (N, L, A), twice W_a a + b: see `scores`
        return EncodedImage(a, keys, attention_mode or (None if self.training else self.attention_modes[0]))

    def scores(self, seen: EncodedImage, query: Tensor) -> Tensor:
        """e_ti = v . tanh(W_a a_i + W_s h_{t-1} + b), eq. 4.

        Args:
            seen: N pictures.
            query: W_s h_{t-1}, (N, K, A).

        Returns:
            Scores (N, K, L), in float32 or finer: a softmax in bf16 loses places of small weight.

        A CPU computes sigmoid in bf16 several times faster than tanh, and
        tanh(x) = 2 sigmoid(2x) - 1 exactly. The keys hold the 2 of 2x already.
        """
        # `equations.scores`: v . tanh(x) = 2 v . sigmoid(2x) - sum(v), where keys + 2 query is 2x
        half = torch.sigmoid(seen.keys.unsqueeze(1) + 2 * query.unsqueeze(2))  # (N, K, L, A)
        return at_least_float32(2 * (half @ self.v) - self.v.sum())  # (N, K, L)

    def choose(self, scores: Tensor, seen: EncodedImage, h: Tensor) -> AttentionStep:
        """Turn scores (N, K, L) into weights, to learn from; ``h`` is h_{t-1}, (N, K, H)."""
        raise NotImplementedError

    def expect(self, scores: Tensor) -> AttentionStep:
        """Use all places by their weights."""
        alpha = scores.softmax(-1)  # (N, K, L), eq. 5: `equations.weights`
        return AttentionStep(alpha, alpha)

    def note(self, log_p: float) -> None:
        """Hear what log p a word of the last batch had in the mean."""

    def forward(self, seen: EncodedImage, query: Tensor, h: Tensor) -> tuple[Tensor, Tensor, AttentionStep]:
        """Look once.

        Args:
            seen: N pictures.
            query: W_s h_{t-1}, (N, K, A).
            h: h_{t-1}, (N, K, H).

        Returns:
            Before the gate: phi(a, alpha) (N, K, D), what the state is fed with, and the ways to
            see the picture (N, K, P, D). And the `AttentionStep`.
        """
        scores = self.scores(seen, query)
        if seen.attention_mode is None:
            glance = self.choose(scores, seen, h)
        elif seen.attention_mode == "expected":
            glance = self.expect(scores)
        else:
            alpha = scores.softmax(-1)
            place = draw(alpha) if seen.attention_mode == "sampled" else scores.argmax(-1)
            glance = AttentionStep(alpha, one_place(place, alpha))
        ways, a = glance.ways, seen.a
        # `equations.soft_context`, or `hard_context` where weights are one-hot: one product for all
        fed = glance.weights.to(a.dtype) @ a  # (N, K, L) x (N, L, D) -> (N, K, D)
        if ways is None:
            return fed, fed.unsqueeze(2), glance
        views = ways.flatten(1, 2).to(a.dtype) @ a  # (N, KP, L) x (N, L, D) -> (N, KP, D)
        return fed, views.unflatten(1, ways.shape[1:3]), glance


class SoftAttention(Attention):
    """Deterministic 'soft' attention: the context is the expected annotation vector (eq. 13)."""

    attention_modes = ("expected",)

    def choose(self, scores: Tensor, seen: EncodedImage, h: Tensor) -> AttentionStep:
        """alpha_ti = softmax over the regions (eq. 5), used as it is."""
        return self.expect(scores)


def draw(alpha: Tensor) -> Tensor:
    """Draw a place s_t ~ Multinoulli(alpha_t) for each row of alpha (N, K, L): (N, K)."""
    # `equations.sample_place`, as a number in place of a one-hot vector
    return torch.multinomial(alpha.flatten(0, 1), 1).view(alpha.shape[:2])


def one_place(place: Tensor, alpha: Tensor) -> Tensor:
    """Weights that are 1 at ``place`` (...) and 0 elsewhere, like alpha: (..., L)."""
    return one_hot(place, alpha.shape[-1]).to(alpha.dtype)


def at_least_float32(x: Tensor) -> Tensor:
    """Leave float64 as it is, make all else float32."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
