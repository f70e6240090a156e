"""Answers to the exercises of lab 0: right ones, and wrong ones with a part of each message."""

import numpy as np


def brightest(weights):
    return divmod(int(weights.argmax()), weights.shape[1])


def share(weights, top, left, rows, columns):
    return weights[top : top + rows, left : left + columns].sum()


def only_in_first(first, second):
    return [word for word in first if word not in second]


RIGHT = [("0.1", brightest), ("0.2", share), ("0.3", only_in_first)]
WRONG = [
    ("0.1", lambda w: brightest(w)[::-1], "swapped"),
    ("0.1", lambda w: int(w.argmax()), "divmod"),
    ("0.1", lambda w: divmod(int(w.argmax()), len(w)), "number of columns"),
    ("0.1", lambda w: np.unravel_index(w.argmin(), w.shape), "smallest"),
    ("0.1", lambda w: w.max(), "not the weight itself"),
    ("0.2", lambda w, t, le, r, c: w[t : t + r, le : le + c].mean(), "mean"),
    ("0.2", lambda w, t, le, r, c: w[t:r, le:c].sum(), "ends at"),
    ("0.2", lambda w, t, le, r, c: share(w, t, le, r - 1, c - 1), "too small"),
    ("0.2", lambda w, t, le, r, c: w[t : t + r, le : le + c], "add them up"),
    ("0.2", lambda w, t, le, r, c: share(w, t, le, r + 1, c + 1), "too large"),
    ("0.2", lambda w, t, le, r, c: share(w, le, t, c, r), "swapped"),
    ("0.3", lambda first, second: only_in_first(second, first), "other way round"),
    ("0.3", lambda first, second: sorted(only_in_first(first, second)), "not their order"),
    ("0.3", lambda first, second: [word for word in first if word in second], "both have"),
    ("0.3", lambda first, second: list(set(first) ^ set(second)), "leave these out"),
    ("0.3", lambda first, second: " ".join(only_in_first(first, second)), "a list of words"),
]
