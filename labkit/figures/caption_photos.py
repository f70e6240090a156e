"""Photographs to captions on the standard output, and to pictures of where each word looked."""

import io
from collections.abc import Iterator, Sequence
from pathlib import Path

from labkit.console import complain
from labkit.data.photos import photos_in, read_photo
from labkit.figures.strips import attention_strip
from labkit.files import writable_folder, write_new
from labkit.model.captioner import load
from labkit.model.generation import GenerationConfig


def caption_photos(
    run: str | Path, photos: Sequence[str | Path], out: str | Path,
    decoding: GenerationConfig | None = None,
) -> list[str]:  # fmt: skip
    """Caption photographs: print each caption, draw where each word looked.

    A picture is named like its photograph. No file is overwritten: where one has that name, be it
    of an earlier call, the picture is called NAME-2.png, NAME-3.png, ..., and a line on standard
    error says so. A line there also names each photograph that cannot be read; the rest follow.

    Args:
        run: the model's folder, or the name of one that comes with the package.
        photos: files.
        out: folder for the pictures; made if absent.
        decoding: how captions are told; by default as the model was trained to tell.

    Returns:
        The files that could not be read.

    Raises:
        FileNotFoundError, ValueError: there is no such model, or a file of it is damaged.
        OSError: ``out`` cannot be written to.
    """
    out, captioner, wrong = writable_folder(out), load(run), []
    for photo in _named(photos, wrong):
        try:
            image = read_photo(photo)
        except (OSError, ValueError) as error:
            complain(error)
            wrong.append(str(photo))
            continue
        told = captioner.tell(image, decoding)
        print(f"{photo}\t{told.text}", flush=True)
        picture = io.BytesIO()
        attention_strip(image, told.words, told.alpha).savefig(picture)
        path = write_new(out, photo.stem, ".png", picture.getvalue())
        if path.stem != photo.stem:
            complain(f"the picture of {photo} is {path}, since {photo.stem}.png could not be taken")
    return wrong


def _named(names: Sequence[str | Path], wrong: list[str]) -> Iterator[Path]:
    """Return the photographs that the names mean; note a name that means none."""
    for name in names:
        try:
            yield from photos_in(name)
        except (OSError, ValueError) as error:
            complain(error)
            wrong.append(str(name))
