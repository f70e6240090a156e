"""What a caption is worth: the rewards that a model can learn from (`labkit train --reward`).

A reward is a number for a generated caption of an image. Nothing need be known of how it comes
about: no gradient passes through it (`labkit.training.rollout`). So it may be a metric, a rule, or
a function of your own.
"""

import importlib.util
import os
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import exp, isfinite, log, sqrt
from numbers import Real
from pathlib import Path
from typing import Any

from labkit.data.scenes import is_true, read_caption, things_of
from labkit.data.words import tokenize
from labkit.evaluation.metrics import score_each, tokenized
from labkit.store.shards import FeatureStore

SIGMA = 6.0  # of CIDEr's penalty for a difference in length
Ngram = tuple[str, ...]


@dataclass(frozen=True)
class ImageFacts:
    """An image as a reward sees it.

    Attributes:
        references: Its reference captions; there may be none.
        facts: What the store knows of it: of a drawn scene, its shapes.
    """

    references: Sequence[str]
    facts: Mapping[str, Any]


def images_of(store: FeatureStore) -> list[ImageFacts]:
    """The images of a split as a reward sees them."""
    return [ImageFacts(*one) for one in zip(store.captions, store.facts, strict=True)]


Reward = Callable[[Sequence[str], Sequence[ImageFacts]], list[float]]


def truth(captions: Sequence[str], images: Sequence[ImageFacts]) -> list[float]:
    """1 for a caption that is wholly true of its drawn scene, else 0."""
    pairs = zip(captions, images, strict=True)
    return [float(is_true(caption, things_of(image.facts))) for caption, image in pairs]


def facts(captions: Sequence[str], images: Sequence[ImageFacts]) -> list[float]:
    """Truth, times the share of facts that are told.

    Of five: two shapes, the size of each, and a relation. More of them are not paid, and one false
    fact makes the whole caption worth 0.
    """
    told = []
    for caption, true in zip(captions, truth(captions, images), strict=True):
        phrases, links = read_caption(caption) or ([], [])
        sizes = sum(phrase.size is not None for phrase in phrases)
        count = min(len(phrases), 2) + min(sizes, 2) + any(link is not None for link in links)
        told.append(true * count / 5)
    return told


class Cider:
    """CIDEr-D of single captions (Vedantam et al. 2015), with the frequencies of a fixed corpus.

    It gives what pycocoevalcap gives for a set, but the frequencies are counted once, and each
    reference is weighed once. So a caption can be scored alone, and many times faster.

    Args:
        corpus: The references of each image of the training split.

    Raises:
        ValueError: No image has references.
    """

    def __init__(self, corpus: Sequence[Sequence[str]]):
        corpus = [texts for texts in corpus if texts]
        if not corpus:
            raise ValueError("CIDEr needs references, and the training split has none")
        self._references: dict[str, str] = {}
        self._words: dict[str, str] = {}
        self._learn(corpus)
        self._documents = Counter(
            ngram for texts in corpus
            for ngram in {one for text in texts for one in ngrams(self._references[text])}
        )  # fmt: skip
        self._log_images = log(len(corpus))
        self._weighed = lru_cache(maxsize=None)(self._weigh)

    def __call__(self, captions: Sequence[str], images: Sequence[ImageFacts]) -> list[float]:
        """CIDEr-D of each caption, 0 to 10; 0 without references."""
        self._learn([image.references for image in images])
        return [
            self.score(caption, [self._references[text] for text in image.references])
            for caption, image in zip(captions, images, strict=True)
        ]

    def _learn(self, corpus: Sequence[Sequence[str]]) -> None:
        """Have the metric's tokenizer divide the texts and words that are new."""
        new = (text for texts in corpus for text in texts if text not in self._references)
        if texts := [*dict.fromkeys(new)]:
            words = [*dict.fromkeys(word for text in texts for word in tokenize(text))]
            found = tokenized({"texts": texts, "words": words})[0]
            self._references |= zip(texts, found["texts"], strict=True)
            self._words |= zip(words, found["words"], strict=True)

    def score(self, caption: str, references: Sequence[str]) -> float:
        """The score of one caption against references as the metric's tokenizer has them."""
        if not references:
            return 0.0
        words = " ".join(self._words.get(word, word) for word in caption.split())
        mine, my_norms, my_length = self._weigh(words)
        total = 0.0
        for theirs, norms, length in map(self._weighed, references):
            sums = [0.0] * 4
            for ngram, weight in mine.items():
                if other := theirs.get(ngram):
                    sums[len(ngram) - 1] += min(weight, other) * other
            near = exp(-((my_length - length) ** 2) / (2 * SIGMA**2))
            pairs = zip(sums, my_norms, norms, strict=True)
            total += near * sum(x / (one * other) for x, one, other in pairs if one * other)
        return 10 * total / 4 / len(references)

    def _weigh(self, text: str) -> tuple[dict[Ngram, float], list[float], int]:
        """The weights of a text's n-grams, their norm for each n, and the number of its bigrams."""
        counts = Counter(ngrams(text))
        weights, squares = {}, [0.0] * 4
        for ngram, count in counts.items():
            weight = count * (self._log_images - log(max(1, self._documents[ngram])))
            weights[ngram] = weight
            squares[len(ngram) - 1] += weight**2
        bigrams = sum(count for ngram, count in counts.items() if len(ngram) == 2)
        return weights, [sqrt(square) for square in squares], bigrams


