"""The verbs. Both walks, each written out in order on one page.

    save   encode -> check -> layout -> stage -> copy bytes, digesting in passing -> header -> commit
    load   open -> detect and read under limits -> find the part -> audit -> allocate -> read, checking
           digests -> build -> modes -> report

Everything that needs torch is imported inside a verb, so that `inspect` never imports it.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from . import containers, document, storage
from .errors import DestinationError, TorchkeepWarning
from .report import FileReport, LoadReport, ObjectReport, SaveReport, describe

if TYPE_CHECKING:
    import torch

StrPath: TypeAlias = str | os.PathLike[str]
Mode: TypeAlias = Literal["eval", "train", "saved"]
Key: TypeAlias = str | int | tuple[str | int, ...]

_TORCH_SUFFIXES = (".pt", ".pth", ".bin", ".ckpt")


def save(
    obj: Any,
    path: StrPath,
    *,
    durable: bool = True,
    overwrite: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> SaveReport:
    """Save a model, a state_dict, a checkpoint, or any supported value as one safetensors file.

    The file appears whole or not at all: it is written beside its destination and then put in its place.

    Args:
        obj: an `nn.Module` (weights and structure), an optimizer, a tensor, or a dict, list, tuple ... of
            supported values. Tensors on any device; they are copied one at a time.
        path: where to; a symbolic link is followed. Conventionally ``*.safetensors``.
        durable: wait until the bytes are on the disk, so that the file survives a power cut.
        overwrite: whether a file that is there is replaced.
        progress: called with (bytes written, bytes in all) now and then.

    Returns:
        A report of what was written and what was noticed.

    Raises:
        UnsaveableError: something in `obj` has no codec; the message gives its path. Nothing was written.
        DestinationError: the path has the suffix of a torch file. Nothing was written.
        SaveError: the header would be larger than readers accept. Nothing was written.
        PathError: the file system refused (`FullError`, `AccessError`, `ExistsError`, ...). A file that was
            there before is as it was.
    """
    from . import values

    name = os.fspath(path)
    if name.endswith(_TORCH_SUFFIXES):
        raise DestinationError(
            f"{name} ends like a file of torch.save, and tools would take it for one. Nothing was written. Name it "
            "model.safetensors, or write a torch file with torch.save(model.state_dict(), path)."
        )
    encoded = values.encode(obj)
    document.check(encoded.document)
    layout = containers.layout(encoded.document)
    order = layout.order()
    data_nbytes = sum(span.nbytes for span in layout.spans)
    told = (lambda nbytes: progress(nbytes, data_nbytes)) if progress else None
    with storage.stage(path, nbytes=layout.nbytes, durable=durable, overwrite=overwrite) as staged:
        start = layout.nbytes - data_nbytes
        in_order = staged.write(encoded.packed.buffers(order), start, progress=told)
        digests = dict(zip(order, in_order, strict=True))
        staged.patch(layout.header([digests[i] for i in range(len(order))]), 0)
        staged.commit()
    findings = tuple(encoded.document.findings)
    _warn(finding for finding in findings if finding.severity != "note")
    return SaveReport(name, layout.nbytes, findings)


def load(
    path: StrPath,
    *,
    device: str | torch.device | None = None,
    map_location: str | torch.device | None = None,
    dtype: torch.dtype | None = None,
    mode: Mode | None = None,
    key: Key | None = None,
    classes: Mapping[str, Any] | Iterable[Any] | None = None,
    trust: Iterable[str] = (),
    route: Literal["auto", "structure", "skeleton"] = "auto",
    allow: Iterable[str] = (),
) -> Any:
    """Load what was saved: a model as an `nn.Module`, on the CPU, in eval mode; anything else as it was.

    Nothing of the file is run or imported. Classes come from `classes`, from `torchkeep.register`, from
    packages named in `trust`, or, for `nn.Module` classes that the program has already imported, from there.

    Args:
        path: a torchkeep file or any safetensors file.
        device: where tensors go; ``"cpu"`` by default, whatever device they were saved from.
        map_location: torch's word for `device`.
        dtype: a floating-point dtype that floating-point tensors are cast to; each cast is reported.
            Optimizer state keeps its dtype.
        mode: ``"eval"``, ``"train"`` or ``"saved"`` flags. By default a model comes back in eval mode, and
            one that is loaded together with an optimizer comes back with the flags it was saved with.
        key: load a part only, and read only its bytes: a key of the saved dict, or a tuple of keys, indices
            and attribute names.
        classes: classes for the names in the file: ``{"old.module:Net": Net}``, or ``[Net]`` to match by
            name where that is unique. Functions likewise.
        trust: packages or classes that may be imported: ``("pkg", "pkg.models:Net")``.
        route: ``"structure"`` rebuilds the model on its classes; ``"skeleton"`` gives the module tree with
            its weights where classes are missing; ``"auto"`` is ``"structure"``.
        allow: losses that are accepted: ``"hooks"`` (the model had hooks, which no file holds), ``"changed"``
            (its class now assigns attributes that the file lacks).

    Returns:
        The object. `torchkeep.report_of(obj)` tells how it came back.

    Raises:
        FormatError: the file is damaged, or not a file that torchkeep reads.
        TrustError: classes did not open; the message gives the call that opens each.
        ChangedClassError: a class now asks for attributes that the file lacks.
        KeyMissingError: there is no such part.
        LoadError: any other reason. Nothing is returned.
        PathError: the file system refused.
    """
    from . import values

    allowed = _allowed(allow, {"hooks", "changed"})
    place = values.device_of(device, map_location)
    values.require_floating(dtype)
    if mode not in (None, "eval", "train", "saved"):
        raise ValueError(f"mode is 'eval', 'train', 'saved' or None, not {mode!r}")
    if route not in ("auto", "structure", "skeleton"):
        raise ValueError(f"route is 'auto', 'structure' or 'skeleton', not {route!r}")
    resolver = values.Resolver(classes, trust)
    name = os.fspath(path)
    with storage.open_source(path) as source:
        contents = containers.read(source)
        meaning = contents.document
        start = document.find(meaning, key, path=name)
        audit = values.audit(meaning, start, resolver, path=name, skeleton=route == "skeleton", allow=allowed)
        _, rows = meaning.reachable(start)
        memory = values.allocate(meaning.tensors, rows)
        source.read_into(_reads(contents, memory.buffers()))
    state = values.optimizer_rows(meaning, start)
    tensors = values.tensors(memory, rows, device=place, dtype=dtype, on_cpu=state.steps, uncast=state.all)
    built = values.build(meaning, start, tensors, audit)
    flags: Mode = mode or ("saved" if state.present else "eval")
    values.set_mode(built.modules, flags)
    report = ObjectReport(
        path=name,
        kind=contents.kind,
        route=values.route_taken(built.modules),
        mode=flags,
        device=str(place),
        cast=tuple(memory.cast),
        findings=tuple(audit.findings) + values.cast_findings(memory.cast),
    )
    values.remember_report(built.obj, report)
    _warn(finding for finding in report.findings if finding.severity != "note")
    return built.obj


def report_of(obj: Any) -> ObjectReport:
    """How an object that `load` returned, or a module in it, came back.

    Raises:
        LookupError: `obj` does not come from `load`.
    """
    from . import values

    report: ObjectReport = values.report_of(obj)
    return report


def inspect(path: StrPath) -> FileReport:
    """What is in a file: its tree, tensors, environment, the classes it names, and the ways to load it.

    Reads the header only, runs nothing, and never imports torch.

    Raises:
        FormatError: the file is damaged, or not a file that torchkeep reads.
        PathError: the file system refused.
    """
    with storage.open_source(path) as source:
        contents = containers.read(source)
        return describe(
            contents.document,
            path=os.fspath(path),
            kind=contents.kind,
            nbytes=source.nbytes,
            metadata=contents.metadata,
        )


def _reads(contents: containers.Contents, buffers: Mapping[int, Any]) -> list[storage.Read]:
    """A read for each stored tensor that has a buffer, with its digest where the file has one."""
    placement, names = contents.placement, contents.document.tensors.names
    return [
        storage.Read(
            placement.spans[i],
            buffer,
            None if placement.digests is None else placement.digests[i],
            names[i],
        )
        for i, buffer in buffers.items()
    ]


def _allowed(allow: Iterable[str], known: set[str]) -> frozenset[str]:
    allowed = frozenset((allow,) if isinstance(allow, str) else allow)
    if unknown := allowed - known:
        raise ValueError(f"allow takes {sorted(known)}, not {sorted(unknown)}")
    return allowed


def _warn(findings: Iterable[document.Finding]) -> None:
    for finding in findings:
        warnings.warn(str(finding), TorchkeepWarning, stacklevel=3)
