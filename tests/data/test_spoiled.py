"""Captions files and results, spoiled in many ways: one sentence, or what is sound of them.

SPOILED=2000 in the environment tries as many of each kind; the suite tries a few.
"""

import copy
import json
import os
import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from layouts import coco, kaggle8k, kaggle30k, karpathy, photos, text

from labkit.data.readers import READERS, DataReport
from labkit.evaluation.results import read_references, read_results

LAYOUTS = {  # name: the reader, the captions file, how the folder is made
    "kaggle8k": ("flickr8k", "captions.txt", kaggle8k),
    "token": ("flickr8k", "Flickr8k.token.txt", lambda root: tokens(root)),
    "kaggle30k": ("flickr30k", "flickr30k_images/results.csv", kaggle30k),
    "coco": ("coco", "annotations/captions_val2017.json", lambda root: both_years(root)),
    "karpathy": ("karpathy", "dataset_coco.json", lambda root: of_karpathy(root)),
    "jsonl": ("table", "metadata.jsonl", lambda root: lines(root)),
}
# fmt: off
ODD = [None, True, -1, 0, 2**70, 1.5, float("nan"), "", " ", "\0", "\ud800", "../../x.jpg", "a b/c",
       "/etc/x.jpg", "a" * 5000, [], [[]], {}, {"raw": None}, "[", "1.jpg", "000000000001", "è"]
BYTES = [b"\xff", b"\xfe\xff", b"\xef\xbb\xbf", b"\0", b'"', b"\n", b"\r", b"\t", b",", b"|", b"#",
         b"{", b"[", b"\\ud83d", b"\xe9", b"\xe2\x80\xa8", b"../", b""]
# fmt: on
TRIES = settings(
    max_examples=int(os.environ.get("SPOILED", "40")), deadline=None, derandomize=True,
    suppress_health_check=list(HealthCheck), database=None,
)  # fmt: skip


def tokens(root: Path) -> None:
    photos(root / "Flicker8k_Dataset", ["1.jpg", "2.jpg"])
    text(root / "Flickr8k.token.txt", "1.jpg#0\tA dog .\n1.jpg#1\tOne dog .\n2.jpg#0\tA café .\n")


def both_years(root: Path) -> None:
    for split, ids in {"train2017": [1, 2], "val2017": [2, 3]}.items():
        coco(root, split, ids)


def of_karpathy(root: Path) -> None:
    entries = [{"filename": f"{n}.jpg", "filepath": "val2014", "cocoid": n} for n in (1, 2)]
    karpathy(root / "dataset_coco.json", [*entries, {"filename": "3.jpg", "split": "val"}])
    photos(root / "val2014", ["1.jpg", "2.jpg", "3.jpg"])


def lines(root: Path) -> None:
    photos(root, ["1.jpg", "2.jpg"])
    rows = [{"file_name": f"{n}.jpg", "text": ["A dog.", "A cat."], "split": "a"} for n in (1, 2)]
    text(root / "metadata.jsonl", "\n".join(map(json.dumps, rows)))


@st.composite
def spoiled(draw, sound: bytes) -> bytes:
    """Cut, insert and repeat bytes; or put odd values into JSON."""
    try:
        data = json.loads(sound)
    except ValueError:
        data = None
    if data is not None and draw(st.booleans()):
        for _ in range(draw(st.integers(1, 3))):
            places = list(walk(data))
            holder, key = places[draw(st.integers(0, len(places) - 1))]
            odd = copy.deepcopy(draw(st.sampled_from([*ODD, "remove"])))
            if odd == "remove":
                del holder[key]
            else:
                holder[key] = odd
            if not list(walk(data)):
                break
        return json.dumps(data).encode()
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(sound)))
        end = min(len(sound), start + draw(st.sampled_from([0, 1, 2, 7, 50, 10_000])))
        sound = sound[:start] + draw(st.sampled_from(BYTES)) + sound[end:]
    return sound


def walk(data):
    """Every place in a JSON value that something can be put into."""
    for key, value in list(data.items() if isinstance(data, dict) else enumerate(data)):
        yield data, key
        if isinstance(value, dict | list):
            yield from walk(value)


@pytest.fixture(scope="module", params=LAYOUTS)
def layout(request, tmp_path_factory):
    reader, name, make = LAYOUTS[request.param]
    root = tmp_path_factory.mktemp(request.param)
    make(root)
    return READERS[reader], root, root / name, (root / name).read_bytes()


def check(records, root: Path) -> None:
    assert records and len({record.id for record in records}) == len(records)
    for record in records:
        assert record.image.is_file() and record.image.is_relative_to(root)
        assert re.fullmatch(r"\w[\w.-]*", record.split, re.ASCII)
        kept = json.dumps([record.id, record.facts, record.captions], ensure_ascii=False)
        assert "\0" not in kept and kept.encode()
        assert all(one and one == " ".join(one.split()) for one in record.captions)


@TRIES
@given(st.data())
def test_spoiled_captions_files(layout, data):
    read, root, path, sound = layout
    path.write_bytes(data.draw(spoiled(sound)))
    report = DataReport()
    try:
        check(read(root, report=report), root)
    except (ValueError, FileNotFoundError) as error:
        assert str(root) in str(error) and "\n" not in str(error).strip()
    for names in report.problems.values():
        assert all(isinstance(name, str) for name in names)


@TRIES
@given(st.data())
def test_spoiled_references(layout, data):
    path, sound = layout[2:]
    path.write_bytes(data.draw(spoiled(sound)))
    try:
        found = read_references(path, report=DataReport())
    except ValueError as error:
        assert str(path) in str(error) and "\n" not in str(error).strip()
    else:
        assert found and all(name and texts for name, texts in found.items())
        assert json.dumps(found, ensure_ascii=False).encode()


RESULTS = {
    "list.json": b'[{"image_id": 1, "caption": "a dog"}, {"image_id": 2, "caption": "a cat"}]',
    "object.json": b'{"1": "a dog", "2": ["a cat"]}',
    "lines.jsonl": b'{"image_id": 1, "caption": "a dog"}\n{"image_id": 2, "caption": "a cat"}',
    "table.csv": b'image_id,caption\n1,a dog\n2,"a cat, a dog"\n',
}


@pytest.mark.parametrize("name", RESULTS)
@TRIES
@given(st.data())
def test_spoiled_results(tmp_path_factory, name, data):
    path = tmp_path_factory.getbasetemp() / name
    path.write_bytes(data.draw(spoiled(RESULTS[name])))
    try:
        found = read_results(path)
    except ValueError as error:
        assert str(path) in str(error) and "\n" not in str(error).strip()
    else:
        assert found and all(isinstance(caption, str) for caption in found.values())
        assert json.dumps(found, ensure_ascii=False).encode()
