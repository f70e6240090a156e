"""Write a split of a feature store for other tools, for training that outgrows one machine.

The samples are the same: id, captions, features (L, D) in float16, in the store's order, each
compared with its checksum. `webdataset` and `mds` (mosaicml-streaming) need the extra
`labkit[export]`; `safetensors` needs nothing more.
"""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from tqdm import tqdm

from labkit.files import atomic_write, writable_folder
from labkit.store.shards import FeatureStore, find_split


def shard_sizes(count: int, per_shard: int) -> list[int]:
    """Count the images of each file: all full but the last.

    COCO's train2014 at 10,000 a file, as in the lab of 2017: eight of 10,000 and one of 2,783.

    Args:
        count: images in all, at least 0.
        per_shard: images in a full file, at least 1.

    Raises:
        ValueError: a number is out of range.
    """
    if count < 0 or per_shard < 1:
        raise ValueError(f"{count} images cannot be put into files of {per_shard}")
    return [min(per_shard, count - begin) for begin in range(0, count, per_shard)]


def export(store: Path | str, split: str, to: str, out: Path | str) -> Path:
    """Write a split in another tool's format; a bar shows the progress on a terminal.

    Args:
        store: folder of the store.
        split: name of the split, exact or common, see `labkit.store.shards.find_split`.
        to: "webdataset", "mds" or "safetensors".
        out: folder to make; it appears when it is complete. Until then the files are written beside
            it, in a folder whose name begins with ``.part-``.

    Returns:
        `out`.

    Raises:
        ValueError: there is no such format.
        StoreError: something in the store is damaged, or there is no such split.
        FileExistsError: `out` exists.
        ModuleNotFoundError: the other tool is not installed.
    """
    if to not in FORMATS:
        raise ValueError(f"cannot export to {to!r}: choose one of {', '.join(FORMATS)}")
    features, out = FeatureStore(store, find_split(store, split)), Path(out)
    if os.path.lexists(out):
        raise FileExistsError(f"{out} exists: remove it or name another folder")
    with TemporaryDirectory(prefix=".part-", dir=writable_folder(out.parent)) as beside:
        part = Path(beside) / "export"
        part.mkdir()
        try:
            with tqdm(total=len(features), desc="export", unit="image", disable=None) as bar:
                for _ in FORMATS[to](features, part):
                    bar.update()
        except ModuleNotFoundError as error:
            needs = f"export to {to} needs {error.name}: pip install 'labkit[export]'"
            raise ModuleNotFoundError(needs, name=error.name) from error
        os.replace(part, out)
    return out


def _webdataset(store: FeatureStore, folder: Path) -> Iterator[None]:
    """A tar for each shard; `<number>.npy` beside `<number>.json` with id and captions."""
    from webdataset import TarWriter

    for shard, begin in zip(store.shards, store.starts, strict=False):
        path = folder / Path(shard["name"]).with_suffix(".tar")
        with open(path, "wb") as file, TarWriter(file) as tar:  # it reads some names as addresses
            for index in range(begin, begin + shard["count"]):
                record = {"id": store.ids[index], "captions": store.captions[index]}
                sample = {"__key__": f"{index:09d}", "npy": store.read([index])[0]}
                tar.write(sample | {"json": record})
                yield


def _mds(store: FeatureStore, folder: Path) -> Iterator[None]:
    """The columns `id`, `captions` and `features`; its own shards and checksums."""
    from streaming import MDSWriter

    features = f"ndarray:float16:{store.length},{store.dim}"
    columns = {"id": "str", "captions": "json", "features": features}
    with MDSWriter(out=str(folder), columns=columns, hashes=["xxh64"]) as writer:
        for index, (id, captions) in enumerate(zip(store.ids, store.captions, strict=True)):
            record = {"id": id, "captions": list(captions)}
            writer.write(record | {"features": store.read([index])[0]})
            yield


def _safetensors(store: FeatureStore, folder: Path) -> Iterator[None]:
    """A file for each shard: `features` (n, L, D); ids and captions as JSON in its metadata."""
    from safetensors.numpy import save_file

    for shard, begin in zip(store.shards, store.starts, strict=False):
        indices = range(begin, begin + shard["count"])
        record = {"ids": json.dumps([store.ids[index] for index in indices])}
        record["captions"] = json.dumps([store.captions[index] for index in indices])
        with atomic_write(folder / Path(shard["name"]).with_suffix(".safetensors")) as path:
            save_file({"features": store.read(indices)}, path, metadata=record)
        yield from (None for _ in indices)


FORMATS: dict[str, Callable[[FeatureStore, Path], Iterator[None]]] = {
    "webdataset": _webdataset,
    "mds": _mds,
    "safetensors": _safetensors,
}
