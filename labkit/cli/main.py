"""The command line. Every command calls one public function.

Exit codes: 0 success; 1 something is wrong with the data or the files (one sentence on standard
error says what, and what to do); 2 the command was not understood; 130 interrupted.
"""

import gc
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer import Argument, Option

from labkit import console
from labkit.cli import scoring as cli_scoring
from labkit.cli import store as cli_store
from labkit.cli.scoring import Run, Scores, show
from labkit.cli.store import Out, Overwrite, Store
from labkit.files import outputs
from labkit.model.config import GenerationConfig
from labkit.validation import declared

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain text: importing rich takes longer than all the rest of --help
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Build, train and explore image captioners with visual attention.",
)  # fmt: skip
app.add_typer(cli_store.app)
app.add_typer(cli_scoring.app)


def generation_option(name: str) -> Any:
    """Make an option of a field of `GenerationConfig`: its bounds and its meaning are there."""
    field = declared(GenerationConfig)[name]
    text = f"{field['description'][0].upper()}{field['description'][1:]}. Default: the model's."
    if "enum" in field:
        text = f"{', '.join(field['enum'])}. {text}"
    return Option(min=field.get("minimum"), max=field.get("maximum"), help=text)


Beams = Annotated[int | None, generation_option("num_beams")]
Length = Annotated[int | None, generation_option("max_length")]
Penalty = Annotated[float | None, generation_option("length_penalty")]
Mode = Annotated[str | None, generation_option("attention_mode")]
ATTENTIONS = "soft, argmax, reinforce, gumbel or marginal"
Set = Annotated[list[str] | None, Option("--set", metavar="NAME=VALUE",
                help="Any other setting, see labkit.training.config; repeatable.")]  # fmt: skip
Suppress = Annotated[list[str] | None, Option(
    metavar="WORD", help="Never generate this word; repeatable.")]


def main() -> None:
    """Run a command; any error becomes one line on standard error and an exit code."""
    gc.set_threshold(10_000)  # imports make many objects, and nothing to collect
    leave = console.leave_at_once()
    leave(console.run(app))


@app.command()
def demo(
    out: Out = Path("demo"),
    count: Annotated[int, Option(min=100, help="Number of training scenes.")] = 6000,
    seed: Annotated[int, Option(help="Seed of the scenes and the training.")] = 0,
) -> None:
    """Draw scenes, train a captioner on them, show where it looks.

    Example: labkit demo --out demo
    """
    from labkit.cli.demo import demo

    demo(out, count, seed)


@app.command()
def train(
    store: Store,
    out: Out,
    attention: Annotated[str | None, Option(help=f"The mechanism: {ATTENTIONS}.")] = None,
    epochs: Annotated[int | None, Option(help="Passes over the images.")] = None,
    batch_size: Annotated[int | None, Option(help="Samples in a step; --reward: images.")] = None,
    learning_rate: Annotated[float | None, Option(help="Adam's, at its peak.")] = None,
    precision: Annotated[str | None, Option(help="auto, bf16 or fp32.")] = None,
    seed: Annotated[int | None, Option(help="Of weights, order and dropout.")] = None,
    train_split: Annotated[str | None, Option(help="Learn from this split, not train.")] = None,
    dev_split: Annotated[str | None, Option(help="Choose the epoch by this one, not dev.")] = None,
    recipe: Annotated[str | None, Option(help="A file of settings, or its name.")] = None,
    start: Annotated[str | None, Option(
        "--from", help="Start from this model, a name or a run's folder, with its words and sizes."
        )] = None,
    reward: Annotated[str | None, Option(
        metavar="REWARD", help="Learn from what generated captions are worth: truth or facts (of "
        "scenes), cider, cider+meteor, or FILE.py:function, a function of caption, references and "
        "facts.")] = None,
    settings: Set = None,
    resume: Annotated[bool, Option("--resume", help="Resume from the last checkpoint.")] = False,
) -> None:
    """Train a captioner. Settings that are not given are the recipe's, or the recommended ones.

    Recipes of the package: flickr8k-soft, flickr8k-hard, scenes-sees-word.

    Several processes share the work under torchrun:

    torchrun --nproc-per-node 2 -m labkit train STORE --out RUN

    With --reward, --set samples=8 samples eight captions of each image, caption_baseline is none,
    greedy, others or group, and kl_weight=0.1 keeps the model near its start.

    Example: labkit train stores/flickr8k --out runs/soft

    Example: labkit train stores/scenes --from scenes-soft --reward facts --out runs/facts
    """
    from labkit.distributed import init_distributed
    from labkit.training.recipes import parse_settings, read_recipe
    from labkit.training.run import train

    options = {
        "attention": attention, "epochs": epochs, "batch_size": batch_size, "seed": seed,
        "learning_rate": learning_rate, "precision": precision, "train_split": train_split,
        "dev_split": dev_split, "start": start, "caption_reward": reward,
    }  # fmt: skip
    overrides = read_recipe(recipe) if recipe else {}
    overrides |= {name: value for name, value in options.items() if value is not None}
    overrides |= parse_settings(settings or [])
    train(store, out, overrides, resume, init_distributed())


