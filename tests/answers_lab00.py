"""Answers to the exercises of lab 0: right ones, and wrong ones with what is said of them."""

import numpy as np


def brightest(weights):
    return divmod(int(weights.argmax()), weights.shape[1])


def share(weights, top, left, rows, columns):
    return weights[top : top + rows, left : left + columns].sum()


def alone(one, other):
    return [word for word in one if word not in other]


RIGHT = [("0.1", brightest), ("0.2", share), ("0.3", alone)]
WRONG = [
    ("0.1", lambda w: brightest(w)[::-1], "exchanged"),
    ("0.1", lambda w: int(w.argmax()), "divmod"),
    ("0.1", lambda w: divmod(int(w.argmax()), len(w)), "number of columns"),
    ("0.1", lambda w: np.unravel_index(w.argmin(), w.shape), "smallest"),
    ("0.1", lambda w: w.max(), "not the weight itself"),
    ("0.2", lambda w, t, le, r, c: w[t : t + r, le : le + c].mean(), "mean"),
    ("0.2", lambda w, t, le, r, c: w[t:r, le:c].sum(), "ends at"),
    ("0.2", lambda w, t, le, r, c: share(w, t, le, r - 1, c - 1), "too small"),
    ("0.2", lambda w, t, le, r, c: w[t : t + r, le : le + c], "add them up"),
    ("0.2", lambda w, t, le, r, c: share(w, t, le, r + 1, c + 1), "too large"),
    ("0.2", lambda w, t, le, r, c: share(w, le, t, c, r), "exchanged"),
    ("0.3", lambda one, other: alone(other, one), "other way round"),
    ("0.3", lambda one, other: sorted(alone(one, other)), "order is lost"),
    ("0.3", lambda one, other: [word for word in one if word in other], "both have"),
    ("0.3", lambda one, other: list(set(one) ^ set(other)), "own words"),
    ("0.3", lambda one, other: " ".join(alone(one, other)), "a list of words"),
]
