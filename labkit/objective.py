"""What training makes small: the paper's objective for soft attention (eq. 14).

For each caption of T words, told of a picture of L regions,

    loss = sum_t -log p(y_t | y_<t, a)  +  lambda sum_i (target - sum_t alpha_ti)^2

The second term is the paper's 'doubly stochastic' one: over the words, every region should get
its share of attention. Steps after a caption's end are padding and have no weights at all.

Our scaling: the losses of all captions of a batch are summed and divided by the batch's number of
words. So `doubly` is the paper's lambda, and the gradient's size depends neither on the batch nor
on the captions' lengths. A peer that takes the mean over captions and over regions, with a
mean over words for the first term, has lambda_peer = lambda * L / T; a sum over regions and a mean
over captions beside a mean over words has lambda_peer = lambda / T.

About the target: the weights of a caption sum to T, so each of L regions can get 1 only where
T = L. With 12 words and 49 regions the term pulls towards equal weights, and its least value is
(1 - T / L)^2 L. One peer sets T / L (16 / 196) as the target. We keep the paper's 1 and a small
lambda.
"""

from dataclasses import dataclass

from torch import Tensor

from labkit.decoder import Told


@dataclass(frozen=True)
class Loss:
    """The loss of some captions, summed over them."""

    total: Tensor  # () with gradient; divide by the number of words
    surprise: float  # sum of -log p(y_t), in nats: the plain word loss without smoothing
    words: int  # how many words, <eos> included


@dataclass(frozen=True)
class Objective:
    """How captions are scored against what was told.

    Args:
        doubly: lambda of the doubly stochastic term.
        target: what each region's weights should sum to; the paper has 1.
        smoothing: label smoothing (Szegedy et al. 2016): this share of each word's probability
            is asked for evenly from all words. 0 is the paper's.
    """

    doubly: float = 0.1
    target: float = 1.0
    smoothing: float = 0.1

    def __call__(self, told: Told) -> Loss:
        """Score what was told of a batch, teacher forced."""
        surprise = -told.log_p.gather(1, told.targets[:, None]).sum()
        evenly = -told.log_p.mean(1).sum()
        words = (1 - self.smoothing) * surprise + self.smoothing * evenly
        spread = (self.target - told.alpha.sum(1)).square().sum()  # over t, then regions, captions
        return Loss(words + self.doubly * spread, surprise.item(), len(told.targets))
