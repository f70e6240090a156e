"""What training minimises: the paper's objectives for soft and hard attention.

Soft attention, eq. 14. For each caption of T words for an image of L regions,

    loss = sum_t -log p(y_t | y_<t, a)  +  lambda sum_i (target - sum_t alpha_ti)^2

The second term is the paper's 'doubly stochastic' one: over the words, every region should get
its share of attention. Steps after a caption's end are padding and have no weights at all.

Our scaling: the losses of all captions of a batch are summed and divided by the batch's number of
words. So `doubly_stochastic` is the paper's lambda, and the size of the gradient depends neither on
the batch nor on the captions' lengths. A peer that takes the mean over captions and over regions,
with a mean over words for the first term, has lambda_peer = lambda * L / T. A sum over regions and
a mean over captions beside a mean over words has lambda_peer = lambda / T.

About the target: the weights of a caption sum to T, so each of L regions can get 1 only where
T = L. With 12 words and 49 regions the least value of the term is (1 - T / L)^2 L, where all sums
are equal. One peer sets T / L (16 / 196) as the target. That changes the value and no gradient:
written out, the target appears only beside sum_i sum_t alpha_ti, which is T whatever the weights
are. So the term pulls towards equal sums with any target, and lambda says how hard. (The target
matters where padding is counted, as some peers do: then the sums are not T.)

Hard attention, eq. 10 to 12. The bound L_s = sum_s p(s|a) log p(y|s,a) <= log p(y|a) is
maximised. Where regions s were sampled, each caption adds

    - lambda_r sum_t (R_t - b_t) log alpha_{t,s_t}  -  lambda_e sum_t H[alpha_t]

with no gradient through R - b. R is the reward, log p(y|s,a) in the paper, b the baseline and H
the entropy. The expected gradient is the bound's (with lambda_r = 1, lambda_e = 0, no soft steps)
whatever b is, as long as b_t does not depend on the region sampled at t. It may depend on what was
sampled before t, and in other samples. A caption that takes soft steps has no log alpha term.

The reward to go is better than the paper's reward: the region at t changes no word before t, so
those words only add noise.

The paper's own code differs from the paper: one coin for the whole batch (`one_coin`), the mean
over a caption's words as its reward (`reward="mean"`), this term with weight 0.1 and the entropy's
with 0.002, both summed over the batch of B beside a mean of the word losses (`lambda_r` = 0.1 B,
`lambda_e` = 0.002 B), and no gradient of the doubly stochastic term (`doubly_stochastic` = 0). It
also takes log(alpha), where alpha may be 0; a log-softmax is finite.
"""

from dataclasses import dataclass

from torch import Tensor

from labkit.model.outputs import DecoderOutput, SampledPlaces
from labkit.training.config import TrainingConfig


@dataclass(frozen=True)
class Loss:
    """The loss of some captions, summed over them.

    Attributes:
        total: () with gradient; divide it by the number of words.
        nll: Sum of -log p(y_t), in nats: the plain word loss without smoothing.
        words: How many words, ``<eos>`` included.
    """

    total: Tensor
    nll: float
    words: int


@dataclass(frozen=True)
class Objective:
    """The loss of a decoder's output, as a training configuration asks for it.

    Args:
        config: Its terms: `doubly_stochastic`, `doubly_target`, `label_smoothing`; for sampled
            regions `lambda_r`, `lambda_e`, `reward` and `samples`.
    """

    config: TrainingConfig

    def __call__(self, output: DecoderOutput) -> Loss:
        """Compute the loss of a batch, teacher forced."""
        config = self.config
        total = nll = output.nll.sum()  # with sampled regions, the first term of eq. 12
        if share := config.label_smoothing:
            total = (1 - share) * nll - share * output.mean_log_p.sum()
        # eq. 14, `equations.doubly_stochastic_loss` of all captions of the batch
        deviation = config.doubly_target - output.alpha.sum(1)  # (B, L)
        total = total + config.doubly_stochastic * deviation.square().sum()
        if output.sampled is not None:
            total = total + self.sampling_loss(output.sampled)
        return Loss(total, nll.item(), len(output.nll))

    def sampling_loss(self, sampled: SampledPlaces) -> Tensor:
        """The terms of sampled regions, summed over the captions."""
        reward, words = self.reward(sampled)
        advantage = reward - self.baseline(sampled, reward, words)  # (B, T)
        # eq. 12 and after: its gradient is what `equations.learning_rule` adds to that of the nll
        loss = self.config.lambda_r * score_function_loss(advantage, sampled.log_choice)
        loss = loss - self.config.lambda_e * sampled.entropy.sum()
        if sampled.baseline is not None and sampled.baseline.requires_grad:
            # a learned baseline, from squared errors in nats per word
            loss = loss + ((reward / words - sampled.baseline) * sampled.mask).square().sum()
        return loss

    def reward(self, sampled: SampledPlaces) -> tuple[Tensor, Tensor]:
        """R_t, and the number of words that it counts: (B, T) each."""
        if self.config.reward == "to_go":
            return to_go(sampled.log_p), to_go(sampled.mask).clamp(min=1)
        words = sampled.mask.sum(1, keepdim=True).expand_as(sampled.mask)
        reward = sampled.log_p.sum(1, keepdim=True).expand_as(words)
        if self.config.reward == "caption":
            return reward, words
        return reward / words, words / words

    def baseline(self, sampled: SampledPlaces, reward: Tensor, words: Tensor) -> Tensor:
        """b_t, (B, T): nothing in it depends on the region that was sampled at t."""
        if sampled.baseline is not None:
            return sampled.baseline * words
        others = self.config.samples - 1  # the other samples of the same caption
        groups = reward.unflatten(0, (-1, self.config.samples))
        return ((groups.sum(1, keepdim=True) - groups) / others).flatten(0, 1)


def score_function_loss(advantage: Tensor, log_choice: Tensor) -> Tensor:
    """-sum (R - b) log p(choice): its gradient is that of the expected reward, on average.

    The choices are regions here, and words where a model learns from a reward
    (`labkit.training.rollout`). No gradient passes through the advantage R - b.
    """
    return -(advantage.detach() * log_choice).sum()


def to_go(x: Tensor) -> Tensor:
    """Sum over this step and those after it: (B, T)."""
    return x.flip(1).cumsum(1).flip(1)