@app.command()
def compare(
    store: Store,
    attention: Annotated[list[str], Option(
        metavar="[LABEL=]NAME[:OPTION=VALUE,...]", help=f"{ATTENTIONS}; repeatable.")],
    out: Out,
    seeds: Annotated[int, Option(min=1, help="Training runs of each.")] = 3,
    photo: Annotated[list[Path] | None, Option(help="Photograph to show their attention on; "
                     "repeatable.")] = None,
    probe: Annotated[int | None, Option(
        min=10, metavar="COUNT", help="Also probe each run, on this many images.")] = None,
    settings: Set = None,
) -> None:  # fmt: skip
    """Train attention mechanisms alike, and compare them.

    The seeds, the data and the budget are the same.

    Example: labkit compare stores/scenes --attention soft --attention argmax --out compared
    """
    from labkit.training.compare import compare
    from labkit.training.recipes import parse_settings

    compare(store, attention, out, seeds, parse_settings(settings or []), photo or [], probe)
    console.say((out / "table.md").read_text(encoding="utf-8").rstrip("\n"))


@app.command()
def evaluate(
    run: Run,
    data: Annotated[Path | None, Option(help="A store. Default: the training store.")] = None,
    split: Annotated[str | None, Option(help="The split. Default: the dev split.")] = None,
    num_beams: Beams = None,
    max_length: Length = None,
    length_penalty: Penalty = None,
    attention_mode: Mode = None,
    suppress: Suppress = None,
    json: Scores = None,
    captions: Annotated[Path | None, Option(help="Write the captions as COCO results.")] = None,
    overwrite: Overwrite = False,
) -> None:
    """Score a model's captions of a split.

    The scores are BLEU, METEOR, ROUGE-L and CIDEr. Several processes share the work under torchrun.

    Example: labkit evaluate runs/soft --split dev --json scores.json
    """
    from labkit.distributed import init_distributed
    from labkit.evaluation.evaluate import evaluate_model
    from labkit.evaluation.results import write_results
    from labkit.model.model_files import own_files

    outputs(json, captions, overwrite=overwrite, inputs=(*own_files(run), data))
    overrides: dict[str, Any] = {
        "num_beams": num_beams, "max_length": max_length, "length_penalty": length_penalty,
        "attention_mode": attention_mode,
    }  # fmt: skip
    group = init_distributed()
    found = evaluate_model(run, data, split, suppress=suppress or (), group=group, **overrides)
    if not group.is_main:
        return
    show(found.as_dict(), json, overwrite)
    if captions:
        write_results(captions, found.captions, new=not overwrite)


@app.command()
def probe(
    run: Run,
    out: Out,
    data: Annotated[Path | None, Option(help="A store. Default: the training store.")] = None,
    split: Annotated[str | None, Option(help="The split. Default: the dev split.")] = None,
    count: Annotated[int | None, Option(
        min=10, help="Number of images. Default: 200 scenes, or all photographs.")] = None,
    overwrite: Overwrite = False,
) -> None:  # fmt: skip
    """Ask where a model's words come from.

    Its weights, its contexts and its first state are replaced, one at a time. In drawn scenes, each
    object is removed, too. The answers are one table and one figure.

    Example: labkit probe scenes-soft --out probed
    """
    from labkit.figures.probe_report import probe_model

    probe_model(run, out, data, split, count, overwrite)
    console.say((out / "table.md").read_text(encoding="utf-8").rstrip("\n"))


@app.command()
def models() -> None:
    """List the trained models that come with the package.

    Example: labkit models
    """
    from labkit.model.captioner import PRETRAINED, list_pretrained

    for name in list_pretrained():
        card = (PRETRAINED / name / "card.md").read_text(encoding="utf-8")
        lines = [line for line in card.splitlines() if line and not line.startswith("#")]
        console.say(f"{name:16} {lines[0]}")


@app.command()
def caption(
    run: Run,
    photos: Annotated[list[str], Argument(metavar="PHOTO...", help="Photographs, or folders.")],
    out: Out = Path("captions"),
    num_beams: Beams = None,
    max_length: Length = None,
    length_penalty: Penalty = None,
    attention_mode: Mode = None,
    suppress: Suppress = None,
) -> None:
    """Caption photographs, and draw where the model looked.

    The captions go to standard output, the attention strips to --out. A third column tells how
    often captions like it are wrong, if the model knows (labkit calibrate).

    No file is overwritten: if NAME.png exists, the strip is called NAME-2.png, NAME-3.png, ...

    Example: labkit caption runs/soft my.jpg --out captions
    """
    from labkit.figures.caption_photos import caption_photos

    overrides: dict[str, Any] = {
        "num_beams": num_beams, "max_length": max_length, "length_penalty": length_penalty,
        "attention_mode": attention_mode,
    }  # fmt: skip
    if caption_photos(run, photos, out, None, suppress or (), **overrides):
        sys.exit(1)


@app.command()
def doctor(json: Annotated[bool, Option("--json", help="As JSON, for programs.")] = False) -> None:
    """Say what is wrong with this installation.

    It also says how to mend it. When you ask for help, paste what it prints. It holds neither your
    user name nor your home folder; other folders may stand in it.

    Example: labkit doctor
    """
    from labkit.cli.doctor import doctor

    sys.exit(doctor(json))


@app.command()
def grade(
    notebooks: Annotated[list[Path], Argument(metavar="NOTEBOOK...", help="Submitted labs.")],
    stored: Annotated[bool, Option("--stored", help="Use stored outputs; run nothing.")] = False,
    timeout: Annotated[int, Option(min=1, help="Time limit for each cell, in seconds.")] = 120,
    json: Annotated[Path | None, Option(help="Write the marks to this file.")] = None,
    overwrite: Overwrite = False,
) -> None:
    """Grade submitted labs by the checks of their exercises.

    Example: labkit grade submitted/one.ipynb submitted/two.ipynb --json marks.json
    """
    from labkit.checks.grading import grade_files

    if grade_files(notebooks, stored, timeout, json, overwrite):
        sys.exit(1)


if __name__ == "__main__":
    main()
