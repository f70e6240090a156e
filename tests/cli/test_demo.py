"""The demo, much smaller than as typed, ends with its scores and its page."""

import json
import re

import pytest
import torch

from labkit.cli.demo import SCORES, demo


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    demo(folder, count=100, overrides={"epochs": 1}, say=lambda line: None)
    return folder


def test_scores_are_written_beside_those_of_the_untrained_model(out):
    scores = json.loads((out / "scores.json").read_text())
    assert set(SCORES) <= set(scores) and set(SCORES) <= set(scores["untrained"])
    for name in ("pointing", "objects_right", "captions_true"):
        assert 0 <= scores[name] <= 1
    assert scores["images"] == 10 and scores["split"] == "test"
    assert scores["untrained"]["captions_true"] == 0


def test_the_store_has_its_splits_and_the_page_its_pictures(out):
    manifest = json.loads((out / "store" / "manifest.json").read_text())
    assert set(manifest["splits"]) == {"train", "dev", "test"}
    page = (out / "index.html").read_text()
    images = re.findall(r'<img src="([^"]+)" alt="([^"]+)"', page)
    assert len(images) == 7
    assert all((out / name).is_file() and len(alt) > 20 for name, alt in images)
    assert "http" not in page  # nothing is fetched


def test_a_second_demo_resumes(out):
    """The store and the run are kept: only captions are generated again."""
    before = (out / "run" / "model.safetensors").stat().st_mtime_ns
    lines, drawn = [], torch.get_rng_state()
    demo(out, count=100, overrides={"epochs": 1}, say=lines.append)
    assert (out / "run" / "model.safetensors").stat().st_mtime_ns == before
    assert any("captions entirely true" in line for line in lines)
    assert any(line.startswith("all 1 epochs are done; epoch 1 is kept") for line in lines)
    assert torch.equal(torch.get_rng_state(), drawn)  # the caller's
