"""The commands that download data, prepare feature stores and inspect them."""

from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Argument, Option

from labkit.console import say

if TYPE_CHECKING:
    from labkit.features.encoder import EncoderConfig

app = typer.Typer()
prepare_app = typer.Typer(no_args_is_help=True, help="Encode images into a feature store.")
app.add_typer(prepare_app, name="prepare")

Out = Annotated[Path, Option("--out", help="Folder to write; created if absent.")]
Store = Annotated[Path, Argument(help="Folder of a feature store.")]
Overwrite = Annotated[bool, Option("--overwrite", help="Replace existing files.")]
Shard = Annotated[int, Option(min=1, help="Images in a full file of the store.")]
Images = Annotated[Path | None, Option(help="Folder of the photographs, if they are elsewhere.")]
MakeSplits = Annotated[str | None, Option(
    metavar="TRAIN,DEV,TEST", help="Divide a source without splits, for example 0.8,0.1,0.1.")]
Encoder = Annotated[str | None, Option(
    help="A network, by default efficientnet_lite0; torchvision's, too; several: A+B.")]
WithoutCaptions = Annotated[bool, Option(
    "--without-captions", help="Also prepare splits without captions.")]
Copies = Annotated[int, Option(
    min=1, help="Copies of each training photograph: 2 adds a flipped one, 4 also two crops.")]


class Dataset(StrEnum):
    """The data sets that can be downloaded."""

    flickr8k = "flickr8k"
    coco = "coco"


@app.command()
def data(
    name: Annotated[Dataset, Argument(help="Which data set.")],
    folder: Annotated[Path, Argument(metavar="DIR", help="Where to put it.")],
    mirror: Annotated[str | None, Option(help="Another address with the same files.")] = None,
) -> None:
    """Download a data set, verified by checksums; resumable.

    Example: labkit data flickr8k data/flickr8k
    """
    from labkit.data.downloads import download

    say(download(name.value, folder, mirror))


@prepare_app.command("scenes")
def prepare_scenes_verb(
    out: Out,
    count: Annotated[int, Option(min=10, help="Number of training scenes.")] = 6000,
    seed: Annotated[int, Option(help="Another seed gives other scenes.")] = 0,
    images_per_shard: Shard = 1000,
) -> None:
    """Draw synthetic scenes, about which everything is known.

    Example: labkit prepare scenes --out stores/scenes --count 6000
    """
    from labkit.distributed import init_distributed
    from labkit.features.prepare import prepare_scenes, store_line

    group = init_distributed()
    prepare_scenes(out, count, seed, images_per_shard=images_per_shard, group=group)
    if group.is_main:
        say(store_line(out))


def print_lines(*lines: object) -> None:
    """Print what there is to report to standard error."""
    for line in filter(None, lines):
        say(line, error=True)


def _encoder(
    name: str | None, size: int | None, block: str | None, weights: Path | None
) -> "EncoderConfig":
    """The network that is asked for; what is None is as recommended for photographs."""
    from labkit.features.prepare import PHOTO_ENCODER

    asked = {"name": name, "size": size, "block": block, "weights": weights and str(weights)}
    given: dict[str, Any] = {key: value for key, value in asked.items() if value is not None}
    return replace(PHOTO_ENCODER, **given)


