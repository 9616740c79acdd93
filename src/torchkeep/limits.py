"""Caps on everything that is read from a file, and on what we write.

A reader compares every length and count with a limit before it allocates for it. The defaults admit
any model that people train today; a service that opens strangers' files may want smaller ones.
"""

from __future__ import annotations

import msgspec


class Limits(msgspec.Struct, frozen=True):
    """Upper bounds, each inclusive."""

    header_nbytes: int = 100_000_000
    """Longest header that is read; the cap of the `safetensors` library itself."""

    written_header_nbytes: int = 25_000_000
    """Longest header that is written; what the model hubs' clients accept."""

    tensors: int = 2_000_000
    nodes: int = 5_000_000
    rank: int = 64
    """Most dimensions of a tensor; the cap of torch's own kernels."""

    numel: int = 2**48
    """Most elements of one tensor, expanded (stride 0) dimensions counted in full."""

    name_nbytes: int = 4096
    """Longest tensor name in UTF-8."""

    int_nbytes: int = 65_536
    """Longest integer in bytes."""

    program_nbytes: int = 64_000_000
    """Longest text of a computation."""

    program_depth: int = 64
    """Most levels of lists and the like in an argument of an operator."""

    program_numel: int = 2**33
    """Most elements of a tensor that a computation makes by numbers alone."""
    source_modules: int = 2_000
    """Most modules whose text is kept."""

    source_name: int = 255
    """Longest name of such a module."""

    source_nbytes: int = 8_000_000
    """Most bytes of their text in all, in UTF-8."""

    golden_inputs_nbytes: int = 2**26
    """Most bytes of the tensors of all examples that are kept with a file."""

    golden_tensor_nbytes: int = 2**20
    """Largest output of an example that is kept; of a larger one its digest, statistics and a sample."""

    golden_nbytes: int = 2**24
    """Most bytes of all outputs that are kept."""

    golden_reference_nbytes: int = 2**34
    """Largest copy of a model's parameters that is made to run an example in another precision."""


LIMITS = Limits()
