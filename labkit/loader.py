"""Batches of a feature store: shuffled, checked, read ahead of the training, in little memory.

A few threads read into a few buffers that are used again and again: to make a tensor of 16 MB anew
costs more than to read its content. So memory is bounded by `threads + 2` batches of float16 and
one of what is delivered, however large the store.
"""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from labkit.order import Order
from labkit.shards import FeatureStore

AHEAD = 64  # steps whose samples are drawn at once
PIECE = 32767  # numbers; torch converts so few in the thread that asks, without a team of its own


@dataclass
class Batch:
    """Some images and the captions that tell of them."""

    indices: np.ndarray  # (B,) int64, positions in the store
    features: Tensor  # (B, L, D), overwritten when the next batch is taken unless told to `copy`
    rows: np.ndarray  # (C,) int64, for each caption the row of its image
    captions: np.ndarray  # (C,) int64, which of its image's captions it is
    weight: Tensor  # (B,) float32: 1, or 0 for a sample that only keeps a rank busy


class _Share(NamedTuple):
    """What one rank reads in one step."""

    after: int  # the epoch's position when every rank has had its share
    images: np.ndarray
    rows: np.ndarray
    captions: np.ndarray
    weight: float


class _Slot:
    """A batch's place in memory, filled by one thread at a time."""

    def __init__(self, shape: tuple[int, ...], dtype: torch.dtype, pinned: bool):
        self.features = torch.empty(shape, dtype=dtype, pin_memory=pinned)
        self.raw = torch.empty(shape[1:], dtype=torch.float16)
        self.copied: torch.cuda.Event | None = None  # a GPU copies by itself: wait for it

    def fill(self, store: FeatureStore, share: _Share) -> tuple["_Slot", _Share]:
        """Read image by image: each is checked and converted while the processor's cache has it."""
        if self.copied is not None:
            self.copied.synchronize()
        for index, row in zip(share.images.tolist(), self.features, strict=False):
            if row.dtype == torch.float16:
                store.read_into(index, row.numpy())
                continue
            store.read_into(index, self.raw.numpy())
            pieces = zip(row.view(-1).split(PIECE), self.raw.view(-1).split(PIECE), strict=True)
            for piece, raw in pieces:
                piece.copy_(raw if row.dtype == torch.float32 else raw.float())
        return self, share


