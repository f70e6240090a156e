"""Batches of a feature store: shuffled, checked, read ahead of the training, in little memory.

Processes read, each into memory that it shares with the training and fills again and again: to make
a tensor of 16 MB anew costs more than to read its content. They are forked, so that they need no
torch of their own. Why no threads? These processes map the files, which saves a copy and may kill
who does it; and they need not wait for one another, as threads do for Python's lock.
"""

import gc
import mmap
import os
import signal
import sys
import warnings
import weakref
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import cycle
from multiprocessing import connection, current_process, get_context
from typing import Any

import numpy as np
import torch
from torch import Tensor

from labkit.store.shards import FeatureStore
from labkit.store.shuffle import ShuffledOrder

AHEAD = 64  # steps whose samples are drawn at once, which is quicker


@dataclass
class Batch:
    """Some images and the captions that tell of them."""

    indices: np.ndarray  # (B,) int64, positions in the store, each once
    rows: np.ndarray  # (C,) int64, for each caption the row of its image
    captions: np.ndarray  # (C,) int64, which of its image's captions it is
    weight: Tensor  # (B,) float32: 1, or 0 for a sample that only keeps a rank busy
    features: Tensor  # (B, L, D), overwritten when the next batch is taken unless told to `copy`


class _Slot:
    """A batch's place in memory, and unless `alone` a process that fills it again and again."""

    def __init__(self, store: FeatureStore, shape: torch.Size, dtype: torch.dtype, alone: bool):
        self.store, self.batch, self.pipe, self.ended = store, None, None, False
        shared = mmap.mmap(-1, shape.numel() * dtype.itemsize)
        self.memory = torch.frombuffer(shared, dtype=dtype).view(shape)
        self.rows = list(self.memory.flatten(1))  # (L D) each
        # bfloat16 is made by way of float32, which is three times as fast
        self.single = torch.empty(self.rows[0].shape) if dtype == torch.bfloat16 else None
        if not alone and not current_process().daemon:  # which may not start others
            self.pipe, pipe = connection.Pipe()
            reader = get_context("fork").Process(target=self._work, args=[pipe], daemon=True)
            reader.start()
            pipe.close()  # now the reader alone has it, so that its end can be noticed
            weakref.finalize(self, _end, reader, os.getpid())

    def _work(self, pipe: connection.Connection) -> None:
        """Be the process that reads, until the other one ends or kills it."""
        self.pipe.close()  # the other one's
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the training is meant
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        warnings.simplefilter("ignore")  # torch has no tensors that can't be written to
        torch.set_num_threads(1)  # to share out one image costs more than it helps
        gc.disable()  # it would write to memory that takes room once only while nobody does
        with suppress(Exception):  # whatever it is: the other one reads the batch itself, and sees
            while True:
                self._fill(np.frombuffer(pipe.recv_bytes(), np.int64), mapped=True)
                pipe.send_bytes(b"read")

    def _fill(self, indices: np.ndarray, mapped: bool) -> None:
        """Convert image by image; for the checksum the processor's cache still has each."""
        for image, row in zip(self.store.each(indices.tolist(), mapped), self.rows, strict=False):
            half = torch.frombuffer(image, dtype=torch.float16)
            row.copy_(half if self.single is None else self.single.copy_(half))

    def ask(self, batch: Batch | None) -> None:
        """Have a batch read, or nothing."""
        self.batch = batch
        if batch and self.pipe:
            with suppress(ConnectionError):  # it has ended, `take` will see that
                self.pipe.send_bytes(batch.indices.tobytes())

    def take(self) -> Batch:
        """Wait for the batch. What a reader failed at is read here, to raise what it is."""
        batch, read = self.batch, b""
        batch.features = self.memory[: len(batch.indices)]
        with suppress(EOFError, ConnectionError):
            read = self.pipe.recv_bytes() if self.pipe else b""
        if not read:
            self._fill(batch.indices, mapped=False)
            self.ended = self.pipe is not None
        if self.ended:
            warnings.warn(f"{self.store.root}: a process that read ahead has ended", stacklevel=3)
        self.batch = None
        return batch


