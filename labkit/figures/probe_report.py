"""Where do a model's words come from? The table and the figure of `labkit probe`.

DIR/table.json and DIR/table.md hold a row for each estimate, DIR/figure.png the same to look at.
"""

from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from statistics import fmean
from typing import Any

from matplotlib.figure import Figure

from labkit.evaluation.evaluate import images_for, training_store
from labkit.evaluation.probes import Row, probe_photos
from labkit.evaluation.scene_probes import knows_only_scenes, probe_scenes
from labkit.figures.strips import Picture
from labkit.files import atomic_write, outputs, write_json
from labkit.model.captioner import Captioner
from labkit.model.model_files import own_files
from labkit.store.shards import source_of

SCENES = 200  # that are asked about, unless told otherwise
SPLITS = ("train", "dev", "test")


def probe_model(
    run: str | Path, out: str | Path, store: str | Path | None = None, split: str | None = None,
    count: int | None = None, overwrite: bool = False, progress: bool = True,
) -> list[Row]:  # fmt: skip
    """Ask where a model's words come from; write a table and a figure.

    A model of drawn scenes is asked about scenes, drawn for it with the seed of its store. A model
    of photographs is asked about those of a store, of which nothing can be removed.

    Args:
        run: The run's folder, or the name of a model that comes with the package.
        out: The folder to write; created if absent.
        store: The store's folder; None uses the one that the run was trained on.
        split: The split; None uses the one that chose the run's epoch, or dev.
        count: How many images; None takes 200 scenes, or all photographs of the split.
        overwrite: Replace the table and the figure, if there are any.
        progress: Show progress bars, if standard error is a terminal.

    Returns:
        The rows of the table.

    Raises:
        FileExistsError: There is a table or a figure in ``out``.
        FileNotFoundError: There is no such model or store.
        ValueError: The store has no such split, or other features than the model takes; no store is
            known; or the model knows no scenes, and the store holds some.
    """
    files = [Path(out) / name for name in ("table.json", "table.md", "figure.png")]
    outputs(*files, overwrite=overwrite, inputs=(*own_files(run), store))
    captioner = Captioner.from_pretrained(run)
    store, split = store or training_store(captioner), split or captioner.dev_split
    seed = _seed_of_scenes(captioner, store)
    if seed is None:
        assert store is not None  # `_seed_of_scenes` raises
        photos = images_for(captioner, store, split)
        rows = probe_photos(captioner, photos, count, progress)
        about = f"{rows[0].found.images} photographs of {store}, split {photos.split}"
    else:
        if split not in SPLITS:
            raise ValueError(f"scenes have the splits {', '.join(SPLITS)}, not {split!r}")
        count = count or SCENES
        rows = probe_scenes(captioner, count, seed, split, progress)
        about = f"{count} drawn scenes of seed {seed}, split {split}"
    table, text, picture = files
    write_json(table, {"model": captioner.name, "images": about, "rows": [*map(Row.as_dict, rows)]})
    with atomic_write(text) as part:
        how = captioner.generation.updated({"num_beams": 1})
        title = f"{captioner.name}: {about}. Captions: {how}. Intervals: bootstrap over images."
        part.write_text(as_markdown(rows, title), encoding="utf-8")
    with atomic_write(picture) as part:
        draw_rows(rows, f"{captioner.name}\n{about}").savefig(part, dpi=150)
    return rows


def _seed_of_scenes(captioner: Captioner, store: str | Path | None) -> int | None:
    """The seed of the scenes to ask about; None for photographs.

    Raises:
        ValueError: No store is known, or the model does not know the words of its scenes.
    """
    if store is None:
        if not knows_only_scenes(captioner):
            raise ValueError(f"{captioner.name} comes without its data: name a store with --data")
        return 0
    source = source_of(store)
    if source.get("source") != "scenes":
        return None
    if not knows_only_scenes(captioner):
        raise ValueError(
            f"{store} holds drawn scenes, and {captioner.name} was trained on photographs: name a "
            "store of photographs with --data"
        )
    return source["seed"]


