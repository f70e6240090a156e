"""The manifest of a store, and the lines beside its files: checked before anything relies on them.

A fingerprint finds damage, not malice: whoever writes a store can compute it. So each number is
compared with the size of its file before memory is requested for it.
"""

import json
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from labkit.files import fingerprint, read_bytes, read_json, sha256

FORMAT, MANIFEST = 2, "manifest.json"
LARGEST_IMAGE = 1 << 25  # numbers, L times D: 64 MiB
LARGEST_RECORDS = 1 << 30  # bytes
LARGEST_HEADER = 1 << 16  # bytes of a .npy file before its numbers
Count = Annotated[int, Field(ge=1, le=1 << 53)]
Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class StoreError(ValueError):
    """A store is damaged, or is not what its reader expected."""


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")


class _Records(_Part):
    bytes: Annotated[int, Field(ge=1, le=LARGEST_RECORDS)]
    sha256: Hash


class _Shard(_Part):
    name: str
    count: Count
    bytes: Count
    sha256: Hash
    records: _Records


class _Split(_Part):
    shards: Annotated[list[_Shard], Field(min_length=1)]
    count: Count
    fingerprint: Hash


class _Manifest(_Part):
    format: int
    dtype: Literal["<f2"]
    length: Count
    dim: Count
    images_per_shard: Count
    encoder: dict[str, Any]
    source: dict[str, Any]
    splits: dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9_][\w.-]*$")], _Split]


def read_manifest(store: Path) -> dict[str, Any]:
    """Read the manifest of a store.

    Raises:
        FileNotFoundError: There is none.
        StoreError: It is damaged, of another format, or cannot be true.
    """
    path = store / MANIFEST
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing, so this is no finished store: prepare it")
    manifest = read_json(path)
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise StoreError(f"{path} is no manifest of format {FORMAT}, which this labkit reads")
    if manifest.pop("fingerprint", None) != fingerprint(manifest):
        raise StoreError(f"{path} does not match its own fingerprint: restore the file")
    try:
        _Manifest.model_validate(manifest)
    except ValidationError as error:
        where = ".".join(map(str, error.errors()[0]["loc"]))
        what = f"its {where} cannot be: {error.errors()[0]['msg']}"
        raise StoreError(f"{path} is no manifest of a store, {what}: restore the file") from None
    _check_sizes(manifest, path)
    return manifest


def _check_sizes(manifest: dict[str, Any], path: Path) -> None:
    """Compare the numbers in a manifest with each other."""
    size, names = manifest["length"] * manifest["dim"], set()
    if size > LARGEST_IMAGE:
        raise StoreError(f"{path} has images of {size:,} numbers, more than any: restore the file")
    for name, split in manifest["splits"].items():
        for shard in split["shards"]:
            _check_name(shard["name"], path)
            if not 0 < shard["bytes"] - 2 * size * shard["count"] <= LARGEST_HEADER:
                what = f"{shard['count']} images cannot fill {shard['bytes']} bytes"
                raise StoreError(f"{path.parent / shard['name']}: {what}: restore the manifest")
            if shard["name"] in names:
                raise StoreError(f"{path} names {shard['name']!r} twice: restore the file")
            names.add(shard["name"])
        if split["count"] != sum(shard["count"] for shard in split["shards"]):
            raise StoreError(f"{path}: the files of {name} hold another count: restore the file")


def _check_name(name: Any, where: Path) -> None:
    if not isinstance(name, str) or not re.fullmatch(r"\w[\w.-]*\.npy", name, re.ASCII):
        raise StoreError(f"{where} names {name!r}, which is no file of a store")


def read_records(store: Path, shard: dict[str, Any]) -> list[dict[str, Any]]:
    """Read the lines of a shard's `.jsonl`; raise as `FeatureStore` does.

    Args:
        store: folder of the store.
        shard: the manifest's entry for the file.

    Returns:
        For each image: id, crc32, captions and, where there are any, boxes and facts.
    """
    _check_name(shard["name"], store)
    path = (store / shard["name"]).with_suffix(".jsonl")
    if sha256(intact(path, shard["records"]["bytes"])) != shard["records"]["sha256"]:
        raise StoreError(f"{path} does not match its SHA-256 in the manifest: restore the file")
    try:
        lines = read_bytes(path, LARGEST_RECORDS).decode("utf-8").rstrip().replace("\n", ",")
        records = json.loads(f"[{lines}]")  # faster than one by one
    except (ValueError, RecursionError) as error:
        raise StoreError(f"{path} is damaged, it is not JSON: {error}") from None
    if len(records) != shard["count"] or not all(map(_is_record, records)):
        what = f"{shard['count']} images with id, checksum and captions"
        raise StoreError(f"{path} does not hold {what}: restore the file")
    return records


def _is_record(one: Any) -> bool:
    return (
        isinstance(one, dict)
        and type(one.get("id")) is str
        and type(one.get("crc32")) is int
        and type(one.get("captions")) is list
        and all(type(text) is str for text in one["captions"])
        and isinstance(one.get("boxes"), list | None)
        and isinstance(one.get("facts", {}), dict)
    )


def check_ids(ids: Sequence[str], where: Path | str) -> None:
    """Check that no id occurs twice."""
    if len(set(ids)) < len(ids):
        twice = next(id for id, times in Counter(ids).items() if times > 1)
        raise StoreError(f"{where} has two images with the id {twice!r}: prepare it anew")


def intact(path: Path, size: int | None = None) -> Path:
    """Check that a file is there and has its size; raise as `FeatureStore` does."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: restore the file or prepare the store anew")
    if size is not None and path.stat().st_size != size:
        raise StoreError(f"{path} has {path.stat().st_size} bytes, the manifest says {size}")
    return path
