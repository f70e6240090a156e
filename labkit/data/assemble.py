"""From rows of a captions file to records: find photographs, make ids unique, report problems."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from labkit.data.folders import Folder, plain_name, same_file
from labkit.data.records import CaptionedImage, DataError, DataReport
from labkit.data.rows import Row

NO_CAPTIONS = "split without captions"


def gather(
    rows: Sequence[Row], photos: Folder, report: DataReport, needs: str,
    unpublished: Collection[str] = (), listed: Collection[Path] | None = None,
) -> list[CaptionedImage]:  # fmt: skip
    """Make records; report and leave out those without a photograph or captions.

    A split without any captions is kept, since it can be captioned, though not scored.
    `require_captions` raises an error for it.

    Args:
        rows: Those of the requested splits, one for each image.
        photos: The folder of the photographs.
        report: Collects problems.
        needs: What the layout needs, for messages.
        unpublished: Splits whose captions are not published.
        listed: The photographs that any split lists; others in their folders are reported.
            None reports none.

    Raises:
        DataError: No image can be used.
    """
    records = []
    for row in rows:
        found, given = photos.find(row.photo, row.near), row.photo
        captions = row.checked(report)
        if len(found) == 1:
            facts = {"file": photos.below(found[0])} | row.facts
            records.append(CaptionedImage(row.name, found[0], captions, row.split, facts=facts))
            continue
        if row.near and row.near[0] != photos.root:
            given = f"{photos.below(row.near[0])}/{given}"
        report.add("photograph found several times" if found else "missing image", given)
    if listed is not None:
        folders = {path.parent for path in listed}
        for path in photos.photos:
            if path.parent in folders and path not in listed:
                report.add("image without a caption", photos.below(path))
    records = _with_captions(_unique(records, report), unpublished, report)
    if not records:
        reason = report.line() or photos.summary()
        raise DataError(f"{photos.root} has no image that can be used: {reason}; {needs}")
    return records


def found_photos(rows: Iterable[Row], photos: Folder) -> set[Path]:
    """Return the photographs that the rows name."""
    return {path for row in rows for path in photos.find(row.photo, row.near)}


def photo_rows(photos: Folder) -> list[Row]:
    """Return a row without captions for each photograph."""
    return [Row(path.name, path.name, near=(path.parent,)) for path in photos.photos]


def _unique(records: list[CaptionedImage], report: DataReport) -> list[CaptionedImage]:
    """Keep each photograph once, and make the ids of different photographs differ."""
    by_id: dict[str, list[CaptionedImage]] = {}
    doubtful: set[tuple[str, str]] = set()
    alike: dict[str, str] = {}  # split -> an id that another split has as well
    kept = []
    for record in records:
        others = by_id.setdefault(record.id, [])
        if any(_same_photo(record.image, other.image) for other in others):
            report.add("image listed twice", record.facts["file"])
            continue
        for other in others:
            if record.split == other.split:
                report.add("one id for two photographs", f"{record.id} in {record.split}")
                doubtful.add((record.id, record.split))
            else:
                alike |= {other.split: record.id, record.split: record.id}
        others.append(record)
        kept.append(record)
    kept = [record for record in kept if (record.id, record.split) not in doubtful]
    if alike:
        names = [f"{split}/{name}" for split, name in alike.items()]
        report.note(
            f"the splits {', '.join(alike)} give the same ids to different images: here their ids "
            f"begin with the split, such as {' and '.join(names[:2])}"
        )
    return [
        replace(record, id=f"{record.split}/{record.id}") if record.split in alike else record
        for record in kept
    ]


def _same_photo(one: Any, other: Any) -> bool:
    """Return whether two files of one id are the same photograph: COCO's years share some."""
    return plain_name(one.name) == plain_name(other.name) and same_file(one, other)


def _with_captions(
    records: list[CaptionedImage], unpublished: Collection[str], report: DataReport
) -> list[CaptionedImage]:
    captioned = {record.split for record in records if record.captions}
    for split in dict.fromkeys(record.split for record in records):
        if split in unpublished:
            report.note(f"no captions of {split} are published: it can be captioned, not scored")
        elif split not in captioned:
            report.add(NO_CAPTIONS, split)
    kept = []
    for record in records:
        if record.captions or record.split not in captioned:
            kept.append(record)
        else:
            report.add("image without a caption", record.facts["file"])
    return kept


def require_captions(report: DataReport, root: str | Path) -> None:
    """Require usable captions of every split that should have captions.

    Raises:
        DataError: A split has none.
    """
    if splits := report.problems.get(NO_CAPTIONS):
        others = report.line(without=NO_CAPTIONS)
        raise DataError(
            f"{root} has no usable captions for {', '.join(splits)}"
            + (f" ({others})" if others else "")
            + ": correct or add the captions, or add --without-captions to prepare images that "
            "can be captioned, not scored"
        )
