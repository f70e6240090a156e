"""Interventions: change what a trained model sees or where it looks, and hear what it says then.

A map shows where a model looked. Whether the word came from there is another question, and only an
intervention answers it. `Intervened` is a decoder that looks elsewhere, or that is shown another
image in one of the two places where it sees one: the first state of its LSTM, and its attention.
`greedy`, `beam_search` and `teacher_force` take it in place of the decoder. For an intervention of
your own, set `labkit.model.attention.EncodedImage.intervene`.

An effect is a mean over words, and the words of one image are no independent samples. So `estimate`
resamples images for its interval, not words (Efron's bootstrap).
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.stats import bootstrap
from torch import Tensor

from labkit.data.vocabulary import BOS
from labkit.model.attention import AttentionStep, EncodedImage, one_place
from labkit.model.decoder import Decoder, State, pad_captions

WEIGHTS = ("uniform", "shuffled", "zero")
CONFIDENCE, RESAMPLES = 0.95, 9999


@dataclass
class _Numbered(EncodedImage):
    """Images that know their numbers when beam search leaves some of them out.

    Attributes:
        numbers: (n,) which of the N images these are.
        seeds: (N,) a number for each image that depends on its features alone.
        t: The step, from 0.
    """

    numbers: Tensor = None  # type: ignore[assignment]  # always given; fields before have defaults
    seeds: Sequence[int] = ()
    t: int = 0

    def choose(self, rows: Tensor) -> "_Numbered":
        chosen = super().choose(rows)
        assert isinstance(chosen, _Numbered)
        return replace(chosen, numbers=self.numbers[rows])


class Intervened:
    """A decoder under an intervention, with the two methods that generation calls.

    Only what the context is made with is replaced: a step's ``alpha``, and so the maps of the
    generated caption, stay the model's own.

    Args:
        decoder: In evaluation mode.
        weights: What replaces the weights of the context: "uniform", 1 / L for each region;
            "shuffled", the model's own in another order, a new one for each image and step; "zero",
            which leaves the context out; or the region to look at, one for all or (N,) numbers.
            None leaves the weights as they are.
        at: The step at which the weights are replaced, counted from 0: one for all or (N,)
            numbers; or for several steps (N, T) bool. None replaces them at all steps.
        first: Annotation vectors (N, L, D) for the first state in place of the image's.
        seen: The same for attention, which the contexts are then made of, too.
        seed: Of the shuffled orders, which also depend on the image's features, so that an image
            gets the same ones in every batch.

    Raises:
        ValueError: There are no such weights. By `init_state`: the numbers of images differ.

    Example:
        >>> import torch
        >>> from labkit import Decoder, ModelConfig, greedy
        >>> from labkit.evaluation import Intervened
        >>> decoder = Decoder(ModelConfig(vocab_size=12, encoder_dim=8)).eval()
        >>> a = torch.randn(2, 49, 8)  # annotation vectors of two images
        >>> blind = greedy(Intervened(decoder, "zero"), a)
        >>> swapped = greedy(Intervened(decoder, first=a.flip(0)), a)
    """

    def __init__(
        self, decoder: Decoder, weights: str | int | Tensor | None = None,
        at: int | Tensor | None = None, first: Tensor | None = None, seen: Tensor | None = None,
        seed: int = 0,
    ):  # fmt: skip
        if isinstance(weights, str) and weights not in WEIGHTS:
            known = ", ".join(WEIGHTS)
            raise ValueError(f"there are no weights {weights!r}: choose {known}, or a region")
        self.decoder, self.weights, self.at = decoder, weights, at
        self.first, self.seen, self.seed = first, seen, seed

    def init_state(
        self, a: Tensor, captions: int = 1, attention_mode: str | None = None
    ) -> tuple[EncodedImage, State]:
        """Do what `labkit.model.decoder.Decoder.init_state` does, each part with its own image."""
        first = a if self.first is None else self.first
        seen = a if self.seen is None else self.seen
        for what in (first, seen, self.weights, self.at):
            if isinstance(what, Tensor) and what.dim() and len(what) != len(a):
                raise ValueError(f"{len(a)} images need an intervention each, not {len(what)}")
        image, state = self.decoder.init_state(seen, captions, attention_mode)
        if first is not seen:
            state = self.decoder.init_state(first, captions, attention_mode)[1]
        if self.weights is None:
            return image, state
        seeds: list[int] = []
        if self.weights == "shuffled":
            seeds = [zlib.crc32(one.cpu().numpy().data) for one in seen.contiguous()]
        numbers = torch.arange(len(a), device=a.device)
        return _Numbered(**vars(image), numbers=numbers, seeds=seeds), state

    def step(
        self, words: Tensor, image: EncodedImage, state: State
    ) -> tuple[Tensor, State, AttentionStep]:
        """Do what `labkit.model.decoder.Decoder.step` does, with the weights replaced."""
        if isinstance(image, _Numbered):
            image.intervene = lambda step: self._replaced(step, image)
        found = self.decoder.step(words, image, state)
        if isinstance(image, _Numbered):
            image.t += 1
        return found

    def _replaced(self, step: AttentionStep, image: _Numbered) -> AttentionStep:
        """Replace the weights where `at` is this step."""
        other = self._others(step.weights, image).expand_as(step.weights)  # (n, K, L)
        now = self._now(image)[:, None, None]  # (n, 1, 1)
        mixture = step.mixture
        if mixture is not None:  # the other weights are its only component, the last one
            only = torch.full_like(mixture.log_shares, -torch.inf)
            only[..., -1] = 0
            mixture = replace(
                mixture, log_shares=torch.where(now, only, mixture.log_shares),
                rest=torch.where(now, other, mixture.rest),
            )  # fmt: skip
        return replace(step, weights=torch.where(now, other, step.weights), mixture=mixture)

    def _now(self, image: _Numbered) -> Tensor:
        """Whether this step is one of `at`, (n,) bool."""
        if isinstance(self.at, Tensor) and self.at.dim() == 2:
            padded = torch.nn.functional.pad(self.at, (0, 1))  # none after the last of its steps
            return padded[image.numbers, min(image.t, self.at.shape[1])]
        at = image.t if self.at is None else self.at
        return _of_each(at, image.numbers) == image.t

    def _others(self, weights: Tensor, image: _Numbered) -> Tensor:
        """The weights to use instead, (n, 1 or K, L)."""
        L = weights.shape[-1]
        if self.weights == "uniform":
            return torch.full_like(weights, 1 / L)
        if self.weights == "zero":
            return torch.zeros_like(weights)
        if self.weights == "shuffled":
            orders = [
                np.random.default_rng([self.seed, image.seeds[n], image.t]).permutation(L)
                for n in image.numbers.tolist()
            ]
            order = torch.from_numpy(np.stack(orders)).to(weights.device)
            return weights.gather(-1, order[:, None].expand_as(weights))
        assert self.weights is not None and not isinstance(self.weights, str)
        return one_place(_of_each(self.weights, image.numbers), weights)[:, None]


def _of_each(value: int | Tensor, numbers: Tensor) -> Tensor:
    """The value of each of these images, (n,), from one for all or (N,)."""
    value = torch.as_tensor(value, device=numbers.device)
    return value[numbers] if value.dim() else value.expand(len(numbers))


@dataclass(frozen=True)
class TeacherForced:
    """What a decoder thinks of a given caption, word by word.

    Attributes:
        log_p: (T,) log p of each word, given those before it, in nats.
        best: (T,) the most likely word in its place.
        alpha: (T, L) where it looked.
    """

    log_p: Tensor
    best: Tensor
    alpha: Tensor


@torch.inference_mode()
def teacher_force(
    decoder: Decoder | Intervened, a: Tensor, captions: Sequence[Sequence[int]],
    attention_mode: str | None = None,
) -> list[TeacherForced]:  # fmt: skip
    """Let a decoder read captions, and note how likely each word was.

    Args:
        decoder: In evaluation mode, or under an intervention.
        a: Annotation vectors (N, L, D).
        captions: N captions as word ids, without ``<bos>``; ``<eos>`` counts if it is there.
        attention_mode: See `labkit.model.attention.Attention.encode`.

    Raises:
        ValueError: There is not one caption for each image.
    """
    if len(captions) != len(a):
        raise ValueError(f"{len(a)} images need a caption each, not {len(captions)}")
    if not len(a):
        return []
    words = pad_captions([[BOS, *caption] for caption in captions]).to(a.device)  # (N, T + 1)
    image, state = decoder.init_state(a, attention_mode=attention_mode)
    none = a.new_zeros(len(a), 0)
    steps = [(none, none.long(), a.new_zeros(len(a), 0, a.shape[1]))]
    for given, wanted in zip(words[:, :-1].T, words[:, 1:].T, strict=True):
        log_p, state, step = decoder.step(given[:, None], image, state)  # (N, 1, V)
        steps.append((log_p[:, 0].gather(1, wanted[:, None]), log_p.argmax(-1), step.alpha))
    tables = [torch.cat(parts, 1).cpu() for parts in zip(*steps, strict=True)]  # (N, T, ...)
    return [
        TeacherForced(*(table[n, : len(caption)] for table in tables))
        for n, caption in enumerate(captions)
    ]


@dataclass(frozen=True)
class Estimate:
    """A mean with its 95% interval.

    Attributes:
        n: The number of values.
        images: The number of images that they come from.
        mean: Of the values.
        low: The interval's lower end; None where there are fewer than two images.
        high: Its upper end; None like `low`.
    """

    n: int
    images: int
    mean: float
    low: float | None
    high: float | None


def estimate(values: Sequence[float], images: Sequence[int], seed: int = 0) -> Estimate | None:
    """Compute the mean of values, and a bootstrap interval over images.

    Args:
        values: One for each word, caption, ...
        images: The image that each comes from.
        seed: Of the resamples.

    Returns:
        The mean of all values, and the percentiles that hold 95% of the means of resampled images,
        each with all its values; None if there are no values.

    Raises:
        ValueError: There is not one image for each value.
    """
    if len(values) != len(images):
        raise ValueError(f"{len(values)} values need an image each, not {len(images)}")
    if not len(values):
        return None
    where = np.unique(np.asarray(images), return_inverse=True)[1]
    sums, counts = np.bincount(where, np.asarray(values, float)), np.bincount(where)

    def mean(sums: np.ndarray, counts: np.ndarray, axis: int = -1) -> np.ndarray:
        return sums.sum(axis) / counts.sum(axis)

    low = high = None
    if len(sums) > 1:
        found = bootstrap(
            (sums, counts), mean, paired=True, vectorized=True, method="percentile",
            confidence_level=CONFIDENCE, n_resamples=RESAMPLES, batch=1000,
            random_state=np.random.default_rng(seed),
        )  # fmt: skip
        low, high = map(float, found.confidence_interval)
    return Estimate(len(values), len(sums), float(mean(sums, counts)), low, high)
