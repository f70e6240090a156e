"""The pointing game: whether a model looks at what it names, and whether its captions are true.

Both are measured on synthetic scenes, where the box of each word and every fact is known.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from labkit.data.records import Box
from labkit.data.scenes import (
    SHAPES,
    Thing,
    is_true,
    objects_right,
    phrase_ending,
    read_caption,
    things_of,
)
from labkit.data.vocabulary import Vocabulary
from labkit.data.words import tokenize
from labkit.evaluation.teacher_forced import teacher_forced_maps
from labkit.features.facts import grid_of
from labkit.model.captions import Caption
from labkit.model.decoder import Decoder
from labkit.store.shards import FeatureStore

BATCH_SIZE = 50  # images whose references go through the decoder at once


@dataclass(frozen=True)
class SceneScores:
    """Scores on synthetic scenes, as fractions of 1.

    Attributes:
        pointing: Of the generated object words that name an object of the scene, the share whose
            largest weight lies on such an object, see `points_at`.
        pointing_human: Of the object words of the references, teacher forced, the share whose
            largest weight lies on the object meant. It stays lower: the paper's weights depend on
            h_{t-1}, which has not read y_{t-1}, so at *circle* the model does not know yet that
            the reference says *red*, and cannot know which circle is meant.
        mass: The mean weight on such an object, over the words that `pointing` counts.
        objects_right: Of the generated object words, the share that name an object of the scene.
        captions_true: Of the generated captions, the share in which everything is true.
        relations_told: Of the generated captions, the share that states a relation.
        sizes_told: Of the generated phrases, the share that says how large its object is.
        words_told: The mean number of words of a generated caption. These three are not about what
            is right: a model that learns to be right may do so by saying less.
    """

    pointing: float
    pointing_human: float
    mass: float
    objects_right: float
    captions_true: float
    relations_told: float
    sizes_told: float
    words_told: float


def points_at(alpha: Tensor, grid: tuple[int, int], box: Box) -> bool:
    """Whether the cell with the largest weight of alpha (L,) lies in the box, see `cells_in`."""
    return bool(cells_in(box, grid)[alpha.argmax()])


def cells_in(box: Box, grid: tuple[int, int]) -> Tensor:
    """Find the cells of the grid that lie in the box.

    A cell's centre must lie within the box extended by half a cell on each side: the grid does not
    resolve more.

    Args:
        box: In fractions of the image.
        grid: Rows and columns, L = rows * columns; cells are counted row by row.

    Returns:
        (L,) bool.
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
    """Count the object words of references whose object is pointed at, and all object words.

    Args:
        captions: The references, as written.
        boxes: For each caption the box of each word, or None.
        alpha: For each caption the weights (T, L) of its words, teacher forced.
        grid: Rows and columns.
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
    """Count the same for a generated caption; words that name no object there are left out.

    If two objects fit the words, looking at either is right.

    Args:
        words: The T generated words.
        alpha: Their weights (T, L).
        things: The objects of the scene.
        grid: Rows and columns.

    Returns:
        The number of object words whose object is pointed at; the total weight on such objects; and
        the number of object words.
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
    captions: Sequence[tuple[list[str], Tensor]], scenes: Sequence[Sequence[Thing]],
    grid: tuple[int, int], known: tuple[int, int],
) -> SceneScores:  # fmt: skip
    """Compute the scores of a split.

    Args:
        captions: For each scene the generated words and their weights (T, L).
        scenes: The objects of each scene.
        grid: Rows and columns.
        known: The counts of `pointing_known`.
    """
    pointed, named, true = torch.zeros(3, dtype=torch.float64), torch.zeros(2), 0
    for (words, alpha), things in zip(captions, scenes, strict=True):
        pointed += torch.tensor(pointing_of_generated(words, alpha, things, grid))
        named += torch.tensor(objects_right(" ".join(words), things))
        true += is_true(" ".join(words), things)
    pointing, mass = (pointed[:2] / pointed[2].clamp(min=1)).tolist()
    right = (named[0] / named[1].clamp(min=1)).item()
    human = known[0] / max(known[1], 1)
    telling = told([words for words, _ in captions])
    return SceneScores(pointing, human, mass, right, true / max(len(captions), 1), *telling)


def told(captions: Sequence[Sequence[str]]) -> tuple[float, float, float]:
    """How much captions say, true or not: see the last three of `SceneScores`.

    Args:
        captions: The words of each.
    """
    parts = [read_caption(" ".join(words)) or ([], []) for words in captions]
    related = sum(any(links) for _, links in parts)
    phrases = [phrase for some, _ in parts for phrase in some]
    sized = sum(phrase.size is not None for phrase in phrases)
    count = max(len(captions), 1)
    return related / count, sized / max(len(phrases), 1), sum(map(len, captions)) / count


def score_scenes(
    decoder: Decoder, vocabulary: Vocabulary, store: FeatureStore, captions: Sequence[Caption],
    attention_mode: str | None,
) -> SceneScores | None:  # fmt: skip
    """Score where the model looks, free running and teacher forced, and whether captions are true.

    Args:
        decoder: In evaluation mode.
        vocabulary: Its words.
        store: The images.
        captions: The generated caption of each image.
        attention_mode: The attention mode with which they were generated.

    Returns:
        The scores; None if the store holds other images than synthetic scenes.
    """
    if not all("things" in facts for facts in store.facts):
        return None
    grid = grid_of(store.encoder, store.length)
    hits = total = 0
    for start in range(0, len(store), BATCH_SIZE):
        rows = range(start, min(start + BATCH_SIZE, len(store)))
        pairs = [(row, number) for row in rows for number in range(len(store.captions[row]))]
        alpha = teacher_forced_maps(decoder, vocabulary, store, pairs, attention_mode)
        texts = [store.captions[row][number] for row, number in pairs]
        boxes = [(store.boxes[row] or ())[number] for row, number in pairs]
        found = pointing_known(texts, boxes, list(alpha), grid)
        hits, total = hits + found[0], total + found[1]
    words = [tokenize(vocabulary.decode(caption.words)) for caption in captions]
    maps = [caption.alpha for caption in captions]
    pointed = list(zip(words, maps, strict=True))
    return scene_scores(pointed, [things_of(f) for f in store.facts], grid, (hits, total))
