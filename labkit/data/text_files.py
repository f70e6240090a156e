"""Text files of any common encoding, as JSON or as tables."""

import codecs
import csv
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from labkit.data.records import DataReport
from labkit.files import read_bytes

LARGEST = 512 << 20  # bytes of a captions file; parsed it takes some ten times as much memory
LONGEST_ROW = 20  # lines
MOST_UNMATCHED = 10_000  # rows with unmatched quotes, then quotes mean nothing
ENCODING = "not UTF-8, read as Windows-1252"
BROKEN = re.compile("[\0\ud800-\udfff\ufffd]")
"""Characters of no valid text: NUL, half a UTF-16 character, the replacement character."""


def _as_windows(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    return error.object[error.start : error.end].decode("cp1252", "replace"), error.end


codecs.register_error("labkit-cp1252", _as_windows)


def read_text(path: Path, report: DataReport) -> str:
    """Read a text file in UTF-8, UTF-16 or UTF-32, with or without a byte order mark.

    Bytes that are not valid UTF-8 are read as Windows-1252, and the report names the first such
    line. What cannot be read at all becomes U+FFFD.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is a pipe, a device, or larger than `LARGEST`.
    """
    data = read_bytes(path, LARGEST)
    encoding = json.detect_encoding(data)  # by the byte order mark, or the positions of zeros
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        if encoding.startswith("utf-8"):
            report.add(ENCODING, f"{path.name} line {line}")
            return data.decode(encoding, "labkit-cp1252")
        report.add("malformed file", f"{path}: not {encoding.upper()}, line {line}")
        return data.decode(encoding, "replace")


def parse_json(text: str, path: Path, report: DataReport) -> Any:
    """Parse a JSON text; report it and return None if it is empty or malformed."""
    try:
        data = json.loads(text) if text.strip() else None
    except (ValueError, RecursionError) as error:
        report.add("malformed file", f"{path}: {error}")
        return None
    if not data:
        report.add("empty file", str(path))
    return data


def json_lines(lines: list[str], path: Path, report: DataReport) -> Iterator[tuple[str, Any]]:
    """Read a JSON value from each line that is not blank; yield each with its place."""
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                yield f"{path.name} line {number}", json.loads(line)
            except (ValueError, RecursionError) as error:
                report.add("malformed line", f"{path.name} line {number}: {error}")


def split_lines(text: str) -> list[str]:
    """Split at line feeds and carriage returns only: a caption may hold U+2028 or a form feed."""
    return list(io.StringIO(text, newline=""))


def delimited(
    lines: list[str], start: int, delimiter: str, columns: int, path: Path, report: DataReport
) -> Iterator[tuple[str, list[str]]]:
    """Read the rows of a table from line `start` on; yield each with its place, in `columns` cells.

    Three faults are corrected where the intent is clear, and reported: a row that lacks its last
    bar, as one of Flickr30k's does; a last cell with unquoted delimiters; unmatched quotes. Quotes
    are unmatched, too, if a row has more than `LONGEST_ROW` lines: otherwise a file of quotes could
    be read from each of its lines to its end.
    """
    end, unmatched = len(lines), 0
    while start < end:
        plain = delimiter == "|" or unmatched > MOST_UNMATCHED
        quoting: Literal[0, 3] = csv.QUOTE_NONE if plain else csv.QUOTE_MINIMAL
        first, last = start, end

        def rest(start: int) -> Iterator[str]:
            for number in range(start, end):
                if number - first == LONGEST_ROW:  # noqa: B023 (where the row began by now)
                    raise csv.Error
                yield lines[number]

        reader = csv.reader(rest(start), delimiter=delimiter, quoting=quoting, strict=True)
        try:
            for row in reader:
                where, first = f"{path.name} line {first + 1}", start + reader.line_num
                if any(map(str.strip, row)):
                    yield from _corrected(row, delimiter, columns, where, report)
        except csv.Error:  # continue after the line where that row began
            last, unmatched, where = first + 1, unmatched + 1, f"{path.name} line {first + 1}"
            report.add("unmatched quotes, read as text", where)
            cells = lines[first].rstrip("\r\n").split(delimiter)
            yield from _corrected(cells, delimiter, columns, where, report)
        start = last


def _corrected(
    row: list[str], delimiter: str, columns: int, where: str, report: DataReport
) -> Iterator[tuple[str, list[str]]]:
    missing_bar = re.fullmatch(r"(\s*\d+)\s+(\S.*)", row[-1])
    if delimiter == "|" and len(row) == columns - 1 and missing_bar:
        report.add("missing bar, corrected", where)
        row = [*row[:-1], *missing_bar.groups()]
    if len(row) > columns:
        if any(map(str.strip, row[columns:])):
            report.add("unquoted delimiter, read as text", where)
        row = [*row[: columns - 1], delimiter.join(row[columns - 1 :])]
    if len(row) == columns:
        yield where, [cell.strip() for cell in row]
    else:
        report.add("malformed line", f"{where}: {delimiter.join(row)[:60]!r}")
