"""Mechanisms side by side: the same seeds, data and budget, `labkit compare`.

    DIR/table.json            mechanism -> score -> {"mean", "std"}
    DIR/table.md              the same as a table
    DIR/curves.json           mechanism -> the rows of metrics.jsonl of its first seed
    DIR/loss.png              the same as a figure
    DIR/probes.json, .md      if asked for: what `labkit probe` finds, all mechanisms side by side
    DIR/strips/K-NAME.png     where each attended, on the same images
    DIR/runs/NAME-SEED/       each training; the one that is finished is not repeated

"std" is the standard deviation over the seeds. Scenes are probed on the split test, which no
training sees.
"""

import re
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from labkit.data.photos import read_photo
from labkit.data.scenes import make_scenes
from labkit.distributed import ProcessGroup
from labkit.evaluation.evaluate import evaluate
from labkit.figures.probe_report import pooled, probe_model, side_by_side
from labkit.figures.strips import attention_strip, loss_curves
from labkit.files import atomic_write, only_one, own_folder, read_json, write_json
from labkit.model.captioner import Captioner
from labkit.model.decoder import pad_captions
from labkit.store.shards import FeatureStore, source_of
from labkit.training.config import FROM_DATA, resolve
from labkit.training.dev_split import DevSplit
from labkit.training.gradient_variance import moments
from labkit.training.recipes import parse_settings
from labkit.training.run import starting_point, train, with_full_paths
from labkit.training.schedule import with_splits
from labkit.training.trainer import Trainer

TITLES = {
    "bleu4": "BLEU-4",
    "meteor": "METEOR",
    "cider": "CIDEr",
    "pointing": "points right",
    "pointing_human": "points right, human words",
    "mass": "mass on the object",
    "objects_right": "objects right",
    "captions_true": "captions true",
    "relations_told": "state a relation",
    "sizes_told": "phrases with a size",
    "words_told": "words",
    "entropy": "entropy",
    "moves": "moves",
    "coverage": "coverage",
    "gradient_variance": "gradient variance",
}
MARK = ".labkit-compare"  # a file that says whose folder it is
OFF = 1_000_000  # a patience that no training reaches
BATCH, DRAWS = 50, 20  # images and samples that the gradient's variance is measured with
SHOWN = 4  # images in the strips


@dataclass(frozen=True)
class Mechanism:
    """An attention mechanism with its options, under a name.

    Attributes:
        label: The name.
        settings: Its options, by field of any of the three configurations.
    """

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
    overrides: dict[str, Any] | None = None, photos: Sequence[str | Path] = (),
    probe: int | None = None, progress: bool = True,
) -> dict[str, dict[str, dict[str, float | None]]]:  # fmt: skip
    """Train each mechanism with each seed, score all on the dev split, show them side by side.

    Args:
        store: Folder of a feature store with a split to learn from and one to score on.
        attentions: Mechanisms, see `read_mechanism`.
        out: The folder to write, absent or empty; a comparison that was interrupted there is
            resumed.
        seeds: How many runs of each, with seeds 0, 1, 2, ...
        overrides: Settings for all, see `labkit.training.run.train`.
        photos: Photographs for the strips; without any, a store of scenes shows some scenes.
        probe: Also ask each run where its words come from, of so many images, see
            `labkit.figures.probe_report`.
        progress: Show bars, where the standard error is a terminal.

    Returns:
        What ``table.json`` holds; the std of a single seed is None.

    Raises:
        FileExistsError: ``out`` holds other files, or another process is writing it.
        ValueError: A mechanism is unknown, two have one name, a seed is among the settings, the
            store has no split to score on, or a run in ``out`` was made with other settings.
    """
    mechanisms = [read_mechanism(text) for text in attentions]
    if any("seed" in given for given in (overrides or {}, *(one.settings for one in mechanisms))):
        raise ValueError("compare numbers the seeds itself: use --seeds")
    if len({one.folder for one in mechanisms}) < len(mechanisms):
        raise ValueError("two mechanisms have one name: begin one with another, best=...")
    overrides = {"patience": OFF} | (overrides or {})
    devs = [_dev_split(store, overrides | one.settings) for one in mechanisms]  # before training
    images = [read_photo(photo) for photo in photos]
    out = own_folder(out, MARK)
    with only_one(out):
        table = _train_and_score(store, mechanisms, out, seeds, overrides, progress)
        if probe:
            _probe(store, mechanisms, out, seeds, probe, progress)
        _draw_strips(devs[0], mechanisms, out, images)
    return table


