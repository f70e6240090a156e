"""The splits of a data set: their names, choosing among them, and making them."""

import hashlib
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from labkit.data.records import CaptionedImage, DataError, DataReport
from labkit.data.rows import Row

ALIASES = {
    "val": "dev", "valid": "dev", "validation": "dev", "development": "dev", "dev": "dev",
    "train": "train", "training": "train", "test": "test", "testing": "test",
}  # fmt: skip
"""Other names for the splits that labkit calls train, dev and test."""
_YEAR = re.compile(r"[-_ ]?\d{4}$")
_NOT_NAMES = re.compile(r"[^\w.-]+", re.ASCII)  # not allowed in the name of a store's file


def split_name(given: str) -> str:
    """Name a split by `ALIASES`, or else as given, with hyphens for characters a store refuses."""
    name = re.sub(_NOT_NAMES, "-", given).strip("-.")
    return ALIASES.get(name.casefold(), name)


def usual_split(name: str) -> str | None:
    """Return train, dev or test where a name means it, with or without a year; or else None."""
    return ALIASES.get(_YEAR.sub("", name.casefold()))


def known_split(split: str, there: Mapping[str, Any], root: Path, needs: str = "") -> str:
    """Return `split` back if it is there; else raise a DataError that names those that are."""
    if split not in there:
        more = f"; {needs}" if needs else ""
        raise DataError(f"{root} has no split {split!r}, only: {', '.join(there) or 'none'}{more}")
    return split


def pick(
    rows: Iterable[Row], splits: Sequence[str] | None, root: Path, report: DataReport
) -> list[Row]:
    """Return the rows of the requested splits, under the requested names.

    "a+b" requests two splits as one, named "a". If the source names no splits, all its rows are one
    split, "all".

    Args:
        rows: The rows of all splits, as the source names them.
        splits: Names in the source or in labkit, see `ALIASES`; None requests all splits.
        root: The source, for messages.
        report: Collects renamed splits, and images without a split.

    Raises:
        DataError: A split does not exist.
    """
    rows = list(rows)
    if not any(row.split for row in rows):
        rows = [replace(row, split="all") for row in rows]
    by_split: dict[str, list[Row]] = {}
    for row in rows:
        if split_name(row.split):
            by_split.setdefault(row.split, []).append(row)
        else:
            report.add("image without a split", row.name)
    own = {given: split_name(given) for given in by_split}
    for given, name in own.items():
        if given != name:
            report.note(f"the split {given!r} of {root} is called {name!r} here")
    there = dict.fromkeys([*own.values(), *own])
    picked = []
    for asked in splits or dict.fromkeys(own.values()):
        wanted = asked.split("+")
        for part in wanted:
            if ALIASES.get(part) not in there:
                known_split(part, there, root, report.line())
        name, parts = re.sub(_NOT_NAMES, "-", wanted[0]).strip("-."), set(map(split_name, wanted))
        chosen = [row for row in rows if own.get(row.split) in parts]
        picked += [replace(row, split=name) for row in chosen]
    return picked


def parse_shares(text: str) -> dict[str, float]:
    """Parse the shares of train, dev and test, such as "0.8,0.1,0.1"; test may be omitted.

    Raises:
        ValueError: These are not two or three numbers that sum to 1, the first above 0.
    """
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    fit = len(numbers) in (2, 3) and all(0 <= n <= 1 for n in numbers) and numbers[0] > 0
    if not (fit and math.isclose(sum(numbers), 1, abs_tol=1e-6)):
        raise ValueError(
            f"--make-splits takes the shares of train, dev and test, which sum to 1, such as "
            f"0.8,0.1,0.1, not {text!r}"
        )
    return dict(zip(("train", "dev", "test"), numbers, strict=False))


def make_splits(
    records: Sequence[CaptionedImage], shares: Mapping[str, float], seed: int = 0
) -> list[CaptionedImage]:
    """Divide the images of a source that has only one split.

    The images are ordered by a hash of the seed and their ids, and cut by the shares. So the sizes
    are exact to an image, and neither the order of the records nor their content matters.

    Args:
        records: The images.
        shares: Each split's share of the images; they sum to 1.
        seed: Another seed gives other splits.

    Returns:
        The images, split by split.

    Raises:
        DataError: The source has several splits, or fewer images than splits.
    """
    names = list(dict.fromkeys(record.split for record in records))
    wanted = [name for name, share in shares.items() if share > 0]
    if len(names) > 1:
        raise DataError(f"the source has splits, {', '.join(names)}: leave out --make-splits")
    if len(records) < len(wanted):
        raise DataError(f"{len(records)} images cannot make the splits {', '.join(wanted)}")
    hashes = {r.id: hashlib.sha256(f"{seed}:{r.id}".encode()).digest() for r in records}
    ids = sorted(hashes, key=hashes.__getitem__)
    split: dict[str, str] = {}
    begin = 0
    for left, name in zip(reversed(range(len(wanted))), wanted, strict=True):
        share = sum(shares[one] for one in wanted[: len(wanted) - left])
        end = min(max(round(share * len(ids)), begin + 1), len(ids) - left)  # none is empty
        split |= dict.fromkeys(ids[begin:end], name)
        begin = end
    return [
        replace(record, split=name)
        for name in wanted
        for record in records
        if split[record.id] == name
    ]
