"""Drawn scenes: pictures whose every fact is known, so that what is told of them can be checked.

A scene holds two to four coloured shapes, small or large, placed freely and sometimes overlapping.
Each scene has five captions from a small grammar, and for each word of a caption the box of the
shape that the word speaks of. Nothing is downloaded, and a scene is a pure function of its seed
and number.

Why a mean of the features is not enough: the captions bind a size and a colour to a shape, and
relate two shapes by place. The mean of the annotation vectors says which colours and shapes are
there, not which belongs to which, nor where they are.
"""

import math
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import permutations

import numpy as np
from PIL import Image, ImageDraw

from labkit.data.readers import Box, CaptionedImage, tokenize

COLOURS = {
    "red": (214, 40, 40),
    "green": (44, 150, 62),
    "blue": (40, 80, 200),
    "yellow": (240, 210, 50),
    "purple": (140, 60, 170),
    "orange": (240, 130, 30),
    "white": (245, 245, 245),
    "black": (20, 20, 20),
}
SHAPES = ("circle", "square", "triangle", "star", "cross")
SIZES = {"small": (0.18, 0.23), "large": (0.32, 0.40)}  # the side, as a fraction of the picture
RELATIONS = {"left": "left of", "right": "right of", "above": "above", "below": "below"}
MARGIN = 0.1  # 'left of' means: its centre lies at least this much further left
LARGEST_COVER = 0.35  # two boxes have at most this share of the smaller in common
MOST_CAPTIONS = 8  # that can be told of any scene, also of two like shapes close together


@dataclass(frozen=True)
class Thing:
    """One shape: what it is and where its centre is, in fractions of the picture."""

    size: str
    colour: str
    shape: str
    x: float
    y: float
    side: float

    @property
    def box(self) -> Box:
        """Left, top, right and bottom edge, in fractions of the picture."""
        half = self.side / 2
        left, top = max(self.x - half, 0.0), max(self.y - half, 0.0)  # rounding may lead outside
        return (left, top, min(self.x + half, 1.0), min(self.y + half, 1.0))


@dataclass(frozen=True)
class Phrase:
    """What a caption says of one shape; ``size`` is None where the caption leaves it open."""

    size: str | None
    colour: str
    shape: str

    def fits(self, thing: Thing) -> bool:
        """Whether the phrase is true of ``thing``."""
        known = (self.colour, self.shape) == (thing.colour, thing.shape)
        return known and self.size in (None, thing.size)


def holds(relation: str, one: Thing, other: Thing) -> bool:
    """Whether ``one`` is ``relation`` ("left", "right", "above", "below") of ``other``."""
    dx, dy = other.x - one.x, other.y - one.y
    return {"left": dx, "right": -dx, "above": dy, "below": -dy}[relation] >= MARGIN


# ------------------------------------------------------------------------------- making scenes


def make_scene(rng: random.Random) -> list[Thing]:
    """Draw two to four shapes by lot; none is mostly hidden, the later ones lie on top."""
    things: list[Thing] = []
    wanted = rng.choice((2, 3, 3, 4))
    while len(things) < wanted:
        size = rng.choice(tuple(SIZES))
        side = rng.uniform(*SIZES[size])
        colour, shape = rng.choice(tuple(COLOURS)), rng.choice(SHAPES)
        x, y = (round(rng.uniform(side / 2, 1 - side / 2), 4) for _ in range(2))
        thing = Thing(size, colour, shape, x, y, round(side, 4))
        if all(_cover(thing, other) <= LARGEST_COVER for other in things):
            things.append(thing)
    return things


def _cover(one: Thing, other: Thing) -> float:
    """Give the share of the smaller shape's box that the two boxes have in common."""
    a, b = one.box, other.box
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    return max(width, 0) * max(height, 0) / min(one.side, other.side) ** 2


