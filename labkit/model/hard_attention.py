"""Hard attention: look at one region, and the ways to learn which (section 4.1, and past it).

A sampled region has no gradient: how the scores should change must be learned another way.

=========  ==========================  ====================================================
mechanism  the context in training     what reaches the scores
=========  ==========================  ====================================================
soft       the expectation             the exact gradient, of the soft objective
argmax     the most likely region      nothing: the gradient of the words' loss is zero
reinforce  a sampled region            an unbiased gradient of the bound, of high variance
gumbel     a sampled region            a biased gradient, of low variance
marginal   a sampled region; the word  exact at the output, Gumbel's gradient in the state
           sums over all of them
=========  ==========================  ====================================================

Outside training all hard mechanisms look at the most likely region, unless
`GenerationConfig.attention_mode` says otherwise.
"""

import math

import torch
from torch import Tensor, nn

from labkit.model.attention import (
    Attention,
    AttentionStep,
    EncodedImage,
    Mixture,
    SoftAttention,
    one_place,
    sample_place,
)
from labkit.model.config import ATTENTION_MODES, MECHANISMS, ModelConfig
from labkit.model.draws import Draws, coins, exponential_like

HARD_MODES = tuple(ATTENTION_MODES)  # the most likely region, unless asked otherwise
LEAST_SHARE = 0.01  # of the weight: `MarginalAttention` sums a region with less among the rest


class ArgmaxAttention(Attention):
    """The largest weight takes all, in training too.

    A change of the scores moves the choice in a jump or not at all, so the
    words give the scores no gradient. They learn from the doubly stochastic term alone, which does
    not see the image.
    """

    attention_modes = HARD_MODES

    def attend(self, scores: Tensor, image: EncodedImage, h: Tensor) -> AttentionStep:
        """One-hot at the largest score."""
        alpha = scores.softmax(-1)
        return AttentionStep(alpha, one_place(scores.argmax(-1), alpha))


class ReinforceAttention(Attention):
    """The paper's stochastic 'hard' attention: s_t ~ Multinoulli(alpha_t), z_t = beta_t a_{s_t}.

    The gate beta, which the paper uses with soft attention, is used with both here. This class
    samples, and hands log alpha of the sample to the objective, which makes the estimator of eq. 12
    of it (`Objective.sampling_loss`). With probability `soft_share` a caption takes soft steps
    instead, for all its words, as the paper does for each image (section 4.1).

    The baseline is kept per word and multiplied by the number of words that the reward counts. In
    the paper's code all captions of a batch have one length, where that is the same. "average" is
    the paper's b_k = 0.9 b_{k-1} + 0.1 log p, updated after the batch: the batch's own log p would
    make b depend on the sampled regions, and the estimator biased. "learned" adds a linear function
    of h_{t-1}, which gets no gradient from it. "others" is computed by the objective.
    """

    attention_modes = HARD_MODES
    baseline_average: Tensor

    def __init__(self, config: ModelConfig):
        super().__init__(config)
        self.register_buffer("baseline_average", torch.zeros(()))
        if config.baseline == "learned":
            self.baseline_head = nn.Linear(config.hidden_dim, 1)
            nn.init.zeros_(self.baseline_head.weight)
            nn.init.zeros_(self.baseline_head.bias)

    def encode(
        self, a: Tensor, attention_mode: str | None = None, reduce: nn.Linear | None = None
    ) -> EncodedImage:
        """Toss the coins, too: one for each caption, or one for the batch."""
        image = super().encode(a, attention_mode, reduce)
        n, draws = (1, None) if self.config.one_coin else (len(a), self.draws)
        soft = coins(self.config.soft_share, n, draws, a).expand(len(a))
        image.soft_mask = soft[:, None, None]
        return image

    def attend(self, scores: Tensor, image: EncodedImage, h: Tensor) -> AttentionStep:
        """Sample a region, or take a soft step."""
        log_alpha = scores.log_softmax(-1)  # (N, K, L), eq. 5; log(alpha) could be of 0
        alpha = log_alpha.exp()
        place = sample_place(alpha, self.draws)  # (N, K)
        assert image.soft_mask is not None  # `encode` sets it
        # eq. 8, the logarithm of `equations.place_probability`
        log_choice = log_alpha.gather(-1, place[..., None])[..., 0]
        return AttentionStep(
            alpha,
            weights=torch.where(image.soft_mask, alpha, one_place(place, alpha)),
            log_choice=log_choice.masked_fill(image.soft_mask[..., 0], 0),
            entropy=-(alpha * log_alpha).sum(-1),  # `equations.entropy`; 0 log 0 cannot be nan
            baseline=self._baseline(h),
        )

    def _baseline(self, h: Tensor) -> Tensor | None:
        if self.config.baseline == "others":
            return None
        baseline = self.baseline_average.expand(h.shape[:-1])  # (N, K)
        if self.config.baseline == "learned":
            baseline = baseline + self.baseline_head(h.detach())[..., 0]
        return baseline

    def update_baseline(self, log_p: float) -> None:
        """Move the average towards the batch's mean log-probability per word."""
        # `equations.moving_average`, for a word in place of a caption
        self.baseline_average.lerp_(torch.full_like(self.baseline_average, log_p), 0.1)


