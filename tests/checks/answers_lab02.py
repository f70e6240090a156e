"""Answers to the exercises of lab 2: right ones, and wrong ones with a part of each message."""

import torch

torch.set_num_threads(1)


def cell_of(x, y, width, height, rows, columns):
    return y * rows // height * columns + x * columns // width


def of_the_middle(x, y, width, height, rows, columns):
    """As if a square had been cut out."""
    side, left = min(width, height), (width - height) // 2
    return y * rows // side * columns + (x - left) * columns // side


def normalise(pixels, mean, std):
    return (pixels - mean[:, None, None]) / std[:, None, None]


def to_vectors(maps):
    return maps.flatten(2).transpose(1, 2)


def share_inside(heat, row, column, rows, columns):
    high, wide = len(heat) // rows, len(heat) // columns
    part = heat[row * high : (row + 1) * high, column * wide : (column + 1) * wide]
    return part.sum() / heat.sum()


def moved(right, wrong):
    return ((wrong - right).norm(dim=-1) / right.norm(dim=-1)).mean()


RIGHT = [
    ("2.1", cell_of),
    ("2.2", normalise),
    ("2.3", to_vectors),
    ("2.4", share_inside),
    ("2.5", moved),
]
WRONG = [
    ("2.1", lambda x, y, w, h, r, c: x * c // w * r + y * r // h, "column by column"),
    ("2.1", lambda x, y, w, h, r, c: (y * r // h, x * c // w), "row * columns + column"),
    ("2.1", lambda x, y, w, h, r, c: x * r // w * c + y * c // h, "x and y are swapped"),
    ("2.1", lambda x, y, w, h, r, c: y / h * r * c + x / w * c, "whole numbers"),
    ("2.1", lambda x, y, w, h, r, c: y // (h // r) * c + x // (w // c), "multiply before"),
    ("2.1", lambda *given: cell_of(*given) + 1, "you count from 1"),
    ("2.1", of_the_middle, "the photograph is squashed"),
    ("2.2", lambda pixels, mean, std: (pixels - mean) / std, "not along the channels"),
    ("2.2", lambda p, mean, std: normalise(p / 255, mean, std), "do not divide by 255"),
    ("2.2", lambda p, mean, std: normalise(p, mean, std / std), "did not divide by std"),
    ("2.2", lambda p, mean, std: normalise(p, mean * std, std), "use brackets"),
    ("2.2", lambda p, mean, std: normalise(p, -mean, std), "subtract it"),
    ("2.3", lambda maps: maps.reshape(2, 6, 4), "a reshape leaves all numbers in order"),
    ("2.3", lambda maps: maps.flatten(2), "now move the channels to the end"),
    ("2.3", lambda maps: maps.permute(0, 3, 2, 1).flatten(1, 2), "in column order"),
    ("2.3", lambda maps: maps.permute(0, 2, 3, 1), "now join rows and columns"),
    ("2.4", lambda h, r, c, m, n: share_inside(h.T, r, c, m, n), "rows go down"),
    ("2.4", lambda h, r, c, m, n: share_inside(h, c, r, m, n), "the row comes first"),
    ("2.4", lambda h, r, c, m, n: share_inside(h, r, c, n, m), "height and the width of a cell"),
    ("2.4", lambda h, r, c, m, n: share_inside(h, r, c, m, n) * h.sum(), "this is a sum"),
    ("2.4", lambda h, r, c, m, n: 1 / (m * n), "whatever the heatmap"),
    ("2.4", lambda h, r, c, m, n: share_inside(h, r, c, m, n) * m * n, "this compares means"),
    ("2.5", lambda one, other: moved(other, one), "not of the wrong one"),
    ("2.5", lambda one, other: (other - one).norm() / one.norm(), "all vectors together"),
    ("2.5", lambda one, other: (other - one).norm(dim=-1).mean(), "divide by the length"),
    ("2.5", lambda one, other: ((other - one).abs() / one.abs()).mean(), "number by number"),
    ("2.5", lambda one, other: torch.cosine_similarity(one, other, -1).mean(), "the cosine"),
]
