"""The command line. Every verb calls one public function.

Exit codes: 0 all went well, 1 something in the data or the files is wrong (one sentence on
standard error says what, and what to do), 2 the command itself was not understood.
"""

import sys
from dataclasses import fields
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Build, train and look into captioners with visual attention.",
)  # fmt: skip
prepare_app = typer.Typer(no_args_is_help=True, help="Turn pictures into a feature store.")
app.add_typer(prepare_app, name="prepare")

Out = Annotated[Path, Option("--out", help="Folder to write; made if absent.")]
Store = Annotated[Path, Argument(help="Folder of a feature store.")]
Run = Annotated[Path, Argument(help="Folder of a training run.")]
Beam = Annotated[int, Option(min=1, help="Width of the beam search; 1 is greedy.")]
Look = Annotated[str | None, Option(help="one, sampled or expected; its own way if not given.")]
ATTENTIONS = "soft, argmax, reinforce, gumbel or marginal"
Set = Annotated[list[str] | None, Option("--set", metavar="NAME=VALUE",
                help="Any other setting, see labkit.settings; several times.")]  # fmt: skip
Shard = Annotated[int, Option(min=1, help="Images in each file of the store.")]


def main() -> None:
    """Run a verb; turn an expected error into one sentence and exit code 1."""
    try:
        app()
    except (OSError, ValueError, ModuleNotFoundError) as error:
        print(f"labkit: {error}", file=sys.stderr)
        sys.exit(1)


@app.command()
def demo(
    out: Out = Path("demo"),
    count: Annotated[int, Option(min=100, help="Scenes to train on.")] = 6000,
    seed: Annotated[int, Option(help="Of scenes and training.")] = 0,
) -> None:
    """Draw scenes, train a captioner on them, and show what it tells and where it looks.

    Example: labkit demo --out demo
    """
    from labkit.demo import demo

    demo(out, count, seed)


class Dataset(StrEnum):
    """What can be downloaded."""

    flickr8k = "flickr8k"
    coco = "coco"


@app.command()
def data(
    name: Annotated[Dataset, Argument(help="Which data set.")],
    folder: Annotated[Path, Argument(metavar="DIR", help="Where to put it.")],
    mirror: Annotated[str | None, Option(help="Another address that has the same files.")] = None,
) -> None:
    """Download photographs and captions, with checksums; go on where it stopped.

    Example: labkit data flickr8k data/flickr8k
    """
    from labkit.downloads import download

    print(download(name.value, folder, mirror))


@prepare_app.command("scenes")
def prepare_scenes_verb(
    out: Out,
    count: Annotated[int, Option(min=10, help="Scenes of the split train.")] = 6000,
    seed: Annotated[int, Option(help="Another seed gives other scenes.")] = 0,
    images_per_shard: Shard = 1000,
) -> None:
    """Draw scenes: nothing is downloaded, and every fact of a picture is known.

    Example: labkit prepare scenes --out stores/scenes --count 6000
    """
    from labkit.preparing import prepare_scenes, store_line

    print(store_line(prepare_scenes(out, count, seed, images_per_shard=images_per_shard)))


def prepare_photos_verb(source: str, reads: str) -> None:
    """Add the verb that prepares one kind of photographs."""

    def verb(
        root: Annotated[Path, Argument(help=f"Folder with {reads}.")],
        out: Out,
        split: Annotated[list[str] | None, Option(help="Which, several times; or all.")] = None,
        encoder: Annotated[str, Option(help="efficientnet_lite0, or torchvision's name.")] = "",
        size: Annotated[int, Option(help="Side of the network's input, in pixels.")] = 0,
        block: Annotated[str, Option(help="Which feature map of the network.")] = "",
        weights: Annotated[Path | None, Option(help="A file with the network's weights.")] = None,
        images_per_shard: Shard = 1000,
        mirror: Annotated[bool, Option("--mirror", help="Add each for training mirrored.")] = False,
        strict: Annotated[bool, Option("--strict", help="Stop at the first bad image.")] = False,
    ) -> None:
        from dataclasses import replace

        from labkit import captions
        from labkit.preparing import PHOTO_ENCODER, prepare, store_line

        report = captions.DataReport(strict)
        asked = {"name": encoder, "size": size, "block": block, "weights": weights}
        asked = {key: str(v) if key == "weights" else v for key, v in asked.items() if v}
        records = getattr(captions, f"read_{source}")(root, split, report)
        facts = {"source": source, "splits": list(dict.fromkeys(r.split for r in records))}
        if mirror:
            records, facts["mirrored"] = list(captions.with_mirrored(records)), True
        config = replace(PHOTO_ENCODER, **asked)
        prepare(records, out, config, facts, report, images_per_shard)
        if report:
            print(report, file=sys.stderr)
        print(store_line(out))

    verb.__doc__ = f"""Encode {reads}.

    Example: labkit prepare {source} data/{source} --out stores/{source}
    """
    prepare_app.command(source)(verb)


prepare_photos_verb("flickr8k", "Flickr8k's official layout")
prepare_photos_verb("coco", "COCO's annotations/ and image folders, of any year")
prepare_photos_verb("karpathy", "one of Karpathy's dataset_*.json and its photographs")


