"""How well do people do? One human caption of each image against the others, `labkit people`.

In turn k, the k-th caption of each image is the hypothesis, and its other captions are the
references. An image with fewer captions begins again at its first, so every turn is about all
images. A model's captions are scored against the references of the same turns: BLEU, METEOR and
ROUGE-L rise with the number of references, so a score against all cannot be compared with people's.
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from labkit.data.records import DataError, DataReport
from labkit.evaluation.metrics import Scores, checked, score
from labkit.evaluation.results import named_references, results_for, warn_if_not_english


@dataclass(frozen=True)
class InTurn:
    """The scores of people and of systems, each against all human captions but one.

    Attributes:
        images: The number of images scored.
        left_out: The number of images that have only one human caption, or none of a system.
        people: The scores of each turn.
        systems: The same of each file of generated captions.
    """

    images: int
    left_out: int
    people: list[Scores]
    systems: dict[str, list[Scores]]

    def as_markdown(self) -> str:
        """Return a table with a row for each captioner."""
        rows = [("people", self.people), *self.systems.items()]
        names = [f.name for f in fields(Scores) if getattr(self.people[0], f.name) is not None]
        lines = [f"| captions | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
        for label, turns in rows:
            values = [[getattr(turn, name) for turn in turns] for name in names]
            cells = (f"{statistics.fmean(v):.3f} ± {statistics.stdev(v):.3f}" for v in values)
            lines.append(f"| {label} | {' | '.join(cells)} |")
        how = f"{len(self.people)} turns: mean ± standard deviation."
        return "\n".join([*lines, "", f"{self.images} images, {how}"])


def score_in_turn(
    references: Mapping[str, Sequence[str]], hypotheses: Mapping[str, str] | None = None
) -> list[Scores]:
    """Score captions against all human captions but one, which is another one in each turn.

    There are as many turns as the image with the most captions has captions.

    Args:
        references: The human captions of each image, by its id: at least two.
        hypotheses: A caption of each image; None takes the human caption that is left out.

    Returns:
        The scores of each turn.

    Raises:
        ValueError: An image has fewer than two human captions, or see `labkit.score`.
        ChildProcessError: A Java program failed.

    Example:
        >>> human = {"a": ["a dog runs", "a dog runs", "the cat"], "b": ["two men", "two men sit"]}
        >>> [f"{turn.bleu1:.2f}" for turn in score_in_turn(human)]
        ['0.82', '0.83', '0.30']
    """
    given = dict.fromkeys(references, "") if hypotheses is None else hypotheses
    texts, _ = checked(references, given)
    if few := [image for image, some in texts.items() if len(some) < 2]:
        raise ValueError(
            f"{len(few)} image(s) with fewer than two human captions, such as {few[0]!r}: "
            "leave them out"
        )
    turns = []
    for turn in range(max(map(len, texts.values()))):
        others = {image: list(some) for image, some in texts.items()}
        left = {image: some.pop(turn % len(some)) for image, some in others.items()}
        turns.append(score(others, left if hypotheses is None else hypotheses))
    return turns


def score_people(
    references: str | Path, captions: Sequence[str | Path] = (), split: str = "dev",
    report: DataReport | None = None,
) -> InTurn:  # fmt: skip
    """Score people, and any systems, against the same human captions in turn, see `score_in_turn`.

    All are scored on the same images: those that have two human captions and a caption in each
    file.

    Args:
        references: As ``source`` of `labkit.evaluation.results.read_references`.
        captions: Files of generated captions, see `labkit.evaluation.results.read_results`.
        split: The split of a store.
        report: Collects references that cannot be used; they are left out.

    Raises:
        FileNotFoundError, DataError: See `labkit.evaluation.results.score_file`; or no image is
            left.
    """
    human = named_references(references, split, report)
    found = {str(file): results_for(file, human, references, report) for file in captions}
    common = set(human).intersection(*found.values())
    used = {id: texts for id, (texts, _) in human.items() if len(texts) > 1 and id in common}
    if not used:
        also = "".join(f" and a caption in {file}" for file in found)
        raise DataError(
            f"{references} has no image with two human captions{also}: one of them is scored "
            "against the others, so name a file with several captions of each image"
        )
    generated = (system.values() for system in found.values())
    warn_if_not_english((text for texts in used.values() for text in texts), *generated)
    systems = {file: score_in_turn(used, {id: system[id] for id in used})
               for file, system in found.items()}  # fmt: skip
    return InTurn(len(used), len(human) - len(used), score_in_turn(used), systems)
