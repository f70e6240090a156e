"""labkit: the package behind the lab book on visual attention.

It re-creates Show, Attend and Tell (Xu et al. 2015) on a small machine. This file only hands names
on; read the modules in the order of the README's map.
"""

from labkit.captions import (
    CaptionedImage,
    DataReport,
    read_coco,
    read_flickr8k,
    read_flickr30k,
    read_folder,
    read_karpathy,
    read_table,
)
from labkit.decoder import Decoder, DecoderConfig
from labkit.decoding import beam_search, greedy, sample
from labkit.encoder import Encoder, EncoderConfig, load_encoder
from labkit.evaluation import Decoding, evaluate
from labkit.figures import attention_strip, loss_curves
from labkit.loader import Loader
from labkit.metrics import score
from labkit.models import Captioner, load, shipped
from labkit.scenes import make_scenes
from labkit.settings import TrainConfig
from labkit.shards import FeatureStore
from labkit.training import Training, train
from labkit.viewer import AttentionViewer
from labkit.vocabulary import Vocabulary
from labkit.writer import StoreWriter

__version__ = "0.1.0"
__all__ = [
    "AttentionViewer", "CaptionedImage", "Captioner", "DataReport", "Decoder", "DecoderConfig",
    "Decoding", "Encoder", "EncoderConfig", "FeatureStore", "Loader", "StoreWriter", "TrainConfig",
    "Training", "Vocabulary", "attention_strip", "beam_search", "evaluate", "greedy", "load",
    "load_encoder", "loss_curves", "make_scenes", "read_coco", "read_flickr8k", "read_flickr30k",
    "read_folder", "read_karpathy", "read_table", "sample", "score", "shipped", "train",
]  # fmt: skip
