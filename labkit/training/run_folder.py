"""The folder of a run: what it holds, who may write it, and when it is resumed.

    config.json              what was asked for, and what model, encoder and store it is about
    vocabulary.json          the words
    metrics.jsonl            a line every few steps ("loss") and one after each epoch (the scores)
    loss.png                 the same as a figure, after each epoch
    model.safetensors        the best epoch's weights: what evaluation and captioning use
    checkpoint.safetensors   all that resuming needs

The checkpoint is one file, renamed into place: a kill leaves the old one or the new one. A folder
without one holds nothing that was learned, so another run may be started in it.
"""

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from labkit.data.vocabulary import Vocabulary
from labkit.distributed import ProcessGroup
from labkit.figures.strips import loss_curves
from labkit.files import atomic_write, only_one, own_folder, read_json, write_json
from labkit.model import checkpoint
from labkit.model.config import GenerationConfig, ModelConfig
from labkit.training.config import TrainingConfig
from labkit.training.schedule import TrainState
from labkit.validation import free_settings

MARK = ".labkit-run"  # a file that says whose folder it is


class RunFolder:
    """The folder of one run; rank 0 writes it, and what stops rank 0 stops all.

    Args:
        path: the folder, absent, empty, or of a run.
        group: this process among those that train together.
    """

    def __init__(self, path: str | Path, group: ProcessGroup):
        self.path, self.group = Path(path), group
        self.config = self.path / "config.json"
        self.checkpoint = self.path / "checkpoint.safetensors"
        self.model = self.path / "model.safetensors"
        self._facts: dict[str, Any] = {}

    def claim(self, resume: bool) -> None:
        """See, before any work, that a run may be started or resumed here.

        Raises:
            FileExistsError: it holds a run, and ``resume`` is False; or it holds other files.
            OSError: it cannot be written to.
        """

        def look() -> None:
            own_folder(self.path, MARK, self.checkpoint.name)
            if self.model.exists() and not self.checkpoint.exists():
                raise FileExistsError(
                    f"{self.path} holds a model without its checkpoint.safetensors: name another "
                    "folder"
                )
            if self.checkpoint.exists() and not resume:
                raise FileExistsError(
                    f"{self.path} holds a run: resume it (--resume), or name another folder"
                )

        self.group.once(look)

    def begin(self, facts: dict[str, Any], vocabulary: Vocabulary, resume: bool) -> bool:
        """Write what the run is, or see that it is the same run.

        Returns:
            Whether there is a checkpoint to resume from.

        Raises:
            FileExistsError: as `claim`; or another process is training here.
            ValueError: the run was started with another store or other settings.
        """
        self._facts = json.loads(json.dumps(facts))
        self.claim(resume)

        def write() -> bool:
            with only_one(self.path):
                for file in (self.checkpoint, self.model):  # what a killed training left behind
                    for part in self.path.glob(f".part-*-{file.name}"):
                        part.unlink()
                if begun := self.checkpoint.exists():
                    compare_runs(read_json(self.config), self._facts, self.config)
                vocabulary.save(self.path / "vocabulary.json")
                write_json(self.config, self._facts)
            return begun

        return self.group.once(write)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other processes out of the folder while this one trains.

        Raises:
            FileExistsError: another process is training here, or has started another run.
        """

        def enter() -> None:
            lock.enter_context(only_one(self.path))
            if read_json(self.config) != self._facts:
                raise FileExistsError(f"{self.path} holds another run by now: name a new folder")

        with ExitStack() as lock:
            self.group.once(enter)
            yield

    def save(self, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        """Write the checkpoint, then the log; for rank 0 alone."""
        checkpoint.save(self.checkpoint, tensors, state)
        self._log(state["rows"])

    def show(self, rows: list[dict[str, Any]], title: str) -> None:
        """Write the log of what was done, and draw it; for rank 0 alone."""
        if rows:
            self._log(rows)
            with atomic_write(self.path / "loss.png") as part:
                loss_curves({title: rows}).savefig(part)

    def _log(self, rows: list[dict[str, Any]]) -> None:
        with atomic_write(self.path / "metrics.jsonl") as part:
            part.write_bytes("".join(json.dumps(row) + "\n" for row in rows).encode())

    def restore(
        self, model: nn.Module, average: nn.Module, optimizer: torch.optim.Optimizer
    ) -> TrainState:
        """Put back what the checkpoint holds, and say where the training stood.

        Raises:
            ValueError: it is damaged, or of another version.
        """
        tensors, facts = checkpoint.load(self.checkpoint)
        try:
            checkpoint.restore(tensors, model, average, optimizer)
            return TrainState(**facts)
        except (RuntimeError, TypeError, ValueError, KeyError):
            raise ValueError(
                f"{self.checkpoint} is of another version of labkit: start another run"
            ) from None


MOVABLE = ("start", "caption_reward")  # they may be files


def _same(name: str, old: Any, new: Any) -> bool:
    if name in MOVABLE and old and new:
        file = old.rpartition(":")[0] if name == "caption_reward" else old  # FILE.py:function
        if not Path(file).exists():  # it was moved
            return Path(old).name == Path(new).name
    return old == new


def compare_runs(old: Any, new: dict[str, Any], path: Path) -> None:
    """Check that a run is resumed with its own settings, except those that change nothing learned.

    A setting that the run does not name is of a later version, and its default is what the run had.

    Args:
        old: What config.json holds.
        new: What it would hold now.
        path: The file, for the message.

    Raises:
        ValueError: They differ; the sentence names the first difference.
    """
    if not isinstance(old, dict) or old.get("store") != new["store"]:
        raise ValueError(f"{path} was trained on another store: name that store to resume")
    free = free_settings(TrainingConfig)
    parts = {"training": TrainingConfig, "model": ModelConfig, "generation": GenerationConfig}
    for part, config in parts.items():  # the store's fingerprint covers its encoder
        was = {field.name: field.default for field in fields(config)}
        was |= old[part] if isinstance(old.get(part), dict) else {}
        for name, value in new[part].items():
            if not (part == "training" and name in free) and not _same(name, was.get(name), value):
                raise ValueError(
                    f"{path} has {name} = {was.get(name)}, not {value}: resume with its settings, "
                    "or start another run"
                )
    if (start := old.get("start_weights")) and start != new["start_weights"]:
        raise ValueError(f"{path} started from other weights than {new['training']['start']} has "
                         "now: put those back to resume, or start another run")  # fmt: skip
