"""labkit: the package behind the lab book on visual attention.

It re-creates Show, Attend and Tell (Xu et al. 2015) on a small machine. The names that you need
most often are here; the others are in the wings that the README's map lists.
"""

import lazy_loader

__version__ = "0.1.0"
__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "data.records": ["CaptionedImage", "DataReport"],
        "data.readers": [
            "read_coco", "read_flickr30k", "read_flickr8k", "read_folder",
            "read_karpathy", "read_table",
        ],
        "data.scenes": ["make_scenes"],
        "data.vocabulary": ["Vocabulary"],
        "store.loader": ["Loader"],
        "store.shards": ["FeatureStore"],
        "store.writer": ["StoreWriter"],
        "features.prepare": ["prepare_scenes"],
        "features.encoder": ["Encoder", "EncoderConfig", "load_encoder"],
        "model.config": ["GenerationConfig", "ModelConfig"],
        "model.attention": ["Attention"],
        "model.hard_attention": ["register_attention"],
        "model.decoder": ["Decoder"],
        "model.beams": ["beam_search"],
        "model.generation": ["greedy", "sample"],
        "model.captioner": ["Captioner", "list_pretrained"],
        "evaluation.evaluate": ["evaluate"],
        "evaluation.metrics": ["score"],
        "figures.strips": ["attention_strip", "loss_curves"],
        "figures.viewer": ["AttentionViewer"],
        "training.config": ["TrainingConfig"],
        "training.run": ["train"],
        "training.trainer": ["Trainer"],
    },
)
