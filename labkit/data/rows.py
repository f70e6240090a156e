"""A row of a captions file: an image and its captions; and how files name images."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from labkit.data.folders import plain_name
from labkit.data.records import DataReport, clean
from labkit.data.text_files import BROKEN


@dataclass(frozen=True)
class Row:
    """An entry of a captions file: one image with its captions.

    Attributes:
        where: The place in the file, for messages.
        file: The photograph's name as in the file, or "".
        id: The image's id as in the file, or "".
        captions: Each with its place; of any type until `checked`.
        split: Its split as named in the file, or "".
        facts: What else is known about it, JSON-serialisable.
        near: The folders in which to look for its photograph first.
    """

    where: str
    file: str = ""
    id: str = ""
    captions: tuple[tuple[str, Any], ...] = ()
    split: str = ""
    facts: dict[str, str] = field(default_factory=dict)
    near: tuple[Path, ...] = ()

    @property
    def name(self) -> str:
        """The id, or the photograph's name if there is no id."""
        return self.id or self.file

    @property
    def photo(self) -> str:
        """The name to find the photograph by."""
        return self.file or self.id

    def checked(self, report: DataReport) -> tuple[str, ...]:
        """Return the usable captions, with single spaces; report the others."""
        texts = []
        for where, value in self.captions:
            if not isinstance(value, str):
                report.add("malformed entry", where)
            elif BROKEN.search(value):
                report.add("caption with a broken character", where)
            else:
                texts += clean(value, where, report)
        return tuple(texts)


def match_names(wanted: Iterable[str], there: Mapping[str, Iterable[str]]) -> dict[str, str]:
    """Match images that two files name in different ways.

    A name matches exactly, or else by `plain_name`, so that 1, "000000000001", "1.jpg" and
    "COCO_val2014_000000000001.jpg" are the same image. An ambiguous name matches nothing.

    Args:
        wanted: Names in the one file.
        there: For each image of the other file, all its names there.

    Returns:
        For each wanted name that matches, the key in `there`.
    """
    exact: dict[str, set[str]] = defaultdict(set)
    plain: dict[str, set[str]] = defaultdict(set)
    for key, names in there.items():
        for name in names:
            exact[name].add(key)
            plain[plain_name(name)].add(key)
    found = {}
    for name in wanted:
        keys = {name} if name in there else exact.get(name) or plain.get(plain_name(name), set())
        if len(keys) == 1:
            found[name] = next(iter(keys))
    return found


def as_text(value: Any) -> str:
    """Return an id or a name as text, or "" if it is neither or holds a broken character."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | str):
        return ""
    text = str(value).strip()
    return "" if BROKEN.search(text) else text


def file_name(value: Any) -> str:
    """Return the name of a file as text, with slashes, or "" as `as_text` does."""
    return as_text(value).replace("\\", "/")


def listed(
    data: dict[str, Any], key: str, path: Path, report: DataReport
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the objects of a list, each with its place; report other entries."""
    entries = data.get(key)
    if not isinstance(entries, list):
        report.add("malformed file", f"{path}: no list {key!r}")
    for number, entry in enumerate(entries if isinstance(entries, list) else []):
        where = f"{path.name} {key}[{number}]"
        if isinstance(entry, dict):
            yield where, entry
        else:
            report.add("malformed entry", where)


def merged(rows: Iterable[Row]) -> list[Row]:
    """Merge the rows of each image: many files have one row for each caption."""
    found: dict[tuple[str, str, str], Row] = {}
    captions: dict[tuple[str, str, str], list[tuple[str, Any]]] = defaultdict(list)
    for row in rows:
        key = row.id, row.file, row.split
        found.setdefault(key, row)
        captions[key] += row.captions
    return [replace(row, captions=tuple(captions[key])) for key, row in found.items()]
