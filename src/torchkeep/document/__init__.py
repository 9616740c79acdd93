"""The waist of the hourglass: what an object or a file means, as small pure data.

This room knows neither torch nor any file format, and never touches a tensor's bytes. Front ends turn
objects or files into a `Document`; back ends turn a Document into files or objects.
"""

from .canonical import Shown as Shown
from .canonical import decode as decode
from .canonical import encode as encode
from .check import check as check
from .collector import collector_paused as collector_paused
from .dtypes import ITEMSIZE as ITEMSIZE
from .dtypes import NUMPY_NAME as NUMPY_NAME
from .dtypes import SAFETENSORS_NAME as SAFETENSORS_NAME
from .dtypes import numpy_itemsize as numpy_itemsize
from .find import find as find
from .findings import Finding as Finding
from .geometry import extent as extent
from .geometry import is_dense as is_dense
from .geometry import row_major as row_major
from .kinds import CARRYING_KINDS as CARRYING_KINDS
from .kinds import CLOSED_PACKAGES as CLOSED_PACKAGES
from .kinds import CONTAINER_KINDS as CONTAINER_KINDS
from .kinds import DATA_KINDS as DATA_KINDS
from .kinds import HELD_KINDS as HELD_KINDS
from .kinds import KEY_KINDS as KEY_KINDS
from .kinds import KINDS as KINDS
from .kinds import MAX_COLLISIONS as MAX_COLLISIONS
from .kinds import MAX_KEY_WEIGHT as MAX_KEY_WEIGHT
from .kinds import MODULE_INTERNALS as MODULE_INTERNALS
from .kinds import weight_of as weight_of
from .model import ROLES as ROLES
from .model import ClassInfo as ClassInfo
from .model import Document as Document
from .model import Role as Role
from .model import of_tensors as of_tensors
from .nodes import Map as Map
from .nodes import Node as Node
from .nodes import Opaque as Opaque
from .nodes import Ref as Ref
from .nodes import Seq as Seq
from .nodes import TensorRef as TensorRef
from .nodes import Typed as Typed
from .nodes import Value as Value
from .nodes import children as children
from .state_dict import EXTRA_STATE as EXTRA_STATE
from .state_dict import StateDict as StateDict
from .state_dict import is_optimizer as is_optimizer
from .state_dict import items_of as items_of
from .state_dict import parts_with_weights as parts_with_weights
from .state_dict import state_dict_of as state_dict_of
from .tensors import CONJ as CONJ
from .tensors import NEG as NEG
from .tensors import PARAMETER as PARAMETER
from .tensors import REQUIRES_GRAD as REQUIRES_GRAD
from .tensors import Shape as Shape
from .tensors import TensorTable as TensorTable
from .tensors import View as View
