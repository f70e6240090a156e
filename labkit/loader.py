"""Batches of a feature store: shuffled, checked, read ahead of the training, in little memory.

A few threads read, each into memory that it uses again and again: to make a tensor of 16 MB anew
costs more than to read its content, and the less there is, the more the processor's cache holds.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import cycle, pairwise
from queue import SimpleQueue
from threading import Thread
from typing import Any

import numpy as np
import torch
from threadpoolctl import ThreadpoolController
from torch import Tensor

from labkit.order import Order
from labkit.shards import FeatureStore

AHEAD = 64  # steps whose samples are drawn at once, which is quicker
OPENMP = ThreadpoolController().select(user_api="openmp")  # what torch shares work by


@dataclass
class Batch:
    """Some images and the captions that tell of them."""

    indices: np.ndarray  # (B,) int64, positions in the store, each once
    rows: np.ndarray  # (C,) int64, for each caption the row of its image
    captions: np.ndarray  # (C,) int64, which of its image's captions it is
    weight: Tensor  # (B,) float32: 1, or 0 for a sample that only keeps a rank busy
    features: Tensor  # (B, L, D), overwritten when the next batch is taken unless told to `copy`


class _Slot:
    """A batch's place in memory, and in each epoch a thread that fills it again and again."""

    def __init__(self, shape: tuple[int, ...], dtype: torch.dtype, pinned: bool):
        self.memory = torch.empty(shape, dtype=dtype, pin_memory=pinned)
        self.copied: torch.cuda.Event | None = None  # a GPU has copied what was here
        half, single = (torch.empty(shape[1:], dtype=kind) for kind in (torch.float16, torch.float))
        direct = dtype == torch.float16  # read where it stays, nothing to convert
        self._to = list(self.memory.numpy()) if direct else [memoryview(half.numpy())] * shape[0]
        through = {torch.float16: [], torch.float: [half]}.get(dtype, [half, single])
        self._ways = [tuple(pairwise([*through, row])) for row in self.memory]  # bf16: two, faster

    def start(self, store: FeatureStore) -> None:
        """Start the thread; it ends when it is told to do None."""
        self.todo, self.done = SimpleQueue(), SimpleQueue()  # batches to read, batches read
        self.thread = Thread(target=self._work, args=[store], name="labkit-reader", daemon=True)
        self.thread.start()

    def _work(self, store: FeatureStore) -> None:
        torch.get_num_threads()  # at first this sets how many threads OpenMP gives this one,
        OPENMP.limit(limits=1)  # so one comes after it: a team for each image would cost more
        while batch := self.todo.get():
            try:
                self.done.put(self._filled(store, batch))
            except BaseException as error:
                self.done.put(error)

    def _filled(self, store: FeatureStore, batch: Batch) -> Batch:
        """Read image by image: each is checked and converted while the processor's cache has it."""
        if self.copied is not None:
            self.copied.synchronize()
        batch.features = self.memory[: len(batch.indices)]
        for row, _ in enumerate(store.each(batch.indices.tolist(), self._to[: len(batch.indices)])):
            for source, target in self._ways[row]:
                target.copy_(source)
        return batch


