"""labkit: the package behind the lab book on visual attention.

It re-creates Show, Attend and Tell (Xu et al. 2015) on a small machine. The names that you need
most often are here; the others are in the wings that the README's map lists.
"""

import lazy_loader

__version__ = "0.1.0"
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
