"""What a training is asked for: one dataclass, and what is recommended for each kind of data."""

import tomllib
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import torch

from labkit.features.encoder import bf16_is_fast
from labkit.files import read_json
from labkit.model.decoder import ModelConfig, ModelOptions
from labkit.validation import (
    Count,
    Part,
    Share,
    Weight,
    check_values,
    checked,
    free_settings,
    from_file,
    from_text,
    means,
)


@checked()
class TrainingConfig(ModelOptions):
    """All that a training can be asked for. The defaults are recommended for photographs.

    The options of the decoder are those of `labkit.model.decoder.ModelOptions`, the options of hard
    attention those of `labkit.model.attention.HardConfig`.
    """

    train_split: Annotated[
        str | None, means("the split to learn from; by default the one named train", min_length=1)
    ] = None
    dev_split: Annotated[
        str | None, means("the split that chooses the epoch; by default the one named dev, val or "
                          "validation, if there is one", min_length=1)
    ] = None  # fmt: skip
    epochs: Annotated[int, means("passes over the images", ge=1, le=1_000_000)] = 6
    batch_size: Annotated[int, means("samples a step, of all processes", ge=1, le=100_000)] = 100
    captions: Annotated[
        Literal["one", "all", "pairs"], means("what a sample is, see `labkit.store.loader.Loader`")
    ] = "pairs"
    learning_rate: Annotated[float, means("Adam's, at its highest", gt=0, le=1)] = 1e-3
    warmup_ratio: Annotated[
        Share, means("of all steps, in which the rate rises in a line to its highest; all along it "
                     "falls to nothing along a cosine")
    ] = 0.1667  # fmt: skip
    weight_decay: Annotated[float, means("AdamW's", ge=0, le=10)] = 0.01
    clip: Annotated[
        float, means("the largest norm of the gradient; 0 leaves it as it is", ge=0, le=1_000_000)
    ] = 5.0
    ema_decay: Annotated[
        Part, means("decay of the moving average of the weights, which is what is kept")
    ] = 0.999
    doubly_stochastic: Annotated[Weight, means("lambda of eq. 14, see `labkit.training.objective`")] = 0.1
    target: Annotated[Weight, means("what each region's weights should sum to")] = 1.0
    smoothing: Annotated[Part, means("label smoothing")] = 0.1
    no_repeat_ngram_size: Annotated[
        Count, means("as in `labkit.model.decoder.ModelOptions`; people hardly ever say three words "
                     "twice in a caption of a photograph")
    ] = 3  # fmt: skip
    min_count: Annotated[
        int, means("words met less often in training are <unk>", ge=1, le=1_000_000)
    ] = 4
    patience: Annotated[
        int, means("it stops after so many epochs without a better score on the dev split, counted "
                   "once the warm-up is over; as many as there are epochs switch this off",
                   free=True, ge=1, le=1_000_000)
    ] = 3  # fmt: skip
    precision: Annotated[
        Literal["auto", "bf16", "fp32"], means("auto: bf16 where the processor is fast with it")
    ] = "auto"
    seed: Annotated[int, means("of weights, order and dropout", ge=0, le=2**63 - 1)] = 0
    readers: Annotated[int, means("processes that read ahead", free=True, ge=0, le=64)] = 2
    log_every: Annotated[
        int, means("steps between two lines of the log", free=True, ge=1, le=1_000_000_000)
    ] = 25
    save_every: Annotated[
        int, means("steps between two checkpoints; each epoch ends with one, too",
                   free=True, ge=1, le=1_000_000_000)
    ] = 200  # fmt: skip


SCENES = TrainingConfig(
    epochs=6, batch_size=50, learning_rate=3e-3, warmup_ratio=0.0556, ema_decay=0.99, doubly_stochastic=0.0,
    smoothing=0.0, feature_dim=128, embedding=128, hidden=256, attention_dim=128, dropout=0.1,
    word_dropout=0.0, feature_dropout=0.0, no_repeat_ngram_size=0, min_count=1,
)  # fmt: skip
"""Recommended for drawn scenes: thirty words and as many scenes as one likes ask for a small model
and no regularisation."""


def defaults_for(source: dict) -> TrainingConfig:
    """The settings for a store, by what it says it was prepared from."""
    return SCENES if source.get("source") == "scenes" else TrainingConfig()


def with_precision(config: TrainingConfig) -> TrainingConfig:
    """Decide what 'auto' means on this machine."""
    if config.precision != "auto":
        return config
    fast = torch.cuda.is_bf16_supported() if torch.cuda.is_available() else bf16_is_fast()
    return replace(config, precision="bf16" if fast else "fp32")


def decoder_config(config: TrainingConfig, vocabulary: int, feature: int) -> ModelConfig:
    """The decoder's shape, for V words and annotation vectors of D numbers."""
    names = {f.name for f in fields(ModelConfig)} & {f.name for f in fields(TrainingConfig)}
    shared = {name: getattr(config, name) for name in names}
    return ModelConfig(vocabulary, feature, **shared)


def read_config(path: str | Path) -> TrainingConfig:
    """Read the settings that a run was started with, from its config.json.

    Raises:
        ValueError: the file is damaged, or has a setting that is refused.
    """
    facts = read_json(path)
    return from_file(TrainingConfig, facts.get("train") if isinstance(facts, dict) else None, path)


def compare(old: Any, new: dict, path: Path) -> None:
    """See that a run is resumed as it was started, but for what changes nothing that is learned.

    Raises:
        ValueError: it is not; the sentence names the first difference.
    """
    if not isinstance(old, dict) or old.get("store") != new["store"]:
        raise ValueError(f"{path} was trained on another store: give that one to go on")
    for part in ("train", "decoder"):  # the store's fingerprint stands for its encoder, too
        was = old[part] if isinstance(old.get(part), dict) else {}
        for name, value in new[part].items():
            free = part == "train" and name in free_settings(TrainingConfig)
            if not free and was.get(name) != value:
                raise ValueError(
                    f"{path} has {name} = {was.get(name)}, not {value}: go on with what it has"
                )


RECIPES = Path(__file__).parents[1] / "recipes"


def read_recipe(recipe: str | Path) -> dict[str, Any]:
    """Read settings from a recipe: a TOML file of lines ``name = value``.

    Args:
        recipe: a file, or the name of one that comes with the package. A file comes first.

    Returns:
        What differs from the recommended settings, names of `TrainingConfig`.

    Raises:
        FileNotFoundError: there is no such recipe.
        ValueError: it is no TOML, or holds what is no setting, or a value out of its range.
    """
    path = Path(recipe)
    path = path if path.is_file() else RECIPES / f"{recipe}.toml"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in RECIPES.glob("*.toml")))
        raise FileNotFoundError(f"there is no recipe {recipe}: name a file, or one of {known}")
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8-sig"))
        check_values(TrainingConfig, found)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return found


def parse_settings(texts: Sequence[str]) -> dict[str, Any]:
    """Read settings as a user types them: ``name=value``, any field of `TrainingConfig`.

    Raises:
        ValueError: there is no such field, or the value is not of its type or out of its range.
    """
    parts = [text.partition("=") for text in texts]
    pairs = [(name.strip(), value.strip()) for name, _, value in parts]
    return {name: from_text(TrainingConfig, name, value) for name, value in pairs}
