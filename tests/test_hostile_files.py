"""Files made to do harm: each ends in one sentence or in nothing, quickly, in little memory.

The files are made here, none is stored, and none harms other software. `book/threat-model.md` names
these tests. What is measured runs in a process of its own, whose address space the system limits.
"""

import hashlib
import io
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import assert_one_sentence, labkit
from layouts import photos, text
from PIL import Image
from small_stores import features_of, make_store

from labkit.checks.grading import grade
from labkit.console import printable
from labkit.data import downloads
from labkit.data import photos as photo_files
from labkit.data.caption_files import read_rows
from labkit.data.downloads import Archive, DownloadError
from labkit.data.folders import Folder
from labkit.data.photos import read_photo, to_input
from labkit.data.readers import DataError, DataReport, read_folder
from labkit.data.vocabulary import SPECIAL
from labkit.data.words import tokenize
from labkit.evaluation.human_judgements import read_judgements
from labkit.evaluation.results import read_references, read_results
from labkit.features.backbones import read_weights
from labkit.features.facts import grid_of
from labkit.figures.viewer import AttentionViewer
from labkit.files import fingerprint, read_json
from labkit.model import checkpoint
from labkit.model.captioner import PRETRAINED, CaptionedPhoto, Captioner
from labkit.store.alternatives import MemoryMappedLoader, OneShardLoader
from labkit.store.loader import Loader
from labkit.store.shards import FeatureStore, StoreError
from labkit.store.writer import StoreWriter
from labkit.training.recipes import read_recipe

ESCAPES = "a\x1b[2J\x1b]0;owned\x07 \u202edog\x9b31m"
unix = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")


class Trap:
    """An object that would write a file if someone unpickled it."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def sentence(error: pytest.ExceptionInfo, *words: object) -> None:
    assert "\n" not in str(error.value)
    assert all(str(word) in str(error.value) for word in words), error.value


def in_little_memory(code: str, *words: object, mebibytes: int, seconds: int = 60) -> str:
    """Run a program that may grow by so many MiB after its imports; give what it prints."""
    limit = f"""
