"""Score a model on a split: generated captions against the references, never teacher forced.

On synthetic scenes, about which everything is known, it also measures where the model looks and
whether its captions are true.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from labkit.console import complain
from labkit.data.vocabulary import Vocabulary
from labkit.distributed import ProcessGroup
from labkit.evaluation.attention_maps import MapScores, map_scores
from labkit.evaluation.meteor import start_meteor
from labkit.evaluation.metrics import Scores, score
from labkit.evaluation.pointing_game import SceneScores, score_scenes
from labkit.evaluation.results import warn_if_not_english
from labkit.features.facts import network_of
from labkit.model.captioner import Captioner, decoding_of, with_own_mode
from labkit.model.captions import Caption
from labkit.model.config import GenerationConfig
from labkit.model.decoder import Decoder
from labkit.model.generation import generate
from labkit.model.word_detector import WordDetector
from labkit.store.shards import FeatureStore, find_split

BATCH_SIZE = 50  # images captioned at once,
BEAMS = 1600  # and beams of all of them together: this bounds the memory


@dataclass(frozen=True)
class Evaluation:
    """The scores of a model on a split.

    Attributes:
        split: The split's name.
        images: The number of images with references.
        decoding: How the captions were generated, in words.
        scores: The metrics of the generated captions.
        maps: Statistics of the attention maps of the generated words.
        scenes: The pointing game and the truth of captions; None unless on synthetic scenes.
        captions: The generated caption of each image, by its id.
    """

    split: str
    images: int
    decoding: str
    scores: Scores
    maps: MapScores
    scenes: SceneScores | None
    captions: dict[str, str]

    def as_dict(self) -> dict[str, Any]:
        """Return one flat object for JSON: scores as fractions of 1, the split, the decoding."""
        facts = {"split": self.split, "images": self.images, "decoding": self.decoding}
        facts |= asdict(self.scores) | asdict(self.maps)
        return facts | (asdict(self.scenes) if self.scenes else {})


def caption_split(
    decoder: Decoder, store: FeatureStore, config: GenerationConfig,
    group: ProcessGroup | None = None, progress: bool = True, suppress_tokens: Sequence[int] = (),
    detector: WordDetector | None = None,
) -> list[Caption]:  # fmt: skip
    """Caption every image of a store.

    It computes in float32, whatever the training used, so that scores hold on other processors.

    Args:
        decoder: In evaluation mode.
        store: The images.
        config: How to generate captions.
        group: The processes that share the work; None is this process alone.
        progress: Show a progress bar, if standard error is a terminal.
        suppress_tokens: Ids of words that are not to be generated.
        detector: See `labkit.model.generation.generate`.

    Returns:
        A caption for each image, in the order of the store, on every process.
    """
    group = group or ProcessGroup()
    mine = np.arange(group.rank, len(store), group.world_size)
    captions: list[Caption] = []
    count = min(BATCH_SIZE, BEAMS // (config.mbr_candidates or config.num_beams))
    with tqdm(total=len(mine), unit="image", desc="caption", disable=not progress or None) as bar:
        for start in range(0, len(mine), count):
            rows = mine[start : start + count]
            a = torch.from_numpy(store.read(rows)).float().to(group.device)  # (N, L, D)
            captions += generate(decoder, a, config, suppress_tokens, detector)
            bar.update(len(rows))
    return captions if group.world_size == 1 else _gather(group, mine, captions, store.length)


def _gather(
    group: ProcessGroup, rows: np.ndarray, captions: Sequence[Caption], length: int
) -> list[Caption]:
    """Gather the captions of all processes, as tensors, in the order of the store."""
    words = torch.tensor([word for one in captions for word in one.words], dtype=torch.int64)
    scores = np.array([[one.score, one.evidence] for one in captions], float).reshape(-1, 2)
    counts = torch.tensor([len(one.words) for one in captions], dtype=torch.int64)
    alpha = torch.cat([torch.empty(0, length), *(one.alpha for one in captions)])  # (words, L)
    order = group.gather(torch.from_numpy(rows)).argsort()
    sizes = group.gather(counts)
    parts = zip(
        group.gather(words).split(sizes.tolist()), group.gather(torch.from_numpy(scores)).tolist(),
        group.gather(alpha).split(sizes.tolist()), strict=True,
    )  # fmt: skip
    gathered = [
        Caption(words.tolist(), score, alpha, None if np.isnan(evidence) else evidence)
        for words, (score, evidence), alpha in parts
    ]
    return [gathered[row] for row in order]


@contextmanager
def evaluating(decoder: Decoder) -> Iterator[None]:
    """Put a decoder into evaluation mode for a block; afterwards restore each module's mode."""
    modes = [(module, module.training) for module in decoder.modules()]
    decoder.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def evaluate(
    decoder: Decoder, vocabulary: Vocabulary, store: FeatureStore,
    config: GenerationConfig | None = None, group: ProcessGroup | None = None,
    progress: bool = True, suppress_tokens: Sequence[int] = (),
    detector: WordDetector | None = None,
) -> Evaluation:  # fmt: skip
    """Score a model on a split.

    Args:
        decoder: In any mode; the mode is restored.
        vocabulary: Its words.
        store: The images with their references.
        config: How to generate captions; None uses the defaults of `GenerationConfig`.
        group: The processes that share the work; None is this process alone. Rank 0 computes the
            scores while the others wait, so only one Java program is started; all get the scores.
        progress: Show a progress bar, if standard error is a terminal.
        suppress_tokens: Ids of words that are not to be generated.
        detector: See `labkit.model.generation.generate`.

    Returns:
        The scores and the captions, on every process.

    Raises:
        ValueError: The split has no references.

    Example:
        >>> from labkit import Captioner, FeatureStore, evaluate, prepare_scenes
        >>> store = prepare_scenes("stores/few", count=8, progress=False)
        >>> captioner = Captioner.from_pretrained("scenes-soft")
        >>> test = FeatureStore(store, "test")
        >>> found = evaluate(captioner.decoder, captioner.vocabulary, test, progress=False)
        >>> found.images, found.scores.bleu4 > 0.5
        (10, True)
    """
    config, group = config or GenerationConfig(), group or ProcessGroup()
    config = with_own_mode(config, decoder)
    if not any(store.captions):
        split = f"{store.root}: {store.split}"
        raise ValueError(f"{split} has no captions: it can be captioned, not scored")
    if group.is_main:
        start_meteor([*vocabulary.words, *chain(*store.captions)])  # and do not wait
    with evaluating(decoder):
        options = (config, group, progress, suppress_tokens, detector)
        generated, mode = caption_split(decoder, store, *options), config.attention_mode
        found = group.once(lambda: _all_scores(decoder, vocabulary, store, generated, mode))
    scores, maps = Scores(**found[0]), MapScores(**found[1])
    scenes = None if found[2] is None else SceneScores(**found[2])
    images = sum(map(bool, store.captions))
    texts = _texts(vocabulary, store, generated)
    decoding = decoding_of(config, decoder, detector)
    if suppress_tokens:
        decoding += f", never {', '.join(vocabulary.words[word] for word in suppress_tokens)}"
    return Evaluation(store.split, images, decoding, scores, maps, scenes, texts)


