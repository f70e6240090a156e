"""What a command of labkit costs over ``import torch``, from its start to its end.

    python benchmarks/start.py                    # a drawn scene as the photograph
    python benchmarks/start.py --photo PHOTO.jpg
    python benchmarks/start.py --json start.json  # the figures as JSON

Each command is a process of its own. They take turns, and each round begins with another one, so
that what slows the machine down slows all of them. A first round is not counted: it fills the
system's cache. CPU time is that of all threads, in the program and in the system. A ratio is the
median of the rounds' ratios.

This process imports little, since the system counts the memory that a process had as a copy of its
parent among its own peak.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

BASELINE = "import torch"
TARGETS = {"labkit --help": (0.15, None), "labkit caption": (1.5, 1.15)}  # CPU time, peak memory
UNIT = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss, in bytes
DRAW = """import sys
from PIL import Image
from labkit.data.scenes import make_scenes
Image.fromarray(make_scenes(1, seed=5)[0].image).save(sys.argv[1])
"""


def run(arguments: list[str], folder: Path) -> tuple[float, float]:
    """Run Python with these arguments; return its CPU time in seconds and its peak in MiB."""
    with open(folder / "output", "w+") as output:
        child = subprocess.Popen([sys.executable, *arguments], stdout=output, stderr=output)
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            output.seek(0)
            raise SystemExit(f"{' '.join(arguments)} failed:\n{output.read()}")
    return used.ru_utime + used.ru_stime, used.ru_maxrss * UNIT / (1 << 20)


def measure(commands: dict[str, list[str]], rounds: int, folder: Path) -> dict[str, list]:
    """Let the commands take turns, in one round more than is counted."""
    names, found = list(commands), {name: [] for name in commands}
    for number in range(rounds + 1):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            used = run(commands[name], folder)
            if number:
                found[name].append(used)
    return found


def summary(found: dict[str, list]) -> dict[str, dict[str, float]]:
    """Take medians over the rounds."""
    result = {}
    for name, used in found.items():
        pairs = list(zip(used, found[BASELINE], strict=True))
        result[name] = {}
        for kind, title in enumerate(("cpu", "memory")):
            result[name][title] = statistics.median(one[kind] for one in used)
            ratios = (one[kind] / base[kind] for one, base in pairs)
            result[name][f"{title}_ratio"] = statistics.median(ratios)
    return result


def table(result: dict[str, dict[str, float]]) -> str:
    """Write the figures as Markdown."""
    heads = ["command", "CPU s", "ratio", "target", "peak MiB", "ratio", "target"]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for name, one in result.items():
        cpu, memory = (str(target or "") for target in TARGETS.get(name, (None, None)))
        cells = [name, f"{one['cpu']:.2f}", f"{one['cpu_ratio']:.2f}", cpu]
        cells += [f"{one['memory']:.0f}", f"{one['memory_ratio']:.2f}", memory]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Measure, show."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--photo", help="a photograph; by default a drawn scene")
    parser.add_argument("--model", default="flickr8k-soft", help="a model of labkit's, or a run")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", type=Path, help="write the figures here")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="labkit-benchmark-") as name:
        folder = Path(name)
        photo = asked.photo or str(folder / "scene.png")
        if not asked.photo:
            run(["-c", DRAW, photo], folder)
        strips = str(folder / "strips")
        commands = {
            BASELINE: ["-c", "import torch"],
            "labkit --help": ["-m", "labkit", "--help"],
            "labkit caption": ["-m", "labkit", "caption", asked.model, photo, "--out", strips],
        }
        found = measure(commands, asked.rounds, folder)
    result = summary(found)
    print(table(result))
    if asked.json:
        asked.json.write_text(json.dumps(result | {"all": found}, indent=1))


if __name__ == "__main__":
    main()
