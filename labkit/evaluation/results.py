"""Captions as files: hypotheses in COCO's results format, and references to score them against.

[{"image_id": 9, "caption": "a dog runs on the grass"}, ...]
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from labkit.console import complain
from labkit.data.caption_files import read_rows
from labkit.data.records import MOST_WORDS, DataError, DataReport
from labkit.data.rows import match_names
from labkit.data.text_files import BROKEN, ENCODING
from labkit.data.words import latin_share, spaced
from labkit.evaluation.metrics import Scores, score
from labkit.files import write_json
from labkit.store.manifest import MANIFEST
from labkit.store.shards import FeatureStore, find_split

_NUMBER = re.compile(r"0|[1-9][0-9]{0,17}")


def warn_if_not_english(*groups: Iterable[str]) -> None:
    """Warn on standard error that METEOR is English, if a group of captions is mostly not Latin."""
    if (share := min(map(latin_share, groups))) < 0.5:
        complain(
            f"{1 - share:.0%} of the letters of these captions are not Latin: METEOR and its "
            "stemmer are English, so its score means little; compare by the other metrics"
        )


def write_results(file: str | Path, captions: Mapping[str, str], new: bool = False) -> None:
    """Write captions in COCO's results format.

    COCO's tools expect ids to be numbers. An id that would change as a number, such as "007", stays
    a string.

    Args:
        file: The file.
        captions: The caption of each image, by its id.
        new: Never replace an existing file.

    Raises:
        FileExistsError: The file exists, and ``new`` is set.
    """
    entries = [
        {"image_id": int(image) if _NUMBER.fullmatch(image) else image, "caption": text}
        for image, text in captions.items()
    ]
    write_json(file, entries, new)


def read_results(file: str | Path, report: DataReport | None = None) -> dict[str, str]:
    """Read generated captions of any system by image id: one for each image.

    COCO's results format is a list of objects with image_id and caption. All other formats of
    `labkit.data.caption_files.read_rows` are accepted, too, such as a CSV or {"9": "a dog"}.

    Args:
        file: The file.
        report: Notes if the file is not UTF-8. Any other problem is an error.

    Raises:
        FileNotFoundError: There is no such file.
        DataError: It has another format, or an image has no caption or two.
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
            raise DataError(f"{path} has two captions of one image, {row.name!r:.300}: keep one")
        where, text = row.captions[0] if row.captions else (row.where, None)
        if not isinstance(text, str):
            what = "null" if text is None else f"{text!r:.40}"
            raise DataError(f"{path}: {where} has {what} for a caption: write a text there")
        if BROKEN.search(text):
            raise DataError(f"{path}: {where} has a caption with a broken character: correct it")
        captions[row.name] = " ".join(text.split())
        if len(spaced(text).split()) > MOST_WORDS:
            raise DataError(f"{path}: {where} has more than 1,000 words: cut it to a caption")
    return captions


def read_references(
    source: str | Path, split: str = "dev", report: DataReport | None = None
) -> dict[str, list[str]]:
    """Read the human captions of images from a store, or from a captions file in any format.

    Args:
        source: A store's folder, or a file in a format of `labkit.data.caption_files.read_rows`:
            COCO's or Karpathy's JSON, Flickr8k.token.txt, Kaggle's captions.txt, a table.
        split: The split of a store; "dev" also means val or validation.
        report: Collects captions that cannot be used; they are left out.

    Returns:
        The captions of each image, by its id.

    Raises:
        FileNotFoundError: There is no such file or store.
        DataError: The file has another format, or holds no captions.
    """
    return {id: texts for id, (texts, _) in named_references(source, split, report).items()}


def named_references(
    source: str | Path, split: str, report: DataReport | None = None
) -> dict[str, tuple[list[str], set[str]]]:
    """Read the human captions of each image, as `read_references`, and all its names."""
    path, report = Path(source), DataReport() if report is None else report
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
            f"{path} holds no readable human captions ({report.line() or 'none'}): give "
            "COCO's captions_*.json, Flickr8k.token.txt, a table of captions, or a store"
        )
    return found


def score_file(
    references: str | Path, captions: str | Path, split: str = "dev",
    report: DataReport | None = None,
) -> tuple[Scores, int, int]:  # fmt: skip
    """Score a file of captions that any system generated.

    Images are matched by id, or else by equivalent names, see `labkit.data.rows.match_names`.

    Args:
        references: As ``source`` of `read_references`.
        captions: The file of generated captions, see `read_results`.
        split: The split of a store.
        report: Collects references that cannot be used; they are left out.

    Returns:
        The scores; the number of images scored; the number of images of the references without a
        generated caption.

    Raises:
        FileNotFoundError, DataError: See `read_references` and `read_results`; or an image of the
            captions has no human caption.
    """
    human = named_references(references, split, report)
    hypotheses = results_for(captions, human, references, report)
    used = {id: human[id][0] for id in hypotheses}
    warn_if_not_english(hypotheses.values(), (text for texts in used.values() for text in texts))
    scores = score(used, hypotheses)
    return scores, len(hypotheses), len(human) - len(hypotheses)


def results_for(
    captions: str | Path, human: Mapping[str, tuple[list[str], set[str]]],
    references: str | Path, report: DataReport | None = None,
) -> dict[str, str]:  # fmt: skip
    """Read generated captions by the ids that their images have among the references.

    Args:
        captions: The file, see `read_results`.
        human: What `named_references` read.
        references: From where, for messages.
        report: As in `read_results`.

    Raises:
        FileNotFoundError, DataError: See `score_file`.
    """
    generated = read_results(captions, report)
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
            raise DataError(f"{captions} has two captions of one image, {image!r:.300}: keep one")
        hypotheses[same[image]] = text
    return hypotheses


def _some(names: Mapping[str, object] | list[str]) -> str:
    return ", ".join(f"{name!r:.300}" for name in list(names)[:3]) + ", ..." * (len(names) > 3)