def as_markdown(rows: Sequence[Row], title: str) -> str:
    """The table for a reader: a line for each estimate, question by question."""
    lines = [title, "", "| question | case | estimate | 95% interval | n | images |"]
    lines.append("|---|---|---|---|---|---|")
    for question, some in groupby(rows, lambda row: row.question):
        for k, row in enumerate(some):
            one, unit = row.found, "" if row.unit == "share" else f" {row.unit}"
            interval = "" if one.low is None else f"{one.low:.3f} to {one.high:.3f}"
            lines.append(
                f"| {'' if k else question} | {row.case} | {one.mean:.3f}{unit} | {interval} "
                f"| {one.n} | {one.images} |"
            )
    return "\n".join(lines) + "\n"


def pooled(tables: Sequence[Sequence[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Put the rows of several runs together, question by question and case by case.

    Args:
        tables: Of each run, the rows as `Row.as_dict` gives them.

    Returns:
        Rows with the mean of the runs' means, n of all, the lowest of the intervals' lower ends and
        the highest of their upper ends: so the interval covers the runs' differences, too.
    """
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in (row for table in tables for row in table):
        groups.setdefault((row["question"], row["case"]), []).append(row)
    together = []
    for (question, case), rows in groups.items():
        low, high = ([row[end] for row in rows if row[end] is not None] for end in ("low", "high"))
        together.append({
            "question": question, "case": case, "unit": rows[0]["unit"], "runs": len(rows),
            "n": sum(row["n"] for row in rows), "mean": fmean(row["mean"] for row in rows),
            "low": min(low, default=None), "high": max(high, default=None),
        })  # fmt: skip
    return together


def side_by_side(found: Mapping[str, Sequence[dict[str, Any]]], images: str, runs: int) -> str:
    """The tables of several models for a reader: a line for each estimate, a column for each model.

    Args:
        found: By the model's name, its rows from `pooled`.
        images: Of what they were asked.
        runs: Of each model.
    """
    cells: dict[tuple[str, str], dict[str, str]] = {}
    for name, rows in found.items():
        for row in rows:
            unit = "" if row["unit"] == "share" else f", {row['unit']}"
            mean, low, high = (row[k] and round(row[k], 2) + 0.0 for k in ("mean", "low", "high"))
            interval = "" if low is None else f" [{low:.2f}, {high:.2f}]"  # and no -0.00
            line = cells.setdefault((row["question"] + unit, row["case"]), {})
            line[name] = f"{mean:.2f}{interval}"
    lines = [f"| question | case | {' | '.join(found)} |", "|---" * (len(found) + 2) + "|"]
    questions = [*dict.fromkeys(question for question, _ in cells)]
    in_order = sorted(cells, key=lambda key: questions.index(key[0]))  # a case may come late
    for _, some in groupby(in_order, lambda key: key[0]):
        for k, key in enumerate(some):
            values = " | ".join(cells[key].get(name, "") for name in found)
            lines.append(f"| {'' if k else key[0]} | {key[1]} | {values} |")
    about = f"{images[0].upper()}{images[1:]}; {runs} run{'s' * (runs > 1)} of each"
    lines += ["", f"{about}: the mean, and from the lowest to the highest end of their intervals."]
    return "\n".join(lines) + "\n"


def draw_rows(rows: Sequence[Row], title: str | None = None) -> Figure:
    """Draw estimates with their intervals: a panel for each question, a line for each case."""
    groups = [list(some) for _, some in groupby(rows, lambda row: row.question)]
    heights = [len(some) + 2 for some in groups]
    figure = Picture(figsize=(8, 0.24 * sum(heights) + 0.5), layout="constrained")
    panels = figure.subplots(len(groups), 1, squeeze=False, height_ratios=heights)[:, 0]
    for panel, some in zip(panels, groups, strict=True):
        for k, row in enumerate(some):
            one = row.found
            low, high = (one.mean if end is None else end for end in (one.low, one.high))
            panel.plot([low, high], [k, k], color="C0", linewidth=2)
            panel.plot(one.mean, k, "o", color="C0", markersize=5)
        panel.set_yticks(range(len(some)), [row.case for row in some], fontsize=8)
        panel.set_ylim(len(some) - 0.5, -0.5)
        panel.axvline(0, color="0.7", linewidth=1, zorder=0)
        if some[0].unit == "share" and min(row.found.mean for row in some) >= 0:
            panel.set_xlim(-0.03, 1.03)
        panel.tick_params(axis="x", labelsize=8)
        panel.grid(axis="x", alpha=0.3)
        panel.set_title(f"{some[0].question} ({some[0].unit})", fontsize=9, loc="left")
    if title:
        figure.suptitle(title, fontsize=10, parse_math=False)
    return figure
