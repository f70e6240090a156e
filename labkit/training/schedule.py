"""The course of a training: its rate at each step, which epoch is kept, when it ends and why.

An epoch is better than another if its CIDEr on the dev split is higher or, where that is equal, if
its loss there is lower. CIDEr weighs words by how rare they are among the references, so of a few
images it says little: with fewer than `ENOUGH` the loss alone decides. Without captions to compare
with, no epoch is better than another: all are trained, and the last is kept.

Patience counts epochs after the warm-up only. Until then the rate is still rising, and a score that
stands still says nothing about what is to come.
"""

import math
from dataclasses import dataclass, field, replace
from pathlib import Path

from labkit.store.shards import FeatureStore, find_split, splits, splits_like
from labkit.training.config import TrainingConfig

ENOUGH = 50  # images with captions from which on CIDEr decides


class DivergedError(FloatingPointError, ValueError):
    """The loss or its gradient is no number any more."""


@dataclass
class TrainState:
    """Where a training stands; all of it goes into the checkpoint."""

    epoch: int = 0  # epochs that were trained and scored
    position: int = 0  # samples of the next that were delivered; with all, it is yet to be scored
    step: int = 0
    nll: float = 0.0  # sum of -log p(y_t) since the last line of the log
    words: int = 0  # the words of that sum
    best: list[float] | None = None  # the kept epoch's CIDEr and negative loss on the dev split
    kept: int = 0  # the epoch whose weights were kept; 0: none yet
    waited: int = 0  # epochs since then that count for patience
    rows: list[dict] = field(default_factory=list)  # metrics.jsonl

    def judge(self, found: list[float] | None, counts: bool) -> bool:
        """Take an epoch's score, or None where there is none; say whether its weights are kept."""
        better = found is None or self.best is None or found > self.best
        if better:
            self.best, self.kept, self.waited = found, self.epoch + 1, 0
        else:
            self.waited += counts
        return better


def check_finite(loss: float, norm: float, at: TrainState) -> None:
    """Stop where a step's loss, or the norm of its gradient, is no number any more.

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


class DevSplit:
    """The split of a store that chooses the epoch.

    Args:
        root: the store.
        name: its split; None if there is none.

    Attributes:
        store: the split; None if there is none, or none with captions.
        notes: a sentence if there is something to know.
    """

    def __init__(self, root: str | Path, name: str | None):
        self.store, self.notes = None if name is None else FeatureStore(root, name), []
        self._images = 0 if name is None else sum(map(bool, self.store.captions))
        if self.store is None:
            there = ", ".join(splits(root))
            self.notes.append(f"the store has no dev split (it has {there}), so no epoch is scored "
                              "and the last is kept: name one with --dev-split")  # fmt: skip
        elif self._images == 0:
            self.store = None
            self.notes.append(f"the split {name} has no captions, so no epoch is scored and the "
                              "last is kept")  # fmt: skip
        elif self._images < ENOUGH:
            images = f"{self._images} image{'s' * (self._images > 1)}"
            self.notes.append(f"the split {name} has captions of {images}, too few for CIDEr to "
                              "decide: the epoch of the lowest loss on them is kept")  # fmt: skip

    def rank(self, scores: dict[str, float]) -> list[float]:
        """What an epoch is judged by, the more the better."""
        return [scores["cider"]] * (self._images >= ENOUGH) + [-scores["dev_loss"]]


def with_splits(root: str | Path, config: TrainingConfig) -> TrainingConfig:
    """Put the names that the store has in the place of those that were asked for.

    Raises:
        StoreError: the store has no such split, or several that are meant alike.
    """
    train, dev = find_split(root, config.train_split or "train"), config.dev_split
    if dev or splits_like(root, "dev"):
        dev = find_split(root, dev or "dev")
    return replace(config, train_split=train, dev_split=dev)


@dataclass(frozen=True)
class Schedule:
    """The course of a training of `steps` steps an epoch."""

    config: TrainingConfig
    steps: int

    @property
    def total(self) -> int:
        """All steps."""
        return self.config.epochs * self.steps

    @property
    def warmup_ratio(self) -> int:
        """The steps of the warm-up."""
        return round(self.config.warmup_ratio * self.total)

    def rate(self, step: int) -> float:
        """A line up to the highest rate, and all along a cosine down to nothing at the end."""
        rise = min(1.0, (step + 1) / max(1, self.warmup_ratio))
        return self.config.learning_rate * rise * (1 + math.cos(math.pi * step / self.total)) / 2

    def over(self, at: TrainState) -> bool:
        """Whether the training has come to its end."""
        return at.epoch >= self.config.epochs or at.waited >= self.config.patience

    def ending(self, at: TrainState) -> str:
        """Say in a sentence why it ended, and which epoch was kept."""
        if at.epoch >= self.config.epochs:
            why = f"all {at.epoch} epochs are done"
        else:
            why = f"stopped after epoch {at.epoch} of {self.config.epochs}: "
            why += f"none of the last {at.waited} was better on the dev split"
        if at.best is None:
            return f"{why}; the last is kept, none was scored"
        cider, loss = at.best[0], -at.best[-1]
        score = f"CIDEr {cider:.3f}" if len(at.best) > 1 else f"a loss of {loss:.3f} nats a word"
        return f"{why}; epoch {at.kept} is kept, with {score} on the dev split"
