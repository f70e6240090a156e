"""How much memory a process and its children take, and how much more it may take.

The number that most tools show, the resident size, includes pages of files, which the system may
take back, and counts a page twice if two processes share it. Here they are distinguished.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

try:
    import resource
except ModuleNotFoundError:  # on Windows
    resource = None  # type: ignore[assignment]


@dataclass
class Memory:
    """Bytes of a process and its children; a page that n processes share counts 1/n in each.

    Attributes:
        own: bytes of anonymous memory: arrays, objects. Nobody else can use it.
        shared: bytes shared between processes, such as the memory of a `Loader`'s batches.
        mapped: bytes of files' pages, libraries included. The system may take them back.
    """

    own: int = 0
    shared: int = 0
    mapped: int = 0


def memory_now() -> Memory:
    """Measure the memory in use: on Linux by `smaps_rollup`, elsewhere only what is `own`."""
    me, now = psutil.Process(), Memory()
    for process in [me, *me.children(recursive=True)]:
        try:
            text = Path(f"/proc/{process.pid}/smaps_rollup").read_text("ascii")
            fields = dict(line.split(":") for line in text.splitlines()[1:])
            kilobytes = {name: int(value.split()[0]) for name, value in fields.items()}
            kinds = [kilobytes[f"Pss_{kind}"] * 1024 for kind in ("Anon", "Shmem", "File")]
        except (OSError, KeyError):  # not Linux, or an old one, or the process has ended
            kinds = [_own(process), 0, 0]
        now.own, now.shared = now.own + kinds[0], now.shared + kinds[1]
        now.mapped += kinds[2]
    return now


def _own(process: psutil.Process) -> int:
    """The bytes that only this process has, or else all its bytes; 0 if it has ended."""
    with suppress(psutil.Error, OSError):
        return process.memory_full_info().uss
    with suppress(psutil.Error, OSError):
        return process.memory_info().rss
    return 0


@contextmanager
def peak_memory(every: float = 0.05) -> Iterator[Memory]:
    """Watch memory while a `with` block runs; what it yields holds the peaks at the end.

    Args:
        every: seconds between two measurements; a shorter peak can be missed.
    """
    peak, done = Memory(), threading.Event()

    def measure() -> None:
        now = memory_now()
        peak.own, peak.shared = max(peak.own, now.own), max(peak.shared, now.shared)
        peak.mapped = max(peak.mapped, now.mapped)

    def watch() -> None:
        while not done.wait(every):
            measure()

    watcher = threading.Thread(target=watch, daemon=True)
    measure()
    watcher.start()
    try:
        yield peak
        measure()
    finally:
        done.set()
        watcher.join()


def memory_left() -> int:
    """Count the bytes this process may still take: by the machine, its limits and its cgroup."""
    used, left = psutil.Process().memory_info(), [psutil.virtual_memory().available]
    for limit, kind in (("RLIMIT_DATA", "data"), ("RLIMIT_AS", "vms")):
        taken = getattr(used, kind, None)  # macOS does not report how much is data
        if taken is None or not hasattr(resource, limit):  # Windows has no limits
            continue
        if (most := resource.getrlimit(getattr(resource, limit))[0]) != resource.RLIM_INFINITY:
            left.append(most - taken)
    return max(0, min([*left, *(most - used for most, used in _cgroups())]))


def memory_limit() -> int | None:
    """Return the bytes that this process's cgroups may take in all; None: as the machine has."""
    limits = [most for most, _ in _cgroups() if most < psutil.virtual_memory().total]
    return min(limits, default=None)


def _cgroups() -> list[tuple[int, int]]:
    """The limit of each of this process's cgroups, and what it uses; pages of files make room."""
    found, groups = [], Path("/proc/self/cgroup")
    for line in groups.read_text("utf-8").splitlines() if groups.exists() else []:
        _, controllers, group = line.split(":", 2)
        if controllers not in ("", "memory"):
            continue
        root = Path("/sys/fs/cgroup") / controllers
        most, now = ("limit_in_bytes", "usage_in_bytes") if controllers else ("max", "current")
        for folder in {root / group.strip("/"), root}:
            if not (folder / f"memory.{most}").exists():
                continue
            limit = (folder / f"memory.{most}").read_text("ascii").strip()
            stat = dict(line.split() for line in (folder / "memory.stat").open(encoding="ascii"))
            if limit != "max":
                cache = int(stat.get("total_cache", stat.get("file", 0)))
                used = int((folder / f"memory.{now}").read_text("ascii"))
                found.append((int(limit), used - cache))
    return found
