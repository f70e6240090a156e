"""Spoil files of every kind that labkit reads, by seed, and count what the readers make of them.

    python benchmarks/fuzz.py --inputs 10000 [--only NAME ...]

A reader may accept a spoiled file or refuse it with one sentence. Everything else is counted as a
fault: an error of another kind ("crashes"), more than 10 seconds ("hangs"), and, where the file has
a checksum, content that differs from the truth ("wrong accepts"). hypothesis draws the inputs from
the seed; the same number gives the same files. Each reader runs in a process of its own, so that
its peak of memory can be told.
"""

import argparse
import io
import json
import multiprocessing
import random
import resource
import shutil
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hypothesis

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "data")]
HANG = 10.0  # seconds
PATIENCE = 3600  # seconds for all files of a reader


@dataclass
class Target:
    """A file, who reads it, and what the reader gives of the sound file.

    Attributes:
        path: The file to spoil.
        read: Reads it and what is beside it.
        truth: What a spoiled file must not differ from, where it is checksummed; else None.
    """

    path: Path
    read: Callable[[], Any]
    truth: Any = None


def captions(name: str) -> Callable[[Path], Target]:
    """A captions file in one of the layouts of `tests/data/test_spoiled.py`."""

    def make(root: Path) -> Target:
        from test_spoiled import LAYOUTS

        from labkit.data.readers import READERS

        reader, file, write = LAYOUTS[name]
        write(root)
        return Target(root / file, lambda: READERS[reader](root))

    return make


def results(name: str) -> Callable[[Path], Target]:
    """A file of generated captions."""

    def make(root: Path) -> Target:
        from test_spoiled import RESULTS

        from labkit.evaluation.results import read_results

        (root / name).write_bytes(RESULTS[name])
        return Target(root / name, lambda: read_results(root / name))

    return make


def store(name: str) -> Callable[[Path], Target]:
    """A file of a store; everything is read, and compared with what was written."""

    def make(root: Path) -> Target:
        from small_stores import make_store

        from labkit.store.shards import FeatureStore

        make_store(root / "store", 9)

        def read() -> Any:
            found = FeatureStore(root / "store", "train")
            features = found.read(range(len(found))).tobytes()
            return found.ids, found.captions, features, found.encoder, found.source

        return Target(root / "store" / name, read, read())

    return make


def model(name: str) -> Callable[[Path], Target]:
    """A file of a trained model; the weights have a checksum, the settings only a structure."""

    def make(root: Path) -> Target:
        import numpy as np
        import torch

        from labkit.model import checkpoint
        from labkit.model.captioner import PRETRAINED, Captioner
        from labkit.model.word_detector import WordDetector

        folder = shutil.copytree(PRETRAINED / "scenes-soft", root / "model")
        tensors, facts = checkpoint.load(folder / "model.safetensors")
        checkpoint.save(folder / "model.safetensors", tensors, facts)
        decoder = Captioner.from_pretrained(folder).decoder
        E, V, D = decoder.config.embed_dim, decoder.bias.numel(), decoder.config.feature_dim
        WordDetector(decoder, torch.ones(E, 2 * D), torch.ones(V), torch.ones(V)).save(folder)

        def read() -> Any:
            found = Captioner.from_pretrained(folder)
            if found.detector is None:  # as standard error says
                raise ValueError(f"{folder / 'detector.safetensors'} is not used")
            parts = [*found.decoder.state_dict().items(), *found.detector.tensors().items()]
            return [(name, np.asarray(value).tobytes()) for name, value in parts]

        return Target(folder / name, read, read() if name.endswith("safetensors") else None)

    return make


def saved(root: Path) -> Target:
    """A checkpoint."""
    import torch

    from labkit.model import checkpoint

    path = root / "checkpoint.safetensors"
    checkpoint.save(path, {"a": torch.arange(40.0), "b": torch.ones(3, 4)}, {"epoch": 1, "r": [1]})

    def read() -> Any:
        tensors, facts = checkpoint.load(path)
        return {name: value.tolist() for name, value in tensors.items()}, facts

    return Target(path, read, read())


