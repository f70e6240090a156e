"""Download the public data sets: resumable, verified, unpacked completely or not at all.

The MD5 sums are those that public projects check against: for Flickr8k the R package torchvision
(mlverse/torchvision, R/dataset-flickr.R), for COCO LAVIS and PaddlePaddle. The owners publish no
checksums. MD5 finds damage, not forgery; the addresses are HTTPS.
"""

import hashlib
import os
import shutil
import time
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import requests
from tqdm import tqdm

from labkit.files import naming, only_one, writable_folder

PART = ".labkit-part"  # ends the name of an unfinished download
CHUNK = 1 << 16  # bytes; an interruption costs less than one chunk
TRIES = 5  # in a row without progress
MOST_LARGER = 50  # times the size of its zip file; captions are five times as large
PAUSE = 1.0  # seconds before the next attempt
BROKEN = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)


class DownloadError(OSError):
    """A data set could not be downloaded, verified or unpacked."""


@dataclass(frozen=True)
class Archive:
    """A zip file to download, and which of its contents to unpack.

    Attributes:
        url: Its address.
        md5: The MD5 sum of the zip file, 32 hexadecimal digits.
        gives: The files and folders to unpack, relative to the data set's folder; the rest is not
            unpacked.
        into: The folder, relative to the data set's, that the zip file's paths start from.
    """

    url: str
    md5: str
    gives: tuple[str, ...]
    into: str = ""

    @property
    def name(self) -> str:
        """The zip file's own name."""
        return self.url.rsplit("/", 1)[-1]


_FLICKR8K = "https://github.com/jbrownlee/Datasets/releases/download/Flickr8k"
_COCO = "https://s3.amazonaws.com/images.cocodataset.org"

DATASETS: dict[str, tuple[Archive, ...]] = {
    "flickr8k": (
        Archive(
            f"{_FLICKR8K}/Flickr8k_text.zip",
            "bf6c1abcb8e4a833b7f922104de18627",
            (
                "Flickr8k_text/Flickr8k.token.txt",
                "Flickr8k_text/Flickr_8k.trainImages.txt",
                "Flickr8k_text/Flickr_8k.devImages.txt",
                "Flickr8k_text/Flickr_8k.testImages.txt",
            ),
            into="Flickr8k_text",
        ),
        Archive(
            f"{_FLICKR8K}/Flickr8k_Dataset.zip",
            "f18a1e2920de5bd84dae7cf08ec78978",
            ("Flicker8k_Dataset",),
        ),
    ),
    "coco": (
        Archive(
            f"{_COCO}/annotations/annotations_trainval2014.zip",
            "0a379cfc70b0e71301e0f377548639bd",
            ("annotations/captions_train2014.json", "annotations/captions_val2014.json"),
        ),
        Archive(f"{_COCO}/zips/val2014.zip", "a3d79f5ed8d289b7a7554ce06a5782b3", ("val2014",)),
        Archive(f"{_COCO}/zips/train2014.zip", "0da8c0bd3d6becc4dcb32757491aca88", ("train2014",)),
    ),
}
"""The data sets by name: Flickr8k (1.1 GB to download), COCO 2014 train and val (20 GB)."""


def download(
    dataset: str, folder: str | Path, mirror: str | None = None, progress: bool = True
) -> Path:
    """Download and unpack a data set, ready for its reader in `labkit.data.readers`.

    An interrupted download resumes when this is run again. Existing files are neither downloaded
    again nor replaced. A zip file that was put into `folder` by hand is used and kept; a downloaded
    one is removed once it is unpacked.

    Args:
        dataset: "flickr8k" or "coco" (2014, the paper's). Flickr8k is for research use only.
        folder: Where to put it; created if absent.
        mirror: Another address that serves the same zip files side by side.
        progress: Show progress bars.

    Returns:
        The folder.

    Raises:
        ValueError: There is no such data set.
        DownloadError: It cannot be downloaded or unpacked, or a checksum does not match.
    """
    if dataset not in DATASETS:
        raise ValueError(f"no data set {dataset!r} to download, only: {', '.join(DATASETS)}")
    return fetch(DATASETS[dataset], folder, mirror, progress)


def fetch(
    archives: Sequence[Archive], folder: str | Path, mirror: str | None = None,
    progress: bool = True,
) -> Path:  # fmt: skip
    """Download and unpack zip files into a folder, as `download` does for the known data sets."""
    folder = writable_folder(folder)
    with only_one(folder), naming(folder):
        for archive in archives:
            if not all((folder / given).exists() for given in archive.gives):
                url = f"{mirror.rstrip('/')}/{archive.name}" if mirror else archive.url
                _provide(archive, url, folder, progress)
            _downloaded(archive, folder).unlink(missing_ok=True)  # also of one that was killed here
            shutil.rmtree(_unpacking(archive, folder), ignore_errors=True)
    return folder


