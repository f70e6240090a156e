"""Do the metrics agree with people? Human judgements of captions against the metrics' scores.

Flickr8k comes with two files of judgements (Hodosh, Young and Hockenmaier 2013). Each judges how
well a caption, often that of another image, describes an image:

    ExpertAnnotations.txt       image  caption-id  score  score  score     three experts, 1 to 4
    CrowdFlowerAnnotations.txt  image  caption-id  share  yes  no          many people, yes or no

The fields are separated by tabs; a caption's id is that of `Flickr8k.token.txt`, "NAME.jpg#2".
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from scipy.stats import kendalltau

from labkit.data.records import DataError, DataReport
from labkit.data.text_files import read_text
from labkit.evaluation.metrics import score_each


@dataclass(frozen=True)
class Judgement:
    """The judgement of one expert, or of a crowd, on a caption shown with an image.

    Attributes:
        image: The image's file name.
        caption: The caption's id, "NAME.jpg#2".
        value: The judgement, the higher the better: an expert's 1 to 4, or a crowd's share of yes.
    """

    image: str
    caption: str
    value: float


@dataclass(frozen=True)
class Correlation:
    """How well a metric's ranking of captions agrees with people's: 1 fully, 0 not at all.

    Attributes:
        tau_b: Kendall's tau-b, which adjusts for ties on both sides.
        tau_c: Kendall's tau-c (Stuart's), for scales of different sizes: four or two values on the
            people's side, any number on the metric's.
        judgements: The number of judgements compared.
    """

    tau_b: float
    tau_c: float
    judgements: int


def read_judgements(file: str | Path) -> list[Judgement]:
    """Read either file of judgements; the kind is recognised line by line.

    Each of the three experts' scores is a judgement of its own; a crowd's judgement is its share of
    yes.

    Raises:
        FileNotFoundError: There is no such file.
        DataError: A line has another format.
    """
    path = Path(file)
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: name Flickr8k's ExpertAnnotations.txt")
    found = []
    for number, line in enumerate(read_text(path, DataReport()).splitlines(), 1):
        try:
            image, caption, *values = line.split("\t")
            first, yes, no = map(float, values)
        except ValueError as error:
            raise DataError(
                f"line {number} of {path} is not image, caption and three numbers, with tabs "
                "between them: use the file as Flickr8k has it"
            ) from error
        is_crowd = abs(first - yes / max(yes + no, 1)) < 0.01  # never so of three scores
        judged = [first] if is_crowd else [first, yes, no]
        found += [Judgement(image, caption, value) for value in judged]
    return found


def agreement_with_people(
    judgements: Sequence[Judgement], captions: Mapping[str, Sequence[str]]
) -> dict[str, Correlation]:
    """Correlate each metric's scores with the judgements.

    A caption is scored against the human captions of the image it was shown with, without the
    caption itself if it is one of them.

    Args:
        judgements: The judgements.
        captions: The captions of each image, in the order of their numbers.

    Returns:
        The correlation for each metric, by its name.

    Raises:
        DataError: A judgement refers to an unknown image or caption.
    """
    references, hypotheses = {}, {}
    for one in judgements:
        name, _, number = one.caption.partition("#")
        try:
            key = f"{one.image} {one.caption}"
            hypotheses[key] = captions[name][int(number)]
            others = [
                text
                for k, text in enumerate(captions[one.image])
                if (one.image, k) != (name, int(number))
            ]
        except (KeyError, IndexError, ValueError) as error:
            raise DataError(
                f"a judgement refers to image {one.image} and caption {one.caption}, which are "
                "not among the captions: read all splits"
            ) from error
        references[key] = others
    each, rows = score_each(references, hypotheses), list(references)
    place = {key: row for row, key in enumerate(rows)}
    order = [place[f"{one.image} {one.caption}"] for one in judgements]
    human = [one.value for one in judgements]
    found = {}
    for metric, scores in each.items():
        machine = [scores[row] for row in order]
        b, c = (float(kendalltau(human, machine, variant=v).statistic) for v in ("b", "c"))
        found[metric] = Correlation(b, c, len(human))
    return found