class GumbelAttention(Attention):
    """Straight-through Gumbel-softmax (Jang et al. 2017, arXiv 1611.01144).

    The region is a true sample from alpha, found as the largest of the scores with Gumbel noise.
    Its gradient is taken to be that of a softmax of the same noisy scores. The higher the
    temperature, the lower the variance of the gradient and the larger its bias.
    """

    attention_modes = HARD_MODES

    def attend(self, scores: Tensor, image: EncodedImage, h: Tensor) -> AttentionStep:
        """Sample a region, with the softmax's gradient."""
        place = straight_through(scores, self.temperature(), self.draws)
        return AttentionStep(scores.softmax(-1), place)

    def temperature(self) -> float:
        """The temperature at `progress`."""
        start, end = self.config.temperature, self.config.temperature_end
        if self.config.cooling == "linear":
            return start + (end - start) * self.progress
        return start * (end / start) ** self.progress


class MarginalAttention(GumbelAttention):
    """The region summed out at each word: p(y_t) = sum_i alpha_ti p(y_t | a_i), no sampling there.

    After Shankar, Garg and Sarawagi 2018 ('Surprisingly easy hard-attention for sequence to
    sequence learning'). The most likely regions are summed one by one: at most `places` of them,
    and only those with a hundredth of the weight or more. The others form one more mixture
    component, their expectation, with all their mass. So the shares still sum to 1, every score
    gets a gradient, and with `places` for all regions it is the exact sum. If the others were left
    out and the rest rescaled, they could never come back. The state gets a sampled region.

    Alone, the sum learns best where to look, and captions badly from one region: where the image
    leaves the word open, each region may hold another opinion, and only their mixture is right. So
    the sum is for a share of the captions, `sum_share`. The others are predicted from one sampled
    region, as in `GumbelAttention`, which teaches each region to say no more than it knows.
    """

    def encode(
        self, a: Tensor, attention_mode: str | None = None, reduce: nn.Linear | None = None
    ) -> EncodedImage:
        """Toss the coins, too."""
        image = super().encode(a, attention_mode, reduce)
        image.soft_mask = coins(self.config.sum_share, len(a), self.draws, a)[:, None, None]
        return image

    def attend(self, scores: Tensor, image: EncodedImage, h: Tensor) -> AttentionStep:
        """Make each likely region a component and the rest one more; or sample one region."""
        step = self.expectation(scores)
        place = straight_through(scores, self.temperature(), self.draws)
        assert image.soft_mask is not None and step.mixture is not None
        mixture, sampled = step.mixture, ~image.soft_mask  # (N, 1, 1)
        # a sampled region is the only component, the last one, for its context has the gradient
        shares = mixture.log_shares.masked_fill(sampled, -torch.inf)
        last = mixture.log_shares[..., -1:].masked_fill(sampled, 0)
        mixture.log_shares = torch.cat([shares[..., :-1], last], -1)
        mixture.rest = torch.where(sampled, place, mixture.rest)
        return AttentionStep(step.alpha, weights=place, mixture=mixture)

    def expectation(self, scores: Tensor) -> AttentionStep:
        """Sum over the regions."""
        log_alpha = scores.log_softmax(-1)  # (N, K, L)
        alpha = log_alpha.exp()
        shares, places = log_alpha.topk(min(self.config.places, scores.shape[-1]))  # (N, K, P)
        rest, log_rest = torch.zeros_like(alpha), torch.full_like(shares[..., :1], -torch.inf)
        if shares.shape[-1] < scores.shape[-1]:
            single = shares > math.log(LEAST_SHARE)
            taken = torch.zeros_like(alpha, dtype=torch.bool).scatter(-1, places, single)
            rest = log_alpha.masked_fill(taken, -torch.inf)  # (N, K, L)
            log_rest, rest = rest.logsumexp(-1, keepdim=True), rest.softmax(-1)
            shares = shares.masked_fill(~single, -torch.inf)
        mixture = Mixture(places, torch.cat([shares, log_rest], -1), rest)
        return AttentionStep(alpha, alpha, mixture=mixture)


def straight_through(scores: Tensor, temperature: float, draws: Draws | None = None) -> Tensor:
    """One-hot of a region sampled from softmax(scores), with a softmax's gradient: (N, K, L)."""
    noise = -exponential_like(scores, draws).log()  # Gumbel
    soft = ((scores + noise) / temperature).softmax(-1)
    return one_place(soft.argmax(-1), soft) + (soft - soft.detach())  # the bracket is exactly 0


ATTENTIONS: dict[str, type[Attention]] = {
    "soft": SoftAttention,
    "argmax": ArgmaxAttention,
    "reinforce": ReinforceAttention,
    "gumbel": GumbelAttention,
    "marginal": MarginalAttention,
}
"""The mechanisms by name."""


def register_attention(name: str, mechanism: type[Attention]) -> None:
    """Add a mechanism of your own, so that `train` and `ModelConfig` know it by name.

    Args:
        name: What `attention` will be called in the settings.
        mechanism: A subclass of `Attention` with its own `attend`, which is also how it attends
            outside training, unless it has `attention_modes`.

    Raises:
        TypeError: It is not such a class.
        ValueError: The name is taken by another mechanism.

    Example:
        >>> import torch
        >>> class UniformAttention(Attention):
        ...     def attend(self, scores, image, h):
        ...         return self.expectation(torch.zeros_like(scores))
        >>> register_attention("uniform", UniformAttention)
        >>> ModelConfig(vocab_size=9, encoder_dim=4, attention="uniform").attention
        'uniform'
    """
    if not (isinstance(mechanism, type) and issubclass(mechanism, Attention)):
        raise TypeError(f"{name} needs a subclass of labkit.Attention, not {mechanism!r}")
    if name in ATTENTIONS and ATTENTIONS[name].__qualname__ != mechanism.__qualname__:
        raise ValueError(f"there is an attention {name!r} already: choose another name")
    ATTENTIONS[name] = mechanism
    if name not in MECHANISMS:
        MECHANISMS.append(name)
