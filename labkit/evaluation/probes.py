"""Do the captions need the attention? What `labkit probe` asks a trained model, of any images.

The model captions images as it is, then under interventions: with other weights, with another
image's first state, with another image's contexts. Captions are greedy. What drawn scenes allow
besides is in `labkit.evaluation.scene_probes`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import torch
from pycocoevalcap.cider.cider import Cider
from torch import Tensor
from tqdm import tqdm

from labkit.evaluation.interventions import (
    Estimate,
    Intervened,
    TeacherForced,
    estimate,
    teacher_force,
)
from labkit.evaluation.metrics import tokenized
from labkit.model.captioner import Captioner
from labkit.model.captions import Caption
from labkit.model.generation import generate
from labkit.store.shards import FeatureStore

BATCH_SIZE = 50  # images that go through the decoder at once


@dataclass(frozen=True)
class Row:
    """A line of the table.

    Attributes:
        question: What is asked.
        case: Of what.
        unit: "share", "nats" or "CIDEr".
        found: The mean, its interval, and how much it rests on.
    """

    question: str
    case: str
    unit: str
    found: Estimate

    def as_dict(self) -> dict[str, Any]:
        """Return one flat object for JSON."""
        names = {"question": self.question, "case": self.case, "unit": self.unit}
        return names | asdict(self.found)


def rows_of(
    question: str, unit: str, cases: Mapping[str, Sequence[tuple[float, int]]]
) -> list[Row]:
    """Estimate each case that has values; each value comes with the number of its image."""
    rows = []
    for case, pairs in cases.items():
        if pairs:
            values, images = zip(*pairs, strict=True)
            if (found := estimate(values, images)) is not None:
                rows.append(Row(question, case, unit, found))
    return rows


class Probe:
    """A model, the images it is asked about, and what it said of them.

    Args:
        captioner: The model.
        a: The images' annotation vectors (N, L, D).

    Attributes:
        other_images: Those of another image for each image.
        captions: Its caption of each image, greedy.
        forced: The same captions, read again.
    """

    def __init__(self, captioner: Captioner, a: Tensor):
        self.decoder, self.vocabulary = captioner.decoder, captioner.vocabulary
        self.config = captioner.generation.updated({"num_beams": 1})
        self.a, self.other_images = a, a.roll(len(a) // 2, 0)
        self.captions = self.caption(a)
        self.forced = self.read(a, [caption.words for caption in self.captions])

    def caption(self, a: Tensor, **change: Any) -> list[Caption]:
        """Caption images under an intervention, ``change``: see `Intervened`."""
        return self._in_batches(
            lambda decoder, a, part: generate(decoder, a, self.config), a, change
        )

    def read(
        self, a: Tensor, captions: Sequence[Sequence[int]], **change: Any
    ) -> list[TeacherForced]:
        """Read captions under an intervention."""
        mode = self.config.attention_mode
        return self._in_batches(
            lambda decoder, a, part: teacher_force(decoder, a, captions[part], mode), a, change
        )

    def _in_batches(
        self, work: Callable[[Intervened, Tensor, slice], list[Any]], a: Tensor,
        change: dict[str, Any],
    ) -> list[Any]:  # fmt: skip
        found = []
        for start in range(0, len(a), BATCH_SIZE):
            part = slice(start, start + BATCH_SIZE)
            given = {name: _part(value, part) for name, value in change.items()}
            found += work(Intervened(self.decoder, **given), _part(a, part), part)
        return found

    def text(self, caption: Caption) -> str:
        """The caption's words."""
        return self.vocabulary.decode(caption.words)

    @property
    def changes(self) -> dict[str, dict[str, Any]]:
        """The interventions that every image allows, by title."""
        return {
            "uniform weights": {"weights": "uniform"},
            "shuffled weights": {"weights": "shuffled"},
            "no context": {"weights": "zero"},
            "first state of another image": {"first": self.other_images},
            "contexts of another image": {"seen": self.other_images},
        }

    def own_words(self) -> list[Row]:
        """What each intervention costs the words that the model had chosen."""
        cases = {}
        for title, change in self.changes.items():
            read = self.read(self.a, [caption.words for caption in self.captions], **change)
            lost = [one.log_p - other.log_p for one, other in zip(self.forced, read, strict=True)]
            cases[title] = [(value, n) for n, drop in enumerate(lost) for value in drop.tolist()]
        return rows_of("log p that a word of its caption loses", "nats", cases)

    def captions_under(
        self, judge: Callable[..., Any], kept: str, lost: str, unit: str
    ) -> list[Row]:
        """How good its captions are, and what each intervention takes from that.

        Args:
            judge: From captions, one for each image, to a number for each.
            kept: The question about the captions as they are.
            lost: The question about each intervention.
            unit: Of the numbers.
        """
        own = judge(self.captions)
        rows = rows_of(kept, unit, {"as the model is": [(one, n) for n, one in enumerate(own)]})
        cases = {}
        for title, change in self.changes.items():
            found = judge(self.caption(self.a, **change))
            pairs = enumerate(zip(own, found, strict=True))
            cases[title] = [(one - other, n) for n, (one, other) in pairs]
        return rows + rows_of(lost, unit, cases)


def _part(value: Any, part: slice) -> Any:
    """The images of a batch; vectors as float32, as a store may have less."""
    if not isinstance(value, Tensor):
        return value
    return value[part].float() if value.is_floating_point() else value[part]


def probe_photos(captioner: Captioner, store: FeatureStore, count: int | None = None,
                 progress: bool = True) -> list[Row]:  # fmt: skip
    """Ask what the weights, the contexts and the first state do for captions of photographs.

    Args:
        captioner: The model.
        store: The photographs with their references; those without are left out.
        count: At most how many, the first of the split; None takes all.
        progress: Show a progress bar, if standard error is a terminal.

    Returns:
        The table. CIDEr is the mean over images, with the words' frequencies of these images.

    Raises:
        ValueError: There are fewer than two photographs with references.
    """
    chosen = [n for n in range(len(store)) if store.captions[n]][:count]
    if len(chosen) < 2:
        raise ValueError(f"{store.root}: {store.split} has {len(chosen)} images with captions: "
                         "two are needed")  # fmt: skip
    probe = Probe(captioner, torch.from_numpy(store.read(chosen)))
    references = {str(n): list(store.captions[row]) for n, row in enumerate(chosen)}

    def cider(captions: Sequence[Caption]) -> list[float]:
        texts = {str(n): [probe.text(caption)] for n, caption in enumerate(captions)}
        return Cider().compute_score(*tokenized(references, texts))[1].tolist()

    def captions() -> list[Row]:
        return probe.captions_under(cider, "CIDEr of its captions", "CIDEr lost", "CIDEr")

    return answered([captions, probe.own_words], progress)


@contextmanager
def one_thread() -> Iterator[int]:
    """Let PyTorch use one thread: small products gain nothing from a second; yield how many."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield threads
    finally:
        torch.set_num_threads(threads)


def answered(questions: Sequence[Callable[[], list[Row]]], progress: bool) -> list[Row]:
    """Answer questions one after the other, under a progress bar; return all their rows."""
    bar = tqdm(questions, desc="probe", unit="question", disable=not progress or None)
    return [row for question in bar for row in question()]

