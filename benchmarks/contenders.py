"""The loaders that are compared: how each writes the same images, and how it reads an epoch.

Every contender delivers shuffled batches of float32 (B, L, D) on the CPU, and gets what helps it:
a tensor to convert into that is allocated once, and the number of worker processes that was fastest
for it on two cores (none, for all of the others: workers pass a batch on by one more copy).
"""

import json
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from labkit.store.loader import Loader
from labkit.store.shards import FeatureStore
from labkit.store.shuffle import ShuffledOrder
from labkit.store.writer import StoreWriter

LENGTH, DIM, BATCH = 196, 512, 40  # the paper's annotation vectors
PER_SHARD = 1000
Epoch = Callable[[int], Iterator[Tensor]]

_noise = np.random.default_rng(0).standard_normal((64, LENGTH, DIM)).astype(np.float16)


def image(number: int) -> np.ndarray:
    """Make features (L, D) float16 of noise that contain their own number, see `numbers_of`."""
    features = _noise[number % 64].copy()
    features[0, :2] = number % 1000, number // 1000  # float16 has all integers up to 2048
    return features


def marks_of(features: Tensor) -> Tensor:
    """Keep what gives the numbers of a batch's images, (B, 2); the rest may be overwritten."""
    return features[:, 0, :2].clone()


def numbers_of(marks: Tensor) -> np.ndarray:
    """Read the images' numbers."""
    return (marks[:, 0] + 1000 * marks[:, 1]).numpy().astype(np.int64)


def into(ready: Tensor, half: Tensor | np.ndarray) -> Tensor:
    """Convert a batch into a tensor that is used for every batch."""
    half = torch.as_tensor(half)
    return ready[: len(half)].copy_(half)


def float_batch() -> Tensor:
    """Allocate the tensor that a contender converts into."""
    return torch.empty(BATCH, LENGTH, DIM)


# -------------------------------------------------------------------- files of this project


def write_store(store: Path, count: int, per_shard: int = PER_SHARD) -> None:
    """Write a feature store; several contenders read its ordinary `.npy` files."""
    with StoreWriter(store, LENGTH, DIM, {"name": "noise"}, {"images": count}, per_shard) as writer:
        for number in range(count):
            writer.add("train", str(number), image(number), ["a caption"])


def streamed(store: Path) -> Epoch:
    """Read with this project's loader, as it is."""
    loader = Loader(FeatureStore(store, "train"), BATCH)

    def run(epoch: int) -> Iterator[Tensor]:
        loader.set_epoch(epoch)
        return (batch.features for batch in loader)

    return run


def shards_of(store: Path) -> tuple[list[Path], int]:
    """Find a store's `.npy` files, and count their images."""
    shards = json.loads((store / "manifest.json").read_text())["splits"]["train"]["shards"]
    return [store / shard["name"] for shard in shards], sum(shard["count"] for shard in shards)


def batches(count: int, epoch: int) -> Iterator[np.ndarray]:
    """Shuffle numbers and cut them into batches."""
    order = ShuffledOrder(count, 0, epoch)(np.arange(count))
    return (order[begin : begin + BATCH] for begin in range(0, count, BATCH))


