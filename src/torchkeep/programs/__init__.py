"""Computations as data: captured from a module, held against every rule, and run again without its class.

This room knows operators, graphs and call signatures. It does not know files, and how a module tree is saved and
built is the business of `values`.
"""

from .examples import CannotCapture as CannotCapture
from .examples import Example as Example
from .golden import Golden as Golden
from .golden import GoldenExample as GoldenExample
from .golden import GoldenOutput as GoldenOutput
from .golden import Sampled as Sampled
from .golden import golden_of as golden_of
from .golden import machine as machine
from .places import require as require
from .program import Captured as Captured
from .program import capture_program as capture_program
from .program import summary as summary
from .run import Runner as Runner
from .same_outputs import Compared as Compared
from .same_outputs import compare as compare
from .text import decode as decode
from .text import encode as encode
from .trees import Output as Output
from .trees import OutputTuple as OutputTuple
