"""Matched tensors -> where their bytes go: straight into the target's memory where that is possible."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch

from ..document import Document
from .bind import Match, tensors_of
from .dtypes import dtype_name
from .encode import is_plain
from .memory import Memory, tensors
from .pack import buffer_of

_BATCH_NBYTES = 256 << 20
"""Most bytes held beside the target at a time, unless one tensor alone is larger."""


@dataclass(slots=True)
class Direct:
    """A stored tensor whose bytes are read straight into a tensor of the target."""

    name: str
    stored: int
    buffer: Any


@dataclass(slots=True)
class Staged:
    """A tensor that is read beside the target and then copied: cast, moved, or laid out otherwise."""

    name: str
    row: int
    target: torch.Tensor


@dataclass(slots=True)
class Transfer:
    """Everything that a match moves.

    Attributes:
        direct: reads into the target's own memory.
        batches: tensors that are read and copied, some at a time.
        written: the target's tensors that direct reads change.
    """

    direct: list[Direct] = field(default_factory=list)
    batches: list[list[Staged]] = field(default_factory=list)
    written: list[torch.Tensor] = field(default_factory=list)


def transfer(document: Document, found: Match) -> Transfer:
    """Say how each matched tensor moves; the target is not touched."""
    table = document.tensors
    targets = tensors_of(found.module)
    plan = Transfer()
    room = 0
    for name, row in found.rows.items():
        target = targets[name]
        stored = table.stored[row]
        if _is_direct(document, row, target):
            plan.direct.append(Direct(name, stored, buffer_of(target.detach())))
            plan.written.append(target)
            continue
        nbytes = table.nbytes(stored)
        if not plan.batches or room < nbytes:
            plan.batches.append([])
            room = _BATCH_NBYTES
        plan.batches[-1].append(Staged(name, row, target))
        room -= nbytes
    return plan


def _is_direct(document: Document, row: int, target: torch.Tensor) -> bool:
    """Whether the bytes in the file are the bytes that the target's memory shall have."""
    table = document.tensors
    return (
        row not in table.views
        and row not in table.lazy
        and target.device.type == "cpu"
        and target.is_contiguous()
        and not target.is_conj()
        and not target.is_neg()
        and dtype_name(target.dtype) == table.dtype(row)
    )


def note_written(plan: Transfer) -> None:
    """Tell autograd of the memory that changed behind its back."""
    tracked = [tensor for tensor in plan.written if not tensor.is_inference()]
    if tracked:
        torch.autograd.graph.increment_version(tracked)


def copy_batch(batch: list[Staged], memory: Memory) -> Iterator[str]:
    """Copy a batch from filled memory into the target; gives each name before it is written."""
    made = tensors(memory, [staged.row for staged in batch], device=torch.device("cpu"))
    for staged in batch:
        yield staged.name
        with torch.inference_mode(staged.target.is_inference()), torch.no_grad():
            staged.target.copy_(made[staged.row])


def copy_whole(target: torch.Tensor, tensor: torch.Tensor) -> None:
    """Copy a sparse or quantized tensor over one of its layout and dtype: with its indices, scale and zero point."""
    with torch.inference_mode(target.is_inference()), torch.no_grad():
        if target.layout not in (torch.strided, torch.sparse_coo):
            target.resize_as_sparse_(tensor)
        target.copy_(tensor)


def assign(found: Match, made: dict[str, torch.Tensor]) -> None:
    """Put tensors in the place of the target's own, by name, and under every other name that a replaced one had.

    As with torch's ``assign=True``, the file's dtype stays, and the target's `requires_grad`.
    """
    targets = tensors_of(found.module)
    new: dict[int, torch.Tensor] = {}
    for name, given in made.items():
        target = targets[name]
        if id(target) not in new:
            tensor = given.detach()
            if isinstance(target, torch.nn.Parameter):
                tensor = torch.nn.Parameter(tensor, requires_grad=target.requires_grad)
            new[id(target)] = tensor
    for name, target in targets.items():
        if id(target) in new:
            parent_name, _, last = name.rpartition(".")
            parent = found.module.get_submodule(parent_name)
            owned: dict[str, Any] = parent._parameters if last in parent._parameters else parent._buffers
            owned[last] = new[id(target)]


# --- modules with a say of their own ----------------------------------------------------------------

_HARMLESS = (torch.nn.modules.batchnorm._NormBase, torch.nn.modules.instancenorm._InstanceNorm)
"""Classes of torch whose `_load_from_state_dict` only has words about files older than this format."""


def intervenes(module: torch.nn.Module) -> bool:
    """Whether a module has its own idea of loading: hooks, or an overridden `load_state_dict`."""
    if type(module).load_state_dict is not torch.nn.Module.load_state_dict:
        return True
    plain = {torch.nn.Module._load_from_state_dict, *(cls._load_from_state_dict for cls in _HARMLESS)}
    return any(
        type(child)._load_from_state_dict not in plain
        or child._load_state_dict_pre_hooks
        or child._load_state_dict_post_hooks
        for child in module.modules()
    )


def load_by_its_own(
    module: torch.nn.Module, state: dict[str, Any], *, assign: bool, accept: Callable[[Any], None]
) -> None:
    """Load through the module's own `load_state_dict`; if anything raises, put back every tensor.

    Args:
        module: the target.
        state: the state_dict that it gets.
        assign: as torch's.
        accept: gets what `load_state_dict` returned, and raises if that is not good enough.
    """
    homes = [home for child in module.modules() for home in (child._parameters, child._buffers)]
    before: list[tuple[dict[str, Any], dict[str, Any]]] = [(home, dict(home)) for home in homes]
    every = {id(t): t for _, held in before for t in held.values() if t is not None}.values()
    lazy = [
        (tensor, type(tensor), tensor.device, tensor.dtype) for tensor in every if torch.nn.parameter.is_lazy(tensor)
    ]
    values = [
        (tensor, tensor.detach().clone())
        for tensor in every
        if is_plain(tensor) or (tensor.device.type != "meta" and type(tensor) in (torch.Tensor, torch.nn.Parameter))
    ]
    try:
        accept(module.load_state_dict(state, strict=False, assign=assign))
    except BaseException:
        for home, held in before:
            home.clear()
            home.update(held)
        for tensor, cls, device, dtype in lazy:
            if type(tensor) is not cls:  # it took a shape
                tensor.data = torch.empty(0, device=device, dtype=dtype)
                tensor.__class__ = cls
        for tensor, value in values:
            if not is_plain(tensor):
                copy_whole(tensor, value)
            elif bytes(buffer_of(tensor.detach())) != bytes(buffer_of(value)):
                with torch.inference_mode(tensor.is_inference()), torch.no_grad():
                    tensor.copy_(value)
        raise
