"""The examples in docstrings run, and give what they say."""

import doctest
import importlib
import sys

import pytest

WITH_EXAMPLES = [  # modules whose docstrings have examples; add yours
    "labkit.data.readers",
    "labkit.data.redraw",
    "labkit.data.scenes",
    "labkit.data.vocabulary",
    "labkit.store",
    "labkit.store.loader",
    "labkit.store.shards",
    "labkit.store.shuffle",
    "labkit.features.prepare",
    "labkit.model.attention",
    "labkit.model.captioner",
    "labkit.model.config",
    "labkit.model.decoder",
    "labkit.model.equations",
    "labkit.model.hard_attention",
    "labkit.evaluation.evaluate",
    "labkit.evaluation.interventions",
    "labkit.evaluation.metrics",
    "labkit.evaluation.people",
    "labkit.figures.removal_viewer",
    "labkit.figures.strips",
    "labkit.figures.viewer",
    "labkit.training.config",
    "labkit.training.run",
]


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_the_examples_are_true(name, registry, tmp_path, monkeypatch):
    """In an empty folder, as a reader types them."""
    importlib.import_module(name)
    monkeypatch.chdir(tmp_path)
    found = doctest.testmod(sys.modules[name], optionflags=doctest.NORMALIZE_WHITESPACE)
    assert found.attempted and not found.failed
