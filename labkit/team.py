"""Several processes that train one model: who I am, and sums over all of us.

`torchrun` starts the processes and tells each its number in the environment. Without it the team
is one process, and every call here is free.
"""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

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

    def gather(self, rows: Tensor) -> Tensor:
        """Put the rows of all processes one below the other, rank by rank, on every process.

        Args:
            rows: (n, ...), on any device; n may differ from process to process.

        Returns:
            (sum of n, ...), on the CPU.
        """
        if self.world == 1:
            return rows.cpu()
        counts = [torch.zeros(1, dtype=torch.int64, device=self.device) for _ in range(self.world)]
        dist.all_gather(counts, torch.tensor([len(rows)], device=self.device))
        # all give tensors of one size: the largest
        mine = torch.zeros(max(map(int, counts)), *rows.shape[1:], dtype=rows.dtype)
        mine[: len(rows)] = rows
        parts = [torch.empty_like(mine, device=self.device) for _ in counts]
        dist.all_gather(parts, mine.to(self.device))
        return torch.cat([part[:n].cpu() for part, n in zip(parts, counts, strict=True)])

    def same(self, value: Any) -> Any:
        """Give every process the value that rank 0 has.

        Args:
            value: fit for JSON, which carries it: a tuple arrives as a list.
        """
        if self.world == 1:
            return value
        text = json.dumps(value).encode() if self.leads else b""
        return json.loads(bytes(self.gather(torch.tensor(list(text), dtype=torch.uint8)).tolist()))

    def once(self, work: Callable[[], Any]) -> Any:
        """Let rank 0 do something while the others wait; every process gets the result.

        Args:
            work: what it gives has to be fit for JSON.

        Raises:
            ValueError: it failed on rank 0, and this is another process. Rank 0 has its own error.
        """
        if self.world == 1:
            return work()
        found, problem = None, None
        try:
            found = work() if self.leads else None
        except Exception as error:
            problem = error
        found, message = self.same((found, problem and f"{type(problem).__name__}: {problem}"))
        if problem:
            raise problem
        if message:
            raise ValueError(f"the process of rank 0 failed: {message}")
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
