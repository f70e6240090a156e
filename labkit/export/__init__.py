"""Trained models for other places: a page in a browser, ONNX.

`page/` is what an exported page consists of: plain JavaScript, and no library.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__, submod_attrs={"browser": ["export_to_browser"]}
)
