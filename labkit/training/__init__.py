"""Training: the configuration, the objective, the training loop and comparisons of mechanisms.

A run that was stopped resumes exactly where it was.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
