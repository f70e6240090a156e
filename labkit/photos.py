"""Photographs: from a file of almost any kind to the square array that a network reads.

The photograph is squashed to a square, not cropped. Each cell of the network's grid then covers
the same fraction of the photograph's width and height. So a map of weights, stretched over the
photograph in its own shape, lies where the network looked.
"""

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from labkit.captions import DataError

# Pillow warns above 89 million pixels and refuses twice that. The refusal is enough.
warnings.simplefilter("ignore", Image.DecompressionBombWarning)


def read_photo(path: str | Path) -> Image.Image:
    """Read a photograph upright and in RGB.

    The EXIF rotation is applied. Grey, CMYK, palette and 16-bit pictures become 8-bit RGB.
    Transparent places become white. Of an animation the first frame is taken.

    Args:
        path: The file; its name says nothing about its kind.

    Returns:
        The photograph in RGB, in its own size.

    Raises:
        FileNotFoundError: There is no such file.
        DataError: The file is not an image, is cut short, or is too large to be a photograph.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing: check the name, or fetch the photograph again")
    if not path.is_file() or path.stat().st_size == 0:
        what = "is empty" if path.is_file() else "is not a file"
        raise DataError(f"{path} {what}: replace it with the photograph, or remove it")
    try:
        with Image.open(path) as image:
            image.load()
            return _to_rgb(ImageOps.exif_transpose(image))
    except Exception as error:  # a broken file raises a different type in almost every decoder
        reason = _reason(error)
        raise DataError(f"{path} cannot be read as an image ({reason}): replace it") from error


def to_input(
    image: Image.Image | np.ndarray, size: int, part: Sequence[float] | None = None
) -> np.ndarray:
    """Squash a photograph to the square that a network reads, with antialiasing.

    Args:
        image: An RGB photograph, or an array (H, W, 3) of uint8.
        size: Side of the square in pixels.
        part: Left, top, right and bottom of what to take of it, as fractions; None takes all.

    Returns:
        Array (3, size, size) of uint8.

    Raises:
        DataError: The array has another shape or type.
    """
    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
            found = f"{image.shape} {image.dtype}"
            raise DataError(f"an image array must be (H, W, 3) of uint8, but this one is {found}")
        image = Image.fromarray(image)
    if part is not None:
        image = image.crop([round(x * side) for x, side in zip(part, image.size * 2, strict=True)])
    if image.size != (size, size):
        image = image.resize((size, size), Image.Resampling.BICUBIC)
    return np.asarray(image).transpose(2, 0, 1).copy()  # (3, S, S)


def _to_rgb(image: Image.Image) -> Image.Image:
    """Give any picture as 8-bit RGB, transparent places white."""
    if image.mode == "I" or image.mode.startswith("I;16"):
        values = np.asarray(image).astype(np.float32) / 257  # 65535 / 257 = 255
        image = Image.fromarray(values.round().clip(0, 255).astype(np.uint8))
    elif image.mode == "F":
        raise ValueError("its pixels are floating-point numbers of unknown range")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image.convert("RGB")


def _reason(error: Exception) -> str:
    """Say in a few words why a file could not be read."""
    if isinstance(error, Image.UnidentifiedImageError):
        return "it is not an image of a known kind"
    if isinstance(error, PermissionError):
        return "permission denied"
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__
