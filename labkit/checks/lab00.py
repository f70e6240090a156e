"""The exercises of lab 0: reading a map of weights, and comparing the words of two captions."""

from typing import Any

import numpy as np

from labkit.checks import compare, exercise, run


def cells(rows: int, columns: int) -> np.ndarray:
    """Return random weights that sum to 1."""
    weights = np.random.default_rng(0).random((rows, columns))
    return weights / weights.sum()


@exercise("0.1", "Write `brightest(weights)`: the row and column of the largest weight, from 0.")
def brightest(answer: Any) -> str | None:
    """Judge the cell where the model looked most."""
    weights = cells(4, 6)
    weights[1, 5] = 1.0
    mistakes = {
        "row and column are swapped: the row, counted from the top, comes first": (5, 1),
        "both are too large by one: the first row is row 0": (2, 6),
        "this is the smallest weight": np.unravel_index(weights.argmin(), weights.shape),
        "divide the cell's number by the number of columns, not of rows": divmod(11, 4),
    }
    got = run(answer, weights, name="brightest")
    if np.ndim(got) == 0 and got == 11:
        return "11 is the cell's number, counted row by row: divmod turns it into row and column"
    if np.ndim(got) == 0:
        return "return two numbers, the row and the column, not the weight itself"
    return compare(got, (1, 5), "the cell", mistakes)


@exercise("0.2", "Write `share(weights, top, left, rows, columns)`: the weight in a box of cells.")
def share(answer: Any) -> str | None:
    """Judge how much of the weight lies in a part of the picture."""
    weights = cells(5, 7)
    top, left, rows, columns = 1, 2, 2, 4
    box = weights[top : top + rows, left : left + columns]
    mistakes = {
        "this is the mean over the box: take the sum": box.mean(),
        "your box is one row and one column too large": weights[1:4, 2:7].sum(),
        "your box is one row and one column too small: a slice does not include its end":
            weights[1, 2:5].sum(),
        "the box ends at top + rows and left + columns, not at rows and columns":
            weights[top:rows, left:columns].sum(),
        "rows and columns are swapped: top and rows count down, left and columns to the right":
            weights[left : left + columns, top : top + rows].sum(),
        "this is the weight outside the box": weights.sum() - box.sum(),
    }  # fmt: skip
    got = run(answer, weights, top, left, rows, columns, name="share")
    if np.shape(got) == box.shape:
        return "these are the weights of the box: add them up"
    return compare(got, box.sum(), "the share", mistakes)


@exercise("0.3", "Write `only_in_first(first, second)`: the words that only the first has.")
def only_in_first(answer: Any) -> str | None:
    """Judge which words occur in only one of two captions."""
    first = ["a", "man", "in", "a", "red", "shirt", "rides", "a", "horse"]
    second = ["a", "man", "on", "a", "brown", "horse"]
    right = ["in", "red", "shirt", "rides"]
    got = run(answer, list(first), list(second), name="only_in_first")
    if isinstance(got, str) or not isinstance(got, list | tuple):
        return f"return a list of words, not {type(got).__name__}"
    if list(got) == right:
        return None
    if list(got) == [word for word in second if word not in first]:
        return "this is the other way round: we want the words that only the first caption has"
    if sorted(got) == sorted(right):
        return "the words are right, but not their order: keep the caption's, and do not use a set"
    if list(got) == [word for word in first if word in second]:
        return "these are the words that both have: we want those that only the first has"
    if set(got) == set(first) ^ set(second):
        return "words that only the second caption has are among them: leave these out"
    return f"for {first} and {second} it should be {right}, not {list(got)}"
