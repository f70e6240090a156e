# The public names and where they live: read by labkit when it is imported, and by type checkers.

from .removal_viewer import RemovalViewer as RemovalViewer
from .strips import attention_strip as attention_strip
from .strips import loss_curves as loss_curves
from .viewer import AttentionViewer as AttentionViewer
