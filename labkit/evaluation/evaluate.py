"""Score a model on a split: free-running captions against the human ones, never teacher forced.

On drawn scenes, where every fact is known, it is also measured where the model looks and whether
what it tells is true.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from labkit.console import complain
from labkit.data.vocabulary import Vocabulary
from labkit.distributed import ProcessGroup
from labkit.evaluation.attention_maps import MapScores, map_scores
from labkit.evaluation.metrics import Scores, score, warn_if_not_english
from labkit.evaluation.pointing_game import SceneScores, score_scenes
from labkit.features.encoder import network_of
from labkit.model.captioner import Captioner, load
from labkit.model.decoder import Decoder
from labkit.model.generation import Caption, GenerationConfig
from labkit.store.shards import FeatureStore, find_split

PICTURES = 50  # told at once,
BEAMS = 1600  # and beams of all of them together: this bounds the memory


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


def caption_split(
    decoder: Decoder, store: FeatureStore, decoding: GenerationConfig, group: ProcessGroup | None = None,
    progress: bool = True,
) -> list[Caption]:  # fmt: skip
    """Tell every picture of a store, in its order; the processes of a group share the work.

    It computes in float32, whatever the training did: so the scores hold on other processors.
    """
    group = group or ProcessGroup()
    mine = np.arange(group.rank, len(store), group.world_size)
    told: list[Caption] = []
    count = min(PICTURES, BEAMS // decoding.settled(decoder).beam)  # told at once
    with tqdm(total=len(mine), unit="image", desc="tell", disable=not progress or None) as bar:
        for start in range(0, len(mine), count):
            rows = mine[start : start + count]
            a = torch.from_numpy(store.read(rows)).float().to(group.device)  # (N, L, D)
            told += decoding(decoder, a)
            bar.update(len(rows))
    return told if group.world_size == 1 else _of_all(group, mine, told, store.length)


def _of_all(group: ProcessGroup, rows: np.ndarray, told: Sequence[Caption], length: int) -> list[Caption]:
    """Gather the captions of all processes, as tensors, in the order of the store."""
    words = torch.tensor([word for caption in told for word in caption.words], dtype=torch.int64)
    scores = torch.tensor([caption.score for caption in told], dtype=torch.float64)
    counts = torch.tensor([len(caption.words) for caption in told], dtype=torch.int64)
    alpha = torch.cat([torch.empty(0, length), *(caption.alpha for caption in told)])  # (words, L)
    order = group.gather(torch.from_numpy(rows)).argsort()
    sizes = group.gather(counts)
    parts = zip(
        group.gather(words).split(sizes.tolist()), group.gather(scores).tolist(),
        group.gather(alpha).split(sizes.tolist()), strict=True,
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
    decoding: GenerationConfig | None = None, group: ProcessGroup | None = None, progress: bool = True,
) -> Evaluation:  # fmt: skip
    """Score a model on a split.

    Args:
        decoder: in any mode, which it keeps.
        vocabulary: its words.
        store: the pictures with their human captions.
        decoding: how captions are told; by default as the decoder was configured.
        group: the processes that share the telling. Rank 0 scores while the others wait, so only
            one Java program is started; all get the scores.
        progress: show a bar, where the standard error is a terminal.

    Raises:
        ValueError: the split has no captions to score against.
    """
    decoding, group = (decoding or GenerationConfig()).settled(decoder), group or ProcessGroup()
    if not any(store.captions):
        split = f"{store.root}: {store.split}"
        raise ValueError(f"{split} has no captions: it can be captioned, not scored")
    with evaluating(decoder):
        told = caption_split(decoder, store, decoding, group, progress)
        found = group.once(lambda: _score_told(decoder, vocabulary, store, told, decoding.attention_mode))
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
    attention_mode: str,
) -> list[dict | None]:  # fmt: skip
    """Return all scores as dictionaries, since they may have to travel to other processes."""
    captions = _texts(vocabulary, store, told)
    references = {k: v for k, v in zip(store.ids, store.captions, strict=True) if v}
    scores = score(references, {image: captions[image] for image in references})
    maps = map_scores([caption.alpha for caption in told])
    scenes = score_scenes(decoder, vocabulary, store, told, attention_mode)
    return [asdict(scores), asdict(maps), scenes and asdict(scenes)]


def evaluate_model(
    run: str | Path, data: str | Path | None = None, split: str | None = None,
    decoding: GenerationConfig | None = None, progress: bool = True,
) -> Evaluation:  # fmt: skip
    """Score a trained model on a split of a store. Nothing is written.

    Args:
        run: the model's folder, or the name of one that comes with the package.
        data: the store; by default the one that a run was trained on.
        split: which split; by default the one that chose the run's epoch, or dev.
        decoding: how captions are told; by default as the model was trained to tell.
        progress: show a bar, where the standard error is a terminal.

    Returns:
        The scores, how they were told, and the captions.

    Raises:
        ValueError: the split has no captions, its features are of another encoder, or no store
            is known.
    """
    captioner = load(run)
    if (data := data or captioner.data) is None:
        raise ValueError(f"{run} comes without its data: name a store with --data")
    store = FeatureStore(data, find_split(data, split or captioner.dev_split))
    _compare_encoders(store, captioner)
    found = evaluate(captioner.decoder, captioner.vocabulary, store, decoding, progress=progress)
    references = (text for some in store.captions for text in some)
    warn_if_not_english(found.captions.values(), references)
    return found


def _compare_encoders(store: FeatureStore, captioner: Captioner) -> None:
    """See that a store's features are of the network that a model was trained with.

    Another precision is said on standard error, and scored: it changes some captions, few scores.

    Raises:
        ValueError: it is another network.
    """
    here, trained = store.encoder, captioner.encoder_facts
    if network_of(here) != network_of(trained):
        raise ValueError(
            f"{store.root} was prepared with another encoder than {captioner.name} was trained "
            "with: prepare the store anew with that one"
        )
    precisions = here.get("precision"), trained.get("precision")
    if all(precisions) and len({*precisions}) > 1:
        complain(
            f"{store.root} was prepared in {precisions[0]}, and {captioner.name} was "
            f"trained on features in {precisions[1]}: scores may differ a little"
        )
