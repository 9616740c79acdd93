"""Bytes by name: read by span into memory that the caller owns, written whole or not at all.

This room knows descriptors, spans, buffers and digests. It refuses to know what the bytes mean: no tensor,
no header, no file format, no torch. A name that it is given is only ever quoted in a message.

    source      one open object: spans read into buffers, their digests checked
    staged      one new object: written and digested, then put in its place in one step
    protocols   what a storage has to offer for that
    local       local files, as such a storage
    registry    which storage a name belongs to
    vectors     the shape that both share: spans, buffers, and what is left of a batch
    failures    an OSError, told as one of torchkeep's errors
"""

from .protocols import Mappable as Mappable
from .protocols import Reading as Reading
from .protocols import Storage as Storage
from .protocols import Writing as Writing
from .registry import register_storage as register_storage
from .registry import registered_meanwhile as registered_meanwhile
from .source import Read as Read
from .source import Source as Source
from .source import open_source as open_source
from .staged import stage as stage
from .vectors import Span as Span