def memory_mapped(store: Path) -> Epoch:
    """Read with `np.load(mmap_mode="r")`, in one random order of all images."""
    paths, count = shards_of(store)
    maps = [np.load(path, mmap_mode="r") for path in paths]
    size, ready = len(maps[0]), float_batch()
    half = np.empty((BATCH, LENGTH, DIM), np.float16)

    def run(epoch: int) -> Iterator[Tensor]:
        for numbers in batches(count, epoch):
            for row, number in enumerate(numbers.tolist()):
                half[row] = maps[number // size][number % size]
            yield into(ready, half[: len(numbers)])

    return run


def one_shard(store: Path) -> Epoch:
    """Read as the lab of 2017 did: a file in memory at a time, its images shuffled."""
    paths, _ = shards_of(store)
    ready = float_batch()

    def run(epoch: int) -> Iterator[Tensor]:
        for number in ShuffledOrder(len(paths), 0, epoch)(np.arange(len(paths))).tolist():
            shard = np.load(paths[number])
            for rows in batches(len(shard), epoch):
                yield into(ready, shard[rows])

    return run


def in_memory(store: Path) -> Epoch:
    """Read everything first; that time is part of the cold epoch."""
    paths, count = shards_of(store)
    features = torch.empty(count, LENGTH, DIM, dtype=torch.float16)
    begin = 0
    for path in paths:
        shard = np.load(path, mmap_mode="r")
        features[begin : begin + len(shard)].numpy()[:] = shard
        begin += len(shard)
    ready, half = float_batch(), torch.empty(BATCH, LENGTH, DIM, dtype=torch.float16)

    def run(epoch: int) -> Iterator[Tensor]:
        for numbers in batches(count, epoch):
            some = half[: len(numbers)]
            torch.index_select(features, 0, torch.from_numpy(numbers), out=some)
            yield into(ready, some)

    return run


# --------------------------------------------------------------------- files of other projects


def write_safetensors(folder: Path, count: int) -> None:
    """Write a tensor (n, L, D) into each file."""
    from safetensors.numpy import save_file

    folder.mkdir(parents=True)
    for begin in range(0, count, PER_SHARD):
        shard = np.stack([image(n) for n in range(begin, min(begin + PER_SHARD, count))])
        save_file({"features": shard}, folder / f"{begin // PER_SHARD:05d}.safetensors")


def safetensors(folder: Path) -> Epoch:
    """Read slices of open files, in one random order of all images."""
    from safetensors import safe_open

    files = [safe_open(path, "pt") for path in sorted(folder.glob("*.safetensors"))]
    slices = [file.get_slice("features") for file in files]
    count, size = sum(s.get_shape()[0] for s in slices), slices[0].get_shape()[0]
    ready = float_batch()

    def run(epoch: int) -> Iterator[Tensor]:
        for numbers in batches(count, epoch):
            for row, number in enumerate(numbers.tolist()):
                ready[row].copy_(slices[number // size][number % size])
            yield ready[: len(numbers)]

    return run


def write_webdataset(folder: Path, count: int) -> None:
    """Write tars of raw numbers."""
    folder.mkdir(parents=True)
    for begin in range(0, count, PER_SHARD):
        with tarfile.open(folder / f"{begin // PER_SHARD:05d}.tar", "w") as tar:
            for number in range(begin, min(begin + PER_SHARD, count)):
                content = image(number).tobytes()
                entry = tarfile.TarInfo(f"{number:06d}.f16")
                entry.size = len(content)
                tar.addfile(entry, BytesIO(content))


def webdataset(folder: Path) -> Epoch:
    """Read with its usual shuffle: the files, and a window of 1,000 samples."""
    import webdataset as wds

    urls, ready = [str(path) for path in sorted(folder.glob("*.tar"))], float_batch()

    def run(epoch: int) -> Iterator[Tensor]:
        samples = wds.WebDataset(urls, shardshuffle=len(urls), seed=epoch).shuffle(1000)
        decoded = samples.map(lambda sample: np.frombuffer(sample["f16"], np.float16))
        for half in decoded.batched(BATCH, collation_fn=np.stack):
            yield into(ready, half.reshape(-1, LENGTH, DIM))

    return run


def write_mds(folder: Path, count: int) -> None:
    """Write mosaicml-streaming's format."""
    from streaming import MDSWriter

    columns = {"features": f"ndarray:float16:{LENGTH},{DIM}"}
    with MDSWriter(out=str(folder), columns=columns) as writer:
        for number in range(count):
            writer.write({"features": image(number)})


def mosaicml(folder: Path) -> Epoch:
    """Read with its own shuffle."""
    from streaming import StreamingDataset
    from streaming.base.util import clean_stale_shared_memory

    clean_stale_shared_memory()
    data = StreamingDataset(local=str(folder), shuffle=True, batch_size=BATCH)
    ready = float_batch()

    def run(epoch: int) -> Iterator[Tensor]:
        some = []
        for sample in data:
            some.append(sample["features"])
            if len(some) == BATCH:
                yield into(ready, np.stack(some))
                some = []
        if some:
            yield into(ready, np.stack(some))

    return run


def write_litdata(folder: Path, count: int) -> None:
    """Write chunks of 64 MB, its default."""
    from litdata.streaming.writer import BinaryWriter

    folder.mkdir(parents=True)
    writer = BinaryWriter(str(folder), chunk_bytes="64MB")
    for number in range(count):
        writer.add_item(number, {"features": torch.from_numpy(image(number))})
    writer.done()
    writer.merge()


def litdata(folder: Path) -> Epoch:
    """Read with its own shuffle and its own data loader."""
    from litdata import StreamingDataLoader, StreamingDataset

    loader = StreamingDataLoader(
        StreamingDataset(str(folder), shuffle=True), batch_size=BATCH, num_workers=0
    )
    ready = float_batch()
    return lambda epoch: (into(ready, batch["features"]) for batch in loader)


@dataclass(frozen=True)
class Contender:
    """What it reads, what writes that, and the package it needs."""

    read: Callable[[Path], Epoch]
    files: str = "store"
    needs: str = "numpy"


WRITERS = {
    "store": write_store,
    "safetensors": write_safetensors,
    "webdataset": write_webdataset,
    "mosaicml-streaming": write_mds,
    "litdata": write_litdata,
}
CONTENDERS = {
    "labkit": Contender(streamed),
    "memory-mapped": Contender(memory_mapped),
    "one shard": Contender(one_shard),
    "in memory": Contender(in_memory),
    "safetensors": Contender(safetensors, "safetensors", "safetensors"),
    "webdataset": Contender(webdataset, "webdataset", "webdataset"),
    "mosaicml-streaming": Contender(mosaicml, "mosaicml-streaming", "streaming"),
    "litdata": Contender(litdata, "litdata", "litdata"),
}
