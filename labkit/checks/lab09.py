"""Checks of lab 9: what training at full size costs, and how processes share it."""

from typing import Any

from labkit.checks import compare, exercise, first_problem

IMAGES, REGIONS, CHANNELS = 82_783, 49, 1280


@exercise(
    "9.1", "Set `size` to the bytes of the features: 49 regions of 1,280 half-precision numbers."
)
def disk(answer: Any) -> str | None:
    """Check the bytes of all features of COCO's train2014."""
    numbers = IMAGES * REGIONS * CHANNELS
    return compare(answer, 2 * numbers, "the size", {
        "that is the count of numbers: each one takes two bytes": numbers,
        "a float takes four bytes, but a half-precision number takes two": 4 * numbers,
        "those are gigabytes: give bytes": 2 * numbers / 1e9,
        "those are gibibytes: give bytes": 2 * numbers / 2**30,
        "those are bits: a byte has eight": 16 * numbers,
    }, tolerance=5e-3)  # fmt: skip


@exercise(
    "9.2", "Write `hours(images, rate, machines)`: each machine encodes `rate` images per second."
)
def hours(answer: Any) -> str | None:
    """Check the hours of encoding."""
    right = IMAGES / 50 / 2 / 3600
    return compare(answer(IMAGES, 50.0, 2), right, "the time", {
        "those are seconds: an hour has 3,600": right * 3600,
        "those are minutes: an hour has 60": right * 60,
        "two machines take half as long, not as long": right * 2,
        "two machines take half as long, not twice as long": right * 4,
        "divide the images by the rate, not the rate by the images":
            50.0 / IMAGES / 2 / 3600,
    })  # fmt: skip


@exercise("9.3", "Write `together(losses, words)`: the mean loss over the words of all processes.")
def together(answer: Any) -> str | None:
    """Check the mean over processes with different numbers of words."""
    losses, words = [2.0, 4.0], [30, 10]
    mistakes = {
        "that is the mean of the means: a process with few words must count less": 3.0,
        "divide the sum over all words by the number of all words": 100.0,
        "that is the sum of the means: weight each by its number of words": 6.0,
    }
    return first_problem(
        compare(answer(losses, words), 2.5, "the loss", mistakes),
        compare(answer([1.0, 5.0, 3.0], [1, 1, 2]), 3.0, "the loss of three processes"),
    )
