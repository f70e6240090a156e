"""Pair today's package with another revision of it: training, captions and scores, in one run.

    python benchmarks/against.py REV                    # REV as git knows it, such as HEAD~20
    python benchmarks/against.py REV --store STORE      # scores its dev split, too

The other revision is checked out into a temporary folder. Both run with the same Python and
packages, in processes of their own that take turns. Each measures, in CPU time of one thread:

- a step of ``--recipe flickr8k-soft`` (100 captions, 64 regions of 1,280 numbers), the optimiser
  and the average of the weights included, on random features, after 20 steps: until then
  oneDNN makes code for each size of a product that it meets;
- captions of `flickr8k-soft` by minimum Bayes risk (32 beams) and by 5 beams, on 50 images (random
  features of the model's own shape, so both revisions should have the same model);
- with ``--store``, a store as the recipe's header makes it: `labkit evaluate flickr8k-soft` on it.

The captions of both revisions are compared. Ratios are medians over the rounds.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

IMAGES, STEPS, WARM_UP = 50, 40, 20


def cpu(children: bool = False) -> float:
    """CPU seconds of this process, or of the processes it has waited for."""
    who = resource.RUSAGE_CHILDREN if children else resource.RUSAGE_SELF
    used = resource.getrusage(who)
    return used.ru_utime + used.ru_stime


def draw_store(folder: Path) -> None:
    """Random features of 400 images with five captions each, of a hundred words."""
    from labkit import StoreWriter

    rng = np.random.default_rng(0)
    encoder = {"name": "random", "size": 1, "block": 1, "weights_hash": "0"}
    with StoreWriter(folder, 64, 1280, encoder, {"source": "random"}) as writer:
        for number in range(400):
            features = np.maximum(rng.standard_normal((64, 1280), dtype=np.float32), 0)
            captions = [
                " ".join(f"word{w}" for w in rng.integers(0, 2500, rng.integers(8, 16)))
                for _ in range(5)
            ]
            writer.add("train", f"{number}.jpg", features, captions)


def measure(folder: Path, store: str | None, number: int) -> dict:
    """All figures of the revision that this process imports."""
    import torch

    import labkit
    from labkit import Captioner, GenerationConfig
    from labkit.model.generation import generate
    from labkit.training.config import defaults_for, resolve
    from labkit.training.recipes import read_recipe
    from labkit.training.trainer import Trainer

    torch.set_num_threads(1)
    found: dict = {}
    captioner = Captioner.from_pretrained("flickr8k-soft")
    if store:
        from labkit import FeatureStore

        a = torch.from_numpy(FeatureStore(store, "dev").read(range(IMAGES))).float()
    else:
        rows, columns = captioner.encoder_facts["grid"]
        shape = IMAGES, rows * columns, captioner.decoder.config.encoder_dim
        a = torch.randn(shape, generator=torch.Generator().manual_seed(0)).relu()
    for name, config in {
        "captions, 32 beams": captioner.generation,
        "captions, 5 beams": GenerationConfig(num_beams=5),
    }.items():
        generate(captioner.decoder, a[:10], config)
        begin = cpu()
        captions = generate(captioner.decoder, a, config)
        found[f"{name}, ms an image"] = (cpu() - begin) / IMAGES * 1e3
        found[f"words of {name}"] = [caption.words for caption in captions]
    recipe = read_recipe("flickr8k-soft") | {"min_count": 1, "num_workers": 0}
    settings = resolve(defaults_for({}), recipe)
    trainer = Trainer(folder, folder.parent / f"run{number}-{os.getpid()}", settings)
    trainer.model.train()
    times = []
    for batch in (batch for _ in range(2) for batch in trainer.loader):
        begin = cpu()
        trainer.train_step(batch)
        times.append(cpu() - begin)
        if len(times) == STEPS:
            break
    found["training step, ms"] = statistics.median(times[WARM_UP:]) * 1e3
    if store:
        command = [sys.executable, "-m", "labkit", "evaluate", "flickr8k-soft", "--data", store]
        begin, wall = cpu(children=True), time.perf_counter()
        package = Path(labkit.__file__).parents[1]  # python -m looks into the current folder first
        done = subprocess.run(command, cwd=package, stdout=subprocess.PIPE, text=True, check=True)
        found["evaluate, s of CPU"] = cpu(children=True) - begin
        found["evaluate, s"] = time.perf_counter() - wall
        found["scores"] = done.stdout.split()
    return found


def child(path: Path, *words: str) -> dict:
    """Run this file in a process that imports the package from a folder."""
    environment = os.environ | {"PYTHONPATH": str(path), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, __file__, *words], env=environment, stdout=subprocess.PIPE, text=True,
        check=True,
    )  # fmt: skip
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("revision")
    parser.add_argument("--store", help="a store of photographs with a split dev")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write the figures there, too")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        print(json.dumps(measure(Path(args.child[0]), args.store, int(args.child[1]))))
        return
    here = Path(__file__).resolve().parents[1]
    with tempfile.TemporaryDirectory() as temporary:
        other, store = Path(temporary) / "other", Path(temporary) / "store"
        git = ["git", "-C", str(here), "worktree"]
        subprocess.run([*git, "add", "--detach", "-q", str(other), args.revision], check=True)
        try:
            draw_store(store)
            words = ["--store", args.store] if args.store else []
            rounds = []
            for number in range(args.rounds):
                pair = [("before", other), ("now", here)][:: 1 if number % 2 else -1]
                rounds.append({
                    name: child(path, args.revision, *words, "--child", str(store), str(number))
                    for name, path in pair
                })  # fmt: skip
        finally:
            subprocess.run([*git, "remove", "--force", str(other)], check=True)
    show(rounds)
    if args.json:
        args.json.write_text(json.dumps(rounds, indent=1) + "\n")


def show(rounds: list[dict]) -> None:
    """Print a line for each figure, and how many captions are the same."""
    print(f"{'':34}{'before':>10}{'now':>10}{'now/before':>12}")
    for name, value in rounds[0]["now"].items():
        if isinstance(value, float):
            before, now = ([one[w][name] for one in rounds] for w in ("before", "now"))
            ratio = statistics.median(n / b for n, b in zip(now, before, strict=True))
            print(f"{name:34}{statistics.median(before):10.1f}{statistics.median(now):10.1f}{ratio:12.2f}")
        elif name.startswith("words"):
            old = rounds[0]["before"][name]
            same = sum(x == y for x, y in zip(value, old, strict=True))
            print(f"{name:34}{same} of {len(value)} are the same")
        else:
            for which in ("before", "now"):
                print(f"{name} {which}: {' '.join(rounds[0][which][name])}")


if __name__ == "__main__":
    main()
