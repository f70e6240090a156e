"""The course of a training: its rate at each step, which epoch is kept, when it ends and why.

Which epoch is better: `labkit.training.dev_split`. Patience counts epochs after the warm-up only.
Until then the learning rate is still rising, and a score that stands still says nothing about what
is to come.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from labkit.store.shards import find_split, splits_like
from labkit.training.config import Settings, TrainingConfig


class DivergedError(FloatingPointError, ValueError):
    """The loss or its gradient is not finite."""


@dataclass
class TrainState:
    """Where a training stands; all of it goes into the checkpoint.

    Attributes:
        epoch: Epochs that were trained and scored.
        step: Steps that were done.
        nll: Sum of -log p(y_t) since the last line of the log, in nats.
        words: The words of that sum.
        best: What the kept epoch was judged by, see `labkit.training.dev_split.DevSplit.rank`; None
            where none was scored.
        kept: The epoch whose weights were kept, counted from 1; 0: none yet.
        waited: Epochs since then that count for patience.
        rows: The log, as in metrics.jsonl.
        loader: The loader's state. It is an epoch ahead of `epoch` while one is yet to be scored.
    """

    epoch: int = 0
    step: int = 0
    nll: float = 0.0
    words: int = 0
    best: list[float] | None = None
    kept: int = 0
    waited: int = 0
    rows: list[dict[str, Any]] = field(default_factory=list)
    loader: dict[str, Any] = field(default_factory=dict)

    def judge(self, found: list[float] | None, counts: bool) -> bool:
        """Take an epoch's score, or None where there is none; say whether its weights are kept."""
        better = found is None or self.best is None or found > self.best
        if better:
            self.best, self.kept, self.waited = found, self.epoch + 1, 0
        else:
            self.waited += counts
        return better


def check_finite(loss: float, norm: float, at: TrainState) -> None:
    """Stop where a step's loss, or the norm of its gradient, is not finite.

    Raises:
        DivergedError: the sentence says where, and which epoch was kept before.
    """
    if math.isfinite(loss) and math.isfinite(norm):
        return
    what = f"its gradient is {norm}" if math.isfinite(loss) else f"the loss is {loss}"
    kept = f"epoch {at.kept} is kept" if at.kept else "no epoch was finished"
    raise DivergedError(
        f"training stopped in epoch {at.epoch + 1}, at step {at.step + 1}: {what}; {kept}: "
        "start another run with a lower learning_rate, or with precision=fp32"
    )


def with_splits(store: str | Path, settings: Settings) -> Settings:
    """Put the names that the store has in the place of those that were asked for.

    Raises:
        StoreError: The store has no such split, or several that could be meant.
    """
    config = settings.training
    train, dev = find_split(store, config.train_split or "train"), config.dev_split
    if dev or splits_like(store, "dev"):
        dev = find_split(store, dev or "dev")
    return replace(settings, training=replace(config, train_split=train, dev_split=dev))


@dataclass(frozen=True)
class Schedule:
    """The course of a training of `steps` steps per epoch."""

    config: TrainingConfig
    steps: int

    @property
    def total(self) -> int:
        """All steps."""
        return self.config.epochs * self.steps

    @property
    def warmup_steps(self) -> int:
        """The steps of the warm-up."""
        return round(self.config.warmup_ratio * self.total)

    def rate(self, step: int) -> float:
        """The learning rate: a line up to its peak, times a cosine down to 0 at the end."""
        rise = min(1.0, (step + 1) / max(1, self.warmup_steps))
        return self.config.learning_rate * rise * (1 + math.cos(math.pi * step / self.total)) / 2

    def over(self, at: TrainState) -> bool:
        """Whether the training has come to its end."""
        return at.epoch >= self.config.epochs or at.waited >= self.config.patience

    def ending(self, at: TrainState, score: str) -> str:
        """Say in a sentence why it ended, and which epoch was kept, with which score."""
        if at.epoch >= self.config.epochs:
            why = f"all {at.epoch} epochs are done"
        else:
            why = f"stopped after epoch {at.epoch} of {self.config.epochs}: "
            why += f"none of the last {at.waited} was better on the dev split"
        if at.best is None:
            return f"{why}; the last is kept, none was scored"
        return f"{why}; epoch {at.kept} is kept, with {score} on the dev split"


def ema_of_weights(decay: float) -> Callable[[Any, Any, Any], None]:
    """What `torch.optim.swa_utils.AveragedModel` does after each step.

    It moves the average towards the weights; faster at first, while they still change much.
    """
    def move(averaged: Any, current: Any, count: Any) -> None:
        kept = min(decay, (1 + float(count)) / (10 + float(count)))
        for mean, weight in zip(averaged, current, strict=True):
            mean.lerp_(weight, 1 - kept)

    return move
