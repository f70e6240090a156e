# The public names and where they live: read by labkit when it is imported, and by type checkers.

from .coco import read_coco as read_coco
from .downloads import download as download
from .flickr import read_flickr8k as read_flickr8k
from .flickr import read_flickr30k as read_flickr30k
from .photos import read_photo as read_photo
from .photos import to_input as to_input
from .readers import READERS as READERS
from .readers import find_layout as find_layout
from .readers import read_folder as read_folder
from .records import Box as Box
from .records import CaptionedImage as CaptionedImage
from .records import DataError as DataError
from .records import DataReport as DataReport
from .records import augment as augment
from .scenes import make_scenes as make_scenes
from .splits import make_splits as make_splits
from .tables import read_karpathy as read_karpathy
from .tables import read_table as read_table
from .vocabulary import Vocabulary as Vocabulary
from .words import tokenize as tokenize
