"""The feature store on disk, compared with its checksums at every read.

A folder holds all splits of a data set. The manifest is written last: without it there is no store.

    train-00000.npy      annotation vectors (n, L, D), float16: `np.load` opens it
    train-00000.jsonl    a line for each of its images: id, checksum, captions, boxes, facts
    manifest.json        shapes, encoder, and the size and SHA-256 of every file

Shards are files that can be copied, checked and restored one by one. An image's checksum is the
CRC-32 of zip files: for 200 KB, Intel's ISA-L computes it in 4 microseconds, Python's zlib in 50.
"""

import functools
import mmap
import os
import threading
import weakref
from array import array
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate, chain
from pathlib import Path
from typing import Any

import numpy as np
from isal import isal_zlib
from tqdm import tqdm

try:
    import resource
except ModuleNotFoundError:  # on Windows
    resource = None  # type: ignore[assignment]

from labkit.data.splits import ALIASES, usual_split
from labkit.files import no_garbage_collection, sha256
from labkit.store.manifest import StoreError, intact, read_manifest, read_records

HALF = np.dtype("<f2")
TOGETHER = 64  # images that are requested from the disk at once


class FeatureStore:
    """One split of a store, read by position; several threads may read at once.

    Opening reads the manifest and the captions, and compares every file's size. Features are read
    when they are asked for, and none are kept.

    Args:
        store: folder of the store.
        split: one of `splits(store)`.

    Attributes:
        root: folder of the store.
        split: name of the split.
        length: L, annotation vectors of an image.
        dim: D, numbers in each.
        encoder: what made the features, as the writer was given it.
        source: what they were made of, as the writer was given it.
        ids: the images' ids, unique in the store.
        captions: a tuple of strings for each image, perhaps an empty one.
        boxes: for each image, for each caption, for each word, a box or None; or None.
        facts: a dictionary for each image, what else is known.
        fingerprint: SHA-256 that stands for the whole content of the split.
        shards: the manifest's entry for each file.
        starts: the position of each file's first image, and the number of images.

    Raises:
        FileNotFoundError: a file is missing.
        StoreError: a file is damaged, or there is no such split.

    Example:
        >>> from labkit import FeatureStore, prepare_scenes
        >>> store = FeatureStore(prepare_scenes("stores/few", count=8, progress=False), "train")
        >>> len(store), store.captions[0][0], store[0].shape
        (8, 'a large white cross and a blue cross', (49, 112))
    """

    def __init__(self, store: Path | str, split: str):
        self.root, self.split = Path(store), split
        manifest = read_manifest(self.root)
        if split not in manifest["splits"]:
            raise StoreError(f"{store} has no split {split!r}: it has {', '.join(splits(store))}")
        self.length, self.dim = manifest["length"], manifest["dim"]
        self.encoder, self.source = manifest["encoder"], manifest["source"]
        self.fingerprint: str = manifest["splits"][split]["fingerprint"]
        self.shards: list[dict[str, Any]] = manifest["splits"][split]["shards"]
        paths = [intact(self.root / shard["name"], shard["bytes"]) for shard in self.shards]
        self.ids, self.captions, self.boxes, self.facts = [], [], [], []
        self._checksums = array("I")  # 4 bytes each, 40 as objects
        with no_garbage_collection():
            for record in chain.from_iterable(read_records(self.root, s) for s in self.shards):
                self.ids.append(record["id"])
                self.captions.append(tuple(record["captions"]))
                self.boxes.append(record.get("boxes"))
                self.facts.append(record.get("facts", {}))
                self._checksums.append(record["crc32"] & 0xFFFFFFFF)  # else it would not fit
        if len(set(self.ids)) < len(self.ids):
            twice = Counter(self.ids).most_common(1)[0][0]
            raise StoreError(f"{store} has two images with the id {twice!r}: prepare it anew")
        self.starts = [0, *accumulate(shard["count"] for shard in self.shards)]
        self._size = self.length * self.dim * HALF.itemsize  # bytes of an image
        self._open = functools.lru_cache(_open_at_once())(lambda number: _OpenShard(paths[number]))

    def __len__(self) -> int:
        return len(self.ids)

    def __reduce__(self) -> tuple[Any, ...]:  # a process that receives the store opens it anew
        return FeatureStore, (self.root, self.split)

    def __getitem__(self, index: int | slice) -> np.ndarray:
        """Read one image, (L, D) float16, or a slice of them, (n, L, D); raise as `read`."""
        chosen = range(len(self))[index]
        return self.read([chosen])[0] if isinstance(chosen, int) else self.read(chosen)

    def read(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """Read images by position.

        Args:
            indices: n positions in the store, in any order.

        Returns:
            (n, L, D) float16.

        Raises:
            IndexError: a position is outside the split.
            StoreError: an image cannot be read or does not match its checksum; it is named.
        """
        out = np.empty((len(indices), self.length, self.dim), HALF)
        for image, row in zip(self.iter_bytes(indices), out, strict=True):
            row[:] = np.frombuffer(image, HALF).reshape(row.shape)
        return out

    def iter_bytes(self, indices: Sequence[int] | np.ndarray) -> Iterator[memoryview]:
        """Yield the bytes of the images at `indices`, in a buffer used again; raise as `read`.

        Each is valid until the next is asked for. Only then is its checksum compared, in case the
        file is damaged while it is used: what was made of an image is right if neither the next
        one nor the end raises. The disk is asked for many at once, which is faster.
        """
        buffer = memoryview(bytearray(self._size))

        def copy(file: _OpenShard, begin: int) -> memoryview:
            file.read(buffer, begin)
            return buffer

        return self._checked(indices, copy)

    def iter_mapped_bytes(self, indices: Sequence[int]) -> Iterator[memoryview]:
        """Do what `iter_bytes` does, but show the system's own cache, which saves a copy.

        A disk that fails or a file that is cut off then kills the process, so only one that may be
        killed should call this. And a file that is repaired in place at that moment can hide what
        it was.
        """
        return self._checked(indices, lambda file, begin: file.mapped[begin : begin + self._size])

    def _checked(
        self, indices: Sequence[int] | np.ndarray, view: "Callable[[_OpenShard, int], memoryview]"
    ) -> Iterator[memoryview]:
        for start in range(0, len(indices), TOGETHER):
            places = [self._place(index) for index in indices[start : start + TOGETHER]]
            for _, file, begin in places if hasattr(os, "posix_fadvise") else []:  # Linux has it
                os.posix_fadvise(file.handle, begin, self._size, os.POSIX_FADV_WILLNEED)
            for index, file, begin in places:
                try:
                    image = view(file, begin)
                except OSError as error:
                    raise self._wrong(index, file, f": {error.strerror}") from error
                yield image
                if isal_zlib.crc32(image) != self._checksums[index]:
                    raise self._wrong(index, file, " does not match its checksum")

    def shard(self, number: int) -> np.memmap:
        """Map one file into memory, (n, L, D) float16, by the manifest and not by its header."""
        shard = self.shards[number]
        path, begin = self.root / shard["name"], shard["bytes"] - shard["count"] * self._size
        return np.memmap(
            intact(path), HALF, "r", begin, (shard["count"], self.length, self.dim)
        )

    def verify(self) -> None:
        """Read every byte of the split's files and compare it with the manifest.

        A bar shows the progress, if the standard error is a terminal.

        Raises:
            StoreError: at the first fault; the sentence names the file and the image.
        """
        shards = tqdm(self.shards, desc=f"verify {self.split}", unit="file", disable=None)
        for shard, start in zip(shards, self.starts, strict=False):
            path = self.root / shard["name"]
            if sha256(path) != shard["sha256"]:
                self.read(range(start, start + shard["count"]))  # names the image that is damaged
                raise StoreError(f"{path}: its header is wrong: restore the file")

    def _wrong(self, index: int, file: "_OpenShard", what: str) -> StoreError:
        return StoreError(f"{file.path}: image {self.ids[index]!r}{what}")

    def _place(self, index: int) -> tuple[int, "_OpenShard", int]:  # image, file, first byte
        if not 0 <= index < len(self.ids):
            raise IndexError(f"{self.root}: split {self.split!r} has {len(self)} images")
        number = bisect_right(self.starts, index) - 1
        after = self.starts[number + 1] - index  # images from this one to the end of the file
        return index, self._open(number), self.shards[number]["bytes"] - after * self._size


def _open_at_once() -> int:
    """How many files a store keeps open, at most 256.

    A process may have 256 files open on macOS and 1,024 on Linux, if nobody has changed that. There
    are several stores in it, and a file that is mapped counts twice.
    """
    if not hasattr(resource, "RLIMIT_NOFILE"):
        return 64
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return 256 if most == resource.RLIM_INFINITY else max(1, min(256, most // 8))


class _OpenShard:
    """A file that is closed when nothing refers to it any more."""

    def __init__(self, path: Path):
        binary = getattr(os, "O_BINARY", 0)  # Windows changes the ends of lines otherwise
        self.path, self.handle = path, os.open(intact(path), os.O_RDONLY | binary)
        self._lock = threading.Lock()
        weakref.finalize(self, os.close, self.handle)

    def read(self, buffer: memoryview, begin: int) -> None:
        """Fill the buffer from the byte `begin` on; what the file lacks stays unchanged."""
        if hasattr(os, "preadv"):
            os.preadv(self.handle, [buffer], begin)
        else:  # Windows: a file has one position, so one thread at a time
            with self._lock:
                os.lseek(self.handle, begin, os.SEEK_SET)
                found = os.read(self.handle, len(buffer))
            buffer[: len(found)] = found

    @functools.cached_property
    def mapped(self) -> memoryview:
        return memoryview(mmap.mmap(self.handle, 0, access=mmap.ACCESS_READ))


def splits(store: Path | str) -> list[str]:
    """List the splits of a store's folder; raise as `FeatureStore` does."""
    return list(read_manifest(Path(store))["splits"])


def source_of(store: Path | str) -> dict[str, Any]:
    """Say what the store in a folder was prepared from; raise as `FeatureStore` does."""
    return read_manifest(Path(store))["source"]


def splits_like(store: Path | str, name: str) -> list[str]:
    """List the splits that a name may mean, "val" dev or val2017; arguments as in `find_split`."""
    there = splits(store)
    if name in there:
        return [name]
    meant = ALIASES.get(name.casefold())
    return [split for split in there if meant and usual_split(split) == meant]


def find_split(store: Path | str, name: str) -> str:
    """Find the split of a store that has this name, or another of the same meaning.

    Args:
        store: folder of the store.
        name: of a split, exact or common.

    Raises:
        StoreError: there is none, or there are several; the sentence lists them.
    """
    found = splits_like(store, name)
    if len(found) > 1:
        raise StoreError(f"{store} has several splits like {name!r}: choose {' or '.join(found)}")
    if not found:
        there = ", ".join(splits(store))
        hint = "; labkit prepare --make-splits divides it" if there == "all" else ""
        raise StoreError(f"{store} has no split {name!r}: it has {there}{hint}")
    return found[0]
