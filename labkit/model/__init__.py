"""The captioner: the paper's equations, attention mechanisms, the decoder and generation.

`labkit.model.equations` is the paper in plain functions; `Captioner` is a trained model.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
