"""The exercises of lab 0: reading a map of weights, and what two captions have in common."""

from typing import Any

import numpy as np

from labkit.checks import compare, exercise, run


def cells(rows: int, columns: int) -> np.ndarray:
    """Weights that sum to 1."""
    weights = np.random.default_rng(0).random((rows, columns))
    return weights / weights.sum()


@exercise("0.1", "Write `brightest(weights)`: row and column of the largest weight, from 0.")
def brightest(answer: Any) -> str | None:
    """Where the model looked most."""
    weights = cells(4, 6)
    weights[1, 5] = 1.0
    mistakes = {
        "row and column are exchanged: the row, counted from above, comes first": (5, 1),
        "both are one too large: the first row has number 0": (2, 6),
        "that is the smallest weight": np.unravel_index(weights.argmin(), weights.shape),
        "divide the cell's number by the number of columns, not of rows": divmod(11, 4),
    }
    got = run(answer, weights, name="brightest")
    if np.ndim(got) == 0 and got == 11:
        return "11 is the cell's number, counted row by row: divmod makes row and column of it"
    if np.ndim(got) == 0:
        return "hand over two numbers: row and column, not the weight itself"
    return compare(got, (1, 5), "the place", mistakes)


@exercise("0.2", "Write `share(weights, top, left, rows, columns)`: the weight in a box of cells.")
def share(answer: Any) -> str | None:
    """How much of the attention lies in a part of the picture."""
    weights = cells(5, 7)
    top, left, rows, columns = 1, 2, 2, 4
    box = weights[top : top + rows, left : left + columns]
    mistakes = {
        "that is the mean over the box: take the sum": box.mean(),
        "that box is a row and a column too large": weights[1:4, 2:7].sum(),
        "that box is a row and a column too small: a slice's end is not in it":
            weights[1, 2:5].sum(),
        "the box ends at top + rows and left + columns, not at rows and columns":
            weights[top:rows, left:columns].sum(),
        "rows and columns are exchanged: top and rows go down, left and columns to the right":
            weights[left : left + columns, top : top + rows].sum(),
        "that is all that lies outside the box": weights.sum() - box.sum(),
    }  # fmt: skip
    got = run(answer, weights, top, left, rows, columns, name="share")
    if np.shape(got) == box.shape:
        return "these are the weights of the box: add them up"
    return compare(got, box.sum(), "the share", mistakes)


@exercise("0.3", "Write `alone(one, other)`: the words of the first that the other has not.")
def alone(answer: Any) -> str | None:
    """What one caption says and the other does not."""
    one = ["a", "man", "in", "a", "red", "shirt", "rides", "a", "horse"]
    other = ["a", "man", "on", "a", "brown", "horse"]
    right = ["in", "red", "shirt", "rides"]
    got = run(answer, list(one), list(other), name="alone")
    if isinstance(got, str) or not isinstance(got, list | tuple):
        return f"hand over a list of words, not {type(got).__name__}"
    if list(got) == [word for word in other if word not in one]:
        return "the other way round: the words of the first caption are asked for"
    if sorted(got) == sorted(right) and list(got) != right:
        return "the words are right, and their order is lost: keep that of the caption (no set)"
    if list(got) == [word for word in one if word in other]:
        return "these are the words that both have: those that only the first has are asked for"
    if set(got) == set(one) ^ set(other):
        return "the other caption's own words are among them: only the first's are asked for"
    return None if list(got) == right else f"of {one} and {other} it is {right}, not {list(got)}"
