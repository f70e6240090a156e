"""Captions as files: generated ones in COCO's results format, and human ones to score against.

[{"image_id": 9, "caption": "a dog runs on the grass"}, ...]
"""

import re
from collections.abc import Mapping
from pathlib import Path

from labkit.data.caption_files import read_rows
from labkit.data.records import DataError, DataReport
from labkit.data.rows import match_names
from labkit.data.text_files import BROKEN, ENCODING
from labkit.evaluation.metrics import Scores, score, warn_if_not_english
from labkit.files import write_json
from labkit.store.shards import MANIFEST, FeatureStore, find_split

_NUMBER = re.compile(r"0|[1-9][0-9]{0,17}")


def write_results(file: str | Path, captions: Mapping[str, str], new: bool = False) -> None:
    """Write captions by image id.

    COCO's ids are numbers, which its tools expect. Whatever reads otherwise as a number, such as
    "007", stays a text. With ``new`` a file that is there is not replaced: `FileExistsError`.
    """
    entries = [
        {"image_id": int(image) if _NUMBER.fullmatch(image) else image, "caption": text}
        for image, text in captions.items()
    ]
    write_json(file, entries, new)


def read_results(file: str | Path, report: DataReport | None = None) -> dict[str, str]:
    """Read generated captions by image id, whoever wrote them: one for each image.

    COCO's results format is a list of objects with image_id and caption. Everything else that
    `labkit.data.caption_files.read_rows` understands is taken, too, such as a CSV or {"9": "a dog"}.

    Args:
        file: The file.
        report: Told if the file is not UTF-8. Nothing else is passed over.

    Raises:
        FileNotFoundError: there is no such file.
        DataError: it has another format, or an image has no caption, or two.
    """
    path, found = Path(file), DataReport()
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: name a file of generated captions")
    rows = read_rows(path, found)
    for place in found.problems.pop(ENCODING, []):
        (report or DataReport()).add(ENCODING, place)
    if found or not rows:
        raise DataError(
            f"{path} is not in COCO's results format ({found.line() or 'no captions'}): write a "
            "list of objects, each with image_id and caption"
        )
    captions: dict[str, str] = {}
    for row in rows:
        if row.name in captions or len(row.captions) > 1:
            raise DataError(f"{path} has two captions of one image, {row.name!r}: leave one")
        where, text = row.captions[0] if row.captions else (row.where, None)
        if not isinstance(text, str):
            what = "null" if text is None else f"{text!r:.40}"
            raise DataError(f"{path}: {where} has {what} for a caption: write a text there")
        if BROKEN.search(text):
            raise DataError(f"{path}: {where} has a caption with a broken character: correct it")
        captions[row.name] = " ".join(text.split())
    return captions


def read_references(
    source: str | Path, split: str = "dev", report: DataReport | None = None
) -> dict[str, list[str]]:
    """Read the human captions of images: of a store, or of a captions file in any form.

    Args:
        source: a store's folder; or a file that `labkit.data.caption_files.read_rows` understands: COCO's
            or Karpathy's JSON, Flickr8k.token.txt, Kaggle's captions.txt, a table.
        split: which split of a store; "dev" means val or validation, too.
        report: told of captions that cannot be used; they are left out.

    Raises:
        FileNotFoundError: there is no such file or store.
        DataError: the file has another format, or holds no captions.
    """
    return {id: texts for id, (texts, _) in _references(Path(source), split, report).items()}


def _references(
    path: Path, split: str, report: DataReport | None
) -> dict[str, tuple[list[str], set[str]]]:
    """Return the human captions of each image, and all names that it has."""
    report = DataReport() if report is None else report
    if (path / MANIFEST).exists():
        store = FeatureStore(path, find_split(path, split))
        images = zip(store.ids, store.captions, store.facts, strict=True)
        found = {id: (list(texts), {id, str(facts.get("file", id))}) for id, texts, facts in images}
    elif path.is_file():
        found = {}
        for row in read_rows(path, report):
            texts, names = found.setdefault(row.name, ([], set()))
            texts += row.checked(report)
            names |= {name for name in (row.id, row.file) if name}
    else:
        raise FileNotFoundError(f"{path} is missing: name a store or a file of human captions")
    found = {id: (texts, names) for id, (texts, names) in found.items() if texts}
    if not found:
        raise DataError(
            f"{path} holds no human captions that can be read ({report.line() or 'none'}): give "
            "COCO's captions_*.json, Flickr8k.token.txt, a table of captions, or a store"
        )
    return found


def score_file(
    references: str | Path, captions: str | Path, split: str = "dev",
    report: DataReport | None = None,
) -> tuple[Scores, int, int]:  # fmt: skip
    """Score a file of captions that any system wrote.

    Images are matched by id, or else by what is the same in all ways to name them, see
    `labkit.data.caption_files.match_names`.

    Returns:
        The scores; how many images were scored; how many of the references had no caption.

    Raises:
        FileNotFoundError, DataError: see `read_references` and `read_results`; or an image of the
            captions has no human caption.
    """
    generated = read_results(captions, report)
    human = _references(Path(references), split, report)
    same = match_names(generated, {id: names for id, (_, names) in human.items()})
    if missing := [image for image in generated if image not in same]:
        raise DataError(
            f"{len(missing)} of {len(generated)} images of {captions} have no human captions to "
            f"compare with, such as {_some(missing)}; those of {references} are named "
            f"{_some(human)}"
        )
    hypotheses: dict[str, str] = {}
    for image, text in generated.items():
        if same[image] in hypotheses:
            raise DataError(f"{captions} has two captions of one image, {image!r}: leave one")
        hypotheses[same[image]] = text
    references_used = {id: human[id][0] for id in hypotheses}
    warn_if_not_english(
        hypotheses.values(), (text for texts in references_used.values() for text in texts)
    )
    scores = score(references_used, hypotheses)
    return scores, len(hypotheses), len(human) - len(hypotheses)


def _some(names: Mapping[str, object] | list[str]) -> str:
    return ", ".join(map(repr, list(names)[:3])) + (", ..." if len(names) > 3 else "")
