"""Annotation vectors on disk, and the loaders that deliver them in a new order each epoch.

`StoreWriter` writes a store, `FeatureStore` reads a split of it, `Loader` makes batches of that.
Beside them: simpler loaders to compare with, the export to other tools, the memory of a process.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "alternatives": ["LOADERS", "StoreDataset"],
        "loader": ["Batch", "Loader"],
        "memory": ["peak_memory"],
        "shards": ["FeatureStore", "StoreError", "find_split", "splits"],
        "shuffle": ["ShuffledOrder"],
        "writer": ["StoreWriter"],
    },
)
