"""Photographs: from almost any image file to the square array that a network takes.

The photograph is squashed to a square, not cropped. Each cell of the network's grid then covers
the same fraction of the photograph's width and height. So an attention map, stretched over the
photograph in its own aspect ratio, lies where the network looked.
"""

import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageCms, ImageOps, UnidentifiedImageError

from labkit.data.readers import DataError

_ADDRESS = re.compile(r"([A-Za-z][A-Za-z\d+.-]+:)//?")  # `Path` makes one slash of two
_HEIF = re.compile(rb"ftyp(hei[cmsx]|hev[cmsx]|mif1|msf1)")
_ENDINGS = {
    ".avif", ".bmp", ".gif", ".heic", ".heif", ".hif", ".jfif", ".jpe", ".jpeg", ".jpg", ".jp2",
    ".png", ".ppm", ".tif", ".tiff", ".webp",
}  # fmt: skip


FORMATS = (
    "JPEG", "PNG", "WEBP", "AVIF", "HEIF", "GIF", "TIFF", "BMP", "DIB", "JPEG2000", "PPM",
    "TGA", "ICO", "PCX", "SGI", "PSD", "QOI",
)  # fmt: skip
"""What Pillow reads by itself. Not EPS and WMF, for which it starts another program."""
LARGEST = 1 << 30  # bytes
BAND = 512  # rows


def photos_in(path: str | Path) -> list[Path]:
    """List the photographs that a path stands for: the file itself, or those in a folder.

    Args:
        path: A file, whatever its name; or a folder, which stands for the files in it with a
            photograph's extension (.jpg, .png, .heic, ...). Folders within it are not searched.

    Returns:
        The file alone, or the folder's photographs sorted by name.

    Raises:
        DataError: The path is empty or a web address, or the folder has no photographs.
        FileNotFoundError: There is no such file.
    """
    path = _there(path)
    if not path.is_dir():
        return [path]
    named = (p for p in path.iterdir() if p.suffix.lower() in _ENDINGS and p.name[0] != ".")
    found = sorted(p for p in named if p.is_file())
    if not found:
        raise DataError(f"{path} is a folder without photographs: name one that has some, or files")
    return found


def read_photo(path: str | Path) -> Image.Image:
    """Read a photograph upright and in RGB.

    It reads JPEG, PNG, WebP, HEIC and the other `FORMATS`. The EXIF rotation is applied. Grey,
    CMYK, palette and 16-bit images become 8-bit RGB. Transparent pixels become white. Of an
    animation, the first frame is used.

    Args:
        path: The file; its name does not matter.

    Returns:
        The photograph in RGB, at its own size.

    Raises:
        FileNotFoundError: There is no such file.
        DataError: The file is not an image, is truncated, or is too large to be a photograph.
    """
    path = _there(path)
    if path.is_dir():
        raise DataError(f"{path} is a folder, not a file: name a photograph in it")
    if not path.is_file() or not 0 < path.stat().st_size <= LARGEST:
        what = "is empty or larger than 1 GiB" if path.is_file() else "is not a file"
        raise DataError(f"{path} {what}: name a photograph")
    try:
        with _open(path) as image:
            image.load()
            return to_rgb(image)
    except Exception as error:  # almost every decoder raises another type for a broken file
        raise DataError(
            f"{path} cannot be read as an image ({_reason(error)}): download it again, or save it "
            "as JPEG"
        ) from error


def _there(path: str | Path) -> Path:
    """Check that a file or a folder of this name exists."""
    name = os.fspath(path)
    if not name.strip():
        raise DataError("the name of a photograph is empty: give a file")
    if Path(name).exists():
        return Path(name)
    if _ADDRESS.match(name):
        name = _ADDRESS.sub(r"\1//", name, count=1)
        raise DataError(f"{name} is a web address: save the photograph, and name the file")
    raise FileNotFoundError(f"{name} is missing: check the name, or download the photograph again")


def _open(path: Path) -> Image.Image:
    """Open a file with Pillow. HEIC, which phones write, needs another package, imported here."""
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
    Image.init()  # or else Pillow does not know all of its formats
    return Image.open(path, formats=[one for one in FORMATS if one in Image.OPEN])


def to_input(
    image: Image.Image | np.ndarray, size: int, crop: Sequence[float] | None = None
) -> np.ndarray:
    """Squash a photograph to the square that a network takes, with antialiasing.

    Args:
        image: A photograph of any mode, or an array (H, W, 3) of uint8.
        size: Side S of the square, in pixels.
        crop: Left, top, right and bottom of the part to use, as fractions; None uses all of it.

    Returns:
        Array (3, S, S) of uint8.

    Raises:
        DataError: The array has another shape or type, or the range of its pixels is unknown.
    """
    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
            found = f"{image.shape} {image.dtype}"
            raise DataError(f"an image array must be (H, W, 3) of uint8, but this one is {found}")
        image = Image.fromarray(image)
    image = to_rgb(image)
    if crop is not None:
        left, top, right, bottom = (round(x * n) for x, n in zip(crop, image.size * 2, strict=True))
        image = image.crop((left, top, right, bottom))
    # First across, then down. In one call Pillow 13 begins with the height of a tall photograph,
    # and older versions do not, which gives other pixels.
    image = image.resize((size, image.height), Image.Resampling.BICUBIC)
    image = image.resize((size, size), Image.Resampling.BICUBIC)
    return np.asarray(image).transpose(2, 0, 1).copy()  # (3, S, S)


def to_rgb(image: Image.Image) -> Image.Image:
    """Return an image of any mode upright, in 8-bit RGB, with transparent pixels white.

    One that is so already is returned itself: a copy of a large photograph takes much memory.

    Raises:
        DataError: The range of its pixels is unknown.
    """
    if image.getexif().get(ExifTags.Base.Orientation, 1) != 1:  # or else it would be a copy
        image = ImageOps.exif_transpose(image)
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        image = _eight_bits(image)
    elif image.mode == "LAB":
        lab, rgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        image = ImageCms.profileToProfile(image, lab, rgb, outputMode="RGB") or image
    elif image.mode == "La":
        image = image.convert("LA")
    if image.has_transparency_data:
        return _on_white(image)
    return image if image.mode == "RGB" else image.convert("RGB")


def _on_white(image: Image.Image) -> Image.Image:
    """Put an image with transparency on white, in bands, since copies of all of it are large."""
    opaque = Image.new("RGB", image.size)
    for top in range(0, image.height, BAND):
        band = image.crop((0, top, image.width, min(top + BAND, image.height))).convert("RGBA")
        white = Image.new("RGBA", band.size, "white")
        opaque.paste(Image.alpha_composite(white, band).convert("RGB"), (0, top))
    return opaque


def _eight_bits(image: Image.Image) -> Image.Image:
    """Scale to 8 bits from the smallest of the ranges up to 1, 255 and 65535 that fits."""
    values = np.asarray(image).astype(np.float32)
    low, high = float(values.min()), float(values.max())
    tops = (1, 255, 65535) if image.mode == "F" else (255, 65535)
    top = next((top for top in tops if high <= top), None)
    if top is None or not low >= 0:  # NaN is neither
        raise DataError(f"its pixels range from {low:g} to {high:g}, not from 0 to 1, 255 or 65535")
    return Image.fromarray((values * (255 / top)).round().astype(np.uint8))


def _reason(error: Exception) -> str:
    """Explain in a few words why a file could not be read."""
    if isinstance(error, UnidentifiedImageError):
        return "it is not an image in a known format"
    if isinstance(error, PermissionError):
        return "permission denied"
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__
