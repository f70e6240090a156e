"""The figures: maps that lie where the weights are, curves that hold the numbers."""

import io
import subprocess
import sys

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from labkit.data.readers import DataError
from labkit.figures.strips import attention_strip, loss_curves, smooth

CELLS = [
    (7, 7, 3, 3), (7, 7, 0, 6), (7, 7, 6, 0), (14, 14, 5, 9), (14, 14, 13, 13), (3, 5, 2, 1),
    (1, 1, 0, 0),
]  # fmt: skip
SHAPES = [(100, 100), (240, 90), (75, 310), (900, 1700)]  # height, width


def one_cell(rows, columns, row, column):
    weights = np.full((rows, columns), 0.01, np.float32)
    weights[row, column] = 1
    return weights


def within(y, x, height, width, cell):
    """Whether a point, as fractions of a photograph's size, lies in the cell, to half a pixel."""
    rows, columns, row, column = cell
    down, right = 0.5 / height, 0.5 / width
    return (
        row / rows - down <= y <= (row + 1) / rows + down
        and column / columns - right <= x <= (column + 1) / columns + right
    )


@pytest.mark.parametrize("height, width", SHAPES)
@pytest.mark.parametrize("cell", CELLS)
def test_a_stretched_map_is_brightest_in_its_cell(cell, height, width):
    drawn = smooth(one_cell(*cell), height, width)
    assert drawn.shape == (height, width) and drawn.min() >= 0
    y, x = np.unravel_index(drawn.argmax(), drawn.shape)
    assert within((y + 0.5) / height, (x + 0.5) / width, height, width, cell)
    rows, columns, row, column = cell
    if 0 < row < rows - 1 and 0 < column < columns - 1:  # not at the edge: in the cell's middle
        assert y + 0.5 == pytest.approx((row + 0.5) * height / rows, abs=1)
        assert x + 0.5 == pytest.approx((column + 0.5) * width / columns, abs=1)


def test_a_stretched_map_is_smooth_and_keeps_an_even_map_even():
    drawn = smooth(one_cell(7, 7, 3, 3), 224, 224)
    assert np.abs(np.diff(drawn, axis=0)).max() < 0.06  # a step between cells would be 1
    assert smooth(np.full((7, 7), 1 / 49), 90, 40) == pytest.approx(1 / 49)


def pixels_of(figure):
    """What is drawn, as (H, W, 3), with the panels' places in it."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[:, :, :3]


def panel_pixels(drawn, panel):
    """The part of a drawing that one panel's photograph fills."""
    box = panel.images[0].get_window_extent()
    top = len(drawn) - box.y1
    return drawn[round(top) : round(top + box.height), round(box.x0) : round(box.x1)]


@pytest.mark.parametrize("height, width", SHAPES)
def test_what_is_drawn_lies_over_the_photograph(height, width):
    cells = [(7, 7, 1, 5), (7, 7, 6, 0), (7, 7, 3, 2)]
    figure = attention_strip(
        np.zeros((height, width, 3), np.uint8), ["a", "red", "ball"],
        np.stack([one_cell(*cell) for cell in cells]),
    )
    drawn = pixels_of(figure)
    for cell, panel in zip(cells, figure.axes[1:], strict=False):
        part = panel_pixels(drawn, panel).mean(2)
        assert part.shape[0] / part.shape[1] == pytest.approx(height / width, rel=0.1)
        y, x = np.argwhere(part == part.max()).mean(0)
        assert within((y + 0.5) / len(part), (x + 0.5) / part.shape[1], *part.shape, cell)
        assert (panel.get_xlim(), panel.get_ylim()) == ((0, width), (height, 0))


