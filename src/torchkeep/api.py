"""The verbs. Both walks, each written out in order on one page.

    save   encode -> check -> layout -> stage -> copy bytes, digesting in passing -> header -> commit
    load   open -> detect and read under limits -> find the part -> audit -> allocate -> read, checking
           digests -> build -> modes -> report

Everything that needs torch is imported inside a verb, so that `inspect` never imports it.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import msgspec

from . import containers, document, storage
from .errors import DestinationError, FormatError, LoadError, SaveError, TorchkeepWarning, printable
from .report import FileReport, LoadReport, ObjectReport, SaveReport, count, describe

if TYPE_CHECKING:
    import torch

    from . import values
    from .values import Rename

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
    allow: Iterable[str] = (),
    progress: Callable[[int, int], None] | None = None,
) -> SaveReport:
    """Save a model, a state_dict, a checkpoint, or any supported value as one safetensors file.

    The file appears whole or not at all: it is written beside its destination and then put in its place.

    Args:
        obj: an `nn.Module` (weights and structure), an optimizer, a tensor, or a dict, list, tuple ... of
            supported values. Tensors on any device; they are copied one at a time.
        path: where to; a symbolic link is followed. Conventionally ``*.safetensors``. A string of the form
            ``scheme://...`` goes to the storage that `register_storage` has for it.
        durable: wait until the bytes are on the disk, so that the file survives a power cut.
        overwrite: whether a file that is there is replaced.
        allow: ``"unsaveable"`` leaves out what cannot be saved (a lambda, a lock, an open file), with a warning for
            each. The file then gives back its weights and its skeleton, and no longer the whole object.
        progress: called with (bytes written, bytes in all) of the tensors' data now and then.

    Returns:
        A report of what was written, its size in bytes, and what was noticed.

    Raises:
        UnsaveableError: something in `obj` cannot be saved; the message gives its path. Nothing was written.
        DestinationError: the path has the suffix of a torch file. Nothing was written.
        SaveError: the header would be larger than readers accept, or the object is one that no file may hold
            (a tensor expanded beyond the limits, a module with two things of one name). Nothing was written.
        PathError: the file system or the storage refused (`FullError`, `AccessError`, `ExistsError`, ...). A file
            that was there before is as it was.
        ValueError: `allow` has a word that it does not take.
    """
    from . import values

    allowed = _allowed(allow, {"unsaveable"})
    name = os.fsdecode(path)
    if name.lower().endswith(_TORCH_SUFFIXES):
        raise DestinationError(
            f"{name} ends like a file of torch.save, and tools would take it for one. Nothing was written. Name it "
            "model.safetensors, or write a torch file with torch.save(model.state_dict(), path)."
        )
    with document.collector_paused():
        encoded = values.encode(obj, leave="unsaveable" in allowed)
        _check_saved(encoded.document)
        layout = containers.layout(encoded.document)
    data_nbytes = sum(span.nbytes for span in layout.spans)
    told = (lambda nbytes: progress(nbytes, data_nbytes)) if progress else None
    with storage.stage(path, nbytes=layout.nbytes, durable=durable, overwrite=overwrite) as staged:
        start = layout.nbytes - data_nbytes
        in_order = staged.write(encoded.packed.buffers(layout.order), start, progress=told)
        digests = dict(zip(layout.order, in_order, strict=True))
        staged.patch(layout.header([digests[i] for i in range(len(digests))]), 0)
        staged.commit()
    findings = tuple(encoded.document.findings)
    _warn(finding for finding in values.merged(list(findings)) if finding.severity != "note")
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
        path: a torchkeep file, any safetensors file, or one of a registered container; a local path, or a string
            ``scheme://...`` of a registered storage.
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
            its weights, on torch's own classes and those given; ``"auto"`` is ``"structure"``.
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
        PathError: the file system or the storage refused.
        TypeError: `device` or `dtype` is none.
        ValueError: `mode`, `route` or `allow` has a word that it does not take.
    """
    from . import values

    allowed = _allowed(allow, {"hooks", "changed"})
    place = values.device_of(device, map_location)
    values.require_floating(dtype)
    if mode not in (None, "eval", "train", "saved"):
        raise ValueError(f"mode is 'eval', 'train', 'saved' or None, not {mode!r}")
    if route not in ("auto", "structure", "skeleton"):
        raise ValueError(f"route is 'auto', 'structure' or 'skeleton', not {route!r}")
    resolver = values.Resolver(classes, trust, imported=route != "skeleton")
    name = os.fsdecode(path)
    with _telling(name, _NOTHING), storage.open_source(path) as source, document.collector_paused():
        contents = containers.read(source)
        meaning = contents.document
        start = document.find(meaning, key, path=name)
        positions, rows = meaning.reachable(start)
        audit = values.audit(meaning, positions, resolver, path=name, skeleton=route == "skeleton", allow=allowed)
        memory = values.allocate(meaning.tensors, rows)
        _Reader(source, contents).fill(memory)
        state = values.optimizer_rows(meaning, positions)
        host = values.host_rows(meaning, positions)
        on_cpu, uncast = state.steps | host, state.all | host
        tensors = values.tensors(memory, rows, device=place, dtype=dtype, on_cpu=on_cpu, uncast=uncast)
        built = values.build(meaning, start, tensors, audit)
    flags: Mode = mode or ("saved" if state.present else "eval")
    values.set_mode(built.modules, flags)
    report = ObjectReport(
        path=name,
        kind=contents.kind,
        route=values.route_taken(built.modules, stood_in=audit.stood_in),
        mode=flags,
        device=str(place),
        cast=tuple(memory.cast),
        findings=tuple(values.merged([*audit.findings, *values.cast_findings(memory.cast)])),
    )
    values.remember_report(built.obj, report)
    _warn(finding for finding in report.findings if finding.severity != "note")
    return built.obj


