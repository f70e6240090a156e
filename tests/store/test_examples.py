"""The examples in the docstrings of the store."""

import doctest
import importlib
import pkgutil

import pytest

from labkit import store

INSIDE = [f"{store.__name__}.{module.name}" for module in pkgutil.iter_modules(store.__path__)]


@pytest.mark.parametrize("name", [store.__name__, *INSIDE])
def test_the_examples_give_what_they_show(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0
