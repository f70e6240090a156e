"""Do the metrics agree with people: human judgements of captions beside the metrics' scores.

Flickr8k came with two files of judgements (Hodosh, Young and Hockenmaier 2013), each a caption of
one image shown with another image:

    ExpertAnnotations.txt       image  caption-id  score  score  score     three experts, 1 to 4
    CrowdFlowerAnnotations.txt  image  caption-id  share  yes  no          many people, yes or no

The fields are separated by tabs; a caption's id is that of `Flickr8k.token.txt`, "NAME.jpg#2".
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from scipy.stats import kendalltau

from labkit.data.records import DataError
from labkit.evaluation.metrics import score_each


@dataclass(frozen=True)
class Judgement:
    """One person's, or one crowd's, judgement of a caption beside an image."""

    image: str
    caption: str  # the caption's id, "NAME.jpg#2"
    value: float  # the higher the better


@dataclass(frozen=True)
class Correlation:
    """How a metric's order of captions agrees with the people's: 1 is the same, 0 is none.

    Attributes:
        tau_b: Kendall's tau-b, which leaves ties out on both sides.
        tau_c: Kendall's tau-c (Stuart's), made for scales of different length: four steps or two
            on the people's side, any number on the metric's.
        judgements: how many were compared.
    """

    tau_b: float
    tau_c: float
    judgements: int


def read_judgements(file: str | Path) -> list[Judgement]:
    """Read either file; which one it is, each line shows.

    Each of an expert's three scores is a judgement of its own. A crowd's is the share of yes.

    Raises:
        FileNotFoundError: there is no such file.
        DataError: a line has another layout.
    """
    path = Path(file)
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: name Flickr8k's ExpertAnnotations.txt")
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            image, caption, *values = line.split("\t")
            first, yes, no = map(float, values)
        except ValueError as error:
            raise DataError(
                f"line {number} of {path} is not image, caption and three numbers, with tabs "
                "between them: take the file as Flickr8k has it"
            ) from error
        is_crowd = abs(first - yes / max(yes + no, 1)) < 0.01  # never so of three scores of 1 to 4
        judged = [first] if is_crowd else [first, yes, no]
        found += [Judgement(image, caption, value) for value in judged]
    return found


def agreement_with_people(
    judgements: Sequence[Judgement], captions: Mapping[str, Sequence[str]]
) -> dict[str, Correlation]:
    """Compare each metric's scores with the judgements.

    A caption is scored against the human captions of the image it was shown with. Where it is
    one of them itself, it is left out of them: or it would be compared with itself.

    Args:
        judgements: what people said.
        captions: the captions of each image, in the order of their numbers.

    Returns:
        Metric -> how it agrees.

    Raises:
        DataError: a judgement speaks of an image or a caption that is not there.
    """
    references, told = {}, {}
    for one in judgements:
        name, _, number = one.caption.partition("#")
        try:
            told[key := f"{one.image} {one.caption}"] = captions[name][int(number)]
            others = [
                text
                for k, text in enumerate(captions[one.image])
                if (one.image, k) != (name, int(number))
            ]
        except (KeyError, IndexError, ValueError) as error:
            raise DataError(
                f"a judgement speaks of image {one.image} and caption {one.caption}, which are "
                "not among the captions: read all splits"
            ) from error
        references[key] = others
    each, rows = score_each(references, told), list(references)
    place = {key: row for row, key in enumerate(rows)}
    order = [place[f"{one.image} {one.caption}"] for one in judgements]
    human = [one.value for one in judgements]
    found = {}
    for metric, scores in each.items():
        machine = [scores[row] for row in order]
        taus = (kendalltau(human, machine, variant=v).statistic for v in ("b", "c"))
        found[metric] = Correlation(*map(float, taus), len(human))
    return found
