"""Answers to the exercises of lab 9: right ones, and wrong ones with a part of each message."""


def hours(images, rate, machines):
    return images / rate / machines / 3600


def together(losses, words):
    return sum(loss * count for loss, count in zip(losses, words, strict=True)) / sum(words)


BYTES = 82_783 * 49 * 1280 * 2
RIGHT = [
    ("9.1", BYTES),
    ("9.1", 10.4e9),
    ("9.2", hours),
    ("9.3", together),
]
OPEN = {"9.1": ...}
WRONG = [
    ("9.1", BYTES // 2, "count of numbers"),
    ("9.1", BYTES * 2, "half-precision number takes two"),
    ("9.1", BYTES / 1e9, "give bytes"),
    ("9.1", 9.67, "gibibytes"),
    ("9.1", BYTES * 8, "bits"),
    ("9.2", lambda n, r, m: n / r / m / 60, "those are minutes"),
    ("9.2", lambda n, r, m: n / r / m, "those are seconds"),
    ("9.2", lambda n, r, m: n / r / 3600, "half as long, not as long"),
    ("9.2", lambda n, r, m: n / r * m / 3600, "not twice as long"),
    ("9.3", lambda losses, words: sum(losses) / len(losses), "mean of the means"),
    ("9.3", lambda losses, words: sum(losses), "sum of the means"),
    ("9.3", lambda losses, words: together(losses, words) * sum(words), "number of all words"),
]
