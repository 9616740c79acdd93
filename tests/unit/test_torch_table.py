"""The closed table of torch: every name is real, none is dangerous, and a new release of torch shows."""

from __future__ import annotations

import importlib
import subprocess
import sys
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from torchkeep.document import Role
from torchkeep.values import torch_table
from torchkeep.values.torch_table import (
    DERIVED,
    FUNCTIONS,
    MODULES,
    NAMEDTUPLES,
    OBJECTS,
    OPTIMIZERS,
    PRUNING_METHODS,
)

ROLES: dict[Role, tuple[str, ...]] = {
    "module": MODULES,
    "optimizer": OPTIMIZERS,
    "object": OBJECTS,
    "pruning_method": PRUNING_METHODS,
    "derived": DERIVED,
    "namedtuple": NAMEDTUPLES,
    "function": FUNCTIONS,
}
EVERY = [(role, name) for role, names in ROLES.items() for name in names]

NOT_IN_TABLE = {
    "LinearCrossEntropyOptions": "options of a loss, not a module",
}

NEWER_THAN_THE_OLDEST_TORCH = {
    "torch.distributions:GeneralizedPareto",
    "torch.nn:LinearCrossEntropyLoss",
    "torch.nn.functional:linear_cross_entropy",
    "torch.optim:Muon",
}

# What torch keeps for itself, and a model of it holds.
PRIVATE = {
    "torch.amp.grad_scaler:_refresh_per_optimizer_state",
    "torch.nn.utils.parametrizations:_WeightNorm",
    "torch.nn.utils.parametrizations:_SpectralNorm",
    "torch.nn.utils.parametrizations:_Orthogonal",
}

# Reviewed by hand: what an attacker would like to name.
REFUSED_OF: dict[str, str] = {
    "torch": """
        load save compile vmap cond while_loop import_ir_module import_ir_module_from_buffer
        parse_ir fork wait get_file_path prepare_multiprocessing_environment from_file
        frombuffer from_dlpack to_dlpack from_numpy asarray as_tensor tensor as_strided
        as_strided_ as_strided_copy as_strided_scatter resize_as_ resize_as_sparse_
        _reshape_alias _sparse_coo_tensor_unsafe sparse_coo_tensor sparse_csr_tensor
        sparse_compressed_tensor _convert_indices_from_coo_to_csr unsafe_split unsafe_chunk
        unsafe_split_with_sizes slice_inverse index_put index_put_ put embedding_renorm_
        segment_reduce quantized_lstm quantized_gru lstm gru rnn_tanh rnn_relu lstm_cell empty
        empty_like empty_strided empty_permuted empty_quantized zeros ones full rand randn
        randint arange linspace eye manual_seed seed set_rng_state set_default_dtype
        set_default_device set_default_tensor_type set_num_threads set_num_interop_threads
        set_printoptions set_warn_always set_flush_denormal use_deterministic_algorithms
        set_deterministic_debug_mode set_anomaly_enabled set_float32_matmul_precision typename
    """,
    "torch.hub": "load load_state_dict_from_url download_url_to_file",
    "torch.jit": "load save script trace ScriptModule",
    "torch.package": "PackageImporter",
    "torch.serialization": "load",
    "torch.utils.cpp_extension": "load load_inline",
    "torch.multiprocessing": "spawn",
    "torch.distributed": "init_process_group",
    "torch.distributed.rpc": "remote",
    "torch._C": "_load_for_lite_interpreter",
    "torch.classes": "load_library",
    "torch.ops": "load_library",
    "torch.fx": "GraphModule Interpreter",
    "torch.random": "manual_seed set_rng_state",
    "torch.nn.functional": """
        boolean_dispatch handle_torch_function has_torch_function assert_int_or_pair scaled_mm
        grouped_mm scaled_grouped_mm
    """,
    "torch.optim.swa_utils": "update_bn get_ema_multi_avg_fn",
    "torch.nn": "DataParallel",
    "torch.nn.parallel": "DistributedDataParallel",
    "torch.autograd": "Function",
    "torch.Tensor": "set_ as_strided",
}
REFUSED = [f"{module}:{name}" for module, names in REFUSED_OF.items() for name in names.split()]


@pytest.mark.parametrize(("role", "name"), EVERY)
def test_every_name_resolves(role: Role, name: str) -> None:
    found = torch_table.lookup(name, role)
    module, _, attribute = name.partition(":")
    expected: Any = sys.modules[module]
    for part in attribute.split("."):
        expected = getattr(expected, part, None)
    if expected is None:
        assert name in NEWER_THAN_THE_OLDEST_TORCH
    assert found is expected


@pytest.mark.parametrize(("role", "name"), EVERY)
def test_name_of_gives_the_first_name_of_the_same_object(role: Role, name: str) -> None:
    found = torch_table.lookup(name, role)
    if found is None:
        pytest.skip("this torch has no such name")
    first = torch_table.name_of(found)
    assert first is not None
    assert torch_table.lookup(first, role) is found
    names = ROLES[role]
    assert names.index(first) <= names.index(name)


def test_no_name_is_listed_twice() -> None:
    assert len({name for _, name in EVERY}) == len(EVERY)


def test_builtins_of_torch_are_found_by_identity() -> None:
    assert torch_table.name_of(nn.Conv2d) == "torch.nn:Conv2d"
    assert torch_table.name_of(F.gelu) == "torch.nn.functional:gelu"
    assert torch_table.name_of(torch.relu) == "torch:relu"
    assert torch_table.name_of(F.relu) == "torch.nn.functional:relu"
    assert torch_table.name_of(torch.conv2d) == "torch.nn.functional:conv2d"
    assert torch_table.name_of(torch.optim.AdamW) == "torch.optim:AdamW"
    assert torch_table.name_of(type(nn.MultiheadAttention(2, 1).out_proj)) == (
        "torch.nn.modules.linear:NonDynamicallyQuantizableLinear"
    )


