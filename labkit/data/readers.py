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
from labkit.data.records import Box, CaptionedImage, DataError, DataReport, Facts, augment
from labkit.data.splits import make_splits, usual_split
from labkit.data.tables import read_karpathy, read_table
from labkit.data.words import tokenize

__all__ = [
    "READERS", "Box", "CaptionedImage", "DataError", "DataReport", "Facts", "augment",
    "find_layout", "make_splits", "read_coco", "read_flickr8k", "read_flickr30k", "read_folder",
    "read_karpathy", "read_table", "require_captions", "tokenize",
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
    r"""Read captioned images in any layout, see `find_layout`.

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

    Example:
        >>> from pathlib import Path
        >>> from PIL import Image
        >>> from labkit import read_folder
        >>> Path("dogs").mkdir()
        >>> Image.new("RGB", (64, 48)).save("dogs/1.jpg")
        >>> with open("dogs/captions.csv", "w") as file:
        ...     print("file_name,caption", "1.jpg,A dog runs.", sep="\n", file=file)
        >>> images = read_folder("dogs")
        >>> images[0].id, images[0].captions
        ('1.jpg', ('A dog runs.',))
    """
    report = DataReport() if report is None else report
    layout = find_layout(root)
    report.note(f"{root} is read as {layout}")
    return READERS[layout](root, splits, report, images)


def find_layout(root: str | Path) -> str:
    """Find the layout of a data set by the names of its files.

    If the folder holds several data sets, the one nearest to it counts.

    Args:
        root: A folder, or a captions file.

    Returns:
        A key of `READERS`; "table" if no other layout fits.

    Raises:
        FileNotFoundError: There is no such folder or file.
        DataError: Several data sets are equally near; the sentence lists their folders.
    """
    if Path(root).is_file():
        return "coco" if is_coco(Path(root)) else "table"
    folder = Folder(root, DataReport())
    found = _data_sets(folder)
    depth = min((len(place.parts) for place in found), default=0)
    nearest = {place: layout for place, layout in found.items() if len(place.parts) == depth}
    if len(nearest) > 1:
        sets = ", ".join(f"{place} ({layout})" for place, layout in sorted(nearest.items()))
        raise DataError(f"{root} holds several data sets, {sets}: give the folder of one of them")
    if nearest:
        return nearest.popitem()[1]
    others = folder.matching(r"annotations/[^/]*\.json", r"[^/]*\.json")
    return "coco" if any(map(is_coco, others)) else "table"


def _data_sets(folder: Folder) -> dict[Path, str]:
    """Find the folders that hold captions and their photographs, with the layout of each.

    A folder without photographs belongs to the one above it, and so does a split's (train2017).
    """
    around = {photo.parent for photo in folder.photos}
    around |= {above for place in around for above in place.parents}
    found: dict[Path, str] = {}
    for layout, patterns in _FILES.items():
        for path in folder.matching(*patterns):
            place = path.parent
            while place != folder.root and (place not in around or usual_split(place.name)):
                place = place.parent
            named = folder.named(*FLICKR8K.photos) if layout == "flickr8k" else [place]
            if any(photos.is_relative_to(place) for photos in named):
                found.setdefault(place, layout)
    return found


_FILES = {
    "karpathy": (r"dataset_[^/]*\.json",),
    "coco": (r"(captions|image_info)_[^/]*\.json",),
    "flickr30k": FLICKR30K.captions[:2],
    "flickr8k": (
        *FLICKR8K.captions,
        *(pattern.format("(train|dev|test)") for pattern in FLICKR8K.lists),
    ),
}  # that only this layout has, the most telling first
