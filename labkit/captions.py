"""Captioned images: one reader for each source of photographs.

Every source ends as a list of `CaptionedImage`, so nothing further down knows where an image came
from. A reader never opens a photograph: it reads the lists, and leaves out what cannot be used.
Whatever it leaves out stands in the `DataReport`.
"""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from labkit.records import (
    Box,
    CaptionedImage,
    DataError,
    DataReport,
    clean,
    entries,
    json_object,
    known_split,
    tokenize,
    usable,
    with_views,
)

__all__ = [
    "Box",
    "CaptionedImage",
    "DataError",
    "DataReport",
    "read_coco",
    "read_flickr8k",
    "read_karpathy",
    "tokenize",
    "with_views",
]


def read_flickr8k(
    root: str | Path, splits: Sequence[str] | None = None, report: DataReport | None = None
) -> list[CaptionedImage]:
    """Read Flickr8k in its official layout (Hodosh, Young and Hockenmaier, 2013).

    The photographs lie in `Flicker8k_Dataset/` (spelled so) or `Flickr8k_Dataset/`; the texts in
    `Flickr8k_text/` or in the root. Without `Flickr8k.token.txt` the photographs have no captions:
    they can be captioned, not scored. With no split list at all, they are one split, "all".

    Args:
        root: The folder that holds them.
        splits: "train", "dev", "test"; all whose lists are there if None.
        report: Where problems go. None counts them nowhere.

    Returns:
        Splits in the order asked for, images in the order of the split's list.

    Raises:
        FileNotFoundError: No folder of photographs.
        DataError: A split that is not there, or nothing usable at all.
    """
    root, report = _folder(root), DataReport() if report is None else report
    folders = root / "Flicker8k_Dataset", root / "Flickr8k_Dataset"
    photos = next((folder for folder in folders if folder.is_dir()), None)
    if photos is None:
        raise FileNotFoundError(f"{root} has no folder Flicker8k_Dataset with the photographs")
    lists = _flickr_lists(root, photos, report)
    captions = _flickr_captions(root, report)
    known = {name for names in lists.values() for name in names}
    for name, told in captions.items():
        if name not in known and not (photos / name).is_file():
            for number in told:
                report.add("caption without an image", f"{name}#{number}")
    records = []
    for split in splits or lists:
        for name in lists[known_split(split, lists, root)]:
            told = tuple(captions.get(name, {}).values())
            facts = {"file": f"{photos.name}/{name}"}
            records.append(CaptionedImage(name, photos / name, told, split, facts=facts))
    return usable(records, root, report)


def read_coco(
    root: str | Path, splits: Sequence[str] | None = None, report: DataReport | None = None
) -> list[CaptionedImage]:
    """Read COCO captions of any year (Lin et al., 2014; Chen et al., 2015).

    A split such as "train2017" is `annotations/captions_train2017.json` with the photographs in
    `train2017/` or `images/train2017/`. A test split has `image_info_test2014.json` instead: no
    captions are published, so it can be captioned, not scored.

    Where just one year of a kind is there, "train", "dev" (COCO's val) and "test" name it too, and
    are the names of `splits=None`. A record bears the name it was asked for by. The years share
    photographs: one that two splits list stays in the first.

    Args:
        root: The folder that holds `annotations/` and the photographs' folders.
        splits: Names as above; all with both their files and photographs if None.
        report: Where problems go. None counts them nowhere.

    Returns:
        Splits in the order asked for, images in the order of the file. `facts` holds the licence
        and the source address where the file states them.

    Raises:
        FileNotFoundError: No such root.
        DataError: A split that is not there, or nothing usable at all.
    """
    root, report = _folder(root), DataReport() if report is None else report
    files = _coco_files(root, report)
    own = _coco_names(files)
    names = {split: split for split in files} | {name: split for split, name in own.items()}
    if "dev" in names:
        names.setdefault("val", names["dev"])
    records = []
    for split in splits or own.values():
        real = names[known_split(split, names, root, "captions_{0}.json and the folder {0}")]
        records += _coco_records(*files[real], split, root, report)
    return usable(records, root, report)


