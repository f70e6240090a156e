"""Checks of lab 8: measures of attention, and the conclusions that they allow."""

from typing import Any

import numpy as np

from labkit.checks import compare, exercise, first_problem, true_or_false

CLAIMS = {
    "argmax learns where to look": False,
    "hard attention is always worse than soft": False,
    "a hard model must be scored with one region per word": True,
    "a sharp map proves that the model is right": False,
}


def cells(rows: int, columns: int, seed: int = 0) -> np.ndarray:
    """Return random weights that sum to 1."""
    weights = np.random.default_rng(seed).random((rows, columns))
    return weights / weights.sum()


@exercise("8.1", "Write `looks_at(weights)`: x and y of the largest weight's cell, as fractions.")
def looks_at(answer: Any) -> str | None:
    """Check the centre of the cell."""
    weights = cells(4, 8)
    weights[1, 6] = 1.0
    x, y = (6 + 0.5) / 8, (1 + 0.5) / 4
    mistakes = {
        "x and y are swapped: the row says how far down, the column how far right": (y, x),
        "that is the corner of the cell: its centre is half a cell further on": (6 / 8, 1 / 4),
        "those are the indices of the cell: divide by the numbers of columns and rows": (6, 1),
        "x was divided by the rows and y by the columns; swap them": (6.5 / 4, 1.5 / 8),
    }
    return compare(answer(weights), (x, y), "the place", mistakes)


@exercise("8.2", "Write `entropy(weights)`: the entropy of weights that sum to 1, in nats.")
def entropy(answer: Any) -> str | None:
    """Check minus the sum of w log w, to which zeros add nothing."""
    weights, sharp = cells(3, 3), np.eye(3)[0]
    right = float(-(weights * np.log(weights)).sum())
    mistakes = {
        "the sign is missing: an entropy is not negative": -right,
        "that is in bits: take the natural logarithm": right / np.log(2),
        "that is the mean over the cells: take the sum": right / 9,
        "multiply each logarithm by its weight": float(-np.log(weights).sum()),
    }
    first = compare(answer(weights), right, "the entropy", mistakes)
    if first is None and not np.isfinite(float(answer(sharp))):
        return "the result is not a number if a weight is 0: 0 log 0 counts as 0"
    single = abs(float(answer(sharp))) > 1e-3
    return first or (
        "with all the weight on one region, the entropy should be 0" if single else None
    )


@exercise("8.3", "Write `apart(one, other)`: the difference of the means in standard errors.")
def apart(answer: Any) -> str | None:
    """Check (mean - mean) / sqrt(var / n + var / n)."""
    one, other = [0.80, 0.84, 0.88], [0.70, 0.76, 0.70]
    means, variances = zip(*((np.mean(x), np.var(x, ddof=1)) for x in (one, other)), strict=True)
    difference = means[0] - means[1]
    error = np.sqrt(sum(variances) / 3)
    biased = np.sqrt(sum(np.var(x) for x in (one, other)) / 3)
    mistakes = {
        "that is the difference itself: divide it by its standard error": difference,
        "you divided by the standard deviation of single runs: a mean of 3 varies less":
            difference / np.sqrt(sum(variances)),
        "to estimate the variance from 3 runs, divide by 3 - 1 (ddof=1)": difference / biased,
        "the sign is wrong: it is the first minus the second": -difference / error,
    }  # fmt: skip
    few, many = [0.6, 0.7], [0.8, 0.7, 0.9, 0.8, 0.8]
    error2 = np.sqrt(np.var(few, ddof=1) / 2 + np.var(many, ddof=1) / 5)
    right2 = (np.mean(few) - np.mean(many)) / error2
    return first_problem(
        compare(answer(one, other), difference / error, "the difference", mistakes),
        compare(answer(few, many), right2, "the difference of 2 runs and 5", {
            "keep the sign: it is the first minus the second": -right2,
        }),
    )  # fmt: skip


@exercise("8.4", "Enter True or False for each claim in `claims`.")
def conclusions(answer: Any) -> str | None:
    """Check the conclusions against what this lab has measured."""
    why = {
        "argmax learns where to look": "look at its pointing, and at lab 6: its gradient is zero",
        "hard attention is always worse than soft": "look at the shares of true captions",
        "a hard model must be scored with one region per word":
            "if it sees all regions when it is scored, it is scored as soft attention",
        "a sharp map proves that the model is right":
            "entropy measures how sharp a map is; you have seen a sharp map of a wrong word",
    }  # fmt: skip
    return true_or_false(answer, CLAIMS, why, "claim")
