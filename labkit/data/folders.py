"""A data set's folder: listed once, with one way to find a photograph in it."""

import filecmp
import os
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

from labkit.data.records import DataReport
from labkit.data.text_files import BROKEN

PHOTOS = {
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".heic",
    ".heif", ".avif",
}  # fmt: skip
"""The extensions of photographs, in lower case."""
_COCO_2014 = re.compile(r"^coco_[a-z]+\d{4}_(?=\d{12}\b)", re.IGNORECASE)


def is_photo(path: Path | str) -> bool:
    """Return whether a file is a photograph, by its extension."""
    return os.path.splitext(path)[1].lower() in PHOTOS


def plain_name(name: str) -> str:
    """Return the part of an image's name that all ways of writing it share.

    That is its name without folders, without a photograph's extension, without ``COCO_val2014_`` as
    in COCO's 2014 files, and without leading zeros if it is a number.
    """
    name = name.replace("\\", "/").rsplit("/", 1)[-1]
    name = os.path.splitext(name)[0] if is_photo(name) else name
    name = _COCO_2014.sub("", unicodedata.normalize("NFC", name))
    return name.lstrip("0") or "0" if name.isascii() and name.isdecimal() else name


class Folder:
    """All files below a folder, except hidden ones; links are followed, and the report says so.

    A link to a folder above the root is not: it leads to all that is there.

    Args:
        root: The folder.
        report: Collects problems, such as a name that is not Unicode.

    Attributes:
        files, folders: Its files, and its folders with the root among them, nearest to the root
            first.

    Raises:
        FileNotFoundError: There is no such folder.
    """

    def __init__(self, root: str | Path, report: DataReport):
        self.root = Path(root)
        if not self.root.is_dir():
            raise FileNotFoundError(f"{root} is not a folder: give the one that holds the data set")
        self.files, self.folders, seen, real = [], [], set(), self.root.resolve()
        links: list[Path] = []
        unread = lambda error: report.add("unreadable folder", str(error.filename))  # noqa: E731
        for place, folders, names in os.walk(self.root, onerror=unread, followlinks=True):
            there = Path(os.path.realpath(place))
            if there in seen or there in real.parents:  # a link to a folder above it
                folders.clear()
                continue
            seen.add(there)
            links += filter(Path.is_symlink, (Path(place, name) for name in (*folders, *names)))
            folders[:] = (x for x in folders if x[0] != "." and x != "__MACOSX")
            self.folders.append(Path(place))
            for name in names:
                if BROKEN.search(name):
                    report.add("file name that is not Unicode", ascii(name))
                elif name[0] != ".":
                    self.files.append(Path(place, name))
        ends = {path: Path(os.path.realpath(path)) for path in links if path.name[0] != "."}
        away = {path: end for path, end in ends.items() if not end.is_relative_to(real)}
        if far := [path for path, end in away.items() if end not in real.parents]:
            report.note(f"links lead outside and are followed: {len(far)}, such as {far[0]}")
        for paths in (self.files, self.folders):
            paths.sort(key=lambda path: (len(path.parts), path))
        self._named: dict[str, list[Path]] = defaultdict(list)
        for path in self.files:
            self._named[_key(path.name)].append(path)
            if is_photo(path):
                self._named[_key(path.stem)].append(path)

    @property
    def photos(self) -> list[Path]:
        """The photographs, by their extensions."""
        return [path for path in self.files if is_photo(path)]

    def below(self, path: Path) -> str:
        """Return a path relative to the root, with slashes."""
        return path.relative_to(self.root).as_posix()

    def matching(self, *patterns: str) -> list[Path]:
        """Find files by regular expressions, matches of the first expression first.

        An expression matches the end of a path, from the beginning of a name, ignoring case.
        """
        found: dict[Path, None] = {}
        for pattern in patterns:
            name = re.compile(rf"(?:.*/)?{pattern}", re.IGNORECASE)
            found |= {path: None for path in self.files if name.fullmatch(self.below(path))}
        return list(found)

    def named(self, *names: str) -> list[Path]:
        """Find folders by name, ignoring case."""
        wanted = {name.casefold() for name in names}
        root = self.root.resolve().name.casefold()
        return [
            path
            for path in self.folders
            if (root if path == self.root else path.name.casefold()) in wanted
        ]

    def find(self, name: str, near: Sequence[Path] = ()) -> list[Path]:
        """Find a photograph by the name that a captions file gives it.

        The path is tried as given, then in all folders, by as much of the given path as matches. A
        name of COCO's 2014 files also finds the 2017 file, and vice versa; the extension may be
        missing. Nothing outside the folder is ever found, whatever the name.

        Args:
            name: The name, with or without folders, with slashes or backslashes.
            near: Folders to prefer.

        Returns:
            The one file; none; or several that match equally well and differ in content.
        """
        parts = [part for part in re.split(r"[\\/]", name) if part not in ("", ".", "..")]
        found = self._named.get(_key(parts[-1]), []) if parts else []
        if len(found) < 2:
            return found[:1]
        for given in (folder.joinpath(*parts) for folder in (*near, self.root)):
            if given in found:
                return [given]
        found = [path for path in found if path.name == parts[-1]] or found
        fits = {path: _common_end(path.parts[:-1], parts[:-1]) for path in found}
        found = [path for path in found if fits[path] == max(fits.values())]
        found = [path for path in found if any(map(path.is_relative_to, near))] or found
        return found[:1] if all(same_file(found[0], other) for other in found[1:]) else found

    def summary(self) -> str:
        """Describe in one line what the folder holds."""
        photos = Counter(self.below(path.parent) for path in self.photos)
        places = photos.most_common(3) if photos.keys() != {"."} else []
        where = ", ".join(f"{count} in {name}" for name, count in places)
        others = [self.below(path) for path in self.files if not is_photo(path)]
        text = f"{self.root} holds {_count(photos.total(), 'photograph')}"
        text += f" ({where})" if where else ""
        text += f" and {_count(len(others), 'other file')}"
        return text + (f": {', '.join(others[:5])}{', ...' * (len(others) > 5)}" if others else "")


def _count(number: int, thing: str) -> str:
    return f"{number or 'no'} {thing}{'s' * (number != 1)}"


def same_file(one: Path, other: Path) -> bool:
    """Return whether two files have the same content."""
    try:
        return one == other or filecmp.cmp(one, other, shallow=False)
    except OSError:
        return False


def _key(name: str) -> str:
    name = unicodedata.normalize("NFC", name.replace("\\", "/").rsplit("/", 1)[-1])
    return _COCO_2014.sub("", name).casefold()


def _common_end(one: Sequence[str], other: Sequence[str]) -> int:
    pairs = zip(reversed(one), reversed(other), strict=False)
    equal = [a.casefold() == b.casefold() for a, b in pairs]
    return [*equal, False].index(False)
