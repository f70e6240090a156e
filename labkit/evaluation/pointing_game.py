"""Does it look where it speaks? Attention against boxes, captions against scenes.

All of it is measured on drawn scenes, where the box of each word and every fact is known.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from labkit.data.readers import Box, tokenize
from labkit.data.scenes import SHAPES, Thing, is_true, objects_right, phrase_ending, things_of
from labkit.data.vocabulary import Vocabulary
from labkit.evaluation.teacher_forced import teacher_forced_maps
from labkit.features.encoder import grid_of
from labkit.model.decoder import Decoder
from labkit.model.generation import Caption
from labkit.store.shards import FeatureStore

PICTURES = 50  # whose references go through the decoder at once


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
        mass: For the words that `pointing` counts, the mean of all weight that lies on such an
            object.
        objects_right: Of the object words told, the share that name an object of the scene.
        captions_true: Of the captions told, the share of which all is true.
    """

    pointing: float
    pointing_human: float
    mass: float
    objects_right: float
    captions_true: float


def points_at(alpha: Tensor, grid: tuple[int, int], box: Box) -> bool:
    """Whether the cell of the largest weight of alpha (L,) lies in the box, see `cells_in`."""
    return bool(cells_in(box, grid)[alpha.argmax()])


def cells_in(box: Box, grid: tuple[int, int]) -> Tensor:
    """Which cells of the grid lie in the box: (L,) bool.

    A cell's centre must lie within the box grown by half a cell on each side: the grid cannot
    be finer than that.

    Args:
        box: in fractions of the picture.
        grid: rows and columns, L = rows * columns; cells are counted row by row.
    """
    x0, y0, x1, y1 = box

    def within(low: float, high: float, cells: int) -> Tensor:
        centre = (torch.arange(cells, dtype=torch.float64) + 0.5) / cells
        return (low - 0.5 / cells <= centre) & (centre <= high + 0.5 / cells)

    return (within(y0, y1, grid[0])[:, None] & within(x0, x1, grid[1])).flatten()


def pointing_known(
    captions: Sequence[str], boxes: Sequence[Sequence[Box | None]], alpha: Sequence[Tensor],
    grid: tuple[int, int],
) -> tuple[int, int]:  # fmt: skip
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


def pointing_of_generated(
    words: Sequence[str], alpha: Tensor, things: Sequence[Thing], grid: tuple[int, int]
) -> tuple[int, float, int]:
    """Count the same for a caption that the model told; words that name nothing there are left out.

    Where two objects fit the words, looking at either is right.

    Returns:
        How many are pointed at; the sum of the weight on such objects; and how many there are.
    """
    hits, mass, total = 0, 0.0, 0
    for k in range(len(words)):
        phrase = phrase_ending(words, k)
        fitting = [thing.box for thing in things if phrase and phrase.fits(thing)]
        if fitting:
            cells = torch.stack([cells_in(box, grid) for box in fitting]).any(0)  # (L,)
            hits, mass = hits + int(cells[alpha[k].argmax()]), mass + alpha[k][cells].sum().item()
            total += 1
    return hits, mass, total


def scene_scores(
    told: Sequence[tuple[list[str], Tensor]], scenes: Sequence[Sequence[Thing]],
    grid: tuple[int, int], known: tuple[int, int],
) -> SceneScores:  # fmt: skip
    """Gather the scores of a split.

    Args:
        told: for each scene the words told and their weights (T, L).
        scenes: what is in each scene.
        grid: rows and columns.
        known: the counts of `pointing_known`.
    """
    looked, named, true = torch.zeros(3, dtype=torch.float64), torch.zeros(2), 0
    for (words, alpha), things in zip(told, scenes, strict=True):
        looked += torch.tensor(pointing_of_generated(words, alpha, things, grid))
        named += torch.tensor(objects_right(" ".join(words), things))
        true += is_true(" ".join(words), things)
    pointing, mass = (looked[:2] / looked[2].clamp(min=1)).tolist()
    right = (named[0] / named[1].clamp(min=1)).item()
    human = known[0] / max(known[1], 1)
    return SceneScores(pointing, human, mass, right, true / max(len(told), 1))


def score_scenes(
    decoder: Decoder, vocabulary: Vocabulary, store: FeatureStore, told: Sequence[Caption],
    attention_mode: str,
) -> SceneScores | None:
    """Where it looked, teacher forced and free running, and whether it told the truth.

    Args:
        decoder: in evaluation mode.
        vocabulary: its words.
        store: the images.
        told: the caption generated for each of them.
        attention_mode: the attention mode they were generated with.

    Returns:
        None if the store is not one of drawn scenes.
    """
    if "things" not in store.facts[0]:
        return None
    grid = grid_of(store.encoder, store.length)
    hits = total = 0
    for start in range(0, len(store), PICTURES):
        rows = range(start, min(start + PICTURES, len(store)))
        pairs = [(row, number) for row in rows for number in range(len(store.captions[row]))]
        alpha = teacher_forced_maps(decoder, vocabulary, store, pairs, attention_mode)
        texts = [store.captions[row][number] for row, number in pairs]
        boxes = [store.boxes[row][number] for row, number in pairs]
        found = pointing_known(texts, boxes, alpha, grid)
        hits, total = hits + found[0], total + found[1]
    words = [tokenize(vocabulary.decode(caption.words)) for caption in told]
    pairs = [(word, caption.alpha) for word, caption in zip(words, told, strict=True)]
    return scene_scores(pairs, [things_of(f) for f in store.facts], grid, (hits, total))
