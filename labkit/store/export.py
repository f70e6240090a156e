"""Hand a split of a feature store to other tools, for trainings that outgrow one machine.

The samples are the same: id, captions, features (L, D) in float16, in the store's order, every one
compared with its checksum on the way. `webdataset` and `mds` (mosaicml-streaming) need the extra
`labkit[export]`; `safetensors` needs nothing more.
"""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from tqdm import tqdm

from labkit.files import atomic_write, writable_folder
from labkit.store.shards import FeatureStore


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


def export(root: Path | str, split: str, to: str, out: Path | str, progress: bool = True) -> Path:
    """Write a split in another tool's format.

    Args:
        root: folder of the store.
        split: what to export.
        to: "webdataset", "mds" or "safetensors".
        out: folder to make; it appears when it is complete. Until then it is written beside that
            place, into a folder of its own whose name begins with ``.part-``.
        progress: show a bar.

    Returns:
        `out`.

    Raises:
        ValueError: there is no such format; StoreError: something in the store is damaged.
        FileExistsError: `out` exists.
        ModuleNotFoundError: the other tool is not installed.
    """
    if to not in FORMATS:
        raise ValueError(f"cannot export to {to!r}: choose one of {', '.join(FORMATS)}")
    store, out = FeatureStore(root, split), Path(out)
    if os.path.lexists(out):
        raise FileExistsError(f"{out} exists: remove it or name another folder")
    with TemporaryDirectory(prefix=".part-", dir=writable_folder(out.parent)) as beside:
        part = Path(beside) / "export"
        part.mkdir()
        try:
            with tqdm(total=len(store), desc="export", unit="image", disable=not progress) as bar:
                for _ in FORMATS[to](store, part):
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
        with TarWriter(str(folder / Path(shard["name"]).with_suffix(".tar"))) as tar:
            for index in range(begin, begin + shard["count"]):
                said = {"id": store.ids[index], "captions": store.captions[index]}
                tar.write({"__key__": f"{index:09d}", "npy": store.read([index])[0], "json": said})
                yield


def _mds(store: FeatureStore, folder: Path) -> Iterator[None]:
    """The columns `id`, `captions` and `features`; its own shards and checksums."""
    from streaming import MDSWriter

    features = f"ndarray:float16:{store.length},{store.dim}"
    columns = {"id": "str", "captions": "json", "features": features}
    with MDSWriter(out=str(folder), columns=columns, hashes=["xxh64"]) as writer:
        for index, (id, captions) in enumerate(zip(store.ids, store.captions, strict=True)):
            said = {"id": id, "captions": list(captions)}
            writer.write(said | {"features": store.read([index])[0]})
            yield


def _safetensors(store: FeatureStore, folder: Path) -> Iterator[None]:
    """A file for each shard: `features` (n, L, D); ids and captions as JSON in its metadata."""
    from safetensors.numpy import save_file

    for shard, begin in zip(store.shards, store.starts, strict=False):
        indices = range(begin, begin + shard["count"])
        said = {"ids": json.dumps([store.ids[index] for index in indices])}
        said["captions"] = json.dumps([store.captions[index] for index in indices])
        with atomic_write(folder / Path(shard["name"]).with_suffix(".safetensors")) as path:
            save_file({"features": store.read(indices)}, path, metadata=said)
        yield from (None for _ in indices)


FORMATS: dict[str, Callable[[FeatureStore, Path], Iterator[None]]] = {
    "webdataset": _webdataset,
    "mds": _mds,
    "safetensors": _safetensors,
}
