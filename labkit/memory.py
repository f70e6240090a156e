"""How much memory a process and its children take, and how much it may still take.

The one number that most tools show, the resident size, counts pages of files that the system may
take back, and counts a page twice that two processes share. Here they are told apart.
"""

import resource
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil


@dataclass
class Memory:
    """Bytes of a process and its children; a page that n processes share counts 1/n in each.

    Attributes:
        own: anonymous memory: arrays, objects. Nobody else can use it.
        shared: memory shared between processes, such as a `DataLoader`'s queues.
        mapped: pages of files, libraries included. The system may take them back.
    """

    own: int = 0
    shared: int = 0
    mapped: int = 0


def memory_now() -> Memory:
    """Ask the system: on Linux by `smaps_rollup`, elsewhere only for what is `own`."""
    me, now = psutil.Process(), Memory()
    for process in [me, *me.children(recursive=True)]:
        try:
            text = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
        except (FileNotFoundError, ProcessLookupError):  # this is not Linux, or it has ended
            if not psutil.LINUX and process.is_running():
                now.own += process.memory_full_info().uss
            continue
        fields = dict(line.split(":") for line in text.splitlines()[1:])
        kilobytes = {name: int(value.split()[0]) for name, value in fields.items()}
        now.own += kilobytes["Pss_Anon"] * 1024
        now.shared += kilobytes["Pss_Shmem"] * 1024
        now.mapped += kilobytes["Pss_File"] * 1024
    return now


@contextmanager
def peak_memory(every: float = 0.05) -> Iterator[Memory]:
    """Watch memory while a `with` block runs; what it yields holds the peaks in the end.

    Args:
        every: seconds between two looks; a shorter peak can be missed.
    """
    peak, done = Memory(), threading.Event()

    def look() -> None:
        now = memory_now()
        peak.own, peak.shared = max(peak.own, now.own), max(peak.shared, now.shared)
        peak.mapped = max(peak.mapped, now.mapped)

    def watch() -> None:
        while not done.wait(every):
            look()

    watcher = threading.Thread(target=watch, daemon=True)
    look()
    watcher.start()
    try:
        yield peak
        look()
    finally:
        done.set()
        watcher.join()


def memory_left() -> int:
    """Count the bytes this process may still take, by the machine, its limits and its cgroup."""
    used, left = psutil.Process().memory_info(), [psutil.virtual_memory().available]
    for limit, taken in ((resource.RLIMIT_DATA, used.data), (resource.RLIMIT_AS, used.vms)):
        if (most := resource.getrlimit(limit)[0]) != resource.RLIM_INFINITY:
            left.append(most - taken)
    return max(0, min(left + _left_in_cgroups()))


def _left_in_cgroups() -> list[int]:
    """What the groups this process is in may still take; pages of files would make room."""
    found, groups = [], Path("/proc/self/cgroup")
    for line in groups.read_text().splitlines() if groups.exists() else []:
        _, controllers, group = line.split(":", 2)
        if controllers not in ("", "memory"):
            continue
        root = Path("/sys/fs/cgroup") / controllers
        most, now = ("limit_in_bytes", "usage_in_bytes") if controllers else ("max", "current")
        for folder in {root / group.strip("/"), root}:
            if not (folder / f"memory.{most}").exists():
                continue
            limit = (folder / f"memory.{most}").read_text().strip()
            stat = dict(line.split() for line in (folder / "memory.stat").open())
            if limit != "max":
                cache = int(stat.get("total_cache", stat.get("file", 0)))
                used = int((folder / f"memory.{now}").read_text())
                found.append(int(limit) - used + cache)
    return found
