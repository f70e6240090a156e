"""Recipes: settings in a file, to repeat a training; and settings as a user types them."""

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from labkit.files import read_bytes
from labkit.training.config import check_settings, setting_from_text

RECIPES = Path(__file__).parents[1] / "recipes"


def read_recipe(recipe: str | Path) -> dict[str, Any]:
    """Read settings from a recipe: a TOML file of lines ``name = value``.

    Args:
        recipe: A file, or the name of a recipe that comes with the package. A file comes first.

    Returns:
        What differs from the defaults, by field of any of the three configurations.

    Raises:
        FileNotFoundError: There is no such recipe.
        ValueError: It is not TOML, or holds an unknown setting, or a value out of range.
    """
    path = Path(recipe)
    path = path if path.is_file() else RECIPES / f"{recipe}.toml"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in RECIPES.glob("*.toml")))
        raise FileNotFoundError(f"there is no recipe {recipe}: name a file, or one of {known}")
    try:
        text = read_bytes(path).decode("utf-8-sig")
        if len(text) > 100_000 or max(map(len, text.splitlines()), default=0) > 1000:
            raise ValueError("a recipe has short lines, name = value")  # long keys take long
        found = tomllib.loads(text)
        check_settings(found)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: {error}") from None
    return found


def parse_settings(texts: Sequence[str]) -> dict[str, Any]:
    """Read settings as a user types them: ``name=value``.

    Raises:
        ValueError: There is no such setting, or its value is not of its type or out of range.
    """
    parts = [text.partition("=") for text in texts]
    if missing := [name for name, equals, _ in parts if not equals]:
        raise ValueError(f"{missing[0]!r} has no value: write NAME=VALUE, such as epochs=3")
    pairs = [(name.strip(), value.strip()) for name, _, value in parts]
    return {name: setting_from_text(name, value) for name, value in pairs}
