"""From captioned images to a feature store: read, encode and write; resumable."""

import hashlib
import json
import os
import zlib
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import numpy as np

from labkit.data.readers import (
    READERS,
    CaptionedImage,
    DataError,
    DataReport,
    augment,
    find_layout,
    make_splits,
)
from labkit.data.scenes import make_scenes
from labkit.data.splits import parse_shares
from labkit.distributed import ProcessGroup
from labkit.features.encoder import EncoderConfig, bf16_is_fast, encode, load_encoder
from labkit.features.facts import network_of
from labkit.files import read_json
from labkit.store.manifest import MANIFEST
from labkit.store.shards import FeatureStore, splits
from labkit.store.writer import DRAFT, StoreWriter

PHOTO_ENCODER = EncoderConfig()
SCENE_ENCODER = EncoderConfig(size=112, block="stride16")  # 7 x 7 x 112


def prepare(
    records: Sequence[CaptionedImage], store: str | Path, encoder: EncoderConfig,
    source: dict[str, Any], report: DataReport, images_per_shard: int = 1000,
    threads: int | None = None, progress: bool = True, bf16: bool | None = None,
    group: ProcessGroup | None = None,
) -> Path:  # fmt: skip
    """Encode all images of ``records`` and write them as a store, split by split.

    A complete store of the same images is left unchanged; an interrupted one is resumed. Images are
    the same if their ids, splits, captions and pixels are; of a file, the size, the beginning and
    the end are compared.

    Args:
        records: The images.
        store: The store's folder.
        encoder: Which network, and which of its feature maps.
        source: Where the records come from, JSON-serialisable; kept in the manifest.
        report: Collects images that are missing or cannot be read; they are left out.
        images_per_shard: The number of images in a full file.
        threads: The number of threads. None: as many as `torch.get_num_threads` returns.
        progress: Show a progress bar, if standard error is a terminal.
        bf16: Compute the features in bfloat16 instead of float32; the store records which. None:
            as the store was begun, or else if the processor supports it.
        group: The processes that share the encoding; None is this process alone. Rank 0 writes, and
            the files are those of one process.

    Returns:
        The store's folder.

    Raises:
        FileExistsError: The folder holds a different store; the message says what differs.
        DataError: No image could be read.
    """
    store, group = Path(store), group or ProcessGroup()
    earlier = group.once(lambda: _earlier(store))
    if bf16 is None and "precision" in earlier.get("encoder", {}):
        bf16 = earlier["encoder"]["precision"] == "bf16"
    bf16 = group.broadcast(bf16_is_fast() if bf16 is None else bf16)
    network = load_encoder(encoder, bf16)
    source = source | {"images": _fingerprint(records)}
    described, source = json.loads(json.dumps([network.describe(), source]))
    if earlier:
        facts = described, source, records
        described, source = group.once(lambda: _resumed(store, earlier, *facts))
    if group.once(lambda: _finished(store)):
        return store
    length, writer, written = network.grid[0] * network.grid[1], None, 0
    with ExitStack() as closing:
        if group.is_main:
            settings = (length, network.dim, described, source, images_per_shard)
            writer = closing.enter_context(StoreWriter(store, *settings))
        for split in dict.fromkeys(record.split for record in records):
            done = group.broadcast(writer and sorted(writer.done(split)))
            written += len(done)
            chosen = [record for record in records if record.split == split]
            for record, features in encode(
                chosen, network, report, threads=threads, skip=set(done), progress=progress,
                group=group,
            ):  # fmt: skip
                written += 1
                if writer:
                    known = record.captions, record.boxes, record.facts or None
                    writer.add(split, record.id, features, *known)
        if not written:
            raise DataError(f"none of the {len(records)} images could be read: {report}")
    group.barrier()  # the store is finished
    return store


def _finished(store: Path) -> bool:
    """Whether a store is finished; then a draft beside it, which a kill left, is removed."""
    if not (store / MANIFEST).exists():
        return False
    with suppress(OSError):
        (store / DRAFT).unlink(missing_ok=True)
    return True


