"""Annotation vectors on disk, and the loaders that deliver them in a new order each epoch.

`StoreWriter` writes a store, `FeatureStore` reads a split of it, `Loader` makes batches of that.
Beside them: simpler loaders to compare with, the export to other tools, the memory of a process.
"""

from labkit.store.alternatives import LOADERS, StoreDataset
from labkit.store.export import export
from labkit.store.loader import Batch, Loader
from labkit.store.memory import peak_memory
from labkit.store.shards import FeatureStore, StoreError, find_split, splits
from labkit.store.shuffle import ShuffledOrder
from labkit.store.writer import StoreWriter

__all__ = [
    "LOADERS", "Batch", "FeatureStore", "Loader", "ShuffledOrder", "StoreDataset", "StoreError",
    "StoreWriter", "export", "find_split", "peak_memory", "splits",
]  # fmt: skip
