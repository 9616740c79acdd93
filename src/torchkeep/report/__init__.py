"""What the verbs return, and how it reads on a terminal. Knows Documents, and neither files nor torch."""

from .compare import tell as tell
from .diff import Difference as Difference
from .diff import DiffReport as DiffReport
from .explain import ExplainReport as ExplainReport
from .explain import still_lacking as still_lacking
from .file import FileReport as FileReport
from .file import describe as describe
from .reports import LoadReport as LoadReport
from .reports import Need as Need
from .reports import ObjectReport as ObjectReport
from .reports import OutputCheck as OutputCheck
from .reports import Route as Route
from .reports import SaveReport as SaveReport
from .reports import TensorInfo as TensorInfo
from .reports import count as count
from .verify import RouteCheck as RouteCheck
from .verify import VerifyReport as VerifyReport
