"""What several processes that train one model agree on: what is sampled, and when to stop.

Also one process stops by this: asked to stop, it finishes its step and saves it.
"""

import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

from labkit.console import TERMINATED, complain, on_signal
from labkit.distributed import ProcessGroup
from labkit.model.draws import Draws
from labkit.store.loader import Batch, Loader


def draws_of_captions(
    loader: Loader, batch: Batch, encoded: Sequence[Sequence[Sequence[int]]], samples: int
) -> Draws | None:
    """Which random numbers of a step are this process's; None with one process.

    Args:
        loader: It delivered the batch, and no other since.
        batch: Of this process.
        encoded: Of each image its captions, as word ids.
        samples: How often each caption is in the batch, side by side.
    """
    if loader.world_size == 1 or not batch.weight[0]:
        return None
    images, numbers, own = loader.captions_of_step(batch)
    words = [len(encoded[i][k]) - 1 for i, k in zip(images, numbers, strict=True)]  # not <bos>
    mine = torch.from_numpy(own).repeat_interleave(samples)
    return Draws(torch.tensor(words).repeat_interleave(samples), mine.nonzero()[:, 0])


def draws_of_images(loader: Loader, batch: Batch) -> Draws | None:
    """The same where captions are sampled: all images of the step have as many words."""
    if loader.world_size == 1 or not batch.weight[0]:
        return None
    own = torch.arange(loader.rank, len(batch.step), loader.world_size)
    return Draws(torch.ones(len(batch.step), dtype=torch.int64), own)


class Stopping:
    """Whether the processes are asked to stop: by SIGTERM, as systems and `torchrun` ask.

    Attributes:
        agreed: All processes stop after this step, since one of them was asked.
    """

    def __init__(self, group: ProcessGroup):
        self.group, self.agreed, self._asked = group, False, False

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Note SIGTERM inside the block, and go on; at its end this process leaves."""

        def note(*_: object) -> None:
            self._asked = True

        with on_signal(signal.SIGTERM, note):
            yield
        if self._asked:
            self.leave("the epoch")

    def sum(self, *numbers: float) -> list[float]:
        """Sum each number over all processes, and agree on stopping by the way."""
        *sums, asked = self.group.all_reduce_sum(*numbers, self._asked)
        self.agreed = asked > 0
        return sums

    def leave(self, saved: str) -> None:
        """End this process.

        Raises:
            SystemExit: With the code 143.
        """
        if self.group.is_main:
            complain(f"asked to stop: {saved} is saved, --resume continues from there")
        raise SystemExit(TERMINATED)
