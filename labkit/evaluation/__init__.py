"""Scores of captions and of attention.

Metrics against references, the pointing game, statistics of attention maps, human judgements; and
interventions, which ask where a word came from.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