def load_into(
    target: Any,
    path: StrPath,
    *,
    key: Key | None = None,
    strict: bool = True,
    allow: Iterable[str] = (),
    rename: Rename | None = None,
    assign: bool = False,
    verify: Literal["first"] | None = None,
) -> LoadReport:
    """Load weights into a model, or state into an optimizer, in place, and say everything that did not fit.

    Names, shapes and dtypes are all checked before the first byte of the target changes; then bytes are
    read straight into its memory. Training flags, `requires_grad` and devices stay the target's.

    Args:
        target: an `nn.Module`, an optimizer, or a dict of these whose keys are parts of the file.
        path: a file as in `load`.
        key: the part of the file to take, as in `load`. Without it, the only part with weights is found.
        strict: False is torch's word for ``allow={"missing", "unexpected"}``.
        allow: what need not fit: ``"missing"`` (the file lacks it), ``"unexpected"`` (the target lacks it),
            ``"mismatched"`` (another shape, or a dtype that cannot hold it). A load in which nothing matched
            is an error all the same.
        rename: from names of the file to names of the target: pairs ``[(old, new)]`` of whole names or of
            parts before a dot, or a function. Prefixes such as ``module.`` and ``_orig_mod.`` are looked
            through without it, where that makes the names match, and reported.
        assign: put the file's tensors in the place of the target's, as torch's ``assign=True``; what a
            target on the meta device needs.
        verify: ``"first"`` reads everything once and checks it before the target is touched.

    Returns:
        A report; it unpacks like torch's ``(missing_keys, unexpected_keys)``.

    Raises:
        BindError: something does not fit; the message has all of it. The target was not changed.
        PartialLoadError: reading failed after the first write; `overwritten` says what changed.
        FormatError: the file is damaged, or not a file that torchkeep reads.
        KeyMissingError: there is no such part.
        TrustError: state of the target is an object of a class that was not registered.
        PathError: the file system or the storage refused.
        ValueError: `allow` or `verify` has a word that it does not take.
    """
    from . import values

    allowed = _allowed(allow, {"missing", "unexpected", "mismatched"})
    if not strict:
        allowed |= {"missing", "unexpected"}
    if verify not in (None, "first"):
        raise ValueError(f"verify is 'first' or None, not {verify!r}")
    name = os.fsdecode(path)
    with _telling(name, "The target was not changed."), storage.open_source(path) as source:
        contents = containers.read(source)
        meaning, reader = contents.document, _Reader(source, contents)
        start = document.find(meaning, key, path=name)
        binding = values.bind(
            meaning,
            start,
            target,
            path=name,
            how=rename,
            assign=assign,
            same_bytes=reader.same_bytes,
            allowed=allowed,
        )
        if verify == "first":
            reader.check(values.stored_of(meaning, binding))
        noticed = values.fill(meaning, binding, reader, path=name, replace=assign, allowed=allowed)
    report = _load_report(binding, name, values.merged(noticed))
    _warn(finding for finding in report.findings if finding.severity != "note")
    return report


def report_of(obj: Any) -> ObjectReport:
    """How an object that `load` returned, or a module in it, came back.

    Args:
        obj: what `load` returned, or a module or optimizer directly in it.

    Returns:
        The report: route, mode, device, casts, and what was noticed.

    Raises:
        LookupError: `obj` does not come from `load`.
    """
    from . import values

    report: ObjectReport = values.report_of(obj)
    return report


