"""Beside where a model looked, what its words lose when an object of a drawn scene is removed.

A light place on an attention map is no evidence that the word came from there. Here the two stand
side by side: the map, and the loss of log p that `labkit.evaluation.removals` measures by drawing
the scene again without each object.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from labkit.data.records import CaptionedImage
from labkit.data.redraw import redraw
from labkit.data.scenes import Thing
from labkit.evaluation.removals import BOTH, SceneProbe
from labkit.figures.viewer import HINT, PHOTO_PIXELS, PLACES, Panel, Viewer, attention_panel
from labkit.model.captioner import Captioner

LEAST_TOP = 1.0  # nats: smaller losses than this never look large
SHRINK = 5  # the page's lights are so much smaller than its picture
SCALE = (
    "On the left, each word has a scale of its own. On the right, all words share one: an object "
    "is the lighter, the more log p the word loses when it is removed, up to {top:.1f} nats. An "
    "object without which the word gains stays dark."
)


class RemovalViewer(Viewer):
    """A drawn scene twice: where a model looked at a word, and what the word loses without objects.

    On the left is the attention map of the word, as in `labkit.AttentionViewer`. On the right each
    object is lit by the log p, in nats, that the word loses when the scene is drawn again without
    it, and its number stands on it. The caption is the model's own, greedy, and is read again word
    by word: each word still follows the same words.

    The scale of the right map is that of the whole caption: lightest is the largest loss of any of
    its words, or 1 nat if that is less. So words can be compared with each other there, and a word
    that depends on no object leaves it dark.

    Args:
        captioner: The model, of any attention mechanism.
        scene: A record of `labkit.make_scenes`.
        what: The part of the model for which objects are removed: "attention and first state",
            "attention", or "first state".
        alt: A short description of the scene, for those who cannot see it.

    Attributes:
        lost: (T, objects) what each word loses without each object, in nats; the objects in the
            order of the scene's facts.

    Raises:
        ValueError: This is no drawn scene, or the model has no such part.

    Example:
        >>> from labkit import Captioner, make_scenes
        >>> from labkit.figures import RemovalViewer
        >>> scene = make_scenes(1, seed=30, split="test")[0]
        >>> viewer = RemovalViewer(Captioner.from_pretrained("scenes-soft"), scene)
        >>> viewer
        RemovalViewer(scenes-soft: a large green cross and a small blue star)
        >>> viewer.save("removals.html")
    """

    def __init__(
        self, captioner: Captioner, scene: CaptionedImage, what: str = BOTH,
        alt: str = "The scene that the caption is about.",
    ):  # fmt: skip
        if "things" not in getattr(scene, "facts", {}):
            raise ValueError("objects can be removed from drawn scenes only: give a record of "
                             "make_scenes, not its picture or a photograph")  # fmt: skip
        scene = replace(scene, image=redraw(scene.id, pixels=captioner.encoder.config.size))
        probe = SceneProbe(captioner, [scene], progress=False)
        if what not in probe.losses:
            parts = ", ".join(probe.losses)
            raise ValueError(f"objects cannot be removed for {what!r}: choose one of {parts}")
        words = [probe.vocabulary.words[word] for word in probe.captions[0].words]
        losses = [probe.losses[what][0, j] for j in range(len(probe.things[0]))]
        self.lost = torch.stack(losses, 1).numpy()  # (T, objects)
        alpha = probe.forced[0].alpha.reshape(-1, *probe.grid).numpy()
        name, picture = Path(captioner.name).resolve().name, redraw(scene.id, pixels=PHOTO_PIXELS)
        only = "" if what == BOTH else f" ({what} only)"
        removal = _panel(words, self.lost, probe.things[0], scene.id, picture, only)
        panels = [attention_panel(name, words, alpha), removal]
        label = f"Where {name} looked, and what its words lose without each object"
        hint = f"{HINT} {SCALE.format(top=removal.top)}"
        super().__init__(picture, {name: words}, panels, label, alt, hint)


def _panel(
    words: list[str], lost: np.ndarray, things: Sequence[Thing], scene: str, picture: np.ndarray,
    only: str,
) -> Panel:  # fmt: skip
    """The panel of what each word loses; an object's pixels are those that its removal changes."""
    without = [redraw(scene, j, PHOTO_PIXELS) for j in range(len(things))]
    pixels = torch.from_numpy((np.stack(without) != picture).any(-1))  # (objects, rows, columns)
    changed = F.avg_pool2d(pixels.float(), SHRINK).numpy()
    maps = (lost.clip(min=0)[..., None, None] * changed).max(1)  # (T, rows, columns)
    shown = lost.astype(float).round(1) + 0.0  # no -0.0
    texts = [[f"{value:.1f}".replace("-", "\N{MINUS SIGN}") for value in row] for row in shown]
    places = [(one.x, one.y) for one in things]
    numbers = [[(*at, text) for at, text in zip(places, row, strict=True)] for row in texts]
    names = [_name(one, things) for one in things]
    says = [f"{word}: {tell(row, names)}" for word, row in zip(words, shown, strict=True)]
    about = f"What each word loses when an object is removed{only}"
    top = max(LEAST_TOP, float(lost.max(initial=0)))
    return Panel(f"removal{only}", words, maps, says, about, top, numbers)


def tell(lost: np.ndarray, names: Sequence[str]) -> str:
    """Say what a word loses: "loses 8.3 nats without the star; gains 0.1 nats without the cross".

    Args:
        lost: (objects,) nats, the largest named first.
        names: Of the objects.
    """
    parts: dict[str, list[str]] = {"loses": [], "gains": []}
    for j in np.argsort(-lost, kind="stable"):
        verb = "loses" if lost[j] >= 0 else "gains"
        unit = "" if parts[verb] else " nats"
        parts[verb].append(f"{abs(lost[j]):.1f}{unit} without the {names[j]}")
    return "; ".join(f"{verb} {', '.join(some)}" for verb, some in parts.items() if some)


def _name(one: Thing, things: Sequence[Thing]) -> str:
    """What an object is called; with its place where another has its colour and shape."""
    name = f"{one.colour} {one.shape}"
    alike = [name == f"{other.colour} {other.shape}" for other in things]
    place = PLACES[min(int(3 * one.y), 2)][min(int(3 * one.x), 2)]
    return f"{name} at the {place}" if sum(alike) > 1 else name
