"""One fresh process of the demonstration: run a script that leaves a `model`, and print what came of it.

Refuses to know which way of saving it runs.
"""

from __future__ import annotations

import json
import runpy
import sys
import traceback
import warnings
from typing import Any

import torch
from lab import measure


def main(script: str) -> dict[str, Any]:
    unseen = torch.load("unseen.pt")
    stage = "load"
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            model = runpy.run_path(script)["model"]
            stage = "use"
            result = measure(model, *unseen)
        except Exception as error:
            trace = traceback.format_exc()
            result = {"stage": stage, "error": type(error).__name__, "message": str(error), "trace": trace}
    return result | {"warnings": [f"{w.category.__name__}: {w.message}" for w in caught]}


print(json.dumps(main(sys.argv[1])))