def draw(things: Sequence[Thing], shade: int = 128, pixels: int = 112) -> np.ndarray:
    """Paint ``things`` over a grey ground of ``shade``: ``(pixels, pixels, 3)`` bytes."""
    fine = 4 * pixels  # painted four times too large, then shrunk: smooth edges
    picture = Image.new("RGB", (fine, fine), (shade, shade, shade))
    pen = ImageDraw.Draw(picture)
    for thing in things:
        box = [edge * fine for edge in thing.box]
        if thing.shape == "circle":
            pen.ellipse(box, fill=COLOURS[thing.colour])
        else:
            left, top, scale = box[0], box[1], thing.side * fine
            corners = [(left + scale * x, top + scale * y) for x, y in _corners(thing.shape)]
            pen.polygon(corners, fill=COLOURS[thing.colour])
    return np.asarray(picture.resize((pixels, pixels), Image.Resampling.BOX))


def _corners(shape: str) -> list[tuple[float, float]]:
    """List the corners of a shape within the unit square."""
    if shape == "square":
        return [(0.05, 0.05), (0.95, 0.05), (0.95, 0.95), (0.05, 0.95)]
    if shape == "triangle":
        return [(0.5, 0.02), (1, 0.95), (0, 0.95)]
    if shape == "cross":
        a, b = 0.33, 0.67
        return [(a, 0), (b, 0), (b, a), (1, a), (1, b), (b, b),
                (b, 1), (a, 1), (a, b), (0, b), (0, a), (a, a)]  # fmt: skip
    points = []
    for k in range(10):  # the star: ten corners, in turn far from the centre and near it
        radius, angle = (0.5, 0.2)[k % 2], math.pi * (k / 5 - 0.5)
        points.append((0.5 + radius * math.cos(angle), 0.5 + radius * math.sin(angle)))
    return points


# ------------------------------------------------------------------------------ telling scenes


def tell(things: Sequence[Thing], rng: random.Random) -> tuple[str, tuple[Box | None, ...]]:
    """One caption that is true of the scene, and the box that each of its words speaks of.

    Two shapes are drawn by lot, and the larger is spoken of first, as people mostly do.
    """
    one, other = sorted(rng.sample(list(things), 2), key=lambda thing: -thing.side)
    relations = [relation for relation in RELATIONS if holds(relation, one, other)]
    form = rng.choice(("and", "is", "there"))
    words: list[tuple[str, Box | None]] = []
    if form == "there":
        words += [("there", None), ("is", None)]
    words += _name(one, rng)
    if form == "and" or not relations:
        words += [("and", None)]
    else:
        words += [("is", None)] if form == "is" else []
        words += [(word, None) for word in RELATIONS[rng.choice(relations)].split()]
    words += _name(other, rng)
    return " ".join(word for word, _ in words), tuple(box for _, box in words)


def _name(thing: Thing, rng: random.Random) -> list[tuple[str, Box | None]]:
    """Say 'a small red circle', each word with the shape's box; at times without the size."""
    words = [thing.colour, thing.shape]
    if rng.random() < 0.75:
        words.insert(0, thing.size)
    article = "an" if words[0][0] in "aeiou" else "a"
    return [(word, thing.box) for word in [article, *words]]


def make_scenes(
    count: int, seed: int = 0, split: str = "train", captions: int = 5, pixels: int = 112
) -> list[CaptionedImage]:
    """Draw ``count`` scenes; scene ``k`` depends on ``seed``, ``split`` and ``k`` alone.

    Args:
        count: how many scenes.
        seed: another seed gives other scenes.
        split: the split's name; splits of one seed hold different scenes.
        captions: how many captions a scene, at most 8; all differ.
        pixels: the side of each picture.

    Returns:
        One record a scene. ``facts`` holds the list of its things; read it with `things_of`.

    Raises:
        ValueError: more captions are asked for than some scenes have.
    """
    if captions > MOST_CAPTIONS:
        raise ValueError(f"a scene has {MOST_CAPTIONS} captions at most, {captions} are asked for")
    records = []
    for k in range(count):
        rng = random.Random(f"scene {seed} {split} {k}")
        things = make_scene(rng)
        shade = rng.randint(90, 190)
        told: dict[str, tuple[Box | None, ...]] = {}
        while len(told) < captions:
            told.setdefault(*tell(things, rng))
        name, picture = f"scene-{seed}-{split}-{k:06d}", draw(things, shade, pixels)
        boxes, facts = tuple(told.values()), {"things": [asdict(thing) for thing in things]}
        records.append(CaptionedImage(name, picture, tuple(told), split, boxes, facts))
    return records


