"""Profiles of hypothesis: no deadlines anywhere, in CI the same examples every time, and many of them in `make fuzz`.

`HYPOTHESIS_PROFILE` names one of them. Tests that ask for a number of examples ask for a share of the profile's.
"""

from __future__ import annotations

import os

from hypothesis import settings

settings.register_profile("default", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
settings.register_profile("fuzz", deadline=None, max_examples=5000, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if os.environ.get("CI") else "default"))
