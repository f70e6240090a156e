"""labkit: the package behind the lab book on visual attention.

It re-creates Show, Attend and Tell (Xu et al. 2015) on a small machine. This file only hands names
on; read the modules in the order of the README's map.
"""

from labkit.data.readers import (
    CaptionedImage,
    DataReport,
    read_coco,
    read_flickr8k,
    read_flickr30k,
    read_folder,
    read_karpathy,
    read_table,
)
from labkit.data.scenes import make_scenes
from labkit.data.vocabulary import Vocabulary
from labkit.evaluation.evaluate import evaluate
from labkit.evaluation.metrics import score
from labkit.features.encoder import Encoder, EncoderConfig, load_encoder
from labkit.figures.strips import attention_strip, loss_curves
from labkit.figures.viewer import AttentionViewer
from labkit.model.captioner import Captioner, list_pretrained
from labkit.model.config import GenerationConfig, ModelConfig
from labkit.model.decoder import Decoder
from labkit.model.generation import beam_search, greedy, sample
from labkit.store.loader import Loader
from labkit.store.shards import FeatureStore
from labkit.store.writer import StoreWriter
from labkit.training.config import TrainingConfig
from labkit.training.trainer import Trainer, train

__version__ = "0.1.0"
__all__ = [
    "AttentionViewer", "CaptionedImage", "Captioner", "DataReport", "Decoder", "Encoder",
    "EncoderConfig", "FeatureStore", "GenerationConfig", "Loader", "ModelConfig", "StoreWriter",
    "Trainer", "TrainingConfig", "Vocabulary", "attention_strip", "beam_search", "evaluate",
    "greedy", "list_pretrained", "load_encoder", "loss_curves", "make_scenes", "read_coco",
    "read_flickr8k", "read_flickr30k", "read_folder", "read_karpathy", "read_table", "sample",
    "score", "train",
]  # fmt: skip
