"""Processes that are killed at random moments, and started again, until all is done.

    python benchmarks/kills.py [--each 25] [--seed 0] [--json FILE] [KIND...]

"train" and "train-2" train a tiny captioner on drawn scenes, in one and in two processes; "prepare"
and "prepare-2" encode the scenes; "export" writes a page for the browser. Each is run once without
a kill. Then it is started again and again, and killed (SIGKILL) at a random moment, of two
processes one of the two, until so many kills have hit a process at work. The work that comes to its
end in between, and at the end, must have left the files of the run that was never killed, byte for
byte: of a run the weights, the checkpoint and the log; of a store and a page all files. After each
kill a page is absent or complete.

Real processes, forked from one that has imported torch, which takes longest.
"""

import argparse
import os
import random
import shutil
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
import torch._dynamo  # optimizers import it

from labkit import train
from labkit.data.readers import DataReport
from labkit.data.scenes import make_scenes
from labkit.distributed import init_distributed
from labkit.export.browser import export_to_browser
from labkit.features.prepare import SCENE_ENCODER, prepare
from labkit.files import sha256, write_json

PATIENCE = 300  # seconds that a process may take
SETTINGS = {
    "attention": "reinforce", "epochs": 3, "batch_size": 10, "feature_dim": 16, "embed_dim": 16,
    "hidden_dim": 24, "attention_dim": 8, "log_every": 2, "save_every": 2, "precision": "fp32",
    "num_workers": 1, "dropout": 0.2,
}  # fmt: skip
KEPT = ("model.safetensors", "checkpoint.safetensors", "metrics.jsonl")  # of a run


@dataclass
class Work:
    """What is done, in how many processes, and the files that it leaves."""

    do: Callable[[Path], object]
    processes: int
    files: Callable[[Path], list[Path]]


def all_files(folder: Path) -> list[Path]:
    """The files of a store or a page; hidden ones are locks and marks."""
    return sorted(path for path in folder.rglob("[!.]*") if path.is_file())


def works(store: Path) -> dict[str, Work]:
    """The kinds of work by name; training reads the store."""

    def training(out: Path) -> None:
        torch.set_num_threads(1)
        train(store, out, SETTINGS, resume=True, group=init_distributed(), progress=False)

    def preparing(out: Path) -> None:
        torch.set_num_threads(1)
        records, source = make_scenes(24, 0, pixels=SCENE_ENCODER.size), {"source": "scenes"}
        prepare(records, out, SCENE_ENCODER, source, DataReport(), 4, progress=False,
                group=init_distributed())  # fmt: skip

    def exporting(out: Path) -> None:
        for part in out.parent.glob(".part-*"):  # what a killed export leaves
            shutil.rmtree(part)
        export_to_browser(["scenes-soft"], out)

    def of_run(out: Path) -> list[Path]:
        return [out / name for name in KEPT]

    return {
        "train": Work(training, 1, of_run), "train-2": Work(training, 2, of_run),
        "prepare": Work(preparing, 1, all_files), "prepare-2": Work(preparing, 2, all_files),
        "export": Work(exporting, 1, all_files),
    }  # fmt: skip


def start(work: Work, out: Path) -> list[int]:
    """Start its processes, which torch calls ranks; returns their ids."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ids = []
    for rank in range(work.processes):
        if (child := os.fork()) == 0:
            code = 1
            try:
                if work.processes > 1:
                    here = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
                    os.environ |= here | {"RANK": str(rank), "WORLD_SIZE": str(work.processes)}
                quiet = os.open(os.devnull, os.O_WRONLY)
                os.dup2(quiet, 1)
                os.dup2(quiet, 2)
                work.do(out)
                code = 0
            finally:
                os._exit(code)
        ids.append(child)
    return ids


def end(ids: list[int], seconds: float) -> list[int]:
    """Wait for processes, and kill those that take longer; returns how each ended."""
    until, codes = time.monotonic() + seconds, []
    for child in ids:
        while not (found := os.waitpid(child, os.WNOHANG))[0]:
            if time.monotonic() > until:
                os.kill(child, signal.SIGKILL)
            time.sleep(0.005)
        codes.append(os.waitstatus_to_exitcode(found[1]))
    return codes


def digests(work: Work, out: Path) -> dict[str, str]:
    """The contents of what it left, by the files' names."""
    return {str(path.relative_to(out)): sha256(path) for path in work.files(out)}


def kill(name: str, work: Work, each: int, seed: int, folder: Path) -> dict[str, object]:
    """Kill it so many times; returns the counts.

    Raises:
        AssertionError: Something was lost or repeated, or a process failed.
    """
    begun = time.monotonic()
    assert end(start(work, folder / "whole"), PATIENCE) == [0] * work.processes, name
    took, wanted = time.monotonic() - begun, digests(work, folder / "whole")
    rng, kills, finished = random.Random(f"{name} {seed}"), 0, 0
    out = folder / "0"
    while True:
        ids = start(work, out)
        if kills < each:
            time.sleep(rng.uniform(0, took))
            hit = rng.choice(ids)
            os.kill(hit, signal.SIGKILL)
            codes = end([hit], PATIENCE) + end([one for one in ids if one != hit], 10)
        else:
            codes = end(ids, PATIENCE)
            assert set(codes) == {0}, f"{name} failed with codes {codes}"
        kills += codes[0] == -signal.SIGKILL
        if set(codes) == {0}:
            assert digests(work, out) == wanted, f"{name}: not the files of a run never killed"
            shutil.rmtree(out)
            finished += 1
            if kills >= each:
                break
        elif name == "export" and out.exists():
            assert digests(work, out) == wanted, f"{name}: half a page"
            shutil.rmtree(out)
            finished += 1
        assert codes[0] in (0, -signal.SIGKILL), f"{name} failed with code {codes[0]}"
    return {"kind": name, "kills": kills, "finished": finished, "files": len(wanted)}


def main() -> None:
    """Kill what was asked for, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kinds", nargs="*", metavar="KIND")
    parser.add_argument("--each", type=int, default=25, help="kills of each kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    with TemporaryDirectory() as folder:
        store = Path(folder) / "store"
        done = works(store)
        assert end(start(done["prepare"], store), PATIENCE) == [0]
        rows = []
        print("| kind | kills | times finished | files compared |\n|---|---|---|---|")
        for name in asked.kinds or done:
            rows.append(kill(name, done[name], asked.each, asked.seed, Path(folder) / name))
            print("|", " | ".join(map(str, rows[-1].values())), "|", flush=True)
    if asked.json:
        write_json(asked.json, rows)


if __name__ == "__main__":
    main()
