"""Photographs: from a file of almost any kind to the square array that a network reads.

The photograph is squashed to a square, not cropped. Each cell of the network's grid then covers
the same fraction of the photograph's width and height. So a map of weights, stretched over the
photograph in its own shape, lies where the network looked.
"""

import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms, ImageOps

from labkit.data.readers import DataError

_ADDRESS = re.compile(r"([A-Za-z][A-Za-z\d+.-]+:)//?")  # `Path` makes one slash of two
_HEIF = re.compile(rb"ftyp(hei[cmsx]|hev[cmsx]|mif1|msf1)")
_ENDINGS = {
    ".avif", ".bmp", ".gif", ".heic", ".heif", ".hif", ".jfif", ".jpe", ".jpeg", ".jpg", ".jp2",
    ".png", ".ppm", ".tif", ".tiff", ".webp",
}  # fmt: skip


def photos_in(path: str | Path) -> list[Path]:
    """Name the photographs that are meant by a name: a file itself, or those in a folder.

    Args:
        path: A file, whatever its name; or a folder. Of a folder those files are taken whose name
            ends like a photograph's (.jpg, .png, .heic, ...), not those in folders within it.

    Returns:
        The file alone, or the folder's photographs by name.

    Raises:
        DataError: The name is empty or an address of the web, or the folder has no photograph.
        FileNotFoundError: There is no such file.
    """
    path = _there(path)
    if not path.is_dir():
        return [path]
    found = [p for p in path.iterdir() if p.suffix.lower() in _ENDINGS and p.name[0] != "."]
    if not found:
        raise DataError(f"{path} is a folder without photographs: name one that has some, or files")
    return sorted(p for p in found if p.is_file())


def read_photo(path: str | Path) -> Image.Image:
    """Read a photograph upright and in RGB.

    JPEG, PNG, WebP, HEIC and whatever else Pillow reads. The EXIF rotation is applied. Grey, CMYK,
    palette and 16-bit pictures become 8-bit RGB. Transparent places become white. Of an animation
    the first frame is taken.

    Args:
        path: The file; its name says nothing about its kind.

    Returns:
        The photograph in RGB, in its own size.

    Raises:
        FileNotFoundError: There is no such file.
        DataError: The file is not an image, is cut short, or is too large to be a photograph.
    """
    path = _there(path)
    if path.is_dir():
        raise DataError(f"{path} is a folder, not a file: name a photograph in it")
    if not path.is_file() or path.stat().st_size == 0:
        what = "is empty" if path.is_file() else "is not a file"
        raise DataError(f"{path} {what}: name a photograph")
    try:
        with _open(path) as image:
            image.load()
            return to_rgb(image)
    except Exception as error:  # a broken file raises a different type in almost every decoder
        what = f"{path} cannot be read as an image ({_reason(error)})"
        raise DataError(f"{what}: fetch it again, or save it as JPEG") from error


def _there(path: str | Path) -> Path:
    """See that a name is one of a file or a folder that is there."""
    name = os.fspath(path)
    if not name.strip():
        raise DataError("the name of a photograph is empty: give a file")
    if Path(name).exists():
        return Path(name)
    if _ADDRESS.match(name):
        name = _ADDRESS.sub(r"\1//", name, count=1)
        raise DataError(f"{name} is an address: save the photograph, and name the file")
    raise FileNotFoundError(f"{name} is missing: check the name, or fetch the photograph again")


def _open(path: Path) -> Image.Image:
    """Open a file with Pillow. What a phone writes, HEIC, needs a package that is loaded then."""
    with open(path, "rb") as file:
        is_heif = _HEIF.match(file.read(12), 4)
    if is_heif:
        try:
            from pillow_heif import register_heif_opener
        except ImportError as error:
            raise ValueError(
                "it is HEIC, which needs the package pillow-heif: install that"
            ) from error
        register_heif_opener()
    return Image.open(path)


def to_input(
    image: Image.Image | np.ndarray, size: int, part: Sequence[float] | None = None
) -> np.ndarray:
    """Squash a photograph to the square that a network reads, with antialiasing.

    Args:
        image: A photograph of any mode, or an array (H, W, 3) of uint8.
        size: Side of the square in pixels.
        part: Left, top, right and bottom of what to take of it, as fractions; None takes all.

    Returns:
        Array (3, size, size) of uint8.

    Raises:
        DataError: The array has another shape or type, or the pixels' range is not known.
    """
    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
            found = f"{image.shape} {image.dtype}"
            raise DataError(f"an image array must be (H, W, 3) of uint8, but this one is {found}")
        image = Image.fromarray(image)
    image = to_rgb(image)
    if part is not None:
        image = image.crop([round(x * side) for x, side in zip(part, image.size * 2, strict=True)])
    if image.size != (size, size):
        image = image.resize((size, size), Image.Resampling.BICUBIC)
    return np.asarray(image).transpose(2, 0, 1).copy()  # (3, S, S)


def to_rgb(image: Image.Image) -> Image.Image:
    """Give a picture of any mode upright, in 8-bit RGB, transparent places white.

    Raises:
        DataError: Its pixels are no colours that are known.
    """
    image = ImageOps.exif_transpose(image)
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        image = _eight_bits(image)
    elif image.mode == "LAB":
        lab, rgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        return ImageCms.profileToProfile(image, lab, rgb, outputMode="RGB")
    elif image.mode == "La":
        image = image.convert("LA")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image.convert("RGB")


def _eight_bits(image: Image.Image) -> Image.Image:
    """Scale numbers from 0 to 1, 255 or 65535, the least of these that holds them all."""
    values = np.asarray(image).astype(np.float32)
    low, high = float(values.min()), float(values.max())
    tops = (1, 255, 65535) if image.mode == "F" else (255, 65535)
    top = next((top for top in tops if high <= top), None)
    if top is None or not low >= 0:  # NaN is neither
        raise DataError(f"its pixels go from {low:g} to {high:g}, not from 0 to 1, 255 or 65535")
    return Image.fromarray((values * (255 / top)).round().astype(np.uint8))


def _reason(error: Exception) -> str:
    """Say in a few words why a file could not be read."""
    if isinstance(error, Image.UnidentifiedImageError):
        return "it is not an image of a known kind"
    if isinstance(error, PermissionError):
        return "permission denied"
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__
