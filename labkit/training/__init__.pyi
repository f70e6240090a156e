# The public names and where they live: read by labkit when it is imported, and by type checkers.

from .config import TrainingConfig as TrainingConfig
from .objective import Objective as Objective
from .run import train as train
from .trainer import Trainer as Trainer
