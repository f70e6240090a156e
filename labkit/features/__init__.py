"""From photographs to annotation vectors: the frozen encoder and its backbones.

`labkit.features.prepare` encodes a data set into a store.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
