"""The examples in docstrings run, and give what they say."""

import doctest
import importlib
import sys

import pytest

from labkit.model.config import MECHANISMS
from labkit.model.hard_attention import ATTENTIONS

WITH_EXAMPLES = [  # modules whose docstrings have examples; add yours
    "labkit.model.captioner",
    "labkit.model.decoder",
    "labkit.model.equations",
    "labkit.model.hard_attention",
]


@pytest.fixture
def mechanisms():
    """An example may register a mechanism: afterwards it is gone."""
    before = dict(ATTENTIONS), list(MECHANISMS)
    yield
    ATTENTIONS.clear()
    ATTENTIONS.update(before[0])
    MECHANISMS[:] = before[1]


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_the_examples_are_true(name, mechanisms, tmp_path, monkeypatch):
    """In an empty folder, as a reader types them."""
    importlib.import_module(name)
    monkeypatch.chdir(tmp_path)
    found = doctest.testmod(sys.modules[name], optionflags=doctest.NORMALIZE_WHITESPACE)
    assert found.attempted and not found.failed
