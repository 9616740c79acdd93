"""Suites that hold a plug-in against its protocol: subclass one in your tests, and say how to make what it tests.

    class TestTokens(torchkeep.testing.TypeSuite):
        def make_objects(self):
            return [Tokens(), Tokens(["a", "b"])]

pytest collects the subclass, and so does anything else that runs methods named ``test_*``: the suites need no pytest.
A rule that is broken is an `AssertionError` that names it. What a suite registers, it registers for one test.

    TypeSuite        a class that was registered with `torchkeep.register`
    ContainerSuite   a file format for `torchkeep.register_container`
    StorageSuite     a place of bytes for `torchkeep.register_storage`
    MemoryStorage    a storage that keeps its objects in a dict, for tests
"""

from .containers import ContainerSuite as ContainerSuite
from .memory import MemoryStorage as MemoryStorage
from .same import same as same
from .storages import StorageSuite as StorageSuite
from .types import TypeSuite as TypeSuite
