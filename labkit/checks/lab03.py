"""Checks of lab 3: sizes, places in files, shares of a batch, and the state of a loader."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np

from labkit.checks import Unanswered, compare, exercise
from labkit.store.shuffle import ShuffledOrder

IMAGE = 196 * 512 * 2  # bytes


@exercise("3.1", "Set `how_many` to the number of photographs that fit into 4 GB.")
def how_many(answer: Any) -> str | None:
    """Judge how many images fit into 4 GB."""
    free = 4 * 10**9
    mistakes = {
        "this is with 4 bytes per number, but float16 takes 2": free // (2 * IMAGE),
        "this is with 1 byte per number, but float16 takes 2": free // (IMAGE // 2),
        "this is with a GB of 2^30 bytes, but here a GB is 10^9 bytes": 4 * 2**30 // IMAGE,
        "the last photograph does not fit completely: round down": free // IMAGE + 1,
        "this is not a whole number: round down": free / IMAGE,
        "you divide by the size of one region, but a photograph has 196": free // 1024,
    }
    return compare(answer, free // IMAGE, "how_many", mistakes, tolerance=1e-6)


@exercise("3.2", "Write `place_of(image, per_shard)`: return the file and the row.")
def place_of(answer: Callable[..., Any]) -> str | None:
    """Judge where images are stored, especially at the beginning and the end of a file."""
    images = np.array([1, 9_999, 10_000, 25_000, 82_782, 6])
    per = np.array([10_000] * 5 + [4])
    files, rows = images // per, images % per
    mistakes = {
        "file and row are swapped: the file comes first": (rows, files),
        "you count files from 1, but the first is 0": (files + 1, rows),
        "you count rows from 1, but the first is 0": (files, rows + 1),
        "the file is not a whole number: divide with //, not with /": (images / per, rows),
        "you count rows from the first file: start from 0 again in each file": (files, images),
    }
    wrong = {sentence: np.stack(value, 1) for sentence, value in mistakes.items()}
    cases = list(zip(images.tolist(), per.tolist(), strict=True))
    places = [answer(*case) for case in cases]
    _need_all(places)
    right = np.stack([files, rows], 1)
    names = [f"for image {image:,} and {size:,} images per file" for image, size in cases]
    return _compare_pairs(places, right, names, "file and row", wrong)


@exercise(
    "3.3",
    "Write `share_of(order, step, batch_size, rank, world_size)`: return the rank's samples.",
)
def share_of(answer: Callable[..., Any]) -> str | None:
    """Judge by what holds for every right answer: each sample once, in the step it belongs to."""
    return _shared(answer, 6) or _shared(answer, 7)  # 7 is not a multiple of 3


def _shared(answer: Callable[..., Any], size: int) -> str | None:
    count, world = 23, 3
    order = ShuffledOrder(count, 0, 0)(np.arange(count))  # its last step has 5 samples
    steps = []
    for step in range(4):
        shares = [answer(order.copy(), step, size, rank, world) for rank in range(world)]
        _need_all(shares)
        if step == 0 and len(shares[0]) < size and len({tuple(share) for share in shares}) == 1:
            return "all processes take the same samples: use `rank`"
        steps.append([int(sample) for share in shares for sample in share])
    counts = Counter(sample for step in steps for sample in step)
    if len(steps[0]) == world * size and max(counts.values()) == world:
        return f"every process takes the whole batch, so each sample appears {world} times"
    if len(steps[0]) == world * size:
        return f"a step takes {world} times {size} samples: `batch_size` counts all processes"
    if missing := set(range(count)) - counts.keys():
        return (
            f"with steps of {size} and {world} processes, {len(missing)} of {count} samples never "
            "appear: look at the last step, and at what is left over when a step is divided"
        )
    if max(counts.values()) > 1:
        return "some samples appear more than once in an epoch"
    for step, taken in enumerate(steps):
        if sorted(taken) != sorted(order[step * size : (step + 1) * size]):
            return (
                f"in step {step} the processes together do not take what one process alone would: "
                "divide `order` into steps first, then each step into shares"
            )
    return None


@exercise(
    "3.4", "Write `state_after(steps, batch_size, num_samples)`: return the epoch and the position."
)
def state_after(answer: Callable[..., Any]) -> str | None:
    """Judge states in the middle of an epoch, at its end, and when every step is full."""
    cases = np.array([(5, 40, 828), (21, 40, 828), (50, 40, 828), (9, 100, 400), (20, 7, 49)])
    steps, batch, samples = cases.T
    epoch, step = np.divmod(steps, -(-samples // batch))  # steps per epoch, rounded up
    without_tail = np.divmod(steps, samples // batch)
    mistakes = {
        "you count every step as full, but the last one of an epoch may be short": np.divmod(
            steps * batch, samples
        ),
        "the short step at the end of an epoch is a step, too: round up": (
            without_tail[0],
            without_tail[1] * batch,
        ),
        "your position is in steps: return it in samples": (epoch, step),
        "you count epochs from 1, but the first is 0": (epoch + 1, step * batch),
        "you count the position from the start of the run: start from 0 in each epoch": (
            epoch,
            epoch * samples + step * batch,
        ),
        "epoch and position are swapped: the epoch comes first": (step * batch, epoch),
        "you stay at the end of a finished epoch: return the next epoch and position 0": (
            np.where((step == 0) & (epoch > 0), epoch - 1, epoch),
            np.where((step == 0) & (epoch > 0), samples, step * batch),
        ),
        "when the samples divide evenly into batches, there is no short step": (
            steps // (samples // batch + 1),
            steps % (samples // batch + 1) * batch,
        ),
    }
    wrong = {sentence: np.stack(value, 1) for sentence, value in mistakes.items()}
    found = [answer(*map(int, case)) for case in cases]
    _need_all(found)
    right = np.stack([epoch, step * batch], 1)
    names = [f"after {n} steps of {size} on {count} samples" for n, size, count in cases.tolist()]
    return _compare_pairs(found, right, names, "epoch and position", wrong)


def _compare_pairs(
    found: list[Any], right: np.ndarray, cases: list[str], what: str, mistakes: dict[str, Any]
) -> str | None:
    """Compare pairs of numbers. If no known mistake fits, name the first wrong case."""
    for got, wanted, case in zip(found, right.tolist(), cases, strict=True):
        if np.shape(got) != (2,):
            return f"return two numbers, {what}: {case} it is {tuple(wanted)}, not {got}"
    for sentence, wrong in mistakes.items():
        if np.array_equal(np.array(found, float), np.array(wrong, float)):
            return sentence
    for got, wanted, case in zip(found, right.tolist(), cases, strict=True):
        if list(got) != wanted:
            return f"{case} it is {tuple(wanted)}, not {tuple(got)}"
    return None


def _need_all(answers: list[Any]) -> None:
    if any(answer is None or answer is ... for answer in answers):
        raise Unanswered
