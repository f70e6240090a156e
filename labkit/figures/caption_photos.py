"""Caption photographs: captions on standard output, and an attention strip of each as a file."""

import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from labkit.console import complain, printable, say
from labkit.data.photos import photos_in, read_photo
from labkit.figures.strips import attention_strip
from labkit.files import writable_folder, write_new
from labkit.model.captioner import Captioner
from labkit.model.config import GenerationConfig

FAST: Any = {"pil_kwargs": {"compress_level": 1}}  # faster than 6, a seventh larger


def caption_photos(
    run: str | Path, photos: Sequence[str | Path], out: str | Path,
    config: GenerationConfig | None = None, suppress: Sequence[str] = (), **overrides: Any,
) -> list[str]:  # fmt: skip
    """Caption photographs: print each caption, and save its attention strip.

    Of a model with a calibration, a third column shows how often captions like it are wrong.

    A strip is named after its photograph. No file is overwritten: if the name is taken, even by an
    earlier call, the strip is called NAME-2.png, NAME-3.png, ..., and a line on standard error says
    so. A line there also names each photograph that cannot be read; the others are captioned.

    Args:
        run: The run's folder, or the name of a model that comes with the package.
        photos: Files, or folders of photographs.
        out: The folder for the strips; created if absent.
        config: How to generate captions; None uses the model's own configuration.
        suppress: Words that are not to be generated.
        overrides: Fields of `GenerationConfig` to change, such as ``num_beams=3``; None changes
            nothing.

    Returns:
        The files that could not be read.

    Raises:
        FileNotFoundError, ValueError: There is no such model, one of its files is damaged, or an
            override is unknown or out of range, or the vocabulary has no such word.
        OSError: ``out`` cannot be written to.
    """
    out, captioner = writable_folder(out), Captioner.from_pretrained(run)
    unread: list[str] = []
    config = (config or captioner.generation).updated(overrides)
    for photo in _named(photos, unread):
        try:
            image = read_photo(photo)
        except (OSError, ValueError) as error:
            complain(error)
            unread.append(str(photo))
            continue
        caption = captioner.caption(image, config, suppress)
        texts = [str(photo), caption.text]
        texts += [] if caption.wrong is None else [f"wrong {caption.wrong:.0%}"]
        say("\t".join(printable(text, "") for text in texts), flush=True)
        strip = io.BytesIO()
        attention_strip(image, caption.words, caption.alpha).savefig(strip, **FAST)
        path = write_new(out, photo.stem, ".png", strip.getvalue())
        if path.stem != photo.stem:
            complain(f"the picture of {photo} is {path}, since {photo.stem}.png is not available")
    return unread


def _named(names: Sequence[str | Path], unread: list[str]) -> Iterator[Path]:
    """Yield the photographs that the names stand for; collect names that stand for none."""
    for name in names:
        try:
            yield from photos_in(name)
        except (OSError, ValueError) as error:
            complain(error)
            unread.append(str(name))