def prepare_photos_verb(source: str, reads: str) -> None:
    """Add the command that prepares photographs in one layout."""

    def verb(
        root: Annotated[Path, Argument(help=f"Folder with {reads}.")],
        out: Out,
        split: Annotated[list[str] | None, Option(help="A split; repeatable.")] = None,
        images: Images = None,
        make_splits: MakeSplits = None,
        split_seed: Annotated[int, Option(help="Another seed makes other splits.")] = 0,
        without_captions: WithoutCaptions = False,
        encoder: Encoder = None,
        size: Annotated[int | None, Option(help="Side of the input, by default 224.")] = None,
        block: Annotated[str | None, Option(help="Which feature map, by default last.")] = None,
        weights: Annotated[Path | None, Option(help="A file with the network's weights.")] = None,
        images_per_shard: Shard = 1000,
        augment: Copies = 1,
        strict: Annotated[bool, Option("--strict", help="Stop at the first bad image.")] = False,
    ) -> None:
        from labkit.data.readers import DataReport, require_captions
        from labkit.distributed import init_distributed
        from labkit.features.prepare import prepare, read_photos, store_line

        report, unread, group = DataReport(strict), DataReport(strict), init_distributed()
        config = _encoder(encoder, size, block, weights)
        records, facts = read_photos(
            source, root, split, report, images, make_splits, split_seed, augment
        )
        if group.is_main:
            print_lines(*report.notes, report)
        if not without_captions:
            require_captions(report, root)
        prepare(records, out, config, facts, unread, images_per_shard, group=group)
        if group.is_main:
            print_lines(unread)
            say(store_line(out))

    verb.__doc__ = f"""Encode {reads}. Several processes of torchrun share the work.

    Example: labkit prepare {source} data/{source} --out stores/{source}
    """
    prepare_app.command(source)(verb)


prepare_photos_verb("flickr8k", "Flickr8k, as published or as Kaggle has it")
prepare_photos_verb("flickr30k", "Flickr30k, as published or as Kaggle has it")
prepare_photos_verb("coco", "COCO's annotations/ and image folders, of any year")
prepare_photos_verb("karpathy", "one of Karpathy's dataset_*.json and its photographs")
prepare_photos_verb("table", "photographs and a table: CSV, TSV, JSON lines or JSON")
prepare_photos_verb("auto", "captioned photographs in any of these layouts")


@app.command()
def info(store: Store) -> None:
    """Describe a store, without reading its features.

    Example: labkit info stores/flickr8k
    """
    from labkit.features.prepare import store_line
    from labkit.store.shards import FeatureStore, splits

    say(store_line(store))
    for name in splits(store):
        part = FeatureStore(store, name)
        say(f"  {name}: {len(part.shards)} files, {sum(map(len, part.captions))} captions")
    say(f"  encoder {part.encoder}\n  source {part.source}")


@app.command()
def verify(store: Store) -> None:
    """Verify a store's files against its manifest's SHA-256 sums.

    Example: labkit verify stores/flickr8k
    """
    from labkit.store.shards import FeatureStore, splits

    for part in [FeatureStore(store, split) for split in splits(store)]:
        part.verify()
    say(f"{store} is intact")


@app.command()
def export(
    sources: Annotated[list[Path], Argument(
        metavar="SOURCE...", help="A store; or models: runs, or names that labkit models lists.")],
    out: Annotated[Path, Argument(help="Folder to create.")],
    to: Annotated[str, Option("--to", help="A store: webdataset, mds or safetensors. Models: "
                              "browser; one model: onnx.")],
    split: Annotated[str, Option(help="Which split of a store.")] = "train",
    overwrite: Annotated[bool, Option(
        "--overwrite", help="Replace a folder that an earlier export to browser made.")] = False,
) -> None:  # fmt: skip
    """Write a store for other tools, or models for a browser.

    The folder for a browser has an index.html; put it on any web space, or open it from a disk.
    Models can be written for onnxruntime, too.
    The formats webdataset, mds and onnx need pip install labkit[export].

    Example: labkit export runs/soft runs/hard page --to browser
    """
    from labkit.export.formats import export

    say(export(sources, out, to, split, overwrite))


@app.command()
def split(
    count: Annotated[int, Argument(help="Images in all.")] = 82_783,
    images_per_shard: Annotated[int, Option(min=1, help="Images in a full file.")] = 10_000,
) -> None:
    """Print the number of files for a number of images.

    COCO's train2014 has nine, as in 2017.

    Example: labkit split 82783 --images-per-shard 10000
    """
    from labkit.store.export import shard_sizes

    sizes = shard_sizes(count, images_per_shard)
    say(f"{len(sizes)} files: {' '.join(map(str, sizes))}")
