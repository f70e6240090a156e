# The public names and where they live: read by labkit when it is imported, and by type checkers.

from .alternatives import LOADERS as LOADERS
from .alternatives import StoreDataset as StoreDataset
from .loader import Batch as Batch
from .loader import Loader as Loader
from .manifest import StoreError as StoreError
from .memory import peak_memory as peak_memory
from .shards import FeatureStore as FeatureStore
from .shards import find_split as find_split
from .shards import splits as splits
from .shuffle import ShuffledOrder as ShuffledOrder
from .writer import StoreWriter as StoreWriter
