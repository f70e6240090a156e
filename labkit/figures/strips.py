"""Figures: where a captioner looked at each word, and the loss curves of training runs.

They are drawn without `pyplot`, so they need no display and keep no global state. A notebook shows
a figure that is the last value of a cell.
"""

import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from labkit.data.photos import read_photo, to_rgb

PANEL = 2.0  # inches, the longer side of a photograph in a strip
PANEL_PIXELS = 400  # a photograph is drawn with at most this many pixels per side
COLUMNS = 6  # pictures in a row


class Picture(Figure):
    """A figure that a notebook displays."""

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png")
        return buffer.getvalue()


def attention_strip(
    photo: str | Path | Image.Image | np.ndarray, words: Sequence[str],
    alpha: np.ndarray | Tensor, title: str | None = None, top: float | None = None,
) -> Figure:
    """Draw an attention strip: the photograph, then the attention map of each word (figures 2, 3).

    The largest weight of each word is white, so compare regions within a word, not words with each
    other. Uniform attention is uniformly white. Axes are in pixels of the photograph.

    Args:
        photo: A file, a PIL image, or an array (H, W, 3) of uint8, in its own aspect ratio.
        words: The T words of the caption.
        alpha: The weights (T, rows, columns): a grid of any size over the whole photograph.
        title: A title above the figure.
        top: The weight that is white, for maps to be compared; None takes each word's largest.

    Returns:
        The figure, to display or to save with `savefig`.

    Raises:
        ValueError: The numbers of maps and words differ.
        FileNotFoundError, DataError: The photograph is missing, or cannot be read.

    Example:
        >>> import numpy as np
        >>> from labkit import attention_strip, make_scenes
        >>> scene = make_scenes(1)[0]
        >>> alpha = np.random.dirichlet(np.ones(49), size=2).reshape(2, 7, 7)
        >>> attention_strip(scene.image, ["red", "circle"], alpha).savefig("strip.png")
    """
    image = as_image(photo)
    alpha = np.asarray(alpha, dtype=np.float32)  # (T, rows, columns)
    if alpha.ndim != 3 or len(alpha) != len(words):
        found = f"{len(words)} words and weights of shape {alpha.shape}"
        raise ValueError(f"a strip needs one map (rows, columns) for each word, not {found}")
    width, height = image.size
    image.thumbnail((PANEL_PIXELS, PANEL_PIXELS))
    extent = (0, width, height, 0)  # pixels of the whole photograph, whatever is drawn
    figure, panels = _panels(1 + len(words), width / height, title)
    for panel in panels:
        panel.imshow(image, extent=extent)
    for panel, word, weights in zip(panels[1:], words, alpha, strict=True):
        light = smooth(weights, image.height, image.width)
        white = top or max(float(light.max()), 1e-12)
        panel.imshow(light, extent=extent, cmap="gray", vmin=0, vmax=white, alpha=0.75)
        panel.set_title(word, y=1, fontsize=11, parse_math=False)
    return figure


def as_image(photo: str | Path | Image.Image | np.ndarray) -> Image.Image:
    """Return a photograph of any kind as a new image, upright and in RGB.

    Raises:
        FileNotFoundError, DataError: The file is missing, or cannot be read.
    """
    if isinstance(photo, str | Path):
        return read_photo(photo)
    return to_rgb(Image.fromarray(photo) if isinstance(photo, np.ndarray) else photo).copy()


def smooth(weights: np.ndarray, height: int, width: int) -> np.ndarray:
    """Stretch an attention map smoothly over a photograph, each cell over its own part.

    Args:
        weights: (rows, columns).
        height: The photograph's height, in pixels.
        width: The photograph's width, in pixels.

    Returns:
        (height, width) float32, not negative.
    """
    grid = torch.as_tensor(np.asarray(weights, dtype=np.float32))[None, None]  # (1, 1, rows, cols)
    size = (height, width)
    drawn = F.interpolate(grid, size, mode="bicubic", align_corners=False, antialias=True)
    return drawn[0, 0].clamp(min=0).numpy()


def loss_curves(runs: Mapping[str, Sequence[Mapping[str, float]]]) -> Figure:
    """Draw the training loss of one or more runs, and their scores on the dev split.

    Args:
        runs: The rows of each run's `metrics.jsonl`, by the run's name. A row holds "step" and
            either "loss" (nats per word), or "cider" (on the dev split), or neither.

    Returns:
        The figure: the loss, and next to it CIDEr if any row has it.
    """
    scored = any("cider" in row for rows in runs.values() for row in rows)
    figure = Picture(figsize=(9 if scored else 5, 3.5), layout="constrained")
    panels = figure.subplots(1, 2 if scored else 1, squeeze=False)[0]
    _curves(panels[0], runs, "loss", "loss (nats per word)")
    if scored:
        _curves(panels[1], runs, "cider", "CIDEr (dev)", marker="o")
    return figure


def _curves(
    panel: Axes, runs: Mapping[str, Sequence[Mapping[str, float]]], value: str, label: str,
    marker: str | None = None,
) -> None:
    """Draw one value of each run against the step."""
    for name, rows in runs.items():
        points = [(row["step"], row[value]) for row in rows if value in row]
        if points:
            panel.plot(*zip(*points, strict=True), label=name, marker=marker)
    panel.set_xlabel("step")
    panel.set_ylabel(label)
    panel.grid(alpha=0.3)
    if len(runs) > 1 and panel.lines:
        panel.legend()


def _panels(count: int, aspect: float, title: str | None) -> tuple[Picture, list[Axes]]:
    """Lay out panels of one shape in rows, without axes."""
    columns = min(count, COLUMNS)
    rows = math.ceil(count / columns)
    aspect = min(max(aspect, 0.25), 4.0)  # a very long photograph gets a less extreme panel
    width, height = PANEL * min(1, aspect), PANEL * min(1, 1 / aspect) + 0.3
    size = (columns * max(width, 0.9), rows * height + (0.4 if title else 0))
    figure = Picture(figsize=size, layout="constrained")
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    for panel in panels:
        panel.set_axis_off()
    if title:
        figure.suptitle(title, parse_math=False)
    return figure, panels[:count]