class CiderAndMeteor(Cider):
    """The sum of CIDEr-D and METEOR, each as a share of 1: CIDEr has 10 at most."""

    def __call__(self, captions: Sequence[str], images: Sequence[ImageFacts]) -> list[float]:
        """Give each caption's sum, 0 to 2."""
        ciders = super().__call__(captions, images)
        known = [n for n, image in enumerate(images) if image.references]
        if not known:
            return [cider / 10 for cider in ciders]
        references = {str(n): list(images[n].references) for n in known}
        each = score_each(references, {str(n): captions[n] for n in known})["meteor"]
        meteors = dict(zip(known, each, strict=True))
        return [cider / 10 + meteors.get(n, 0.0) for n, cider in enumerate(ciders)]


def ngrams(text: str) -> list[Ngram]:
    """All n-grams of one to four words."""
    words = text.split()
    return [
        tuple(words[k : k + n]) for n in range(1, 5) for k in range(len(words) - n + 1)
    ]


REWARDS: dict[str, Any] = {
    "truth": truth, "facts": facts, "cider": Cider, "cider+meteor": CiderAndMeteor
}  # fmt: skip
"""The rewards by name; the classes are made with the references of the training split."""


def read_reward(name: str, images: Sequence[ImageFacts]) -> Reward:
    """Make a reward.

    Args:
        name: A key of `REWARDS`; or ``FILE.py:function``. The function is called with a caption,
            its image's references and its facts, see `ImageFacts`, and returns a number or a bool.
            It need not read references, so there need not be any.
        images: Those of the training split.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: There is no such reward, or it needs what the images do not have.
    """
    check_scenes(name, images, "training split")
    if name in REWARDS:
        made = REWARDS[name]
        return made([image.references for image in images]) if isinstance(made, type) else made
    file, _, function = name.rpartition(":")
    if not file.endswith(".py"):
        known = ", ".join(REWARDS)
        raise ValueError(f"there is no reward {name!r}: choose {known}, or FILE.py:function")
    return _of_each(_function(Path(file), function), name)


def check_scenes(name: str, images: Sequence[ImageFacts], split: str) -> None:
    """Check, before any work, that a split has the facts that a reward of this name reads.

    Args:
        name: As in `read_reward`.
        images: Those of the split.
        split: The split, for the message.

    Raises:
        ValueError: It has not.
    """
    if name in ("truth", "facts") and not all("things" in image.facts for image in images):
        raise ValueError(
            f"the reward {name} needs drawn scenes, and the {split} has other images: choose "
            "cider, cider+meteor or a function of your own, FILE.py:function"
        )


def full_path(name: str) -> str:
    """Name a reward of a file by its full path, so that it is found from any folder."""
    file, colon, function = name.rpartition(":")
    return os.path.abspath(file) + colon + function if file.endswith(".py") else name


def _function(file: Path, name: str) -> Callable[..., float]:
    if not file.is_file():
        raise FileNotFoundError(f"there is no file {file}")
    spec: Any = importlib.util.spec_from_file_location(str(file), file)  # no module has its name
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise ValueError(f"{file} cannot be run: {type(error).__name__}: {error}") from error
    found = getattr(module, name, None)
    if not callable(found):
        raise ValueError(f"{file} has no function {name!r}")
    return found


def _of_each(function: Callable[..., float], name: str) -> Reward:
    def of_one(caption: str, image: ImageFacts) -> float:
        try:
            found: Any = function(caption, image.references, image.facts)
            if getattr(found, "shape", None) == ():  # a single number of NumPy or torch
                found = found.item()
            valid = isinstance(found, Real) and isfinite(found)
        except (Exception, SystemExit) as error:
            problem = f"fails with {type(error).__name__}: {error}"
            raise ValueError(f"{name} {problem}, for the caption {caption!r}") from error
        if not valid:
            raise ValueError(f"{name} gives {found!r} for the caption {caption!r}: a reward is a "
                             "finite number")  # fmt: skip
        return float(found)

    return lambda captions, images: [*map(of_one, captions, images)]
