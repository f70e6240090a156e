# The public names and where they live: read by labkit when it is imported, and by type checkers.

from .browser import export_to_browser as export_to_browser
from .onnx import export_to_onnx as export_to_onnx
