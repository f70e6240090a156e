# The public names and where they live: read by labkit when it is imported, and by type checkers.

from .data.readers import read_coco as read_coco
from .data.readers import read_flickr8k as read_flickr8k
from .data.readers import read_flickr30k as read_flickr30k
from .data.readers import read_folder as read_folder
from .data.readers import read_karpathy as read_karpathy
from .data.readers import read_table as read_table
from .data.records import CaptionedImage as CaptionedImage
from .data.records import DataReport as DataReport
from .data.scenes import make_scenes as make_scenes
from .data.vocabulary import Vocabulary as Vocabulary
from .evaluation.evaluate import evaluate as evaluate
from .evaluation.metrics import score as score
from .features.encoder import Encoder as Encoder
from .features.encoder import EncoderConfig as EncoderConfig
from .features.encoder import load_encoder as load_encoder
from .features.prepare import prepare_scenes as prepare_scenes
from .figures.strips import attention_strip as attention_strip
from .figures.strips import loss_curves as loss_curves
from .figures.viewer import AttentionViewer as AttentionViewer
from .model.attention import Attention as Attention
from .model.beams import beam_search as beam_search
from .model.captioner import Captioner as Captioner
from .model.captioner import list_pretrained as list_pretrained
from .model.config import GenerationConfig as GenerationConfig
from .model.config import ModelConfig as ModelConfig
from .model.decoder import Decoder as Decoder
from .model.generation import greedy as greedy
from .model.generation import sample as sample
from .model.hard_attention import register_attention as register_attention
from .store.loader import Loader as Loader
from .store.shards import FeatureStore as FeatureStore
from .store.writer import StoreWriter as StoreWriter
from .training.config import TrainingConfig as TrainingConfig
from .training.run import train as train
from .training.trainer import Trainer as Trainer

__version__: str
