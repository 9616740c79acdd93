"""File formats: bytes of a header <-> Document + Placement.

This room knows formats and nothing of Python objects or torch. `read` detects a file by content and
gives its Document with the place of each stored tensor; `layout` plans a new file without any I/O.
Every format is a `Container`: torchkeep's own, plain safetensors, and what a program registers.
"""

from .detect import read as read
from .native import layout as layout
from .placement import Placement as Placement
from .protocol import HEAD_NBYTES as HEAD_NBYTES
from .protocol import Container as Container
from .protocol import Contents as Contents
from .registry import register_container as register_container
from .registry import registered_meanwhile as registered_meanwhile
