"""Images with captions: the records and the readers of all layouts in which data sets come.

Also synthetic scenes, vocabularies, photographs as arrays, and downloads.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
