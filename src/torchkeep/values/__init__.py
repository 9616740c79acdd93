"""Python objects <-> Document. The only room that imports torch.

This room knows objects, classes and memory. It refuses to know what a file looks like or where a byte
lies: it is handed a Document, and gives or takes buffers for the tensors' bytes.
"""

try:
    import torch as _torch  # noqa: F401 (the one place to say what is missing)
except ModuleNotFoundError as _error:
    if _error.name != "torch":
        raise
    raise ModuleNotFoundError(
        "torchkeep needs torch for this, and there is none here: pip install 'torchkeep[torch]'. `torchkeep inspect` "
        "and `torchkeep diff` work without.",
        name="torch",
    ) from _error

from ..programs import Compared as Compared
from ..programs import Example as Example
from ..programs import Golden as Golden
from ..programs import machine as machine
from . import codecs as codecs
from . import modules as modules
from .bind import Match as Match
from .bind_optimizer import OptimizerMatch as OptimizerMatch
from .binding import Binding as Binding
from .binding import bind as bind
from .build import build as build
from .computation import ProgramModule as ProgramModule
from .computation import computed_by as computed_by
from .encode import Encoded as Encoded
from .encode import encode as encode
from .environment import environment as environment
from .explain import explain as explain
from .fill import fill as fill
from .fill import stored_of as stored_of
from .finish import cast_findings as cast_findings
from .finish import host_rows as host_rows
from .finish import inner_rows as inner_rows
from .finish import optimizer_rows as optimizer_rows
from .finish import remember_report as remember_report
from .finish import report_of as report_of
from .finish import require_floating as require_floating
from .finish import route_taken as route_taken
from .finish import set_mode as set_mode
from .golden_check import compare_outputs as compare_outputs
from .golden_check import read_golden as read_golden
from .memory import Memory as Memory
from .memory import allocate as allocate
from .memory import tensors as tensors
from .names import Rename as Rename
from .names import Renames as Renames
from .place import device_of as device_of
from .place import require_little_endian as require_little_endian
from .registry import ModuleState as ModuleState
from .registry import register as register
from .routes import audit_by_route as audit_by_route
from .standins import Record as Record
from .standins import Skeleton as Skeleton
from .transfer import Direct as Direct
from .trust import Resolver as Resolver
from .unread import looked_at_rows as looked_at_rows
from .unread import unread as unread
