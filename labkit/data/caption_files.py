"""Captions files in every format, read as rows: a photograph's name and its captions.

`labkit prepare` and `labkit score` both read captions with this module alone.
"""

import ast
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from labkit.data.folders import is_photo
from labkit.data.records import DataReport
from labkit.data.rows import Row, as_text, file_name, listed, match_names, merged
from labkit.data.text_files import delimited, json_lines, parse_json, read_text, split_lines

FILE = "filename image imagename imagefile imagepath img photo picture file path filepath name"
ID = "cocoid imageid imgid id"
CAPTION = "caption captions sentence sentences text texts comment raw description captionstr"
SPLIT = "split subset set partition"
"""Accepted column names; the first present is used; case, spaces and underscores are ignored."""

LONGEST_LIST = 50_000  # characters: Python's parser is slow, and takes much memory
_TOKEN = re.compile(r"([^\t]+)#(\d+)\t(.*)", re.DOTALL)


def read_rows(path: Path, report: DataReport) -> list[Row]:
    """Read a captions file; its format is recognised by its content, not its name.

    The formats are COCO's and Karpathy's JSON; lines `name.jpg#0 <tab> caption`, as in
    Flickr8k.token.txt; Flickr30k's results.csv; and any table with a column for the photograph or
    its id, one for the caption or a list of captions, and optionally one for the split: CSV, TSV,
    JSON lines, a JSON list of objects, or a JSON object of captions by image.

    Raises:
        OSError: The file cannot be read.
    """
    text = read_text(path, report)
    if text.lstrip()[:1] in ("", "[", "{"):
        return _json_rows(text, path, report)
    lines = split_lines(text)
    if any(map(_TOKEN.match, lines[:100])):
        return merged(_token_rows(lines, path, report))
    return merged(_table_rows(_cells(lines, path, report), report))


def coco_rows(data: dict[str, Any], path: Path, report: DataReport) -> list[Row]:
    """Read COCO's format: a list "images", and a list "annotations" if captions are published.

    Image ids may be numbers in one list and strings in the other. A caption with "is_rejected", as
    in VizWiz, is reported and left out, and so is an image that is listed again. Captions of an
    unlisted image are reported; if there is no list of images at all, each id is an image.
    """
    rows = list(_coco_images(data, path, report)) if "images" in data else []
    if "annotations" not in data:
        return rows
    captions: dict[str, list[tuple[str, Any]]] = defaultdict(list)
    for where, note in listed(data, "annotations", path, report):
        id, number = as_text(note.get("image_id")), as_text(note.get("id"))
        if not id or not isinstance(note.get("caption"), str):
            report.add("malformed entry", where)
            continue
        where = f"{path.name} annotation {number}" if number else where
        if note.get("is_rejected"):
            report.add("rejected caption", where)
        else:
            captions[id].append((where, note["caption"]))
    if "images" not in data:
        return [Row(path.name, "", id, tuple(texts)) for id, texts in captions.items()]
    same = match_names(captions, {row.id: [row.id] for row in rows})
    by_row: dict[str, list[tuple[str, Any]]] = defaultdict(list)
    for id, texts in captions.items():
        if id in same:
            by_row[same[id]] += texts
        for where, _ in texts if id not in same else ():
            report.add("caption without an image", where)
    return [replace(row, captions=tuple(by_row[row.id])) for row in rows]


def _coco_images(data: dict[str, Any], path: Path, report: DataReport) -> Iterator[Row]:
    licences = data.get("licenses")
    licences = licences if isinstance(licences, list) else []
    licences = {as_text(x.get("id")): as_text(x.get("name")) for x in licences if hasattr(x, "get")}
    seen: set[tuple[str, str]] = set()
    for where, image in listed(data, "images", path, report):
        id, file = as_text(image.get("id")), file_name(image.get("file_name"))
        if (id, file) in seen:
            report.add("image listed twice", where)
            continue
        facts = {
            "licence": licences.get(as_text(image.get("license"))),
            "source": as_text(image.get("flickr_url")) or as_text(image.get("coco_url")),
        }
        if id and file:
            seen.add((id, file))
            yield Row(where, file, id, facts={key: fact for key, fact in facts.items() if fact})
        else:
            report.add("malformed entry", where)


def _json_rows(text: str, path: Path, report: DataReport) -> list[Row]:
    lines = split_lines(text.strip())
    if path.suffix in (".jsonl", ".ndjson") or (len(lines) > 1 and _is_json(lines[0])):
        return merged(_table_rows(json_lines(lines, path, report), report))
    data = parse_json(text, path, report)
    if isinstance(data, dict):
        images = data.get("images")
        images = images if isinstance(images, list) else []
        if any("sentences" in entry for entry in images if isinstance(entry, dict)):  # Karpathy's
            return list(_table_rows(listed(data, "images", path, report), report))
        if data.keys() & {"images", "annotations"}:
            return coco_rows(data, path, report)
        data = _as_entries(data)
    entries = {"entry": data if isinstance(data, list) else []}
    return merged(_table_rows(listed(entries, "entry", path, report), report))