def things_of(facts: dict) -> list[Thing]:
    """Read the shapes of a scene from its record's ``facts``."""
    return [Thing(**thing) for thing in facts["things"]]


# --------------------------------------------------------------------- checking what was told


def read_caption(caption: str) -> tuple[list[Phrase], list[str | None]] | None:
    """Take a caption apart by the grammar.

    Returns:
        The phrases in order, and the relation that stands between each and the next (None for
        'and'); or None where the caption is not of the grammar.
    """
    words = tokenize(caption)
    if words[:2] == ["there", "is"]:
        words = words[2:]
    phrases: list[Phrase] = []
    links: list[str | None] = []
    while words:
        if phrases:
            link, words = _read_link(words)
            if link == "":
                return None
            links.append(link)
        phrase, words = _read_phrase(words)
        if phrase is None:
            return None
        phrases.append(phrase)
    return (phrases, links) if phrases else None


def _read_phrase(words: list[str]) -> tuple[Phrase | None, list[str]]:
    if words[:1] not in (["a"], ["an"]):
        return None, words
    end = 3 if words[1:2] and words[1] in SIZES else 2
    return phrase_ending(words, end), words[end + 1 :]


def phrase_ending(words: Sequence[str], k: int) -> Phrase | None:
    """Read the phrase that ``words[k]`` ends: colour and shape, with a size before them if told.

    Returns:
        The phrase, or None where word ``k`` is not a shape with a colour before it.
    """
    if not 1 <= k < len(words) or words[k - 1] not in COLOURS or words[k] not in SHAPES:
        return None
    size = words[k - 2] if k >= 2 and words[k - 2] in SIZES else None
    return Phrase(size, words[k - 1], words[k])


def _read_link(words: list[str]) -> tuple[str | None, list[str]]:
    """Read the relation at the head of ``words``: None for 'and', "" where there is neither."""
    if words[0] == "and":
        return None, words[1:]
    if words[0] == "is":
        words = words[1:]
    for relation, spelling in RELATIONS.items():
        count = len(spelling.split())
        if words[:count] == spelling.split():
            return relation, words[count:]
    return "", words


def is_true(caption: str, things: Sequence[Thing]) -> bool:
    """Whether the caption is of the grammar and all it says is true of the scene.

    Two phrases must fit two different shapes, and a relation must hold between those two.
    """
    parts = read_caption(caption)
    if parts is None:
        return False
    phrases, links = parts
    return any(
        all(phrase.fits(thing) for phrase, thing in zip(phrases, chosen, strict=True))
        and all(link is None or holds(link, *chosen[k : k + 2]) for k, link in enumerate(links))
        for chosen in permutations(things, len(phrases))
    )


def objects_right(caption: str, things: Sequence[Thing]) -> tuple[int, int]:
    """Count the caption's shape words that name a shape of the scene, and all its shape words.

    A shape word is right if the phrase that it ends (size if told, colour, shape) fits a shape of
    the scene. A shape word without a colour before it is wrong.
    """
    words = tokenize(caption)
    phrases = [phrase_ending(words, k) for k, word in enumerate(words) if word in SHAPES]
    right = sum(any(phrase.fits(thing) for thing in things) for phrase in phrases if phrase)
    return right, len(phrases)
