"""The commands that score captions: of any system, of people, and by how sure a model is."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from typer import Argument, Option

from labkit.cli.store import Overwrite
from labkit.console import say
from labkit.files import atomic_write, outputs, write_json

app = typer.Typer()
Run = Annotated[Path, Argument(help="A run's folder, or the name of a model: see labkit models.")]
Scores = Annotated[Path | None, Option("--json", help="Write the scores to this file.")]


def show(scores: dict[str, Any], json: Path | None, overwrite: bool) -> None:
    """Print a line for each score that is not None, and write all of them to a file, if asked."""
    for name, value in scores.items():
        if value is not None:
            several = value if isinstance(value, list) else [value]
            texts = [f"{one:.3f}" if isinstance(one, float) else str(one) for one in several]
            say(f"{name:14} {' '.join(texts)}")
    if json:
        write_json(json, scores, new=not overwrite)


@app.command()
def score(
    references: Annotated[Path, Argument(help="A store, or a captions file in any format.")],
    captions: Annotated[Path, Argument(help="Generated captions: COCO results, CSV, or JSON.")],
    split: Annotated[str, Option(help="The split of a store.")] = "dev",
    json: Scores = None,
    overwrite: Overwrite = False,
) -> None:
    """Score captions of any system against human captions.

    Example: labkit score annotations/captions_val2017.json captions.json
    """
    from labkit.data.records import DataReport
    from labkit.evaluation.results import score_file

    outputs(json, overwrite=overwrite, inputs=(references, captions))
    report = DataReport()
    found, images, left = score_file(references, captions, split, report)
    if report:
        say(report, error=True)
    if left:
        say(f"{captions} has no caption for {left} more images of {references}", error=True)
    show({"images": images} | asdict(found), json, overwrite)


@app.command()
def people(
    references: Annotated[Path, Argument(help="A store, or a captions file in any format.")],
    captions: Annotated[list[Path] | None, Argument(help="Generated captions, to compare.")] = None,
    split: Annotated[str, Option(help="The split of a store.")] = "dev",
    json: Annotated[Path | None, Option(help="Write the scores of each turn to this file.")] = None,
    overwrite: Overwrite = False,
) -> None:  # fmt: skip
    """Score one person's caption against the others'.

    Each human caption of an image is scored against its others in turn, and so are generated
    captions. The table has the mean and the standard deviation over the turns.

    Example: labkit people stores/flickr8k captions.json
    """
    from labkit.data.records import DataReport
    from labkit.evaluation.people import score_people

    captions, report = captions or [], DataReport()
    outputs(json, overwrite=overwrite, inputs=(references, *captions))
    found = score_people(references, captions, split, report)
    if report:
        say(report, error=True)
    if found.left_out:
        also = " or no generated one" if captions else ""
        count = f"{found.left_out} of {found.left_out + found.images} images"
        say(f"left out, with one human caption{also}: {count}", error=True)
    say(found.as_markdown())
    if json:
        write_json(json, asdict(found), new=not overwrite)


def _model_folder(run: Path, out: Path | None) -> Path:
    """The folder of a model that a command writes to: ``out``, or else the run's."""
    from labkit.store.manifest import MANIFEST

    if out is None and not run.is_dir():
        raise ValueError(f"{run} is not the folder of a run: name a folder to write to, with --out")
    if out is not None and (out / MANIFEST).exists():
        raise ValueError(f"{out} holds a store: name another folder to write to, with --out")
    return out or run


@app.command()
def detect_words(
    run: Run,
    out: Annotated[Path | None, Option(help="Folder to write to. Default: the run's.")] = None,
    data: Annotated[Path | None, Option(help="A store. Default: the training store.")] = None,
    train_split: Annotated[str | None, Option(help="Default: that of the run's training.")] = None,
    dev_split: Annotated[str | None, Option(help="Chooses the epoch. Default: the run's.")] = None,
    seed: Annotated[int, Option(min=0, max=2**63 - 1, help="Of order and dropout.")] = 0,
    json: Scores = None,
    overwrite: Overwrite = False,
) -> None:  # fmt: skip
    """Learn which words an image calls for.

    It writes detector.safetensors. If that file is in its folder, a model that chooses by minimum
    Bayes risk (mbr_candidates) also asks how well each candidate's words fit the image.

    Example: labkit detect-words runs/soft
    """
    from labkit.model.model_files import own_files
    from labkit.model.word_detector import FILE
    from labkit.training.word_detector import fit_word_detector

    folder = _model_folder(run, out)
    outputs(json, overwrite=overwrite, inputs=(*own_files(run), data))
    outputs(folder / FILE, json, overwrite=overwrite, inputs=(data,))
    found = fit_word_detector(run, folder, data, overwrite, train_split, dev_split, seed)
    show(asdict(found), json, overwrite)
    if found.candidates < 2:
        say(f"{run} takes the most likely caption, and asks no detector: train it with --set "
            "mbr_candidates=32, or set that in its config.json", error=True)  # fmt: skip
    elif (folder / "calibration.json").exists():
        say(f"{folder / 'calibration.json'} was measured without it: run labkit calibrate "
            "--overwrite", error=True)  # fmt: skip


@app.command()
def calibrate(
    run: Run,
    out: Annotated[Path | None, Option(help="Folder to write to. Default: the run's.")] = None,
    data: Annotated[Path | None, Option(help="A store. Default: the training store.")] = None,
    split: Annotated[str | None, Option(help="The split. Default: the dev split.")] = None,
    check: Annotated[bool, Option("--check", help="Only check that it holds here.")] = False,
    json: Scores = None,
    overwrite: Overwrite = False,
) -> None:
    """Measure how often captions are wrong, by score and words.

    It writes calibration.json and calibration.png. If that file is in its folder, a model says with
    each caption how often such captions are wrong. A caption of a drawn scene is wrong if anything
    in it is untrue; a caption of a photograph, if most of its words are in no human caption.

    Example: labkit calibrate runs/soft
    """
    from labkit.evaluation import calibrate as measure
    from labkit.figures.reliability import reliability_curve
    from labkit.model.calibration import FILE
    from labkit.model.model_files import own_files

    outputs(json, overwrite=overwrite, inputs=(*own_files(run), data))
    if check and out:
        raise ValueError("--check writes no calibration: leave out --out, or --check")
    if check:
        show(asdict(measure.check_calibration(run, data, split)), json, overwrite)
        return
    folder = _model_folder(run, out)
    picture = folder / "calibration.png"
    outputs(folder / FILE, picture, json, overwrite=overwrite, inputs=(data,))
    found = measure.calibrate(run, folder, data, split, overwrite)
    with atomic_write(picture, new=not overwrite) as part:
        reliability_curve(found).savefig(part, format="png", dpi=150)
    show(asdict(found), json, overwrite)
