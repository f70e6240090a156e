"""An interactive figure: point at a word and see where each model looked when generating it.

It is plain HTML with its own script (``viewer.js``), so it works in JupyterLab, in the built book
and in a file, without a network. It can be used with the keyboard, and describes in words where a
model looked. If scripts do not run, an attention strip replaces it.
"""

import base64
import hashlib
import html
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
STRIP_TEXT = {"ha": "center", "va": "center", "fontsize": 9, "color": "white",
              "bbox": {"facecolor": "black", "linewidth": 0, "pad": 1}}  # fmt: skip
PLACES = (  # the thirds of a photograph's height and width
    ("upper left", "upper middle", "upper right"), ("left", "middle", "right"),
    ("lower left", "lower middle", "lower right"),
)  # fmt: skip
HINT = (
    "Point at a word, or use the arrow keys. "
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


@dataclass(frozen=True)
class Panel:
    """One picture of a viewer: for each word of a caption a map, and a sentence about it.

    Attributes:
        name: Of the panel; each sentence follows it.
        words: The T words.
        maps: (T, rows, columns), not negative.
        says: T sentences.
        about: What all sentences are about, where the whole viewer is text.
        top: The value that is drawn lightest; None takes each word's largest.
        numbers: For each word the texts that stand on the picture, each with its place: x and y as
            fractions of width and height, text.
    """

    name: str
    words: list[str]
    maps: np.ndarray
    says: list[str]
    about: str
    top: float | None = None
    numbers: Sequence[Sequence[tuple[float, float, str]]] = ()


class Viewer:
    """A picture, captions of it, and panels with a map for each word: what all viewers share.

    Args:
        photo: A file, a PIL image, or an array (H, W, 3) of uint8, in its own aspect ratio.
        words: The words of each caption, by who wrote it.
        panels: Each about one of these captions.
        label: What the viewer shows.
        alt: A short description of the picture, for those who cannot see it.
        hint: What a reader can do, and how to read the maps.
    """

    def __init__(
        self, photo: str | Path | Image.Image | np.ndarray, words: dict[str, list[str]],
        panels: Sequence[Panel], label: str, alt: str, hint: str = HINT,
    ):  # fmt: skip
        self.photo, self.words, self.panels = as_image(photo), words, panels
        self.label, self.alt, self.hint = label, alt, hint

    def __repr__(self) -> str:
        captions = ", ".join(f"{name}: {' '.join(words)}" for name, words in self.words.items())
        return f"{type(self).__name__}({captions})"

    def _repr_html_(self) -> str:
        style, script = (
            Path(__file__).with_suffix(kind).read_text(encoding="utf-8").strip()
            for kind in (".css", ".js")
        )
        data = json.dumps(self._data(), ensure_ascii=False).replace("<", "\\u003c")
        name = f"attention-{hashlib.sha256(data.encode()).hexdigest()[:12]}"
        words, strip = html.escape(self._in_words()), self._strip()
        return (
            f'<div class="attention-viewer" id="{name}">\n'
            f'<img class="dark-light" alt="{words}" src="{strip}">\n'
            f"<style>\n{style}\n</style>\n"
            f'<script>\n({script})("{name}", {data});\n</script>\n</div>'
        )

    def save(self, path: str | Path, overwrite: bool = False) -> None:
        """Write the viewer as a single, self-contained HTML file.

        Args:
            path: The file; its folder is created if absent.
            overwrite: Replace an existing file.

        Raises:
            FileExistsError: The file exists, and ``overwrite`` is False.
            OSError: It cannot be written.
        """
        outputs(path, overwrite=overwrite)
        page = PAGE.format(title=html.escape(self.label), viewer=self._repr_html_())
        with atomic_write(path, new=not overwrite) as part:
            part.write_text(page, encoding="utf-8")

    def _data(self) -> dict[str, Any]:
        """Return the data for the script; a caption that several models share is there once."""
        captions = []
        for words in self.words.values():
            if words not in captions:
                captions.append(words)
        rows = []
        for words in captions:
            names = [name for name in self.words if self.words[name] == words]
            aligned = zip(*(align(words, other) for other in captions), strict=True)
            rows.append({"who": _listed(names), "words": words, "aligned": list(aligned)})
        photo = self.photo.copy()
        photo.thumbnail((PHOTO_PIXELS, PHOTO_PIXELS))
        panels = []
        for one in self.panels:
            maps = [_light(values, photo.size, one.top) for values in one.maps]
            what = {"name": one.name, "caption": captions.index(one.words), "maps": maps}
            numbers = {"numbers": one.numbers} if one.numbers else {}
            panels.append(what | {"says": one.says} | numbers)
        texts = {"label": self.label, "alt": self.alt, "hint": self.hint}
        return texts | {"photo": _as_url(photo, 80), "captions": rows, "panels": panels}

    def _in_words(self) -> str:
        """The whole viewer as text."""
        texts = [self.alt]
        for one in self.panels:
            texts += [f"{sentence}." for sentence in (one.about, *one.says)]
        return " ".join(texts)

    def _strip(self) -> str:
        """The whole viewer as one still image."""
        strips = []
        for one in self.panels:
            drawn = io.BytesIO()
            figure = attention_strip(self.photo, one.words, one.maps, one.name, one.top)
            for axes, numbers in zip(figure.axes[1:], one.numbers, strict=False):
                for x, y, text in numbers:
                    axes.text(x, 1 - y, text, STRIP_TEXT, transform=axes.transAxes)
            figure.savefig(drawn, format="png", dpi=STRIP_DPI)
            strips.append(Image.open(drawn).convert("RGB"))
        size = (max(one.width for one in strips), sum(one.height for one in strips))
        picture, top = Image.new("RGB", size, "white"), 0
        for strip in strips:
            picture.paste(strip, (0, top))
            top += strip.height
        return _as_url(picture, 60)


class AttentionViewer(Viewer):
    """A photograph, the captions that models generated for it, and their attention maps.

    Each map is stretched over the photograph by `labkit.figures.strips.smooth`. The photograph is
    lighter where a word's weight is largest, and dark where it is zero, so compare regions within a
    word, not words with each other.

    If the captions differ, they are aligned: a word corresponds to the same word of the other
    caption, or to the word in its place. Some words correspond to none. Of a model with a
    calibration, a sentence tells how often captions like it are wrong.

    Args:
        photo: A file, a PIL image, or an array (H, W, 3) of uint8, in its own aspect ratio.
        captions: The caption of each model, by the model's name: ``{"soft": ..., "hard": ...}``.
        alt: A short description of the photograph, for those who cannot see it.

    Raises:
        ValueError: There is no caption, or a caption's numbers of maps and words differ.
        FileNotFoundError, DataError: The photograph is missing, or cannot be read.

    Example:
        >>> from importlib.resources import files
        >>> from labkit import AttentionViewer, Captioner
        >>> photo = files("skimage") / "data" / "astronaut.png"
        >>> captioner = Captioner.from_pretrained("flickr8k-soft")
        >>> viewer = AttentionViewer(photo, {"soft": captioner.caption(photo)})
        >>> viewer.save("viewer.html")
    """

    def __init__(
        self, photo: str | Path | Image.Image | np.ndarray, captions: Mapping[str, CaptionedPhoto],
        alt: str = "The picture that the caption is about.",
    ):  # fmt: skip
        if not captions:
            raise ValueError("a viewer needs captions: {'soft': captioner.caption(photo)}")
        for name, one in captions.items():
            if one.alpha.ndim != 3 or len(one.alpha) != len(one.words) or not one.words:
                found = f"{len(one.words)} words and weights of shape {one.alpha.shape}"
                raise ValueError(f"{name} needs one map (rows, columns) for each word, not {found}")
        words = {name: list(one.words) for name, one in captions.items()}
        self.alpha = {name: one.alpha.astype(np.float32).round(3) for name, one in captions.items()}
        panels = [attention_panel(name, words[name], self.alpha[name]) for name in captions]
        trust = [
            f"Of captions of {name} like this one, {one.wrong:.0%} are wrong."
            for name, one in captions.items()
            if one.wrong is not None
        ]
        hint, alt = " ".join([HINT, *trust]), " ".join([alt, *trust])
        super().__init__(photo, words, panels, f"Where {_listed(list(words))} looked", alt, hint)


def describe(weights: np.ndarray) -> str:
    """Describe an attention map: "looks mostly at the upper left, 62% of the weight there".

    The photograph is divided into thirds; a cell on a border counts in both by its parts. The place
    that holds half of the weight is named, or two places that hold half of it together.

    Args:
        weights: (rows, columns), not negative.
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


def align(one: Sequence[str], other: Sequence[str]) -> list[int | None]:
    """Align two captions: for each word of one, the index of its counterpart in the other or None.

    Equal words correspond. Between them, words in the same position do.
    """
    places: list[int | None] = [None] * len(one)
    for _, start, stop, there, end in SequenceMatcher(None, one, other, False).get_opcodes():
        for word, place in zip(range(start, stop), range(there, end), strict=False):
            places[word] = place
    return places


def attention_panel(name: str, words: list[str], alpha: np.ndarray) -> Panel:
    """The panel of a model that looked at alpha (T, rows, columns) when it wrote its T words."""
    says = [f"{word}: {describe(weights)}" for word, weights in zip(words, alpha, strict=True)]
    return Panel(name, words, alpha, says, f"Caption by {name}: {' '.join(words) or 'no words'}")


def _thirds(cells: int) -> np.ndarray:
    """Compute the share of each cell in each third, (3, cells)."""
    edges = np.arange(cells + 1) * 3 / cells  # of the cells, in thirds
    starts = np.arange(3)[:, None]
    inside = np.minimum(edges[1:], starts + 1) - np.maximum(edges[:-1], starts)
    return inside.clip(min=0) * cells / 3


def _light(weights: np.ndarray, size: tuple[int, int], top: float | None) -> str:
    """Return one map as a grey image, lightest at ``top``, or where the weight is largest."""
    scale = LIGHT_PIXELS / max(size)
    width, height = (max(8, round(side * scale)) for side in size)
    light = smooth(weights, height, width)
    light = DARKEST + (BRIGHTEST - DARKEST) * light / (top or max(float(light.max()), 1e-12))
    return _as_url(Image.fromarray((light * 255).round().astype(np.uint8)), None)


def _as_url(image: Image.Image, quality: int | None) -> str:
    """Return an image as a data URL, in WebP: a third smaller than JPEG. None is lossless."""
    drawn = io.BytesIO()
    image.save(drawn, "WEBP", quality=quality or 100, lossless=quality is None)
    return "data:image/webp;base64," + base64.b64encode(drawn.getvalue()).decode()


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