def _dev_split(store: str | Path, overrides: dict[str, Any]) -> FeatureStore:
    """Open the split to score on.

    Raises:
        ValueError: the settings are refused, or there is no such split with captions.
    """
    settings = with_splits(store, resolve(starting_point(store, overrides), overrides))
    dev = DevSplit(store, settings.training.dev_split)
    if dev.store is None:
        raise ValueError(f"{store} cannot be compared on: {dev.notes[0]}")
    return dev.store


def _all_settings(store: str | Path, overrides: dict[str, Any]) -> dict[str, Any]:
    """Every setting of a new run by field, so that an earlier one with others is not resumed."""
    given = with_full_paths(overrides)
    settings = resolve(starting_point(store, given), given)
    model = asdict(settings.model_config(vocab_size=1, encoder_dim=1))
    model = {name: value for name, value in model.items() if name not in FROM_DATA}
    return model | asdict(settings.training) | asdict(settings.generation)


def _train_and_score(
    store: str | Path, mechanisms: Sequence[Mechanism], out: Path, seeds: int,
    overrides: dict[str, Any], progress: bool,
) -> dict[str, dict[str, dict[str, float | None]]]:  # fmt: skip
    """Train each mechanism with each seed; write the table and the curves."""
    found: dict[str, list[dict[str, Any]]] = {one.label: [] for one in mechanisms}
    curves: dict[str, list[dict[str, Any]]] = {}
    wanted = {one.label: _all_settings(store, overrides | one.settings) for one in mechanisms}
    for seed in range(seeds):
        for one in mechanisms:
            run = out / "runs" / f"{one.folder}-{seed}"
            settings = wanted[one.label] | {"seed": seed}
            trainer = train(store, run, settings, resume=True, progress=progress)
            curves.setdefault(one.label, trainer.state.rows)
            found[one.label].append(_score(trainer, progress))
    table = {label: summarise(scores) for label, scores in found.items()}
    write_json(out / "table.json", table)
    with atomic_write(out / "table.md") as part:
        decodings = {label: scores[0]["decoding"] for label, scores in found.items()}
        split = " or ".join(dict.fromkeys(scores[0]["split"] for scores in found.values()))
        part.write_text(as_markdown(table, decodings, seeds, split), encoding="utf-8")
    write_json(out / "curves.json", curves)
    with atomic_write(out / "loss.png") as part:
        loss_curves(curves).savefig(part)
    return table


def _score(trainer: Trainer, progress: bool) -> dict[str, Any]:
    """Score a finished run, once for its weights: it may have been trained further since."""
    run = trainer.folder.path
    path, model = run / "scores.json", Captioner.from_pretrained(run)
    weights = model.checksum()
    if not path.exists() or read_json(path).get("weights") != weights:
        for picture in run.glob("probe-*/figure.png"):  # without it a run is probed again
            picture.unlink()
        assert trainer.dev is not None  # `compare` asks for one
        found = evaluate(
            model.decoder, model.vocabulary, trainer.dev, model.generation, progress=progress
        )
        variance = score_gradient_variance(model, trainer)
        more = {"gradient_variance": variance, "weights": weights}
        write_json(path, found.as_dict() | more)
    return read_json(path)