def exported(root: Path) -> Target:
    """A store written as safetensors, read back by that library alone."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file
    from small_stores import make_store

    from labkit.store.export import export

    make_store(root / "store", 5)
    path = export(root / "store", "train", "safetensors", root / "out") / "train-00000.safetensors"

    def read() -> int:
        try:
            return len(load_file(path))
        except (SafetensorError, KeyError) as error:  # another library's errors
            raise ValueError(f"{path}: {error}".splitlines()[0]) from error

    return Target(path, read)


def recipe(root: Path) -> Target:
    """A recipe."""
    from labkit.training.recipes import RECIPES, read_recipe

    path = root / "a.toml"
    path.write_bytes(max(RECIPES.glob("*.toml"), key=lambda one: one.stat().st_size).read_bytes())
    return Target(path, lambda: read_recipe(path))


def notebook(root: Path) -> Target:
    """A submitted notebook, marked by its stored outputs."""
    from labkit.checks.grading import grade

    path = root / "a.ipynb"
    output = {"output_type": "stream", "name": "stdout", "text": "Exercise 4.1: right.\n"}
    cell = {"cell_type": "code", "id": "a", "metadata": {"tags": ["x"]}, "execution_count": 1,
            "source": 'check("4.1")', "outputs": [output]}  # fmt: skip
    whole = {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [cell]}
    path.write_text(json.dumps(whole))
    return Target(path, lambda: grade(path, stored=True))


def photo(kind: str) -> Callable[[Path], Target]:
    """A photograph of 48 x 40 pixels, drawn here."""

    def make(root: Path) -> Target:
        import numpy as np
        from PIL import Image

        from labkit.data.photos import read_photo, to_input

        pixels = np.random.default_rng(0).integers(0, 256, (6, 5, 3), dtype=np.uint8)
        image, content = Image.fromarray(pixels).resize((48, 40)), io.BytesIO()
        image.save(content, kind)
        (root / "a.jpg").write_bytes(content.getvalue())
        return Target(root / "a.jpg", lambda: to_input(read_photo(root / "a.jpg"), 32).shape)

    return make


def judgements(root: Path) -> Target:
    """Flickr8k's file of experts."""
    from labkit.evaluation.human_judgements import read_judgements

    (root / "a.txt").write_text("1.jpg\t2.jpg#0\t1\t2\t4\n1.jpg\t3.jpg#1\t0.5\t3\t3\n")
    return Target(root / "a.txt", lambda: read_judgements(root / "a.txt"))


LAYOUT_NAMES = ("kaggle8k", "token", "kaggle30k", "coco", "karpathy", "jsonl")
TARGETS: dict[str, Callable[[Path], Target]] = {
    **{f"captions, {name}": captions(name) for name in LAYOUT_NAMES},
    **{f"results, {name}": results(name)
       for name in ("list.json", "object.json", "lines.jsonl", "table.csv")},
    **{f"store, {name}": store(name)
       for name in ("manifest.json", "train-00000.npy", "train-00000.jsonl")},
    **{f"model, {name}": model(name)
       for name in ("config.json", "vocabulary.json", "model.safetensors", "detector.safetensors")},
    "checkpoint": saved, "exported safetensors": exported, "recipe": recipe, "notebook": notebook,
    **{f"photograph, {kind}": photo(kind) for kind in ("JPEG", "PNG", "WEBP", "GIF", "TIFF")},
    "judgements": judgements,
}  # fmt: skip


