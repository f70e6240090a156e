"""Hard attention: look at one place, and the ways to learn where (section 4.1, and past it).

A place drawn by lot has no slope: how the scores should change must be learned another way.

=========  ========================  =================================================
mechanism  learns from               what the words tell the scores
=========  ========================  =================================================
soft       the expectation           the exact gradient, of the soft objective
argmax     the likeliest place       nothing: the gradient is exactly zero
reinforce  a drawn place             the bound's gradient without bias; it varies much
gumbel     a drawn place             a gradient with bias; it varies little
marginal   all places at the output  exact at the output, Gumbel's way in the state
=========  ========================  =================================================

All of them look at one place when they do not learn, unless told otherwise (`GenerationConfig.attention_mode`).
"""

import torch
from torch import Tensor, nn

from labkit.model.attention import (
    Attention,
    AttentionStep,
    HardConfig,
    EncodedImage,
    SoftAttention,
    draw,
    one_place,
)


class ArgmaxAttention(Attention):
    """The largest weight takes all, in learning too.

    A step of the place is a jump and nothing else, so no word ever tells the scores how to change:
    they learn from the doubly stochastic term alone, which knows no picture.
    """

    def choose(self, scores: Tensor, seen: EncodedImage, h: Tensor) -> AttentionStep:
        """One-hot at the largest score."""
        alpha = scores.softmax(-1)
        return AttentionStep(alpha, one_place(scores.argmax(-1), alpha))


class ReinforceAttention(Attention):
    """The paper's stochastic 'hard' attention: s_t ~ Multinoulli(alpha_t), z_t = beta_t a_{s_t}.

    The gate beta, which the paper has with soft attention, is with both here.
    It draws, and hands log alpha of what it drew to the objective, which makes the estimator of
    eq. 12 of it (`Objective.of_choices`). With probability `soft_share` a caption takes soft steps
    instead, all its words long, as the paper has it for each image (section 4.1).

    The baseline is kept for a word and multiplied by the number of words that the reward counts.
    In the paper's code each batch has captions of one length, where that is the same. "average"
    is the paper's b_k = 0.9 b_{k-1} + 0.1 log p, taken after the batch: a batch's own log p would
    make b depend on the places drawn, and the estimator biased. "learned" adds a linear function of
    h_{t-1}, which has no gradient from it.
    """

    def __init__(self, feature: int, size: int, hidden: int = 1, config: HardConfig | None = None):
        super().__init__(feature, size, hidden, config)
        self.register_buffer("average", torch.zeros(()))
        if self.config.baseline == "learned":
            self.guess = nn.Linear(hidden, 1)
            nn.init.zeros_(self.guess.weight)
            nn.init.zeros_(self.guess.bias)

    def see(self, a: Tensor, attention_mode: str | None = None) -> EncodedImage:
        """Toss the coins, too: one for each caption, or one for the batch."""
        seen = super().see(a, attention_mode)
        coins = torch.rand(1 if self.config.one_coin else len(a), device=a.device)
        seen.soft_mask = (coins < self.config.soft_share).expand(len(a))[:, None, None]
        return seen

    def choose(self, scores: Tensor, seen: EncodedImage, h: Tensor) -> AttentionStep:
        """Draw a place, or take a soft step."""
        log_alpha = scores.log_softmax(-1)  # (N, K, L); a logarithm of alpha could be of 0
        alpha = log_alpha.exp()
        place = draw(alpha)  # (N, K)
        # the logarithm of `equations.place_probability`
        log_choice = log_alpha.gather(-1, place[..., None])[..., 0]
        baseline = self.average.expand_as(place)
        if self.config.baseline == "learned":
            baseline = baseline + self.guess(h.detach())[..., 0]
        return AttentionStep(
            alpha,
            weights=torch.where(seen.soft_mask, alpha, one_place(place, alpha)),
            log_choice=log_choice.masked_fill(seen.soft_mask[..., 0], 0),
            entropy=-(alpha * log_alpha).sum(-1),  # `equations.entropy`; 0 log 0 cannot be nan
            baseline=baseline,
        )

    def note(self, log_p: float) -> None:
        """Move the average."""
        # `equations.moving_average`, for a word in place of a caption
        self.average.lerp_(torch.full_like(self.average, log_p), 0.1)


