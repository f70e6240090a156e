"""COCO captions of any year, and other data sets in COCO's format."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from labkit.data.assemble import found_photos, gather
from labkit.data.caption_files import coco_rows
from labkit.data.folders import Folder
from labkit.data.records import CaptionedImage, DataReport
from labkit.data.rows import Row
from labkit.data.splits import ALIASES, known_split, split_name, usual_split
from labkit.data.text_files import parse_json, read_text

NEEDS = (
    "COCO has annotations/captions_train2017.json or image_info_test2017.json and its photographs "
    "in train2017 or images/train2017; for photographs elsewhere, give --images"
)


def read_coco(
    root: str | Path, splits: Sequence[str] | None = None, report: DataReport | None = None,
    images: str | Path | None = None,
) -> list[CaptionedImage]:  # fmt: skip
    """Read COCO captions of any year (Lin et al., 2014; Chen et al., 2015).

    A split such as "train2017" is `annotations/captions_train2017.json` with its photographs, most
    often in `train2017/` or `images/train2017/`. A test split has `image_info_test2014.json`
    instead: its captions are not published, so it can be captioned, not scored. Where there are no
    such files, any JSON file in COCO's format is a split, such as VizWiz's `annotations/val.json`.

    If there is only one year of a kind, the names "train", "dev" (COCO's val) and "test" mean that
    year, and `splits=None` uses them. Records bear the requested name. The years share photographs:
    one that two splits list stays in the first. If two splits give the same id to different
    photographs, their ids here begin with the split: "train/1", "dev/1".

    Args:
        root: The folder that holds `annotations/` and the photographs, or one of the JSON files.
        splits: Names as above. None reads all with a folder, or else all with a photograph.
        report: Collects problems. None discards them.
        images: The folder of the photographs, if it is not in the root.

    Returns:
        The splits in the requested order, images in the order of the file. `facts` holds the
        licence and the source address where the file states them.

    Raises:
        FileNotFoundError: The root does not exist.
        DataError: A split does not exist, or no image is usable.
    """
    report, path = DataReport() if report is None else report, Path(root)
    above = path.parent.parent if path.parent.name == "annotations" else path.parent
    folder = Folder(above if path.is_file() else path, report)
    photos = Folder(images, report) if images else folder
    files = _files(folder, report) if path.is_dir() else {_split_of(path): path}
    own = [split for split in files if photos.named(split)] or list(files)
    short = _short_names(own)
    names = {split: split for split in own} | {name: split for split, name in short.items()}
    if "dev" in names:
        names.setdefault("val", names["dev"])
    names |= {split: split for split in files if split not in names}
    aliases = {alias: names[name] for alias, name in ALIASES.items() if name in names} | names
    picked, unpublished, listed = [], set(), set()
    for asked in splits or short.values():
        name = asked.split("+")[0]
        for part in asked.split("+"):
            if part not in aliases:
                known_split(part, names, folder.root, NEEDS)
            real = aliases[part]
            rows = _rows(files[real], tuple(photos.named(real)), report)
            found, folders = found_photos(rows, photos), photos.named(real)
            if splits or folders or found:
                picked += [replace(row, split=name) for row in rows]
            listed |= {path for path in found if path.parent in folders}
            if files[real].name.startswith("image_info_"):
                unpublished.add(name)
    return gather(picked, photos, report, NEEDS, unpublished, listed)


def is_coco(path: Path) -> bool:
    """Return whether a file is JSON in COCO's format."""
    data = parse_json(read_text(path, DataReport()), path, DataReport())
    images = data.get("images") if isinstance(data, dict) else None
    first = images[0] if isinstance(images, list) and images else None
    return isinstance(first, dict) and {"id", "file_name"} <= first.keys()


def _rows(path: Path, near: tuple[Path, ...], report: DataReport) -> list[Row]:
    data = parse_json(read_text(path, report), path, report)
    if data and not isinstance(data, dict):
        report.add("malformed file", f"{path}: not a JSON object")
    if not data or not isinstance(data, dict):
        return []
    data.setdefault("images", None)  # if missing, it is reported
    if path.name.startswith("image_info_"):
        data.pop("annotations", None)
    elif path.name.startswith("captions_"):
        data.setdefault("annotations", None)
    return [replace(row, near=near) for row in coco_rows(data, path, report)]


def _split_of(path: Path) -> str:
    name = re.sub("^(captions|image_info)_", "", path.stem)
    return re.sub(r"[^\w.-]+", "-", name, flags=re.ASCII).strip("-.") or "all"


def _files(folder: Folder, report: DataReport) -> dict[str, Path]:
    """Find the JSON file of each split."""
    found = folder.matching(
        r"annotations/captions_[^/]*\.json", r"captions_[^/]*\.json",
        r"annotations/image_info_[^/]*\.json", r"image_info_[^/]*\.json",
    )  # fmt: skip
    if not found:
        others = folder.matching(r"annotations/[^/]*\.json", r"[^/]*\.json")
        found = [path for path in others if is_coco(path)]
    files: dict[str, Path] = {}
    for path in found:
        if files.setdefault(_split_of(path), path) != path:
            report.add("file found twice", str(path))
    return files


def _short_names(splits: Iterable[str]) -> dict[str, str]:
    """Name each split: "train2017" becomes "train" if it is the only year of its kind."""
    short = {split: usual_split(split) or split_name(split) for split in splits}
    kinds = list(short.values())
    return {split: kind if kinds.count(kind) == 1 else split for split, kind in short.items()}
