"""METEOR's start with a part of its table of paraphrases, beside the whole table.

    python benchmarks/meteor.py [--scenes 100] [--rounds 3]

Both score the same captions: of each drawn scene, the first caption against the others. The times
are CPU seconds of Python and Java together, from the start to the scores;
the memory is Java's peak. The scores must be equal to the last digit.
"""

import argparse
import resource
import statistics

from labkit.data.scenes import make_scenes
from labkit.evaluation import meteor, paraphrases
from labkit.evaluation.metrics import checked, tokenized


def cpu() -> float:
    """CPU seconds of this process and of the children that have ended."""
    whose = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(sum(resource.getrusage(who)[:2]) for who in whose)


def peak(process: int) -> float:
    """The most memory that a process has held, in MB."""
    with open(f"/proc/{process}/status", encoding="ascii") as lines:
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1e3


def main() -> None:
    """Take turns, and print medians."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scenes", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    captions = {scene.id: scene.captions for scene in make_scenes(options.scenes, 0)}
    references = {name: some[1:] for name, some in captions.items()}
    texts = tokenized(*checked(references, {name: some[0] for name, some in captions.items()}))
    words = paraphrases.runs(text for group in texts for some in group.values() for text in some)
    seconds: dict[str, list[float]] = {"whole": [], "part": []}
    memory, scores = {}, []
    for _ in range(options.rounds):
        for name, known in (("whole", None), ("part", words)):
            begin = cpu()
            program = meteor._Meteor(known)
            scores.append(program.score(*texts))
            memory[name] = peak(program.process.pid)
            program.close()
            seconds[name].append(cpu() - begin)
    assert all(found == scores[0] for found in scores), "the scores differ"
    whole, part = statistics.median(seconds["whole"]), statistics.median(seconds["part"])
    print(f"{len(words)} words, METEOR {scores[0][0]:.3f}, equal to the last digit")
    print(f"{'':6}{'s of CPU':>10}{'MB':>8}")
    for name, median in (("whole", whole), ("part", part)):
        print(f"{name:6}{median:10.2f}{memory[name]:8.0f}")
    print(f"{whole / part:.1f} times as fast")


if __name__ == "__main__":
    main()
