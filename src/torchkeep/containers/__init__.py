"""File formats: bytes of a header <-> Document + Placement.

This room knows formats and nothing of Python objects or torch. `read` detects a file by content and
gives its Document with the place of each stored tensor; `layout` plans a new file without any I/O.
"""

from .detect import Contents as Contents
from .detect import read as read
from .native import layout as layout
