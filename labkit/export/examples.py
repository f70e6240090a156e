"""Six examples for the page of exported models, and what the page says that they cannot do.

They are written when a page is exported: photographs that come with Python packages and may be
passed on, or drawn scenes for models that know nothing else. One of the six is a known failure.
"""

import base64
import io
import json
from collections.abc import Sequence
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import matplotlib
from PIL import Image, ImageDraw

from labkit.data.photos import read_photo
from labkit.data.scenes import draw, make_scenes, things_of
from labkit.evaluation.scene_probes import knows_only_scenes
from labkit.model.captioner import Captioner

PIXELS = 512  # the longer side of a photograph
SCENE_PIXELS = 448
COUNT = 6
NASA = "the astronaut by NASA, in the public domain"
PHOTOGRAPHS = [  # file of scikit-image or matplotlib, text in its place, credit
    ("astronaut.png", "The portrait of an astronaut.", NASA),
    ("camera.png", "A man with a camera on a tripod.", "the photographer by Lav Varshney, CC0"),
    ("grace_hopper.jpg", "The portrait of Grace Hopper in uniform.",
     "Grace Hopper by the US Navy, in the public domain"),
    ("rocket.jpg", "A rocket rises at dusk.", "the rocket by SpaceX, in the public domain"),
    ("chelsea.png", "The face of a cat.", "the cat by Stefan van der Walt, CC0"),
    ("coffee.png", "A cup of coffee on a wooden table.", "the cup by Rachel Michetti, CC0"),
]  # fmt: skip
NOTES = {
    "coffee.png": "A failure to expect: there is a cup on a table, and neither a person nor an "
    "animal. A model that has seen few cups names what it knows best. Models trained on Flickr8k "
    "see a dog here.",
    "drawing": "A failure to expect: the model learned from photographs, and this is a drawing.",
    "pentagon": "A failure to expect: neither pink nor a pentagon is among the words of a model of "
    "drawn scenes, and it never says that it does not know. It names another colour and another "
    "shape.",
}


def examples_script(captioners: Sequence[Captioner]) -> str:
    """Write the script that gives a page its examples, and says what its models cannot do.

    Args:
        captioners: The models of the page.

    Returns:
        JavaScript that sets ``labkit.examples``, a list of {src, alt, credit, note}, and
        ``labkit.limits``, a list of sentences. Photographs are there as data URLs: a page opened
        from a file can read no others.
    """
    scenes = all(map(knows_only_scenes, captioners))
    found = [] if scenes else _photographs()
    examples = found + (_scenes() if scenes else _drawings(COUNT - len(found)))
    facts = {"examples": examples, "limits": _limits(captioners, scenes)}
    lines = [f"labkit.{name} = {json.dumps(value, indent=1)};" for name, value in facts.items()]
    return "window.labkit = window.labkit || {};\n" + "\n".join(lines) + "\n"


def example_photo(name: str) -> Path | None:
    """Return the file of one of `PHOTOGRAPHS`, or None if its package is not installed."""
    places = [Path(matplotlib.get_data_path()) / "sample_data"]
    if find_spec("skimage"):
        places.append(Path(str(files("skimage") / "data")))
    return next((folder / name for folder in places if (folder / name).is_file()), None)


def _photographs() -> list[dict[str, Any]]:
    examples = []
    for name, alt, credit in PHOTOGRAPHS:
        if path := example_photo(name):
            photo, file = read_photo(path), io.BytesIO()
            photo.thumbnail((PIXELS, PIXELS))
            photo.save(file, "JPEG", quality=85)
            src = _as_url("jpeg", file)
            examples.append({"src": src, "alt": alt, "credit": credit, "note": NOTES.get(name, "")})
    return examples


def _scenes() -> list[dict[str, Any]]:
    """Draw scenes, and last one that no model of scenes has words for."""
    return [*_drawings(COUNT - 1, ""), _drawn(_pentagon(), "A pink pentagon.", NOTES["pentagon"])]


def _drawings(count: int, note: str = NOTES["drawing"]) -> list[dict[str, Any]]:
    examples = []
    for scene in make_scenes(count, seed=30, split="test"):
        picture = Image.fromarray(draw(things_of(scene.facts), pixels=SCENE_PIXELS))
        examples.append(_drawn(picture, f"A drawn scene: {scene.captions[0]}.", note))
    return examples


def _drawn(picture: Image.Image, alt: str, note: str) -> dict[str, Any]:
    file = io.BytesIO()
    picture.save(file, "PNG")
    return {"src": _as_url("png", file), "alt": alt, "credit": "", "note": note}


def _pentagon() -> Image.Image:
    picture = Image.new("RGB", (SCENE_PIXELS, SCENE_PIXELS), (128, 128, 128))
    circle = (SCENE_PIXELS / 2, SCENE_PIXELS / 2, SCENE_PIXELS / 4)
    ImageDraw.Draw(picture).regular_polygon(circle, 5, fill=(250, 150, 200))
    return picture


def _as_url(kind: str, file: io.BytesIO) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"


def _limits(captioners: Sequence[Captioner], scenes: bool) -> list[str]:
    """What these models cannot do, in sentences."""
    counts = sorted({len(captioner.vocabulary.words) - 4 for captioner in captioners})
    known = " or ".join(f"{count:,}" for count in counts)
    limits = [
        f"A model knows {known} words and no others. What it has no word for gets another word.",
        "It never says that it does not know. The last example shows this.",
    ]
    if scenes:
        limits.append("It learned from drawn scenes alone: a photograph means nothing to it.")
    else:
        limits.append(
            "It repeats the habits of the captions that it learned from. Those of Flickr8k tell of "
            "people and dogs, and call most people men."
        )
    limits.append(
        "A map says where the model looked, not what it saw there. A wrong word has a map, too."
    )
    if drawn := sorted({captioner.generation.mbr_candidates for captioner in captioners} - {0}):
        among = " or ".join(map(str, drawn))
        limits.append(
            f"labkit caption chooses among {among} captions by how much they are alike, and by how "
            "well their words fit, if the model has a word detector. "
            "This page takes the likeliest, so the two may differ."
        )
    return limits
