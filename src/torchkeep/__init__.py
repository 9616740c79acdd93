"""torchkeep saves a PyTorch model once and loads it anywhere.

torchkeep.save(model, "net.safetensors")          # the whole model, one line, no pickle
model = torchkeep.load("net.safetensors")         # an nn.Module, on the CPU, in eval mode
torchkeep.load_into(model, "net.safetensors")     # weights only, in place, nothing silent
torchkeep.inspect("net.safetensors")              # what is inside; runs nothing, imports no torch
torchkeep.diff("a.safetensors", "b.safetensors")  # what changed between the two; likewise
torchkeep.verify("net.safetensors")               # does it still compute the same, on this machine?
torchkeep.explain("net.safetensors")              # what stands between it and today's code, and the call to make
"""

from typing import TYPE_CHECKING as _TYPE_CHECKING
from typing import Any as _Any

from ._version import __version__ as __version__
from .api import diff as diff
from .api import explain as explain
from .api import inspect as inspect
from .api import load as load
from .api import load_into as load_into
from .api import report_of as report_of
from .api import save as save
from .api import verify as verify
from .containers import register_container as register_container
from .document import Finding as Finding
from .errors import AccessError as AccessError
from .errors import BindError as BindError
from .errors import CallError as CallError
from .errors import ChangedClassError as ChangedClassError
from .errors import DestinationError as DestinationError
from .errors import DeviceError as DeviceError
from .errors import DigestError as DigestError
from .errors import ExistsError as ExistsError
from .errors import FormatError as FormatError
from .errors import FullError as FullError
from .errors import KeyMissingError as KeyMissingError
from .errors import LimitError as LimitError
from .errors import LoadError as LoadError
from .errors import NotAFileError as NotAFileError
from .errors import NotFoundError as NotFoundError
from .errors import OtherFormatError as OtherFormatError
from .errors import PartialLoadError as PartialLoadError
from .errors import PathError as PathError
from .errors import ProgramError as ProgramError
from .errors import SaveError as SaveError
from .errors import SourceError as SourceError
from .errors import TorchkeepError as TorchkeepError
from .errors import TorchkeepWarning as TorchkeepWarning
from .errors import TrustError as TrustError
from .errors import UnsaveableError as UnsaveableError
from .errors import VerifyError as VerifyError
from .errors import VersionError as VersionError
from .report import Difference as Difference
from .report import DiffReport as DiffReport
from .report import ExplainReport as ExplainReport
from .report import FileReport as FileReport
from .report import LoadReport as LoadReport
from .report import Need as Need
from .report import ObjectReport as ObjectReport
from .report import OutputCheck as OutputCheck
from .report import Route as Route
from .report import RouteCheck as RouteCheck
from .report import SaveReport as SaveReport
from .report import TensorInfo as TensorInfo
from .report import VerifyReport as VerifyReport
from .storage import register_storage as register_storage

if _TYPE_CHECKING:
    from .programs import Example as Example
    from .values import ModuleState as ModuleState
    from .values import ProgramModule as ProgramModule
    from .values import Record as Record
    from .values import Skeleton as Skeleton
    from .values import register as register

_NEED_TORCH = ("Example", "ModuleState", "ProgramModule", "Record", "Skeleton", "register")


__all__ = [  # noqa: RUF022 (the verbs first, as `help` lists them)
    "save",
    "load",
    "load_into",
    "inspect",
    "diff",
    "verify",
    "explain",
    "report_of",
    "register",
    "register_container",
    "register_storage",
    "AccessError",
    "BindError",
    "CallError",
    "ChangedClassError",
    "DestinationError",
    "DeviceError",
    "DiffReport",
    "Difference",
    "DigestError",
    "Example",
    "ExistsError",
    "ExplainReport",
    "FileReport",
    "Finding",
    "FormatError",
    "FullError",
    "KeyMissingError",
    "LimitError",
    "LoadError",
    "LoadReport",
    "ModuleState",
    "Need",
    "NotAFileError",
    "NotFoundError",
    "ObjectReport",
    "OtherFormatError",
    "OutputCheck",
    "PartialLoadError",
    "PathError",
    "ProgramError",
    "ProgramModule",
    "Record",
    "Route",
    "RouteCheck",
    "SaveError",
    "SaveReport",
    "Skeleton",
    "SourceError",
    "TensorInfo",
    "TorchkeepError",
    "TorchkeepWarning",
    "TrustError",
    "UnsaveableError",
    "VerifyError",
    "VerifyReport",
    "VersionError",
    "__version__",
]


def __getattr__(name: str) -> _Any:
    """Names whose room imports torch: looked up when they are first used, so that `inspect` never pays."""
    if name in _NEED_TORCH:
        from . import values

        return getattr(values, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_NEED_TORCH])
