"""Score a model on a split: free-running captions against the human ones, never teacher forced.

On drawn scenes, where every fact is known, it is also measured where the model looks and whether
what it tells is true.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, astuple, dataclass

import numpy as np
import torch
from tqdm import tqdm

from labkit.attention import LOOKS
from labkit.captions import tokenize
from labkit.decoder import Decoder, pad_captions
from labkit.decoding import MOST_WORDS, WIDEST, Caption, beam_search, greedy, within
from labkit.maps import MapScores, map_scores
from labkit.metrics import Scores, score
from labkit.pointing import SceneScores, pointing_known, scene_scores
from labkit.scenes import things_of
from labkit.shards import FeatureStore
from labkit.team import Team
from labkit.vocabulary import Vocabulary

PICTURES = 50  # told at once,
BEAMS = 1600  # and beams of all of them together: this bounds the memory
FORCED = 20  # pictures whose captions are scored at once


@dataclass(frozen=True)
class Decoding:
    """How captions are told. None stands for what the model was trained with.

    Attributes:
        beam: width of the beam search, 1 to 100; 1 is greedy. None: 5, where the model says none.
        max_words: the longest caption, 1 to 1,000 words.
        length_power: see `labkit.decoding.beam_search`, 0 to 10. None: 0.7, and 0.6 where `agreed`.
        look: a key of `labkit.attention.LOOKS`. None: the attention's own way.
        unrepeated: see `labkit.decoding.beam_search`.
        agreed: see `labkit.decoding.beam_search`.

    Raises:
        ValueError: a number is out of range.
    """

    beam: int | None = None
    max_words: int | None = None
    length_power: float | None = None
    look: str | None = None
    unrepeated: int | None = None
    agreed: bool | None = None

    def __post_init__(self):
        ranges = {
            "beam": (1, WIDEST), "max_words": (1, MOST_WORDS), "length_power": (0, 10),
            "unrepeated": (0, MOST_WORDS),
        }  # fmt: skip
        for name, (least, most) in ranges.items():
            if (value := getattr(self, name)) is not None:
                within(name, value, least, most)

    def __call__(self, decoder: Decoder, a: torch.Tensor) -> list[Caption]:
        """Tell N pictures from their annotation vectors (N, L, D)."""
        how = self.settled(decoder)
        if how.beam == 1:
            return greedy(decoder, a, how.max_words, how.look, how.unrepeated)
        return beam_search(decoder, a, *astuple(how))

    def settled(self, decoder: Decoder) -> "Decoding":
        """Fill in what the decoder was configured with."""
        config, look = decoder.config, self.look or decoder.attention.looks[0]
        unrepeated = config.unrepeated if self.unrepeated is None else self.unrepeated
        agreed = not self.beam and config.consensus > 0 if self.agreed is None else self.agreed
        power = (0.6 if agreed else 0.7) if self.length_power is None else self.length_power
        beam = self.beam or config.consensus or 5
        return Decoding(beam, self.max_words or config.max_words, power, look, unrepeated, agreed)

    def __str__(self) -> str:
        beam = f"beam search, width {self.beam}, length power {self.length_power}"
        text = "greedy" if self.beam == 1 else beam
        text += f", no {self.unrepeated} words twice" if self.unrepeated else ""
        text += ", the caption that agrees most with the others" if self.agreed else ""
        text += f", at most {self.max_words} words" if self.max_words else ""
        return f"{text}, {LOOKS[self.look]}" if self.look else text


@dataclass(frozen=True)
class Evaluation:
    """What a model scored on a split."""

    split: str
    images: int
    decoding: str  # how the captions were told
    scores: Scores
    maps: MapScores  # of the words told
    scenes: SceneScores | None  # on drawn scenes only
    captions: dict[str, str]  # image id -> what was told

    def as_dict(self) -> dict:
        """One flat object for JSON: the scores as fractions of 1, the split, the decoding."""
        facts = {"split": self.split, "images": self.images, "decoding": self.decoding}
        facts |= asdict(self.scores) | asdict(self.maps)
        return facts | (asdict(self.scenes) if self.scenes else {})


def tell_split(
    decoder: Decoder, store: FeatureStore, decoding: Decoding, team: Team | None = None,
    progress: bool = True,
) -> list[Caption]:  # fmt: skip
    """Tell every picture of a store, in its order; the processes of a team share the work.

    It computes in float32, whatever the training did: so the scores hold on other processors.
    """
    team = team or Team()
    mine = np.arange(team.rank, len(store), team.world)
    told: list[Caption] = []
    count = min(PICTURES, BEAMS // decoding.settled(decoder).beam)  # told at once
    with tqdm(total=len(mine), unit="image", desc="tell", disable=not progress or None) as bar:
        for start in range(0, len(mine), count):
            rows = mine[start : start + count]
            a = torch.from_numpy(store.read(rows)).float().to(team.device)  # (N, L, D)
            told += decoding(decoder, a)
            bar.update(len(rows))
    return told if team.world == 1 else _of_all(team, mine, told, store.length)


def _of_all(team: Team, rows: np.ndarray, told: Sequence[Caption], length: int) -> list[Caption]:
    """Gather the captions of all processes, as tensors, in the order of the store."""
    words = torch.tensor([word for caption in told for word in caption.words], dtype=torch.int64)
    scores = torch.tensor([caption.score for caption in told], dtype=torch.float64)
    counts = torch.tensor([len(caption.words) for caption in told], dtype=torch.int64)
    alpha = torch.cat([torch.empty(0, length), *(caption.alpha for caption in told)])  # (words, L)
    order = team.gather(torch.from_numpy(rows)).argsort()
    sizes = team.gather(counts)
    parts = zip(
        team.gather(words).split(sizes.tolist()), team.gather(scores).tolist(),
        team.gather(alpha).split(sizes.tolist()), strict=True,
    )  # fmt: skip
    captions = [Caption(words.tolist(), score, alpha) for words, score, alpha in parts]
    return [captions[row] for row in order]


@contextmanager
def evaluating(decoder: Decoder) -> Iterator[None]:
    """Put a decoder into evaluation mode for a block, and leave each part of it as it was."""
    modes = [(module, module.training) for module in decoder.modules()]
    decoder.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def evaluate(
    decoder: Decoder, vocabulary: Vocabulary, store: FeatureStore,
    decoding: Decoding | None = None, team: Team | None = None, progress: bool = True,
) -> Evaluation:  # fmt: skip
    """Score a model on a split.

    Args:
        decoder: in any mode, which it keeps.
        vocabulary: its words.
        store: the pictures with their human captions.
        decoding: how captions are told; by default as the decoder was configured.
        team: the processes that share the telling. Rank 0 scores while the others wait, so only
            one Java program is started; all get the scores.
        progress: show a bar, where the standard error is a terminal.

    Raises:
        ValueError: the split has no captions to score against.
    """
    decoding, team = (decoding or Decoding()).settled(decoder), team or Team()
    if not any(store.captions):
        split = f"{store.root}: {store.split}"
        raise ValueError(f"{split} has no captions: it can be captioned, not scored")
    with evaluating(decoder):
        told = tell_split(decoder, store, decoding, team, progress)
        found = team.once(lambda: _score_told(decoder, vocabulary, store, told, decoding.look))
    scores, maps, scenes = Scores(**found[0]), MapScores(**found[1]), None
    if found[2] is not None:
        scenes = SceneScores(**found[2])
    captions = _texts(vocabulary, store, told)
    images = sum(map(bool, store.captions))
    return Evaluation(store.split, images, str(decoding), scores, maps, scenes, captions)


def _texts(
    vocabulary: Vocabulary, store: FeatureStore, told: Sequence[Caption]
) -> dict[str, str]:  # fmt: skip
    return dict(zip(store.ids, (vocabulary.decode(c.words) for c in told), strict=True))


def _score_told(
    decoder: Decoder, vocabulary: Vocabulary, store: FeatureStore, told: Sequence[Caption],
    look: str,
) -> list[dict | None]:  # fmt: skip
    """Give all scores as dictionaries, since they may have to travel to other processes."""
    captions = _texts(vocabulary, store, told)
    references = {k: v for k, v in zip(store.ids, store.captions, strict=True) if v}
    scores = score(references, {image: captions[image] for image in references})
    maps, scenes = map_scores([caption.alpha for caption in told]), None
    if "things" in store.facts[0]:
        scenes = asdict(_score_scenes(decoder, vocabulary, store, told, look))
    return [asdict(scores), asdict(maps), scenes]


def _score_scenes(
    decoder: Decoder, vocabulary: Vocabulary, store: FeatureStore, told: Sequence[Caption],
    look: str,
) -> SceneScores:
    """Where it looked, teacher forced and free running, and whether it told the truth."""
    grid = grid_of(store.encoder, store.length)
    hits = total = 0
    for start in range(0, len(store), PICTURES):
        rows = range(start, min(start + PICTURES, len(store)))
        pairs = [(row, number) for row in rows for number in range(len(store.captions[row]))]
        alpha = look_teacher_forced(decoder, vocabulary, store, pairs, look)
        texts = [store.captions[row][number] for row, number in pairs]
        boxes = [store.boxes[row][number] for row, number in pairs]
        found = pointing_known(texts, boxes, alpha, grid)
        hits, total = hits + found[0], total + found[1]
    words = [tokenize(vocabulary.decode(caption.words)) for caption in told]
    pairs = [(word, caption.alpha) for word, caption in zip(words, told, strict=True)]
    return scene_scores(pairs, [things_of(f) for f in store.facts], grid, (hits, total))


@torch.inference_mode()
def look_teacher_forced(
    decoder: Decoder, vocabulary: Vocabulary, store: FeatureStore, pairs: Sequence[tuple[int, int]],
    look: str | None = None,
) -> torch.Tensor:
    """Where the model looks while it is made to tell the human captions.

    Args:
        decoder: in evaluation mode.
        vocabulary: its words.
        store: the pictures.
        pairs: (row of the store, number of its caption), C of them.
        look: how to look, see `labkit.attention.Attention.see`.

    Returns:
        alpha (C, T, L); row t belongs to word t of the caption.
    """
    device = next(decoder.parameters()).device
    rows, where = np.unique([row for row, _ in pairs], return_inverse=True)
    a = torch.from_numpy(store.read(rows)).float()[where].to(device)  # (C, L, D)
    captions = pad_captions([vocabulary.encode(store.captions[r][k]) for r, k in pairs])
    return decoder(a, captions.to(device), look).alpha.cpu()


@torch.inference_mode()
def word_loss(
    decoder: Decoder, vocabulary: Vocabulary, store: FeatureStore, max_words: int,
    team: Team | None = None,
) -> float:  # fmt: skip
    """Mean of -log p of a word of the human captions, in nats, teacher forced, without smoothing.

    Args:
        decoder: in evaluation mode.
        vocabulary: its words.
        store: the pictures; those without captions are left out.
        max_words: longer captions are cut, as in training.
        team: the processes that share the work.
    """
    team, surprise, words = team or Team(), 0.0, 0
    rows = [row for row in range(len(store)) if store.captions[row]][team.rank :: team.world]
    for start in range(0, len(rows), FORCED):
        some = rows[start : start + FORCED]
        where = np.repeat(np.arange(len(some)), [len(store.captions[row]) for row in some])
        a = torch.from_numpy(store.read(some)).float()[where].to(team.device)  # (C, L, D)
        ids = [vocabulary.encode(text, max_words) for row in some for text in store.captions[row]]
        told = decoder(a, pad_captions(ids).to(team.device))
        surprise -= told.log_p.gather(1, told.targets[:, None]).sum().item()
        words += len(told.targets)
    surprise, words = team.total(surprise, words)
    return surprise / words


def grid_of(encoder: dict, length: int) -> tuple[int, int]:
    """Rows and columns of the grid, from what a store says of its encoder.

    Raises:
        ValueError: nothing is known of the grid, and L is not a square number.
    """
    if "grid" in encoder:
        return tuple(encoder["grid"])
    side = round(length**0.5)
    if side * side != length:
        raise ValueError(f"{length} regions make no square grid, and the store names no other")
    return side, side
