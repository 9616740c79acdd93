"""The terminal face of the verbs: `torchkeep VERB ...`, or `python -m torchkeep VERB ...`."""

from .main import main as main
