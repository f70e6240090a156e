"""What all sources of captioned images share: the record, augmentation, the report."""

import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from labkit.console import printable
from labkit.data.words import plain, swap_left_right, tokenize

MOST_WORDS = 1000  # of a caption; the metrics' time grows with the product of two lengths
Box = tuple[float, float, float, float]
"""x0, y0, x1, y1 as fractions of an image's width and height; the origin is at the top left."""
Facts = Mapping[str, Any]
"""What a source states of an image beside its captions, JSON-serialisable."""


@dataclass(frozen=True)
class CaptionedImage:
    """One image with its human captions.

    Attributes:
        id: Unique in its data set: the file's name (Flickr8k, Flickr30k) or the COCO number.
        image: A file, or an array (H, W, 3) of uint8.
        captions: The human captions as written; empty where none are published.
        split: "train", "dev", "test", "restval", "train2017", ...
        boxes: For each caption, one box or None for each word of `tokenize(caption)`. None where
            the source has no boxes.
        facts: What else the source states, JSON-serialisable; "file" is the path relative to the
            data set's folder.
        crop: The part of the image to encode; None encodes all of it. See `augment`.
        flipped: Encode the image flipped left to right. See `augment`.
    """

    id: str
    image: Path | np.ndarray
    captions: tuple[str, ...]
    split: str
    boxes: tuple[tuple[Box | None, ...], ...] | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    crop: Box | None = None
    flipped: bool = False


def augment(records: Iterable[CaptionedImage], copies: int = 2) -> Iterator[CaptionedImage]:
    """Augment the training photographs with flipped and cropped copies that share their captions.

    Copy 1 is the photograph flipped left to right. Later copies are crops of it; the odd ones are
    flipped as well. Crops are random, with a seed derived from the id. In the captions of a flipped
    copy, left and right are swapped where they are directions. A copy's id ends with "#" and its
    number; it has no boxes, and of a drawn scene no shapes, whose places would be others.

    Args:
        records: The photographs. Only those whose split begins with "train" or "restval" are
            augmented, in capitals or not.
        copies: How many records each training photograph becomes, the original included; 1 adds
            none.

    Yields:
        Each record, followed by its copies.
    """
    for record in records:
        yield record
        rng = np.random.default_rng(zlib.crc32(record.id.encode()))
        for number in range(1, copies if _is_for_training(record.split) else 1):
            crop, flipped = None if number == 1 else _random_crop(rng), number % 2 == 1
            captions = tuple(map(swap_left_right, record.captions)) if flipped else record.captions
            facts = {name: fact for name, fact in record.facts.items() if name != "things"}
            id = f"{record.id}#{number}"
            copy = replace(record, id=id, captions=captions, boxes=None, facts=facts)
            yield replace(copy, crop=crop, flipped=flipped)


def _is_for_training(split: str) -> bool:
    return split.casefold().startswith(("train", "restval"))


def _random_crop(rng: np.random.Generator) -> Box:
    """Sample a crop of 0.45 to 0.9 of an image's area, stretched by at most a quarter."""
    area, ratio = rng.uniform(0.45, 0.9), np.exp(rng.uniform(-0.22, 0.22))
    width, height = (float(min(1, side**0.5)) for side in (area * ratio, area / ratio))
    x, y = rng.uniform(0, 1 - width), rng.uniform(0, 1 - height)
    return x, y, x + width, y + height


class DataError(ValueError):
    """A data set or a photograph cannot be used as it is."""


class DataReport:
    """A report of what was wrong with a data set: how often, and where.

    Args:
        strict: Raise an error at the first problem, instead of leaving the item out.

    Attributes:
        problems: For each kind of problem, the names of the items concerned.
        notes: What is no problem but should be known, such as a split that was renamed.
    """

    def __init__(self, strict: bool = False):
        self.strict = strict
        self.problems: dict[str, list[str]] = {}
        self.notes: list[str] = []

    def add(self, kind: str, name: str) -> None:
        """Record a problem, such as kind "missing image" and the image's name.

        Raises:
            DataError: At once, if the report is strict.
        """
        if self.strict:
            raise DataError(f"{kind}: {name} (correct it, or read without strict to leave it out)")
        self.problems.setdefault(kind, []).append(printable(name[:500], keep=""))

    def note(self, text: str) -> None:
        """Record something that is no problem, once."""
        if text not in self.notes:
            self.notes.append(text)

    def line(self, without: str = "") -> str:
        """Describe the problems in one line, except those of one kind; empty if there are none."""
        kinds = [(kind, names) for kind, names in self.problems.items() if kind != without]
        shown = [(kind, names[0] if len(names) == 1 else _some(names)) for kind, names in kinds]
        return "; ".join(f"{kind}: {names}" for kind, names in shown)

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
    """Return a caption with single spaces and no HTML entities; nothing if it has no words."""
    words = len(tokenize(caption))
    if 0 < words <= MOST_WORDS:
        return [plain(caption)]
    report.add("caption of more than 1,000 words" if words else "empty caption", where)
    return []
