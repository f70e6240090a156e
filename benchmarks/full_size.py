"""COCO train2014 at its full size, in a process that may own 1 GiB.

    python benchmarks/full_size.py [--data DIR] [--images 82783] [--mib 1024]

It writes 82,783 images of 196 x 512 numbers in nine files (16.6 GB of disk), reads an epoch in
batches of 40, and checks that every image came exactly once. No process, the loader's workers
included, can take more than the cap: the system refuses it (RLIMIT_DATA: memory that is neither a
file's nor shared). The peaks are of all processes together. Then the same program is to hold
everything in memory, and must say that it cannot before it tries.
"""

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

MIB = 1 << 20
CHILDREN = ("stream", "in memory")


def write(store: Path, count: int) -> None:
    """The store, with five captions for each image, as COCO has."""
    from contenders import DIM, LENGTH, image

    from labkit.store.writer import StoreWriter

    with StoreWriter(store, LENGTH, DIM, {"name": "noise"}, {"images": count}, 10_000) as writer:
        for number in range(count):
            texts = [f"caption {k} of image {number} is about so many words long" for k in range(5)]
            writer.add("train", f"COCO_train2014_{number:012d}.jpg", image(number), texts)


def stream(path: Path) -> dict:
    """Read an epoch; every image must come once, with its own features, under its own id."""
    import numpy as np
    from contenders import BATCH, marks_of, numbers_of

    from labkit.store.loader import Loader
    from labkit.store.memory import peak_memory
    from labkit.store.shards import FeatureStore

    with peak_memory(every=0.1) as peak:
        store = FeatureStore(path, "train")
        seen, begin = np.zeros(len(store), np.int64), time.perf_counter()
        for batch in Loader(store, BATCH):
            numbers = numbers_of(marks_of(batch.features))
            ids = [store.ids[index] for index in batch.indices]
            if ids != [f"COCO_train2014_{number:012d}.jpg" for number in numbers]:
                raise SystemExit("features came under the id of another image")
            np.add.at(seen, numbers, 1)
        seconds = time.perf_counter() - begin
    if not (seen == 1).all():
        raise SystemExit(f"{(seen != 1).sum()} images did not come exactly once")
    return {
        "images": len(store),
        "files": [shard["count"] for shard in store.shards],
        "seconds": round(seconds, 1),
        "images_per_second": round(len(store) / seconds),
        "peak_own_mib": round(peak.own / MIB),
        "peak_shared_mib": round(peak.shared / MIB),
        "peak_mapped_mib": round(peak.mapped / MIB),
        "peak_resident_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


def hold_in_memory(path: Path) -> dict:
    """Try the loader that cannot work: it must say so."""
    from labkit.store.alternatives import InMemoryLoader
    from labkit.store.shards import FeatureStore

    try:
        InMemoryLoader(FeatureStore(path, "train"), 40)
    except MemoryError as error:
        return {"refused": str(error)}
    raise SystemExit("everything was read into memory, which should not fit")


def capped(child: str, store: Path, mib: int) -> dict:
    """Run one of the two in a separate process with the cap."""
    command = [sys.executable, __file__, "--child", child, "--data", str(store), "--mib", str(mib)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Write, read under the cap, be refused under the cap."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--images", type=int, default=82_783)
    parser.add_argument("--mib", type=int, default=1024, help="cap of each process")
    parser.add_argument("--data", type=Path, help="folder for the store, kept and used again")
    parser.add_argument("--child", choices=CHILDREN, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child:
        resource.setrlimit(resource.RLIMIT_DATA, (asked.mib * MIB,) * 2)  # before torch is there
        found = stream(asked.data) if asked.child == "stream" else hold_in_memory(asked.data)
        return print(json.dumps(found))
    data = asked.data or Path(tempfile.mkdtemp(prefix="labkit-full-size-"))
    try:
        if not (data / "manifest.json").exists():
            print(f"write {asked.images:,} images", file=sys.stderr)
            write(data, asked.images)
        found = {"cap_mib": asked.mib} | {name: capped(name, data, asked.mib) for name in CHILDREN}
    finally:
        if asked.data is None:
            shutil.rmtree(data)
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
