"""Small feature stores for the tests, whose features show which image they belong to."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from labkit.store.shards import FeatureStore
from labkit.store.writer import StoreWriter

LENGTH, DIM, PER_SHARD = 3, 4, 7
ENCODER, SOURCE = {"name": "numbers", "grid": [3, 1]}, {"made": "for a test"}


def features_of(image: int) -> np.ndarray:
    """(L, D) float16, different for every image."""
    return np.random.default_rng(image).standard_normal((LENGTH, DIM)).astype(np.float16)


def writer(store: Path, per_shard: int = PER_SHARD) -> StoreWriter:
    return StoreWriter(store, LENGTH, DIM, ENCODER, SOURCE, per_shard)


def add(into: StoreWriter, split: str, image: int, captions: int = 5) -> None:
    texts = [f"caption {number} of {image}" for number in range(captions)]
    into.add(split, f"image-{image}", features_of(image), texts)


def make_store(
    store: Path, count: int = 25, captions: Callable[[int], int] = lambda image: 5
) -> FeatureStore:
    """A store with `count` images in a split "train", image `i` with `captions(i)` captions."""
    with writer(store) as into:
        for image in range(count):
            add(into, "train", image, captions(image))
    return FeatureStore(store, "train")
