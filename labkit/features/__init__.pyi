# The public names and where they live: read by labkit when it is imported, and by type checkers.

from .encoder import Encoder as Encoder
from .encoder import EncoderConfig as EncoderConfig
from .encoder import encode as encode
from .encoder import load_encoder as load_encoder
from .prepare import prepare_scenes as prepare_scenes
from .prepare import read_photos as read_photos