def inspect(path: StrPath) -> FileReport:
    """What is in a file: its tree, tensors, environment, the classes it names, and the ways to load it.

    Reads the header only, runs nothing, and never imports torch.

    Args:
        path: a file as in `load`.

    Returns:
        The report; printed, it is what a person reads, and `to_dict()` gives plain data. Shapes are in elements
        and dtypes are torch's names; sizes are in bytes.

    Raises:
        FormatError: the file is damaged, or not a file that torchkeep reads.
        PathError: the file system refused.
    """
    name = os.fsdecode(path)
    with _telling(name, _NOTHING), storage.open_source(path) as source, document.collector_paused():
        contents = containers.read(source)
        return describe(
            contents.document,
            path=name,
            kind=contents.kind,
            nbytes=source.nbytes,
            metadata=contents.metadata,
        )


def _load_report(binding: values.Binding, path: str, noticed: Sequence[document.Finding]) -> LoadReport:
    """A binding that was carried out, as its caller reads it."""
    report = LoadReport(
        path=path,
        part=binding.part,
        matched=sum(found.matched for found in binding.modules.values()),
        total=sum(found.total for found in binding.modules.values()),
        optimizers={label: found.how for label, found in binding.optimizers.items()},
    )
    every: list[tuple[str, values.Match | values.OptimizerMatch]] = [
        *binding.modules.items(),
        *binding.optimizers.items(),
    ]
    for label, found in every:
        report.missing_keys.extend(binding.label(label, name) for name in found.missing)
        report.unexpected_keys.extend(binding.label(label, name) for name in found.unexpected)
        report.mismatched.extend((binding.label(label, name), a, b) for name, a, b in found.mismatched)
    for label, module in binding.modules.items():
        report.renamed.update({old: binding.label(label, new) for old, new in module.renamed.items()})
        report.cast.extend((binding.label(label, name), a, b) for name, a, b in module.cast)
    losses = [
        ("missing", len(report.missing_keys), " of the target", "not in the file"),
        ("unexpected", len(report.unexpected_keys), " of the file", "not in the target"),
        ("mismatched", len(report.mismatched), " of the file", "left out: they did not fit"),
        ("cast", len(report.cast), "", "cast to the target's dtype"),
    ]
    findings = [
        document.Finding(
            code, "warning", "", f"{path}: {count(number, 'tensor')}{whose} {was} {what}; the report names them."
        )
        for code, number, whose, what in losses
        if number and (was := "was" if number == 1 else "were")
    ]
    return msgspec.structs.replace(report, findings=(*findings, *noticed))


def _check_saved(encoded: document.Document) -> None:
    """What no file may hold is refused before one is begun."""
    try:
        document.check(encoded)
    except FormatError as error:
        raise SaveError(f"the object cannot be saved: {error.text}. Nothing was written.") from error


class _Reader:
    """An open file and its placement, as the room of values sees them: it knows what, we know where."""

    def __init__(self, source: storage.Source, contents: containers.Contents) -> None:
        self.source = source
        self._placement = contents.placement
        self._names = contents.document.tensors.names

    def fill(self, memory: values.Memory) -> None:
        self.source.read_into([self._read(i, buffer) for i, buffer in memory.buffers().items()])

    def read(self, direct: Sequence[values.Direct], started: list[int]) -> None:
        self.source.read_into([self._read(each.stored, each.buffer) for each in direct], started=started)

    def check(self, stored: Iterable[int]) -> None:
        """Read everything and check the digests, keeping nothing. A file without digests has none to check."""
        digests = self._placement.digests
        if digests is not None:
            self.source.check((self._placement.spans[i], digests[i], self._names[i]) for i in stored)

    def same_bytes(self, one: int, other: int) -> bool:
        """Whether two stored tensors have the same bytes: by their digests, or by reading both."""
        digests, spans = self._placement.digests, self._placement.spans
        if spans[one].nbytes != spans[other].nbytes or digests is not None:
            return digests is not None and digests[one] == digests[other]
        return self.source.read(spans[one]) == self.source.read(spans[other])

    def _read(self, index: int, buffer: Any) -> storage.Read:
        digests = self._placement.digests
        digest = None if digests is None else digests[index]
        return storage.Read(self._placement.spans[index], buffer, digest, self._names[index])


_NOTHING = "Nothing was loaded."


@contextmanager
def _telling(path: str, unchanged: str) -> Iterator[None]:
    """Errors from the rooms below, which know neither the file nor what becomes of it, say both."""
    try:
        yield
    except LoadError as error:
        error.tell(path, unchanged)
        raise


def _allowed(allow: Iterable[str], known: set[str]) -> frozenset[str]:
    allowed = frozenset((allow,) if isinstance(allow, str) else allow)
    if unknown := allowed - known:
        raise ValueError(f"allow takes {sorted(known)}, not {sorted(unknown)}")
    return allowed


def _warn(findings: Iterable[document.Finding]) -> None:
    for finding in findings:
        warnings.warn(printable(str(finding)), TorchkeepWarning, stacklevel=3)
