"""Learning what to say: captions sampled with their gradient, and the loss of a reward.

The estimator is that of hard attention, line by line, with the words in the place of the regions.
There, a region s_t ~ alpha_t is a choice without a gradient, and

    dL/dW = d log p(y | s, a) / dW + (R - b) d log p(s | a) / dW

is right on average (eq. 12 of Xu et al. 2015). Here the choice is the word y_t, and R is what the
whole caption is worth. It does not depend on W, so the first term is missing. Where regions are
sampled too, both choices earn the same reward, and both are learned at once: log p of the choices
is the sum of the two.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from labkit.data.vocabulary import BOS, EOS
from labkit.model.attention import sample_place
from labkit.model.captions import NEVER_GENERATED
from labkit.model.decoder import Decoder
from labkit.training.objective import score_function_loss

BASELINES = ("none", "greedy", "others", "group")


@dataclass
class Rollout:
    """K sampled captions of each of N images. All are (N, K, T); after a caption's end zero.

    Attributes:
        words: Word ids; ``<eos>`` at and after the end.
        mask: 1 for each word, ``<eos>`` included.
        log_p: log p(y_t) of the words, with gradient.
        log_choice: log alpha of the regions, with gradient, where they were sampled; else 0.
        kl: KL(p(y_t) || start's p(y_t)) at each word, in nats, with gradient; 0 without a start. A
            start that learned to sample regions attends as it captions, by its first attention
            mode. So there it is not 0 even for the start's own weights.
    """

    words: Tensor
    mask: Tensor
    log_p: Tensor
    log_choice: Tensor
    kl: Tensor

    def captions(self) -> list[list[int]]:
        """The N K captions as word ids without ``<eos>``, those of an image side by side."""
        rows = self.words.flatten(0, 1).tolist()
        return [row[: row.index(EOS)] if EOS in row else row for row in rows]


class Sampler(nn.Module):
    """Samples captions, with their gradient.

    Args:
        decoder: In evaluation mode: a word that is dropped out is no sample of the model.
        start: The model that it started from, for the KL term; None without one.
    """

    def __init__(self, decoder: Decoder, start: Decoder | None = None):
        super().__init__()
        self.decoder = decoder
        self.start = [start]  # in a list: it is none of this module's parameters

    def forward(self, a: Tensor, count: int, max_length: int) -> Rollout:
        """Sample ``count`` captions of each image.

        Args:
            a: Annotation vectors (N, L, D).
            count: K.
            max_length: A caption without ``<eos>`` ends after so many words.
        """
        image, state = self.decoder.init_state(a, count)
        image.attention_mode = None  # attend as it learns
        other = self._start(a, count)
        words = torch.full((len(a), count), BOS, device=a.device)
        unfinished = torch.ones_like(words, dtype=torch.bool)
        steps = []
        for _ in range(max_length):
            log_p, state, step = self.decoder.step(words, image, state)
            log_p = possible(log_p)  # (N, K, V')
            kl = torch.zeros_like(log_p[..., 0])
            if other is not None:
                kl, other = self._kl(log_p, words, other)
            drawn = sample_place(log_p.exp(), self.decoder.attention.draws)
            log_drawn = log_p.gather(-1, drawn[..., None])[..., 0]
            places = torch.zeros_like(kl) if step.log_choice is None else step.log_choice
            words = _ids(log_p)[drawn].masked_fill(~unfinished, EOS)
            mask = unfinished.float()
            steps.append((words, mask, log_drawn * mask, places * mask, kl * mask))
            unfinished = unfinished & (words != EOS)
            if not unfinished.any():
                break
        return Rollout(*(torch.stack(parts, -1) for parts in zip(*steps, strict=True)))

    @torch.no_grad()
    def _start(self, a: Tensor, count: int) -> tuple[Any, ...] | None:
        (start,) = self.start
        return None if start is None else (start, *start.init_state(a, count))

    def _kl(
        self, log_p: Tensor, words: Tensor, other: tuple[Any, ...]
    ) -> tuple[Tensor, tuple[Any, ...]]:
        start, image, state = other
        with torch.no_grad():
            log_q, state, _ = start.step(words, image, state)
        return (log_p.exp() * (log_p - possible(log_q))).sum(-1), (start, image, state)


def possible(log_p: Tensor) -> Tensor:
    """Give log p of the words that are ever generated, renormalised: (..., V) to (..., V')."""
    kept = torch.ones(log_p.shape[-1], dtype=torch.bool, device=log_p.device)
    kept[NEVER_GENERATED] = False
    return log_p[..., kept].log_softmax(-1)


def _ids(log_p: Tensor) -> Tensor:
    """The word ids of the columns of `possible`."""
    count = log_p.shape[-1] + len(NEVER_GENERATED)
    ids = [word for word in range(count) if word not in NEVER_GENERATED]
    return torch.tensor(ids, device=log_p.device)


def advantage(reward: Tensor, kind: str, greedy: Tensor | None = None) -> Tensor:
    """How much better each caption is than what was to be expected, (N, K).

    "none", "greedy" and "others" do not depend on the caption that they are subtracted for, so the
    gradient stays right on average. The mean of "group" does, which only scales the gradient by
    (K - 1) / K; so does its standard deviation, which changes the direction.

    Args:
        reward: (N, K) of the captions.
        kind: "none"; "greedy", the reward of the caption that the model would have generated
            (self-critical training, Rennie et al. 2017); "others", the mean of the image's other
            captions (RLOO, leave-one-out); "group", all of the image's captions brought to mean 0
            and standard deviation 1 (the advantage of GRPO, Shao et al. 2024).
        greedy: (N,) for "greedy".

    Raises:
        ValueError: There is no such kind.
    """
    if kind not in BASELINES:
        raise ValueError(f"a baseline is {', '.join(BASELINES)}, not {kind!r}")
    if kind == "none":
        return reward
    if kind == "greedy":
        assert greedy is not None
        return reward - greedy[:, None]
    mean = reward.mean(1, keepdim=True)
    if kind == "others":  # reward - (sum - reward) / (K - 1)
        return (reward - mean) * reward.shape[1] / (reward.shape[1] - 1)
    return (reward - mean) / (reward.std(1, keepdim=True) + 1e-4)


def reward_loss(rollout: Rollout, advantages: Tensor, kl_weight: float = 0.0) -> Tensor:
    """The loss, summed over the captions: its negative gradient is that of the expected reward.

    That is so on average, and less the KL term.

    Args:
        rollout: The captions.
        advantages: (N, K), see `advantage`.
        kl_weight: Of the KL term, which keeps the model near its start.
    """
    log_choices = rollout.log_p + rollout.log_choice  # (N, K, T), of words and regions
    loss = score_function_loss(advantages[..., None], log_choices)  # (N, K, 1), (N, K, T)
    return loss + kl_weight * rollout.kl.sum()
