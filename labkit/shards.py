"""The feature store on disk, compared with its checksums at every read.

A folder holds all splits of a data set. The manifest is written last: without it there is no store.

    train-00000.npy      annotation vectors (n, L, D), float16: `np.load` opens it
    train-00000.jsonl    a line for each of its images: id, checksum, captions, boxes, facts
    manifest.json        shapes, encoder, and the size and SHA-256 of every file

Shards are files that can be copied, checked and made again one by one. An image's checksum is the
CRC-32 of zip files: of 200 KB Intel's ISA-L computes it in 4 microseconds, Python's zlib in 50.
"""

import functools
import json
import os
import re
import weakref
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, chain
from pathlib import Path
from typing import Any

import numpy as np
from isal import isal_zlib

from labkit.files import fingerprint, read_json, sha256

FORMAT, MANIFEST = 2, "manifest.json"
HALF = np.dtype("<f2")
OPEN_FILES = 256  # shards that one store keeps open
CACHED = getattr(os, "RWF_NOWAIT", 0)  # read only from the system's cache; 0 where it can't be told
TOGETHER = 64  # images that are asked of the disk at once


class StoreError(ValueError):
    """A store is damaged, or is not what its reader expected."""


class FeatureStore:
    """One split of a store, read by position; several threads may read at once.

    Opening reads the manifest and the captions and looks at every file's size. Features are read
    when they are asked for, and none are kept.

    Args:
        root: folder of the store.
        split: one of `splits(root)`.

    Attributes:
        length, dim, encoder, source: what the writer was told; length is L, dim is D.
        ids, captions, boxes, facts: what was added with each image.
        fingerprint: stands for the whole content of the split.

    Raises:
        FileNotFoundError, StoreError: a file is missing or damaged, or there is no such split.
    """

    def __init__(self, root: Path | str, split: str):
        self.root, self.split = Path(root), split
        manifest = _read_manifest(self.root)
        if split not in manifest["splits"]:
            raise StoreError(f"{root} has no split {split!r}: it has {', '.join(splits(root))}")
        self.length, self.dim = manifest["length"], manifest["dim"]
        self.encoder, self.source = manifest["encoder"], manifest["source"]
        self.fingerprint: str = manifest["splits"][split]["fingerprint"]
        self.shards: list[dict[str, Any]] = manifest["splits"][split]["shards"]
        paths = [_intact(self.root / shard["name"], shard["bytes"]) for shard in self.shards]
        self.ids, self.captions, self.boxes, self.facts, self._checksums = [], [], [], [], []
        for record in chain.from_iterable(read_records(self.root, s) for s in self.shards):
            self.ids.append(record["id"])
            self.captions.append(tuple(record["captions"]))
            self.boxes.append(record.get("boxes"))
            self.facts.append(record.get("facts", {}))
            self._checksums.append(record["crc32"])
        self.starts = [0, *accumulate(shard["count"] for shard in self.shards)]
        self._size = self.length * self.dim * HALF.itemsize  # bytes of an image
        self._open = functools.lru_cache(OPEN_FILES)(lambda number: _OpenShard(paths[number]))

    def __len__(self) -> int:
        return len(self.ids)

    def __reduce__(self) -> tuple:  # a process that is sent the store opens it anew
        return FeatureStore, (self.root, self.split)

    def read(self, indices: Sequence[int], out: np.ndarray | None = None) -> np.ndarray:
        """Read images by position, (n,) in any order, into `out` or a new array, (n, L, D) float16.

        A position outside is an IndexError; what is wrong, a StoreError that names the image.
        """
        out = np.empty((len(indices), self.length, self.dim), HALF) if out is None else out
        list(self.each(indices, out))
        return out

    def each(self, indices: Sequence[int], outs: Iterable[Any]) -> Iterator[int]:
        """Read images one by one, each into its own of `outs`: (L, D) float16, C-contiguous.

        A position is yielded when its image is there and checked; raises as `read` does. The first
        that has to come from the disk asks it for the next ones too: many at once are faster.
        """
        places, asked = [self._place(index) for index in indices], 0
        for row, (place, out) in enumerate(zip(places, outs, strict=True)):
            if row >= asked and not self._take(*place, out, CACHED):
                asked = row + TOGETHER
                for _, file, begin in places[row:asked]:
                    os.posix_fadvise(file.handle, begin, out.nbytes, os.POSIX_FADV_WILLNEED)
            if row < asked:
                self._take(*place, out, 0)
            yield place[0]

    def _take(self, index: int, file: "_OpenShard", begin: int, out: Any, how: int) -> bool:
        """Read one image. As CACHED it is False where the disk would have to be waited for."""
        try:
            got = os.preadv(file.handle, [out], begin, how)
        except OSError as error:
            if how:
                return False
            raise StoreError(f"{file.path}: image {self.ids[index]!r}: {error.strerror}") from error
        right = got == out.nbytes and isal_zlib.crc32(out) == self._checksums[index]
        if not (right or how):
            raise StoreError(f"{file.path}: image {self.ids[index]!r} does not match its checksum")
        return right  # if not: a part was in the cache, or a waiting read will tell what is wrong

    def _place(self, index: int) -> tuple[int, "_OpenShard", int]:  # image, file, first byte
        if not 0 <= index < len(self.ids):
            raise IndexError(f"{self.root}: split {self.split!r} has {len(self)} images")
        number = bisect_right(self.starts, index) - 1
        after = self.starts[number + 1] - index  # images from this one to the end of the file
        return index, self._open(number), self.shards[number]["bytes"] - after * self._size


class _OpenShard:
    """A file that is closed when nobody uses it any more."""

    def __init__(self, path: Path):
        self.path, self.handle = path, os.open(_intact(path), os.O_RDONLY)
        weakref.finalize(self, os.close, self.handle)


def splits(root: Path | str) -> list[str]:
    """Name the splits of a store; raises as `FeatureStore` does."""
    return list(_read_manifest(Path(root))["splits"])


def _read_manifest(root: Path) -> dict[str, Any]:
    path = root / MANIFEST
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing, so this is no finished store: prepare it")
    manifest = read_json(path)
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise StoreError(f"{path} is no manifest of format {FORMAT}, which this labkit reads")
    if manifest.pop("fingerprint", None) != fingerprint(manifest):
        raise StoreError(f"{path} does not match its own fingerprint: restore the file")
    for split in manifest["splits"].values():
        for name in (shard["name"] for shard in split["shards"]):
            if not re.fullmatch(r"\w[\w.-]*\.npy", name, re.ASCII):
                raise StoreError(f"{path} names {name!r}, which is no file of a store")
    return manifest


def read_records(root: Path, shard: dict[str, Any]) -> list[dict[str, Any]]:
    """Read the lines of a shard's `.jsonl`; raises as `FeatureStore` does."""
    path = (root / shard["name"]).with_suffix(".jsonl")
    if sha256(_intact(path, shard["records"]["bytes"])) != shard["records"]["sha256"]:
        raise StoreError(f"{path} does not match its SHA-256 in the manifest: restore the file")
    lines = path.read_text("utf-8").rstrip().replace("\n", ",")
    return json.loads(f"[{lines}]")  # quicker than one by one


def _intact(path: Path, size: int | None = None) -> Path:
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: restore the file or prepare the store anew")
    if size is not None and path.stat().st_size != size:
        raise StoreError(f"{path} has {path.stat().st_size} bytes, the manifest says {size}")
    return path