import resource, sys
pages = int(open("/proc/self/statm").read().split()[0])
size = pages * resource.getpagesize() + ({mebibytes} << 20)
resource.setrlimit(resource.RLIMIT_AS, (size, size))
"""
    imports, rest = code.split("\n\n", 1)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", imports + limit + rest, *map(str, words)],
        capture_output=True, text=True, timeout=seconds, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


# --- stores -----------------------------------------------------------------------------------


@pytest.fixture
def store(tmp_path) -> Path:
    return make_store(tmp_path / "store", 5).root


def edit(store: Path, change) -> None:
    """Change a manifest as its author could: with a right fingerprint."""
    manifest = json.loads((store / "manifest.json").read_text())
    del manifest["fingerprint"]
    change(manifest)
    content = json.dumps(manifest | {"fingerprint": fingerprint(manifest)})
    (store / "manifest.json").write_text(content)


ODD = [10**15, 10**400, -1, 0, 1.5, float("nan"), True, None, "3", [3], {}]


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: f"{odd!r:.9}")
@pytest.mark.parametrize("key", ["length", "dim", "images_per_shard", "count", "bytes", "records"])
def test_sizes_that_cannot_be(store, key, odd):
    def change(manifest):
        split = manifest["splits"]["train"]
        holders = {"count": split["shards"][0], "bytes": split["shards"][0],
                   "records": split["shards"][0]["records"]}  # fmt: skip
        holders.get(key, manifest)["bytes" if key == "records" else key] = odd

    if key == "images_per_shard" and type(odd) is int and odd > 1:
        return  # it says how a store was begun, and nothing is allocated for it
    edit(store, change)
    with pytest.raises((StoreError, ValueError)) as error:
        FeatureStore(store, "train")
    sentence(error, store)


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m.pop("splits"),
        lambda m: m.update(splits=[]),
        lambda m: m["splits"].update({"../x": m["splits"]["train"]}),
        lambda m: m["splits"].update(dev=m["splits"]["train"]),  # shards of another split
        lambda m: m["splits"]["train"].update(count=7),
        lambda m: m["splits"]["train"].update(shards=[]),
        lambda m: m["splits"]["train"]["shards"].append("train-00000.npy"),
        lambda m: m["splits"]["train"]["shards"][0].update(name="..\\x.npy"),
        lambda m: m["splits"]["train"]["shards"][0].update(name="C:x.npy"),
        lambda m: m["splits"]["train"]["shards"][0].update(name=None),
        lambda m: m.update(encoder="none"),
        lambda m: m.update(dtype="|O"),
        lambda m: m.update(dim=10**6, length=10**6),
    ],
)
def test_manifests_that_cannot_be(store, change):
    edit(store, change)
    with pytest.raises(StoreError) as error:
        FeatureStore(store, "train")
    sentence(error, store)


def rewrite_records(store: Path, content: bytes) -> None:
    """Replace the lines beside the first file, and make the manifest fit."""
    (store / "train-00000.jsonl").write_bytes(content)
    new = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    edit(store, lambda m: m["splits"]["train"]["shards"][0].update(records=new))


@pytest.mark.parametrize(
    "content",
    [
        b"[" * 100_000,
        b'{"id": ' + b"9" * 5000 + b"}",
        b"\xff\xfe",
        b"1\n2\n3\n4\n5",
        b'{"id": "a"}\n' * 5,
        b'{"id": "a", "crc32": 1, "captions": ["x"]}\n' * 4,
        b'{"id": "a", "crc32": 1, "captions": ["x"]}\n' * 5,  # one id five times
        b'{"id": "a", "crc32": 1, "captions": "x"}\n' * 5,
        b'{"id": "a", "crc32": 1, "captions": ["x"], "facts": 3}\n' * 5,
    ],
)
def test_records_that_cannot_be(store, content):
    rewrite_records(store, content)
    with pytest.raises(StoreError) as error:
        FeatureStore(store, "train")
    sentence(error, store)


def test_a_header_of_a_shard_is_not_believed(store):
    """It claims 10^15 images; every loader goes by the manifest, and `verify` names the file."""
    path = store / "train-00000.npy"
    content = path.read_bytes()
    huge = content[:128].replace(b"(5, 3, 4), }" + b" " * 15, b"(1000000000000000, 3, 4), }"[:27])
    assert len(huge) == 128 and huge != content[:128]
    path.write_bytes(huge + content[128:])
    train = FeatureStore(store, "train")
    for kind in (Loader, OneShardLoader, MemoryMappedLoader):
        for batch in kind(train, 2):
            for index, features in zip(batch.indices, batch.features, strict=False):
                assert (features.numpy() == features_of(int(index)).astype(np.float32)).all()
    with pytest.raises(StoreError, match="its header is wrong"):
        train.verify()


@unix
def test_a_pipe_in_place_of_a_manifest_does_not_hang(store):
    (store / "manifest.json").unlink()
    os.mkfifo(store / "manifest.json")
    done = labkit("info", store)
    assert_one_sentence(done, "manifest.json is a folder, a pipe or a device: name a file")


@pytest.mark.parametrize("splits", [3, {"train": 3}, {"train": {"shards": [{"name": "../x.npy"}]}}])
def test_an_unfinished_store_that_cannot_be(tmp_path, splits):
    writer = StoreWriter(tmp_path / "s", 3, 4, {}, {})
    writer._drop()
    draft = tmp_path / "s" / "unfinished.json"
    draft.write_text(json.dumps(json.loads(draft.read_text()) | {"splits": splits}))
    with pytest.raises(StoreError) as error:
        StoreWriter(tmp_path / "s", 3, 4, {}, {})
    sentence(error, tmp_path)


# --- models -----------------------------------------------------------------------------------


@pytest.fixture
def model(tmp_path) -> Path:
    return shutil.copytree(PRETRAINED / "scenes-soft", tmp_path / "model")


def safetensors(header: dict | bytes, data: bytes = b"", length: int | None = None) -> bytes:
    head = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(head) if length is None else length).to_bytes(8, "little") + head + data


def tensor(shape: list, begin: int, end: int) -> dict:
    return {"dtype": "F32", "shape": shape, "data_offsets": [begin, end]}


WEIGHTS = {
    "a header beyond the file": safetensors({}, length=1 << 62),
    "a header of 99 MB": safetensors({}, length=99_000_000),
    "offsets beyond the file": safetensors({"x": tensor([4], 0, 16)}, b"1234"),
    "overlapping": safetensors({"x": tensor([1], 0, 4), "y": tensor([1], 0, 4)}, b"1234"),
    "backwards": safetensors({"x": tensor([1], 4, 0)}, b"1234"),
    "a huge shape": safetensors({"x": tensor([1 << 40, 1 << 40], 0, 4)}, b"1234"),
    "a negative shape": safetensors({"x": tensor([-1], 0, 4)}, b"1234"),
    "nested": safetensors(b"[" * 100_000),
    "nested facts": safetensors({"__metadata__": {"facts": "[" * 100_000}}),
    "a huge integer": safetensors({"__metadata__": {"facts": "9" * 5000}}),
    "no JSON": safetensors(b"\xff\xfe{}"),
}


@pytest.mark.parametrize("name", WEIGHTS)
def test_weights_that_cannot_be(model, name):
    (model / "model.safetensors").write_bytes(WEIGHTS[name])
    with pytest.raises(ValueError, match="safetensors") as error:
        Captioner.from_pretrained(model)
    sentence(error, model)
    with pytest.raises(ValueError, match="safetensors"):
        checkpoint.load(model / "model.safetensors")


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_a_pickle_is_never_run(model, tmp_path, suffix):
    sprung, path = tmp_path / "sprung", model / f"model{suffix}"
    torch.save({"x": Trap(sprung)}, path)
    with pytest.raises(ValueError, match="is not a file of weights") as error:
        read_weights(path)
    sentence(error, path)
    with pytest.raises(ValueError, match=path.name):
        checkpoint.load(path)
    assert not sprung.exists()


def test_weights_that_grow_when_they_are_read(tmp_path):
    torch.save({"x": torch.zeros(1 << 20)}, tmp_path / "plain.pth")
    path = tmp_path / "packed.pth"
    with zipfile.ZipFile(tmp_path / "plain.pth") as plain, zipfile.ZipFile(
        path, "w", zipfile.ZIP_DEFLATED
    ) as packed:
        for one in plain.infolist():
            packed.writestr(one.filename, plain.read(one))
    assert path.stat().st_size < 50_000 and read_weights(tmp_path / "plain.pth")
    with pytest.raises(ValueError, match="is not a file of weights"):
        read_weights(path)


def test_a_flipped_bit_in_a_checkpoint_is_noticed(tmp_path):
    path = tmp_path / "a.safetensors"
    checkpoint.save(path, {"x": torch.ones(30)}, {"epoch": 1})
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match="does not match its checksum"):
        checkpoint.load(path)


def test_a_checksum_whose_name_is_damaged_counts_as_wrong(tmp_path):
    path = tmp_path / "a.safetensors"
    checkpoint.save(path, {"x": torch.ones(30)}, {"epoch": 1})
    content = bytearray(path.read_bytes().replace(b'"checksum and facts"', b'"checksum and fact:"'))
    content[-5] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match="holds other facts"):
        checkpoint.load(path)


def test_weights_of_nan(model):
    tensors = checkpoint.load(model / "model.safetensors")[0]
    tensors["reduce.weight"][0, 0] = float("nan")
    checkpoint.save(model / "model.safetensors", tensors, {})
    with pytest.raises(ValueError, match=r"NaN or infinity, in reduce\.weight"):
        Captioner.from_pretrained(model)


def rewrite(path: Path, change) -> None:
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(json.dumps(content), encoding="utf-8")


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c["model"].update(vocab_size=10**15),
        lambda c: c["model"].update(vocab_size=1_000_000),
        lambda c: c["model"].update(hidden_dim=8192, attention_dim=8192, embed_dim=8192),
        lambda c: c["model"].update(encoder_dim=100_000, feature_dim=8192),
        lambda c: c["encoder"].update(size=10**6),
        lambda c: c["encoder"].update(size=99_968),
        lambda c: c["encoder"].update(size="224"),
        lambda c: c["encoder"].update(name=["efficientnet_lite0"]),
        lambda c: c["encoder"].update(name="../../x"),
        lambda c: c["encoder"].update(weights="/dev/zero"),
        lambda c: c["encoder"].update(weights="//elsewhere/share/w.pth"),
        lambda c: c["encoder"].update(weights="\\\\elsewhere\\share\\w.pth"),
        lambda c: c.update(data="//elsewhere/share/store"),
        lambda c: c["model"].update({"half a \ud83d": 1}),
        lambda c: c["generation"].update(max_length=10**9),
        lambda c: c["generation"].update(num_beams=10**400),
    ],
)
def test_a_configuration_that_asks_for_too_much(model, change):
    rewrite(model / "config.json", change)
    with pytest.raises((ValueError, FileNotFoundError)) as error:
        Captioner.from_pretrained(model).encoder  # noqa: B018
    sentence(error)


@pytest.mark.parametrize("grid", [None, "77", [7], [7, 7, 7], [7.0, 7.0], [True, 49], {}])
def test_a_grid_that_cannot_be(grid):
    with pytest.raises(ValueError, match="not its rows and columns"):
        grid_of({"grid": grid}, 49)


@pytest.mark.parametrize(
    "words",
    [
        [*SPECIAL, "dog", "dog"], [*SPECIAL, 5], [*SPECIAL, ["dog"]], list(SPECIAL[:3]), "abcd", 3,
        {"a": 1}, None, [*SPECIAL, "a\x1b[2Jdog"], [*SPECIAL, "\u202edog"], [*SPECIAL, "a\ndog"],
    ],
)  # fmt: skip
def test_a_vocabulary_that_cannot_be(model, words):
    (model / "vocabulary.json").write_text(json.dumps({"words": words}))
    with pytest.raises(ValueError, match="is not a vocabulary") as error:
        Captioner.from_pretrained(model)
    sentence(error, model)


def test_a_vocabulary_of_a_million_words(model):
    words = [*SPECIAL, *map(str, range(1_000_000))]
    (model / "vocabulary.json").write_text(json.dumps({"words": words}))
    with pytest.raises(ValueError, match="has 1000004 words"):
        Captioner.from_pretrained(model)


@unix
@pytest.mark.parametrize(
    "name", ["config.json", "vocabulary.json", "model.safetensors", "detector.safetensors"]
)
@pytest.mark.parametrize("kind", ["pipe", "device", "folder"])
def test_what_is_no_file_in_a_model(model, name, kind):
    (model / name).unlink(missing_ok=True)  # not every model has a word detector
    make = {"pipe": os.mkfifo, "device": lambda path: path.symlink_to("/dev/zero"),
            "folder": Path.mkdir}  # fmt: skip
    make[kind](model / name)
    with pytest.raises((ValueError, OSError)) as error:
        Captioner.from_pretrained(model)
    sentence(error, name)


# --- JSON, TOML, notebooks ----------------------------------------------------------------------


@pytest.mark.parametrize("content", ["[" * 100_000, "9" * 5000, '{"a":' * 50_000, "\0", ""])
def test_json_that_cannot_be(tmp_path, content):
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(ValueError, match="is damaged, it is not JSON") as error:
        read_json(tmp_path / "a.json")
    sentence(error, "a.json")


def test_json_that_is_larger_than_any_of_ours(tmp_path):
    with open(tmp_path / "a.json", "wb") as file:
        file.truncate(1 << 40)  # a terabyte of zeros, of which the disk holds none
    with pytest.raises(ValueError, match="is larger than 64 MiB"):
        read_json(tmp_path / "a.json")


@pytest.mark.parametrize(
    "content",
    [
        "epochs = " + "[" * 50_000, "epochs = " + "9" * 5000, "epochs = 0x" + "f" * 100_000,
        "[epochs.a.b.c]\nd = 1", "a." * 50_000 + "b = 1", "epochs = inf", "epochs = 1979-05-27",
        'start = "\\u001b[2J"', "\xff", "epochs = {a = {a = 1}}",
    ],
)  # fmt: skip
def test_a_recipe_that_cannot_be(tmp_path, content):
    path = tmp_path / "a.toml"
    path.write_bytes(content.encode("latin-1"))
    if "start" in content:
        assert "\x1b" not in printable(str(read_recipe(path)))
        return
    with pytest.raises(ValueError, match=r"a\.toml") as error:
        read_recipe(path)
    assert len(str(error.value)) < 2000
    sentence(error)


def notebook(path: Path, source: str, shown: str) -> Path:
    page = {"text/html": f"<script>{shown}</script>", "text/plain": shown}
    output = {"output_type": "display_data", "metadata": {}, "data": page}
    cell = {"cell_type": "code", "id": "a", "metadata": {}, "execution_count": 1,
            "source": source, "outputs": [output]}  # fmt: skip
    path.write_text(json.dumps(
        {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [cell]}))  # fmt: skip
    return path


def test_a_notebook_cannot_write_on_the_terminal_of_who_grades_it(tmp_path):
    shown = f"Exercise 4.1: not yet: {ESCAPES}"
    done = labkit("grade", "--stored", notebook(tmp_path / "a.ipynb", 'check("4.1")', shown))
    assert "Exercise" not in done.stderr and "not yet: a\\x1b[2J" in done.stdout
    assert printable(done.stdout) == done.stdout and "<script>" not in done.stdout


@pytest.mark.parametrize(
    "content", ["[" * 100_000, '{"cells": 3}', '{"nbformat": ' + "9" * 5000 + "}", "\0"]
)
def test_a_notebook_that_cannot_be(tmp_path, content):
    (tmp_path / "a.ipynb").write_text(content)
    with pytest.raises(ValueError, match="is not a notebook") as error:
        grade(tmp_path / "a.ipynb", stored=True)
    sentence(error, "a.ipynb")


def test_an_exercise_of_a_huge_number(tmp_path):
    path = notebook(tmp_path / "a.ipynb", f'check("{"9" * 5000}.1")', "")
    with pytest.raises(ValueError, match="contains no check of an exercise"):
        grade(path, stored=True)


# --- captions ---------------------------------------------------------------------------------

SLOW = {
    "quotes.csv": "file,caption\n" + 'a",",b\n' * 20_000,
    "quotes2.csv": "file,caption\n" + '"\n' * 20_001,
    "digits.csv": ("a#" + "1" * 1000) * 300 + "\n",
    "nested.json": "[" * 200_000,
    "keys.json": "{" + ",".join(f'"{n}": "a b"' for n in range(30_000)) + "}",
    "lists.jsonl": json.dumps({"file": "1.jpg", "caption": "[" + "-" * 49_000 + "1]"}) + "\n" * 9,
    "literal.csv": 'file,caption\n1.jpg,"[' + "1," * 300_000 + '0]"\n',
    "entities.csv": "file,caption\n1.jpg,&" + "amp;" * 30_000 + "\n",
    "long.csv": "file,caption\n1.jpg," + "a " * 300_000 + "\n",
}


@pytest.mark.parametrize("name", SLOW)
@pytest.mark.timeout(60)
def test_captions_that_were_made_to_take_time(tmp_path, name):
    text(tmp_path / name, SLOW[name])
    report = DataReport()
    rows = read_rows(tmp_path / name, report)
    for row in rows:
        row.checked(report)
    assert all("\n" not in one for names in report.problems.values() for one in names)


def test_a_caption_of_more_words_than_any(tmp_path):
    text(tmp_path / "a.csv", "file,caption\n1.jpg," + "a " * 1001 + "\n")
    report = DataReport()
    with pytest.raises(DataError, match="caption of more than 1,000 words"):
        read_references(tmp_path / "a.csv", report=report)
    with pytest.raises(DataError, match="has more than 1,000 words"):
        read_results(tmp_path / "a.csv")


def test_a_long_name_does_not_fill_the_screen(tmp_path):
    photos(tmp_path, ["1.jpg"])
    rows = [{"file_name": f"{n}{'a' * 5000}.jpg", "caption": "a"} for n in range(9)]
    text(tmp_path / "metadata.json", rows)
    with pytest.raises(DataError) as error:
        read_folder(tmp_path)
    assert len(str(error.value)) < 4000
    sentence(error, "missing image: 9 (0aaa")
    rows = [{"image_id": "a" * 5000, "caption": caption} for caption in "ab"]
    with pytest.raises(DataError) as error:
        read_results(text(tmp_path / "results.json", rows))
    assert len(str(error.value)) < 1000


def test_entities_escaped_again_and_again():
    assert tokenize("&amp;amp;amp;quot;a dog&amp;quot;") == ["a", "dog"]
    assert tokenize("a &" + "amp;" * 100_000)[0] == "a"


@unix
@pytest.mark.parametrize("name", ["captions.csv", "captions_val2017.json", "Flickr8k.token.txt"])
def test_a_pipe_in_place_of_captions_does_not_hang(tmp_path, name):
    photos(tmp_path, ["1.jpg"])
    os.mkfifo(tmp_path / name)
    with pytest.raises((ValueError, OSError)) as error:
        read_folder(tmp_path)
    sentence(error, tmp_path)
    for read in (read_results, read_judgements):
        with pytest.raises(FileNotFoundError):
            read(tmp_path / name)


def test_a_captions_file_names_no_photograph_outside(tmp_path):
    photos(tmp_path, ["secret.jpg"])
    for name in ("../secret.jpg", str(tmp_path / "secret.jpg"), "..\\secret.jpg", "C:\\secret.jpg"):
        photos(tmp_path / "set", ["1.jpg"])
        rows = [{"file_name": name, "caption": "a"}, {"file_name": "1.jpg", "caption": "a"}]
        text(tmp_path / "set/metadata.json", rows)
        found = read_folder(tmp_path / "set")
        assert [one.image for one in found] == [tmp_path / "set" / "1.jpg"]


@unix
def test_links_that_lead_outside_are_reported_and_none_leads_up(tmp_path):
    photos(tmp_path / "elsewhere", ["2.jpg"])
    photos(tmp_path / "set", ["1.jpg"])
    (tmp_path / "set/linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "set/up").symlink_to(tmp_path)
    (tmp_path / "set/all").symlink_to("/")
    (tmp_path / "set/.hidden").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "set/loop").symlink_to(tmp_path / "set/loop")
    report = DataReport()
    folder = Folder(tmp_path / "set", report)
    assert sorted(path.name for path in folder.photos) == ["1.jpg", "2.jpg"]
    followed = f"links lead outside and are followed: 1, such as {tmp_path / 'set/linked'}"
    assert report.notes == [followed]


def test_what_a_captions_file_says_cannot_write_on_the_terminal(tmp_path):
    photos(tmp_path, ["1.jpg"])
    rows = [{"file_name": f"{ESCAPES}\nlabkit: all is well.jpg", "caption": "a dog"},
            {"file_name": "1.jpg", "caption": "a dog"}]  # fmt: skip
    path = text(tmp_path / "metadata.json", rows)
    report = DataReport()
    read_folder(tmp_path, report=report)
    shown = printable(str(report))
    assert "missing image" in shown and "\\x1b[2J" in shown and "\\n" in shown
    assert printable(shown) == shown and len(shown.splitlines()) == 2
    done = labkit("score", path, tmp_path / "1.jpg")
    assert_one_sentence(done)
    assert printable(done.stderr) == done.stderr


# --- photographs --------------------------------------------------------------------------------


def png(width: int, height: int, path: Path) -> Path:
    """A PNG of a few bytes that claims a size."""
    Image.new("1", (1, 1)).save(path)
    content = bytearray(path.read_bytes())
    content[16:24] = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    import zlib

    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    path.write_bytes(content)
    return path


def test_a_photograph_that_claims_to_be_huge(tmp_path):
    for width, height in ((100_000, 100_000), (2**31 - 1, 1), (2**31 - 1, 2**31 - 1)):
        with pytest.raises(DataError, match=r"a\.png cannot be read as an image") as error:
            read_photo(png(width, height, tmp_path / "a.png"))
        sentence(error)


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n(a) run\nshowpage\n%%EOF\n"
NO_PHOTOS = {
    "page.jpg": b"<html><script>alert(1)</script></html>",
    "drawing.jpg": b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>',
    "post.jpg": EPS,
    "post.eps": EPS,
    "document.png": b"%PDF-1.7\n",
    "many.gif": b"GIF89a" + b"\xff" * 100,
}


@pytest.mark.parametrize("name", NO_PHOTOS)
def test_what_is_no_photograph_starts_no_program(tmp_path, name, monkeypatch):
    started = lambda *words, **more: pytest.fail(f"{words} was started")  # noqa: E731
    monkeypatch.setattr(subprocess, "Popen", started)
    monkeypatch.setattr(os, "system", started)
    (tmp_path / name).write_bytes(NO_PHOTOS[name])
    with pytest.raises(DataError) as error:
        read_photo(tmp_path / name)
    sentence(error, name)
    assert not {"EPS", "WMF"} & set(photo_files.FORMATS)


@unix
@pytest.mark.parametrize("kind", ["pipe", "device", "folder", "link to nothing"])
def test_a_photograph_that_is_no_file(tmp_path, kind):
    path = tmp_path / "a.jpg"
    make = {"pipe": os.mkfifo, "device": lambda path: path.symlink_to("/dev/zero"),
            "folder": Path.mkdir, "link to nothing": lambda path: path.symlink_to("b")}  # fmt: skip
    make[kind](path)
    with pytest.raises((DataError, FileNotFoundError)) as error:
        read_photo(path)
    sentence(error, path)


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
@pytest.mark.parametrize("mode", ["1", "LA"])
def test_a_photograph_that_grows_when_it_is_read(tmp_path, mode):
    """25 million pixels in some kilobytes: read, in some ten bytes of memory for each."""
    Image.MAX_IMAGE_PIXELS, before = None, Image.MAX_IMAGE_PIXELS
    Image.new(mode, (5_000, 5_000)).save(tmp_path / "a.png")
    Image.MAX_IMAGE_PIXELS = before
    assert (tmp_path / "a.png").stat().st_size < 60_000
    code = """import sys; from PIL import Image; from labkit.data.photos import read_photo, to_input