class GumbelAttention(Attention):
    """Straight-through Gumbel-softmax (Jang et al. 2017, arXiv 1611.01144).

    The place is a true draw from alpha, found as the largest of the scores with Gumbel noise. Its
    gradient is taken to be that of a softmax of the same noisy scores. The hotter the softmax, the
    less the gradient varies and the larger is its bias.
    """

    def choose(self, scores: Tensor, seen: EncodedImage, h: Tensor) -> AttentionStep:
        """Draw a place with the softmax's gradient."""
        return AttentionStep(scores.softmax(-1), straight_through(scores, self.temperature()))

    def temperature(self) -> float:
        """At `progress`, between the begin's and the end's."""
        start, end, way = self.config.temperature, self.config.temperature_end, self.progress
        if self.config.cooling == "linear":
            return start + (end - start) * way
        return start * (end / start) ** way


class MarginalAttention(GumbelAttention):
    """The place summed out at each word: p(y_t) = sum_i alpha_ti p(y_t | a_i), no sampling.

    After Shankar, Garg and Sarawagi 2018 ('Surprisingly easy hard-attention for sequence to
    sequence learning'). `places` of the likeliest places are summed one by one. The others are
    seen as one more, their expectation, with all their mass: so the shares still sum to 1, every
    score gets a gradient, and with all places it is the exact sum. Left out and the rest scaled
    up, they could never come in again. The state is fed with a drawn place.

    Alone, the sum learns best where to look, and tells badly from one place: where the picture
    leaves the word open, each place may hold another opinion, and only their mixture is right. So
    the sum is for a share of the captions, `sum_share`; the others are told from one drawn place,
    as in `GumbelAttention`, and teach each place to say no more than it knows.
    """

    def see(self, a: Tensor, attention_mode: str | None = None) -> EncodedImage:
        """Toss the coins, too."""
        seen = super().see(a, attention_mode)
        coins = torch.rand(len(a), device=a.device)
        seen.soft_mask = (coins < self.config.sum_share)[:, None, None]
        return seen

    def choose(self, scores: Tensor, seen: EncodedImage, h: Tensor) -> AttentionStep:
        """Take each likely place as a way and the rest as one, or a drawn place as the only way."""
        glance, place = self.expect(scores), straight_through(scores, self.temperature())
        alone = torch.zeros_like(glance.ways)
        alone[:, :, 0] = place  # (N, K, P, L)
        sure = torch.full_like(glance.log_mixture, -torch.inf)
        sure[:, :, 0] = 0  # (N, K, P)
        return AttentionStep(
            glance.alpha,
            weights=place,
            ways=torch.where(seen.soft_mask[..., None], glance.ways, alone),
            log_mixture=torch.where(seen.soft_mask, glance.log_mixture, sure),
        )

    def expect(self, scores: Tensor) -> AttentionStep:
        """Sum over the places."""
        log_alpha = scores.log_softmax(-1)
        alpha = log_alpha.exp()
        k, L = min(self.config.places, scores.shape[-1]), scores.shape[-1]
        log_mixture, places = log_alpha.topk(k)  # (N, K, k)
        ways = one_place(places, alpha)  # (N, K, k, L)
        if k < L:
            rest = log_alpha.scatter(-1, places, -torch.inf)  # (N, K, L)
            ways = torch.cat([ways, rest.softmax(-1).unsqueeze(2)], 2)
            log_mixture = torch.cat([log_mixture, rest.logsumexp(-1, keepdim=True)], -1)
        return AttentionStep(alpha, alpha, ways, log_mixture)


def straight_through(scores: Tensor, temperature: float) -> Tensor:
    """One-hot of a place drawn from softmax(scores), with a softmax's gradient: (N, K, L)."""
    noise = -torch.empty_like(scores).exponential_().log()  # Gumbel
    soft = ((scores + noise) / temperature).softmax(-1)
    return one_place(soft.argmax(-1), soft) + (soft - soft.detach())  # the bracket is exactly 0


ATTENTIONS: dict[str, type[Attention]] = {
    "soft": SoftAttention,
    "argmax": ArgmaxAttention,
    "reinforce": ReinforceAttention,
    "gumbel": GumbelAttention,
    "marginal": MarginalAttention,
}
