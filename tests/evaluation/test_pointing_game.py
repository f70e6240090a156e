"""The pointing game: does a model look at what it names? Cases made by hand."""

import pytest
import torch
from torch import Tensor

from labkit.data.scenes import Thing
from labkit.evaluation.pointing_game import (
    SceneScores,
    pointing_known,
    pointing_of_generated,
    points_at,
    scene_scores,
    score_scenes,
    told,
)

GRID = (2, 4)  # rows, columns: cells of 0.25 x 0.5
RED = Thing("small", "red", "circle", 0.125, 0.25, 0.2)  # on cell 0
BLUE = Thing("large", "blue", "square", 0.875, 0.75, 0.2)  # on cell 7
TWIN = Thing("large", "red", "circle", 0.875, 0.25, 0.2)  # on cell 3


def looks(*cells: int, grid: tuple[int, int] = GRID) -> Tensor:
    """Weights (T, L) that are largest at the given cells."""
    alpha = torch.full((len(cells), grid[0] * grid[1]), 0.05)
    alpha[torch.arange(len(cells)), list(cells)] = 0.6
    return alpha


# -------------------------------------------------------------------------------------- points_at


@pytest.mark.parametrize("cell", range(8))
def test_the_box_of_a_cell_is_that_cells(cell):
    """Row by row: cell 5 is row 1, column 1."""
    row, column = divmod(cell, 4)
    x, y = (column + 0.5) / 4, (row + 0.5) / 2
    box = (x - 0.01, y - 0.01, x + 0.01, y + 0.01)
    hits = [points_at(looks(k)[0], GRID, box) for k in range(8)]
    assert hits == [k == cell for k in range(8)]


@pytest.mark.parametrize(
    ("box", "hit"),
    [
        ((0.49, 0.0, 0.60, 0.5), True),  # cell 1 has its centre at 0.375, and ends at 0.5
        ((0.51, 0.0, 0.60, 0.5), False),
        ((0.00, 0.0, 0.26, 0.5), True),  # it begins at 0.25
        ((0.00, 0.0, 0.24, 0.5), False),
        ((0.30, 0.49, 0.4, 0.9), True),  # its row ends at 0.5
        ((0.30, 0.51, 0.4, 0.9), False),
        ((0.00, 0.0, 1.00, 1.0), True),
    ],
)
def test_the_margin_is_half_a_cell(box, hit):
    assert points_at(looks(1)[0], GRID, box) == hit


def test_rows_and_columns_are_not_mistaken():
    box = (0.0, 0.8, 0.4, 1.0)  # at the bottom left
    assert points_at(looks(6, grid=(4, 2))[0], (4, 2), box)
    assert not points_at(looks(6)[0], GRID, box)  # of two rows and four columns it is the right


def test_only_the_largest_weight_counts():
    alpha = torch.tensor([0.24, 0.26, 0.25, 0.25])
    assert points_at(alpha, (1, 4), (0.3, 0.3, 0.45, 0.7))
    assert not points_at(alpha, (1, 4), (0.55, 0.3, 0.95, 0.7))


# ---------------------------------------------------------------------------------- true captions


def test_object_words_of_true_captions():
    captions = ["a red circle and a blue square", "There is a red circle."]
    boxes = [
        [RED.box] * 3 + [None] + [BLUE.box] * 3,
        [None, None] + [RED.box] * 3,
    ]
    right = looks(1, 0, 0, 0, 0, 0, 7, 3), looks(1, 2, 3, 4, 0, 5, 6, 7)  # longer: padding
    assert pointing_known(captions, boxes, right, GRID) == (3, 3)
    wrong = looks(0, 0, 0, 0, 0, 0, 0), looks(0, 0, 0, 0, 7)
    assert pointing_known(captions, boxes, wrong, GRID) == (1, 3)
    assert pointing_known([], [], [], GRID) == (0, 0)


def test_a_word_that_was_cut_off_is_not_counted():
    captions, boxes = ["a red circle and a blue square"], [[RED.box] * 3 + [None] + [BLUE.box] * 3]
    assert pointing_known(captions, boxes, [looks(0, 0, 0)], GRID) == (1, 1)


