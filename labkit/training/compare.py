"""Mechanisms side by side: the same seeds, data and budget, `labkit compare`.

    DIR/table.json            mechanism -> score -> {"mean", "spread"}
    DIR/table.md              the same as a table
    DIR/curves.json           mechanism -> the rows of metrics.jsonl of its first seed
    DIR/loss.png              the same as a figure
    DIR/strips/K-NAME.png     where each looked, on the same pictures
    DIR/runs/NAME-SEED/       each training; the one that is finished is not repeated

The spread is the standard deviation over the seeds.
"""

import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from labkit.data.photos import read_photo
from labkit.data.scenes import make_scenes
from labkit.distributed import ProcessGroup
from labkit.evaluation.evaluate import evaluate
from labkit.figures.strips import attention_strip, loss_curves
from labkit.files import atomic_write, only_one, own_folder, read_json, write_json
from labkit.model.captioner import load
from labkit.model.decoder import pad_captions
from labkit.store.shards import FeatureStore, source_of
from labkit.training.config import parse_settings, defaults_for
from labkit.training.gradient_variance import moments
from labkit.training.schedule import DevSplit, with_splits
from labkit.training.trainer import Trainer, train

TITLES = {
    "bleu4": "BLEU-4",
    "meteor": "METEOR",
    "cider": "CIDEr",
    "pointing": "points right",
    "pointing_human": "points right, human words",
    "mass": "mass on the object",
    "objects_right": "objects right",
    "captions_true": "captions true",
    "entropy": "entropy",
    "moves": "moves",
    "coverage": "coverage",
    "gradient_variance": "gradient variance",
}
MARK = ".labkit-compare"  # a file that says whose folder it is
OFF = 1_000_000  # a patience that no training reaches
BATCH, DRAWS = 50, 20  # pictures and draws that the gradient's variance is measured with
SHOWN = 4  # pictures in the strips


@dataclass(frozen=True)
class Mechanism:
    """What is compared: an attention with its options, under a name."""

    label: str
    settings: dict[str, Any]

    @property
    def folder(self) -> str:
        """The label as a file's name."""
        return re.sub(r"[^\w.]+", "-", self.label).strip("-")


def read_mechanism(text: str) -> Mechanism:
    """Read ``[LABEL=]NAME[:option=value,...]``; without a label it is called as it is written.

    Raises:
        ValueError: there is no such option.
    """
    head, _, options = text.partition(":")
    label, _, name = head.rpartition("=")
    given = [f"attention={name}", *filter(None, options.split(","))]
    return Mechanism(label or text, parse_settings(given))


def compare(
    store: str | Path, attentions: Sequence[str], out: str | Path, seeds: int = 3,
    given: dict[str, Any] | None = None, photos: Sequence[str | Path] = (), progress: bool = True,
) -> dict[str, dict[str, dict[str, float | None]]]:  # fmt: skip
    """Train each mechanism with each seed, score all on the dev split, show them side by side.

    Args:
        store: folder of a feature store with a split to learn from and one to score on.
        attentions: mechanisms, see `read_mechanism`.
        out: the folder to write, absent or empty; a comparison that was interrupted there is
            resumed.
        seeds: how many, from 0 on.
        given: settings for all, names of `TrainingConfig`.
        photos: pictures for the strips; of a store of scenes some scenes, if there are none.
        progress: show bars, where the standard error is a terminal.

    Returns:
        What ``table.json`` holds: the spread of a single seed is None.

    Raises:
        FileExistsError: ``out`` holds other files, or another process is writing it.
        ValueError: a mechanism is not known, two have one name, the store has no split to score
            on, or a run in ``out`` was made with other settings.
    """
    mechanisms = [read_mechanism(text) for text in attentions]
    if len({one.folder for one in mechanisms}) < len(mechanisms):
        raise ValueError("two mechanisms have one name: begin one with another, best=...")
    given = {"patience": OFF} | (given or {})
    devs = [_dev_split(store, given | one.settings) for one in mechanisms]  # before the training
    pictures = [read_photo(photo) for photo in photos]
    out = own_folder(out, MARK)
    with only_one(out):
        table = _train_and_score(store, mechanisms, out, seeds, given, progress)
        _draw_strips(devs[0], mechanisms, out, pictures)
    return table


def _dev_split(store: str | Path, settings: dict[str, Any]) -> FeatureStore:
    """Open the split to score on.

    Raises:
        ValueError: the settings are refused, or there is no such split with captions.
    """
    config = with_splits(store, replace(defaults_for(source_of(store)), **settings))
    dev = DevSplit(store, config.dev_split)
    if dev.store is None:
        raise ValueError(f"{store} cannot be compared on: {dev.notes[0]}")
    return dev.store


