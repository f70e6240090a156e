"""Where to look: a score for each region, weights from the scores, and a context from the weights.

All mechanisms score the regions in the same way (`Attention.scores`). They differ in
`Attention.attend`: what they make of the scores while they learn. The decoder, the training and the
figures do not know which mechanism they have. The soft one is here; the hard ones, and the table of
all, are in `labkit.model.hard_attention`.

Symbols as in Xu et al. 2015 (arXiv 1502.03044): annotation vectors ``a`` (N, L, D), weights
``alpha`` (N, K, L). N images are looked at together, and K captions of each are generated side by
side: one in training, one for each beam in beam search. So a beam never copies the features.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, one_hot

from labkit.model.config import ModelConfig
from labkit.model.draws import Draws, exponential_like
from labkit.model.gradients import additive_scores, exp_of

Layer = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Layers:
    """The layers that a step passes, as the decoder has them or in a faster form.

    Attributes:
        reduce: From a sum of the vectors ``a`` to a context.
        W_h: See `labkit.model.decoder.Decoder`; as the following.
        W_z: From a context.
        L_z: From a context.
    """

    reduce: Layer
    W_h: Layer
    W_z: Layer
    L_z: Layer


@dataclass
class EncodedImage:
    """What the decoder keeps of N images while it captions them.

    Attributes:
        a: (N, L, D) annotation vectors.
        keys: (N, L, A) W_a a + b, computed once for all steps.
        exp_keys: (N, L, A) exp(-2 keys), see `labkit.model.gradients.additive_scores`.
        attention_mode: A key of `ATTENTION_MODES`, or None: as the mechanism learns.
        soft_mask: (N, 1, 1) bool, which captions learn from all regions this time, where a
            mechanism mixes both ways; else None.
        layers: What contexts and states pass, if not the decoder's own layers.
        intervene: Gets each step before its context is computed, and returns the step to use. So
            one asks what a model would say had it looked elsewhere. None leaves steps as they are.

    Example:
        >>> from dataclasses import replace
        >>> import torch
        >>> from labkit import Decoder, ModelConfig
        >>> def uniform(step):
        ...     even = torch.full_like(step.weights, 1 / step.weights.shape[-1])
        ...     return replace(step, weights=even)
        >>> decoder = Decoder(ModelConfig(vocab_size=12, encoder_dim=8)).eval()
        >>> image, state = decoder.init_state(torch.randn(2, 4, 8))  # two images of four regions
        >>> image.intervene = uniform
        >>> log_p, state, step = decoder.step(torch.tensor([[1], [1]]), image, state)
        >>> step.weights[0, 0]
        tensor([0.2500, 0.2500, 0.2500, 0.2500])
    """

    a: Tensor
    keys: Tensor
    exp_keys: Tensor
    attention_mode: str | None
    soft_mask: Tensor | None = None
    layers: "Layers | None" = None
    intervene: "Callable[[AttentionStep], AttentionStep] | None" = None

    def first(self, n: int) -> "EncodedImage":
        """Keep the first n images; `keys` stay, for their gradient is one tensor."""
        soft_mask = None if self.soft_mask is None else self.soft_mask[:n]
        return replace(self, a=self.a[:n], exp_keys=self.exp_keys[:n], soft_mask=soft_mask)

    def choose(self, rows: Tensor) -> "EncodedImage":
        """Keep some images, (n,) of their numbers."""
        soft_mask = None if self.soft_mask is None else self.soft_mask[rows]
        a, keys, exp_keys = self.a[rows], self.keys[rows], self.exp_keys[rows]
        return replace(self, a=a, keys=keys, exp_keys=exp_keys, soft_mask=soft_mask)


@dataclass
class AttentionStep:
    """Where one step attended.

    Attributes:
        alpha: (N, K, L) the weights; they sum to 1 over the regions.
        weights: (N, K, L) what the context is made with: alpha, or one-hot.
        log_choice: (N, K) log alpha of the sampled region, 0 for a soft step; None where nothing
            is sampled for the objective.
        entropy: (N, K) of alpha, in nats; None like `log_choice`.
        baseline: (N, K) the expected log p of a word; None where the objective has its own.
        mixture: For a mechanism that predicts a word from a mixture; else None.
        beta: (N, K, 1) the gate of the context; the decoder notes it here.
    """

    alpha: Tensor
    weights: Tensor
    log_choice: Tensor | None = None
    entropy: Tensor | None = None
    baseline: Tensor | None = None
    mixture: "Mixture | None" = None
    beta: Tensor | None = None


@dataclass
class Mixture:
    """Components that predict a word each for itself: single regions, and the rest of them.

    Attributes:
        places: (N, K, P) the single regions.
        log_shares: (N, K, P + 1) the logarithms of the components' shares; those of the single
            regions, and last that of the rest. A share of 0 has -inf, and is not computed.
        rest: (N, K, L) the weights of the last component's context.
    """

    places: Tensor
    log_shares: Tensor
    rest: Tensor


class Attention(nn.Module):
    """The attention model f_att, a perceptron with one hidden layer (eq. 4).

    Some peers use ReLU in place of tanh, or a sum of tanhs without ``v``. The paper leaves the
    choice open; its code has tanh and ``v``, and so does this class.

    Args:
        config: Its sizes feature_dim (D), attention_dim (A) and hidden_dim (H), and the options of
            the mechanism.

    Attributes:
        attention_modes: The modes it has outside training; the first is the default. A mechanism
            without any attends as it learns.
        progress: The share of the training that is done, from 0 to 1; the trainer sets it.
        draws: Where several processes share a batch, their random numbers, see
            `labkit.model.draws`; the trainer sets them.
    """

    attention_modes: tuple[str, ...] = ()
    progress = 1.0
    draws: Draws | None = None

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.config = config
        self.W_a = nn.Linear(config.feature_dim, config.attention_dim)  # W_a and b
        size = config.attention_dim
        self.v = nn.Parameter(torch.empty(size).uniform_(-1, 1) * size**-0.5)

    def encode(
        self, a: Tensor, attention_mode: str | None = None, reduce: nn.Linear | None = None
    ) -> EncodedImage:
        """Project the annotation vectors once, for all steps.

        Args:
            a: (N, L, D); or (N, L, encoder_dim), not reduced yet.
            attention_mode: A key of `ATTENTION_MODES`. By default the module attends as it learns
                while it is in training mode, and by its first mode, if any, in evaluation mode.
            reduce: The layer that reduces ``a``, if it has not done so yet.

        Raises:
            ValueError: The mechanism does not have this mode.
        """
        if attention_mode not in (None, *self.attention_modes):
            known = " or ".join(self.attention_modes) or "none"
            raise ValueError(f"this attention has no mode {attention_mode!r}: choose {known}")
        # W_a a_i + b of `equations.scores`, once for all steps; two matrices in a row are one
        weight = self.W_a.weight if reduce is None else self.W_a.weight @ reduce.weight
        keys = linear(a, weight, self.W_a.bias)  # (N, L, A)
        if attention_mode is None and not self.training and self.attention_modes:
            attention_mode = self.attention_modes[0]
        return EncodedImage(a, keys, exp_of(keys.detach()), attention_mode)

    def scores(self, image: EncodedImage, query: Tensor) -> Tensor:
        """e_ti = v . tanh(W_a a_i + W_s h_{t-1} + b), eq. 4.

        Args:
            image: N images.
            query: W_s h_{t-1}, and W_q E y_{t-1} if scores see the last word, (N, K, A).

        Returns:
            Scores (N, K, L), in float32 or finer: a softmax in bf16 loses regions of small weight.
        """
        # `equations.scores`, with one exponential for each region and not one at each step: see
        # `labkit.model.gradients.additive_scores`
        scores, image.keys = additive_scores(image.keys, image.exp_keys, query, self.v)
        return scores  # (N, K, L)

    def attend(self, scores: Tensor, image: EncodedImage, h: Tensor) -> AttentionStep:
        """Turn scores into weights to learn from; each mechanism has its own way.

        Args:
            scores: (N, K, L).
            image: N images.
            h: h_{t-1}, (N, K, H).
        """
        raise NotImplementedError

    def expectation(self, scores: Tensor) -> AttentionStep:
        """Use all regions by their weights."""
        alpha = scores.softmax(-1)  # (N, K, L), eq. 5: `equations.weights`
        return AttentionStep(alpha, alpha)

    def update_baseline(self, log_p: float) -> None:
        """Update the baseline with the batch's mean log-probability per word, in nats."""

    def forward(
        self, image: EncodedImage, query: Tensor, h: Tensor
    ) -> tuple[Tensor, AttentionStep]:
        """Attend once.

        Args:
            image: N images.
            query: W_s h_{t-1}, and W_q E y_{t-1} if scores see the last word, (N, K, A).
            h: h_{t-1}, (N, K, H).

        Returns:
            The context phi(a, alpha), before the gate, (N, K, D), of the image's vectors as they
            are; and where it attended.
        """
        scores = self.scores(image, query)
        if image.attention_mode is None:
            step = self.attend(scores, image, h)
        elif image.attention_mode == "expectation":
            step = self.expectation(scores)
        else:
            alpha = scores.softmax(-1)  # eq. 5
            place = scores.argmax(-1)
            if image.attention_mode == "sample":
                place = sample_place(alpha, self.draws)
            step = AttentionStep(alpha, one_place(place, alpha))
        if image.intervene is not None:
            step = image.intervene(step)
        # eq. 13, `equations.soft_context`; or eq. 9, `equations.hard_context`, where weights are
        # one-hot. Vectors that were projected in advance (`Decoder.init_state`) have another size
        return step.weights.to(image.a.dtype) @ image.a, step  # (N, K, L) x (N, L, D) -> (N, K, D)


class SoftAttention(Attention):
    """Deterministic 'soft' attention: the context is the expected annotation vector (eq. 13)."""

    attention_modes = ("expectation",)

    def attend(self, scores: Tensor, image: EncodedImage, h: Tensor) -> AttentionStep:
        """alpha_ti = softmax over the regions (eq. 5), used as it is."""
        return self.expectation(scores)


def sample_place(alpha: Tensor, draws: Draws | None = None) -> Tensor:
    """Sample a region s_t ~ Multinoulli(alpha_t) for each row of alpha (N, K, L): (N, K)."""
    # eq. 8, `equations.sample_place`, as a number in place of a one-hot vector. Of exponentially
    # distributed numbers with rates alpha_i the i-th is the least with probability alpha_i
    return (alpha.detach() / exponential_like(alpha, draws)).argmax(-1)


def one_place(place: Tensor, alpha: Tensor) -> Tensor:
    """Weights that are 1 at ``place`` (...) and 0 elsewhere, like alpha: (..., L)."""
    return one_hot(place, alpha.shape[-1]).to(alpha.dtype)

