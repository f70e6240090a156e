"""The captioner: the paper's equations, attention mechanisms, the decoder and generation.

`labkit.model.equations` is the paper in plain functions; `Captioner` is a trained model.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "config": ["GenerationConfig", "ModelConfig"],
        "decoder": ["Decoder"],
        "beams": ["beam_search"],
        "captions": ["Caption"],
        "generation": ["generate", "greedy", "sample"],
        "captioner": ["CaptionedPhoto", "Captioner", "list_pretrained"],
    },
)
