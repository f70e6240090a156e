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
import mmap
import os
import re
import threading
import weakref
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate, chain
from pathlib import Path
from typing import Any

import numpy as np
from isal import isal_zlib
from tqdm import tqdm

from labkit.files import fingerprint, read_json, sha256

FORMAT, MANIFEST = 2, "manifest.json"
HALF = np.dtype("<f2")
ALIASES = (
    ("train", "training"),
    ("dev", "development", "val", "valid", "validation"),
    ("test", "testing"),
)  # names of splits that mean the same, with or without a year
YEAR = re.compile(r"[-_ ]?\d{4}$")
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
        # it keeps 256 shards open at most
        self._open = functools.lru_cache(256)(lambda number: _OpenShard(paths[number]))

    def __len__(self) -> int:
        return len(self.ids)

    def __reduce__(self) -> tuple:  # a process that is sent the store opens it anew
        return FeatureStore, (self.root, self.split)

    def read(self, indices: Sequence[int], out: np.ndarray | None = None) -> np.ndarray:
        """Read images by position, (n,) in any order, into `out` or a new array, (n, L, D) float16.

        A position outside is an IndexError; what is wrong, a StoreError that names the image.
        """
        out = np.empty((len(indices), self.length, self.dim), HALF) if out is None else out
        for image, row in zip(self.each(indices), out, strict=True):
            row[:] = np.frombuffer(image, HALF).reshape(row.shape)
        return out

    def each(self, indices: Sequence[int], mapped: bool = False) -> Iterator[memoryview]:
        """Show the bytes of the images at `indices` one by one; raise as `read` does.

        One is there until the next is asked for. Only then its checksum is compared, lest someone
        spoils the file while it is used: what was made of an image is right if after it neither
        the next one nor the end raises. The disk is asked for many at once, which is faster.

        With `mapped` it is the system's own cache that is shown, which saves a copy. But then a
        disk that fails or a file that is cut off kills the process: only one that may be killed
        should ask for it. And a file that is mended in place just then can hide what it was.
        """
        buffer = memoryview(bytearray(self._size))
        for start in range(0, len(indices), TOGETHER):
            places = [self._place(index) for index in indices[start : start + TOGETHER]]
            for _, file, begin in places if hasattr(os, "posix_fadvise") else []:  # Linux has it
                os.posix_fadvise(file.handle, begin, self._size, os.POSIX_FADV_WILLNEED)
            for index, file, begin in places:
                image = file.mapped[begin : begin + self._size] if mapped else buffer
                try:
                    mapped or file.read(buffer, begin)
                except OSError as error:
                    raise self._wrong(index, file, f": {error.strerror}") from error
                yield image
                if isal_zlib.crc32(image) != self._checksums[index]:
                    raise self._wrong(index, file, " does not match its checksum")

    def verify(self, progress: bool = True) -> None:
        """Read every byte of the split's files and compare it with the manifest.

        Args:
            progress: show a bar, where the standard error is a terminal.

        Raises:
            StoreError: at the first fault; the sentence names the file and the image.
        """
        hidden = None if progress else True
        shards = tqdm(self.shards, desc=f"verify {self.split}", unit="file", disable=hidden)
        for shard, start in zip(shards, self.starts, strict=False):
            path = self.root / shard["name"]
            if sha256(path) != shard["sha256"]:
                self.read(range(start, start + shard["count"]))  # names the image that is wrong
                raise StoreError(f"{path}: its header is wrong: restore the file")

    def _wrong(self, index: int, file: "_OpenShard", what: str) -> StoreError:
        return StoreError(f"{file.path}: image {self.ids[index]!r}{what}")

    def _place(self, index: int) -> tuple[int, "_OpenShard", int]:  # image, file, first byte
        if not 0 <= index < len(self.ids):
            raise IndexError(f"{self.root}: split {self.split!r} has {len(self)} images")
        number = bisect_right(self.starts, index) - 1
        after = self.starts[number + 1] - index  # images from this one to the end of the file
        return index, self._open(number), self.shards[number]["bytes"] - after * self._size


class _OpenShard:
    """A file that is closed when nobody uses it any more."""

    def __init__(self, path: Path):
        binary = getattr(os, "O_BINARY", 0)  # Windows changes the ends of lines otherwise
        self.path, self.handle = path, os.open(_intact(path), os.O_RDONLY | binary)
        self._lock = threading.Lock()
        weakref.finalize(self, os.close, self.handle)

    def read(self, buffer: memoryview, begin: int) -> None:
        """Fill the buffer from the byte `begin` on; what the file does not have stays as it was."""
        if hasattr(os, "preadv"):
            os.preadv(self.handle, [buffer], begin)
        else:  # Windows: the place is the file's, so one thread after the other
            with self._lock:
                os.lseek(self.handle, begin, os.SEEK_SET)
                found = os.read(self.handle, len(buffer))
            buffer[: len(found)] = found

    @functools.cached_property
    def mapped(self) -> memoryview:
        return memoryview(mmap.mmap(self.handle, 0, access=mmap.ACCESS_READ))


def splits(root: Path | str) -> list[str]:
    """Name the splits of a store; raises as `FeatureStore` does."""
    return list(_read_manifest(Path(root))["splits"])


def source_of(root: Path | str) -> dict[str, Any]:
    """Say what a store was prepared from; raises as `FeatureStore` does."""
    return _read_manifest(Path(root))["source"]


def splits_like(root: Path | str, name: str) -> list[str]:
    """Name the splits that a word may mean: "val" means dev, validation, val2017, ..."""
    there = splits(root)
    if name in there:
        return [name]
    meant = next((words for words in ALIASES if name.lower() in words), ())
    return [split for split in there if YEAR.sub("", split.lower()) in meant]


def find_split(root: Path | str, name: str) -> str:
    """Find the split of a store that goes by this name, or by another of the same meaning.

    Raises:
        StoreError: there is none, or there are several; the sentence says which there are.
    """
    found = splits_like(root, name)
    if len(found) > 1:
        raise StoreError(f"{root} has several splits like {name!r}: choose {' or '.join(found)}")
    if not found:
        raise StoreError(f"{root} has no split {name!r}: it has {', '.join(splits(root))}")
    return found[0]


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
