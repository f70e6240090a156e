"""The figure one can point at: a word, and where each model looked before it said the word.

It is plain HTML with a script of its own (``viewer.js``), so it works in JupyterLab, in the built
book and in a file, with no network. One can walk through it with the keyboard, and it says in
words where a model looked. Where no script runs, an attention strip stands in its place.
"""

import base64
import hashlib
import html
import io
import json
from collections.abc import Mapping, Sequence
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from labkit.figures.strips import as_image, attention_strip, smooth
from labkit.files import atomic_write, outputs
from labkit.model.captioner import CaptionedPhoto

PHOTO_PIXELS = 320  # the longer side of the photograph
LIGHT_PIXELS = 64  # the longer side of a map; the page stretches it over the photograph
DARKEST, BRIGHTEST = 0.15, 0.68  # of a map; the page darkens below 0.5, and lightens above
STRIP_DPI = 64
PLACES = (
    ("upper left", "upper middle", "upper right"),
    ("left", "middle", "right"),
    ("lower left", "lower middle", "lower right"),
)  # the thirds of a photograph's height and width
HINT = (
    "Point at a word, or walk along with the arrow keys. "
    "Escape, or a click on the picture, shows the picture alone."
)
PAGE = """<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>:root {{ color-scheme: light dark; }} body {{ font-family: sans-serif; }}</style>
<main><h1>{title}</h1>
{viewer}
</main>
</html>
"""


class AttentionViewer:
    """A photograph, what models tell of it, and where each looked at each word.

    Each map is stretched over the photograph by `labkit.figures.strips.smooth`. The photograph is lighter
    where a word's weight is largest, and dark where the weight is zero: compare places within a
    word, not words with each other.

    Where the captions differ, a word goes with the same word of the other caption, or with the one
    that stands in its place. Some words go with none.

    Args:
        photo: A file, an RGB photograph, or an array (H, W, 3) of uint8, in its own shape.
        told: What each model told of it, by the model's name: ``{"soft": ..., "hard": ...}``.
        alt: What the photograph shows, in a few words, for those who cannot see it.

    Raises:
        ValueError: Nothing was told, or a caption has not as many maps as words.
        FileNotFoundError, DataError: The photograph is missing, or cannot be read.
    """

    def __init__(
        self,
        photo: str | Path | Image.Image | np.ndarray,
        told: Mapping[str, CaptionedPhoto],
        alt: str = "The picture that the caption is about.",
    ):
        if not told:
            raise ValueError("a viewer needs what a model told: {'soft': captioner.tell(photo)}")
        for name, one in told.items():
            if one.alpha.ndim != 3 or len(one.alpha) != len(one.words) or not one.words:
                found = f"{len(one.words)} words and weights of shape {one.alpha.shape}"
                raise ValueError(f"{name} needs one map (rows, columns) for each word, not {found}")
        self.photo, self.alt = as_image(photo), alt
        self.words = {name: list(one.words) for name, one in told.items()}
        self.alpha = {name: one.alpha.astype(np.float32).round(3) for name, one in told.items()}

    def __repr__(self) -> str:
        told = ", ".join(f"{name}: {' '.join(words)}" for name, words in self.words.items())
        return f"AttentionViewer({told})"

    def _repr_html_(self) -> str:
        look, script = (
            Path(__file__).with_suffix(kind).read_text(encoding="utf-8").strip()
            for kind in (".css", ".js")
        )
        data = json.dumps(self._data(), ensure_ascii=False).replace("<", "\\u003c")
        name = f"attention-{hashlib.sha256(data.encode()).hexdigest()[:12]}"
        words, strip = html.escape(self._in_words()), self._strip()
        return (
            f'<div class="attention-viewer" id="{name}">\n'
            f'<img class="dark-light" alt="{words}" src="{strip}">\n'
            f"<style>\n{look}\n</style>\n"
            f'<script>\n({script})("{name}", {data});\n</script>\n</div>'
        )

    def save(self, path: str | Path, overwrite: bool = False) -> None:
        """Write the viewer as a page of its own, one file that needs no other.

        Args:
            path: the file; its folder is made if absent.
            overwrite: replace the file, if it is there.

        Raises:
            FileExistsError: it is there, and ``overwrite`` is False.
            OSError: it cannot be written.
        """
        outputs(path, overwrite=overwrite)
        title = f"Where {_listed(list(self.words))} looked"
        page = PAGE.format(title=html.escape(title), viewer=self._repr_html_())
        with atomic_write(path, new=not overwrite) as part:
            part.write_text(page, encoding="utf-8")

    def _data(self) -> dict[str, Any]:
        """All that the script shows; a caption that several models tell is there once."""
        captions = []
        for words in self.words.values():
            if words not in captions:
                captions.append(words)
        rows = []
        for words in captions:
            names = [name for name in self.words if self.words[name] == words]
            meet = zip(*(partners(words, other) for other in captions), strict=True)
            who = f"{_listed(names)} {'tell' if len(names) > 1 else 'tells'}"
            rows.append({"who": who, "words": words, "meet": list(meet)})
        photo = self.photo.copy()
        photo.thumbnail((PHOTO_PIXELS, PHOTO_PIXELS))
        panels = [
            {
                "name": name,
                "caption": captions.index(words),
                "maps": [_light(weights, photo.size) for weights in self.alpha[name]],
                "says": _sentences(words, self.alpha[name]),
            }
            for name, words in self.words.items()
        ]
        label = f"Where {_listed(list(self.words))} looked"
        texts = {"label": label, "alt": self.alt, "hint": HINT}
        return texts | {"photo": _as_url(photo, 80), "captions": rows, "panels": panels}

    def _in_words(self) -> str:
        """The whole viewer as text."""
        told = [
            f"{name} tells: {' '.join(words)}. {'. '.join(_sentences(words, self.alpha[name]))}."
            for name, words in self.words.items()
        ]
        return " ".join([self.alt, *told])

    def _strip(self) -> str:
        """The whole viewer as one still picture."""
        strips = []
        for name, words in self.words.items():
            drawn = io.BytesIO()
            figure = attention_strip(self.photo, words, self.alpha[name], title=name)
            figure.savefig(drawn, format="png", dpi=STRIP_DPI)
            strips.append(Image.open(drawn).convert("RGB"))
        size = (max(one.width for one in strips), sum(one.height for one in strips))
        picture, top = Image.new("RGB", size, "white"), 0
        for one in strips:
            picture.paste(one, (0, top))
            top += one.height
        return _as_url(picture, 60)


