"""A checkpoint: tensors and small facts in one safetensors file, no pickle.

One file is renamed into place in one step, so weights, optimiser and position can never be of
different moments. A random state need not be kept: what a training samples is a function of its
seed and the step (`Trainer.train_step`).
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from isal import isal_zlib
from safetensors import SafetensorError, safe_open
from safetensors.torch import load as from_bytes
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from labkit.files import atomic_write, read_bytes, regular

CHECKED = "checksum and facts"  # the entry of the header that holds them


def save(path: Path, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
    """Write tensors with JSON-able facts in the header, whole or not at all."""
    with atomic_write(path) as part:
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        # not `save_file`: that renames a file of its own, which only its owner can read
        text = json.dumps(facts)
        # one entry alone: safetensors writes several in an order of chance, another in each file
        about = {CHECKED: f"{checksum(tensors, text)} {text}"}
        part.write_bytes(to_bytes(tensors, metadata=about))


def shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Read the shapes of a file's tensors, and none of their numbers; raise as `load`."""
    with _naming(path), safe_open(regular(path), "pt") as file:
        return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118


def load(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `save` wrote.

    The file is opened once. `safe_open` opens it twice, for its header and for its numbers, and if
    a training replaces the checkpoint in between, they are of different moments.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, or something else.
    """
    with _naming(path):
        content = read_bytes(path, 1 << 34)
        tensors = from_bytes(content)
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        about = header.get("__metadata__", {})
        known = about.keys() - {"format"}
        if known == {CHECKED}:
            expected, _, text = about[CHECKED].partition(" ")
        elif known <= {"facts"}:  # an older file, without a checksum
            expected, text = None, about.get("facts", "{}")
        else:
            raise ValueError("it holds other facts")
        if expected not in (None, checksum(tensors, text)):
            raise ValueError("it does not match its checksum")
        return tensors, json.loads(text)


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    try:
        yield
    except (SafetensorError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged, or no file of labkit's: {error}") from error


def checksum(tensors: Mapping[str, Tensor], facts: str = "") -> str:
    """Compute the CRC-32 of a text and of all tensors, in the order of their names."""
    crc = isal_zlib.crc32(facts.encode())
    for name, tensor in sorted(tensors.items()):
        crc = isal_zlib.crc32(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode(), crc)
        crc = isal_zlib.crc32(tensor.cpu().flatten().view(torch.uint8).numpy(), crc)
    return str(crc)


def state_of(
    model: nn.Module, average: nn.Module, optimizer: torch.optim.Optimizer
) -> dict[str, Tensor]:
    """All tensors that a resumed run needs: both sets of weights, and Adam's moments."""
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    tensors |= {f"average.{name}": value for name, value in average.state_dict().items()}
    for number, moments in optimizer.state_dict()["state"].items():
        tensors |= {f"adam.{number}.{name}": value for name, value in moments.items()}
    return tensors


def restore(
    tensors: dict[str, Tensor], model: nn.Module, average: nn.Module,
    optimizer: torch.optim.Optimizer,
) -> None:  # fmt: skip
    """Put back what `state_of` took."""
    model.load_state_dict(_under("model.", tensors))
    average.load_state_dict(_under("average.", tensors))
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in _under("adam.", tensors).items():
        number, moment = name.split(".")
        state.setdefault(int(number), {})[moment] = value
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    mine = [name for name in tensors if name.startswith(prefix)]
    return {name.removeprefix(prefix): tensors[name] for name in mine}
