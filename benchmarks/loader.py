"""How fast each loader delivers the same images, and what memory it takes.

    python benchmarks/loader.py                     # 1.6 GB of features in each format
    python benchmarks/loader.py --full              # 16.6 GB, those that read this project's files
    python benchmarks/loader.py --json loader.json  # the figures as JSON

Every run of a contender is a new process: a first epoch with the files out of the system's cache
("cold", the time to open included), then two with the files in it ("warm", the better one).
Contenders take turns, and each round begins with another one, so that what slows the machine down
slows all of them. Every image contains its number, and each must come exactly once. Memory is
measured in separate runs.

webdataset, mosaicml-streaming and litdata are no dependencies: what is not installed is left out.
"""

import argparse
import importlib.util
import json
import mmap
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

IMAGE = 196 * 512 * 2  # bytes
MIB = 1 << 20
LARGE = 2 << 20  # bytes of a large page
BASELINE = "importing torch"


# ------------------------------------------------------------------------------- one process


def run_epoch(epoch, number: int, count: int) -> float:
    """Measure the seconds of one epoch, in which every image must come exactly once."""
    import torch
    from contenders import marks_of, numbers_of

    begin = time.perf_counter()
    marks = [marks_of(features) for features in epoch(number)]  # compared when the clock stands
    seconds = time.perf_counter() - begin
    seen = np.bincount(numbers_of(torch.cat(marks)), minlength=count)
    if not (seen == 1).all():
        raise SystemExit(f"{(seen == 0).sum()} images never came, {(seen > 1).sum()} came again")
    return seconds


def be_contender(name: str, folder: Path, count: int, memory: bool) -> dict:
    """Measure the time or the memory of one contender, in this process."""
    from contenders import CONTENDERS

    from labkit.store.memory import peak_memory

    if memory:
        with peak_memory(every=0.02) as peak:
            epoch = CONTENDERS[name].read(folder)
            for number in range(2):
                run_epoch(epoch, number, count)
        return {"own": peak.own / MIB, "shared": peak.shared / MIB, "mapped": peak.mapped / MIB}
    begin = time.perf_counter()
    epoch = CONTENDERS[name].read(folder)
    opened = time.perf_counter() - begin
    cold = opened + run_epoch(epoch, 0, count)
    warm = min(run_epoch(epoch, number, count) for number in (1, 2))
    return {"cold": count / cold, "warm": count / warm}


def be_baseline() -> dict:
    """Measure the memory of a process that has only imported torch."""
    import torch

    torch.zeros(1)
    sys.path.insert(0, str(Path(__file__).parents[1] / "labkit" / "store"))
    from memory import memory_now  # the file alone: labkit itself would import more than torch

    now = memory_now()
    return {"own": now.own / MIB, "shared": now.shared / MIB, "mapped": now.mapped / MIB}


def child(*arguments: str) -> dict:
    """Run this file in a process of its own."""
    done = subprocess.run(
        [sys.executable, __file__, *arguments], stdout=subprocess.PIPE, text=True, check=True
    )
    return json.loads(done.stdout.splitlines()[-1])


# -------------------------------------------------------------------------------------- disk


def forget(folder: Path) -> None:
    """Remove the files from the system's cache."""
    for path in folder.rglob("*"):
        if path.is_file():
            file = os.open(path, os.O_RDONLY)
            os.fsync(file)
            os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(file)


