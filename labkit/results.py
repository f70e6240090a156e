"""COCO's results format: told captions as a file that other tools can score, and the reverse.

[{"image_id": 9, "caption": "a dog runs on the grass"}, ...]
"""

from collections.abc import Mapping
from pathlib import Path

from labkit.files import read_json, write_json
from labkit.metrics import Scores, score
from labkit.records import DataError
from labkit.shards import MANIFEST, FeatureStore, find_split


def write_results(file: str | Path, captions: Mapping[str, str]) -> None:
    """Write captions by image id. COCO's ids are numbers, which its tools expect; others words."""
    told = [
        {"image_id": int(image) if image.isdecimal() else image, "caption": text}
        for image, text in captions.items()
    ]
    write_json(file, told)


def read_results(file: str | Path) -> dict[str, str]:
    """Read captions by image id, whoever wrote them.

    Raises:
        FileNotFoundError: there is no such file.
        DataError: it has another format, or two captions of one image.
    """
    try:
        told = [(str(one["image_id"]), str(one["caption"])) for one in read_json(file)]
    except (TypeError, KeyError) as error:
        raise DataError(
            f"{file} is not in COCO's results format: write a list of objects, each with "
            "image_id and caption"
        ) from error
    captions = dict(told)
    if len(captions) < len(told):
        raise DataError(f"{file} has two captions of one image: leave one of them")
    return captions


def read_references(source: str | Path, split: str = "dev") -> dict[str, list[str]]:
    """Read the human captions of images: of a store, a COCO annotation file, a Flickr8k file.

    Args:
        source: a store's folder; a JSON file with COCO's "annotations"; or a text file with lines
            "NAME.jpg#0 <tab> caption", as Flickr8k.token.txt.
        split: which split of a store; "dev" means val or validation, too.

    Raises:
        FileNotFoundError: there is no such file or store.
        DataError: the file has another format, or holds no captions.
    """
    path = Path(source)
    if (path / MANIFEST).exists():
        store = FeatureStore(path, find_split(path, split))
        return {k: list(v) for k, v in zip(store.ids, store.captions, strict=True) if v}
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: name a store or a file of human captions")
    found: dict[str, list[str]] = {}
    try:
        if path.suffix == ".json":
            pairs = [(str(a["image_id"]), a["caption"]) for a in read_json(path)["annotations"]]
        else:
            lines = path.read_text(encoding="utf-8").splitlines()
            pairs = [(line.split("#")[0], line.split("\t", 1)[1]) for line in lines if line]
    except (TypeError, KeyError, IndexError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path} holds no human captions that can be read: give COCO's captions_*.json, "
            "Flickr8k.token.txt, or a store"
        ) from error
    for image, caption in pairs:
        found.setdefault(image, []).append(caption)
    return found


def score_file(
    references: str | Path, captions: str | Path, split: str = "dev"
) -> tuple[Scores, int, int]:  # fmt: skip
    """Score a file of captions that any system wrote.

    Returns:
        The scores; how many images were scored; how many of the references had no caption.

    Raises:
        FileNotFoundError, DataError: see `read_references` and `read_results`.
        ValueError: an image of the captions has no human caption, or there is none at all.
    """
    told, human = read_results(captions), read_references(references, split)
    asked = {image: human[image] for image in told if image in human}
    return score(asked, told), len(asked), len(human) - len(asked)
