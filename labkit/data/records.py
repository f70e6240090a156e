"""What all sources of captioned images share: the record, the report, the words, the checks."""

import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from labkit.data.words import mirrored, plain, tokenize

Box = tuple[float, float, float, float]
"""x0, y0, x1, y1 as fractions of an image's width and height; the origin is the top left."""


@dataclass(frozen=True)
class CaptionedImage:
    """One image with what people said of it.

    Attributes:
        id: Unique in its data set: the file's name (Flickr8k, Flickr30k) or the COCO number.
        image: A file, or an array (H, W, 3) uint8.
        captions: The human captions as written; empty where none are published.
        split: "train", "dev", "test", "restval", "train2017", ...
        boxes: For each caption one box, or None, a word of `tokenize(caption)`.
        facts: What else the source knows, fit for JSON; "file" is the path below the root.
        part: The encoder is to see this part of it only; None is all of it, see `augment`.
        mirrored: The encoder is to see it with left and right exchanged.
    """

    id: str
    image: Path | np.ndarray
    captions: tuple[str, ...]
    split: str
    boxes: tuple[tuple[Box | None, ...], ...] | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    part: Box | None = None
    mirrored: bool = False


def augment(records: Iterable[CaptionedImage], views: int = 2) -> Iterator[CaptionedImage]:
    """Add to each training photograph other views of it, with the same captions.

    View 1 is the photograph in a mirror. The views after it are parts of it, those of odd number in
    a mirror, too. Which parts is drawn by lot, the same for the same id. In a mirror's captions
    left and right are exchanged where they are directions. A view's id ends with "#" and its
    number; it has no boxes.

    Args:
        records: The photographs.
        views: How many there are of each training photograph, itself among them.
    """
    for record in records:
        yield record
        rng = np.random.default_rng(zlib.crc32(record.id.encode()))
        for number in range(1, views * record.split.startswith(("train", "restval"))):
            part = None if number == 1 else _draw_part(rng)
            told = [mirrored(one) if number % 2 else one for one in record.captions]
            view = replace(record, id=f"{record.id}#{number}", captions=tuple(told), boxes=None)
            yield replace(view, part=part, mirrored=number % 2 == 1)


def _draw_part(rng: np.random.Generator) -> Box:
    """Draw a part of 0.45 to 0.9 of a picture's area, at most a quarter wider or higher."""
    area, ratio = rng.uniform(0.45, 0.9), np.exp(rng.uniform(-0.22, 0.22))
    width, height = (float(min(1, side**0.5)) for side in (area * ratio, area / ratio))
    x, y = rng.uniform(0, 1 - width), rng.uniform(0, 1 - height)
    return x, y, x + width, y + height


class DataError(ValueError):
    """A data set cannot be used as it is."""


class DataReport:
    """Counts and names what was wrong with a data set.

    Args:
        strict: Stop at the first problem instead of going on without the thing.

    Attributes:
        problems: What was wrong: for each kind, the names.
        notes: What is not wrong, but should be known, such as a split that was renamed.
    """

    def __init__(self, strict: bool = False):
        self.strict = strict
        self.problems: dict[str, list[str]] = {}
        self.notes: list[str] = []

    def add(self, kind: str, name: str) -> None:
        """Note one problem, such as kind "missing image" and the image's name.

        Raises:
            DataError: At once, if the report is strict.
        """
        if self.strict:
            raise DataError(f"{kind}: {name} (mend it, or read without strict to go on without it)")
        self.problems.setdefault(kind, []).append(name)

    def note(self, text: str) -> None:
        """Note something that is not wrong."""
        if text not in self.notes:
            self.notes.append(text)

    def line(self, without: str = "") -> str:
        """Say the problems in one line, except those of one kind; empty if there is none."""
        kinds = [(kind, names) for kind, names in self.problems.items() if kind != without]
        said = [(kind, names[0] if len(names) == 1 else _some(names)) for kind, names in kinds]
        return "; ".join(f"{kind}: {names}" for kind, names in said)

    def __len__(self) -> int:
        return sum(map(len, self.problems.values()))

    def __bool__(self) -> bool:
        return bool(self.problems)

    def __str__(self) -> str:
        if not self:
            return "no problems in the data"
        lines = [f"{len(self)} problem{'s'[: len(self) > 1]} in the data:"]
        lines += [f"  {kind}: {_some(names)}" for kind, names in self.problems.items()]
        return "\n".join(lines)


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return f"{len(names)} ({', '.join(names[:5])}{more})"


def clean(caption: str, where: str, report: DataReport) -> list[str]:
    """Give a caption in single spaces, without HTML's entities; nothing if it has no word."""
    if tokenize(caption):
        return [plain(caption)]
    report.add("empty caption", where)
    return []