def _train_and_score(
    store: str | Path, mechanisms: Sequence[Mechanism], out: Path, seeds: int,
    given: dict[str, Any], progress: bool,
) -> dict[str, dict[str, dict[str, float | None]]]:  # fmt: skip
    """Train each mechanism with each seed; write the table and the curves."""
    found: dict[str, list[dict]] = {one.label: [] for one in mechanisms}
    curves: dict[str, list[dict]] = {}
    for seed in range(seeds):
        for one in mechanisms:
            run = out / "runs" / f"{one.folder}-{seed}"
            settings = given | one.settings | {"seed": seed}
            training = train(store, run, settings, resume=True, progress=progress)
            curves.setdefault(one.label, training.state.rows)
            found[one.label].append(_score(training, progress))
    table = {label: summarise(scores) for label, scores in found.items()}
    write_json(out / "table.json", table)
    with atomic_write(out / "table.md") as part:
        told_by = {label: scores[0]["decoding"] for label, scores in found.items()}
        part.write_text(as_markdown(table, told_by, seeds), encoding="utf-8")
    write_json(out / "curves.json", curves)
    with atomic_write(out / "loss.png") as part:
        loss_curves(curves).savefig(part)
    return table


def _score(training: Trainer, progress: bool) -> dict[str, Any]:
    """Score a finished run, once."""
    path = training.out / "scores.json"
    if not path.exists():
        model = load(training.out)
        found = evaluate(model.decoder, model.vocabulary, training.dev, progress=progress)
        write_json(path, found.as_dict() | {"gradient_variance": gradient_variance(training)})
    return read_json(path)


def gradient_variance(training: Trainer) -> float:
    """How much the gradient of the scores' parameters varies at a trained model.

    It is the sum of the variances of all their numbers, for one batch of the split "dev": the
    batch, and what the model knows, stay as they are, see `labkit.training.gradient_variance`.
    """
    model, dev = load(training.out), training.dev
    rows = [row for row in range(len(dev)) if dev.captions[row]][:BATCH]
    a = torch.from_numpy(dev.read(np.array(rows))).float()
    limit = training.config.max_words
    captions = [model.vocabulary.encode(dev.captions[row][0], limit) for row in rows]
    with ProcessGroup().seeded(0):
        found = moments(model.decoder, training.objective, a, pad_captions(captions), DRAWS)
    return found["attention"].total_variance


def summarise(scores: Sequence[dict[str, Any]]) -> dict[str, dict[str, float | None]]:
    """Mean and spread over the seeds of each score that there is."""
    table = {}
    for name in TITLES:
        if (values := [one[name] for one in scores if one.get(name) is not None]):
            spread = statistics.stdev(values) if len(values) > 1 else None
            table[name] = {"mean": statistics.fmean(values), "spread": spread}
    return table


def as_markdown(table: dict, told_by: dict[str, str], seeds: int) -> str:
    """The table for a reader: a row a mechanism, mean and spread of each score."""
    names = [name for name in TITLES if any(name in row for row in table.values())]
    lines = [f"| mechanism | {' | '.join(TITLES[name] for name in names)} |"]
    lines.append("|---" * (len(names) + 1) + "|")
    for label, row in table.items():
        cells = [_cell(name, row.get(name)) for name in names]
        lines.append(f"| {label} | {' | '.join(cells)} |")
    lines += ["", f"Split dev, {seeds} seed{'s' * (seeds > 1)}: mean ± standard deviation.", ""]
    return "\n".join(lines + [f"- {label}: {text}" for label, text in told_by.items()]) + "\n"


def _cell(name: str, value: dict | None) -> str:
    if value is None:
        return ""
    form = ".2e" if name == "gradient_variance" else ".3f"
    spread = "" if value["spread"] is None else f" ± {value['spread']:{form}}"
    return f"{value['mean']:{form}}{spread}"


def _draw_strips(
    dev: FeatureStore, mechanisms: Sequence[Mechanism], out: Path, pictures: Sequence[Any]
) -> None:
    """Let the first seed of each tell the same pictures."""
    if not pictures and dev.source.get("source") == "scenes":
        scenes = make_scenes(SHOWN, dev.source["seed"], "dev", pixels=dev.encoder["size"])
        pictures = [scene.image for scene in scenes]
    if pictures:
        (out / "strips").mkdir(exist_ok=True)
    for one in mechanisms if pictures else ():
        model = load(out / "runs" / f"{one.folder}-0")
        for number, picture in enumerate(pictures):
            told = model.tell(picture)
            figure = attention_strip(picture, told.words, told.alpha, title=one.label)
            with atomic_write(out / "strips" / f"{number}-{one.folder}.png") as part:
                figure.savefig(part)
