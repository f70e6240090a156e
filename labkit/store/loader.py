"""Batches of a feature store: shuffled, checked, read ahead of the training, in little memory.

This module decides which samples a batch has. `labkit.store.reader_process` reads their features,
`labkit.store.shuffle` orders them.
"""

import os
import sys
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from labkit.store.reader_process import BatchReader
from labkit.store.shards import FeatureStore
from labkit.store.shuffle import ShuffledOrder

AHEAD = 64  # steps whose samples are drawn at once, which is faster
MODES = ("one", "all", "pairs", "none")


@dataclass
class Batch:
    """Some images, and captions that describe them.

    Attributes:
        indices: (B,) int64, the images' positions in the store, each once.
        rows: (C,) int64, for each caption the row of its image, in 0 ... B - 1.
        caption_numbers: (C,) int64, for each caption which of its image's captions it is.
        weight: (B,) float32, 1; or 0 for a sample that only keeps a rank busy.
        features: (B, L, D), overwritten when the next batch is taken: `clone` those you keep.
        step: (S,) int64, the samples of the step over all ranks, see `Loader.captions_of_step`.
    """

    indices: np.ndarray
    rows: np.ndarray
    caption_numbers: np.ndarray
    weight: Tensor
    features: Tensor
    step: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))


class Loader:
    """Delivers an epoch's batches from a store, to one of several processes.

    It is used like torch's `DataLoader`, and can resume in the middle of an epoch::

        loader = Loader(FeatureStore("stores/flickr8k", "train"), batch_size=40)
        if Path("state.json").exists():  # we were interrupted
            loader.load_state_dict(json.loads(Path("state.json").read_text()))
        for epoch in range(loader.epoch, 10):
            loader.set_epoch(epoch)
            for batch in loader:
                train_step(batch.features, batch.indices, batch.caption_numbers)
                Path("state.json").write_text(json.dumps(loader.state_dict()))

    Iterating delivers the rest of the current epoch. At its end the next epoch begins, in another
    order. After a `break` the next iteration begins with the batch after the last one delivered. An
    iteration ends with a RuntimeError once another has begun, or the position was changed.

    What a sample is, and how many images an epoch reads if each of N images has five captions:

    ========  =============================================  =======  ===========
    captions  a sample is                                    samples  images read
    ========  =============================================  =======  ===========
    "one"     an image with one caption, each epoch another  N        N
    "all"     an image with all its captions                 N        N
    "pairs"   a caption with its image                       5 N      nearly 5 N
    "none"    an image                                       N        N
    ========  =============================================  =======  ===========

    Each of an image's k captions is used once in k epochs ("one") or in every epoch ("all",
    "pairs"). An image without captions is left out, except by "none".

    A step takes the next `batch_size` samples of the order, and rank r takes [r::world_size] of
    them. So each sample comes exactly once, and neither the order nor the number of steps depends
    on the number of ranks. The last step may be short. A rank without a sample in a step is given
    the epoch's first with weight 0, so that every rank takes every step.

    Args:
        store: where the features are.
        batch_size: samples of a step, over all ranks.
        seed: chooses the order, a pure function of (samples, seed, epoch).
        dtype: of the features delivered, on the CPU.
        rank: the number of this process, 0 ... world_size - 1.
        world_size: the number of processes that share each step.
        num_workers: processes that read ahead, each a batch of its own; started by the first
            iteration, and kept as long as the loader. With 1 or 0 nothing is read ahead; with 0,
            and always where the system is not Linux, this process reads.
        captions: "one", "all", "pairs" or "none".
        shuffle: False keeps the store's order.

    Attributes:
        epoch: the current epoch, from 0; it chooses the order and, for "one", the captions.
        position: samples of it that were delivered, over all ranks.

    Raises:
        ValueError: a number is out of range, or no image of the split has a caption.

    Example:
        >>> from labkit import FeatureStore, Loader, prepare_scenes
        >>> store = FeatureStore(prepare_scenes("stores/few", count=8, progress=False), "train")
        >>> loader = Loader(store, batch_size=3)
        >>> for batch in loader:
        ...     caption = store.captions[batch.indices[0]][batch.caption_numbers[0]]
        ...     print(tuple(batch.features.shape), caption)
        (3, 49, 112) a large yellow cross is left of a large black cross
        (3, 49, 112) there is a small blue triangle above a small green star
        (2, 49, 112) a small black triangle is above a small green square
    """

    def __init__(self, store: FeatureStore, batch_size: int, seed: int = 0,
            dtype: torch.dtype = torch.float32, rank: int = 0, world_size: int = 1,
            num_workers: int = 2, captions: str = "one", shuffle: bool = True):  # fmt: skip
        if not isinstance(store, FeatureStore):
            found = type(store).__name__
            raise TypeError(f"a Loader needs a FeatureStore(folder, 'train'), not a {found}")
        if batch_size < 1 or num_workers < 0 or not 0 <= rank < world_size:
            raise ValueError(
                "batch_size is at least 1, num_workers at least 0, and 0 <= rank < world_size"
            )
        if captions not in MODES:
            raise ValueError(f"captions is one, all, pairs or none, not {captions!r}")
        self.store, self.batch_size, self.dtype = store, batch_size, dtype
        self.rank, self.world_size, self.mode = rank, world_size, captions
        self.seed, self.shuffle = seed, shuffle
        self.epoch, self.position = 0, 0
        forks = sys.platform == "linux" and hasattr(os, "fork")  # elsewhere it isn't safe
        self.num_workers = num_workers if forks else 0
        # (N,) captions of each image, and of all images up to and with it
        self._counts = np.array([len(texts) * (captions != "none") for texts in store.captions])
        self._ends = np.cumsum(self._counts)
        self._images = np.arange(len(store)) if captions == "none" else np.flatnonzero(self._counts)
        self._iteration: object = None  # the one that may continue
        self._free: dict[int, list[BatchReader]] = {}  # by process, those that no iteration uses
        if not self.num_samples:
            raise ValueError(f"{store.root}: no image of the split {store.split!r} has a caption")

    @property
    def num_samples(self) -> int:
        """Samples of an epoch, over all ranks."""
        return int(self._ends[-1]) if self.mode == "pairs" else len(self._images)

    def __len__(self) -> int:
        """Count the steps of a whole epoch, the same on every rank."""
        return -(-self.num_samples // self.batch_size)

    def __getitem__(self, index: Any) -> None:
        raise TypeError("a Loader has no batch by number: take them in turn, `for batch in loader`")

    def set_epoch(self, epoch: int) -> None:
        """Go to the beginning of an epoch, or stay where we are if it is the current one.

        Args:
            epoch: 0, 1, 2, ...
        """
        if epoch != self.epoch:
            self.epoch, self.position, self._iteration = epoch, 0, None

    def state_dict(self) -> dict[str, Any]:
        """Say what was delivered: JSON-able, for any world_size, batch_size and num_workers."""
        return self._order() | {"epoch": self.epoch, "position": self.position}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state of `state_dict`: its epoch, after the samples delivered.

        Raises:
            ValueError: it is the state of another store or another order, or no state at all.
        """
        if other := [name for name, own in self._order().items() if state.get(name) != own]:
            raise ValueError(f"{self.store.root}: the loader's state has another {other[0]}")
        epoch, position = state.get("epoch"), state.get("position")
        if not (isinstance(epoch, int) and isinstance(position, int)):
            raise ValueError(f"{self.store.root}: the loader's state has no epoch and position")
        if not 0 <= position <= self.num_samples:
            raise ValueError(f"{self.store.root}: the loader's state has position {position}, and "
                             f"an epoch has {self.num_samples} samples")  # fmt: skip
        self.epoch, self.position, self._iteration = epoch, position, None

    def _order(self) -> dict[str, Any]:
        """What the order depends on, and the store."""
        return {"fingerprint": self.store.fingerprint, "captions": self.mode, "seed": self.seed,
                "shuffle": self.shuffle}  # fmt: skip

    def __iter__(self) -> Iterator[Batch]:
        """Deliver this rank's batches of the rest of the epoch; raise as `FeatureStore.read`."""
        mine = self._iteration = object()
        batches, readers = self._batches(self.epoch, self.position), self._readers()
        asked: deque[tuple[Batch, BatchReader]] = deque()
        try:
            for reader in readers:
                self._ask(reader, batches, asked)
            while asked:
                batch, reader = asked.popleft()
                batch.features = reader.take()
                self.position = min(self.position + self.batch_size, self.num_samples)
                yield batch
                if self._iteration is not mine:
                    raise RuntimeError(f"{self.store.root}: another iteration of this loader has "
                                       "begun, or its position was changed")  # fmt: skip
                self._ask(reader, batches, asked)
        finally:  # one whose process has ended, or is still at work, is not used again
            free = self._free.setdefault(os.getpid(), [])
            free += [reader for reader in readers if reader.state in ("idle", "filled")]
        self.epoch, self.position = self.epoch + 1, 0

    def _ask(self, reader: BatchReader, batches: Iterator[Batch], asked: deque[Any]) -> None:
        if batch := next(batches, None):
            reader.ask(batch.indices)
            asked.append((batch, reader))

    def _readers(self) -> list[BatchReader]:
        """Take readers that are free in this process, and start what is missing."""
        free, size = self._free.setdefault(os.getpid(), []), -(-self.batch_size // self.world_size)
        return [
            free.pop() if free else BatchReader(self.store, size, self.dtype, self.num_workers > 0)
            for _ in range(max(1, self.num_workers))
        ]

    def _batches(self, epoch: int, start: int) -> Iterator[Batch]:
        """Draw this rank's samples of each step; their features are yet to be read."""
        count, size = self.num_samples, self.batch_size
        order = ShuffledOrder(count, self.seed, epoch) if self.shuffle else np.asarray
        for begin in range(start, count, AHEAD * size):
            positions = np.arange(begin, min(begin + AHEAD * size, count))
            for step in np.split(order(positions), range(size, len(positions), size)):
                samples = step[self.rank :: self.world_size]
                weight = float(len(samples) > 0)
                images, rows, numbers = self._captions_of(
                    samples if weight else order(np.zeros(1, np.int64)), epoch
                )
                weights = torch.full(images.shape, weight)
                yield Batch(images, rows, numbers, weights, torch.empty(0), step)

    def captions_of_step(self, batch: Batch) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Tell which captions all ranks together have in a step, in the order of one rank alone.

        Args:
            batch: this rank's, while it is the last one delivered.

        Returns:
            Of each caption its image (C,), its number (C,), and whether it is this rank's (C,).
        """
        images, rows, numbers = self._captions_of(batch.step, self.epoch)
        samples = np.arange(len(rows)) if self.mode == "pairs" else rows
        return images[rows], numbers, samples % self.world_size == self.rank

    def _captions_of(self, samples: np.ndarray, epoch: int) -> tuple[np.ndarray, ...]:
        """Find the samples' images (B,), and each caption's row and number (C,)."""
        if self.mode == "pairs":
            owners = np.searchsorted(self._ends, samples, side="right")
            images, rows = np.unique(owners, return_inverse=True)
            return images, rows, samples - self._ends[owners] + self._counts[owners]
        images = self._images[samples]
        counts, rows = self._counts[images], np.arange(len(images))
        if self.mode == "one":
            return images, rows, (epoch + images) % counts
        rows = np.repeat(rows, counts)
        return images, rows, np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
