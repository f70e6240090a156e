"""The files of a trained model: read, and compared with each other before they are used."""

from pathlib import Path
from typing import Any

from labkit.data.vocabulary import Vocabulary
from labkit.files import read_json
from labkit.model import checkpoint
from labkit.model.config import GenerationConfig, ModelConfig
from labkit.model.decoder import Decoder

FILES = ("config.json", "vocabulary.json", "model.safetensors")  # of a model
OF_A_RUN = (
    *FILES, "checkpoint.safetensors", "metrics.jsonl", "calibration.json", "detector.safetensors",
)  # fmt: skip


def own_files(run: str | Path) -> list[Path]:
    """The files of a run that no report may replace; the report itself may lie beside them."""
    return [Path(run) / name for name in OF_A_RUN]


def read_model(
    config_file: Path, vocabulary_file: Path, weights_file: Path
) -> tuple[Decoder, Vocabulary, GenerationConfig, dict[str, Any]]:
    """Read a model from its files.

    Args:
        config_file: ``config.json`` of a run.
        vocabulary_file: ``vocabulary.json``.
        weights_file: ``model.safetensors``.

    Returns:
        The decoder with its weights in float32, its words, how it captions, and all of the
        configuration file.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a file is damaged, of another version of labkit, or does not fit the others.
    """
    config, shape, generation = read_config(config_file)
    vocabulary = Vocabulary.load(vocabulary_file)
    if len(vocabulary) != shape.vocab_size:
        raise ValueError(
            f"{vocabulary_file} has {len(vocabulary)} words, and the model in {config_file} "
            f"{shape.vocab_size}: take both files from the same run"
        )
    found, files = checkpoint.shapes(weights_file), (weights_file, config_file)
    _compare(found, _sizes(shape), *files)  # before a decoder of any size takes memory
    tensors = checkpoint.load(weights_file)[0]
    if odd := [name for name, one in tensors.items() if not one.isfinite().all()]:
        raise ValueError(f"{weights_file} holds NaN or infinity, in {odd[0]}: take another copy")
    decoder = Decoder(shape)
    own = {name: tuple(value.shape) for name, value in decoder.state_dict().items()}
    _compare(found, dict.fromkeys(found, "expected") | own, *files)
    decoder.load_state_dict(tensors)
    return decoder, vocabulary, generation, config


def read_config(file: Path) -> tuple[dict[str, Any], ModelConfig, GenerationConfig]:
    """Read the ``config.json`` of a run: all of it, the model, and how it captions.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged, or of another version of labkit.
    """
    config = read_json(file)
    parts = ("training", "model", "generation", "encoder")
    is_run = isinstance(config, dict) and isinstance(config.get("data"), str | None)
    is_run = is_run and all(isinstance(config.get(part), dict) for part in parts)
    if not is_run or not isinstance(config["training"].get("dev_split"), str | None):
        raise ValueError(f"{file} is not the config.json of a run: take the one training wrote")
    named = (config.get("data"), config["encoder"].get("weights"))
    if any(str(name).startswith(("//", "\\\\")) for name in named):  # Windows would log in there
        raise ValueError(f"{file} names a file on another computer: copy it, and name the copy")
    try:
        return config, ModelConfig(**config["model"]), GenerationConfig(**config["generation"])
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{file} holds what this labkit does not know ({error}): use the version that wrote "
            "it, or train the model again"
        ) from None


def _sizes(config: ModelConfig) -> dict[str, Any]:
    """Give the shapes of three of a decoder's tensors, which all its sizes are in."""
    D, E, H, A = config.feature_dim, config.embed_dim, config.hidden_dim, config.attention_dim
    return {
        "embedding.weight": (config.vocab_size, E),
        "reduce.weight": (D, config.encoder_dim),
        "W_h.weight": (A + 1 + 4 * H, H),
    }


def _compare(found: dict[str, Any], wanted: dict[str, Any], file: Path, config: Path) -> None:
    """Compare the shapes in a file of weights with what the configuration asks for."""
    for name, shape in wanted.items():
        if found.get(name) != shape:
            what = f"{name} is {found.get(name, 'missing')}, not {shape}"
            raise ValueError(f"{file} does not fit {config}, {what}: take both from the same run")
