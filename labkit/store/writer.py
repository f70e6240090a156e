"""Writing a feature store, so that an interruption at any moment costs at most one shard.

Every file is written under another name, flushed to the disk and then renamed: a file with its
final name is complete. A shard counts once the draft of the manifest lists it. The format is
described in `labkit.store.shards`.
"""

import hashlib
import json
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from isal import isal_zlib

from labkit.files import (
    atomic_write,
    fingerprint,
    naming,
    only_one,
    own_folder,
    read_json,
    sha256,
    write_json,
)
from labkit.store.manifest import FORMAT, MANIFEST, StoreError, is_record, read_records
from labkit.store.shards import HALF

DRAFT = "unfinished.json"  # the manifest's name until the store is finished
PART = re.compile(rf"\.part-(\d+-)?([\w.-]+-\d{{5}}\.(npy|jsonl)|{MANIFEST}|{DRAFT})", re.ASCII)


class StoreWriter:
    """Writes a store, image by image; the end of its `with` block writes the manifest.

    If the block raises or the process is killed, the finished shards stay, listed in a draft of the
    manifest. The next writer with the same settings resumes there: ask what is `done` and add the
    rest in the same order. Then the files are the same, byte for byte, as if never interrupted.
    Until it ends, no other process can write the store.

    Args:
        store: folder of the store, made if absent. It holds nothing else.
        length: L, annotation vectors of an image.
        dim: D, numbers in each.
        encoder: what makes the features, JSON-able.
        source: what data they are made of, JSON-able.
        images_per_shard: 1,000 suits most; 10,000 gives the nine files of COCO's train2014.

    Attributes:
        root: folder of the store.

    Raises:
        FileExistsError: the folder holds a finished store, or other files, or another process
            writes it.
        StoreError: it holds an unfinished store with other settings.
        ValueError: a number is less than 1.
    """

    def __init__(self, store: Path | str, length: int, dim: int, encoder: dict[str, Any],
                 source: dict[str, Any], images_per_shard: int = 1000):  # fmt: skip
        if min(length, dim, images_per_shard) < 1:
            raise ValueError("length, dim and images_per_shard must be at least 1")
        if not isinstance(encoder, dict) or not isinstance(source, dict):
            raise ValueError("encoder and source are facts by name: give a dictionary for each")
        self.root = own_folder(store, MANIFEST, DRAFT)
        self._lock = ExitStack()
        self._growing: dict[str, _GrowingShard] = {}
        self._lock.enter_context(only_one(self.root))
        try:
            self._begin(length, dim, encoder, source, images_per_shard)
        except BaseException:
            self._lock.close()
            raise

    def _begin(self, length: int, dim: int, encoder: dict[str, Any], source: dict[str, Any],
               images_per_shard: int) -> None:  # fmt: skip
        """Resume the draft of the manifest, or begin one."""
        if (self.root / MANIFEST).exists():
            raise FileExistsError(f"{self.root} holds a finished store: remove it or name another")
        settings = {"format": FORMAT, "dtype": HALF.str, "length": length, "dim": dim}
        settings |= {"images_per_shard": images_per_shard, "encoder": encoder, "source": source}
        settings = json.loads(json.dumps(settings))
        draft = self.root / DRAFT
        self._draft = read_json(draft) if draft.exists() else settings | {"splits": {}}
        if not isinstance(self._draft, dict) or "splits" not in self._draft:
            raise StoreError(f"{draft} is no draft of a store's manifest: name another folder")
        if empty := self._draft["splits"] == {}:  # nothing was made with its settings
            self._draft = settings | {"splits": {}}
        if other := [name for name in settings if self._draft.get(name) != settings[name]]:
            raise StoreError(f"{draft} was begun with another {other[0]}: remove the folder")
        for file in self.root.iterdir():
            if PART.fullmatch(file.name):  # what a killed process left behind
                file.unlink()
        if empty:  # before any other file: it marks the folder as a store's
            with self._naming(draft):
                write_json(draft, self._draft)
        try:
            self._ids = {id for split in self._draft["splits"] for id in self.done(split)}
        except (AttributeError, KeyError, TypeError):
            raise StoreError(f"{draft} is damaged: remove the folder") from None

    def done(self, split: str) -> set[str]:
        """List the ids of a split's images that are in finished shards."""
        records = (read_records(self.root, shard) for shard in self._shards(split))
        return {record["id"] for some in records for record in some}

    def _shards(self, split: str) -> list[dict[str, Any]]:
        return self._draft["splits"].get(split, {"shards": []})["shards"]

    def add(self, split: str, id: str, features: np.ndarray, captions: Sequence[str],
            boxes: Any = None, facts: dict[str, Any] | None = None) -> None:  # fmt: skip
        """Add one image.

        Args:
            split: letters, digits, `.`, `_` or `-`.
            id: unique in the store.
            features: (L, D), any float type, stored as float16.
            captions: any number of them, or none.
            boxes: for each caption, for each word, a box or None; JSON-able.
            facts: what else is known; JSON-able.

        Raises:
            ValueError: a wrong shape, a number that is not finite in float16, an id added before,
                or texts, boxes or facts that cannot become JSON.
            OSError: a file could not be written; the message names it.
        """
        if not re.fullmatch(r"\w[\w.-]*", split, re.ASCII):
            raise ValueError(f"split {split!r}: use letters, digits, '.', '_' and '-'")
        if id in self._ids:
            raise ValueError(f"image {id!r} was added before")
        if isinstance(captions, str) or not all(isinstance(text, str) for text in captions):
            raise ValueError(f"image {id!r}: captions must be a list of strings, not a string")
        half = self._half(id, features)
        record = {"id": id, "crc32": isal_zlib.crc32(half), "captions": [*captions]}
        record |= {"boxes": boxes} if boxes is not None else {}
        record |= {"facts": facts} if facts else {}
        line = self._line(record)
        if not is_record(json.loads(line)):
            raise ValueError(f"image {id!r}: give an id of letters, boxes as a list, facts by name")
        path = self.root / f"{split}-{len(self._shards(split)):05d}.npy"
        with self._naming(path):
            if split not in self._growing:
                self._growing[split] = _GrowingShard(path, self._draft)
            self._growing[split].add(half, line)
        self._ids.add(id)
        if len(self._growing[split].lines) == self._draft["images_per_shard"]:
            self._finish_shard(split)

    def _line(self, record: dict[str, Any]) -> bytes:
        try:
            return json.dumps(record, ensure_ascii=False).encode() + b"\n"
        except (TypeError, ValueError) as error:  # an object, or half a character of UTF-16
            raise ValueError(f"image {record['id']!r} cannot become JSON: {error}") from error

    def _half(self, id: str, features: np.ndarray) -> np.ndarray:
        shape = (self._draft["length"], self._draft["dim"])
        if features.shape != shape or features.dtype.kind != "f":
            found = f"{features.dtype} {features.shape}"
            raise ValueError(f"image {id!r}: features must be floats {shape}, found {found}")
        with np.errstate(over="ignore"):
            half = np.ascontiguousarray(features, dtype=HALF)
        if not np.isfinite(half).all():
            raise ValueError(f"image {id!r}: features hold NaN, infinity or more than 65,504")
        return half

    def _finish_shard(self, split: str) -> None:
        with self._naming(self._growing[split].path):
            entry = self._growing[split].finish()
            self._draft["splits"].setdefault(split, {"shards": []})["shards"].append(entry)
            write_json(self.root / DRAFT, self._draft)
            del self._growing[split]

    @contextmanager
    def _naming(self, path: Path) -> Iterator[None]:
        """Name the file and close all shards if a write fails: no image may follow half of one."""
        try:
            with naming(path):
                yield
        except OSError:
            self._drop()
            raise

    def _drop(self) -> None:
        for shard in self._growing.values():
            shard.drop()
        self._lock.close()

    def finish(self) -> None:
        """Close the last shards and write the manifest: only now does the store exist.

        Raises:
            ValueError: no image was added.
            OSError: a file could not be written; the message names it.
        """
        for split in list(self._growing):
            self._finish_shard(split)
        if not self._draft["splits"]:
            raise ValueError(f"{self.root}: no image was added, so there is no store to finish")
        for split in self._draft["splits"].values():
            split["count"] = sum(shard["count"] for shard in split["shards"])
            split["fingerprint"] = fingerprint(split["shards"])
        with self._naming(self.root / MANIFEST):
            manifest = self._draft | {"fingerprint": fingerprint(self._draft)}
            write_json(self.root / MANIFEST, manifest)
        (self.root / DRAFT).unlink(missing_ok=True)
        self._lock.close()

    def __enter__(self) -> "StoreWriter":
        return self

    def __exit__(self, kind: type | None, *rest: object) -> None:
        if kind is None and not (self.root / MANIFEST).exists():
            self.finish()
        self._drop()


