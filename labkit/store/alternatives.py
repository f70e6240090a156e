"""Four ways to feed a training from a feature store, to be compared.

All are made as `Way(store, batch_size, seed)`, and their `epoch(number)` delivers every image that
has a caption once, as `labkit.store.loader.Batch`, with one caption. So a line swaps one for another:

    for name, Way in STRATEGIES.items():
        with peak_memory() as peak:
            for batch in Way(store, 40).epoch(0): ...

`StoreDataset` is for whoever wants torch's own `DataLoader`.
"""

from collections.abc import Iterator
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from labkit.store.loader import Batch, Loader
from labkit.store.memory import memory_left
from labkit.store.shards import HALF, FeatureStore
from labkit.store.shuffle import ShuffledOrder


class Strategy(Protocol):
    """What all the ways have in common."""

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """Deliver every image that has a caption once."""


def _batch(store: FeatureStore, indices: np.ndarray, features: np.ndarray, epoch: int) -> Batch:
    """Tell one caption of each image, another each epoch; features (B, L, D) become float32."""
    told = np.array([len(store.captions[index]) for index in indices])
    rows, weight = np.arange(len(indices)), torch.ones(len(indices))
    ready = torch.from_numpy(features).float()
    return Batch(indices, rows, (epoch + indices) % told, weight, ready)


def _with_captions(store: FeatureStore) -> np.ndarray:
    return np.flatnonzero([len(captions) > 0 for captions in store.captions])


def _shuffled(images: np.ndarray, seed: int, epoch: int, size: int) -> Iterator[np.ndarray]:
    """Give all images in a random order, `size` at a time."""
    order = images[ShuffledOrder(len(images), seed, epoch)(np.arange(len(images)))]
    return (order[begin : begin + size] for begin in range(0, len(order), size))


class InMemory:
    """Everything is read before the first batch: fast after that, if it fits.

    Raises:
        MemoryError: it does not fit; known before anything is read.
    """

    def __init__(self, store: FeatureStore, batch_size: int, seed: int = 0):
        need, left = len(store) * store.length * store.dim * HALF.itemsize, memory_left()
        if need > left:
            raise MemoryError(
                f"{store.root}: {len(store):,} images take {need / 2**20:,.0f} MiB of memory, and "
                f"{left / 2**20:,.0f} MiB are left: read them one shard at a time, or stream them"
            )
        self.store, self.batch_size, self.seed = store, batch_size, seed
        self.features = store.read(range(len(store)))  # (N, L, D)

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """Deliver the batches in a random order of all images."""
        for indices in _shuffled(_with_captions(self.store), self.seed, epoch, self.batch_size):
            yield _batch(self.store, indices, self.features[indices], epoch)


class OneShard:
    """One file is in memory at a time, as in the lab of 2017; files and their images are shuffled.

    Images of one file stay together within an epoch, so this is not a random order of all of them.
    Every file ends with a short batch. No checksum is compared.
    """

    def __init__(self, store: FeatureStore, batch_size: int, seed: int = 0):
        self.store, self.batch_size, self.seed = store, batch_size, seed

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """Deliver the batches, file by file."""
        store, images = self.store, _with_captions(self.store)
        for number in ShuffledOrder(len(store.shards), self.seed, epoch)(np.arange(len(store.shards))):
            first, after = store.starts[number], store.starts[number + 1]
            mine = images[(images >= first) & (images < after)]
            if not len(mine):
                continue
            shard = np.load(store.root / store.shards[number]["name"], allow_pickle=False)
            for indices in _shuffled(mine, self.seed, epoch, self.batch_size):
                yield _batch(store, indices, shard[indices - first], epoch)


class MemoryMapped:
    """The files look like arrays in memory; the system reads a page when it is touched.

    The memory it takes is the system's to give and to take back, and hard to see: not the process's
    own, but `mapped`. No checksum is compared.
    """

    def __init__(self, store: FeatureStore, batch_size: int, seed: int = 0):
        self.store, self.batch_size, self.seed = store, batch_size, seed
        self.shards = [
            np.load(store.root / shard["name"], mmap_mode="r", allow_pickle=False)
            for shard in store.shards
        ]

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """Deliver the batches in a random order of all images."""
        for indices in _shuffled(_with_captions(self.store), self.seed, epoch, self.batch_size):
            numbers = np.searchsorted(self.store.starts, indices, side="right") - 1
            places = zip(numbers, indices - np.take(self.store.starts, numbers), strict=True)
            features = np.stack([self.shards[number][row] for number, row in places])
            yield _batch(self.store, indices, features, epoch)


STRATEGIES: dict[str, type[Strategy]] = {
    "in memory": InMemory,
    "one shard": OneShard,
    "memory-mapped": MemoryMapped,
    "streamed": Loader,
}


class StoreDataset(Dataset):
    """A store for torch's `DataLoader`: an item is (position, features (L, D) float16).

    A batch is read at once, checksums and all. But workers hand it over through shared memory, one
    more copy of every number, which costs more than the read: `Loader` does without.
    """

    def __init__(self, store: FeatureStore):
        self.store = store

    def __len__(self) -> int:
        return len(self.store)

    def __getitem__(self, index: int) -> tuple[int, Tensor]:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: list[int]) -> list[tuple[int, Tensor]]:
        return list(zip(indices, torch.from_numpy(self.store.read(indices)), strict=True))
