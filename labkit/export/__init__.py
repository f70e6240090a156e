"""Trained models for other programs: graphs for onnxruntime.

What an exported folder holds is complete or absent, and needs no labkit and no PyTorch.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "onnx": ["export_to_onnx"],
    },
)
