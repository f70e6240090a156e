"""What a training is told: one dataclass, and the settings recommended for each kind of data."""

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch

from labkit.attention import HardConfig
from labkit.decoder import DecoderConfig
from labkit.encoder import bf16_is_fast


@dataclass(frozen=True)
class TrainConfig(HardConfig):
    """All that a training can be told. The defaults are recommended for photographs.

    The options of hard attention are those of `labkit.attention.HardConfig`.
    """

    attention: str = "soft"  # the mechanism
    epochs: int = 6
    batch_size: int = 100  # samples a step, over all processes
    captions: str = "pairs"  # what a sample is, see labkit.loader.Loader
    learning_rate: float = 1e-3  # Adam's, at its highest
    warmup: int = 300  # steps until then; after them it falls to nothing along a cosine
    weight_decay: float = 0.01
    clip: float = 5.0  # the largest norm of the gradient
    averaging: float = 0.999  # decay of the moving average of the weights, which is what is kept
    doubly: float = 0.1  # lambda, target and smoothing: see labkit.objective
    target: float = 1.0
    smoothing: float = 0.1
    reduced: int = 512  # sizes and dropout: see labkit.decoder
    embedding: int = 512
    hidden: int = 512
    scorer: int = 256
    dropout: float = 0.5
    word_dropout: float = 0.2
    feature_dropout: float = 0.2
    unrepeated: int = 3  # people hardly ever say three words twice in a caption of a photograph
    consensus: int = 0  # of how many captions the one is told that agrees most; 0: the likeliest
    min_count: int = 4  # words met less often in training are <unk>
    max_words: int = 24  # a longer caption is cut, and counted
    patience: int = 3  # it stops after so many epochs without a better CIDEr
    precision: str = "auto"  # "bf16", "fp32", or "auto": bf16 where the processor is fast with it
    seed: int = 0
    readers: int = 2  # processes that read features ahead
    log_every: int = 25  # steps
    save_every: int = 200  # steps; a checkpoint is also written after each epoch

    def __post_init__(self):
        if self.precision not in ("auto", "bf16", "fp32"):
            raise ValueError(f"precision is auto, bf16 or fp32, not {self.precision!r}")
        if min(self.epochs, self.batch_size, self.log_every, self.save_every) < 1:
            raise ValueError("epochs, batch_size, log_every and save_every must be at least 1")
        super().__post_init__()


SCENES = TrainConfig(
    epochs=6, batch_size=50, learning_rate=3e-3, warmup=200, averaging=0.99, doubly=0.0,
    smoothing=0.0, reduced=128, embedding=128, hidden=256, scorer=128, dropout=0.1,
    word_dropout=0.0, feature_dropout=0.0, unrepeated=0, min_count=1,
)  # fmt: skip
"""Recommended for drawn scenes: thirty words and as many scenes as one likes ask for a small model
and no regularisation."""


def recommended(source: dict) -> TrainConfig:
    """The settings for a store, by what it says it was prepared from."""
    return SCENES if source.get("source") == "scenes" else TrainConfig()


def settle(config: TrainConfig) -> TrainConfig:
    """Decide what 'auto' means on this machine."""
    if config.precision != "auto":
        return config
    fast = torch.cuda.is_bf16_supported() if torch.cuda.is_available() else bf16_is_fast()
    return replace(config, precision="bf16" if fast else "fp32")


def decoder_config(config: TrainConfig, vocabulary: int, feature: int) -> DecoderConfig:
    """The decoder's shape, for V words and annotation vectors of D numbers."""
    names = {f.name for f in fields(DecoderConfig)} & {f.name for f in fields(TrainConfig)}
    shared = {name: getattr(config, name) for name in names}
    return DecoderConfig(vocabulary, feature, **shared)


def compare(old: dict, new: dict, path: Path) -> None:
    """See that a run is taken up as it was begun.

    Raises:
        ValueError: it is not; the sentence names the first difference.
    """
    if old.get("store") != new["store"]:
        raise ValueError(f"{path} was trained on another store: give that one to go on")
    for part in ("train", "decoder", "encoder"):
        for name, value in new[part].items():
            if (was := old[part].get(name)) != value:
                raise ValueError(f"{path} has {name} = {was}, not {value}: go on with what it has")


RECIPES = Path(__file__).parent / "recipes"


def read_recipe(recipe: str | Path) -> dict[str, Any]:
    """Read settings from a recipe: a TOML file of lines ``name = value``.

    Args:
        recipe: a file, or the name of one that comes with the package. A file comes first.

    Returns:
        What differs from the recommended settings, names of `TrainConfig`.

    Raises:
        FileNotFoundError: there is no such recipe.
        ValueError: it is no TOML, or holds what is no setting.
    """
    path = Path(recipe)
    path = path if path.is_file() else RECIPES / f"{recipe}.toml"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in RECIPES.glob("*.toml")))
        raise FileNotFoundError(f"there is no recipe {recipe}: name a file, or one of {known}")
    try:
        lines = tomllib.loads(path.read_text(encoding="utf-8")).items()
        return parse_settings([f"{name}={value}" for name, value in lines])
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def parse_settings(texts: Sequence[str]) -> dict[str, Any]:
    """Read settings as a user types them: ``name=value``, any field of `TrainConfig`.

    Raises:
        ValueError: there is no such field, or the value is not of its type.
    """
    kinds = {f.name: f.type for f in fields(TrainConfig)}
    found = {}
    for text in texts:
        name, _, value = text.partition("=")
        if name not in kinds:
            known = ", ".join(sorted(kinds))
            raise ValueError(f"there is no setting {name!r}: choose from {known}")
        words = {"true": True, "false": False}
        try:
            found[name] = words[value.lower()] if kinds[name] is bool else kinds[name](value)
        except (KeyError, ValueError):
            kind = {bool: "true or false", int: "a whole number", float: "a number"}[kinds[name]]
            raise ValueError(f"{name} is {kind}, not {value!r}") from None
    return found
