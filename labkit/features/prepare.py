"""From captioned images to a feature store: read, encode, write; resumes after a kill."""

import hashlib
import json
import os
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from labkit.data.readers import (
    READERS,
    CaptionedImage,
    DataError,
    DataReport,
    find_layout,
    make_splits,
    augment,
)
from labkit.data.scenes import make_scenes
from labkit.data.splits import parse_shares
from labkit.features.encoder import EncoderConfig, encode, load_encoder, network_of
from labkit.files import read_json
from labkit.store.shards import MANIFEST, FeatureStore, splits
from labkit.store.writer import DRAFT, StoreWriter

PHOTO_ENCODER = EncoderConfig()
SCENE_ENCODER = EncoderConfig(size=112, block="stride16")  # 7 x 7 x 112
ANOTHER = "name another folder"


def prepare(
    records: Sequence[CaptionedImage], out: str | Path, encoder: EncoderConfig,
    source: dict[str, Any], report: DataReport, images_per_shard: int = 1000,
    threads: int = 2, progress: bool = True, bf16: bool | None = None,
) -> Path:  # fmt: skip
    """Encode all images of ``records`` and write them as a store, split by split.

    A store that is complete and was made of the same images is left as it is. One that was
    interrupted is continued. Images are the same if their ids, splits, captions and pixels are: of
    a file its size, its beginning and its end are compared.

    Args:
        records: the images; those of one split stand together.
        out: the store's folder.
        encoder: which network, and what of it.
        source: where the records come from, JSON-able; kept in the manifest.
        report: told of images that are missing or cannot be read; they are left out.
        images_per_shard: how many images a file holds.
        threads: that read images.
        progress: show a bar, where the standard error is a terminal.
        bf16: compute the features in bfloat16 and not in float32; the store says which it was.
            None: as the store was begun, or where the processor is fast with it.

    Returns:
        ``out``.

    Raises:
        FileExistsError: ``out`` holds a store of something else; the sentence says what differs.
        DataError: not one image could be read.
    """
    earlier = _earlier(Path(out))
    if bf16 is None and "precision" in earlier.get("encoder", {}):
        bf16 = earlier["encoder"]["precision"] == "bf16"
    network = load_encoder(encoder, bf16)
    source = source | {"images": _fingerprint(records)}
    described, source = json.loads(json.dumps([network.describe(), source]))
    if earlier:
        described, source = _continued(Path(out), earlier, described, source, records)
    if (Path(out) / MANIFEST).exists():
        return Path(out)
    length = network.grid[0] * network.grid[1]
    with StoreWriter(out, length, network.dim, described, source, images_per_shard) as writer:
        written = 0
        for split in dict.fromkeys(record.split for record in records):
            done = writer.done(split)
            written += len(done)
            chosen = [record for record in records if record.split == split]
            encoded = encode(chosen, network, report, threads=threads, skip=done, progress=progress)
            for record, features in encoded:
                writer.add(
                    split, record.id, features, record.captions, record.boxes, record.facts or None
                )
                written += 1
        if not written:
            raise DataError(f"none of the {len(records)} images could be read: {report}")
    return Path(out)


def _earlier(out: Path) -> dict[str, Any]:
    """Read what a store says that it was made of, finished or not; nothing where there is none."""
    if (out / MANIFEST).exists():
        store = FeatureStore(out, splits(out)[0])
        return {"encoder": store.encoder, "source": store.source}
    draft = read_json(out / DRAFT) if (out / DRAFT).exists() else {}
    facts = [draft.get(key) for key in ("encoder", "source")] if isinstance(draft, dict) else []
    known = facts and all(isinstance(fact, dict) for fact in facts)
    return draft if known else {}  # the writer says what is wrong with it


def _continued(
    out: Path, earlier: dict[str, Any], encoder: dict[str, Any], source: dict[str, Any],
    records: Sequence[CaptionedImage],
) -> tuple[dict[str, Any], dict[str, Any]]:  # fmt: skip
    """Give the facts of a store that is there, if it was made of the same things.

    Raises:
        FileExistsError: it was not.
    """
    was = network_of(earlier["encoder"]) | {"precision": earlier["encoder"].get("precision")}
    now = network_of(encoder) | {"precision": was["precision"] and encoder["precision"]}
    images = earlier["source"].get("images")
    was |= {key: value for key, value in earlier["source"].items() if key != "images"}
    now |= {key: value for key, value in source.items() if key != "images"}
    for key in was | now:
        if was.get(key) != now.get(key):
            what = f"its {key} is {was.get(key)!r}, not {now.get(key)!r}"
            raise FileExistsError(f"{out} holds a store of something else, {what}: {ANOTHER}")
    if images != source["images"] and (what := _other_images(out, images, records)):
        raise FileExistsError(f"{out} holds a store of other images, {what}: {ANOTHER}")
    return earlier["encoder"], earlier["source"]


