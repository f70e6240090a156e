"""How many images a store may have: what opening it costs, in time and in memory.

    python benchmarks/many_images.py                               # 100,000 and 1,000,000 images
    python benchmarks/many_images.py --images 10000000             # 1.3 GB of disk
    python benchmarks/many_images.py --images 118287 --captions 5 --letters 52    # as in COCO

The features are tiny, one region of four numbers, so that ids, captions and checksums are what is
measured. Each size is written by `StoreWriter` and read by a process of its own, which opens the
store, delivers a whole epoch, each image once, and notes the loader's state in its middle. Another
loader resumes from it: the same ids must follow in the same order, by their SHA-256.

`own` is the most memory that the reading process itself had resident (VmHWM), less what it had
after its imports. Bytes per image count what is kept once the store is open. Linux only.
"""

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

MIB = 1 << 20
WORDS = "a man rides a red horse past the old house beside a lake while two dogs look at him "


def write(store: Path, asked: argparse.Namespace) -> None:
    """Write the store; every caption begins at another letter of the same words."""
    import numpy as np

    from labkit.store.writer import StoreWriter

    words, count = WORDS * (2 + asked.letters // len(WORDS)), asked.images[0]
    texts = [words[begin : begin + asked.letters] for begin in range(len(WORDS))]
    features = np.random.default_rng(0).standard_normal((10_000, 1, 4), np.float32)
    with StoreWriter(store, 1, 4, {"name": "noise"}, {"images": count}, asked.per_shard) as writer:
        for number in range(count):
            some = [texts[(number + k) % len(texts)] for k in range(asked.captions)]
            writer.add("train", f"{number:09d}", features[number % len(features)], some)


def status(name: str) -> int:
    """Read a field of this process's status, in bytes (Linux)."""
    lines = Path("/proc/self/status").read_text("ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


def read(path: Path, batch_size: int) -> dict:
    """Open the store, deliver an epoch, and deliver its second half again after a resume."""
    import numpy as np

    from labkit.store.loader import Loader
    from labkit.store.shards import FeatureStore

    def lines(batch) -> bytes:
        return "".join(f"{store.ids[index]}\n" for index in batch.indices).encode()

    begin, before = time.perf_counter(), status("VmRSS")
    store = FeatureStore(path, "train")
    found = {"images": len(store), "open_s": round(time.perf_counter() - begin, 2)}
    found["bytes_per_image"] = round((status("VmRSS") - before) / len(store))
    found["own_after_open_mib"] = round((status("VmHWM") - before) / MIB)

    begin = time.perf_counter()
    next(iter(Loader(store, batch_size)))
    found["first_batch_s"] = round(time.perf_counter() - begin, 2)

    begin, loader = time.perf_counter(), Loader(store, batch_size)
    state, rest, seen = "", hashlib.sha256(), np.zeros(len(store), np.uint8)
    for batch in loader:
        seen[batch.indices] += 1
        if state:
            rest.update(lines(batch))
        elif loader.position >= len(store) // 2:
            state = json.dumps(loader.state_dict())
    found["images_per_s"] = round(len(store) / (time.perf_counter() - begin))
    resumed, again = Loader(store, batch_size), hashlib.sha256()
    resumed.load_state_dict(json.loads(state))
    for batch in resumed:
        again.update(lines(batch))
    if (seen != 1).any() or rest.digest() != again.digest():
        raise SystemExit("the resumed epoch is not the rest of the uninterrupted one")
    found["own_peak_mib"] = round((status("VmHWM") - before) / MIB)
    return found | {"resumed_at": json.loads(state)["position"], "ids": again.hexdigest()[:12]}


def run(images: int, asked: argparse.Namespace, folder: Path) -> dict:
    """Write a store if it is not there, and read it in a new process."""
    name = f"{images}-{asked.captions}-{asked.letters}-{asked.per_shard}"
    store, begin = folder / name, time.perf_counter()
    if not (store / "manifest.json").exists():
        command = [sys.executable, __file__, "--write", str(store), "--images", str(images)]
        command += ["--captions", str(asked.captions), "--letters", str(asked.letters)]
        command += ["--per-shard", str(asked.per_shard)]
        subprocess.run(command, check=True)
    written = time.perf_counter() - begin
    command = [sys.executable, __file__, "--read", str(store), "--batch", str(asked.batch)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    sizes = {"manifest_kb": round((store / "manifest.json").stat().st_size / 1e3)}
    sizes["records_mb"] = round(sum(p.stat().st_size for p in store.glob("*.jsonl")) / 1e6, 1)
    return json.loads(done.stdout) | sizes | {"write_s": round(written, 1)}


def main() -> None:
    """Print a line of JSON for each number of images."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--images", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--captions", type=int, default=1, help="captions of an image")
    parser.add_argument("--letters", type=int, default=20, help="letters of a caption")
    parser.add_argument("--per-shard", type=int, default=10_000, help="images of a file")
    parser.add_argument("--batch", type=int, default=1000, help="images of a batch")
    parser.add_argument("--data", type=Path, help="folder for the stores, kept and used again")
    parser.add_argument("--write", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--read", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.write:
        return write(asked.write, asked)
    if asked.read:
        return print(json.dumps(read(asked.read, asked.batch)))
    with tempfile.TemporaryDirectory(prefix="labkit-many-images-") as folder:
        for images in asked.images:
            print(json.dumps(run(images, asked, asked.data or Path(folder))), flush=True)


if __name__ == "__main__":
    main()
