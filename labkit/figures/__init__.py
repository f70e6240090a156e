"""Figures: attention strips, loss curves, and the interactive viewers.

`labkit.figures.caption_photos` captions photographs and draws a strip of each.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
