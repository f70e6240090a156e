"""A process that reads batches ahead, into memory that it shares with the training.

A `BatchReader` owns memory for one batch, which is filled again and again: to allocate a tensor of
16 MB costs more than to read its content. The process is forked, so that it needs no torch of its
own. Why not a thread? The process maps the files, which saves a copy but may kill whoever does it;
and processes need not wait for one another, as threads do for Python's lock.

A reader is in one of four states:

======  =========================================================  ========================
state   meaning                                                    leaves it by
======  =========================================================  ========================
idle    it has nothing to read                                     `ask`
asked   its process is reading a batch                             `take`
filled  the batch is in its memory, where the training uses it     `ask`
ended   its process has ended; this process has read the batch     nothing: it is discarded
======  =========================================================  ========================

The protocol on the pipe: the training sends the images' positions as int64, and the process answers
with one message when the memory holds their features. A process that fails ends, which closes the
pipe. Then the training reads the batch itself, and either succeeds or raises what is wrong.
"""

import gc
import mmap
import os
import signal
import warnings
import weakref
from contextlib import suppress
from multiprocessing import connection, current_process, get_context
from multiprocessing.process import BaseProcess
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from labkit.store.shards import FeatureStore

FILLED = b"filled"  # what the process answers


class BatchReader:
    """Memory for a batch's features, and a process that fills it.

    Args:
        store: where the features are.
        size: images that a batch has at most.
        dtype: of the features in memory.
        process: start a process. False, and always inside a daemon process, which may not start
            others: `take` reads.

    Attributes:
        state: "idle", "asked", "filled" or "ended".
    """

    def __init__(self, store: FeatureStore, size: int, dtype: torch.dtype, process: bool):
        self.state: Literal["idle", "asked", "filled", "ended"] = "idle"
        self.store, self._indices = store, np.empty(0, np.int64)
        self._pipe: Any = None  # to the process, if there is one
        shape = torch.Size([size, store.length, store.dim])
        shared = mmap.mmap(-1, shape.numel() * dtype.itemsize)
        self._memory = torch.frombuffer(shared, dtype=dtype).view(shape)  # (B, L, D)
        self._rows = list(self._memory.flatten(1))  # (L D) each
        # bfloat16 is made by way of float32, which is three times as fast
        self._single = torch.empty(self._rows[0].shape) if dtype == torch.bfloat16 else None
        if process and not current_process().daemon:
            self._start()

    def _start(self) -> None:
        self._pipe, pipe = connection.Pipe()
        process = get_context("fork").Process(target=self._work, args=[pipe], daemon=True)
        process.start()
        pipe.close()  # now the process alone has it, so that its end can be noticed
        weakref.finalize(self, _end, process, os.getpid())

    def ask(self, indices: np.ndarray) -> None:
        """Have a batch read.

        Args:
            indices: (n,) int64, positions in the store, 1 <= n <= size.
        """
        self._indices, self.state = indices, "asked"
        if self._pipe:
            with suppress(ConnectionError):  # the process has ended: `take` will notice
                self._pipe.send_bytes(indices.tobytes())

    def take(self) -> Tensor:
        """Wait for the batch; raise as `FeatureStore.read` does.

        Returns:
            (n, L, D), overwritten after the next `ask`.
        """
        answer = b""
        if self._pipe:
            with suppress(EOFError, ConnectionError):
                answer = self._pipe.recv_bytes()
        if answer != FILLED:
            self._fill(self._indices, mapped=False)
        self.state = "filled"
        if self._pipe and answer != FILLED:
            self.state = "ended"
            warnings.warn(f"{self.store.root}: a process that read ahead has ended", stacklevel=3)
        return self._memory[: len(self._indices)]

    def _fill(self, indices: np.ndarray, mapped: bool) -> None:
        """Convert image by image; the processor's cache still has each for the checksum."""
        read = self.store.iter_mapped_bytes if mapped else self.store.iter_bytes
        for image, row in zip(read(indices.tolist()), self._rows, strict=False):
            half = torch.frombuffer(image, dtype=torch.float16)  # (L D)
            row.copy_(half if self._single is None else self._single.copy_(half))

    def _work(self, pipe: connection.Connection) -> None:
        """Be the process that reads, until the training ends or kills it."""
        self._pipe.close()  # the training's end
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # meant for the training
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        warnings.simplefilter("ignore")  # torch has no read-only tensors
        torch.set_num_threads(1)  # dividing one image among threads costs more than it saves
        gc.disable()  # it would write to memory that costs nothing while nobody does
        with suppress(Exception):  # whatever it is: the training reads the batch, and raises it
            while True:
                self._fill(np.frombuffer(pipe.recv_bytes(), np.int64), mapped=True)
                pipe.send_bytes(FILLED)


def _end(process: BaseProcess, parent: int) -> None:
    if os.getpid() == parent:  # a fork of it has the reader, too, but not the process
        process.kill()  # it has nothing to lose
        process.join()
