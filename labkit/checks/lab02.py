"""The exercises of lab 2: places, pixels, vectors, and how far a vector moves."""

from typing import Any

import torch
from torch import Tensor

from labkit.checks import compare, exercise, run

WIDTH, HEIGHT, ROWS, COLUMNS = 643, 403, 4, 5
POINTS = [(0, 0), (642, 0), (0, 402), (642, 402), (300, 250), (500, 120), (130, 320), (90, 90)]


def noise(seed: int, *shape: int) -> Tensor:
    """Return random numbers, the same ones for the same seed."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@exercise("2.1", "Write `cell_of(x, y, width, height, rows, columns)`: the number of the cell.")
def cell_of(answer: Any) -> str | None:
    """Judge which cell of the grid a pixel of the photograph belongs to."""
    got = [run(answer, *point, WIDTH, HEIGHT, ROWS, COLUMNS) for point in POINTS]
    places = [(y * ROWS // HEIGHT, x * COLUMNS // WIDTH) for x, y in POINTS]
    right = [row * COLUMNS + column for row, column in places]
    fractions = [(y / HEIGHT * ROWS, x / WIDTH * COLUMNS) for x, y in POINTS]
    side, left = min(WIDTH, HEIGHT), abs(WIDTH - HEIGHT) / 2
    cut = [(y / side * ROWS, (x - left) / side * COLUMNS) for x, y in POINTS]
    mistakes = {
        "this is the row and the column: the number is row * columns + column": places,
        "you number the cells column by column; labkit goes row by row: row * columns + column": (
            [column * ROWS + row for row, column in places]
        ),
        "a row has as many cells as there are columns: row * columns, not row * rows": (
            [row * ROWS + column for row, column in places]
        ),
        "x and y are swapped: x belongs to the width and the columns": (
            [int(x / WIDTH * ROWS) * COLUMNS + int(y / HEIGHT * COLUMNS) for x, y in POINTS]
        ),
        "you count from 1; labkit counts from 0": [cell + 1 for cell in right],
        "a cell's size need not be a whole number: multiply before you divide, "
        "y * rows // height": (
            [y // (HEIGHT // ROWS) * COLUMNS + x // (WIDTH // COLUMNS) for x, y in POINTS]
        ),
        "you round to the nearest border of a cell: round down instead, with int() or //": (
            [round(row) * COLUMNS + round(column) for row, column in fractions]
        ),
        "the row and the column are whole numbers: round both down before you combine them": (
            [row * COLUMNS + column for row, column in fractions]
        ),
        "you cut a square out of the middle, but the photograph is squashed: x / width": (
            [int(row // 1) * COLUMNS + int(column // 1) for row, column in cut]
        ),
    }
    return compare(got, right, "the list of cells", mistakes)


@exercise("2.2", "Write `normalise(pixels, mean, std)`: (pixel - mean) / std, in each channel.")
def normalise(answer: Any) -> str | None:
    """Judge the pixels as the network expects them."""
    pixels = (60 * noise(1, 3, 3, 3) + 128).clamp(0, 255).to(torch.uint8)
    mean, std = torch.tensor([120.0, 110.0, 100.0]), torch.tensor([50.0, 60.0, 70.0])
    got = run(answer, pixels.clone(), mean, std)
    m, s, p = mean.view(3, 1, 1), std.view(3, 1, 1), pixels.float()
    mistakes = {
        "the three means were applied along the columns, not along the channels: give them the "
        "shape (3, 1, 1), with mean[:, None, None]": (p - mean) / std,
        "mean and std are in pixel values, 0 to 255: do not divide by 255": (p / 255 - m) / s,
        "you subtracted the mean, but did not divide by std": p - m,
        "you divide before you subtract the mean: use brackets": p / s - m,
        "you multiply by std: divide by it": (p - m) * s,
        "you added the mean: subtract it": (p + m) / s,
        "these are bytes again, but the result has fractions and negative numbers": (
            ((p - m) / s).to(torch.uint8)
        ),
    }
    return compare(got, (p - m) / s, "your array", mistakes)


@exercise("2.3", "Write `to_vectors(maps)`: from (B, D, rows, columns) to (B, L, D).")
def to_vectors(answer: Any) -> str | None:
    """Judge the vectors, one for each cell."""
    maps = noise(2, 2, 4, 2, 3)
    got = run(answer, maps)
    right = maps.flatten(2).transpose(1, 2)
    mistakes = {
        "a reshape leaves all numbers in order, so each of your vectors holds numbers from several "
        "places. Move the channels to the end first": maps.reshape(2, 6, 4),
        "you joined rows and columns: now move the channels to the end": maps.flatten(2),
        "your cells are in column order, but the first row of the grid comes first": (
            maps.permute(0, 3, 2, 1).flatten(1, 2)
        ),
        "the channels are at the end: now join rows and columns": maps.permute(0, 2, 3, 1),
        "pictures come first, then cells": right.transpose(0, 1),
    }
    return compare(got, right, "your tensor", mistakes)


@exercise("2.4", "Write `share_inside(heatmap, row, column, rows, columns)`: a fraction, 0 to 1.")
def share_inside(answer: Any) -> str | None:
    """Judge how much of a heatmap lies in a cell's own part of the picture."""
    heat, row, column = noise(3, 12, 12).abs(), 2, 1
    got = run(answer, heat.clone(), row, column, 3, 4)
    inside, total = heat[8:12, 3:6].sum(), heat.sum()
    mistakes = {
        "row and column are swapped: rows go down, heatmap[rows, columns]": (
            heat[3:6, 8:12].sum() / total
        ),
        "row and column are swapped: the row comes first": heat[4:8, 6:9].sum() / total,
        "the height and the width of a cell are swapped: S / rows high, S / columns wide": (
            heat[6:9, 4:8].sum() / total
        ),
        "this is a sum: divide by the sum of the whole map": inside,
        "this is the share of the picture that the cell covers, whatever the heatmap": 1 / 12,
        "this compares means; we want the sum inside, divided by the whole sum": (
            heat[8:12, 3:6].mean() / heat.mean()
        ),
        "you used one pixel, but a cell has many": heat[row, column] / total,
        "you compare with what lies outside: divide by the whole sum": (
            inside / (total - inside)
        ),
    }
    return compare(got, inside / total, "the share", mistakes)


