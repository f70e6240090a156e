"""Several processes that train one model: who I am, and sums over all of us.

`torchrun` starts the processes and tells each its number in the environment. Without it the team
is one process, and every call here is free.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Team:
    """One process, this one, among the others."""

    rank: int = 0
    world: int = 1
    device: torch.device = CPU

    @property
    def leads(self) -> bool:
        """Whether this process writes files and shows progress."""
        return self.rank == 0

    def total(self, *numbers: float) -> list[float]:
        """Add up each number over all processes."""
        if self.world == 1:
            return list(numbers)
        sums = torch.tensor(numbers, dtype=torch.float64, device=self.device)
        dist.all_reduce(sums)
        return sums.tolist()

    def gather(self, things: Sequence) -> list:
        """Collect the things of all processes, rank by rank, on every process."""
        if self.world == 1:
            return list(things)
        lists: list = [None] * self.world
        dist.all_gather_object(lists, list(things))
        return [thing for part in lists for thing in part]

    def same(self, value: Any) -> Any:
        """Give every process the value that rank 0 has."""
        if self.world == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box)
        return box[0]

    def once(self, work: Callable[[], Any]) -> Any:
        """Let rank 0 do something; every process gets the result, or stops if it failed.

        Raises:
            ValueError: on the other processes, with rank 0's message.
        """
        found, error = None, None
        if self.leads:
            try:
                found = work()
            except Exception as caught:
                error = caught
        found, message = self.same((found, str(error or "")))
        if error:
            raise error
        if message:
            raise ValueError(message)
        return found

    @contextmanager
    def seeded(self, seed: int) -> Iterator[None]:
        """Draw from this seed in the block; after it the caller's random state is as before."""
        cuda = self.device.type == "cuda"
        with torch.random.fork_rng([self.device] if cuda else []):
            torch.default_generator.manual_seed(seed % 2**63)
            if cuda:
                torch.cuda.manual_seed(seed % 2**63)
            yield

    def wait(self) -> None:
        """Go on when all have come here."""
        if self.world > 1:
            dist.barrier()


def join_team() -> Team:
    """Meet the other processes that `torchrun` started (gloo on CPUs, NCCL on GPUs)."""
    cuda = torch.cuda.is_available()
    local = int(os.environ.get("LOCAL_RANK", 0))
    device = torch.device("cuda", local) if cuda else CPU
    if cuda:
        torch.cuda.set_device(device)  # NCCL sends what lies on the current device
    if "WORLD_SIZE" not in os.environ:
        return Team(device=device)
    if not dist.is_initialized():
        dist.init_process_group("nccl" if cuda else "gloo")
    return Team(dist.get_rank(), dist.get_world_size(), device)