class _GrowingShard:
    """A shard that images are added to; each is written at once, none is kept in memory."""

    def __init__(self, path: Path, settings: dict[str, Any]):
        self.path, self.part = path, path.with_name(f".part-{path.name}")
        self.lines: list[bytes] = []
        self._shape = (settings["images_per_shard"], settings["length"], settings["dim"])
        self._file = open(self.part, "wb")  # noqa: SIM115 (closed by finish or drop)
        self._write_header(self._shape)

    def _write_header(self, shape: tuple[int, ...]) -> None:
        """NumPy leaves room in a header, so that it can be written again with another count."""
        header = {"descr": HALF.str, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(self._file, header)

    def add(self, half: np.ndarray, line: bytes) -> None:
        self._file.write(half.data)
        self.lines.append(line)

    def finish(self) -> dict[str, Any]:
        """Give both files their names; returns the shard's entry in the manifest."""
        text = b"".join(self.lines)
        self._file.seek(0)
        self._write_header((len(self.lines), *self._shape[1:]))
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        os.replace(self.part, self.path)
        with atomic_write(self.path.with_suffix(".jsonl")) as part:
            part.write_bytes(text)
        entry = {"name": self.path.name, "count": len(self.lines)}
        entry |= {"bytes": self.path.stat().st_size, "sha256": sha256(self.path)}
        records = {"bytes": len(text), "sha256": hashlib.sha256(text).hexdigest()}
        return entry | {"records": records}

    def drop(self) -> None:
        with suppress(OSError):
            self._file.close()
        self.part.unlink(missing_ok=True)