@exercise("2.5", "Write `moved(right, wrong)`: how far the vectors move, relative to their length.")
def moved(answer: Any) -> str | None:
    """Judge how far a wrong input moves the vectors."""
    right, wrong = noise(4, 2, 3, 5), noise(5, 2, 3, 5)
    got = run(answer, right.clone(), wrong.clone())
    far, length = (wrong - right).norm(dim=-1), right.norm(dim=-1)  # (2, 3)
    mistakes = {
        "return one number: the mean over all pictures and cells": far / length,
        "this is how far they moved, but not relative to their length: divide by the length of the "
        "right vector": far.mean(),
        "divide by the length of the right vector, not of the wrong one": (
            (far / wrong.norm(dim=-1)).mean()
        ),
        "you take the length of all vectors together: norm(dim=-1) gives the length of each": (
            (wrong - right).norm() / right.norm()
        ),
        "divide each vector's distance by its own length, then take the mean": far.mean()
        / length.mean(),
        "you compare number by number: we want the length of the difference vector": (
            ((wrong - right).abs() / right.abs()).mean()
        ),
        "this is the cosine: it says how similar the directions are, not how far a vector moved": (
            torch.cosine_similarity(right, wrong, dim=-1).mean()
        ),
        "you compare the lengths: a vector can turn and keep its length": (
            ((wrong.norm(dim=-1) - length).abs() / length).mean()
        ),
    }
    return compare(got, (far / length).mean(), "the mean", mistakes)
