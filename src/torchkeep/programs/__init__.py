"""Computations as data: captured from a module, held against every rule, and run again without its class.

This room knows operators, graphs and call signatures. It does not know files, and how a module tree is saved and
built is the business of `values`.
"""

from .examples import CannotCapture as CannotCapture
from .examples import Example as Example
from .places import require as require
from .program import Captured as Captured
from .program import capture_program as capture_program
from .program import summary as summary
from .run import Runner as Runner
from .text import decode as decode
from .text import encode as encode