def test_what_is_not_in_the_table_has_no_name() -> None:
    class Linear(nn.Linear):
        pass

    Linear.__module__ = "torch.nn"
    for obj in (Linear, torch.load, torch.hub, torch.Tensor, torch.Tensor.relu, len, None, [], 3, object()):
        assert torch_table.name_of(obj) is None


@pytest.mark.parametrize("name", REFUSED)
def test_dangerous_names_are_in_no_role(name: str) -> None:
    for role in ROLES:
        assert torch_table.lookup(name, role) is None
    module, _, attribute = name.partition(":")
    if module in sys.modules and hasattr(sys.modules[module], attribute):
        assert torch_table.name_of(getattr(sys.modules[module], attribute)) is None


def test_no_listed_name_looks_dangerous() -> None:
    words = (
        *("load", "save", "file", "compile", "jit", "script", "import", "exec", "eval", "pickle", "storage"),
        *("strided", "set_", "seed", "rng", "unsafe", "buffer", "dlpack", "numpy", "resize", "renorm"),
    )
    for _, name in EVERY:
        attribute = name.partition(":")[2]
        assert not attribute.startswith("_") or name in PRIVATE
        assert not [word for word in words if word in attribute], name


@pytest.mark.parametrize(
    "name", ["", ":", "torch", "Linear", "torch.nn:", ":Linear", "torch.nn:Linear.forward", "torch.nn.Linear"]
)
def test_names_that_are_no_names(name: str) -> None:
    for role in ROLES:
        assert torch_table.lookup(name, role) is None


def test_a_name_opens_in_its_own_role_only() -> None:
    assert torch_table.lookup("torch.nn:Linear", "function") is None
    assert torch_table.lookup("torch.nn:Linear", "optimizer") is None
    assert torch_table.lookup("torch.optim:SGD", "module") is None
    assert torch_table.lookup("torch:relu", "module") is None


def test_every_module_class_of_torch_is_listed_or_excused() -> None:
    """A new release of torch fails here: review the class, then list it or write the reason."""
    listed = {name.partition(":")[2] for name in MODULES if name.startswith("torch.nn:")}
    unknown = set(nn.modules.__all__) - listed - set(NOT_IN_TABLE)
    assert not unknown
    assert not listed & set(NOT_IN_TABLE)


def test_every_optimizer_of_torch_is_listed() -> None:
    optimizers = {
        name
        for name, value in vars(torch.optim).items()
        if isinstance(value, type) and issubclass(value, torch.optim.Optimizer)
    }
    assert optimizers <= {name.partition(":")[2] for name in OPTIMIZERS}


def test_a_replaced_class_or_function_is_not_found(monkeypatch: pytest.MonkeyPatch) -> None:
    class Linear(nn.Linear):
        pass

    monkeypatch.setattr(nn, "Linear", Linear)
    monkeypatch.setattr(F, "gelu", lambda x: x)
    torch_table._table.cache_clear()
    torch_table._by_identity.cache_clear()
    try:
        assert torch_table.lookup("torch.nn:Linear", "module") is None
        assert torch_table.lookup("torch.nn.functional:gelu", "function") is None
        assert torch_table.name_of(Linear) is None
    finally:
        torch_table._table.cache_clear()
        torch_table._by_identity.cache_clear()


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("torch:relu", True),
        ("torch.hub:load", True),
        ("torch", True),
        ("torchgen.model:X", True),
        ("functorch:vmap", True),
        ("torchvision.models:ResNet", False),
        ("torch_geometric:X", False),
        ("my.torch:X", False),
        ("builtins:torch", False),
        ("", False),
    ],
)
def test_is_torch(name: str, answer: bool) -> None:
    assert torch_table.is_torch(name) is answer


def test_code_carriers_and_their_subclasses() -> None:
    class Doubled(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + x

    traced = torch.fx.symbolic_trace(Doubled())
    assert torch_table.is_code_carrier(type(traced))  # a subclass made for this instance alone
    assert torch_table.is_code_carrier(torch.jit.ScriptModule)
    assert torch_table.is_code_carrier(type("Mine", (torch.fx.GraphModule,), {}))
    assert not torch_table.is_code_carrier(Doubled)
    assert not torch_table.is_code_carrier(nn.Module)
    assert not torch_table.is_code_carrier(object)


@pytest.mark.parametrize(
    "name",
    [
        "torch.jit:RecursiveScriptModule",
        "torch.jit:TopLevelTracedModule",
        "torch.export.unflatten:InterpreterModule",
        "torch.export.unflatten:UnflattenedModule",
        "torch._dynamo.eval_frame:OptimizedModule",
    ],
)
def test_carriers_are_known_once_imported(name: str) -> None:
    module, _, attribute = name.partition(":")
    carrier = getattr(importlib.import_module(module), attribute)
    assert carrier in torch_table.code_carriers()
    assert torch_table.is_code_carrier(type("Mine", (carrier,), {}))


def test_asking_imports_nothing() -> None:
    program = (
        "import sys, torch, torch.nn.functional, torch.nn.init, torch.optim\n"
        "import torchkeep.values.torch_table as table\n"
        "before = set(sys.modules)\n"
        "table.lookup('torch.nn:Linear', 'module')\n"
        "table.name_of(table)\n"
        "table.is_code_carrier(torch.nn.Linear)\n"
        "assert set(sys.modules) == before, set(sys.modules) - before\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