def flipped(sound: bytes, seed: int) -> bytes:
    """Flip one to eight bits, or cut, or double a part."""
    rng, content = random.Random(seed), bytearray(sound)
    way = rng.random()
    if way < 0.15:
        return bytes(content[: rng.randrange(len(content))])
    if way < 0.25:
        start, size = rng.randrange(len(content)), rng.randrange(1, 64)
        return bytes(content[:start] + content[start : start + size] + content[start:])
    for _ in range(rng.randint(1, 8)):
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    return bytes(content)


def fuzz(name: str, inputs: int, seed: int = 0) -> tuple[Counter, list[str]]:
    """Try one reader.

    Args:
        name: A key of `TARGETS`.
        inputs: How many spoiled files.
        seed: Another gives other files.

    Returns:
        The counts, and what happened at each fault.
    """
    from test_spoiled import spoiled

    counts, faults = Counter(), []
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        target = TARGETS[name](Path(folder))
        sound = target.path.read_bytes()
        text = b"\0" not in sound[:64] and len(sound) < 100_000

        def once(content: bytes) -> None:
            target.path.write_bytes(content)
            begun = time.monotonic()
            what, how = outcome(target)
            if time.monotonic() - begun > HANG:
                what, how = "hangs", f"{time.monotonic() - begun:.0f} s"
            counts[what] += 1
            counts["inputs"] += 1
            if what not in ("accepted", "refused"):
                faults.append(f"{name}: {what}: {how}: {content[:200]!r}")

        by_structure = inputs // 2 if text else 0
        if by_structure:
            settings = hypothesis.settings(
                max_examples=by_structure, deadline=None, database=None,
                suppress_health_check=list(hypothesis.HealthCheck),
            )  # fmt: skip
            drawn = hypothesis.given(spoiled(sound))(once)
            settings(hypothesis.seed(seed)(drawn))()
        for number in range(inputs - counts["inputs"]):
            once(flipped(sound, seed * 1_000_003 + number))
    return counts, faults


def outcome(target: Target) -> tuple[str, str]:
    """Read once, and say what came of it."""
    try:
        found = target.read()
    except (OSError, ValueError) as error:
        lines = str(error).strip().splitlines()
        named = target.path.name in str(error) or str(target.path.parent) in str(error)
        good = len(lines) == 1 and named and len(lines[0]) < 5000
        return ("refused", "") if good else ("crashes", f"no sentence: {error!r}")
    except BaseException as error:
        return "crashes", repr(error)
    if target.truth is not None and found != target.truth:
        return "wrong accepts", "differs from the truth"
    return "accepted", ""


def _row(name: str, inputs: int, seed: int, pipe: Any) -> None:
    fuzz(name, 1, seed)  # imports
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    counts, faults = fuzz(name, inputs, seed)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    pipe.send((dict(counts), faults, grown >> 10))


def main() -> None:
    """Print the table, and every fault on standard error."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", default=list(TARGETS))
    given = parser.parse_args()
    columns = ("inputs", "accepted", "refused", "crashes", "hangs", "wrong accepts")
    print(f"| reader | {' | '.join(columns)} | peak MiB | s |")
    print("|---" * (len(columns) + 3) + "|", flush=True)
    for name in given.only:
        begun = time.monotonic()
        mine, other = multiprocessing.Pipe()
        words = (name, given.inputs, given.seed, other)
        process = multiprocessing.get_context("spawn").Process(target=_row, args=words)
        process.start()
        other.close()
        try:
            if mine.poll(PATIENCE):
                counts, faults, peak = mine.recv()
            else:
                process.kill()
                counts, faults, peak = {"hangs": 1}, [f"{name}: no end after {PATIENCE} s"], 0
        except EOFError:
            counts, faults, peak = {"crashes": 1}, [f"{name}: the process died"], 0
        process.join()
        numbers = " | ".join(f"{counts.get(column, 0):,}" for column in columns)
        print(f"| {name} | {numbers} | {peak} | {time.monotonic() - begun:.0f} |", flush=True)
        for fault in faults[:20]:
            print(fault[:600], file=sys.stderr)


if __name__ == "__main__":
    main()