def test_the_strip_has_the_photograph_first_and_a_title_for_each_word():
    words = ["a", "$5", "cup", "and", "$6", "plates", "beside", "it"]
    photo = Image.new("RGB", (50, 40), (0, 200, 100))
    figure = attention_strip(photo, words, torch.full((8, 3, 3), 1 / 9), title="What it saw")
    drawn = pixels_of(figure)
    first = panel_pixels(drawn, figure.axes[0])[10:-10, 10:-10]
    assert (first == (0, 200, 100)).all()
    titles = [panel.get_title() for panel in figure.axes if panel.images]
    assert titles == ["", *words]
    assert figure.get_suptitle() == "What it saw"


def test_the_strip_of_a_file_is_upright(tmp_path):
    image = Image.new("RGB", (80, 40))
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "a.jpg", exif=exif)
    figure = attention_strip(tmp_path / "a.jpg", ["dark"], np.ones((1, 2, 2)))
    assert figure.axes[0].get_xlim() == (0, 40) and figure.axes[0].get_ylim() == (80, 0)


def test_a_word_that_looks_nowhere_and_a_caption_of_no_words():
    photo = np.zeros((8, 8, 3), np.uint8)
    assert pixels_of(attention_strip(photo, ["x"], np.zeros((1, 7, 7)))).size
    assert len([a for a in attention_strip(photo, [], np.zeros((0, 7, 7))).axes if a.images]) == 1


def test_the_given_photograph_is_left_as_it_was():
    photo = Image.new("RGB", (2000, 1000))
    attention_strip(photo, ["x"], np.ones((1, 7, 7)))
    assert photo.size == (2000, 1000)


@pytest.mark.parametrize("shape", [(3, 7, 7), (1, 7, 7), (2, 49)])
def test_maps_that_do_not_fit_the_words(shape):
    with pytest.raises(ValueError, match=r"one map .* for each word"):
        attention_strip(np.zeros((8, 8, 3), np.uint8), ["two", "words"], np.ones(shape))


def test_a_photograph_that_is_not_one(tmp_path):
    (tmp_path / "a.jpg").write_text("text")
    with pytest.raises(DataError, match=r"a\.jpg"):
        attention_strip(tmp_path / "a.jpg", ["x"], np.ones((1, 7, 7)))


ROWS = [
    {"epoch": 0, "step": 10, "loss": 3.0}, {"epoch": 0, "step": 20, "loss": 2.0},
    {"epoch": 1, "step": 20, "cider": 0.25, "bleu4": 0.1}, {"epoch": 1, "step": 30, "loss": 1.5},
]  # fmt: skip


def test_curves_hold_the_numbers():
    figure = loss_curves({"soft": ROWS, "hard": ROWS[:1]})
    loss, cider = figure.axes
    assert [line.get_label() for line in loss.lines] == ["soft", "hard"]
    assert loss.lines[0].get_xydata().tolist() == [[10, 3.0], [20, 2.0], [30, 1.5]]
    assert cider.lines[0].get_xydata().tolist() == [[20, 0.25]]
    assert loss.get_legend() and "nats" in loss.get_ylabel()


@pytest.mark.parametrize("runs", [{}, {"soft": []}, {"soft": ROWS[:2]}])
def test_curves_of_little(runs):
    figure = loss_curves(runs)
    assert len(figure.axes) == 1 and pixels_of(figure).size


def test_figures_show_themselves_in_a_notebook_and_save(tmp_path):
    figure = loss_curves({"soft": ROWS})
    shown = Image.open(io.BytesIO(figure._repr_png_()))
    figure.savefig(tmp_path / "loss.png")
    saved = Image.open(tmp_path / "loss.png")
    assert shown.size == saved.size == (900, 350)
    assert repr(figure) == repr(loss_curves({"soft": ROWS}))


def test_no_window_system_is_touched():
    code = (
        "import sys, numpy as np; from labkit.figures.strips import attention_strip as strip;"
        "strip(np.zeros((8, 8, 3), np.uint8), ['x'], np.ones((1, 7, 7))).savefig('/dev/null',"
        " format='png'); print('matplotlib.pyplot' in sys.modules)"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.stdout.strip() == "False", done.stderr
