"""The manifest of a store, and the lines beside its files: checked before anything relies on them.

A fingerprint finds damage, not malice: whoever writes a store can compute it. So each number is
compared with the size of its file before memory is requested for it.
"""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

from labkit.files import fingerprint, read_bytes, read_json

FORMAT, MANIFEST = 2, "manifest.json"
LARGEST_IMAGE = 1 << 25  # numbers, L times D: 64 MiB
LARGEST_RECORDS = 1 << 30  # bytes
LARGEST_HEADER = 1 << 16  # bytes of a .npy file before its numbers


class StoreError(ValueError):
    """A store is damaged, or is not what its reader expected."""


_MANIFEST = {"format": int, "dtype": str, "length": int, "dim": int, "images_per_shard": int,
             "encoder": dict, "source": dict, "splits": dict}  # fmt: skip
_SPLIT = {"shards": list, "count": int, "fingerprint": str}
_SHARD = {"name": str, "count": int, "bytes": int, "sha256": str, "records": dict}
_RECORDS = {"bytes": int, "sha256": str}
_RECORD = {"id": str, "crc32": int, "captions": list}


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
    kind = isinstance(manifest, dict) and (manifest.get("format"), manifest.get("dtype"))
    if kind != (FORMAT, "<f2"):
        raise StoreError(f"{path} is no manifest of format {FORMAT}, which this labkit reads")
    if manifest.pop("fingerprint", None) != fingerprint(manifest):
        raise StoreError(f"{path} does not match its own fingerprint: restore the file")
    _check_types(manifest, _MANIFEST, "format", path)
    _check_sizes(manifest, path)
    return manifest


def _check_types(part: Any, kinds: dict[str, type], what: str, path: Path) -> None:
    """Check that a part of a manifest has these keys and types, and that its counts are above 0."""
    found = part if isinstance(part, dict) else {}
    below = any(type(value) is int and value < 1 for value in found.values())
    if below or {key: type(value) for key, value in found.items()} != kinds:
        raise StoreError(f"{path} is no manifest of a store, see its {what}: restore the file")


def _check_sizes(manifest: dict[str, Any], path: Path) -> None:
    """Compare the numbers in a manifest with each other."""
    size, names = manifest["length"] * manifest["dim"], []
    if size > LARGEST_IMAGE:
        raise StoreError(f"{path} has images of {size:,} numbers, more than any: restore the file")
    for name, split in manifest["splits"].items():
        _check_types(split, _SPLIT, f"split {name!r}", path)
        for shard in split["shards"]:
            _check_types(shard, _SHARD, f"split {name!r}", path)
            _check_types(shard["records"], _RECORDS, f"split {name!r}", path)
            _check_name(shard["name"], path)
            header = shard["bytes"] - 2 * size * shard["count"]
            if not 0 < header <= LARGEST_HEADER or shard["records"]["bytes"] > LARGEST_RECORDS:
                what = f"{path.parent / shard['name']} cannot hold {shard['count']} images"
                raise StoreError(f"{what}: restore the manifest")
            names.append(shard["name"])
        if not split["shards"] or split["count"] != sum(one["count"] for one in split["shards"]):
            raise StoreError(f"{path}: the files of {name} hold another count: restore the file")
    if len(set(names)) < len(names):
        raise StoreError(f"{path} names a file twice: restore the file")


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
    content = read_bytes(intact(path, shard["records"]["bytes"]), LARGEST_RECORDS)
    if hashlib.sha256(content).hexdigest() != shard["records"]["sha256"]:
        raise StoreError(f"{path} does not match its SHA-256 in the manifest: restore the file")
    try:
        lines = content.decode("utf-8").rstrip().replace("\n", ",")
        records = json.loads(f"[{lines}]")  # faster than one by one
    except (ValueError, RecursionError) as error:
        raise StoreError(f"{path} is damaged, it is not JSON: {error}") from None
    if len(records) != shard["count"] or not all(map(is_record, records)):
        what = f"{shard['count']} images with id, checksum and captions"
        raise StoreError(f"{path} does not hold {what}: restore the file")
    return records


def is_record(one: Any) -> bool:
    """Whether a line of a store has an id, a checksum and captions, and what else it may have."""
    typed = isinstance(one, dict) and all(type(one.get(key)) is _RECORD[key] for key in _RECORD)
    if not typed or not all(type(text) is str for text in one["captions"]):
        return False
    return type(one.get("boxes", [])) is list and type(one.get("facts", {})) is dict


def intact(path: Path, size: int | None = None) -> Path:
    """Check that a file is there and has its size; raise as `FeatureStore` does."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: restore the file or prepare the store anew")
    if size is not None and path.stat().st_size != size:
        raise StoreError(f"{path} has {path.stat().st_size} bytes, the manifest says {size}")
    return path