def describe(weights: np.ndarray) -> str:
    """Say in words where a map looks: "looks mostly at the upper left, 62% of the weight there".

    The photograph is cut in thirds, a cell on a cut counts in both by its parts. A place that holds
    half of the weight is named, or two places that hold half together.

    Args:
        weights: (rows, columns), none below zero.
    """
    total = float(weights.sum())
    if total <= 0:
        return "looks nowhere"
    rows, columns = weights.shape
    shares = (_thirds(rows) @ weights @ _thirds(columns).T / total).ravel()  # (9,)
    names = [name for row in PLACES for name in row]
    first, second = (int(place) for place in np.argsort(-shares, kind="stable")[:2])
    if shares[first] >= 0.5:
        how = "only" if shares[first] > 0.99 else "mostly"
        return f"looks {how} at the {names[first]}, {shares[first]:.0%} of the weight there"
    both = shares[first] + shares[second]
    if both >= 0.5:
        where = f"the {names[first]} and the {names[second]}"
        return f"looks mostly at {where}, {both:.0%} of the weight there"
    where = f"most at the {names[first]}, {shares[first]:.0%} of the weight there"
    return f"looks all over the picture, {where}"


def partners(one: Sequence[str], other: Sequence[str]) -> list[int | None]:
    """For each word of one caption: the place in the other caption of the word that goes with it.

    Equal words go together. Between them, words that stand in each other's place do.
    """
    places: list[int | None] = [None] * len(one)
    for _, start, stop, there, end in SequenceMatcher(None, one, other, False).get_opcodes():
        for word, place in zip(range(start, stop), range(there, end), strict=False):
            places[word] = place
    return places


def _sentences(words: Sequence[str], alpha: np.ndarray) -> list[str]:
    return [f"{word}: {describe(weights)}" for word, weights in zip(words, alpha, strict=True)]


def _thirds(cells: int) -> np.ndarray:
    """How much of each cell lies in each third, (3, cells)."""
    edges = np.arange(cells + 1) * 3 / cells  # of the cells, counted in thirds
    starts = np.arange(3)[:, None]
    inside = np.minimum(edges[1:], starts + 1) - np.maximum(edges[:-1], starts)
    return inside.clip(min=0) * cells / 3


def _light(weights: np.ndarray, size: tuple[int, int]) -> str:
    """One map as a grey picture, brightest where the weight is largest."""
    scale = LIGHT_PIXELS / max(size)
    width, height = (max(8, round(side * scale)) for side in size)
    light = smooth(weights, height, width)
    light = DARKEST + (BRIGHTEST - DARKEST) * light / max(float(light.max()), 1e-12)
    return _as_url(Image.fromarray((light * 255).round().astype(np.uint8)), None)


def _as_url(image: Image.Image, quality: int | None) -> str:
    """An image inside an address, as WebP: a third smaller than as JPEG. None keeps all of it."""
    drawn = io.BytesIO()
    image.save(drawn, "WEBP", quality=quality or 100, lossless=quality is None)
    return "data:image/webp;base64," + base64.b64encode(drawn.getvalue()).decode()


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
