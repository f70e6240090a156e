"""The feature store: annotation vectors on disk, written once and read in shuffled order.

Also alternatives to the loader for comparison, and export to other formats.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "shards": ["FeatureStore"],
        "writer": ["StoreWriter"],
        "loader": ["Batch", "Loader"],
        "shuffle": ["ShuffledOrder"],
    },
)
