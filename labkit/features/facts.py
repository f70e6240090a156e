"""What a store or a model says about the encoder of its features: facts, as JSON has them."""

from collections.abc import Mapping
from typing import Any


def network_of(facts: dict[str, Any]) -> dict[str, Any]:
    """Of the facts of `labkit.features.encoder.Encoder.describe`, those that identify the network.

    Two encoders for which they are equal compute the same features, up to precision, wherever the
    files of their weights are.
    """
    return {key: value for key, value in facts.items() if key not in ("weights", "precision")}


def grid_of(encoder: Mapping[str, Any], length: int) -> tuple[int, int]:
    """Return the grid's rows and columns.

    Args:
        encoder: The facts of `labkit.features.encoder.Encoder.describe`, as a store keeps them.
        length: L, the number of regions.

    Raises:
        ValueError: The facts have no grid, and L is not a square number.
    """
    if "grid" in encoder:
        grid = encoder["grid"]
        if not isinstance(grid, list | tuple) or [type(side) for side in grid] != [int, int]:
            raise ValueError(f"the encoder's grid is {grid!r:.40}, not its rows and columns")
        return grid[0], grid[1]
    side = round(length**0.5)
    if side * side != length:
        raise ValueError(f"{length} regions form no square grid, and the store names no other")
    return side, side
