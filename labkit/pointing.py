"""Does it look where it speaks? Attention against boxes, captions against scenes.

All of it is measured on drawn scenes, where the box of each word and every fact is known.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from labkit.captions import Box, tokenize
from labkit.scenes import SHAPES, Thing, is_true, objects_right, phrase_ending


@dataclass(frozen=True)
class SceneScores:
    """Shares of 1.

    Attributes:
        pointing: Of the object words that the model told itself and that name an object of the
            scene, the share whose largest weight lies on such an object, see `points_at`.
        pointing_human: Of the object words of the human captions, teacher forced, the share whose
            largest weight lies on the object meant. It stays lower: the paper's weights come
            from h_{t-1}, which has not read y_{t-1}, so at *circle* the model does not know yet
            that the human said *red*, and cannot know which circle is meant.
        objects_right: Of the object words told, the share that name an object of the scene.
        captions_true: Of the captions told, the share of which all is true.
    """

    pointing: float
    pointing_human: float
    objects_right: float
    captions_true: float


def points_at(alpha: Tensor, grid: tuple[int, int], box: Box) -> bool:
    """Whether the cell of the largest weight lies in the box.

    The cell's centre must lie within the box grown by half a cell on each side: the grid cannot
    be finer than that.

    Args:
        alpha: weights (L,), row by row.
        grid: rows and columns, L = rows * columns.
        box: in fractions of the picture.
    """
    rows, columns = grid
    row, column = divmod(int(alpha.argmax()), columns)
    x, y = (column + 0.5) / columns, (row + 0.5) / rows
    x0, y0, x1, y1 = box
    half_x, half_y = 0.5 / columns, 0.5 / rows
    return x0 - half_x <= x <= x1 + half_x and y0 - half_y <= y <= y1 + half_y


def pointing_known(
    captions: Sequence[str],
    boxes: Sequence[Sequence[Box | None]],
    alpha: Sequence[Tensor],
    grid: tuple[int, int],
) -> tuple[int, int]:
    """Count the object words of true captions that are pointed at, and all of them.

    Args:
        captions: as written.
        boxes: for each caption the box of each word.
        alpha: for each caption the weights (T, L) of each word, teacher forced.
        grid: rows and columns.
    """
    hits = total = 0
    for caption, word_boxes, rows in zip(captions, boxes, alpha, strict=True):
        for word, box, weights in zip(tokenize(caption), word_boxes, rows, strict=False):
            if word in SHAPES and box is not None:
                total += 1
                hits += points_at(weights, grid, box)
    return hits, total


def pointing_of_told(
    words: Sequence[str], alpha: Tensor, things: Sequence[Thing], grid: tuple[int, int]
) -> tuple[int, int]:
    """Count the same for a caption that the model told; words that name nothing there are left out.

    Where two objects fit the words, looking at either is right.
    """
    hits = total = 0
    for k in range(len(words)):
        phrase = phrase_ending(words, k)
        fitting = [thing for thing in things if phrase and phrase.fits(thing)]
        total += bool(fitting)
        hits += any(points_at(alpha[k], grid, thing.box) for thing in fitting)
    return hits, total


def scene_scores(
    told: Sequence[tuple[list[str], Tensor]],
    scenes: Sequence[Sequence[Thing]],
    grid: tuple[int, int],
    known: tuple[int, int],
) -> SceneScores:
    """Gather the scores of a split.

    Args:
        told: for each scene the words told and their weights (T, L).
        scenes: what is in each scene.
        grid: rows and columns.
        known: the counts of `pointing_known`.
    """
    counts = torch.zeros(2, 2)  # (pointing, naming) x (right, all)
    true = 0
    for (words, alpha), things in zip(told, scenes, strict=True):
        counts[0] += torch.tensor(pointing_of_told(words, alpha, things, grid))
        counts[1] += torch.tensor(objects_right(" ".join(words), things))
        true += is_true(" ".join(words), things)
    share = (counts[:, 0] / counts[:, 1].clamp(min=1)).tolist()
    return SceneScores(share[0], known[0] / max(known[1], 1), share[1], true / max(len(told), 1))