def _as_entries(data: dict[str, Any]) -> list[Any]:
    """Return the entries of a JSON object: itself, its only list, or its captions by image."""
    if _columns(tuple(data)):
        return [data]
    lists = [value for value in data.values() if isinstance(value, list)]
    first = lists[0][0] if len(lists) == 1 and lists[0] else None
    if isinstance(first, dict) and _columns(tuple(first)):
        return lists[0]
    return [{"id": key, "caption": value} for key, value in data.items()]


def _is_json(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _token_rows(lines: list[str], path: Path, report: DataReport) -> Iterator[Row]:
    """Read captions by image and number, from lines such as `name.jpg#0<tab>caption`."""
    seen = set()
    for number, line in enumerate(lines, 1):
        match = _TOKEN.fullmatch(line.rstrip("\r\n"))
        file = file_name(match[1]) if match else ""
        key = f"{file}#{match[2]}" if match else ""
        if key in seen and file:
            report.add("caption given twice", key)
        elif match and file:
            yield Row(key, file, captions=((key, match[3]),))
            seen.add(key)
        elif line.strip():
            report.add("malformed line", f"{path.name} line {number}: {line.strip()[:60]!r}")


def _cells(
    lines: list[str], path: Path, report: DataReport
) -> Iterator[tuple[str, dict[str, str]]]:
    """Read a table by its header; without a header the first cell must be a photograph's name."""
    start = next(number for number, line in enumerate(lines) if line.strip())
    for delimiter in "\t|,;":
        header = [cell.strip(' "\r\n') for cell in lines[start].split(delimiter)]
        if _columns(tuple(header)):
            start += 1
        elif is_photo(header[0]) and len(header) > 1:
            numbered = ["number"] * (len(header) > 2 and header[1].isdigit())
            captions = [f"caption{number}" for number in range(len(header) - len(numbered) - 1)]
            header = ["file", *numbered, *(captions if delimiter == "\t" else captions[:1])]
        else:
            continue
        for where, row in delimited(lines, start, delimiter, len(header), path, report):
            yield where, dict(zip(header, row, strict=True))
        return
    report.add("malformed file", f"{path}: no columns file_name and caption in its first line")


@lru_cache(256)
def _columns(keys: tuple[str, ...]) -> dict[str, list[str]]:
    """Find the columns by kind; nothing if there is none for captions or none for images."""
    named: dict[str, list[str]] = defaultdict(list)
    for key in keys:
        named[_plain_key(key)].append(key)
    found = {
        kind: next((named[name] for name in names.split() if name in named), [])
        for kind, names in {"file": FILE, "id": ID, "caption": CAPTION, "split": SPLIT}.items()
    }
    return found if found["caption"] and (found["file"] or found["id"]) else {}


def _plain_key(key: str) -> str:
    return re.sub(r"[\W_]+|\d+$", "", key[:100].casefold())


def _table_rows(entries: Iterable[tuple[str, Any]], report: DataReport) -> Iterator[Row]:
    """Read rows by the names of their columns."""
    for where, entry in entries:
        columns = _columns(tuple(entry)) if isinstance(entry, dict) else {}
        file, id, split = (
            as_text(entry.get(columns[kind][0])) if columns and columns[kind] else ""
            for kind in ("file", "id", "split")
        )
        if not (file or id):
            report.add("malformed entry", where)
            continue
        if file and columns["id"] and _plain_key(columns["id"][0]) in ("id", "imgid"):
            id = ""  # it counts rows, or pictures of this file alone
        file, folder = file.replace("\\", "/"), entry.get("filepath") or ""
        if "filepath" not in columns["file"] and folder:  # Karpathy's
            id = id or file
            if folder := file_name(folder if isinstance(folder, str) else None):
                file = f"{folder}/{file}"
            else:
                report.add("malformed entry", f"{where} filepath")
        captions = [c for key in columns["caption"] for c in _spread(entry[key], where)]
        yield Row(where, file, id, tuple(captions), split)


def _spread(value: Any, where: str) -> list[tuple[str, Any]]:
    """Return the captions of a cell: a text, a list of texts, or such a list written as text."""
    if isinstance(value, str) and value[:1] == "[" and value[-1:] == "]":
        value = _as_list(value)
    if not isinstance(value, list):
        return [(where, value)]
    return [
        (
            f"{where} caption {number}",
            next((one[key] for key in ("raw", "caption", "text") if key in one), None)
            if isinstance(one, dict)
            else one,
        )
        for number, one in enumerate(value)
    ]


def _as_list(text: str) -> Any:
    if len(text) > LONGEST_LIST:
        return text
    for read in (json.loads, ast.literal_eval):
        try:
            if isinstance(value := read(text), list):
                return value
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
    return text
