"""A trained model as one thing: photograph in, words and where they attended out."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image

from labkit.data.photos import read_photo, to_input
from labkit.data.vocabulary import Vocabulary
from labkit.features.encoder import Encoder, EncoderConfig, load_encoder
from labkit.features.facts import grid_of, network_of
from labkit.files import keep_freed_memory
from labkit.model.calibration import Calibration
from labkit.model.checkpoint import checksum
from labkit.model.config import GenerationConfig
from labkit.model.decoder import Decoder
from labkit.model.generation import generate
from labkit.model.model_files import FILES, read_model
from labkit.model.word_detector import WordDetector

PRETRAINED = Path(__file__).parents[1] / "pretrained"


@dataclass(frozen=True)
class CaptionedPhoto:
    """What a model wrote about one photograph.

    Attributes:
        words: The T words of the caption.
        score: log p of the caption; by beam search divided by a power of its length.
        alpha: (T, rows, columns) where each word attended; each map sums to 1.
        wrong: How often captions like it were wrong, 0 to 1, see `Calibration`; None if
            the model has no calibration for the way the caption was generated.
    """

    words: list[str]
    score: float
    alpha: np.ndarray
    wrong: float | None = None

    @property
    def text(self) -> str:
        """The caption."""
        return " ".join(self.words)

    def __repr__(self) -> str:
        return f"CaptionedPhoto({self.text!r})"


@dataclass
class Captioner:
    """Encoder, decoder and vocabulary that belong together.

    Attributes:
        decoder: In evaluation mode.
        vocabulary: Its words.
        encoder_facts: What `Encoder.describe()` said when the model was trained.
        name: The model's name or folder, for messages.
        generation: How it captions, unless asked otherwise.
        data: The store it was trained on; None where that is not at hand.
        dev_split: The split of it that chose the epoch.
        train_split: The split of it that it was trained on.
        calibration: How often its captions are wrong, by their scores; None if not measured.
        detector: Which words an image calls for; None if none was fitted.

    Example:
        >>> from importlib.resources import files
        >>> from labkit import Captioner
        >>> captioner = Captioner.from_pretrained("flickr8k-soft")
        >>> photo = captioner.caption(files("skimage") / "data" / "astronaut.png", num_beams=3)
        >>> len(photo.words) == len(photo.alpha)
        True
    """

    decoder: Decoder
    vocabulary: Vocabulary
    encoder_facts: dict[str, Any]
    name: str
    generation: GenerationConfig = field(default_factory=GenerationConfig)
    data: str | None = None
    dev_split: str = "dev"
    calibration: Calibration | None = None
    detector: WordDetector | None = None
    train_split: str = "train"

    def __repr__(self) -> str:
        attention, words = self.decoder.config.attention, len(self.vocabulary)
        return f"Captioner({self.name!r}, {attention} attention, {words} words)"

    @classmethod
    def from_pretrained(
        cls, model: str | Path, *, without: Sequence[Literal["calibration", "detector"]] = ()
    ) -> "Captioner":
        """Load a trained model: one that comes with the package, or the folder of a run.

        Args:
            model: A name of `list_pretrained`, or a folder; a folder comes first.
            without: Parts to leave out, which were fitted to it later: their files may be damaged.

        Raises:
            FileNotFoundError: There is no such model.
            ValueError: A file of it is damaged, of another version, or does not fit the others.
        """
        folder = Path(model)
        if not folder.is_dir() and str(model) in list_pretrained():
            folder = PRETRAINED / model
        files = [folder / name for name in FILES]
        for file in files:
            if not file.exists():
                raise FileNotFoundError(
                    f"{model} is not a trained model, it has no {file.name}: train one with labkit "
                    f"train STORE --out {model}, or take one of {', '.join(list_pretrained())}"
                )
        keep_freed_memory()
        decoder, vocabulary, generation, config = read_model(*files)
        splits = (config["training"].get(f"{name}_split") or name for name in ("dev", "train"))
        dev, train = map(str, splits)
        captioner = cls(
            decoder.eval(), vocabulary, config["encoder"], str(model), generation,
            config.get("data"), dev, train_split=train,
        )  # fmt: skip
        if "detector" not in without:
            weights = checksum(decoder.state_dict())
            captioner.detector = WordDetector.load(folder, decoder, weights)
        if "calibration" not in without:
            captioner.calibration = Calibration.load(folder, captioner.checksum())
        return captioner

    def checksum(self) -> str:
        """Compute the CRC-32 of all numbers that captions come from, for a calibration."""
        parts = dict(self.decoder.state_dict())
        if self.detector and self.generation.mbr_candidates > 1:
            parts |= {f"detector.{name}": one for name, one in self.detector.tensors().items()}
        return checksum(parts)

    @cached_property
    def encoder(self) -> Encoder:
        """The network that the decoder was trained with, loaded when first needed.

        It computes in float32, so that a photograph gets the same caption on every processor.

        Raises:
            FileNotFoundError: the file of its weights is not where it was.
            ValueError: the network here has other weights, or the model does not say which it was.
        """
        names = EncoderConfig.__dataclass_fields__
        facts = {name: value for name, value in self.encoder_facts.items() if name in names}
        if not {"name", "size", "block", "weights_hash"} <= self.encoder_facts.keys():
            raise ValueError(f"{self.name} does not say which encoder it was trained with")
        encoder = load_encoder(EncoderConfig(**facts))
        asked = self.encoder_facts["weights_hash"]
        if encoder.weights_hash != asked:
            raise ValueError(
                f"{self.name} was trained with other weights of {encoder.config.name}: name the "
                f"file with those of hash {asked} in its config.json, under encoder, weights"
            )
        here = network_of(encoder.describe())
        for key, value in network_of(self.encoder_facts).items():
            if here.get(key) != value:
                what = f"{key} is {value}, and {here.get(key)} here"
                raise ValueError(f"{self.name} was trained with another encoder: its {what}")
        return encoder

    @torch.inference_mode()
    def caption(
        self, photo: str | Path | Image.Image | np.ndarray, config: GenerationConfig | None = None,
        suppress: Sequence[str] = (), **overrides: Any,
    ) -> CaptionedPhoto:  # fmt: skip
        """Caption one photograph.

        Args:
            photo: A file, a PIL image of any mode, or an array (height, width, 3) of uint8.
            config: How; by default as the model's `generation` says.
            suppress: Words that are not to be generated.
            overrides: Fields of `GenerationConfig` to change, such as ``num_beams=3``.

        Raises:
            FileNotFoundError: There is no such file.
            TypeError: It is a tensor.
            DataError: The file is not a photograph that can be read.
            ValueError: An override is unknown or out of range, or the vocabulary has no such word.
        """
        if isinstance(photo, torch.Tensor):
            raise TypeError("caption takes a photograph, not a tensor: features go to `generate`")
        image = photo if isinstance(photo, Image.Image | np.ndarray) else read_photo(photo)
        pixels = torch.from_numpy(to_input(image, self.encoder.config.size))[None]
        return self.generate(self.encoder(pixels), config, suppress, **overrides)[0]

    __call__ = caption  # as a pipeline or a torch module is used

    def generate(
        self, features: torch.Tensor, config: GenerationConfig | None = None,
        suppress: Sequence[str] = (), **overrides: Any,
    ) -> list[CaptionedPhoto]:  # fmt: skip
        """Caption N images from their annotation vectors.

        Args:
            features: (N, L, encoder_dim), as `Encoder` gives them.
            config: As in `caption`.
            suppress: As in `caption`.
            overrides: As in `caption`.

        Raises:
            TypeError: These are not features.
            ValueError: The features have another shape, an override is out of range, or the
                vocabulary has no such word.
        """
        config = (config or self.generation).updated(overrides)
        if not isinstance(features, torch.Tensor):
            found = type(features).__name__
            raise TypeError(f"generate takes features, not a {found}: photographs go to `caption`")
        dim, shape = self.decoder.config.encoder_dim, tuple(features.shape)
        rows, columns = grid_of(self.encoder_facts, features.shape[-2] if features.dim() > 1 else 0)
        if len(shape) != 3 or shape[1:] != (rows * columns, dim):
            expected = f"(N, {rows * columns}, {dim})"
            raise ValueError(f"{self.name} needs features {expected}, not {shape}")
        photos, curve = [], self.calibration
        never = self.vocabulary.ids(suppress)
        how = decoding_of(config, self.decoder, self.detector)
        if curve is not None and (never or curve.decoding != how):
            curve = None  # it holds for captions generated in another way
        for caption in generate(self.decoder, features.float(), config, never, self.detector):
            words = [self.vocabulary.words[word] for word in caption.words]
            alpha = caption.alpha.reshape(-1, rows, columns).numpy()
            wrong = None if curve is None else curve.share_wrong(caption.score, caption.evidence)
            photos.append(CaptionedPhoto(words, caption.score, alpha, wrong))
        return photos


def with_own_mode(config: GenerationConfig, decoder: Decoder) -> GenerationConfig:
    """Name the attention mode that a decoder takes by itself, where the configuration has none."""
    modes: Sequence[Any] = decoder.attention.attention_modes
    return replace(config, attention_mode=config.attention_mode or next(iter(modes), None))


def decoding_of(
    config: GenerationConfig, decoder: Decoder, detector: WordDetector | None = None
) -> str:
    """Say in words how captions are generated: the configuration, and whether a detector helps."""
    also = ", with a word detector" if detector and config.mbr_candidates > 1 else ""
    return f"{with_own_mode(config, decoder)}{also}"


def list_pretrained() -> list[str]:
    """The names of the models that come with the package; each folder has a card, card.md."""
    return sorted(folder.name for folder in PRETRAINED.iterdir() if folder.is_dir())
