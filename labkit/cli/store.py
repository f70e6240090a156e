"""The verbs that download data, make feature stores and look into them."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option

app = typer.Typer()
prepare_app = typer.Typer(no_args_is_help=True, help="Turn pictures into a feature store.")
app.add_typer(prepare_app, name="prepare")

Out = Annotated[Path, Option("--out", help="Folder to write; made if absent.")]
Store = Annotated[Path, Argument(help="Folder of a feature store.")]
Shard = Annotated[int, Option(min=1, help="Images in each file of the store.")]


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
    from labkit.data.downloads import download

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
    from labkit.features.prepare import prepare_scenes, store_line

    print(store_line(prepare_scenes(out, count, seed, images_per_shard=images_per_shard)))


def prepare_photos_verb(source: str, reads: str) -> None:
    """Add the verb that prepares one kind of photographs."""

    def verb(
        root: Annotated[Path, Argument(help=f"Folder with {reads}.")],
        out: Out,
        split: Annotated[list[str] | None, Option(help="Which, several times; or all.")] = None,
        images: Annotated[Path | None, Option(help="Where the photographs are, if they are not in "
                          "the folder.")] = None,
        make_splits: Annotated[str | None, Option(metavar="TRAIN,DEV,TEST", help="Divide a source "
                               "without splits, such as 0.8,0.1,0.1.")] = None,
        split_seed: Annotated[int, Option(help="Another seed makes other splits.")] = 0,
        without_captions: Annotated[bool, Option("--without-captions", help="Also prepare a split "
                                    "that has no captions.")] = False,
        encoder: Annotated[str, Option(help="efficientnet_lite0, _lite2, or torchvision's.")] = "",
        size: Annotated[int, Option(help="Side of the network's input, in pixels.")] = 0,
        block: Annotated[str, Option(help="Which feature map of the network.")] = "",
        weights: Annotated[Path | None, Option(help="A file with the network's weights.")] = None,
        images_per_shard: Shard = 1000,
        views: Annotated[int, Option(min=1, help="Of each photograph for training: 2 adds it "
                         "in a mirror, 4 also two parts of it.")] = 1,
        strict: Annotated[bool, Option("--strict", help="Stop at the first bad image.")] = False,
    ) -> None:  # fmt: skip
        from dataclasses import replace

        from labkit.data import readers as captions
        from labkit.features.prepare import PHOTO_ENCODER, prepare, read_photos, store_line

        report = captions.DataReport(strict)
        asked = {"name": encoder, "size": size, "block": block, "weights": weights}
        asked = {key: str(v) if key == "weights" else v for key, v in asked.items() if v}
        records, facts = read_photos(
            source, root, split, report, images, make_splits, split_seed, views
        )
        for line in [*report.notes, *([str(report)] if report else [])]:
            print(line, file=sys.stderr)
        if not without_captions:
            captions.require_captions(report, root)
        config, unread = replace(PHOTO_ENCODER, **asked), captions.DataReport(strict)
        prepare(records, out, config, facts, unread, images_per_shard)
        if unread:
            print(unread, file=sys.stderr)
        print(store_line(out))

    verb.__doc__ = f"""Encode {reads}.

    Example: labkit prepare {source} data/{source} --out stores/{source}
    """
    prepare_app.command(source)(verb)


prepare_photos_verb("flickr8k", "Flickr8k, as published or as Kaggle has it")
prepare_photos_verb("flickr30k", "Flickr30k, as published or as Kaggle has it")
prepare_photos_verb("coco", "COCO's annotations/ and image folders, of any year")
prepare_photos_verb("karpathy", "one of Karpathy's dataset_*.json and its photographs")
prepare_photos_verb("table", "photographs and a table of captions, CSV, TSV, JSON lines or JSON")
prepare_photos_verb("auto", "captioned photographs in any of these layouts")


@app.command()
def info(store: Store) -> None:
    """Say what a store holds, without reading its features.

    Example: labkit info stores/flickr8k
    """
    from labkit.features.prepare import store_line
    from labkit.store.shards import FeatureStore, splits

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
    from labkit.store.shards import FeatureStore, splits

    for part in [FeatureStore(store, split) for split in splits(store)]:
        part.verify()
    print(f"{store} is whole")


@app.command()
def export(
    store: Store,
    out: Annotated[Path, Argument(help="Folder to make.")],
    to: Annotated[str, Option("--to", help="webdataset, mds or safetensors.")],
    split: Annotated[str, Option(help="Which split.")] = "train",
) -> None:
    """Write a split in another tool's format (webdataset and mds need the extra named export).

    Example: labkit export stores/flickr8k exported --to webdataset
    """
    from labkit.store.export import export

    print(export(store, split, to, out))


@app.command()
def split(
    count: Annotated[int, Argument(help="Images in all.")] = 82_783,
    images_per_shard: Annotated[int, Option(min=1, help="Images in a full file.")] = 10_000,
) -> None:
    """Say how many files so many images make: COCO's train2014 makes nine, as in the lab of 2017.

    Example: labkit split 82783 --images-per-shard 10000
    """
    from labkit.store.export import shard_sizes

    sizes = shard_sizes(count, images_per_shard)
    print(f"{len(sizes)} files: {' '.join(map(str, sizes))}")
