"""Trained models for other places: a page in a browser, graphs for onnxruntime.

An exported folder is complete or absent, and needs no labkit and no PyTorch. `page/` is what a page
consists of: plain JavaScript, and no library.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
