"""Flickr8k and Flickr30k, as published and as distributed on Kaggle."""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from labkit.data.assemble import found_photos, gather, photo_rows
from labkit.data.caption_files import read_rows
from labkit.data.folders import Folder
from labkit.data.records import CaptionedImage, DataReport
from labkit.data.rows import Row
from labkit.data.splits import pick
from labkit.data.text_files import read_text, split_lines


@dataclass(frozen=True)
class _Layout:
    captions: tuple[str, ...]  # regular expressions for the file, the best first
    lists: tuple[str, ...]  # for a split's list of names; {} is the split
    photos: tuple[str, ...]  # folders to search first
    needs: str


FLICKR8K = _Layout(
    (r"flickr8k_text/flickr8k\.token\.txt", r"flickr8k\.token\.txt", r"captions\.(txt|csv)"),
    (r"flickr8k_text/flickr_8k\.{}images\.txt", r"flickr_8k\.{}images\.txt"),
    ("Flicker8k_Dataset", "Flickr8k_Dataset", "Images"),
    "Flickr8k has its photographs in Flicker8k_Dataset or Images, and its captions in "
    "Flickr8k.token.txt or captions.txt; for photographs elsewhere, give --images",
)
FLICKR30K = _Layout(
    (r"results_\d+\.token", r"results\.csv", r"captions\.(txt|csv)"),
    (r"(flickr_?30k[._-])?{}(images)?\.txt",),
    ("flickr30k-images", "flickr30k_images", "Images"),
    "Flickr30k has its photographs in flickr30k-images or flickr30k_images, and its captions in "
    "results_20130124.token or results.csv; for photographs elsewhere, give --images",
)


def read_flickr8k(
    root: str | Path, splits: Sequence[str] | None = None, report: DataReport | None = None,
    images: str | Path | None = None,
) -> list[CaptionedImage]:  # fmt: skip
    """Read Flickr8k (Hodosh, Young and Hockenmaier, 2013), as published or as on Kaggle.

    As published, the photographs are in `Flicker8k_Dataset/` (spelled so) and the texts in
    `Flickr8k_text/` or in the root: `Flickr8k.token.txt`, and a list of photographs for each
    split. Kaggle has `Images/` and the table `captions.txt`, without lists. Any mixture of the two
    is read. Without lists the photographs are one split, "all".

    Args:
        root: The folder of the data set.
        splits: "train", "dev", "test"; None reads all that have a list.
        report: Collects problems. None discards them.
        images: The folder of the photographs, if it is not in the root.

    Returns:
        The splits in the requested order, images in the order of the split's list, or by name.

    Raises:
        FileNotFoundError: There is no such folder, or it has no photographs.
        DataError: A split does not exist, or no image is usable.
    """
    return _read(FLICKR8K, root, splits, report, images)


def read_flickr30k(
    root: str | Path, splits: Sequence[str] | None = None, report: DataReport | None = None,
    images: str | Path | None = None,
) -> list[CaptionedImage]:  # fmt: skip
    """Read Flickr30k (Young et al., 2014), as published or as on Kaggle.

    As published, the photographs are in `flickr30k-images/`, next to `results_20130124.token`.
    Kaggle has them in a nested `flickr30k_images/` with `results.csv`, in which one row lacks its
    last bar: this is corrected and reported. Flickr30k has no official splits: all images are one
    split, "all", unless there are lists such as `train.txt`, `val.txt` and `test.txt`. For the
    splits that papers use, see `labkit.data.tables.read_karpathy`.

    Arguments, return value and errors are those of `read_flickr8k`.
    """
    return _read(FLICKR30K, root, splits, report, images)


def _read(
    layout: _Layout, root: str | Path, splits: Sequence[str] | None, report: DataReport | None,
    images: str | Path | None,
) -> list[CaptionedImage]:  # fmt: skip
    report = DataReport() if report is None else report
    folder = Folder(root, report)
    photos = Folder(images, report) if images else folder
    if not photos.photos:
        raise FileNotFoundError(f"{photos.summary()}: {layout.needs}")
    near = tuple(photos.named(*layout.photos))
    files = folder.matching(*layout.captions)
    rows = [replace(row, near=near) for row in read_rows(files[0], report)] if files else []
    for other in files[1:]:
        _beside(files[0], other, report)
    if lists := _lists(folder, layout, report):
        rows, listed = _by_list(rows, lists, photos, near, report), None
    elif files:
        rows, listed = sorted(rows, key=lambda row: row.file), found_photos(rows, photos)
    else:
        rows, listed = photo_rows(photos), None
    if not files:
        report.add("no captions file", f"{folder.summary()}; {layout.needs}")
    rows = pick(rows, splits, folder.root, report)
    return gather(rows, photos, report, layout.needs, listed=listed)


def _by_list(
    rows: list[Row], lists: dict[str, list[str]], photos: Folder, near: tuple[Path, ...],
    report: DataReport,
) -> list[Row]:  # fmt: skip
    """Return a row for each name of each list; report captions of photographs that do not exist."""
    by_name = {name: row for row in rows for name in (os.path.splitext(row.file)[0], row.file)}
    listed = {name for names in lists.values() for name in names}
    used = {by_name[name].file for name in listed if name in by_name}
    for row in rows:
        if row.file not in used and not photos.find(row.file, near):
            for where, _ in row.captions:
                report.add("caption without an image", where)
    return [
        replace(by_name.get(name, Row(name, name, near=near)), split=split)
        for split, names in lists.items()
        for name in names
    ]


def _lists(folder: Folder, layout: _Layout, report: DataReport) -> dict[str, list[str]]:
    """Read the names of the photographs of each split that has a list."""
    lists = {}
    for split in ("train", "dev", "val", "test"):
        files = folder.matching(*(pattern.format(split) for pattern in layout.lists))
        for other in files[1:]:
            _beside(files[0], other, report)
        for path in files[:1]:
            names = Counter(map(str.strip, split_lines(read_text(path, report))))
            lists[split] = [name for name in names if name]
            if not lists[split]:
                report.add("empty file", str(path))
            for name in lists[split]:
                if names[name] > 1:
                    report.add("image listed twice", name)
    return lists


def _beside(first: Path, other: Path, report: DataReport) -> None:
    if first.name.casefold() == other.name.casefold():
        report.add("file found twice", str(other))
    else:
        report.note(f"{first} is read, {other} is not")
