"""The exercises of lab 9: what a training at full size costs, and how processes share it."""

from typing import Any

from labkit.checks import compare, exercise, first_problem

IMAGES, REGIONS, CHANNELS = 82_783, 49, 1280


@exercise("9.1", "Give the bytes of COCO train2014's features: 49 regions of 1,280 halves each.")
def disk(answer: Any) -> str | None:
    """Bytes of all features."""
    numbers = IMAGES * REGIONS * CHANNELS
    return compare(answer, 2 * numbers, "the size", {
        "that is the count of numbers: a half takes two bytes": numbers,
        "a float takes four bytes, but features are stored as halves of two": 4 * numbers,
        "those are gigabytes: give bytes": 2 * numbers / 1e9,
        "those are gibibytes: give bytes": 2 * numbers / 2**30,
        "those are bits: a byte has eight": 16 * numbers,
    }, tolerance=5e-3)  # fmt: skip


@exercise("9.2", "Write `hours(images, rate, machines)`: hours, with `rate` images a second each.")
def hours(answer: Any) -> str | None:
    """Hours to encode."""
    right = IMAGES / 50 / 2 / 3600
    return compare(answer(IMAGES, 50.0, 2), right, "the time", {
        "those are seconds: an hour has 3,600": right * 3600,
        "those are minutes: an hour has 60": right * 60,
        "two machines take half as long, not as long": right * 2,
        "two machines take half as long, not twice as long": right * 4,
        "images divided by images per second are seconds, not the other way round":
            50.0 / IMAGES / 2 / 3600,
    })  # fmt: skip


@exercise("9.3", "Write `together(losses, words)`: the loss per word of all ranks' words.")
def together(answer: Any) -> str | None:
    """The global mean of ranks with different numbers of words."""
    losses, words = [2.0, 4.0], [30, 10]
    mistakes = {
        "that is the mean of the means: a rank with few words must count for less": 3.0,
        "the sum over the words must be divided by the number of all words": 100.0,
        "that is the sum of the means: weigh each by its words": 6.0,
    }
    return first_problem(
        compare(answer(losses, words), 2.5, "the loss", mistakes),
        compare(answer([1.0, 5.0, 3.0], [1, 1, 2]), 3.0, "the loss of three ranks"),
    )
