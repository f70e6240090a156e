"""Answers to the exercises of lab 8: right ones, and wrong ones with a part of each message."""

import numpy as np

from labkit.checks.lab08 import CLAIMS


def looks_at(weights):
    row, column = np.unravel_index(weights.argmax(), weights.shape)
    return (column + 0.5) / weights.shape[1], (row + 0.5) / weights.shape[0]


def entropy(weights):
    weights = weights[weights > 0]
    return float(-(weights * np.log(weights)).sum())


def apart(one, other):
    error = sum(np.var(x, ddof=1) / len(x) for x in (one, other)) ** 0.5
    return (np.mean(one) - np.mean(other)) / error


def biased(one, other):
    error = sum(np.var(x) / len(x) for x in (one, other)) ** 0.5
    return (np.mean(one) - np.mean(other)) / error


RIGHT = [
    ("8.1", looks_at),
    ("8.2", entropy),
    ("8.3", apart),
    ("8.2", lambda w: float(-(w * np.log(w + 1e-9)).sum())),
    ("8.4", CLAIMS),
    ("8.4", {claim: np.bool_(right) for claim, right in CLAIMS.items()}),
]
OPEN = {"8.4": dict.fromkeys(CLAIMS, ...)}
WRONG = [
    ("8.1", lambda w: looks_at(w)[::-1], "swapped"),
    ("8.1", lambda w: (6 / 8, 1 / 4), "corner"),
    ("8.1", lambda w: divmod(w.argmax(), 8)[::-1], "indices of the cell"),
    ("8.2", lambda w: -entropy(w), "sign"),
    ("8.2", lambda w: entropy(w) / np.log(2), "bits"),
    ("8.2", lambda w: entropy(w) / w.size, "mean over the cells"),
    ("8.2", lambda w: float(-(w * np.log(np.where(w > 0, w, np.nan))).sum()), "0 log 0"),
    ("8.3", lambda a, b: np.mean(a) - np.mean(b), "difference itself"),
    ("8.3", lambda a, b: apart(a, b) / 3**0.5, "mean of 3 varies less"),
    ("8.3", biased, "ddof=1"),
    ("8.3", lambda a, b: -apart(a, b), "the sign is wrong"),
    ("8.3", lambda a, b: abs(apart(a, b)), "keep the sign"),
    ("8.3", lambda a, b: apart(a, b) * (len(a) + len(b)) / 6, "of 2 runs and 5"),
    ("8.4", CLAIMS | {"argmax learns where to look": True}, "gradient is zero"),
    ("8.4", CLAIMS | {"a sharp map proves that the model is right": True}, "sharp map of a wrong"),
    ("8.4", dict(list(CLAIMS.items())[1:]), "is missing"),
]