def read_karpathy(
    root: str | Path, splits: Sequence[str] | None = None, report: DataReport | None = None
) -> list[CaptionedImage]:
    """Read Karpathy's splits of Flickr8k, Flickr30k or COCO (Karpathy and Fei-Fei, 2015).

    The file is `dataset_flickr8k.json`, `dataset_flickr30k.json` or `dataset_coco.json`. A
    photograph is sought at the path that the file gives, in the root, then in each folder of it.

    Karpathy's "val" is called "dev" here; "val" is taken too, and then names the records. COCO's
    "restval" is a split of its own. Published scores mostly train on both, which is written
    "train+restval": its records bear the first name, "train".

    Args:
        root: The folder with the JSON file and the photographs, or the file, beside them.
        splits: Names as above; each split on its own if None.
        report: Where problems go. None counts them nowhere.

    Returns:
        Splits in the order asked for, images in the order of the file.

    Raises:
        FileNotFoundError: No such file.
        DataError: Several such files, a split that is not there, or nothing usable at all.
    """
    path, report = _karpathy_file(Path(root)), DataReport() if report is None else report
    fields = {"filename": str, "split": str, "sentences": list}
    images = list(entries(json_object(path, report), "images", fields, path, report))
    names = {"dev" if e["split"] == "val" else e["split"]: e["split"] for e in images}
    own = list(names)
    names |= {split: split for split in names.values()}
    folders = [path.parent, *sorted(p for p in path.parent.iterdir() if p.is_dir())]
    records = []
    for split in splits or own:
        parts = {names[known_split(part, names, path)] for part in split.split("+")}
        chosen = [entry for entry in images if entry["split"] in parts]
        name = split.split("+")[0]
        records += [_karpathy_record(e, name, folders, path, report) for e in chosen]
    return usable(records, path, report)


def _folder(root: str | Path) -> Path:
    if not Path(root).is_dir():
        raise FileNotFoundError(f"{root} is not a folder: give the one that holds the data set")
    return Path(root)


def _is_photo(path: Path) -> bool:
    return path.suffix.lower() in {".jpg", ".jpeg", ".png"}


def _text_lines(root: Path, name: str, report: DataReport) -> list[str] | None:
    """Read the lines that are not blank, or None if there is no such file."""
    paths = [p for p in (root / "Flickr8k_text" / name, root / name) if p.is_file()]
    for path in paths[1:]:
        report.add("file found twice", str(path))
    if not paths:
        return None
    text = paths[0].read_text(encoding="utf-8-sig", errors="replace")
    lines = [line for line in text.split("\n") if line.strip()]
    if not lines:
        report.add("empty file", str(paths[0]))
    return lines


def _flickr_lists(root: Path, photos: Path, report: DataReport) -> dict[str, list[str]]:
    """Read the names of the photographs of each split that has a list."""
    lists = {}
    for split in ("train", "dev", "test"):
        lines = _text_lines(root, f"Flickr_8k.{split}Images.txt", report)
        if lines is not None:
            lists[split] = [line.strip() for line in lines]
    if not lists:
        lists["all"] = sorted(p.name for p in photos.iterdir() if _is_photo(p))
    return lists


def _flickr_captions(root: Path, report: DataReport) -> dict[str, dict[str, str]]:
    """Read captions by image and number, from lines such as `name.jpg#0<tab>caption`."""
    captions: dict[str, dict[str, str]] = {}
    for line in _text_lines(root, "Flickr8k.token.txt", report) or []:
        key, _, caption = line.partition("\t")
        name, mark, number = key.rpartition("#")
        if not (mark and number.isdigit()) or not caption or "\ufffd" in line:
            report.add("malformed line", repr(line.strip()[:60]))
        elif number in captions.get(name, {}):
            report.add("caption given twice", key)
        else:
            for text in clean(caption, key, report):
                captions.setdefault(name, {})[number] = text
    return captions


