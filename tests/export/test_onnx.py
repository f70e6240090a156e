"""The graphs for onnxruntime caption as labkit does: every mechanism, batches of one and three."""

import json
import os
import shutil
import subprocess
import sys
import textwrap
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from labkit import Captioner, Decoder, EncoderConfig, ModelConfig, greedy, load_encoder, make_scenes
from labkit.data.photos import to_input
from labkit.data.vocabulary import BOS, EOS
from labkit.export.onnx import export_to_onnx, write_decoder, write_encoder
from labkit.model.captioner import PRETRAINED
from labkit.model.captions import NEVER_GENERATED
from labkit.model.hard_attention import ATTENTIONS, SoftAttention, register_attention

for needed in ("onnx", "onnxscript", "onnxruntime"):
    runtime = pytest.importorskip(needed, reason=f"needs {needed}, of labkit[export]")

torch.set_num_threads(1)
GRID, V = (2, 3), 9
SIZES = ModelConfig(
    vocab_size=V, encoder_dim=5, feature_dim=5, embed_dim=6, hidden_dim=6, attention_dim=4
)
MECHANISMS = [(name, None, {}) for name in ATTENTIONS]
MECHANISMS += [("gumbel", "expectation", {})]
MECHANISMS += [("marginal", "expectation", {"places": places}) for places in (2, 100)]
SEES, NO_GATE = {"scores_see_word": True}, {"gate": False, "context_dropout": 0.3}
ALL = SEES | NO_GATE | {"first_state": "learned"}
MECHANISMS += [("soft", None, SEES), ("soft", None, NO_GATE)]
MECHANISMS += [("gumbel", None, ALL), ("marginal", "expectation", ALL)]
ASTRONAUT = files("skimage") / "data" / "astronaut.png"


def graph(folder, name):
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    session = runtime.InferenceSession(folder / f"{name}.onnx", options)
    outputs = [output.name for output in session.get_outputs()]
    return lambda **inputs: dict(zip(outputs, session.run(None, inputs), strict=True))


def follow(folder, a, max_length):
    """Greedy captions of several images at once: for each its words, log p and maps."""
    init, step = graph(folder, "init"), graph(folder, "step")
    image = init(a=a)
    h, c = image.pop("h"), image.pop("c")
    word = np.full(len(a), BOS)
    steps = []
    for _ in range(max_length):
        found = step(word=word, h=h, c=c, **image)
        found["log_p"][:, NEVER_GENERATED] = -np.inf
        h, c, word = found["next_h"], found["next_c"], found["log_p"].argmax(-1)
        steps.append((word, found["log_p"].max(-1), found["alpha"]))
    captions, parts = [], zip(*steps, strict=True)  # words, log p and alpha of all steps
    for words, log_p, alpha in zip(*(np.stack(part, 1) for part in parts), strict=True):
        ends = np.flatnonzero(words == EOS)
        n = ends[0] if len(ends) else max_length
        captions.append((words[:n].tolist(), log_p[: n + 1].sum(), alpha[:n]))
    return captions


def assert_same(found, expected):
    """The same words, and scores and maps up to the rounding of float32."""
    assert [words for words, *_ in found] == [caption.words for caption in expected]
    for (_, score, alpha), caption in zip(found, expected, strict=True):
        assert score == pytest.approx(caption.score, abs=1e-3)
        np.testing.assert_allclose(alpha, caption.alpha, atol=1e-4)


@pytest.mark.parametrize("model", ["scenes-soft", "scenes-hard", "scenes-sees-word"])
def test_scenes_get_labkits_captions(model, tmp_path):
    folder, captioner = export_to_onnx(model, tmp_path / "out"), Captioner.from_pretrained(model)
    config = json.loads((folder / "config.json").read_text())
    scenes = [to_input(scene.image, config["size"]) for scene in make_scenes(3, 5, "test")]
    encoder = graph(folder, "encoder")
    for images in (np.stack(scenes), scenes[1][None]):  # batches of three and of one
        a = captioner.encoder(torch.from_numpy(images))
        found = encoder(image=images)["a"]
        np.testing.assert_allclose(found, a, atol=1e-3)
        expected = greedy(captioner.decoder, a, config["max_length"])
        assert_same(follow(folder, found, config["max_length"]), expected)


def test_the_program_in_the_readme_captions_a_photograph_as_labkit_does(tmp_path):
    model = "flickr8k-hard"
    folder = export_to_onnx(model, tmp_path / "out")
    text = (folder / "README.txt").read_text("utf-8")
    program = textwrap.dedent(text[text.index("    import json") : text.index("alpha.reshape")])
    moved = (tmp_path / "out").rename(tmp_path / "elsewhere")  # a folder may be carried about
    (moved / "caption.py").write_text(program)
    alone = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, moved / "caption.py", ASTRONAUT], cwd=tmp_path, env=alone,
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    captioner = Captioner.from_pretrained(model)
    told = captioner.caption(str(ASTRONAUT), num_beams=1, no_repeat_ngram_size=0)
    assert done.stdout == f"{told.text}\n"
    pixels = to_input(Image.open(ASTRONAUT), captioner.encoder.config.size)[None]
    ((_, score, alpha),) = follow(moved, graph(moved, "encoder")(image=pixels)["a"], 24)
    assert score == pytest.approx(told.score, abs=1e-3)
    np.testing.assert_allclose(alpha.reshape(told.alpha.shape), told.alpha, atol=1e-3)