def _downloaded(archive: Archive, folder: Path) -> Path:
    """Where a zip file is downloaded to."""
    return folder / f"{archive.name}{PART}"


def _unpacking(archive: Archive, folder: Path) -> Path:
    """Where it is unpacked, before what is wanted is renamed into place."""
    return folder / f".{archive.name}.unpacking"


def _provide(archive: Archive, url: str, folder: Path, progress: bool) -> None:
    """Unpack the user's own zip file, or else download one."""
    path, part = folder / archive.name, _downloaded(archive, folder)
    if path.exists():
        if _md5(path) != archive.md5:
            raise DownloadError(f"{path} is not the file expected: delete it and run this again")
        _unpack(path, archive, folder, progress)
    else:
        _fetch_checked(archive, url, part, progress)
        _unpack(part, archive, folder, progress)


def _fetch_checked(archive: Archive, url: str, part: Path, progress: bool) -> None:
    _transfer(url, part, progress)
    if _md5(part) != archive.md5:
        part.unlink()
        raise DownloadError(
            f"{url} gave a file whose checksum is not the expected MD5 {archive.md5}: the file was "
            "removed, run this again or name another mirror"
        )


def _md5(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _transfer(url: str, part: Path, progress: bool) -> None:
    """Download `url` into `part`, continuing what is there, and retry if the connection breaks."""
    failures = 0
    while True:
        before = part.stat().st_size if part.exists() else 0
        try:
            return _request(url, part, before, progress)
        except requests.RequestException as error:
            broken = isinstance(error, BROKEN) or getattr(error.response, "status_code", 0) >= 500
            if not broken:
                raise DownloadError(f"{url} cannot be downloaded: {error}") from error
            after = part.stat().st_size if part.exists() else 0
            failures = 0 if after > before else failures + 1
            if failures == TRIES:
                raise DownloadError(
                    f"{url} cannot be downloaded ({type(error).__name__} after {after:,} bytes): "
                    "check the network and run this again, it resumes from there"
                ) from error
        time.sleep(PAUSE)


def _request(url: str, part: Path, start: int, progress: bool) -> None:
    headers = {"Accept-Encoding": "identity"}  # the zip file's own bytes, so that counts hold
    if start:
        headers["Range"] = f"bytes={start}-"
    with requests.get(url, headers=headers, stream=True, timeout=(15, 60)) as answer:
        if start and answer.status_code == requests.codes.range_not_satisfiable:
            return  # nothing is left to download; the checksum tells whether it is right
        answer.raise_for_status()
        resumed = answer.headers.get("Content-Range", "").startswith(f"bytes {start}-")
        start = start if answer.status_code == requests.codes.partial_content and resumed else 0
        length = answer.headers.get("Content-Length")
        bar = tqdm(
            total=start + int(length) if length else None,
            initial=start,
            desc=part.stem,
            unit="B",
            unit_scale=True,
            disable=not progress,
        )
        with open(part, "ab" if start else "wb") as file, bar:
            for chunk in answer.iter_content(CHUNK):
                bar.update(file.write(chunk))
            file.flush()
            os.fsync(file.fileno())


def _unpack(path: Path, archive: Archive, folder: Path, progress: bool) -> None:
    """Unpack into a temporary folder, then rename what is wanted into place."""
    beside = _unpacking(archive, folder)
    shutil.rmtree(beside, ignore_errors=True)
    try:
        with zipfile.ZipFile(path) as pack:
            for entry in tqdm(_wanted(pack, archive), f"unpack {path.name}", disable=not progress):
                pack.extract(entry, beside / archive.into)
        for given in archive.gives:
            if not (beside / given).exists():
                raise DownloadError(f"{path} holds no {given}: delete it and name another mirror")
        if hasattr(os, "sync"):  # Windows has none
            os.sync()  # or a power failure might leave empty files under their names
        for given in archive.gives:
            if not (folder / given).exists():
                (folder / given).parent.mkdir(parents=True, exist_ok=True)
                (beside / given).replace(folder / given)
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
        raise DownloadError(f"{path} is damaged ({error}): delete it and run this again") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _wanted(pack: zipfile.ZipFile, archive: Archive) -> list[zipfile.ZipInfo]:
    """List the files to unpack; refuse a zip file with a path that leads outside its folder."""
    given = [PurePosixPath(path) for path in archive.gives]
    wanted = []
    for entry in pack.infolist():
        inner = PurePosixPath(entry.filename)
        if inner.is_absolute() or ".." in inner.parts or ":" in entry.filename:
            raise DownloadError(f"{pack.filename} points outside its folder ({inner}): delete it")
        place = archive.into / inner
        if not entry.is_dir() and any(place.is_relative_to(path) for path in given):
            wanted.append(entry)
    size, packed = sum(entry.file_size for entry in wanted), os.path.getsize(str(pack.filename))
    if size > MOST_LARGER * packed + (1 << 20):
        raise DownloadError(f"{pack.filename} would grow to {size:,} bytes: delete it")
    return wanted