def _end(reader: Any, parent: int) -> None:
    if os.getpid() == parent:  # not in a copy of it, which has the slot but not the reader
        reader.kill()  # it has nothing to lose
        reader.join()


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
        readers: processes that read ahead, each a batch of its own; made when they are needed, and
            kept while the loader is. With one or none nothing is read ahead; with none, as always
            where there is no Linux, this process reads.
        captions: "one", "all", "pairs" or "none".
        copy: deliver features that stay as they are when the next batch is taken.
        shuffle: False keeps the store's order.
        device: "cpu", or a GPU: copied there from pinned float16, and converted there.

    Raises:
        ValueError: a number is out of range, or no image of the split has a caption.
    """

    def __init__(self, store: FeatureStore, batch_size: int, seed: int = 0,
            dtype: torch.dtype = torch.float32, rank: int = 0, world: int = 1, readers: int = 2,
            captions: str = "one", copy: bool = False, shuffle: bool = True,
            device: torch.device | str = "cpu"):  # fmt: skip
        if batch_size < 1 or readers < 0 or not 0 <= rank < world:
            raise ValueError("batch_size is at least 1, readers at least 0, and 0 <= rank < world")
        if captions not in ("one", "all", "pairs", "none"):
            raise ValueError(f"captions is one, all, pairs or none, not {captions!r}")
        self.store, self.batch_size, self.rank, self.world = store, batch_size, rank, world
        self.dtype, self.device, self.copy = dtype, torch.device(device), copy
        self.seed, self.shuffle, self.mode = seed, shuffle, captions
        forks = sys.platform == "linux" and hasattr(os, "fork")  # elsewhere it isn't safe
        self.readers = readers if forks else 0
        self._settings = {"fingerprint": store.fingerprint, "captions": captions,
                          "seed": seed, "shuffle": shuffle}  # fmt: skip
        self._told = np.array([len(told) * (captions != "none") for told in store.captions])  # (N,)
        self._images = np.arange(len(store)) if self.mode == "none" else np.flatnonzero(self._told)
        self._ends = np.cumsum(self._told)  # (N,) captions up to and with each image's
        shape = torch.Size([-(-batch_size // world), store.length, store.dim])
        kind = torch.float16 if self.device.type == "cuda" else dtype
        self._new = (store, shape, kind, self.readers == 0)  # what a slot is made with
        self._delivered, self._free = (0, 0), {}  # this process's slots that no epoch uses now
        if not self.samples():
            raise ValueError(f"{store.root}: no image of the split {store.split!r} has a caption")

    def samples(self) -> int:
        """Count an epoch's samples, over all ranks."""
        return int(self._ends[-1]) if self.mode == "pairs" else len(self._images)

    def steps(self, start: int = 0) -> int:
        """Count an epoch's steps from position `start`, the same on every rank."""
        return -(-(self.samples() - start) // self.batch_size)

    def state(self) -> dict[str, Any]:
        """Say what was delivered: JSON-able, for any number of ranks, batch size and readers."""
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
        free, wanted = self._free.setdefault(os.getpid(), []), max(1, self.readers)
        slots = [free.pop() if free else _Slot(*self._new) for _ in range(wanted)]
        try:
            for slot in slots:
                slot.ask(next(batches, None))
            for _, slot in zip(range(self.steps(start)), cycle(slots), strict=False):
                batch = slot.take()
                if self.device.type == "cuda":  # the GPU copies and converts, we go on
                    moved = batch.features.pin_memory().to(self.device, non_blocking=True)
                    batch.features = moved.to(self.dtype)
                elif self.copy:
                    batch.features = batch.features.clone()
                self._delivered = epoch, (start := min(start + self.batch_size, self.samples()))
                yield batch
                slot.ask(next(batches, None))
        finally:
            # one whose reader has ended, or is still at work, is not used again
            free += [slot for slot in slots if not (slot.ended or slot.batch)]

    def _batches(self, epoch: int, start: int) -> Iterator[Batch]:
        """Draw this rank's samples of each step; their features are yet to be read."""
        count, size = self.samples(), self.batch_size
        order = ShuffledOrder(count, self.seed, epoch) if self.shuffle else np.asarray
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
