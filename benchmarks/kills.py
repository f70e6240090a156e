"""Processes that are killed at random moments, and started again, until all is done.

    python benchmarks/kills.py [--each 25] [--seed 0] [--json FILE] [KIND...]
    python benchmarks/kills.py --everywhere [--json FILE] [KIND...]

"train" and "train-2" train a tiny captioner on drawn scenes, in one and in two processes; "prepare"
and "prepare-2" encode the scenes; "export" writes a page for the browser. Each is run once without
a kill. Then it is started again and again, and killed (SIGKILL) at a random moment, of two
processes one of the two, until so many kills have hit a process at work. The work that comes to its
end in between, and at the end, must have left the files of the run that was never killed, byte for
byte: of a run the weights, the checkpoint, the log and its figure; of a store and a page all files.
After each kill a page is absent or complete. Where files differ, it says in what, and keeps the
folders.

A moment between two renames is too short for chance to hit it often. With --everywhere the work is
killed before each thing that rank 0 does with a file, one after the other: before it opens, renames
or removes a file, or makes a folder. After each kill it is started once more and comes to its end.

Real processes, forked from one that has imported torch, which takes longest.
"""

import argparse
import os
import random
import shutil
import signal
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from tempfile import mkdtemp

import torch
import torch._dynamo  # optimizers import it

from labkit import train
from labkit.data.readers import DataReport
from labkit.data.scenes import make_scenes
from labkit.distributed import init_distributed
from labkit.export.browser import export_to_browser
from labkit.features.prepare import SCENE_ENCODER, prepare
from labkit.files import sha256, write_json
from labkit.model import checkpoint

PATIENCE = 300  # seconds that a process may take
SETTINGS = {
    "attention": "reinforce", "epochs": 3, "batch_size": 10, "feature_dim": 16, "embed_dim": 16,
    "hidden_dim": 24, "attention_dim": 8, "log_every": 2, "save_every": 2, "precision": "fp32",
    "num_workers": 1, "dropout": 0.2,
}  # fmt: skip
TOUCHED = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir"}  # Python's audit events
KEPT = ("model.safetensors", "checkpoint.safetensors", "metrics.jsonl", "loss.png")  # of a run


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
        if not out.exists():  # else it is complete
            export_to_browser(["scenes-soft"], out)

    def of_run(out: Path) -> list[Path]:
        return [out / name for name in KEPT]

    return {
        "train": Work(training, 1, of_run), "train-2": Work(training, 2, of_run),
        "prepare": Work(preparing, 1, all_files), "prepare-2": Work(preparing, 2, all_files),
        "export": Work(exporting, 1, all_files),
    }  # fmt: skip


def die_before(number: int, folder: Path) -> None:
    """Have this process killed before it does a thing of this number with a file of a folder."""
    mine, numbers = os.getpid(), count(1)

    def hook(event: str, about: tuple[object, ...]) -> None:
        ours = event in TOUCHED and os.getpid() == mine and str(about[0]).startswith(str(folder))
        if ours and next(numbers) == number:
            os.kill(mine, signal.SIGKILL)

    sys.addaudithook(hook)


def start(work: Work, out: Path, number: int | None = None) -> list[int]:
    """Start its processes, which torch calls ranks; returns their ids.

    Rank 0 is killed before it does a thing of this number with a file, if a number is given.
    """
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
                if rank == 0 and number is not None:
                    die_before(number, out.parent)
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


def compare(work: Work, whole: Path, out: Path) -> None:
    """See that the files are those of the work that was never killed.

    Raises:
        AssertionError: They are not; it says which, and which tensors or lines of them differ.
    """
    wanted, found = digests(work, whole), digests(work, out)
    names = sorted(name for name in {*wanted, *found} if wanted.get(name) != found.get(name))
    lines = [f"{out} has other files than {whole}: {', '.join(names)}"]
    for name in (name for name in names if name in wanted and name in found):
        one, other = whole / name, out / name
        if name.endswith(".safetensors"):
            (tensors, facts), (others, other_facts) = checkpoint.load(one), checkpoint.load(other)
            for key in {*tensors} & {*others}:
                if not torch.equal(tensors[key], others[key]):
                    most = (tensors[key].double() - others[key].double()).abs().max()
                    lines.append(f"{name}, {key}: a difference of {most:.3g}")
            lines += [f"{name}: {facts} is {other_facts}"] * (facts != other_facts)
        elif name.endswith(".jsonl"):
            pairs = zip(one.read_text().splitlines(), other.read_text().splitlines(), strict=False)
            lines += [f"{name}: {a} is {b}" for a, b in pairs if a != b]
    assert not names, "\n".join(lines)


def kill(name: str, work: Work, each: int, seed: int, folder: Path) -> dict[str, object]:
    """Kill it so many times; returns the counts.

    Raises:
        AssertionError: Something was lost or repeated, or a process failed.
    """
    begun, whole = time.monotonic(), folder / "whole"
    assert end(start(work, whole), PATIENCE) == [0] * work.processes, name
    took = time.monotonic() - begun
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
            compare(work, whole, out)
            shutil.rmtree(out)
            finished += 1
            if kills >= each:
                break
        assert codes[0] in (0, -signal.SIGKILL), f"{name} failed with code {codes[0]}"
    return {"kind": name, "kills": kills, "finished": finished, "files": len(work.files(whole))}


def kill_everywhere(name: str, work: Work, folder: Path) -> dict[str, object]:
    """Kill rank 0 before each thing that it does with a file; returns the counts.

    Raises:
        AssertionError: See `kill`.
    """
    whole, out = folder / "whole", folder / "out"
    assert end(start(work, whole), PATIENCE) == [0] * work.processes, name
    for number in count(1):
        first, *others = start(work, out, number)
        codes = end([first], PATIENCE) + end(others, 10)
        if codes[0] == 0:  # there is nothing more to kill it before
            break
        assert codes[0] == -signal.SIGKILL, f"{name} failed with code {codes[0]}"
        codes = end(start(work, out), PATIENCE)
        assert set(codes) == {0}, f"{name}, killed at {number}, failed with codes {codes}"
        compare(work, whole, out)
        shutil.rmtree(out)
    files = len(work.files(whole))
    return {"kind": name, "kills": number - 1, "finished": number - 1, "files": files}


def main() -> None:
    """Kill what was asked for, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kinds", nargs="*", metavar="KIND")
    parser.add_argument("--each", type=int, default=25, help="kills of each kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--everywhere", action="store_true", help="kill before each file operation")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    folder = Path(mkdtemp(prefix="kills-"))  # kept if something fails
    done = works(folder / "store")
    assert end(start(done["prepare"], folder / "store"), PATIENCE) == [0]
    rows = []
    print("| kind | kills | times finished | files compared |\n|---|---|---|---|")
    for name in asked.kinds or done:
        work, here = done[name], folder / name
        here.mkdir()
        if asked.everywhere:
            rows.append(kill_everywhere(name, work, here))
        else:
            rows.append(kill(name, work, asked.each, asked.seed, here))
        print("|", " | ".join(map(str, rows[-1].values())), "|", flush=True)
    shutil.rmtree(folder)
    if asked.json:
        write_json(asked.json, rows)


if __name__ == "__main__":
    main()
