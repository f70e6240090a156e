"""Captions in one file next to photographs: Karpathy's JSON, and tables of any kind."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from labkit.data.assemble import found_photos, gather, photo_rows
from labkit.data.caption_files import read_rows
from labkit.data.folders import Folder
from labkit.data.records import CaptionedImage, DataError, DataReport
from labkit.data.rows import Row
from labkit.data.splits import ALIASES, pick

KARPATHY = (
    "give Karpathy's dataset_flickr8k.json, dataset_flickr30k.json or dataset_coco.json; for "
    "photographs that are not next to it, give --images"
)
NEEDS = (
    "a table has columns such as file_name and caption, in a file such as captions.csv, "
    "metadata.csv or metadata.jsonl, and the photographs next to it or in --images"
)


def read_karpathy(
    root: str | Path, splits: Sequence[str] | None = None, report: DataReport | None = None,
    images: str | Path | None = None,
) -> list[CaptionedImage]:  # fmt: skip
    """Read Karpathy's splits of Flickr8k, Flickr30k or COCO (Karpathy and Fei-Fei, 2015).

    The file is `dataset_flickr8k.json`, `dataset_flickr30k.json` or `dataset_coco.json`. A
    photograph is looked for at the path that the file gives, then in all folders, also under the
    name that COCO gave it in 2017.

    Karpathy's "val" is called "dev" here; if you ask for "val", the records bear that name.
    COCO's "restval" is a split of its own. Most published models are trained on both, written
    "train+restval": these records bear the first name, "train".

    Args:
        root: The folder with the JSON file and the photographs, or the file itself.
        splits: Names as above. None reads all splits, each under its own name.
        report: Collects problems. None discards them.
        images: The folder of the photographs, if they are not next to the file.

    Returns:
        The splits in the requested order, images in the order of the file.

    Raises:
        FileNotFoundError: There is no such file.
        DataError: There are several such files, a split does not exist, or no image is usable.
    """
    report, folder, path = _open(root, report)
    if path is None:
        paths = folder.matching(r"dataset[^/]*\.json")
        if not paths:
            raise FileNotFoundError(f"{folder.summary()}, but no dataset_*.json: {KARPATHY}")
        if len(paths) > 1:
            raise DataError(f"{root} has several of them: give one, such as {paths[0]}")
        path = paths[0]
    photos = Folder(images, report) if images else folder
    return _gather(read_rows(path, report), splits, photos, path, report, KARPATHY)


def read_table(
    root: str | Path, splits: Sequence[str] | None = None, report: DataReport | None = None,
    images: str | Path | None = None,
) -> list[CaptionedImage]:  # fmt: skip
    """Read captions from a table: CSV, TSV, JSON lines or JSON.

    It has a column for the photograph, one for the caption or a list of captions, and optionally
    one for the split; `labkit.data.caption_files` lists the column names it accepts. Hugging Face's
    image folders have such tables: `metadata.jsonl` or `metadata.csv`, one for all splits or one in
    each split's folder.

    The split of a row is that of its column; or else the table's folder, the table's name, or the
    photograph's first folder, if that is the name of a split such as train or val.

    Args:
        root: The folder that holds the table and the photographs, or the table.
        splits: Which splits to read; None reads all.
        report: Collects problems. None discards them.
        images: The folder of the photographs, if they are not next to the table.

    Returns:
        The splits in the requested order, images in the order of the table.

    Raises:
        FileNotFoundError: There is no such file or folder.
        DataError: There are several tables, a split does not exist, or no image is usable.
    """
    report, folder, path = _open(root, report)
    photos = Folder(images, report) if images else folder
    tables = [path] if path else find_tables(folder)
    rows = [row for table in tables for row in _table_rows(table, folder, photos, report)]
    if not tables:
        rows = photo_rows(photos)
        report.add("no captions file", f"{folder.summary()}; {NEEDS}")
    if rows and not any(row.split for row in rows):
        first = [row.file.split("/")[0].casefold() for row in rows if "/" in row.file]
        if len(first) == len(rows) and set(first) <= ALIASES.keys():
            rows = [replace(row, split=name) for row, name in zip(rows, first, strict=True)]
    return _gather(rows, splits, photos, folder.root, report, NEEDS)


def find_tables(folder: Folder) -> list[Path]:
    """Find the tables of a folder: one, or one for each split.

    Raises:
        DataError: There are several, and their names are not names of splits.
    """
    tables = folder.matching(r"metadata\.(jsonl|ndjson|csv|tsv|json)")
    for endings in ("jsonl|ndjson|csv|tsv", "json", "txt|token") if not tables else ():
        tables = folder.matching(rf"[^/]*\.({endings})")
        if endings == "txt|token":
            tables = [path for path in tables if read_rows(path, DataReport())]
        nearest = min((len(path.parts) for path in tables), default=0)
        if tables := [path for path in tables if len(path.parts) == nearest]:
            break
    if len(tables) > 1 and not all(_split_of(path, folder) for path in tables):
        names = ", ".join(map(folder.below, tables[:5]))
        raise DataError(f"{folder.root} has several tables, {names}: give one of them")
    return tables


def _split_of(table: Path, folder: Folder) -> str:
    """Return the split that a table's name, or else its folder's name, stands for, or ""."""
    names = [table.stem, *folder.below(table).split("/")[-2::-1]]
    return next((name for name in names if name.casefold() in ALIASES), "")


def _table_rows(table: Path, folder: Folder, photos: Folder, report: DataReport) -> list[Row]:
    split = _split_of(table, folder) if table.is_relative_to(folder.root) else ""
    near = (table.parent,) if photos is folder else ()
    rows = read_rows(table, report)
    return [replace(row, split=row.split or split, near=near) for row in rows]


def _open(root: str | Path, report: DataReport | None) -> tuple[DataReport, Folder, Path | None]:
    """Return the report, the folder, and the file if the root is a file."""
    report, path = DataReport() if report is None else report, Path(root)
    return (
        report,
        Folder(path.parent if path.is_file() else path, report),
        path if path.is_file() else None,
    )


def _gather(
    rows: list[Row], splits: Sequence[str] | None, photos: Folder, root: Path, report: DataReport,
    needs: str,
) -> list[CaptionedImage]:  # fmt: skip
    listed = found_photos(rows, photos)
    return gather(pick(rows, splits, root, report), photos, report, needs, listed=listed)
