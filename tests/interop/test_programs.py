"""Architectures of the gallery run by the programs in their files; `make zoo` looks at all of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent

SELECTED = {
    "of_torch": "mlp,conv_2d,batch_norm,lstm_bidirectional,attention,spectral_norm,shared_modules,tied_weights",
    "of_ours": "resnet,mobilenet,crnn_with_ctc,vector_quantizer,seq2seq,rotary_attention,buffers,extra_state",
    "of_transformers": "gpt2",
    "of_packages": "einops_layers",
}
"""A row for each habit that was difficult once; together a minute or so."""

EVERYWHERE = ("captured in eval", "left alone", "eval", "state_dict", "copies")


@pytest.mark.slow
@pytest.mark.parametrize("table", SELECTED)
def test_it_runs_by_its_program(table: str, tmp_path: Path) -> None:
    labels = SELECTED[table].split(",")
    path = os.pathsep.join([str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [
            *(sys.executable, "-W", "ignore", "-m", "gallery.programs", table),
            *("--only", SELECTED[table], "--json", tmp_path / "told.json"),
        ],
        env=os.environ | {"PYTHONPATH": path, "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads((tmp_path / "told.json").read_text())
    assert sorted(told) == sorted(labels)
    for label in labels:
        if label != "extra_state":  # which no program can be made of
            assert {told[label]["columns"].get(column) for column in EVERYWHERE} == {"right"}, label
    assert told.get("extra_state", {"columns": {}})["columns"].get("eval") is None