def _coco_files(root: Path, report: DataReport) -> dict[str, tuple[Path, Path]]:
    """Find, for each split that has both, its JSON file and its folder of photographs."""
    files: dict[str, tuple[Path, Path]] = {}
    patterns = "annotations/captions_", "captions_", "annotations/image_info_", "image_info_"
    for path in [p for start in patterns for p in sorted(root.glob(f"{start}*.json"))]:
        split = re.sub("^(captions|image_info)_", "", path.stem)
        folder = next((d for d in (root / split, root / "images" / split) if d.is_dir()), None)
        if split in files:
            report.add("file found twice", str(path))
        elif folder:
            files[split] = path, folder
    return files


def _coco_names(files: Mapping[str, Any]) -> dict[str, str]:
    """Name each split: "train2017" goes by "train" where it is the only year of its kind."""
    short = {split: re.sub(r"^(train|val|test)\d{4}$", r"\1", split) for split in files}
    short = {split: "dev" if name == "val" else name for split, name in short.items()}
    kinds = list(short.values())
    return {split: kind if kinds.count(kind) == 1 else split for split, kind in short.items()}


def _coco_records(
    path: Path, folder: Path, split: str, root: Path, report: DataReport
) -> list[CaptionedImage]:
    data = json_object(path, report)
    images = list(entries(data, "images", {"id": int | str, "file_name": str}, path, report))
    captions: dict[Any, list[str]] = {image["id"]: [] for image in images}
    if path.name.startswith("captions_"):
        fields = {"image_id": int | str, "caption": str}
        for note in entries(data, "annotations", fields, path, report):
            where = f"{path.name} annotation {note.get('id')}"
            if note["image_id"] in captions:
                captions[note["image_id"]] += clean(note["caption"], where, report)
            else:
                report.add("caption without an image", where)
    listed = {image["file_name"] for image in images}
    for photo in sorted(folder.iterdir()):
        if _is_photo(photo) and photo.name not in listed:
            report.add("image without a caption", f"{folder.name}/{photo.name}")
    licences = {x.get("id"): x.get("name") for x in data.get("licenses", []) if isinstance(x, dict)}
    records = []
    for image in images:
        file = folder / image["file_name"]
        facts = {
            "file": os.path.relpath(file, root),
            "licence": licences.get(image.get("license")),
            "source": image.get("flickr_url") or image.get("coco_url"),
        }
        facts = {key: value for key, value in facts.items() if value}
        told = tuple(captions[image["id"]])
        records.append(CaptionedImage(str(image["id"]), file, told, split, facts=facts))
    return records


def _karpathy_file(root: Path) -> Path:
    paths = [root] if root.is_file() else sorted(root.glob("dataset*.json"))
    if not paths:
        raise FileNotFoundError(f"{root} has no dataset_*.json: give the folder that holds one")
    if len(paths) > 1:
        raise DataError(f"{root} has several of them: give one, such as {paths[0]}")
    return paths[0]


def _karpathy_record(
    entry: dict, split: str, folders: list[Path], path: Path, report: DataReport
) -> CaptionedImage:
    given = folders[0] / (entry.get("filepath") or "") / entry["filename"]
    tried = [given, *(folder / entry["filename"] for folder in folders)]
    file = next((p for p in tried if p.is_file()), given)
    captions = []
    for sentence in entries(entry, "sentences", {"raw": str}, path, report):
        captions += clean(sentence["raw"], entry["filename"], report)
    facts = {"file": os.path.relpath(file, folders[0])}
    identity = str(entry.get("cocoid", entry["filename"]))
    return CaptionedImage(identity, file, tuple(captions), split, facts=facts)
