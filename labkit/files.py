"""Files that are complete or absent, folders that one process writes, and memory that is kept."""

import ctypes
import errno
import gc
import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import chain, count
from pathlib import Path
from typing import Any

LOCK = ".labkit-lock"
LONGEST_NAME = 255  # bytes that a file's name may have on nearly all disks
UNWRITABLE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM,
              errno.EIO}  # fmt: skip
LARGEST = 64 << 20  # bytes of a file that labkit writes for itself, such as config.json


@contextmanager
def atomic_write(path: str | Path, new: bool = False) -> Iterator[Path]:
    """Write a file under another name in the same folder, and rename it when it is complete.

    Whoever reads ``path`` sees the old file or the new one, never a part of it, even after a kill
    or a power failure. If the block raises, the old file stays and the part is removed.

    Args:
        path: the file.
        new: never replace an existing file.

    Yields:
        The path to write to. It ends like ``path``, since some writers go by the ending.

    Raises:
        FileExistsError: there is such a file, and ``new`` is set.
        OSError: it could not be written; the message names it.
    """
    path = Path(path)
    number = int.from_bytes(os.urandom(6))  # two machines that share a disk have the same pids
    part = path.with_name(f".part-{number}-{path.name[-50:]}")  # no name may be too long
    with naming(path):
        try:
            yield part
            _to_disk(part)
            if new:
                _take_name(part, path)
            else:
                os.replace(part, path)
            _to_disk(path.parent)  # the folder's entry
        finally:
            with suppress(OSError):  # where nothing may be written, nothing can be removed
                part.unlink(missing_ok=True)


@contextmanager
def naming(path: str | Path) -> Iterator[None]:
    """Name what could not be written: the system's message names nothing, or a part of it."""
    try:
        yield
    except OSError as error:
        elsewhere = error.filename and ".part-" not in str(error.filename)
        if error.errno not in UNWRITABLE or elsewhere:
            raise
        reason = os.strerror(error.errno)
        raise OSError(error.errno, f"{path} not written: {reason}") from error


def _take_name(part: Path, path: Path) -> None:
    """Give a file another name, which no file may have, in one step where the disk has links."""
    try:
        os.link(part, path)
    except FileExistsError:
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from None
    except OSError:  # an empty file takes the name
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        os.replace(part, path)


def outputs(
    *paths: str | Path | None, overwrite: bool = False, inputs: Iterable[str | Path | None] = ()
) -> None:
    """Check, before the work, that these files can be written; make their folders.

    Args:
        paths: the files that will be written; None stands for one that was not requested.
        overwrite: existing files may be replaced.
        inputs: files and folders that the command reads; no file of theirs is ever replaced.

    Raises:
        FileExistsError: a file exists, and ``overwrite`` is not set; or it is an input.
        OSError: a folder cannot be made or written to.
        ValueError: two outputs have the same name.
    """
    wanted = [Path(path) for path in paths if path is not None]
    if len({path.resolve() for path in wanted}) < len(wanted):
        raise ValueError(f"{wanted[0]} is asked for twice: give each output its own name")
    for path in wanted:
        if path.is_dir():
            raise IsADirectoryError(f"{path} is a folder: name a file in it")
        if os.path.lexists(path) and not (overwrite and path.is_file()):
            raise FileExistsError(f"{path} exists: name another file, or add --overwrite")
        for source in (Path(one).resolve() for one in inputs if one is not None):
            if path.exists() and path.resolve().is_relative_to(source):
                raise FileExistsError(f"{path} is read by this command: name another file")
        writable_folder(path.parent)


