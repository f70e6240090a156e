"""Three other loaders, to compare with `labkit.store.loader.Loader`.

All are made as `SomeLoader(store, batch_size, seed)`. Each epoch delivers every image that has a
caption once, with one caption, as `labkit.store.loader.Batch`. So any can replace another:

    for name, SomeLoader in LOADERS.items():
        with peak_memory() as peak:
            for batch in SomeLoader(store, 40): ...

For torch's own `DataLoader` there is `StoreDataset`.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from labkit.store.loader import Batch, Loader
from labkit.store.memory import memory_left
from labkit.store.shards import HALF, FeatureStore
from labkit.store.shuffle import ShuffledOrder


class SimpleLoader(ABC):
    """What the three have in common: iterating delivers an epoch, then the next one begins.

    Args:
        store: where the features are.
        batch_size: images of a batch; the last one may be smaller.
        seed: chooses the order, with the epoch.

    Attributes:
        epoch: the current epoch, from 0.
    """

    def __init__(self, store: FeatureStore, batch_size: int, seed: int = 0):
        self.store, self.batch_size, self.seed, self.epoch = store, batch_size, seed, 0
        self.images = np.flatnonzero([len(captions) > 0 for captions in store.captions])

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration delivers: 0, 1, 2, ..."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[Batch]:
        """Deliver every image that has a caption once."""
        yield from self._batches(self.epoch)
        self.epoch += 1

    @abstractmethod
    def _batches(self, epoch: int) -> Iterator[Batch]:
        """Deliver the batches of an epoch."""

    def _shuffled(self, images: np.ndarray, epoch: int) -> Iterator[np.ndarray]:
        """Give all images in a random order, a batch at a time."""
        order = images[ShuffledOrder(len(images), self.seed, epoch)(np.arange(len(images)))]
        return (order[k : k + self.batch_size] for k in range(0, len(order), self.batch_size))

    def _batch(self, indices: np.ndarray, features: np.ndarray, epoch: int) -> Batch:
        """Add one caption of each image, another each epoch; features (B, L, D) become float32."""
        counts = np.array([len(self.store.captions[index]) for index in indices])
        rows, weight = np.arange(len(indices)), torch.ones(len(indices))
        ready = torch.from_numpy(features).float()
        return Batch(indices, rows, (epoch + indices) % counts, weight, ready)


class InMemoryLoader(SimpleLoader):
    """Everything is read before the first batch: fast after that, if it fits.

    Raises:
        MemoryError: it does not fit, as found before anything is read.
    """

    def __init__(self, store: FeatureStore, batch_size: int, seed: int = 0):
        super().__init__(store, batch_size, seed)
        need, left = len(store) * store.length * store.dim * HALF.itemsize, memory_left()
        if need > left:
            raise MemoryError(
                f"{store.root}: {len(store):,} images take {need / 2**20:,.0f} MiB of memory, and "
                f"{left / 2**20:,.0f} MiB are left: read them one shard at a time, or stream them"
            )
        self.features = store.read(range(len(store)))  # (N, L, D)

    def _batches(self, epoch: int) -> Iterator[Batch]:
        for indices in self._shuffled(self.images, epoch):
            yield self._batch(indices, self.features[indices], epoch)


class OneShardLoader(SimpleLoader):
    """One file is in memory at a time, as in the lab of 2017; files and their images are shuffled.

    Images of one file stay together within an epoch, so this is not a random order of all of them.
    Every file ends with a short batch. No checksum is compared.
    """

    def _batches(self, epoch: int) -> Iterator[Batch]:
        store, count = self.store, len(self.store.shards)
        for number in ShuffledOrder(count, self.seed, epoch)(np.arange(count)):
            first, after = store.starts[number], store.starts[number + 1]
            mine = self.images[(self.images >= first) & (self.images < after)]
            if not len(mine):
                continue
            shard = np.array(store.shard(number))
            for indices in self._shuffled(mine, epoch):
                yield self._batch(indices, shard[indices - first], epoch)


class MemoryMappedLoader(SimpleLoader):
    """The files look like arrays in memory; the system reads a page when it is touched.

    The memory it takes is the system's to give and to take back, and hard to see: not the process's
    own, but `mapped`. No checksum is compared.
    """

    def __init__(self, store: FeatureStore, batch_size: int, seed: int = 0):
        super().__init__(store, batch_size, seed)
        self.shards = [store.shard(number) for number in range(len(store.shards))]

    def _batches(self, epoch: int) -> Iterator[Batch]:
        for indices in self._shuffled(self.images, epoch):
            numbers = np.searchsorted(self.store.starts, indices, side="right") - 1
            places = zip(numbers, indices - np.take(self.store.starts, numbers), strict=True)
            features = np.stack([self.shards[number][row] for number, row in places])
            yield self._batch(indices, features, epoch)


LOADERS: dict[str, type[SimpleLoader] | type[Loader]] = {
    "in memory": InMemoryLoader,
    "one shard": OneShardLoader,
    "memory-mapped": MemoryMappedLoader,
    "streamed": Loader,
}


class StoreDataset(Dataset[Any]):
    """A store for torch's `DataLoader`: an item is (position, features (L, D) float16).

    A batch is read at once, and every checksum is compared. But workers pass it on through shared
    memory, which is one more copy of every number and costs more than the read: `Loader` needs no
    such copy.

    Args:
        store: where the features are.
    """

    def __init__(self, store: FeatureStore):
        self.store = store

    def __len__(self) -> int:
        return len(self.store)

    def __getitem__(self, index: int) -> tuple[int, Tensor]:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: list[int]) -> list[tuple[int, Tensor]]:
        return list(zip(indices, torch.from_numpy(self.store.read(indices)), strict=True))
