"""Write a trained captioner as three ONNX graphs, for onnxruntime and other programs.

============  =======================================  =======================================
graph         inputs                                   outputs
============  =======================================  =======================================
encoder.onnx  image (B, 3, S, S) uint8                 a (B, L, encoder_dim)
init.onnx     a                                        reduced (B, L, D), keys (B, L, A), h, c
step.onnx     word (B,) int64, reduced, keys,          log_p (B, V), next_h, next_c,
              h and c (B, H)                           alpha (B, L)
============  =======================================  =======================================

The batch size B is free; all other sizes are the model's. Numbers are float32. A step is composed
of the functions of `labkit.model.equations`, and computes what `Decoder.step` does in evaluation
mode. The loop over the words stays outside: the folder's README.txt has a greedy one, and any other
search can be written around the same graphs.
"""

import os
import warnings
from collections.abc import Sequence
from copy import deepcopy
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from labkit.data.vocabulary import BOS, EOS
from labkit.features.encoder import Encoder
from labkit.features.facts import network_of
from labkit.files import writable_folder, write_json
from labkit.model import equations
from labkit.model.captioner import Captioner
from labkit.model.captions import NEVER_GENERATED
from labkit.model.decoder import Decoder

MECHANISMS = ("soft", "argmax", "reinforce", "gumbel", "marginal")
README = Path(__file__).with_name("onnx_readme.txt")


def export_to_onnx(model: str | Path, out: str | Path) -> Path:
    """Write a trained model as graphs for onnxruntime, with all that is needed to caption by them.

    The folder holds ``encoder.onnx``, ``init.onnx``, ``step.onnx``, ``vocabulary.json`` (the word
    of each id), ``config.json`` (sizes, and how labkit's own search is set) and ``README.txt``,
    with a program of a few lines that captions a photograph greedily.

    Args:
        model: As in `Captioner.from_pretrained`.
        out: Folder to make; it appears when it is complete.

    Returns:
        `out`.

    Raises:
        FileNotFoundError: There is no such model, or the encoder's weights are missing.
        FileExistsError: `out` exists.
        ModuleNotFoundError: onnx or onnxscript is not installed.
        ValueError: The model is damaged, or its attention cannot be exported.
    """
    for package in ("onnx", "onnxscript"):
        if find_spec(package) is None:
            needs = f"export to onnx needs {package}: pip install 'labkit[export]'"
            raise ModuleNotFoundError(needs, name=package)
    out = Path(out)
    if os.path.lexists(out):
        raise FileExistsError(f"{out} exists: remove it or name another folder")
    captioner = Captioner.from_pretrained(model)
    facts = _facts(captioner)
    with TemporaryDirectory(prefix=".part-", dir=writable_folder(out.parent)) as beside:
        part = Path(beside) / "export"
        part.mkdir()
        write_encoder(captioner.encoder, part)
        write_decoder(captioner.decoder, facts["attention_mode"], captioner.encoder.grid, part)
        captioner.vocabulary.save(part / "vocabulary.json")
        write_json(part / "config.json", facts)
        (part / "README.txt").write_bytes(README.read_bytes())
        os.replace(part, out)
    return out


def _facts(captioner: Captioner) -> dict[str, Any]:
    """Give what ``config.json`` says, and refuse what a graph cannot do."""
    config, generation = captioner.decoder.config, captioner.generation
    if config.attention not in MECHANISMS:
        raise ValueError(
            f"{captioner.name} has an attention mechanism of its own, {config.attention!r}, which "
            f"cannot be exported: train a model with one of {', '.join(MECHANISMS)}"
        )
    modes = captioner.decoder.attention.attention_modes
    mode = generation.attention_mode or modes[0]
    if mode not in modes or mode == "sample":
        usable = " or ".join(one for one in modes if one != "sample")
        raise ValueError(
            f"{captioner.name} captions with attention_mode {mode!r}, which cannot be exported: "
            f"set it to {usable} in its config.json, under generation"
        )
    encoder = captioner.encoder
    return {
        "name": Path(captioner.name).resolve().name,
        "attention": config.attention,
        "attention_mode": mode,
        "size": encoder.config.size,
        "grid": list(encoder.grid),
        "bos": BOS,
        "eos": EOS,
        "never_generated": list(NEVER_GENERATED),
        "max_length": generation.max_length,
        "generation": vars(generation),
        "encoder": network_of(captioner.encoder_facts),
    }


def write_encoder(encoder: Encoder, folder: Path) -> None:
    """Write ``encoder.onnx``, traced with two images."""
    side = encoder.config.size
    image = torch.zeros(2, 3, side, side, dtype=torch.uint8)  # (B, 3, S, S)
    _write(Features(encoder), folder / "encoder.onnx", {"image": image}, ("a",))


def write_decoder(
    decoder: Decoder, attention_mode: str, grid: tuple[int, int], folder: Path
) -> None:
    """Write ``init.onnx`` and ``step.onnx``, traced with two images.

    Args:
        decoder: In evaluation mode, with one of labkit's own mechanisms.
        attention_mode: "argmax" or "expectation".
        grid: Rows and columns, L of them in all.
        folder: Where to.
    """
    init, start = Init(decoder), ("reduced", "keys", "h", "c")
    a = torch.zeros(2, grid[0] * grid[1], decoder.config.encoder_dim)  # (B, L, encoder_dim)
    _write(init, folder / "init.onnx", {"a": a}, start)
    with torch.no_grad():
        image_and_state = dict(zip(start, init(a), strict=True))
    inputs = {"word": torch.full((2,), BOS)} | image_and_state
    step = Step(decoder, attention_mode)
    _write(step, folder / "step.onnx", inputs, ("log_p", "next_h", "next_c", "alpha"))