Image.init(); print(to_input(read_photo(sys.argv[1]), 224).shape)"""
    assert in_little_memory(code, tmp_path / "a.png", mebibytes=400) == "(3, 224, 224)\n"


def test_a_broken_photograph_among_others_stops_nothing(tmp_path, capsys):
    image = Image.effect_noise((64, 64), 90)
    image.save(tmp_path / "a.jpg")
    content = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "a.jpg").write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=r"a\.jpg"):
        to_input(read_photo(tmp_path / "a.jpg"), 32)


# --- archives -----------------------------------------------------------------------------------


def archive(tmp_path: Path, entries: dict[str, bytes], mark: int = 0) -> Archive:
    """A zip file by hand, in the folder of the data set; `mark` makes its entries links."""
    path = tmp_path / "set" / "a.zip"
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as pack:
        for name, content in entries.items():
            info = zipfile.ZipInfo(name)
            info.external_attr, info.compress_type = mark << 16, zipfile.ZIP_DEFLATED
            pack.writestr(info, content)
    md5 = hashlib.md5(path.read_bytes()).hexdigest()
    return Archive("https://example.org/a.zip", md5, ("in",))


@pytest.mark.parametrize(
    "name", ["in/../../x", "/in/x", "../in/x", "C:/in/x", "in/a:b", "in/../x", "//in/x"]
)
def test_a_zip_that_would_write_elsewhere(tmp_path, name):
    one = archive(tmp_path, {"in/good": b"1", name: b"1"})
    with pytest.raises(DownloadError, match="points outside its folder"):
        downloads.fetch([one], tmp_path / "set", progress=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["set"]
    assert not (tmp_path / "set/in").exists()


def test_a_zip_that_would_fill_the_disk(tmp_path):
    one = archive(tmp_path, {"in/big": bytes(20 << 20)})
    assert (tmp_path / "set/a.zip").stat().st_size < 50_000
    with pytest.raises(DownloadError, match="would grow to"):
        downloads.fetch([one], tmp_path / "set", progress=False)
    assert not (tmp_path / "set/in").exists()


@pytest.mark.parametrize("mark", [0o120777, 0o020666, 0o010666, 0o104777])
def test_links_devices_and_programs_in_a_zip_become_plain_files(tmp_path, mark):
    one = archive(tmp_path, {"in/a": b"/etc/passwd"}, mark)
    downloads.fetch([one], tmp_path / "set", progress=False)
    made = tmp_path / "set/in/a"
    assert made.is_file() and not made.is_symlink() and made.read_bytes() == b"/etc/passwd"
    assert not made.stat().st_mode & 0o6000


# --- pages, pictures, terminals -------------------------------------------------------------------

# fmt: off
MARKUP = ["</script><script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "javascript:a()",
          "'`${alert(1)}", "\u202edog", "a\nb", "\x1b[2J", "<!--", "$x^{$", "&lt;b&gt;"]
# fmt: on


def test_captions_are_text_in_a_page():
    alpha = np.full((len(MARKUP), 2, 2), 0.25)
    photo = np.zeros((16, 16, 3), np.uint8)
    viewer = AttentionViewer(photo, {MARKUP[1]: CaptionedPhoto(MARKUP, 0.0, alpha)}, MARKUP[0])
    page = viewer._repr_html_()
    assert len(re.findall("<script", page)) == 1 and len(re.findall("</script", page)) == 1
    assert page.count("<img") == 1 and "<!--" not in page
    data = json.loads(re.search(r'\)\("attention-\w+", (.*)\);\n</script>', page)[1])
    assert data["captions"][0]["words"] == MARKUP


def test_captions_are_text_in_a_drawing(tmp_path):
    from labkit.figures.strips import attention_strip

    alpha = np.full((len(MARKUP), 2, 2), 0.25)
    figure = attention_strip(np.zeros((16, 16, 3), np.uint8), MARKUP, alpha, title="a $x^{$ b")
    out = io.BytesIO()
    figure.savefig(out, format="svg")
    assert b"<script" not in out.getvalue() and b"<img" not in out.getvalue()


def test_no_script_builds_a_page_from_text():
    """What a file says reaches a page as text alone."""
    package = Path(photo_files.__file__).parents[1]
    ways = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\("
    scripts = [*package.rglob("*.js"), *package.rglob("*.html")]
    assert scripts
    assert not [path for path in scripts if re.search(ways, path.read_text(encoding="utf-8"))]


def test_all_that_is_printed_passes_through_one_function():
    package = Path(photo_files.__file__).parents[1]
    calls = [
        f"{path.name}: {line.strip()}"
        for path in package.rglob("*.py")
        for line in path.read_text(encoding="utf-8").splitlines()
        if re.match(r"\s*print\(", line) and path.name != "console.py"
    ]
    assert not calls


@unix
def test_names_of_files_cannot_write_on_the_terminal(tmp_path):
    name = tmp_path / f"{ESCAPES}\n.jpg"
    name.write_bytes(b"no photograph")
    done = labkit("caption", "scenes-soft", name, tmp_path / f"{ESCAPES}2.jpg", "--out", tmp_path)
    assert done.returncode == 1 and printable(done.stderr) == done.stderr
    assert len(done.stderr.splitlines()) == 2
    Image.new("RGB", (9, 9)).save(name)
    done = labkit("caption", "scenes-soft", name, "--out", tmp_path / "out")
    assert len(done.stdout.splitlines()) == 1 and printable(done.stdout) == done.stdout


def test_the_threat_model_names_tests_that_exist():
    root = Path(__file__).parents[1]
    named = set(re.findall(r"`(test_\w+)`", (root / "book/threat-model.md").read_text("utf-8")))
    files = [path.read_text(encoding="utf-8") for path in root.glob("tests/**/test_*.py")]
    missing = [name for name in named if not any(f"def {name}(" in text for text in files)]
    assert len(named) > 25 and not missing


def test_the_limit_of_memory_is_one(tmp_path):
    """The measure of these tests: what takes more than it may is stopped."""
    code = "import sys\n\nprint(len(bytearray(1 << 30)))"
    if sys.platform == "linux" and hasattr(resource, "RLIMIT_AS"):
        with pytest.raises(AssertionError, match="MemoryError"):
            in_little_memory(code, mebibytes=100)