@app.command()
def info(store: Store) -> None:
    """Say what a store holds, without reading its features.

    Example: labkit info stores/flickr8k
    """
    from labkit.preparing import store_line
    from labkit.shards import FeatureStore, splits

    print(store_line(store))
    for name in splits(store):
        part = FeatureStore(store, name)
        print(f"  {name}: {len(part.shards)} files, {sum(map(len, part.captions))} captions")
    print(f"  encoder {part.encoder}\n  source {part.source}")


@app.command()
def verify(store: Store) -> None:
    """Read every byte of a store and compare it with the manifest's SHA-256.

    Example: labkit verify stores/flickr8k
    """
    from labkit.shards import verify

    verify(store)
    print(f"{store} is whole")


@app.command()
def export(
    store: Store,
    out: Annotated[Path, Argument(help="Folder to make.")],
    to: Annotated[str, Option("--to", help="webdataset, mds or safetensors.")],
    split: Annotated[str, Option(help="Which split.")] = "train",
) -> None:
    """Write a split in another tool's format (webdataset and mds need labkit[export]).

    Example: labkit export stores/flickr8k exported --to webdataset
    """
    from labkit.export import export

    print(export(store, split, to, out))


@app.command()
def split(
    count: Annotated[int, Argument(help="Images in all.")] = 82_783,
    images_per_shard: Annotated[int, Option(min=1, help="Images in a full file.")] = 10_000,
) -> None:
    """Say how many files so many images make: COCO's train2014 makes nine, as in the lab of 2017.

    Example: labkit split 82783 --images-per-shard 10000
    """
    from labkit.export import shard_sizes

    sizes = shard_sizes(count, images_per_shard)
    print(f"{len(sizes)} files: {' '.join(map(str, sizes))}")


@app.command()
def train(
    store: Store,
    out: Out,
    attention: Annotated[str | None, Option(help=f"The mechanism: {ATTENTIONS}.")] = None,
    epochs: Annotated[int | None, Option(min=1, help="Passes over the images.")] = None,
    batch_size: Annotated[int | None, Option(min=1, help="Captions a step.")] = None,
    learning_rate: Annotated[float | None, Option(help="Adam's, at its highest.")] = None,
    precision: Annotated[str | None, Option(help="auto, bf16 or fp32.")] = None,
    seed: Annotated[int | None, Option(help="Of weights, order and dropout.")] = None,
    settings: Set = None,
    resume: Annotated[bool, Option("--resume", help="Go on from the last checkpoint.")] = False,
) -> None:
    """Train a captioner; what is not given is as recommended.

    Several processes share the work under torchrun:
    torchrun --nproc-per-node 2 -m labkit train STORE --out RUN

    Example: labkit train stores/flickr8k --out runs/soft
    """
    from labkit.settings import TrainConfig, parse_settings
    from labkit.team import join_team
    from labkit.training import train

    given = {k: v for k, v in locals().items() if k in {f.name for f in fields(TrainConfig)}}
    given = {name: value for name, value in given.items() if value is not None}
    train(store, out, given | parse_settings(settings or []), resume, join_team())


@app.command()
def compare(
    store: Store,
    attention: Annotated[list[str], Option(
        metavar="[LABEL=]NAME[:OPTION=VALUE,...]", help=f"{ATTENTIONS}; several times.")],
    out: Out,
    seeds: Annotated[int, Option(min=1, help="Trainings of each.")] = 3,
    photo: Annotated[list[Path] | None, Option(help="Show where each looks on it.")] = None,
    settings: Set = None,
) -> None:  # fmt: skip
    """Train mechanisms with the same seeds, data and budget, and show them side by side.

    Example: labkit compare stores/scenes --attention soft --attention argmax --out compared
    """
    from labkit.comparing import compare
    from labkit.settings import parse_settings

    compare(store, attention, out, seeds, parse_settings(settings or []), photo or [])
    print((out / "table.md").read_text(encoding="utf-8"), end="")


@app.command()
def evaluate(
    run: Run,
    data: Annotated[Path | None, Option(help="A store; the one it was trained on if none.")] = None,
    split: Annotated[str, Option(help="Which split.")] = "dev",
    beam: Beam = 5,
    look: Look = None,
    json: Annotated[Path | None, Option(help="Write the scores to this file.")] = None,
    captions: Annotated[Path | None, Option(help="Write what was told, as COCO results.")] = None,
) -> None:
    """Score a model on a split: BLEU, METEOR, ROUGE-L, CIDEr of free-running captions.

    Example: labkit evaluate runs/soft --split dev --json scores.json
    """
    from labkit.models import evaluate_run

    scores = evaluate_run(run, data, split, beam, look, json, captions)
    print("\n".join(f"{k:14} {v:.3f}" if isinstance(v, float) else f"{k:14} {v}"
                    for k, v in scores.items() if v is not None))  # fmt: skip


@app.command()
def caption(
    run: Run,
    photos: Annotated[list[Path], Argument(metavar="PHOTO...", help="Photographs of any kind.")],
    out: Out = Path("captions"),
    beam: Beam = 5,
    look: Look = None,
) -> None:
    """Tell photographs: captions on standard output, attention pictures in --out.

    Example: labkit caption runs/soft my.jpg --out captions
    """
    from labkit.models import caption_photos

    wrong = caption_photos(run, photos, out, beam, look)
    if wrong:
        sys.exit(1)


if __name__ == "__main__":
    main()
