"""Several processes encode images together: each some batches, and every process gets them all."""

from collections.abc import Iterator

import numpy as np
import torch

from labkit.distributed import ProcessGroup

Encoded = np.ndarray | list[str]
"""An image's annotation vectors (L, D); or the kind of problem with it, and what it is."""


def of_all_processes(
    mine: Iterator[list[Encoded]], shape: tuple[int, int], group: ProcessGroup
) -> Iterator[list[Encoded]]:
    """Yield the batches of all processes in turn, rank by rank, on every process.

    Args:
        mine: This process's batches, as many as every other has.
        shape: (L, D) of an image.
        group: The processes. Nothing is pickled: tensors are sent, and problems as JSON.
    """
    if group.world_size == 1:
        yield from mine
        return
    for found in mine:
        good = [torch.from_numpy(one)[None] for one in found if isinstance(one, np.ndarray)]
        features = iter(group.gather(torch.cat([torch.empty(0, *shape), *good])).numpy())
        problems = [one if isinstance(one, list) else None for one in found]
        for batch in group.gather_json(problems):
            yield [problem or next(features) for problem in batch]
