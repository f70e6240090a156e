"""A trained model as one thing: photograph in, words and where they looked out."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from labkit import checkpoint
from labkit.decoder import Decoder, DecoderConfig
from labkit.encoder import Encoder, EncoderConfig, load_encoder
from labkit.evaluation import Decoding, evaluate, grid_of
from labkit.figures import attention_strip
from labkit.files import keep_freed_memory, read_json, whole, write_json
from labkit.photos import read_photo, to_input
from labkit.results import write_results
from labkit.shards import FeatureStore, find_split, splits_like
from labkit.vocabulary import Vocabulary


@dataclass(frozen=True)
class ToldPhoto:
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

        Raises:
            ValueError: the network here has other weights.
        """
        names = EncoderConfig.__dataclass_fields__
        facts = {name: value for name, value in self.encoder_facts.items() if name in names}
        encoder = load_encoder(EncoderConfig(**facts))
        if encoder.weights_hash != self.encoder_facts["weights_hash"]:
            raise ValueError(
                f"{self.name} was trained with other weights of {encoder.config.name}: "
                f"name the file with those of hash {self.encoder_facts['weights_hash']}"
            )
        return encoder

    @torch.inference_mode()
    def tell(self, photo: Any, decoding: Decoding | None = None) -> ToldPhoto:
        """Tell one photograph.

        Args:
            photo: a file, a PIL image, or an array (height, width, 3) of bytes.
            decoding: how; by default as the model was made to tell, see `Decoding`.

        Raises:
            FileNotFoundError: there is no such file.
            DataError: the file is no photograph that can be read.
        """
        image = read_photo(photo) if isinstance(photo, str | Path) else photo
        pixels = torch.from_numpy(to_input(image, self.encoder.config.size))[None]
        return self.tell_features(self.encoder(pixels), decoding)[0]

    def tell_features(self, a: torch.Tensor, decoding: Decoding | None = None) -> list[ToldPhoto]:
        """Tell pictures from their annotation vectors (N, L, D)."""
        rows, columns = grid_of(self.encoder_facts, a.shape[1])
        told = []
        for caption in (decoding or Decoding())(self.decoder, a):
            words = [self.vocabulary.words[word] for word in caption.words]
            alpha = caption.alpha.reshape(-1, rows, columns).numpy()
            told.append(ToldPhoto(words, caption.score, alpha))
        return told


PRETRAINED = Path(__file__).parent / "pretrained"
FILES = ("config.json", "vocabulary.json", "model.safetensors")


def shipped() -> list[str]:
    """The names of the models that come with the package; each folder has a card, card.md."""
    return sorted(folder.name for folder in PRETRAINED.iterdir() if folder.is_dir())


def load(model: str | Path) -> Captioner:
    """Load a trained model: one that comes with the package, or the folder of a run.

    A folder comes first where both have the name.

    Raises:
        FileNotFoundError: there is no such model.
        ValueError: a file of it is damaged.
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
    config = read_json(files[0])
    decoder = Decoder(DecoderConfig(**config["decoder"]))
    tensors, _ = checkpoint.load(files[2])
    decoder.load_state_dict({name: value.float() for name, value in tensors.items()})
    vocabulary = Vocabulary.load(files[1])
    dev = config.get("train", {}).get("dev_split") or "dev"
    facts, data = config["encoder"], config["data"]
    return Captioner(decoder.eval(), vocabulary, facts, str(model), data, dev)


def evaluate_run(
    run: str | Path, data: str | Path | None = None, split: str | None = None,
    beam: int | None = None, look: str | None = None, json: str | Path | None = None,
    captions: str | Path | None = None, length_power: float | None = None, progress: bool = True,
) -> dict[str, Any]:  # fmt: skip
    """Score a trained model on a split of a store.

    Args:
        run: the model's folder.
        data: the store; by default the one that a run was trained on.
        split: which split; by default the one that chose the run's epoch, or dev.
        beam: width of the beam search; 1 is greedy. By default as the model was made to tell.
        look: a key of `labkit.attention.LOOKS`; by default the attention's own way.
        json: where to write the scores.
        captions: where to write what was told, in COCO's results format.
        length_power: see `labkit.decoding.beam_search`.
        progress: show a bar, where the standard error is a terminal.

    Returns:
        The scores as fractions of 1, the split, the number of images, how they were told.

    Raises:
        ValueError: the split has no captions, its features are of another encoder, or no store
            is known.
    """
    captioner = load(run)
    if (data := data or captioner.data) is None:
        raise ValueError(f"{run} comes without its data: name a store with --data")
    usual = (splits_like(data, captioner.dev_split) or ["dev"])[0]
    store = FeatureStore(data, find_split(data, split or usual))
    if store.encoder != captioner.encoder_facts:
        raise ValueError(
            f"{store.root} was prepared with another encoder than {run} was trained with: "
            "prepare the store anew with that one"
        )
    decoding = Decoding(beam, length_power=length_power, look=look)
    found = evaluate(captioner.decoder, captioner.vocabulary, store, decoding, progress=progress)
    if json:
        write_json(json, found.as_dict())
    if captions:
        write_results(captions, found.captions)
    return found.as_dict()


def caption_photos(
    run: str | Path, photos: Sequence[str | Path], out: str | Path, beam: int | None = None,
    look: str | None = None,
) -> list[str]:
    """Tell photographs: print each caption, draw where each word looked.

    A photograph that cannot be read is told of on standard error, and the others go on.

    Args:
        run: the model's folder.
        photos: files.
        out: folder for one picture a photograph, named like it.
        beam: as in `evaluate_run`.
        look: a key of `labkit.attention.LOOKS`; by default the attention's own way.

    Returns:
        The files that could not be read.
    """
    captioner = load(run)
    wrong, used = [], set()
    Path(out).mkdir(parents=True, exist_ok=True)
    for photo in map(Path, photos):
        try:
            image = read_photo(photo)
        except (OSError, ValueError) as error:
            print(f"labkit: {error}", file=sys.stderr)
            wrong.append(str(photo))
            continue
        told = captioner.tell(image, Decoding(beam, look=look))
        print(f"{photo}\t{told.text}", flush=True)
        name = photo.stem if photo.stem not in used else f"{photo.stem}-{len(used)}"
        used.add(name)
        figure = attention_strip(image, told.words, told.alpha)
        with whole(Path(out) / f"{name}.png") as part:
            figure.savefig(part)
    return wrong