def _other_images(
    out: Path, images: str | None, records: Sequence[CaptionedImage]
) -> str:  # fmt: skip
    """Say in which images a store differs; nothing if it does not, as far as an old one says."""
    held = {}
    for split in splits(out) if (out / MANIFEST).exists() else ():
        store = FeatureStore(out, split)
        held |= {id: (split, told) for id, told in zip(store.ids, store.captions, strict=True)}
    wanted = {record.id: (record.split, tuple(record.captions)) for record in records}
    for found, without, what in ((held, wanted, "more"), (wanted, held, "fewer")):
        if held and (others := [id for id in found if id not in without]):
            return f"{len(others)} {what} than these, such as {others[0]!r}"
    if others := [id for id in held if held[id] != wanted[id]]:
        return f"with other captions or in another split for {len(others)}, such as {others[0]!r}"
    differ = "with other pixels" if held else "with other ids, captions or pixels"
    return differ if images else ""


def _fingerprint(records: Sequence[CaptionedImage]) -> str:
    """Take a fingerprint of images: their ids, captions and pixels, or of files some bytes."""
    digest = hashlib.sha256()
    for record in records:
        seen = [record.part, record.mirrored, _sample(record.image)]
        digest.update(json.dumps([record.id, record.split, record.captions, *seen]).encode())
    return digest.hexdigest()[:16]


def _sample(image: Path | np.ndarray, size: int = 4096) -> list[Any]:
    """Describe an image without reading all of a file: its size, its beginning and its end."""
    if isinstance(image, np.ndarray):
        return [image.shape, zlib.crc32(np.ascontiguousarray(image))]
    try:
        with open(image, "rb") as file:
            start, length = file.read(size), os.fstat(file.fileno()).st_size
            file.seek(max(len(start), length - size))
            return [length, zlib.crc32(start + file.read(size))]
    except OSError:  # `encode` reports it
        return []
def read_photos(
    source: str, root: str | Path, splits: Sequence[str] | None, report: DataReport,
    images: str | Path | None = None, shares: str | None = None, seed: int = 0, views: int = 1,
) -> tuple[list[CaptionedImage], dict[str, Any]]:  # fmt: skip
    """Read a data set of photographs, to be prepared.

    Args:
        source: a key of `labkit.data.readers.READERS`, or "auto".
        root: the folder or file of the data set.
        splits: which; all if None.
        report: where problems go.
        images: the folder of the photographs, if it is not in the root.
        shares: of the splits to make where there are none, see `labkit.data.splits.parse_shares`.
        seed: of these splits.
        views: how many there are of each photograph for training, see `augment`.

    Returns:
        The records, and the facts about their source that a store keeps.

    Raises:
        FileNotFoundError, DataError: see the readers.
        ValueError: the shares are none.
    """
    wanted = parse_shares(shares) if shares else {}
    if source == "auto":
        source = find_layout(root)
        report.note(f"{root} is read as {source}")
    records = READERS[source](root, splits, report, images)
    if wanted:
        records = make_splits(records, wanted, seed)
    facts = {"source": source, "splits": list(dict.fromkeys(r.split for r in records))}
    if wanted:
        facts["made_splits"] = wanted | {"seed": seed}
    elif facts["splits"] == ["all"] and any(record.captions for record in records):
        report.note(
            f"{root} has no splits: all images are one split, 'all'. To train, add "
            "--make-splits 0.8,0.1,0.1"
        )
    if views > 1:
        records, facts["views"] = list(augment(records, views)), views
    return records, facts


def prepare_scenes(
    out: str | Path, count: int = 6000, seed: int = 0, encoder: EncoderConfig = SCENE_ENCODER,
    images_per_shard: int = 1000, progress: bool = True,
) -> Path:  # fmt: skip
    """Draw scenes and write them as a store; a tenth more each to choose by and to test on.

    Args:
        out: the store's folder.
        count: scenes of the split "train"; "dev" and "test" get a tenth, at least 10, at most 500.
        seed: of the scenes.
        encoder: which network; by default its 112 channels at stride 16, 7 x 7 at 112 px.
        images_per_shard: how many scenes a file holds.
        progress: show a bar, where the standard error is a terminal.
    """
    held_out = min(max(count // 10, 10), 500)
    sizes = {"train": count, "dev": held_out, "test": held_out}
    records = [
        record
        for split, size in sizes.items()
        for record in make_scenes(size, seed, split, pixels=encoder.size)
    ]
    source = {"source": "scenes", "count": count, "seed": seed}
    return prepare(records, out, encoder, source, DataReport(), images_per_shard, progress=progress)


def store_line(out: str | Path) -> str:
    """One line that says what a store holds."""
    stores = [FeatureStore(out, split) for split in splits(out)]
    counts = ", ".join(f"{len(store)} {store.split}" for store in stores)
    return f"{out}: {counts} images, {stores[0].length} regions of {stores[0].dim} numbers each"