class Loader:
    """Draws an epoch's batches from a store, for one of several processes.

    What a sample is, and the images an epoch reads of N, with five captions each:

    | captions | a sample is                                   | samples | images read |
    |----------|-----------------------------------------------|---------|-------------|
    | "one"    | an image with one caption, each epoch another | N       | N           |
    | "all"    | an image with all its captions                | N       | N           |
    | "pairs"  | a caption with its image                      | 5 N     | nearly 5 N  |
    | "none"   | an image                                      | N       | N           |

    An image with k captions tells each of them within k epochs ("one"), in one sample ("all") or in
    k samples ("pairs"). An image without captions is left out, except by "none".

    A step takes the next `batch_size` samples of the order, and rank r takes [r::world] of them. So
    each sample comes exactly once, and neither the order nor the number of steps depends on the
    number of ranks. The last step is short. A rank that finds no sample in a step is given the
    epoch's first with weight 0, so that every rank takes every step.

    Args:
        store: where the features are.
        batch_size: samples of a step, over all ranks.
        seed: chooses the order, a pure function of (samples, seed, epoch).
        dtype: of the features delivered.
        rank, world: this process and how many there are.
        threads: that read.
        captions: "one", "all", "pairs" or "none".
        copy: deliver features that stay as they are when the next batch is taken.
        shuffle: False keeps the store's order.
        device: "cpu", or a GPU: copied there from pinned float16, and converted there.

    Raises:
        ValueError: a number is out of range, or no image of the split has a caption.
    """

    def __init__(
        self, store: FeatureStore, batch_size: int, seed: int = 0,
        dtype: torch.dtype = torch.float32, rank: int = 0, world: int = 1, threads: int = 2,
        captions: str = "one", copy: bool = False, shuffle: bool = True,
        device: torch.device | str = "cpu",
    ):  # fmt: skip
        if min(batch_size, threads) < 1 or not 0 <= rank < world:
            raise ValueError("batch_size and threads are at least 1, and 0 <= rank < world")
        if captions not in ("one", "all", "pairs", "none"):
            raise ValueError(f"captions is one, all, pairs or none, not {captions!r}")
        self.store, self.batch_size, self.rank, self.world = store, batch_size, rank, world
        self.dtype, self.device = dtype, torch.device(device)
        self.threads, self.copy = threads, copy
        self.seed, self.shuffle, self.mode = seed, shuffle, captions
        self._told = np.array([len(captions) for captions in store.captions])  # (N,)
        self._images = np.arange(len(store)) if self.mode == "none" else np.flatnonzero(self._told)
        self._ends = np.cumsum(self._told)  # (N,) captions up to and with each image's
        self._delivered = (0, 0)
        if not self.samples():
            raise ValueError(f"{store.root}: no image of the split {store.split!r} has a caption")

    def samples(self) -> int:
        """Count an epoch's samples, over all ranks."""
        return int(self._ends[-1]) if self.mode == "pairs" else len(self._images)

    def steps(self, start: int = 0) -> int:
        """Count an epoch's steps from position `start`, the same on every rank."""
        return -(-(self.samples() - start) // self.batch_size)

    def state(self) -> dict[str, Any]:
        """Say what was delivered: JSON-able, the same on every rank, valid for any number of them.

        Batch size, ranks and threads are no part of it: who goes on may choose others.
        """
        return self._order_of() | dict(zip(("epoch", "position"), self._delivered, strict=True))

    def _order_of(self) -> dict[str, Any]:
        return {"fingerprint": self.store.fingerprint, "captions": self.mode,
                "seed": self.seed, "shuffle": self.shuffle}  # fmt: skip

    def resume(self, state: dict[str, Any]) -> tuple[int, int]:
        """Take over a state; go on with `loader.epoch(*loader.resume(state))`.

        Returns:
            The epoch, and the position in it: what `epoch` takes.

        Raises:
            ValueError: the state is of another store, or of another order.
        """
        if other := [name for name, own in self._order_of().items() if state.get(name) != own]:
            raise ValueError(f"{self.store.root}: the state to go on from has another {other[0]}")
        self._delivered = (state["epoch"], state["position"])
        return self._delivered

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Deliver this rank's batches of an epoch.

        Args:
            epoch: 0, 1, 2, ...: it chooses the order and, for "one", the captions.
            start: position to go on from: samples delivered before, over all ranks.

        Raises:
            FileNotFoundError, StoreError: naming the file and the image that are wrong.
        """
        shares, reading = self._shares(epoch, start), deque()
        shape = (-(-self.batch_size // self.world), self.store.length, self.store.dim)
        gpu = self.device.type == "cuda"

        def read_next(slot: _Slot) -> None:
            if share := next(shares, None):
                reading.append(pool.submit(slot.fill, self.store, share))

        with ThreadPoolExecutor(self.threads, "labkit-reader") as pool:
            try:
                for _ in range(self.threads + 2):
                    read_next(_Slot(shape, torch.float16 if gpu else self.dtype, pinned=gpu))
                while reading:
                    slot, share = reading.popleft().result()
                    features = self._hand_over(slot, len(share.images))
                    weight = torch.full((len(share.images),), share.weight)
                    self._delivered = (epoch, share.after)
                    yield Batch(share.images, features, share.rows, share.captions, weight)
                    read_next(slot)
            finally:
                for future in reading:
                    future.cancel()

    def _hand_over(self, slot: _Slot, count: int) -> Tensor:
        features = slot.features[:count]
        if self.device.type == "cuda":
            features = features.to(self.device, non_blocking=True).to(self.dtype)
            slot.copied = torch.cuda.current_stream(self.device).record_event()
        elif self.copy:
            features = features.clone()
        return features

    def _shares(self, epoch: int, start: int) -> Iterator[_Share]:
        """Draw this rank's share of each step; `AHEAD` steps at once, which is quicker."""
        count, size = self.samples(), self.batch_size
        order = Order(count, self.seed, epoch) if self.shuffle else np.asarray
        for begin in range(start, count, AHEAD * size):
            positions = np.arange(begin, min(begin + AHEAD * size, count))
            mine = positions[(positions - begin) % size % self.world == self.rank]
            firsts = positions[::size]
            parts = np.split(order(mine), np.searchsorted(mine, firsts[1:]))
            for first, samples in zip(firsts.tolist(), parts, strict=True):
                drawn = samples if len(samples) else order(np.zeros(1, np.int64))
                told = self._told_by(drawn, epoch)
                yield _Share(min(first + size, count), *told, weight=float(len(samples) > 0))

    def _told_by(self, samples: np.ndarray, epoch: int) -> tuple[np.ndarray, ...]:
        """Find the samples' images (B,), and for each caption its image's row and itself (C,)."""
        if self.mode == "pairs":
            owners = np.searchsorted(self._ends, samples, side="right")
            images, rows = np.unique(owners, return_inverse=True)
            return images, rows, samples - self._ends[owners] + self._told[owners]
        images = self._images[samples]
        told, rows = self._told[images], np.arange(len(images))
        if self.mode == "one":
            return images, rows, (epoch + images) % told
        if self.mode == "none":
            return images, rows[:0], rows[:0]
        rows = np.repeat(rows, told)
        return images, rows, np.arange(len(rows)) - np.repeat(np.cumsum(told) - told, told)
