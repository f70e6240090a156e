"""Synthetic scenes: pictures about which everything is known, so that captions can be verified.

A scene has two to four coloured shapes, small or large, placed freely and sometimes overlapping. It
has five captions from a small grammar, and for each word of a caption the bounding box of the shape
that the word refers to. Nothing is downloaded: a scene is a pure function of its seed and number.

Averaged features are not enough to caption them: the captions bind a size and a colour to a shape,
and relate the positions of two shapes. The mean of the annotation vectors says which colours and
shapes are there, but neither which colour belongs to which shape nor where they are.
"""

import math
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import permutations

import numpy as np
from PIL import Image, ImageDraw

from labkit.data.readers import Box, CaptionedImage, Facts, tokenize

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
SIZES = {"small": (0.18, 0.23), "large": (0.32, 0.40)}  # the side, as a fraction of the picture's
RELATIONS = {"left": "left of", "right": "right of", "above": "above", "below": "below"}
WORDS = {"a", "an", "and", "is", "there", "of", *COLOURS, *SHAPES, *SIZES, *RELATIONS}  # captions
MARGIN = 0.1  # 'left of': the centre is at least this much further left
LARGEST_COVER = 0.35  # two boxes share at most this much of the smaller
MOST_CAPTIONS = 8  # different ones that every scene has, even with two equal shapes close together


@dataclass(frozen=True)
class Thing:
    """One shape: its kind, and its centre and side as fractions of the picture's side."""

    size: str
    colour: str
    shape: str
    x: float
    y: float
    side: float

    @property
    def box(self) -> Box:
        """Left, top, right and bottom edge, as fractions of the picture's side."""
        half = self.side / 2
        left, top = max(self.x - half, 0.0), max(self.y - half, 0.0)  # rounding may go outside
        return (left, top, min(self.x + half, 1.0), min(self.y + half, 1.0))


@dataclass(frozen=True)
class Phrase:
    """What a caption says about one shape; ``size`` is None if the caption does not state it."""

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


def make_scene(rng: random.Random) -> list[Thing]:
    """Sample two to four shapes; none is mostly hidden, later ones lie on top of earlier ones."""
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
    """Return the area that two boxes share, as a fraction of the smaller shape's box."""
    a, b = one.box, other.box
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    return max(width, 0) * max(height, 0) / min(one.side, other.side) ** 2


def draw(things: Sequence[Thing], shade: int = 128, pixels: int = 112) -> np.ndarray:
    """Paint ``things`` over a grey background of ``shade``: ``(pixels, pixels, 3)`` uint8."""
    fine = 4 * pixels  # painted four times larger, then shrunk: smooth edges
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
    for k in range(10):  # the star: ten corners, alternately far from the centre and near it
        radius, angle = (0.5, 0.2)[k % 2], math.pi * (k / 5 - 0.5)
        points.append((0.5 + radius * math.cos(angle), 0.5 + radius * math.sin(angle)))
    return points


def write_caption(
    things: Sequence[Thing], rng: random.Random
) -> tuple[str, tuple[Box | None, ...]]:
    """Write a random true caption of the scene; return it with the box each word refers to.

    Two shapes are sampled, and the larger is named first, as people mostly do.
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
    """Name a shape, as in 'a small red circle', often with its size; each word has its box."""
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
        count: The number of scenes.
        seed: Another seed gives other scenes.
        split: The split's name; the splits of a seed have different scenes.
        captions: The number of captions per scene, at most 8; all differ.
        pixels: The side of each picture, in pixels.

    Returns:
        One record per scene. ``facts`` holds the list of its shapes; read it with `things_of`.

    Raises:
        ValueError: There are scenes with fewer different captions.

    Example:
        >>> from labkit import make_scenes
        >>> scene = make_scenes(8)[0]
        >>> scene.image.shape, scene.captions[0]
        ((112, 112, 3), 'a large white cross and a blue cross')
    """
    if captions > MOST_CAPTIONS:
        raise ValueError(f"a scene has at most {MOST_CAPTIONS} captions, not {captions}")
    records = []
    for k in range(count):
        things, shade, rng = sample_scene(seed, split, k)
        texts: dict[str, tuple[Box | None, ...]] = {}
        while len(texts) < captions:
            texts.setdefault(*write_caption(things, rng))
        name, picture = f"scene-{seed}-{split}-{k:06d}", draw(things, shade, pixels)
        boxes, facts = tuple(texts.values()), {"things": [asdict(thing) for thing in things]}
        records.append(CaptionedImage(name, picture, tuple(texts), split, boxes, facts))
    return records


def sample_scene(seed: int, split: str, k: int) -> tuple[list[Thing], int, random.Random]:
    """Sample scene ``k`` of `make_scenes`: its shapes, its shade, the generator for captions."""
    rng = random.Random(f"scene {seed} {split} {k}")
    return make_scene(rng), rng.randint(90, 190), rng


def things_of(facts: Facts) -> list[Thing]:
    """Read the shapes of a scene from its record's ``facts``."""
    return [Thing(**thing) for thing in facts["things"]]


def read_caption(caption: str) -> tuple[list[Phrase], list[str | None]] | None:
    """Parse a caption by the grammar.

    Returns:
        The phrases in order, and the relation between each and the next (None for 'and'); or None
        if the caption does not follow the grammar.
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
    """Parse the phrase that ends with ``words[k]``: colour and shape, with a size if there is one.

    Returns:
        The phrase, or None if word ``k`` is not a shape preceded by a colour.
    """
    if not 1 <= k < len(words) or words[k - 1] not in COLOURS or words[k] not in SHAPES:
        return None
    size = words[k - 2] if k >= 2 and words[k - 2] in SIZES else None
    return Phrase(size, words[k - 1], words[k])


def _read_link(words: list[str]) -> tuple[str | None, list[str]]:
    """Parse the relation that begins ``words``: None for 'and', "" if there is neither."""
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
    """Whether the caption follows the grammar and everything it says is true of the scene.

    Two phrases must fit two different shapes, and a relation must hold between these two.
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
    """Count the caption's shape words that are right, and all its shape words.

    A shape word is right if the phrase that it ends (size if stated, colour, shape) fits a shape of
    the scene. A shape word that follows no colour is wrong.
    """
    words = tokenize(caption)
    phrases = [phrase_ending(words, k) for k, word in enumerate(words) if word in SHAPES]
    right = sum(any(phrase.fits(thing) for thing in things) for phrase in phrases if phrase)
    return right, len(phrases)