def _earlier(store: Path) -> dict[str, Any]:
    """Read the encoder and source of a store, finished or not; nothing if there is no store."""
    if (store / MANIFEST).exists():
        first = FeatureStore(store, splits(store)[0])
        return {"encoder": first.encoder, "source": first.source}
    draft = read_json(store / DRAFT) if (store / DRAFT).exists() else {}
    facts = [draft.get(key) for key in ("encoder", "source")] if isinstance(draft, dict) else []
    known = facts and all(isinstance(fact, dict) and fact for fact in facts)
    # the writer reports what is wrong with it; one without a shard binds nobody
    return draft if known and draft.get("splits") != {} else {}


def _resumed(
    store: Path, earlier: dict[str, Any], encoder: dict[str, Any], source: dict[str, Any],
    records: Sequence[CaptionedImage],
) -> tuple[dict[str, Any], dict[str, Any]]:  # fmt: skip
    """Return the facts of an existing store, if it was prepared from the same things.

    Raises:
        FileExistsError: It was not.
    """
    was = network_of(earlier["encoder"]) | {"precision": earlier["encoder"].get("precision")}
    now = network_of(encoder) | {"precision": was["precision"] and encoder["precision"]}
    images = earlier["source"].get("images")
    was |= {key: value for key, value in earlier["source"].items() if key != "images"}
    now |= {key: value for key, value in source.items() if key != "images"}
    for key in was | now:
        if was.get(key) != now.get(key):
            raise FileExistsError(
                f"{store} holds a different store, its {key} is {was.get(key)!r}, not "
                f"{now.get(key)!r}: name another folder"
            )
    if images != source["images"] and (what := _other_images(store, images, records)):
        raise FileExistsError(f"{store} holds a store of other images, {what}: name another folder")
    return earlier["encoder"], earlier["source"]


def _other_images(store: Path, images: str | None, records: Sequence[CaptionedImage]) -> str:
    """Describe which images differ from a store's; empty if none does, as far as it records."""
    held: dict[str, Any] = {}
    for split in splits(store) if (store / MANIFEST).exists() else ():
        part = FeatureStore(store, split)
        held |= {id: (split, texts) for id, texts in zip(part.ids, part.captions, strict=True)}
    wanted = {record.id: (record.split, tuple(record.captions)) for record in records}
    for found, without, what in ((held, wanted, "more"), (wanted, held, "fewer")):
        if held and (others := [id for id in found if id not in without]):
            return f"{len(others)} {what} than these, such as {others[0]!r}"
    if others := [id for id in held if held[id] != wanted[id]]:
        return f"with other captions or in another split for {len(others)}, such as {others[0]!r}"
    differ = "with other pixels" if held else "with other ids, captions or pixels"
    return differ if images else ""


def _fingerprint(records: Sequence[CaptionedImage]) -> str:
    """Hash images: their ids, captions and pixels, or some bytes of their files."""
    digest = hashlib.sha256()
    for record in records:
        seen = [record.crop, record.flipped, _sample(record.image)]
        digest.update(json.dumps([record.id, record.split, record.captions, *seen]).encode())
    return digest.hexdigest()[:16]


def _sample(image: Path | np.ndarray, size: int = 4096) -> list[Any]:
    """Describe an image without reading a whole file: its size, beginning and end."""
    if isinstance(image, np.ndarray):
        return [image.shape, zlib.crc32(np.ascontiguousarray(image).data)]
    try:
        with open(image, "rb") as file:
            start, length = file.read(size), os.fstat(file.fileno()).st_size
            file.seek(max(len(start), length - size))
            return [length, zlib.crc32(start + file.read(size))]
    except OSError:  # `encode` reports it
        return []


