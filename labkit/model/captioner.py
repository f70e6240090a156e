"""A trained model as one thing: photograph in, words and where they looked out."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from labkit.data.photos import read_photo, to_input
from labkit.data.vocabulary import Vocabulary
from labkit.features.encoder import Encoder, EncoderConfig, grid_of, load_encoder, network_of
from labkit.files import keep_freed_memory
from labkit.model.decoder import Decoder
from labkit.model.generation import GenerationConfig
from labkit.model.model_files import read_model


@dataclass(frozen=True)
class CaptionedPhoto:
    """What a model tells of one photograph."""

    words: list[str]  # T words
    score: float  # log p of the caption, by beam search divided by a power of its length
    alpha: np.ndarray  # (T, rows, columns), each map sums to 1

    @property
    def text(self) -> str:
        """The caption."""
        return " ".join(self.words)


@dataclass
class Captioner:
    """Encoder, decoder and vocabulary that belong together."""

    decoder: Decoder  # in evaluation mode
    vocabulary: Vocabulary
    encoder_facts: dict[str, Any]  # what Encoder.describe() said when it was trained
    name: str
    data: str | None = None  # the store it was trained on; None where that is not at hand
    dev_split: str = "dev"  # the split of it that chose the epoch

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
    def tell(self, photo: Any, decoding: GenerationConfig | None = None) -> CaptionedPhoto:
        """Tell one photograph.

        Args:
            photo: a file, a PIL image of any mode, or an array (height, width, 3) of bytes.
            decoding: how; by default as the model was made to tell, see `GenerationConfig`.

        Raises:
            FileNotFoundError: there is no such file.
            DataError: the file is no photograph that can be read.
        """
        image = read_photo(photo) if isinstance(photo, str | Path) else photo
        pixels = torch.from_numpy(to_input(image, self.encoder.config.size))[None]
        return self.generate(self.encoder(pixels), decoding)[0]

    def generate(self, a: torch.Tensor, decoding: GenerationConfig | None = None) -> list[CaptionedPhoto]:
        """Tell pictures from their annotation vectors (N, L, D)."""
        rows, columns = grid_of(self.encoder_facts, a.shape[1])
        told = []
        for caption in (decoding or GenerationConfig())(self.decoder, a):
            words = [self.vocabulary.words[word] for word in caption.words]
            alpha = caption.alpha.reshape(-1, rows, columns).numpy()
            told.append(CaptionedPhoto(words, caption.score, alpha))
        return told


PRETRAINED = Path(__file__).parents[1] / "pretrained"
FILES = ("config.json", "vocabulary.json", "model.safetensors")


def shipped() -> list[str]:
    """The names of the models that come with the package; each folder has a card, card.md."""
    return sorted(folder.name for folder in PRETRAINED.iterdir() if folder.is_dir())


def load(model: str | Path) -> Captioner:
    """Load a trained model: one that comes with the package, or the folder of a run.

    A folder comes first where both have the name.

    Raises:
        FileNotFoundError: there is no such model.
        ValueError: a file of it is damaged, of another version, or does not fit the others.
    """
    folder = Path(model)
    if not folder.is_dir() and str(model) in shipped():
        folder = PRETRAINED / model
    files = [folder / name for name in FILES]
    for file in files:
        if not file.exists():
            raise FileNotFoundError(
                f"{model} is no trained model, it has no {file.name}: train one with labkit train "
                f"STORE --out {model}, or take one of {', '.join(shipped())}"
            )
    keep_freed_memory()
    decoder, vocabulary, config = read_model(*files)
    facts, data = config["encoder"], config.get("data")
    dev = config["train"].get("dev_split") or "dev"
    return Captioner(decoder.eval(), vocabulary, facts, str(model), data, dev)
