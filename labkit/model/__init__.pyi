# The public names and where they live: read by labkit when it is imported, and by type checkers.

from .beams import beam_search as beam_search
from .captioner import CaptionedPhoto as CaptionedPhoto
from .captioner import Captioner as Captioner
from .captioner import list_pretrained as list_pretrained
from .captions import Caption as Caption
from .config import GenerationConfig as GenerationConfig
from .config import ModelConfig as ModelConfig
from .decoder import Decoder as Decoder
from .generation import generate as generate
from .generation import greedy as greedy
from .generation import sample as sample