# ----------------------------------------------------------------------------- generated captions


def caption(text: str, *cells: int) -> tuple[list[str], Tensor]:
    assert len(text.split()) == len(cells)
    return text.split(), looks(*cells)


def hits_of(*found) -> tuple[int, int]:
    hits, _, total = pointing_of_generated(*found)
    return hits, total


def test_generated_words_that_name_something_are_counted():
    things = [RED, BLUE]
    assert hits_of(*caption("a red circle", 7, 7, 0), things, GRID) == (1, 1)
    assert hits_of(*caption("a red circle", 0, 0, 7), things, GRID) == (0, 1)
    assert hits_of(*caption("a green circle", 0, 0, 0), things, GRID) == (0, 0)
    assert hits_of(*caption("a large red circle", 0, 0, 0, 0), things, GRID) == (0, 0)
    assert hits_of(*caption("circle", 0), things, GRID) == (0, 0)
    assert hits_of([], looks(), things, GRID) == (0, 0)


def test_where_two_fit_either_is_right():
    things = [RED, BLUE, TWIN]
    for cell, hit in ((0, 1), (3, 1), (7, 0)):
        assert hits_of(*caption("a red circle", 0, 0, cell), things, GRID) == (hit, 1)
    assert hits_of(*caption("small red circle", 0, 0, 3), things, GRID) == (0, 1)


def test_a_shape_word_takes_no_other_words_phrase():
    """'square' names nothing here, though a phrase that fits ends just before it."""
    assert hits_of(*caption("red circle square", 0, 0, 0), [RED, BLUE], GRID) == (1, 1)


def test_mass_is_all_weight_on_objects_that_fit():
    """0.6 where it looks, 0.05 at each other place; each object covers one cell."""
    things = [RED, BLUE, TWIN]
    for words, cells, mass in (
        ("a blue square", (0, 0, 7), 0.6),
        ("a blue square", (0, 0, 6), 0.05),
        ("a red circle", (0, 0, 0), 0.65),  # there are two
        ("a red circle and a blue square", (0, 0, 3, 0, 0, 0, 7), 0.65 + 0.6),
        ("a green circle", (0, 0, 0), 0.0),
    ):
        found = pointing_of_generated(*caption(words, *cells), things, GRID)
        assert found[1] == pytest.approx(mass)


# ------------------------------------------------------------------------------- a split's scores


def test_scene_scores():
    captions = [
        caption("a red circle and a blue square", 0, 0, 0, 0, 0, 0, 0),  # true; at one of two
        caption("a green circle", 0, 0, 0),  # wrong
        caption("a red circle left of a blue square", 1, 1, 0, 1, 1, 1, 1, 7),  # true; at both
        caption("a red circle right of a blue square", 1, 1, 1, 1, 1, 1, 1, 7),  # wrong; at one
    ]
    scores = scene_scores(captions, [[RED, BLUE]] * 4, GRID, known=(3, 4))
    assert scores == SceneScores(
        pointing=pytest.approx(4 / 6),
        pointing_human=0.75,
        mass=pytest.approx(2.5 / 6),
        objects_right=pytest.approx(6 / 7),
        captions_true=0.5,
        relations_told=0.5,
        sizes_told=0,
        words_told=pytest.approx((7 + 3 + 8 + 8) / 4),
    )


def test_how_much_captions_tell():
    texts = ["a large red circle and a blue square", "a red circle above a small red star", "red a"]
    found = told([text.split() for text in texts])
    assert found == pytest.approx((1 / 3, 2 / 4, (8 + 8 + 2) / 3))
    assert told([]) == (0, 0, 0)


def test_an_empty_caption_scores_nothing():
    scores = scene_scores([([], looks())], [[RED, BLUE]], GRID, known=(0, 0))
    assert scores == SceneScores(0, 0, 0, 0, 0, 0, 0, 0)


def test_a_split_with_copies_of_scenes_is_not_scored_as_scenes():
    """Of a flipped or cropped copy nobody knows where its shapes are."""

    class Store:
        facts = ({"things": []}, {})

    assert score_scenes(None, None, Store(), [], None) is None
