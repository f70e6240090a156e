"""Training in one, two and four processes: how far the curves differ, and how fast each is.

    python benchmarks/processes.py [--scenes 100] [--epochs 2] [--json FILE]

Each mechanism is trained on drawn scenes with the recommended sizes, in float32 and with dropout,
in batches of 50 for all processes together. The differences are from the run of one process: the
largest of the losses of all steps, which the log keeps with four digits, and the largest of all
weights at the end. The rate counts captions, from the first step to the last.

Real processes, connected by gloo.
"""

import argparse
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from kills import PATIENCE, Work, all_files, end, start

from labkit.data.readers import DataReport
from labkit.data.scenes import make_scenes
from labkit.distributed import init_distributed
from labkit.features.prepare import SCENE_ENCODER, prepare
from labkit.files import read_json, write_json
from labkit.model import checkpoint
from labkit.store.shards import source_of
from labkit.training.config import defaults_for, resolve
from labkit.training.trainer import Trainer

SAME = {"log_every": 1, "num_workers": 1, "precision": "fp32", "dropout": 0.2, "word_dropout": 0.1,
        "feature_dropout": 0.1}  # fmt: skip
KINDS = {
    "soft": {},
    "argmax": {"attention": "argmax"},
    "reinforce, average": {"attention": "reinforce"},
    "reinforce, others": {"attention": "reinforce", "baseline": "others", "samples": 2},
    "reinforce, learned": {"attention": "reinforce", "baseline": "learned"},
    "gumbel": {"attention": "gumbel"},
    "marginal": {"attention": "marginal"},
}
COUNTS = (1, 2, 4)


def training(store: Path, settings: dict, count: int) -> Work:
    """A run, and a file that says how long it took."""

    def do(out: Path) -> None:
        torch.set_num_threads(1)
        known = resolve(defaults_for(source_of(store)), settings)
        trainer = Trainer(store, out, known, False, init_distributed(), progress=False)
        begun = time.monotonic()
        trainer.run()
        if trainer.group.is_main:
            captions = trainer.config.epochs * trainer.loader.num_samples
            write_json(out / "rate.json", captions / (time.monotonic() - begun))

    return Work(do, count, all_files)


def main() -> None:
    """Train all, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scenes", type=int, default=100)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    rows = []
    with TemporaryDirectory() as folder:
        store, source = Path(folder) / "store", {"source": "scenes"}
        records = make_scenes(asked.scenes, pixels=SCENE_ENCODER.size)

        def preparing(out: Path) -> None:
            prepare(records, out, SCENE_ENCODER, source, DataReport(), progress=False)

        assert end(start(Work(preparing, 1, all_files), store), PATIENCE) == [0]
        print("| mechanism | processes | losses differ by | weights differ by | captions/s |")
        print("|---|---|---|---|---|")
        for number, (name, settings) in enumerate(KINDS.items()):
            one = None
            for count in COUNTS:
                work = training(store, settings | SAME | {"epochs": asked.epochs}, count)
                out = Path(folder) / f"{number}-{count}"
                assert end(start(work, out), PATIENCE) == [0] * count, f"{name} failed"
                tensors, facts = checkpoint.load(out / "checkpoint.safetensors")
                losses = [row["loss"] for row in facts["rows"] if "loss" in row]
                one = one or (tensors, losses)
                loss = max(abs(a - b) for a, b in zip(one[1], losses, strict=True))
                weight = max(float((value - one[0][key]).abs().max())
                             for key, value in tensors.items() if key[:6] == "model.")  # fmt: skip
                rate = read_json(out / "rate.json")
                rows.append([name, count, round(loss, 4), weight, round(rate)])
                print(f"| {name} | {count} | {loss:.4f} | {weight:.1e} | {rate:.0f} |", flush=True)
    if asked.json:
        write_json(asked.json, rows)


if __name__ == "__main__":
    main()