def read_photos(
    source: str, root: str | Path, splits: Sequence[str] | None, report: DataReport,
    images: str | Path | None = None, shares: str | None = None, seed: int = 0, copies: int = 1,
) -> tuple[list[CaptionedImage], dict[str, Any]]:  # fmt: skip
    """Read a data set of photographs, for `prepare`.

    Args:
        source: A key of `labkit.data.readers.READERS`, or "auto".
        root: The folder or file of the data set.
        splits: Which splits to read; None reads all.
        report: Collects problems.
        images: The folder of the photographs, if it is not in the root.
        shares: The shares of splits to make if the source has none, see
            `labkit.data.splits.parse_shares`.
        seed: The seed of these splits.
        copies: How many records each training photograph becomes, see
            `labkit.data.records.augment`.

    Returns:
        The records, and the facts about their source for the store's manifest.

    Raises:
        FileNotFoundError: See the readers.
        DataError: See the readers; or copies are asked for, and there is no training split.
        ValueError: The shares cannot be parsed; or there is a seed, and no shares.
    """
    wanted = parse_shares(shares) if shares else {}
    if seed and not wanted:
        raise ValueError("--split-seed needs splits to make: add --make-splits, or leave it out")
    if source == "auto":
        source = find_layout(root)
        report.note(f"{root} is read as {source}")
    records = READERS[source](root, splits, report, images)
    if wanted:
        records = make_splits(records, wanted, seed)
    names = list(dict.fromkeys(record.split for record in records))
    facts: dict[str, Any] = {"source": source, "splits": names}
    if wanted:
        facts["made_splits"] = wanted | {"seed": seed}
    elif facts["splits"] == ["all"] and any(record.captions for record in records):
        report.note(
            f"{root} has no splits: all images are one split, 'all'. To train, add "
            "--make-splits 0.8,0.1,0.1"
        )
    if copies > 1:
        count, facts["augment"] = len(records), copies
        records = list(augment(records, copies))
        if len(records) == count:
            raise DataError(
                f"--augment needs a training split, and {root} gives {', '.join(names)}: add "
                "--make-splits, or leave out --augment"
            )
    return records, facts


def prepare_scenes(
    store: str | Path, count: int = 6000, seed: int = 0, encoder: EncoderConfig = SCENE_ENCODER,
    images_per_shard: int = 1000, progress: bool = True, group: ProcessGroup | None = None,
) -> Path:  # fmt: skip
    """Draw synthetic scenes and write them as a store with the splits train, dev and test.

    Args:
        store: The store's folder.
        count: The number of training scenes; dev and test get a tenth each, at least 10 and at most
            500.
        seed: The seed of the scenes.
        encoder: Which network; by default efficientnet_lite0's 112 channels at stride 16, a grid of
            7 x 7 at 112 px.
        images_per_shard: The number of scenes in a full file.
        progress: Show a progress bar, if standard error is a terminal.
        group: The processes that share the encoding, see `prepare`.

    Returns:
        The store's folder.

    Raises:
        FileExistsError: The folder holds a different store.

    Example:
        >>> from labkit import FeatureStore, prepare_scenes
        >>> store = prepare_scenes("stores/few", count=8, progress=False)
        >>> print(store_line(store))
        stores/few: 8 train, 10 dev, 10 test images, 49 regions of 112 numbers each
    """
    held_out = min(max(count // 10, 10), 500)
    sizes = {"train": count, "dev": held_out, "test": held_out}
    records = [
        record
        for split, size in sizes.items()
        for record in make_scenes(size, seed, split, pixels=encoder.size)
    ]
    source = {"source": "scenes", "count": count, "seed": seed}
    report = DataReport()
    return prepare(
        records, store, encoder, source, report, images_per_shard, progress=progress, group=group
    )


def store_line(store: str | Path) -> str:
    """Describe what a store holds, in one line."""
    parts = [FeatureStore(store, split) for split in splits(store)]
    counts = ", ".join(f"{len(part)} {part.split}" for part in parts)
    return f"{store}: {counts} images, {parts[0].length} regions of {parts[0].dim} numbers each"
