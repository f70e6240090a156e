"""The formats of ``labkit export``: of a store for other tools, of models for other places."""

from collections.abc import Sequence
from pathlib import Path

from labkit.files import naming
from labkit.model.captioner import list_pretrained
from labkit.model.model_files import FILES
from labkit.store.export import FORMATS
from labkit.store.export import export as export_store
from labkit.store.manifest import MANIFEST

MODEL_FORMATS = ("browser", "onnx")


def export(
    sources: Sequence[str | Path], out: str | Path, to: str, split: str = "train",
    overwrite: bool = False,
) -> Path:  # fmt: skip
    """Write a folder in another format.

    Args:
        sources: A store; or models, as in `Captioner.from_pretrained`. Only "browser" takes more
            than one.
        out: The folder to make.
        to: "webdataset", "mds" or "safetensors" of a store; "browser" or "onnx" of models.
        split: The split of a store.
        overwrite: Replace a folder that an earlier export to "browser" made.

    Returns:
        `out`.

    Raises:
        ValueError: There is no such format, or not of such a source.
        OSError, ModuleNotFoundError: As the exports raise them.
    """
    if to not in (*FORMATS, *MODEL_FORMATS):
        choices = ", ".join([*FORMATS, *MODEL_FORMATS])
        raise ValueError(f"cannot export to {to!r}: choose one of {choices}")
    for source in sources:
        _check(str(source), to)
    if len(sources) > 1 and to != "browser":
        raise ValueError(f"one folder in {to} takes one source: export {sources[1]} by itself")
    if overwrite and to != "browser":
        raise ValueError(f"--overwrite is for browser only: remove {out} or name another folder")
    with naming(out):
        if to == "browser":
            from labkit.export.browser import export_to_browser

            return export_to_browser([str(source) for source in sources], out, overwrite)
        if to == "onnx":
            from labkit.export.onnx import export_to_onnx

            return export_to_onnx(str(sources[0]), out)
        return export_store(sources[0], split, to, out)


def _check(source: str, to: str) -> None:
    """Check that a source is of the kind that the format takes."""
    folder = Path(source)
    if to in MODEL_FORMATS and (folder / MANIFEST).is_file():
        raise ValueError(f"{source} is a store, and {to} takes models: name a run or a model")
    is_model = source in list_pretrained() if not folder.is_dir() else (folder / FILES[0]).is_file()
    if to in FORMATS and is_model:
        formats = " or ".join(MODEL_FORMATS)
        raise ValueError(f"{source} is a model, and {to} takes a store: export it to {formats}")
