"""How a model is trained: its configuration, and the defaults of all three for each kind of data.

What a model is stands in `labkit.model.config.ModelConfig`, how it captions in
`labkit.model.config.GenerationConfig`. The command line, recipes and `train` name the fields of all
three side by side; `resolve` is the one place where they are separated and defaults are filled in.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

import torch

from labkit.features.encoder import bf16_is_fast
from labkit.files import read_json
from labkit.model.config import GenerationConfig, ModelConfig
from labkit.validation import (
    Checked,
    Part,
    Share,
    Weight,
    check_values,
    checked,
    from_file,
    from_text,
    means,
)


@checked()
class TrainingConfig(Checked):
    """How a model is trained. The defaults are recommended for photographs.

    Example:
        >>> from labkit import TrainingConfig
        >>> config = TrainingConfig(epochs=3, learning_rate=2e-3)
        >>> config.epochs, config.batch_size
        (3, 100)
        >>> TrainingConfig(epochs=0)
        Traceback (most recent call last):
        labkit.validation.SettingError: epochs is a whole number from 1 to 1,000,000, not 0
    """

    train_split: Annotated[
        str | None, means("the split to learn from; by default the one named train", min_length=1)
    ] = None
    dev_split: Annotated[
        str | None, means("the split that chooses the epoch; by default the one named dev, val or "
                          "validation, if there is one", min_length=1)
    ] = None  # fmt: skip
    epochs: Annotated[int, means("passes over the images", ge=1, le=1_000_000)] = 6
    batch_size: Annotated[
        int, means("samples in a step, over all processes; caption_reward: images",
                   ge=1, le=100_000)
    ] = 100  # fmt: skip
    captions: Annotated[
        Literal["one", "all", "pairs"], means("what a sample is, see `labkit.store.loader.Loader`")
    ] = "pairs"
    learning_rate: Annotated[float, means("Adam's, at its peak", gt=0, le=1)] = 1e-3
    warmup_ratio: Annotated[
        Share, means("share of all steps in which the learning rate rises linearly to its peak; a "
                     "cosine brings it down to 0 by the last step")
    ] = 0.1667  # fmt: skip
    weight_decay: Annotated[float, means("AdamW's", ge=0, le=10)] = 0.01
    max_grad_norm: Annotated[
        float, means("largest norm of the gradient; 0 switches clipping off", ge=0, le=1_000_000)
    ] = 5.0
    ema_decay: Annotated[
        Part, means("decay of the moving average of the weights, which is what is kept")
    ] = 0.999
    doubly_stochastic: Annotated[
        Weight, means("lambda of eq. 14, see `labkit.training.objective`")
    ] = 0.1
    doubly_target: Annotated[Weight, means("what each region's weights should sum to")] = 1.0
    label_smoothing: Annotated[
        Part, means("share of the target's probability spread over all words; the paper has 0; "
                    "marginal: for each component of the mixture")
    ] = 0.1
    lambda_r: Annotated[
        Weight, means("reinforce: weight of the score-function term; 1 is the bound's gradient")
    ] = 1.0
    lambda_e: Annotated[Weight, means("reinforce: weight of the entropy of alpha")] = 0.01
    reward: Annotated[
        Literal["caption", "to_go", "mean"],
        means("reinforce: log p of the whole caption; of this word and those after it; of the "
              "caption, divided by its words"),
    ] = "caption"  # fmt: skip
    samples: Annotated[
        int, means("how often each caption is in the batch; of a caption_reward, how many captions "
                   "of each image are sampled", ge=1, le=1000)
    ] = 1  # fmt: skip
    start: Annotated[
        str | None, means("the model whose weights and words the training starts from; its name, "
                          "or the folder of a run. Its sizes and its way of captioning are the "
                          "defaults", min_length=1)
    ] = None  # fmt: skip
    caption_reward: Annotated[
        str | None, means("learn from a reward of generated captions, not from references: truth, "
                          "facts, cider, cider+meteor, or FILE.py:function, see "
                          "`labkit.training.rewards.read_reward`", min_length=1)
    ] = None  # fmt: skip
    caption_baseline: Annotated[
        Literal["none", "greedy", "others", "group"],
        means("caption_reward: what is subtracted from it, see `labkit.training.rollout`"),
    ] = "others"  # fmt: skip
    kl_weight: Annotated[
        Weight, means("caption_reward: weight of the KL divergence from the start, over all words")
    ] = 0.0
    min_count: Annotated[
        int, means("words that occur less often in training become <unk>", ge=1, le=1_000_000)
    ] = 4
    patience: Annotated[
        int, means("stop after so many epochs without a better score on the dev split, counted "
                   "after the warm-up; a value of at least `epochs` never stops early",
                   free=True, ge=1, le=1_000_000)
    ] = 3  # fmt: skip
    precision: Annotated[
        Literal["auto", "bf16", "fp32"],
        means("auto: bf16 where the processor is fast with it; caption_reward: always fp32"),
    ] = "auto"  # fmt: skip
    seed: Annotated[int, means("of weights, order and dropout", ge=0, le=2**63 - 1)] = 0
    num_workers: Annotated[int, means("processes that read ahead", free=True, ge=0, le=64)] = 2
    log_every: Annotated[
        int, means("steps between two lines of the log", free=True, ge=1, le=1_000_000_000)
    ] = 25
    save_every: Annotated[
        int, means("steps between two checkpoints; each epoch ends with one, too",
                   free=True, ge=1, le=1_000_000_000)
    ] = 200  # fmt: skip


@dataclass(frozen=True)
class Settings:
    """All that a run is asked for.

    Attributes:
        model: Fields of `ModelConfig`, without the two sizes that the data decides.
        training: How it is trained.
        generation: How it captions.
    """

    model: dict[str, Any]
    training: TrainingConfig
    generation: GenerationConfig

    def model_config(self, vocab_size: int, encoder_dim: int) -> ModelConfig:
        """The model's configuration, for V words and the encoder's annotation vectors."""
        return ModelConfig(vocab_size=vocab_size, encoder_dim=encoder_dim, **self.model)

    def as_dict(self) -> dict[str, dict[str, Any]]:
        """For JSON: one object for each configuration."""
        generation, training = asdict(self.generation), asdict(self.training)
        return {"model": self.model, "training": training, "generation": generation}


CONFIGS = (ModelConfig, TrainingConfig, GenerationConfig)
FROM_DATA = {"vocab_size", "encoder_dim"}
PHOTOS = Settings({}, TrainingConfig(), GenerationConfig(no_repeat_ngram_size=3))
SCENES = Settings(
    {"feature_dim": 128, "embed_dim": 128, "hidden_dim": 256, "attention_dim": 128, "dropout": 0.1,
     "word_dropout": 0.0, "feature_dropout": 0.0},
    TrainingConfig(
        batch_size=50, learning_rate=3e-3, warmup_ratio=0.0556, ema_decay=0.99,
        doubly_stochastic=0.0, label_smoothing=0.0, min_count=1,
    ),
    GenerationConfig(),
)  # fmt: skip
"""Recommended for drawn scenes: 25 words, and as many scenes as you like, need a small model and no
regularisation."""


def defaults_for(source: Mapping[str, Any]) -> Settings:
    """The recommended settings for a store.

    Args:
        source: What the store says it was prepared from.
    """
    return SCENES if source.get("source") == "scenes" else PHOTOS


Overrides = Mapping[str, Any] | TrainingConfig | GenerationConfig


def flat(given: Overrides | None) -> dict[str, Any]:
    """Return overrides by field; of a configuration, all its fields.

    Args:
        given: Values by field, a configuration, or configurations by "training" and "generation".

    Raises:
        TypeError: A `ModelConfig` is among them.
    """
    if isinstance(given, ModelConfig):
        raise TypeError("the data decides some fields of a ModelConfig: give those you want to "
                        "change by name, such as hidden_dim=64")  # fmt: skip
    if isinstance(given, CONFIGS):
        return asdict(given)
    merged: dict[str, Any] = {}
    for name, value in (given or {}).items():
        whole = name in ("model", "training", "generation") and isinstance(value, CONFIGS)
        merged |= flat(value) if whole else {name: value}
    return merged


def resolve(base: Settings, overrides: Mapping[str, Any] | None = None) -> Settings:
    """Replace some settings, and decide what 'auto' means on this machine.

    Args:
        base: The defaults, or what a run was started with.
        overrides: New values by field, of any of the three configurations.

    Raises:
        ValueError: A field is unknown, a value is out of range, or two do not fit together.
    """
    overrides = dict(overrides or {})
    check_settings(overrides)
    parts = [
        {name: value for name, value in overrides.items() if name in _names(config)}
        for config in CONFIGS
    ]
    training = replace(base.training, **parts[1])
    if training.precision == "auto":
        fast = torch.cuda.is_bf16_supported() if torch.cuda.is_available() else bf16_is_fast()
        training = replace(training, precision="bf16" if fast else "fp32")
    generation = replace(base.generation, **parts[2])
    settings = Settings(base.model | parts[0], training, generation)
    model = settings.model_config(vocab_size=1, encoder_dim=1)
    if model.baseline == "others" and training.samples < 2:
        raise ValueError("baseline = others needs several samples of a caption: set samples=2")
    if training.caption_reward is None and training.kl_weight:
        raise ValueError("kl_weight is of learning from a reward: name one, with --reward")
    if training.caption_reward is not None:
        if training.caption_baseline in ("others", "group") and training.samples < 2:
            raise ValueError(f"caption_baseline = {training.caption_baseline} needs several "
                             "captions of an image: set samples=2")  # fmt: skip
        if training.kl_weight and training.start is None:
            raise ValueError("kl_weight keeps a model near its start: name one, with --from")
    return settings


def check_settings(values: Mapping[str, Any]) -> None:
    """Check settings, each for itself.

    Raises:
        ValueError: One is unknown, or out of range.
    """
    for name, value in values.items():
        check_values(_config_of(name), {name: value})


def setting_from_text(name: str, text: str) -> Any:
    """Read one setting as a user types it.

    Raises:
        ValueError: It is unknown, or its value is out of range.
    """
    return from_text(_config_of(name), name, text)


def _names(config: type) -> set[str]:
    return {field.name for field in fields(config)} - FROM_DATA


def _config_of(name: str) -> type:
    found = next((config for config in CONFIGS if name in _names(config)), None)
    if found is None:
        known = sorted(set().union(*map(_names, CONFIGS)))
        near = get_close_matches(name, known, 1)
        meant = f"; did you mean {near[0]}?" if near else ""
        raise ValueError(f"there is no setting {name!r}: choose from {', '.join(known)}{meant}")
    return found


def read_settings(path: str | Path) -> Settings:
    """Read the settings that a run was started with, from its config.json.

    Raises:
        ValueError: The file is damaged, or holds a setting that is refused.
    """
    facts = read_json(path)
    facts = facts if isinstance(facts, dict) else {}
    model = asdict(from_file(ModelConfig, facts.get("model"), path))
    return Settings(
        {name: value for name, value in model.items() if name not in FROM_DATA},
        from_file(TrainingConfig, facts.get("training"), path),
        from_file(GenerationConfig, facts.get("generation"), path),
    )
