"""Profiles of hypothesis, and both paths of storage.

No deadlines anywhere, in CI the same examples every time, and many of them in `make fuzz`. `HYPOTHESIS_PROFILE` names
a profile. Tests that ask for a number of examples ask for a share of the profile's.
"""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

settings.register_profile("default", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
settings.register_profile("fuzz", deadline=None, max_examples=5000, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if os.environ.get("CI") else "default"))


@pytest.fixture(params=["native", "portable"])
def each_path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Runs a test twice: as this system does it, and as one does that has none of the calls that are optional."""
    from torchkeep.storage import local

    path: str = request.param
    if path == "native":
        if not hasattr(os, "preadv"):
            pytest.skip("this system has the portable path only")
        return path
    names = ("PREADV", "MAP_PRIVATE", "PWRITEV", "FALLOCATE", "FCHMOD", "LINK", "DIRECTORY_FSYNC")
    assert {name for name in vars(local) if name.startswith("_HAVE_")} == {f"_HAVE_{name}" for name in names}
    for name in names:
        monkeypatch.setattr(local, f"_HAVE_{name}", False)
    monkeypatch.setattr(local, "_FULL_FSYNC", None)
    return path
