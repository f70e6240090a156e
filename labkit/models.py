"""A trained model as one thing: photograph in, words and where they looked out."""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from labkit.console import complain
from labkit.decoder import Decoder
from labkit.encoder import Encoder, EncoderConfig, load_encoder, network_of
from labkit.evaluation import Decoding, Evaluation, evaluate, grid_of
from labkit.figures import attention_strip
from labkit.files import keep_freed_memory, writable_folder, write_new
from labkit.metrics import warn_if_not_english
from labkit.modelfiles import read_model
from labkit.photos import photos_in, read_photo, to_input
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
    def tell(self, photo: Any, decoding: Decoding | None = None) -> ToldPhoto:
        """Tell one photograph.

        Args:
            photo: a file, a PIL image of any mode, or an array (height, width, 3) of bytes.
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


def evaluate_run(
    run: str | Path, data: str | Path | None = None, split: str | None = None,
    decoding: Decoding | None = None, progress: bool = True,
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
    usual = (splits_like(data, captioner.dev_split) or ["dev"])[0]
    store = FeatureStore(data, find_split(data, split or usual))
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


def caption_photos(
    run: str | Path, photos: Sequence[str | Path], out: str | Path,
    decoding: Decoding | None = None,
) -> list[str]:  # fmt: skip
    """Caption photographs: print each caption, draw where each word looked.

    A picture is named like its photograph. No file is overwritten: where one has that name, be it
    of an earlier call, the picture is called NAME-2.png, NAME-3.png, ..., and a line on standard
    error says so. A line there also names each photograph that cannot be read; the rest follow.

    Args:
        run: the model's folder, or the name of one that comes with the package.
        photos: files.
        out: folder for the pictures; made if absent.
        decoding: how captions are told; by default as the model was trained to tell.

    Returns:
        The files that could not be read.

    Raises:
        FileNotFoundError, ValueError: there is no such model, or a file of it is damaged.
        OSError: ``out`` cannot be written to.
    """
    out, captioner, wrong = writable_folder(out), load(run), []
    for photo in _named(photos, wrong):
        try:
            image = read_photo(photo)
        except (OSError, ValueError) as error:
            complain(error)
            wrong.append(str(photo))
            continue
        told = captioner.tell(image, decoding)
        print(f"{photo}\t{told.text}", flush=True)
        picture = io.BytesIO()
        attention_strip(image, told.words, told.alpha).savefig(picture)
        path = write_new(out, photo.stem, ".png", picture.getvalue())
        if path.stem != photo.stem:
            complain(f"the picture of {photo} is {path}, since {photo.stem}.png could not be taken")
    return wrong


def _named(names: Sequence[str | Path], wrong: list[str]) -> Iterator[Path]:
    """Give the photographs that the names mean; note a name that means none."""
    for name in names:
        try:
            yield from photos_in(name)
        except (OSError, ValueError) as error:
            complain(error)
            wrong.append(str(name))
