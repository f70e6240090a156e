"""Annotation vectors on disk, and the loaders that deliver them in a new order each epoch.

`StoreWriter` writes a store, `FeatureStore` reads a split of it, `Loader` makes batches of that.
Beside them: simpler loaders to compare with, the export to other tools, the memory of a process.

A store of five images, whose features are L = 49 annotation vectors of D = 8 numbers:

    >>> import tempfile, numpy as np
    >>> from labkit.store import FeatureStore, Loader, StoreWriter
    >>> store = tempfile.mkdtemp()
    >>> with StoreWriter(store, 49, 8, encoder={"name": "ones"}, source={}) as writer:
    ...     for number in range(5):
    ...         features = np.ones((49, 8), np.float16)
    ...         writer.add("train", f"{number}.jpg", features, ["a dog", "a brown dog"])
    >>> train = FeatureStore(store, "train")
    >>> len(train), train.ids[4], train.captions[4], train.read([4, 0]).shape
    (5, '4.jpg', ('a dog', 'a brown dog'), (2, 49, 8))
    >>> loader = Loader(train, batch_size=2)
    >>> [batch.indices.tolist() for batch in loader]
    [[4, 1], [0, 3], [2]]
    >>> batch = next(iter(loader))  # of the next epoch
    >>> batch.features.shape, batch.features.dtype
    (torch.Size([2, 49, 8]), torch.float32)
    >>> loader.state_dict()["epoch"], loader.state_dict()["position"]
    (1, 2)
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "alternatives": ["LOADERS", "StoreDataset"],
        "loader": ["Batch", "Loader"],
        "memory": ["peak_memory"],
        "manifest": ["StoreError"],
        "shards": ["FeatureStore", "find_split", "splits"],
        "shuffle": ["ShuffledOrder"],
        "writer": ["StoreWriter"],
    },
)