class Loader:
    """Draws an epoch's batches from a store, for one of several processes.

    What a sample is, and what an epoch reads of N images that have five captions each:

    ========  =============================================  =======  ===========
    captions  a sample is                                    samples  images read
    ========  =============================================  =======  ===========
    "one"     an image with one caption, each epoch another  N        N
    "all"     an image with all its captions                 N        N
    "pairs"   a caption with its image                       5 N      nearly 5 N
    "none"    an image                                       N        N
    ========  =============================================  =======  ===========

    Of k captions each is told within k epochs ("one"), in one sample ("all") or in k of them
    ("pairs"). An image without captions is left out, except by "none".

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
        threads: that read, each a batch of its own; a single one reads nothing ahead.
        captions: "one", "all", "pairs" or "none".
        copy: deliver features that stay as they are when the next batch is taken.
        shuffle: False keeps the store's order.
        device: "cpu", or a GPU: copied there from pinned float16, and converted there.

    Raises:
        ValueError: a number is out of range, or no image of the split has a caption.
    """

    def __init__(self, store: FeatureStore, batch_size: int, seed: int = 0,
            dtype: torch.dtype = torch.float32, rank: int = 0, world: int = 1, threads: int = 2,
            captions: str = "one", copy: bool = False, shuffle: bool = True,
            device: torch.device | str = "cpu"):  # fmt: skip
        if min(batch_size, threads) < 1 or not 0 <= rank < world:
            raise ValueError("batch_size and threads are at least 1, and 0 <= rank < world")
        if captions not in ("one", "all", "pairs", "none"):
            raise ValueError(f"captions is one, all, pairs or none, not {captions!r}")
        self.store, self.batch_size, self.rank, self.world = store, batch_size, rank, world
        self.dtype, self.device, self.copy = dtype, torch.device(device), copy
        self.threads, self.seed, self.shuffle, self.mode = threads, seed, shuffle, captions
        self._settings = {"fingerprint": store.fingerprint, "captions": captions,
                          "seed": seed, "shuffle": shuffle}  # fmt: skip
        self._told = np.array([len(told) * (captions != "none") for told in store.captions])  # (N,)
        self._images = np.arange(len(store)) if self.mode == "none" else np.flatnonzero(self._told)
        self._ends = np.cumsum(self._told)  # (N,) captions up to and with each image's
        shape, gpu = (-(-batch_size // world), store.length, store.dim), self.device.type == "cuda"
        self._new = (shape, torch.float16 if gpu else dtype, gpu)  # what a slot is made with
        self._delivered, self._free = (0, 0), []  # slots that no epoch uses now
        if not self.samples():
            raise ValueError(f"{store.root}: no image of the split {store.split!r} has a caption")

    def samples(self) -> int:
        """Count an epoch's samples, over all ranks."""
        return int(self._ends[-1]) if self.mode == "pairs" else len(self._images)

    def steps(self, start: int = 0) -> int:
        """Count an epoch's steps from position `start`, the same on every rank."""
        return -(-(self.samples() - start) // self.batch_size)

    def state(self) -> dict[str, Any]:
        """Say what was delivered: JSON-able, for any number of ranks, batch size and threads."""
        return self._settings | {"epoch": self._delivered[0], "position": self._delivered[1]}

    def resume(self, state: dict[str, Any]) -> tuple[int, int]:
        """Take over a state, for `epoch(*resume(state))`; another store's is a ValueError."""
        if other := [name for name, own in self._settings.items() if state.get(name) != own]:
            raise ValueError(f"{self.store.root}: the state to go on from has another {other[0]}")
        self._delivered = (state["epoch"], state["position"])
        return self._delivered

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Deliver this rank's batches of an epoch; raise as `FeatureStore.read` does.

        Args:
            epoch: 0, 1, 2, ...: it chooses the order and, for "one", the captions.
            start: position to go on from: samples delivered before, over all ranks.
        """
        batches = self._batches(epoch, start)
        slots = [self._free.pop() if self._free else _Slot(*self._new) for _ in range(self.threads)]
        for slot in slots:
            slot.start(self.store)
            slot.todo.put(next(batches, None))
        try:
            for _, slot in zip(range(self.steps(start)), cycle(slots), strict=False):
                if isinstance(batch := slot.done.get(), BaseException):
                    raise batch
                if self.device.type == "cuda":  # the GPU copies and converts, we go on
                    moved = batch.features.to(self.device, non_blocking=True)
                    batch.features = moved.to(self.dtype)
                    slot.copied = torch.cuda.current_stream(self.device).record_event()
                elif self.copy:
                    batch.features = batch.features.clone()
                self._delivered = epoch, (start := min(start + self.batch_size, self.samples()))
                yield batch
                slot.todo.put(next(batches, None))
        finally:
            for slot in slots:
                slot.todo.put(None)
                slot.thread.join()  # what is being read comes to its end
            self._free += slots

    def _batches(self, epoch: int, start: int) -> Iterator[Batch]:
        """Draw this rank's samples of each step; their features are yet to be read."""
        count, size = self.samples(), self.batch_size
        order = Order(count, self.seed, epoch) if self.shuffle else np.asarray
        for begin in range(start, count, AHEAD * size):
            positions = np.arange(begin, min(begin + AHEAD * size, count))
            mine = positions[(positions - begin) % size % self.world == self.rank]
            for samples in np.split(order(mine), np.searchsorted(mine, positions[size::size])):
                weight = float(len(samples) > 0)
                told = self._told_by(samples if weight else order(np.zeros(1, np.int64)), epoch)
                yield Batch(*told, torch.full(told[0].shape, weight), torch.empty(0))

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
        rows = np.repeat(rows, told)
        return images, rows, np.arange(len(rows)) - np.repeat(np.cumsum(told) - told, told)