def test_the_folder_says_what_a_program_must_know(tmp_path):
    shutil.copytree(PRETRAINED / "scenes-soft", tmp_path / "mine")
    edit(tmp_path / "mine", lambda config: config["encoder"].update(weights=None))
    folder = export_to_onnx(tmp_path / "mine", tmp_path / "new" / "out")
    assert {path.name for path in folder.iterdir()} == {
        "encoder.onnx", "init.onnx", "step.onnx", "vocabulary.json", "config.json", "README.txt",
    }  # fmt: skip
    config = json.loads((folder / "config.json").read_text())
    assert (config["name"], config["size"], config["grid"]) == ("mine", 112, [7, 7])
    assert (config["bos"], config["eos"], config["never_generated"]) == (1, 2, [0, 1, 3])
    assert config["attention_mode"] == "expectation" and config["generation"]["num_beams"] == 5
    assert str(tmp_path) not in (folder / "config.json").read_text()
    words = json.loads((folder / "vocabulary.json").read_text())["words"]
    assert words == list(Captioner.from_pretrained("scenes-soft").vocabulary.words)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["out"]


@pytest.mark.parametrize(
    ("attention", "mode", "options"), MECHANISMS, ids=lambda value: str(value or "")
)
def test_every_mechanism_with_random_weights(attention, mode, options, tmp_path):
    torch.manual_seed(6)  # captions of several words, and not the same for all images
    decoder = Decoder(replace(SIZES, attention=attention, **options)).eval()
    for parameter in decoder.parameters():
        if parameter.requires_grad:  # not the weights of a first state without the image
            nn.init.normal_(parameter, std=1.5)
    mode = mode or decoder.attention.attention_modes[0]
    write_decoder(decoder, mode, GRID, tmp_path)
    a = torch.randn(3, GRID[0] * GRID[1], SIZES.encoder_dim)
    for images in (a[:1], a):
        expected = greedy(decoder, images, 8, mode)
        assert_same(follow(tmp_path, images.numpy(), 8), expected)
    captions = {tuple(caption.words) for caption in expected}
    assert len(captions) > 1 and max(len(set(words)) for words in captions) > 1


@pytest.mark.parametrize("name", ["efficientnet_lite0", "resnet18"])
def test_other_encoders_and_blocks(name, tmp_path):
    torch.manual_seed(0)
    config = EncoderConfig(name, 64, "both")
    if name == "resnet18":
        save_file(torchvision.models.resnet18().state_dict(), tmp_path / "w.safetensors")
        config = EncoderConfig(name, 64, weights=str(tmp_path / "w.safetensors"))
    encoder = load_encoder(config)
    write_encoder(encoder, tmp_path)
    images = torch.randint(0, 256, (3, 3, 64, 64), dtype=torch.uint8)
    for some in (images, images[:1]):
        found = graph(tmp_path, "encoder")(image=some.numpy())["a"]
        torch.testing.assert_close(torch.from_numpy(found), encoder(some), rtol=1e-3, atol=1e-3)


def edit(folder, change):
    """Change the config.json of a model."""
    config = json.loads((folder / "config.json").read_text())
    change(config)
    (folder / "config.json").write_text(json.dumps(config))


def test_what_cannot_be_exported_is_said_in_a_sentence(tmp_path, registry):
    with pytest.raises(FileNotFoundError, match="is not a trained model"):
        export_to_onnx(tmp_path / "none", tmp_path / "out")
    with pytest.raises(FileExistsError, match="exists: remove it or name another folder"):
        export_to_onnx("scenes-soft", tmp_path)
    mine = Path(shutil.copytree(PRETRAINED / "scenes-hard", tmp_path / "mine"))
    edit(mine, lambda config: config["generation"].update(attention_mode="sample"))
    with pytest.raises(ValueError, match="'sample', which cannot be exported: set it to argmax or"):
        export_to_onnx(mine, tmp_path / "out")
    shutil.rmtree(mine)
    shutil.copytree(PRETRAINED / "scenes-soft", mine)
    register_attention("twice", type("Twice", (SoftAttention,), {}))
    edit(mine, lambda config: config["model"].update(attention="twice"))
    with pytest.raises(ValueError, match="mechanism of its own, 'twice', which cannot be exported"):
        export_to_onnx(mine, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


@pytest.mark.parametrize("package", ["onnx", "onnxscript"])
def test_a_package_that_is_not_installed_is_named(package, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)  # as if it were not there
    with pytest.raises(ModuleNotFoundError, match=rf"needs {package}: pip install .*\[export\]"):
        export_to_onnx("scenes-soft", tmp_path / "out")
    assert not (tmp_path / "out").exists()
