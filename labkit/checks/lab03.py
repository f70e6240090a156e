"""Checks of lab 3: memory."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np

from labkit.checks import Unanswered, compare, exercise
from labkit.order import Order

IMAGE = 196 * 512 * 2  # bytes


@exercise("3.1", "Set `how_many` to the number of photographs that fit into 4 GB.")
def how_many(answer: Any) -> str | None:
    """Judge how many images fit into 4 GB."""
    free = 4 * 10**9
    mistakes = {
        "that is with 4 bytes a number; float16 takes 2": free // (2 * IMAGE),
        "that is with 1 byte a number; float16 takes 2": free // (IMAGE // 2),
        "that is with GB of 2^30 bytes; here a GB is 10^9 bytes": 4 * 2**30 // IMAGE,
        "the last one does not fit as a whole: round down": free // IMAGE + 1,
        "that is no whole number: round down": free / IMAGE,
        "that is all bytes over those of one region: a photograph has 196": free // 1024,
    }
    return compare(answer, free // IMAGE, "how_many", mistakes, tolerance=1e-6)


@exercise("3.2", "Write `place_of(image, per_shard)`: give the file and the row.")
def place_of(answer: Callable) -> str | None:
    """Judge where images stand, at the borders of files above all."""
    images = np.array([1, 9_999, 10_000, 25_000, 82_782, 6])
    per = np.array([10_000] * 5 + [4])
    files, rows = images // per, images % per
    mistakes = {
        "file and row are exchanged: the file comes first": (rows, files),
        "files are counted from 1; the first is 0": (files + 1, rows),
        "rows are counted from 1; the first is 0": (files, rows + 1),
        "the file is no whole number: divide with // and not with /": (images / per, rows),
        "the row is counted from the first file; count it from the image's own": (files, images),
    }
    mistakes = {sentence: np.stack(value, 1) for sentence, value in mistakes.items()}
    cases = list(zip(images.tolist(), per.tolist(), strict=True))
    places = [answer(*case) for case in cases]
    _need_all(places)
    right = np.stack([files, rows], 1)
    told = [f"image {image:,} of files of {size:,}" for image, size in cases]
    return _of_cases(places, right, told, "file and row", mistakes)


@exercise("3.3", "Write `share_of(order, step, batch, rank, world)`: give the rank's samples.")
def share_of(answer: Callable) -> str | None:
    """Judge by what must hold of any share: each sample once, in the step that it belongs to."""
    return _shared(answer, 6) or _shared(answer, 7)  # 7 is no multiple of 3


def _shared(answer: Callable, batch: int) -> str | None:
    count, world = 23, 3
    order = Order(count, 0, 0)(np.arange(count))  # its last step has 5 samples
    steps = []
    for step in range(4):
        shares = [answer(order.copy(), step, batch, rank, world) for rank in range(world)]
        _need_all(shares)
        if step == 0 and len(shares[0]) < batch and len({tuple(share) for share in shares}) == 1:
            return "all processes take the same samples: use `rank`"
        steps.append([int(sample) for share in shares for sample in share])
    came = Counter(sample for step in steps for sample in step)
    if len(steps[0]) == world * batch and max(came.values()) == world:
        return f"every process takes the whole batch, so each sample comes {world} times"
    if len(steps[0]) == world * batch:
        return f"a step takes {world} times {batch} samples: `batch` counts those of all processes"
    if missing := set(range(count)) - came.keys():
        return (
            f"in steps of {batch} for {world} processes, {len(missing)} of {count} samples never "
            "come: look at the last step, too, and at what is left over of a share"
        )
    if max(came.values()) > 1:
        return "some samples come more than once in an epoch"
    for step, taken in enumerate(steps):
        if sorted(taken) != sorted(order[step * batch : (step + 1) * batch]):
            return (
                f"in step {step} the processes together do not take what one process alone would: "
                "cut `order` into steps first, then a step into shares"
            )
    return None


@exercise("3.4", "Write `state_after(steps, batch, samples)`: give the epoch and the position.")
def state_after(answer: Callable) -> str | None:
    """Judge states in the middle of an epoch, at its end, and where every step is full."""
    cases = np.array([(5, 40, 828), (21, 40, 828), (50, 40, 828), (9, 100, 400), (20, 7, 49)])
    steps, batch, samples = cases.T
    in_an_epoch = -(-samples // batch)
    epoch, step = np.divmod(steps, in_an_epoch)
    without_tail = np.divmod(steps, samples // batch)
    mistakes = {
        "every step was counted as full, but the last of each epoch is short": np.divmod(
            steps * batch, samples
        ),
        "the short step at the end of an epoch is a step, too: round up": (
            without_tail[0],
            without_tail[1] * batch,
        ),
        "the position is in steps; give it in samples": (epoch, step),
        "epochs are counted from 1; the first is 0": (epoch + 1, step * batch),
        "the position is counted from the training's begin; count from the epoch's": (
            epoch,
            epoch * samples + step * batch,
        ),
        "epoch and position are exchanged: the epoch comes first": (step * batch, epoch),
        "that stays at an epoch's end: give the next epoch there, at position 0": (
            np.where((step == 0) & (epoch > 0), epoch - 1, epoch),
            np.where((step == 0) & (epoch > 0), samples, step * batch),
        ),
        "where the batches come out even, no short step follows": (
            steps // (samples // batch + 1),
            steps % (samples // batch + 1) * batch,
        ),
    }
    mistakes = {sentence: np.stack(value, 1) for sentence, value in mistakes.items()}
    found = [answer(*map(int, case)) for case in cases]
    _need_all(found)
    right = np.stack([epoch, step * batch], 1)
    told = [f"after {n} steps of {size} on {count} samples" for n, size, count in cases.tolist()]
    return _of_cases(found, right, told, "epoch and position", mistakes)


def _of_cases(
    found: list, right: np.ndarray, cases: list[str], what: str, mistakes: dict[str, Any]
) -> str | None:
    """Compare pairs of numbers; where no mistake is known, quote the first case that is wrong."""
    for got, wanted, case in zip(found, right.tolist(), cases, strict=True):
        if np.shape(got) != (2,):
            return f"give two numbers, {what}: {case} it is {tuple(wanted)}, not {got}"
    for sentence, wrong in mistakes.items():
        if np.array_equal(np.array(found, float), np.array(wrong, float)):
            return sentence
    for got, wanted, case in zip(found, right.tolist(), cases, strict=True):
        if list(got) != wanted:
            return f"{case} it is {tuple(wanted)}, not {tuple(got)}"
    return None


def _need_all(answers: list) -> None:
    if any(answer is None or answer is ... for answer in answers):
        raise Unanswered