def writable_folder(folder: str | Path) -> Path:
    """Make a folder, and check that it can be written to.

    Raises:
        OSError: it cannot be; the message names it.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise NotADirectoryError(f"{folder} is no folder: name another") from None
    except OSError as error:
        raise OSError(error.errno, f"{folder} cannot be made: {error.strerror}") from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(f"{folder} cannot be written to: name another folder")
    return folder


def own_folder(folder: str | Path, *marks: str) -> Path:
    """Make a folder to write many files into, or check that labkit may write there.

    Args:
        folder: absent, empty except for hidden files, or made by an earlier call.
        marks: files of which labkit leaves at least one, and nobody else does. Hidden ones are made
            here, so that the next call finds them.

    Raises:
        FileExistsError: it holds other files, which might be overwritten.
        OSError: it cannot be made or written to.
    """
    folder = writable_folder(folder)
    ours = any((folder / mark).exists() for mark in marks)
    if not ours and any(path.name[0] != "." for path in folder.iterdir()):
        raise FileExistsError(f"{folder} holds files that are not labkit's: name a new folder")
    for mark in marks:
        if mark[0] == ".":
            (folder / mark).touch()
    return folder


@contextmanager
def only_one(folder: str | Path) -> Iterator[None]:
    """Keep other processes out of a folder that this one writes, until the block ends.

    The lock is the system's: it ends with the process, however that ends. We wait a second for it,
    since processes forked by one that was killed take a moment to end.

    Raises:
        FileExistsError: another process, or another part of this one, is writing it.
    """
    import filelock  # slow to import, and few commands write into a folder

    lock = filelock.FileLock(Path(folder) / LOCK, timeout=1, thread_local=False)
    try:
        lock.acquire()
    except filelock.Timeout:
        raise FileExistsError(
            f"{folder} is being written by another process: wait for it, or name another folder"
        ) from None
    try:
        yield
    finally:
        lock.release()


def free_name(folder: str | Path, stem: str, suffix: str) -> Path:
    """Find a name that no file has yet: STEM.png, else STEM-2.png, STEM-3.png, ...

    A stem that is too long for a file name is cut.
    """
    ends = (f"{end}{suffix}" for end in chain([""], (f"-{number}" for number in count(2))))
    tried = (Path(folder) / f"{_cut(stem, LONGEST_NAME - len(end))}{end}" for end in ends)
    return next(path for path in tried if not os.path.lexists(path))


def _cut(name: str, size: int) -> str:
    """The name in at most ``size`` bytes; a letter of several bytes is not cut in two."""
    code = os.fsencode(name)
    return name if len(code) <= size else code[:size].decode(errors="ignore")


def write_new(folder: str | Path, stem: str, suffix: str, content: bytes) -> Path:
    """Write a file under the first name of `free_name` that no other process takes first."""
    while True:
        path = free_name(folder, stem, suffix)
        try:
            with atomic_write(path, new=True) as part:
                part.write_bytes(content)
        except FileExistsError:
            continue
        return path


def _to_disk(path: Path) -> None:
    folder = path.is_dir()
    if folder and os.name == "nt":
        return  # Windows cannot open folders, and writes their entries itself
    handle = os.open(path, os.O_RDONLY if folder else os.O_RDWR)  # for Windows
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_json(path: str | Path, value: Any, new: bool = False) -> None:
    """Write ``value`` as JSON with `atomic_write`. A lone surrogate is written as its escape."""
    text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    with atomic_write(path, new) as part:
        part.write_bytes(text.encode("utf-8", "backslashreplace"))  # which is also JSON's escape


def read_bytes(path: str | Path, limit: int = LARGEST) -> bytes:
    """Read a file whole, after a look at what it is: a pipe would block, a device never end.

    Raises:
        FileNotFoundError: there is no such file.
        OSError: it cannot be read.
        ValueError: it is a folder, a pipe or a device, or larger than ``limit`` bytes.
    """
    path = regular(path)
    with open(path, "rb") as file:
        content = file.read(min(path.stat().st_size, limit) + 1)  # it may grow meanwhile
    if len(content) > limit:
        raise ValueError(f"{path} is larger than {limit >> 20:,} MiB, so it is no such file")
    return content


def regular(path: str | Path) -> Path:
    """Check that a path is a file with an end; raise as `read_bytes`."""
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"there is no file {path}")
    if not path.is_file():
        raise ValueError(f"{path} is a folder, a pipe or a device: name a file")
    return path


def read_json(path: str | Path) -> Any:
    """Read a JSON file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not JSON, or see `read_bytes`.
    """
    content = read_bytes(path)
    try:
        return json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged, it is not JSON: {error}") from error


def sha256(path: Path) -> str:
    """Compute the SHA-256 of a file, as hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fingerprint(content: Any) -> str:
    """Compute the SHA-256 of anything JSON-able, as hexadecimal digits."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def keep_freed_memory() -> None:
    """Ask the C library to keep freed memory for the next tensor.

    Otherwise each tensor of some megabytes is requested from the system, which first fills it with
    zeros: on a CPU that takes several times longer than the arithmetic on it. The call halves the
    time of a training step. Only glibc has it; elsewhere nothing happens.
    """
    with suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(-3, 32 << 20)  # M_MMAP_THRESHOLD: blocks up to 32 MiB come from the heap,
        libc.mallopt(-1, (1 << 31) - 1)  # M_TRIM_THRESHOLD: and the heap is not given back


@contextmanager
def no_garbage_collection() -> Iterator[None]:
    """Pause Python's search for cycles of objects while a block makes many that stay.

    The search passes over all of them again and again, and finds nothing: of the time to open a
    store of a million images it took two thirds.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