def disk_limit(folder: Path, count: int) -> dict[str, float]:
    """Measure plain reads of one image each, in random order, in images/s.

    Returns:
        For each number of threads, through the system's cache and past it ("direct").
    """
    files = [os.open(path, os.O_RDONLY) for path in sorted(folder.glob("*.npy"))]
    direct = [os.open(path, os.O_RDONLY | os.O_DIRECT) for path in sorted(folder.glob("*.npy"))]
    sizes = [os.fstat(file).st_size // IMAGE for file in files]
    places = [(number, row) for number, size in enumerate(sizes) for row in range(size)]
    places = [places[i] for i in np.random.default_rng(0).permutation(count)[:2048]]
    found = {}
    for threads in (1, 2, 4, 8, 16):
        for name, opened in (("", files), (" direct", direct)):
            forget(folder)
            begin = time.perf_counter()
            with ThreadPoolExecutor(threads) as pool:
                jobs = [pool.submit(read_part, opened, places[t::threads]) for t in range(threads)]
                [job.result() for job in jobs]
            found[f"{threads}{name}"] = len(places) / (time.perf_counter() - begin)
    for file in files + direct:
        os.close(file)
    return found


def read_part(files: list[int], places: list[tuple[int, int]]) -> None:
    """Read as many bytes as an image has, aligned to pages, as direct reads require.

    Into memory of large pages: then a direct read is one piece for the disk, not 49.
    """
    memory = mmap.mmap(-1, 2 * LARGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory.madvise(mmap.MADV_HUGEPAGE)
    begin = -np.frombuffer(memory, np.uint8).ctypes.data % LARGE
    buffer = memoryview(memory)[begin : begin + IMAGE]
    for number, row in places:
        os.preadv(files[number], [buffer], row * IMAGE // 4096 * 4096)


# ------------------------------------------------------------------------------ all together


def measure(data: Path, names: list[str], count: int, rounds: int) -> dict:
    """Let the contenders take turns; after the rounds for speed comes one for memory."""
    from contenders import CONTENDERS

    speed: dict[str, dict[str, list[float]]] = {n: {"cold": [], "warm": []} for n in names}
    memory, disk = {BASELINE: child("--baseline")}, []
    for number in range(rounds + 1):
        if number < rounds:
            disk.append(disk_limit(data / "store", count))
        for name in names[number % len(names) :] + names[: number % len(names)]:
            folder = data / CONTENDERS[name].files
            forget(folder)
            arguments = ["--child", name, "--data", str(folder), "--images", str(count)]
            if number == rounds:
                memory[name] = child(*arguments, "--memory")
                continue
            found = child(*arguments)
            for kind, images in found.items():
                speed[name][kind].append(images)
            show = {kind: round(images) for kind, images in found.items()}
            print(f"round {number + 1} {name:20}", show, file=sys.stderr)
    return {"speed": speed, "memory": memory, "disk": disk}


def summary(found: dict, count: int, rounds: int) -> dict:
    """Take medians; those of ratios are of the rounds' ratios, as a round's runs are close.

    The disk's limit is the best way's median. The best of each round would also pick the noise.
    """
    ours = found["speed"]["labkit"]
    ways = {way: [limits[way] for limits in found["disk"]] for way in found["disk"][0]}
    cached = max((statistics.median(v), v) for way, v in ways.items() if "direct" not in way)
    direct = max((statistics.median(v), v) for way, v in ways.items() if "direct" in way)

    def ratio(other: list[float], kind: str) -> float:
        pairs = zip(ours[kind], other, strict=True)
        return round(statistics.median(a / b for a, b in pairs), 3)

    return {
        "images": count,
        "rounds": rounds,
        "images_per_second": {
            name: {kind: round(statistics.median(values)) for kind, values in kinds.items()}
            for name, kinds in found["speed"].items()
        },
        "ratio": {
            name: {kind: ratio(values, kind) for kind, values in kinds.items()}
            for name, kinds in found["speed"].items()
        },
        "disk_images_per_second": round(cached[0]),
        "disk_share": ratio(cached[1], "cold"),
        "direct_images_per_second": round(direct[0]),
        "direct_share": ratio(direct[1], "cold"),
        "own_mib": {name: round(memory["own"]) for name, memory in found["memory"].items()},
        "shared_mib": {name: round(memory["shared"]) for name, memory in found["memory"].items()},
        "mapped_mib": {name: round(memory["mapped"]) for name, memory in found["memory"].items()},
        "all": found,
    }


def table(result: dict) -> str:
    """Write the figures as Markdown."""
    heads = ["loader", "cold img/s", "MB/s", "warm img/s", "cold ratio", "warm ratio"]
    heads += ["own MiB", "shared MiB", "mapped MiB"]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for name, speed in result["images_per_second"].items():
        ratio, megabytes = result["ratio"][name], speed["cold"] * IMAGE / 1e6
        cells = [name, f"{speed['cold']:,}", f"{megabytes:,.0f}", f"{speed['warm']:,}"]
        cells += [f"{ratio['cold']:.2f}", f"{ratio['warm']:.2f}"]
        cells += [f"{result[f'{kind}_mib'][name]:,}" for kind in ("own", "shared", "mapped")]
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", "A ratio is labkit's speed over the other's."]
    lines += [f"A process that has only imported torch owns {result['own_mib'][BASELINE]} MiB."]
    for kind, way in (("disk", "through the cache"), ("direct", "past the cache")):
        limit, share = result[f"{kind}_images_per_second"], result[f"{kind}_share"]
        lines += [f"The disk gives at most {limit:,} such reads/s {way}"]
        lines += [f"({limit * IMAGE / 1e6:,.0f} MB/s); labkit's share of that, cold: {share:.2f}."]
    return "\n".join(lines)


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--images", type=int, default=8192, help="200 KB each")
    parser.add_argument("--full", action="store_true", help="82,783 images, 16.6 GB")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", help="contenders to run beside labkit")
    parser.add_argument("--data", type=Path, help="folder for the files, kept and used again")
    parser.add_argument("--json", type=Path, help="write the figures here")
    for name in ("--memory", "--baseline"):
        parser.add_argument(name, action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    """Write the files that are missing, measure, show."""
    asked = arguments()
    if asked.baseline:
        return print(json.dumps(be_baseline()))
    if asked.child:
        return print(json.dumps(be_contender(asked.child, asked.data, asked.images, asked.memory)))
    from contenders import CONTENDERS, WRITERS

    count = 82_783 if asked.full else asked.images
    names = [n for n, c in CONTENDERS.items() if importlib.util.find_spec(c.needs)]
    if asked.full:
        names = [n for n in names if CONTENDERS[n].files == "store" and n != "in memory"]
    names = [n for n in names if not asked.only or n in ("labkit", *asked.only)]
    data = asked.data or Path(tempfile.mkdtemp(prefix="labkit-benchmark-"))
    try:
        for files in dict.fromkeys(CONTENDERS[name].files for name in names):
            if not (data / files).exists():
                print(f"write {files}", file=sys.stderr)
                WRITERS[files](data / files, count)
        result = summary(measure(data, names, count, asked.rounds), count, asked.rounds)
    finally:
        if asked.data is None:
            shutil.rmtree(data)
    print(table(result))
    if asked.json:
        asked.json.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
