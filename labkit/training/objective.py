"""What training makes small: the paper's objectives for soft and hard attention.

Soft attention, eq. 14.
For each caption of T words, told of a picture of L regions,

    loss = sum_t -log p(y_t | y_<t, a)  +  lambda sum_i (target - sum_t alpha_ti)^2

The second term is the paper's 'doubly stochastic' one: over the words, every region should get
its share of attention. Steps after a caption's end are padding and have no weights at all.

Our scaling: the losses of all captions of a batch are summed and divided by the batch's number of
words. So `doubly_stochastic` is the paper's lambda, and the gradient's size depends neither on the batch nor
on the captions' lengths. A peer that takes the mean over captions and over regions, with a
mean over words for the first term, has lambda_peer = lambda * L / T; a sum over regions and a mean
over captions beside a mean over words has lambda_peer = lambda / T.

About the target: the weights of a caption sum to T, so each of L regions can get 1 only where
T = L. With 12 words and 49 regions the term's least value is (1 - T / L)^2 L, where all sums are
alike. One peer sets T / L (16 / 196) as the target. That changes the value and no gradient:
written out, the target stands beside sum_i sum_t alpha_ti alone, which is T whatever the weights
are. So the term pulls towards equal sums, with any target, and lambda says how hard. (The target
matters where padding is counted, as some peers do: then the sums are not T.)

Hard attention, eq. 10 to 12. The bound L_s = sum_s p(s|a) log p(y|s,a) <= log p(y|a) is made
large. Where places s were drawn by lot, a sum is added for each caption,

    - lambda_r sum_t (R_t - b_t) log alpha_{t,s_t}  -  lambda_e sum_t H[alpha_t]

with no gradient through R - b. R is the reward, log p(y|s,a) in the paper, b the baseline and H
the entropy. The mean of its gradient is the bound's (with lambda_r = 1, lambda_e = 0, no soft
steps) whatever b is, so long as b_t does not depend on the place drawn at t. What has been drawn
before t and in other samples it may know. A caption that takes soft steps has no log alpha term.

Better than the paper's reward is the reward to go: the place at t changes no word before t, so
those words add noise alone.

The paper's own code differs from the paper: one coin for the whole batch (`one_coin`), the mean
over a caption's words as its reward (`reward="mean"`), this term with weight 0.1 and the entropy's
with 0.002, both summed over the batch of B beside a mean of the word losses
(`lambda_r` = 0.1 B, `lambda_e` = 0.002 B), and no gradient of the doubly stochastic term
(`doubly_stochastic` = 0). It also takes log(alpha), which may be of 0; a log-softmax is finite.
"""

from dataclasses import dataclass, field

from torch import Tensor

from labkit.model.attention import HardConfig
from labkit.model.decoder import SampledPlaces, DecoderOutput


@dataclass(frozen=True)
class Loss:
    """The loss of some captions, summed over them."""

    total: Tensor  # () with gradient; divide by the number of words
    nll: float  # sum of -log p(y_t), in nats: the plain word loss without smoothing
    words: int  # how many words, <eos> included


@dataclass(frozen=True)
class Objective:
    """How captions are scored against what was told.

    Args:
        doubly: lambda of the doubly stochastic term.
        target: what each region's weights should sum to; the paper has 1.
        smoothing: label smoothing (Szegedy et al. 2016): this share of each word's probability
            is asked for evenly from all words. 0 is the paper's.
        hard: options for places drawn by lot.
    """

    doubly_stochastic: float = 0.1
    target: float = 1.0
    smoothing: float = 0.1
    hard: HardConfig = field(default_factory=HardConfig)

    def __call__(self, told: DecoderOutput) -> Loss:
        """Score what was told of a batch, teacher forced."""
        nll = -told.log_p.gather(1, told.targets[:, None]).sum()
        evenly = -told.log_p.mean(1).sum()
        total = (1 - self.smoothing) * nll + self.smoothing * evenly
        # `equations.doubly_stochastic_loss` of all captions of the batch
        spread = (self.target - told.alpha.sum(1)).square().sum()  # over t, then regions, captions
        total = total + self.doubly_stochastic * spread
        if told.drawn is not None:
            total = total + self.of_choices(told.drawn)
        return Loss(total, nll.item(), len(told.targets))

    def of_choices(self, drawn: SampledPlaces) -> Tensor:
        """The terms of places drawn by lot, summed over the captions."""
        reward, words = self.reward(drawn)
        advantage = (reward - self.baseline(drawn, reward, words)).detach()  # (B, T)
        # a sum whose gradient is what `equations.learning_rule` adds to that of log p(y|s,a)
        loss = -self.hard.lambda_r * (advantage * drawn.log_choice).sum()
        loss = loss - self.hard.lambda_e * drawn.entropy.sum()
        if self.hard.baseline == "learned":  # from squared errors, in nats a word
            loss = loss + ((reward / words - drawn.baseline) * drawn.there).square().sum()
        return loss

    def reward(self, drawn: SampledPlaces) -> tuple[Tensor, Tensor]:
        """R_t, and the number of words that it counts: (B, T) each."""
        if self.hard.reward == "to_go":
            return to_go(drawn.log_p), to_go(drawn.there).clamp(min=1)
        words = drawn.there.sum(1, keepdim=True).expand_as(drawn.there)
        reward = drawn.log_p.sum(1, keepdim=True).expand_as(words)
        return (reward, words) if self.hard.reward == "caption" else (reward / words, words / words)

    def baseline(self, drawn: SampledPlaces, reward: Tensor, words: Tensor) -> Tensor:
        """b_t, (B, T): nothing in it depends on the place that was drawn at t."""
        if self.hard.baseline != "others":
            return drawn.baseline * words
        groups = reward.unflatten(0, (-1, self.hard.samples))  # the samples of each caption
        return ((groups.sum(1, keepdim=True) - groups) / (self.hard.samples - 1)).flatten(0, 1)


def to_go(x: Tensor) -> Tensor:
    """Sum over this step and those after it: (B, T)."""
    return x.flip(1).cumsum(1).flip(1)
