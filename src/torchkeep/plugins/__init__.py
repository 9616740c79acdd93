"""What the author of a plug-in needs, in one place. There are three points to plug in, and no more:

    a type        torchkeep.register(cls, encode=..., decode=...)       how objects of a class are saved
    a container   torchkeep.register_container(container)               another file format to read
    a storage     torchkeep.register_storage("scheme", storage)         bytes that lie in no local file

`Container` and `Storage` (with its `Reading`, which may be `Mappable`, and `Writing`) are the protocols; torchkeep's
own formats and local files go through the same ones. The rest are the types that they speak in. ``docs/plugins.md``
has a worked example of each, and `torchkeep.testing` has suites that hold a plug-in against its protocol.

Registrations are the process's: nothing in a file adds to them.
"""

from ..containers import HEAD_NBYTES as HEAD_NBYTES
from ..containers import Container as Container
from ..containers import Contents as Contents
from ..containers import Placement as Placement
from ..containers import register_container as register_container
from ..document import CONJ as CONJ
from ..document import ITEMSIZE as ITEMSIZE
from ..document import NEG as NEG
from ..document import PARAMETER as PARAMETER
from ..document import REQUIRES_GRAD as REQUIRES_GRAD
from ..document import ClassInfo as ClassInfo
from ..document import Document as Document
from ..document import Finding as Finding
from ..document import Map as Map
from ..document import Node as Node
from ..document import Opaque as Opaque
from ..document import Ref as Ref
from ..document import Seq as Seq
from ..document import Shape as Shape
from ..document import TensorRef as TensorRef
from ..document import TensorTable as TensorTable
from ..document import Typed as Typed
from ..document import Value as Value
from ..document import View as View
from ..document import check as check
from ..document import of_tensors as of_tensors
from ..limits import LIMITS as LIMITS
from ..limits import Limits as Limits
from ..storage import Mappable as Mappable
from ..storage import Reading as Reading
from ..storage import Source as Source
from ..storage import Span as Span
from ..storage import Storage as Storage
from ..storage import Writing as Writing
from ..storage import register_storage as register_storage
