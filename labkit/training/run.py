"""Train a captioner: from references, or from a reward; from nothing, or from a trained model."""

import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from labkit import console
from labkit.distributed import ProcessGroup
from labkit.model.captioner import Captioner
from labkit.store.shards import source_of
from labkit.training.config import (
    FROM_DATA,
    Overrides,
    Settings,
    defaults_for,
    flat,
    read_settings,
    resolve,
)
from labkit.training.reward_trainer import RewardTrainer
from labkit.training.rewards import REWARDS, full_path
from labkit.training.trainer import Trainer

REWARDED: dict[str, Any] = {
    "epochs": 2, "batch_size": 25, "samples": 4, "learning_rate": 3e-4, "warmup_ratio": 0.0,
    "ema_decay": 0.9, "precision": "fp32",
}  # fmt: skip
"""Recommended for learning from a reward; a model that has learned to caption needs few steps."""


def starting_point(store: str | Path, given: dict[str, Any]) -> Settings:
    """The settings of a new run before any are given: those of its data, or of its start.

    Raises:
        FileNotFoundError, ValueError: There is no such start, or it is damaged.
    """
    base = defaults_for(source_of(store))
    if start := given.get("start"):
        captioner = Captioner.from_pretrained(start)
        model = asdict(captioner.decoder.config)
        model = {name: value for name, value in model.items() if name not in FROM_DATA}
        base = replace(base, model=model, generation=captioner.generation)
    if given.get("caption_reward"):
        base = replace(base, training=replace(base.training, **REWARDED))
    return base


def with_full_paths(given: dict[str, Any]) -> dict[str, Any]:
    """Name a start and a reward that are files so that a run can be resumed from any folder."""
    found = dict(given)
    if isinstance(start := given.get("start"), str | Path) and Path(start).is_dir():
        found["start"] = os.path.abspath(start)
    if isinstance(reward := given.get("caption_reward"), str):
        found["caption_reward"] = full_path(reward)
    return found


def notes_on(trainer: Trainer) -> list[str]:
    """What a user should know about a run with a start, a sentence each."""
    asks = trainer.settings.generation.mbr_candidates > 1
    if not asks or trainer.start is None or trainer.start.detector is None:
        return []
    note = (
        f"the word detector of {trainer.start.name} fits its weights alone: when this run has "
        f"ended, run labkit detect-words {trainer.folder.path}"
    )
    return [note]


def train(
    store: str | Path, run: str | Path, overrides: Overrides | None = None,
    resume: bool = False, group: ProcessGroup | None = None, progress: bool = True, **settings: Any,
) -> Trainer:  # fmt: skip
    """Train a captioner, or resume a run. Standard error says how it ended.

    Args:
        store: Folder of a feature store.
        run: The run's folder.
        overrides: Settings other than the recommended ones, by field of `TrainingConfig`,
            `ModelConfig` or `GenerationConfig`; or a configuration, all of whose fields count.
            A resumed run keeps its own where none are given.
        resume: Resume from the last checkpoint in ``run``, or start if there is none.
        group: This process among those that train together.
        progress: Show a bar, where the standard error is a terminal.
        settings: More overrides, as keywords: ``learning_rate=3e-3, hidden_dim=64``, or
            ``training=TrainingConfig(...)``, ``generation=GenerationConfig(...)``.

    Returns:
        The trainer, when it is done. `Captioner.from_pretrained(run)` loads the model.

    Raises:
        ValueError: A resumed run has a reward of your own, and it is not named again.
        FileExistsError, FileNotFoundError, ValueError: See `labkit.training.trainer.Trainer` and
            its `run`, and `labkit.training.rewards.read_reward`.

    Example:
        >>> from labkit import prepare_scenes, train
        >>> store = prepare_scenes("stores/few", count=8, progress=False)
        >>> trainer = train(store, "runs/tiny", epochs=1, hidden_dim=8, progress=False)
        >>> trainer.state.step, trainer.config.learning_rate
        (1, 0.003)
    """
    path, given = Path(run) / "config.json", with_full_paths(flat(overrides) | flat(settings))
    begun = resume and path.exists()
    base = read_settings(path) if begun else starting_point(store, given)
    resolved = resolve(base, given)
    reward = resolved.training.caption_reward
    if begun and reward not in (None, *REWARDS) and "caption_reward" not in given:
        raise ValueError(
            f"{path} learns from {reward}, and a folder does not start a program: name the reward "
            "again, with --reward, to resume"
        )
    kind = RewardTrainer if reward else Trainer
    trainer = kind(store, run, resolved, resume, group, progress)

    def say(line: str) -> None:
        if trainer.group.is_main:
            console.say(line, error=True)

    for note in [*trainer.notes, *notes_on(trainer)]:
        say(note)
    trainer.run()
    say(trainer.schedule.ending(trainer.state, trainer.judge.describe(trainer.state.best)))
    return trainer