def _texts(
    vocabulary: Vocabulary, store: FeatureStore, captions: Sequence[Caption]
) -> dict[str, str]:
    return dict(zip(store.ids, (vocabulary.decode(one.words) for one in captions), strict=True))


def _all_scores(
    decoder: Decoder, vocabulary: Vocabulary, store: FeatureStore, captions: Sequence[Caption],
    attention_mode: str | None,
) -> list[Any]:  # fmt: skip
    """Compute all scores, as dictionaries so that they can be sent to other processes."""
    texts = _texts(vocabulary, store, captions)
    references = {k: v for k, v in zip(store.ids, store.captions, strict=True) if v}
    scores = score(references, {image: texts[image] for image in references})
    maps = map_scores([caption.alpha for caption in captions])
    scenes = score_scenes(decoder, vocabulary, store, captions, attention_mode)
    return [asdict(scores), asdict(maps), scenes and asdict(scenes)]


def evaluate_model(
    run: str | Path, store: str | Path | None = None, split: str | None = None,
    config: GenerationConfig | None = None, progress: bool = True, suppress: Sequence[str] = (),
    group: ProcessGroup | None = None, **overrides: Any,
) -> Evaluation:  # fmt: skip
    """Score a trained model on a split of a store. Nothing is written.

    Args:
        run: The run's folder, or the name of a model that comes with the package.
        store: The store's folder; None uses the one that the run was trained on.
        split: The split; None uses the one that chose the run's epoch, or dev.
        config: How to generate captions; None uses the model's own configuration.
        progress: Show a progress bar, if standard error is a terminal.
        suppress: Words that are not to be generated.
        group: The processes that share the work, see `evaluate`.
        overrides: Fields of `GenerationConfig` to change, such as ``num_beams=3``; None changes
            nothing.

    Returns:
        The scores, how the captions were generated, and the captions.

    Raises:
        ValueError: The split has no references, its features come from another encoder, no store is
            known, the vocabulary has no such word, or an override is unknown or out of range.
    """
    captioner = Captioner.from_pretrained(run)
    features = images_for(captioner, store, split or captioner.dev_split)
    group = group or ProcessGroup()
    config = (config or captioner.generation).updated(overrides)
    decoder, vocabulary = captioner.decoder.to(group.device), captioner.vocabulary
    never = vocabulary.ids(suppress)
    found = evaluate(
        decoder, vocabulary, features, config, group, progress, never,
        captioner.detector and captioner.detector.to(group.device),
    )  # fmt: skip
    if group.is_main:
        references = (text for texts in features.captions for text in texts)
        warn_if_not_english(found.captions.values(), references)
    return found


def images_for(captioner: Captioner, store: str | Path | None, split: str) -> FeatureStore:
    """Open a split for a model, as `evaluate_model` does."""
    if (store := store or training_store(captioner)) is None:
        raise ValueError(f"{captioner.name} comes without its data: name a store with --data")
    images = FeatureStore(store, find_split(store, split))
    compare_encoders(images, captioner)
    return images


def training_store(captioner: Captioner) -> str | None:
    """Where the store lies that a model was trained on; None if the model does not know.

    Raises:
        FileNotFoundError: It is not there any more.
    """
    if captioner.data is not None and not Path(captioner.data).is_dir():
        raise FileNotFoundError(
            f"{captioner.name} was trained on {captioner.data}, which is not there: name it with "
            "--data"
        )
    return captioner.data


def compare_encoders(store: FeatureStore, captioner: Captioner) -> None:
    """Check that a store's features come from the network that a model was trained with.

    Another precision is only reported on standard error: it changes some captions, but the scores
    little.

    Raises:
        ValueError: It is another network.
    """
    here, trained = store.encoder, captioner.encoder_facts
    if network_of(here) != network_of(trained):
        raise ValueError(
            f"{store.root} was prepared with another encoder than {captioner.name} was trained "
            "with: prepare the store again with that encoder"
        )
    precisions = here.get("precision"), trained.get("precision")
    if all(precisions) and len({*precisions}) > 1:
        complain(
            f"{store.root} was prepared in {precisions[0]}, and {captioner.name} was "
            f"trained on features in {precisions[1]}: scores may differ a little"
        )
