"""Captioned images: one reader for each source of photographs.

Every reader returns a list of `CaptionedImage`, so the rest of the package does not depend on where
an image came from. A reader never opens a photograph: it reads the lists and leaves out what is not
usable. The `DataReport` names everything that was left out.
"""

from collections.abc import Sequence
from pathlib import Path

from labkit.data.assemble import require_captions
from labkit.data.coco import is_coco, read_coco
from labkit.data.flickr import FLICKR8K, FLICKR30K, read_flickr8k, read_flickr30k
from labkit.data.folders import Folder
from labkit.data.records import Box, CaptionedImage, DataError, DataReport, augment, tokenize
from labkit.data.splits import make_splits
from labkit.data.tables import read_karpathy, read_table

__all__ = [
    "READERS", "Box", "CaptionedImage", "DataError", "DataReport", "augment", "find_layout",
    "make_splits", "read_coco", "read_flickr8k", "read_flickr30k", "read_folder", "read_karpathy",
    "read_table", "require_captions", "tokenize",
]  # fmt: skip

READERS = {
    "flickr8k": read_flickr8k,
    "flickr30k": read_flickr30k,
    "coco": read_coco,
    "karpathy": read_karpathy,
    "table": read_table,
}
"""The readers, by the name of their layout."""


def read_folder(
    root: str | Path, splits: Sequence[str] | None = None, report: DataReport | None = None,
    images: str | Path | None = None,
) -> list[CaptionedImage]:  # fmt: skip
    """Read captioned images in any layout, see `find_layout`.

    The report notes which layout was found.

    Args:
        root: A folder, or a captions file.
        splits: Which splits to read; None reads all.
        report: Collects problems. None discards them.
        images: The folder of the photographs, if it is not in the root.

    Returns:
        The splits in the requested order.

    Raises:
        FileNotFoundError, DataError: See the reader of the layout.
    """
    report = DataReport() if report is None else report
    layout = find_layout(root)
    report.note(f"{root} is read as {layout}")
    return READERS[layout](root, splits, report, images)


def find_layout(root: str | Path) -> str:
    """Find the layout of a data set by the names of its files.

    Args:
        root: A folder, or a captions file.

    Returns:
        A key of `READERS`; "table" if no other layout fits.

    Raises:
        FileNotFoundError: There is no such folder or file.
    """
    if Path(root).is_file():
        return "coco" if is_coco(Path(root)) else "table"
    folder = Folder(root, DataReport())
    if folder.matching(r"dataset_[^/]*\.json"):
        return "karpathy"
    if folder.matching(r"(captions|image_info)_[^/]*\.json"):
        return "coco"
    if folder.matching(*FLICKR30K.captions[:2]):
        return "flickr30k"
    if folder.named(*FLICKR8K.photos) and folder.matching(*FLICKR8K.captions, *_LISTS):
        return "flickr8k"
    others = folder.matching(r"annotations/[^/]*\.json", r"[^/]*\.json")
    return "coco" if any(map(is_coco, others)) else "table"


_LISTS = tuple(pattern.format("(train|dev|test)") for pattern in FLICKR8K.lists)