def _probe(
    store: str | Path, mechanisms: Sequence[Mechanism], out: Path, seeds: int, count: int,
    progress: bool,
) -> None:  # fmt: skip
    """Ask every run what its words come from, once; write the answers side by side."""
    split = "test" if source_of(store).get("source") == "scenes" else None
    found = {}
    for one in mechanisms:
        tables = []
        for seed in range(seeds):
            run = out / "runs" / f"{one.folder}-{seed}"
            answers = run / f"probe-{count}"
            if not (answers / "figure.png").exists():  # the last of its files
                probe_model(run, answers, store, split, count, True, progress)
            tables.append(read_json(answers / "table.json"))
        found[one.label] = pooled([table["rows"] for table in tables])
    write_json(out / "probes.json", found)
    with atomic_write(out / "probes.md") as part:
        part.write_text(side_by_side(found, tables[0]["images"], seeds), encoding="utf-8")


def score_gradient_variance(model: Captioner, trainer: Trainer) -> float:
    """How much the gradient of the attention's parameters varies at a trained model.

    It is the sum of the variances of all their numbers, for one batch of the dev split. The batch
    and the weights stay as they are, see `labkit.training.gradient_variance`.
    """
    dev, limit = trainer.dev, trainer.settings.generation.max_length
    assert dev is not None
    rows = [row for row in range(len(dev)) if dev.captions[row]][:BATCH]
    a = torch.from_numpy(dev.read(np.array(rows))).float()
    captions = [model.vocabulary.encode(dev.captions[row][0], limit) for row in rows]
    with ProcessGroup().seeded(0):
        found = moments(model.decoder, trainer.objective, a, pad_captions(captions), DRAWS)
    return found["attention"].total_variance


def summarise(scores: Sequence[dict[str, Any]]) -> dict[str, dict[str, float | None]]:
    """Mean and std over the seeds of each score that there is."""
    table = {}
    for name in TITLES:
        if (values := [one[name] for one in scores if one.get(name) is not None]):
            std = statistics.stdev(values) if len(values) > 1 else None
            table[name] = {"mean": statistics.fmean(values), "std": std}
    return table


def as_markdown(
    table: dict[str, dict[str, Any]], decodings: dict[str, str], seeds: int, split: str = "dev"
) -> str:
    """The table for a reader: a row a mechanism, mean and std of each score."""
    names = [name for name in TITLES if any(name in row for row in table.values())]
    lines = [f"| mechanism | {' | '.join(TITLES[name] for name in names)} |"]
    lines.append("|---" * (len(names) + 1) + "|")
    for label, row in table.items():
        cells = [_cell(name, row.get(name)) for name in names]
        lines.append(f"| {label} | {' | '.join(cells)} |")
    lines += ["", f"Split {split}, {seeds} seed{'s' * (seeds > 1)}: mean ± standard deviation.", ""]
    return "\n".join(lines + [f"- {label}: {text}" for label, text in decodings.items()]) + "\n"


def _cell(name: str, value: dict[str, Any] | None) -> str:
    if value is None:
        return ""
    form = ".2e" if name == "gradient_variance" else ".3f"
    std = "" if value["std"] is None else f" ± {value['std']:{form}}"
    return f"{value['mean']:{form}}{std}"


def _draw_strips(
    dev: FeatureStore, mechanisms: Sequence[Mechanism], out: Path, images: Sequence[Any]
) -> None:
    """Draw where the first run of each mechanism attended, on the same images."""
    if not images and dev.source.get("source") == "scenes":
        scenes = make_scenes(SHOWN, dev.source["seed"], "dev", pixels=dev.encoder["size"])
        images = [scene.image for scene in scenes]
    if images:
        (out / "strips").mkdir(exist_ok=True)
        for strip in (out / "strips").glob("[0-9]*-*.png"):  # of photographs that were shown before
            strip.unlink()
    for one in mechanisms if images else ():
        model = Captioner.from_pretrained(out / "runs" / f"{one.folder}-0")
        for number, image in enumerate(images):
            caption = model.caption(image)
            figure = attention_strip(image, caption.words, caption.alpha, title=one.label)
            with atomic_write(out / "strips" / f"{number}-{one.folder}.png") as part:
                figure.savefig(part)
