"""Several processes that train one model: the rank of this one, and sums over all of them.

`torchrun` starts the processes and gives each its rank in the environment. Without it the group is
one process, and every call here returns at once.
"""

import atexit
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
class ProcessGroup:
    """One process, the one that runs this, among those that work together.

    Attributes:
        rank: number of this process, 0 ... world_size - 1.
        world_size: number of processes.
        device: where this process computes.
    """

    rank: int = 0
    world_size: int = 1
    device: torch.device = CPU

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and shows progress."""
        return self.rank == 0

    def all_reduce_sum(self, *numbers: float) -> list[float]:
        """Sum each number over all processes."""
        if self.world_size == 1:
            return list(numbers)
        sums = torch.tensor(numbers, dtype=torch.float64, device=self.device)
        dist.all_reduce(sums)
        return sums.tolist()

    def gather(self, rows: Tensor) -> Tensor:
        """Concatenate the rows of all processes, rank by rank, on every process.

        Args:
            rows: (n, ...), on any device; n may differ from process to process.

        Returns:
            (sum of n, ...), on the CPU.
        """
        if self.world_size == 1:
            return rows.cpu()
        one = torch.zeros(1, dtype=torch.int64, device=self.device)
        counts = [one.clone() for _ in range(self.world_size)]
        dist.all_gather(counts, one + len(rows))
        # all tensors must have one size: the largest
        mine = torch.zeros(max(map(int, counts)), *rows.shape[1:], dtype=rows.dtype)
        mine[: len(rows)] = rows
        parts = [torch.empty_like(mine, device=self.device) for _ in counts]
        dist.all_gather(parts, mine.to(self.device))
        return torch.cat([part[:n].cpu() for part, n in zip(parts, counts, strict=True)])

    def gather_json(self, *values: Any) -> list[Any]:
        """List the values of all processes, rank by rank, on every process.

        Args:
            values: any number of them, JSON-able, since they are sent as JSON: a tuple arrives as a
                list.
        """
        text = "".join(f"{json.dumps(value)}\n" for value in values).encode()
        every = self.gather(torch.frombuffer(bytearray(text or b"\n"), dtype=torch.uint8))
        return [json.loads(line) for line in every.numpy().tobytes().splitlines() if line]

    def broadcast(self, value: Any) -> Any:
        """Give every process the value of rank 0.

        Args:
            value: JSON-able, see `gather_json`.
        """
        if self.world_size == 1:
            return value
        return self.gather_json(*[value] if self.is_main else [])[0]

    def once(self, work: Callable[[], Any]) -> Any:
        """Let rank 0 do something while the others wait; every process gets the result.

        Args:
            work: its result must be JSON-able.

        Raises:
            ValueError: it failed on rank 0, and this is another process. Rank 0 raises the error
                itself.
        """
        if self.world_size == 1:
            return work()
        found, problem = None, None
        try:
            found = work() if self.is_main else None
        except Exception as error:
            problem = error
        found, message = self.broadcast((found, problem and f"{type(problem).__name__}: {problem}"))
        if problem:
            raise problem
        if message:
            raise ValueError(f"the process of rank 0 failed: {message}")
        return found

    @contextmanager
    def seeded(self, seed: int) -> Iterator[None]:
        """Use this seed inside the block; after it the random state is as before.

        Args:
            seed: any integer; its lowest 63 bits count.
        """
        cuda = self.device.type == "cuda"
        with torch.random.fork_rng([self.device] if cuda else []):
            torch.default_generator.manual_seed(seed % 2**63)
            if cuda:
                torch.cuda.manual_seed(seed % 2**63)
            yield

    def barrier(self) -> None:
        """Wait until all processes have come here."""
        if self.world_size > 1:
            dist.barrier()


def init_distributed() -> ProcessGroup:
    """Connect to the other processes that `torchrun` started (gloo on CPUs, NCCL on GPUs).

    Returns:
        The group; of this process alone if `torchrun` did not start it.
    """
    cuda = torch.cuda.is_available()
    local = int(os.environ.get("LOCAL_RANK", 0))
    device = torch.device("cuda", local) if cuda else CPU
    if cuda:
        torch.cuda.set_device(device)  # NCCL uses the current device
    if "WORLD_SIZE" not in os.environ:
        return ProcessGroup(device=device)
    if not dist.is_initialized():
        dist.init_process_group("nccl" if cuda else "gloo")
        if not cuda:  # gloo's threads abort a process that exits while they still run
            atexit.register(dist.destroy_process_group)
    return ProcessGroup(dist.get_rank(), dist.get_world_size(), device)