def _write(
    network: nn.Module, file: Path, inputs: dict[str, Tensor], outputs: Sequence[str]
) -> None:
    """Write one graph; the first axis of all inputs is one free batch size."""
    batch = torch.export.Dim("batch", min=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about torch's own parts
        torch.onnx.export(
            network, tuple(inputs.values()), file, dynamo=True, verbose=False, external_data=False,
            input_names=list(inputs), output_names=list(outputs),
            dynamic_shapes=tuple({0: batch} for _ in inputs),
        )  # fmt: skip


class Features(nn.Module):
    """`Encoder.forward` without its checks, in the usual memory layout: traced in half the time."""

    def __init__(self, encoder: Encoder):
        super().__init__()
        self.mean, self.std = encoder.mean, encoder.std
        self.network = deepcopy(encoder.network).to(memory_format=torch.contiguous_format)

    def forward(self, image: Tensor) -> Tensor:
        """From pixels (B, 3, S, S) to annotation vectors (B, L, encoder_dim)."""
        return self.network((image - self.mean) / self.std).flatten(2).transpose(1, 2)


class Equations(nn.Module):
    """A decoder as the equations have it: its parameters by the names of `equations.Parameters`."""

    if TYPE_CHECKING:  # the buffers, which are made by name

        def __getattr__(self, name: str) -> Any: ...

    def __init__(self, decoder: Decoder):
        super().__init__()
        learned = vars(equations.Parameters.of(decoder))
        for name, value in learned.items():
            if value is not learned["E"]:
                self.register_buffer(name, value.detach().clone())
        self.E = self.L_o = nn.Parameter(learned["E"].detach(), requires_grad=False)  # one matrix


class Init(Equations):
    """What is computed once for an image: its vectors and keys, and the LSTM's first state."""

    def __init__(self, decoder: Decoder):
        super().__init__(decoder)
        self.norm, self.reduce = decoder.norm, decoder.reduce

    def forward(self, a: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """From a (B, L, encoder_dim) to the reduced a (B, L, D), keys (B, L, A), h_0 and c_0."""
        a = self.reduce(self.norm(a))  # (B, L, D)
        keys = a @ self.W_a.T + self.b_att  # (B, L, A), the share of the image in eq. 4
        start = self.W_init_h, self.b_init_h, self.W_init_c, self.b_init_c
        h, c = equations.initial_state(a, *start)  # (B, H) each, between eq. 6 and 7
        return a, keys, h, c


class Step(Equations):
    """One word: attend, move the LSTM, and give the next word's probabilities."""

    def __init__(self, decoder: Decoder, attention_mode: str):
        super().__init__(decoder)
        self.mode = attention_mode
        self.mixes = decoder.config.attention == "marginal" and attention_mode == "expectation"
        self.attention, self.sees_word = decoder.attention, decoder.config.scores_see_word

    def forward(
        self, word: Tensor, a: Tensor, keys: Tensor, h: Tensor, c: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """From y_{t-1} (B,), the image, h_{t-1} and c_{t-1} to log p(y_t), h_t, c_t and alpha_t."""
        Ey = self.E[word]  # (B, m)
        seen = torch.cat([h, Ey], -1) if self.sees_word else h  # as in `equations.step`
        e = torch.tanh(keys + (seen @ self.W_s.T).unsqueeze(1)) @ self.v  # (B, L), eq. 4
        alpha = equations.weights(e)  # (B, L), eq. 5
        beta = equations.context_gate(h, self.w_beta, self.b_beta)  # (B, 1)
        z = equations.context(self.phi(e), a, alpha, beta)  # (B, D), eq. 6
        gates = equations.lstm_gates(Ey, h, z, self.W_y, self.W_h, self.W_z, self.b_lstm)
        i, f, o, g = gates  # (B, H) each, eq. 1
        c = equations.lstm_memory(f, c, i, g)  # (B, H), eq. 2
        h = equations.lstm_hidden(o, c)  # (B, H), eq. 3
        log_p = self.mixed(Ey, h, a, e, beta) if self.mixes else self.log_p(Ey, h, z)
        return log_p, h, c, alpha

    def phi(self, e: Tensor) -> equations.Phi:
        """Eq. 13, or eq. 9 at the region of the largest score."""
        if self.mode == "expectation":
            return equations.soft_context
        s = one_hot(e.argmax(-1), e.shape[-1]).to(e.dtype)  # (B, L)
        return lambda a, alpha: equations.hard_context(a, s)

    def log_p(self, Ey: Tensor, h: Tensor, z: Tensor) -> Tensor:
        """Eq. 7 in logarithms: (..., V)."""
        n = equations.logits(Ey, h, z, self.L_o, self.L_h, self.L_z, self.b_o)
        return n.log_softmax(-1)

    def mixed(self, Ey: Tensor, h: Tensor, a: Tensor, e: Tensor, beta: Tensor) -> Tensor:
        """Sum eq. 7 over the regions, shared out as in `MarginalAttention.expectation`: (B, V)."""
        mixture = self.attention.expectation(e.unsqueeze(1)).mixture  # with K = 1 caption an image
        assert mixture is not None
        single = one_hot(mixture.places[:, 0], e.shape[-1]).to(e.dtype)  # (B, P, L)
        weights = torch.cat([single, mixture.rest], 1)  # (B, P + 1, L)
        z = beta.unsqueeze(1) * (weights @ a)  # (B, P + 1, D)
        log_p = self.log_p(Ey.unsqueeze(1), h.unsqueeze(1), z)  # (B, P + 1, V)
        return (log_p + mixture.log_shares[:, 0].unsqueeze(-1)).logsumexp(1)
