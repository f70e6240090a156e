"""Images with captions: the records and the readers of all layouts in which data sets come.

Also synthetic scenes, vocabularies, photographs as arrays, and downloads.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "records": ["Box", "CaptionedImage", "DataError", "DataReport", "augment"],
        "readers": ["READERS", "find_layout", "read_folder"],
        "coco": ["read_coco"],
        "flickr": ["read_flickr30k", "read_flickr8k"],
        "tables": ["read_karpathy", "read_table"],
        "splits": ["make_splits"],
        "words": ["tokenize"],
        "vocabulary": ["Vocabulary"],
        "scenes": ["make_scenes"],
        "photos": ["read_photo", "to_input"],
        "downloads": ["download"],
    },
)
