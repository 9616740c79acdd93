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
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import msgspec

from . import containers, document, storage
from .errors import (
    DestinationError,
    DeviceError,
    FormatError,
    LimitError,
    LoadError,
    OtherFormatError,
    SaveError,
    TorchkeepWarning,
    TrustError,
    VerifyError,
    VersionError,
    brief,
    brief_text,
    printable,
)
from .report import (
    DiffReport,
    ExplainReport,
    FileReport,
    LoadReport,
    ObjectReport,
    OutputCheck,
    RouteCheck,
    SaveReport,
    VerifyReport,
    count,
    describe,
    still_lacking,
    tell,
)

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
    example: Any = None,
    dynamic_shapes: Any = None,
    golden: bool = True,
    durable: bool = True,
    overwrite: bool = True,
    allow: Iterable[str] = (),
    source: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> SaveReport:
    """Save a model, a state_dict, a checkpoint, or any supported value as one safetensors file.

    The file appears whole or not at all: it is written beside its destination and then put in its place.

    Args:
        obj: an `nn.Module` (weights and structure), an optimizer, a tensor, or a dict, list, tuple ... of
            supported values. Tensors on any device; they are copied one at a time.
        path: where to; a symbolic link is followed. Conventionally ``*.safetensors``. A string of the form
            ``scheme://...`` goes to the storage that `register_storage` has for it.
        example: a call of the model, so that its computation is captured and the file needs no class: a tuple of
            arguments, ``(x,)``, a `torchkeep.Example`, ``Example(x, mask=m)``, or a list of these in different sizes,
            which says best what may vary. The model is left as it was. One that cannot be captured is saved all the
            same, with a warning that says where its code stopped it.
        dynamic_shapes: which sizes of the example may vary: ``"auto"`` (found out, within a minute or so; the
            default), ``"batch"`` (the first of each tensor), ``"static"`` (none), or what `torch.export.export` takes,
            by the names of the parameters of `forward`.
        golden: with `example`, keep it and what the model returns for it, so that `verify` can tell later whether it
            still computes the same. The model is run for it, in eval mode, and left as it was. A large output is kept
            as its digest, statistics and a sample. Where the example is private, pass False.
        durable: wait until the bytes are on the disk, so that the file survives a power cut.
        overwrite: whether a file that is there is replaced.
        allow: ``"unsaveable"`` leaves out what cannot be saved (a lambda, a lock, an open file), with a warning for
            each. The file then gives back its weights and its skeleton, and no longer the whole object.
        source: keep the source text of the modules that define the classes, and of what these import, as far as it is
            the project's own: nothing of torch, the standard library or installed packages. Whoever has the file can
            read it; the report lists the files. It is run only by ``load(..., run_source=True)``.
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
        TypeError: `example` is no call, or `obj` is no module to call.
        ValueError: `allow` or `dynamic_shapes` has a word that it does not take.
    """
    from . import values

    values.require_little_endian(SaveError, "Nothing was written.")
    allowed = _allowed(allow, {"unsaveable"})
    name = _name(path)
    if name.lower().endswith(_TORCH_SUFFIXES):
        raise DestinationError(
            f"{printable(name)} ends like a file of torch.save, and tools would take it for one. Nothing was written. "
            "Name it model.safetensors, or write a torch file with torch.save(model.state_dict(), path)."
        )
    beside, noticed = values.computed_by(obj, example, dynamic_shapes, golden=golden)
    with document.collector_paused():
        encoded = values.encode(obj, leave="unsaveable" in allowed, source=source, beside=beside, noticed=noticed)
        _check_saved(encoded)
        layout = containers.layout(encoded.document, path_of=encoded.path_of)
    data_nbytes = sum(span.nbytes for span in layout.spans)
    told = (lambda nbytes: progress(nbytes, data_nbytes)) if progress else None
    with storage.stage(path, nbytes=layout.nbytes, durable=durable, overwrite=overwrite) as staged:
        start = layout.nbytes - data_nbytes
        in_order = staged.write(encoded.packed.buffers(layout.order), start, progress=told)
        digests = dict(zip(layout.order, in_order, strict=True))
        staged.patch(layout.header([digests[i] for i in range(len(digests))]), 0)
        staged.commit()
    findings = tuple(encoded.document.findings)
    _warn(finding for finding in document.merged(list(findings)) if finding.severity != "note")
    return SaveReport(name, layout.nbytes, findings, encoded.source_files)


def load(
    path: StrPath,
    *,
    device: str | int | torch.device | None = None,
    map_location: str | int | torch.device | None = None,
    dtype: torch.dtype | None = None,
    mode: Mode | None = None,
    key: Key | None = None,
    classes: Mapping[str, Any] | Iterable[Any] | None = None,
    trust: Iterable[str] = (),
    route: Literal["auto", "structure", "program", "source", "skeleton"] = "auto",
    run_source: bool = False,
    allow: Iterable[str] = (),
    mmap: bool = False,
    verify: Literal["first", "outputs"] | None = None,
) -> Any:
    """Load what was saved: a model as an `nn.Module`, on the CPU, in eval mode; anything else as it was.

    Nothing of the file is run or imported, but for its source text under `run_source=True`. Classes come from
    `classes`, from `torchkeep.register`, from packages named in `trust`, or, for `nn.Module` classes that the program
    has already imported, from there.

    Args:
        path: a torchkeep file, any safetensors file, or one of a registered container; a local path, or a string
            ``scheme://...`` of a registered storage.
        device: where tensors go; ``"cpu"`` by default, whatever device they were saved from. Any device that torch
            knows; on ``"meta"`` tensors have shapes and no values, and are not read.
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
        route: ``"structure"`` rebuilds the model on its classes; ``"program"`` runs the computation that was saved
            with ``example=`` and needs no class; ``"source"`` rebuilds the model on the classes that the source text in
            the file defines; ``"skeleton"`` gives the module tree with its weights, on torch's own classes and those
            given. ``"auto"`` is ``"structure"``; where a class does not open it is, with a warning, ``"source"`` if
            `run_source` says so, or else ``"program"`` if the file has one.
        run_source: run the source text that the file keeps, as code of this process that may do anything. Only for a
            file whose text you have read (``inspect(path).sources``) or whose author you trust.
        allow: losses that are accepted: ``"hooks"`` (the model had hooks, which no file holds), ``"changed"``
            (its class now assigns attributes that the file lacks).
        mmap: let the tensors be the file itself, mapped, so that bytes are read when they are first used and
            processes share them. Writing to a tensor copies the page and never changes the file. The header is
            checked, the bytes are not. What a file cannot serve as it is (another device or dtype, channels_last,
            arrays, long texts) is read and checked as ever, and so is all of a file in a registered storage that
            cannot map; the report tells how many bytes are mapped. The file must stay as it is for as long as its
            tensors live. Replacing it, as `save` does, is safe (Windows refuses it), but a program that shortens it
            ends this process with SIGBUS at the next touch, and one that writes into it changes the tensors.
        verify: ``"first"`` reads all bytes of the part once and checks them before anything is made, also those that
            are mapped. Without it, what is read is checked as it is read. ``"outputs"`` makes the calls that were kept
            with the model and compares what it returns, as the verb `verify` does; the report has the result. Under a
            `dtype` the tolerance grows with its rounding, and a warning says where it cannot be told.

    Returns:
        The object. `torchkeep.report_of(obj)` tells how it came back.

    Raises:
        FormatError: the file is damaged, or not a file that torchkeep reads.
        TrustError: classes did not open; the message gives the call that opens each.
        SourceError: source text of the file raised when it was run.
        ChangedClassError: a class now asks for attributes that the file lacks.
        KeyMissingError: there is no such part.
        ProgramError: the file has no program, or one that this torch cannot run.
        VerifyError: with ``verify="outputs"``, the model computes something else, or the file has no outputs.
        DeviceError: torch or this machine does not have the device, or a tensor cannot go there.
        LoadError: any other reason. Nothing is returned.
        PathError: the file system or the storage refused.
        TypeError: `device` or `dtype` is none, or `device` and `map_location` differ.
        ValueError: `mode`, `route`, `allow` or `verify` has a word that it does not take.
    """
    from . import values

    values.require_little_endian(LoadError, _NOTHING)
    allowed = _allowed(allow, {"hooks", "changed"})
    place = values.device_of(device, map_location)
    values.require_floating(dtype)
    if mode not in (None, "eval", "train", "saved"):
        raise ValueError(f"mode is 'eval', 'train', 'saved' or None, not {mode!r}")
    if route not in ("auto", "structure", "program", "source", "skeleton"):
        raise ValueError(f"route is 'auto', 'structure', 'program', 'source' or 'skeleton', not {route!r}")
    if run_source not in (True, False) or (run_source and route not in ("auto", "source")):
        raise ValueError(f"run_source is True or False, and True goes with route 'source' or 'auto', not {route!r}")
    _require_verify(verify, "first", "outputs")
    name = _name(path)
    with _telling(name, _NOTHING), storage.open_source(path) as source, document.collector_paused():
        contents = containers.read(source)
        meaning = contents.document
        start = document.find(meaning, key, path=name)
        golden = _golden(contents, start, source, name) if verify == "outputs" else None
        document.without_golden(meaning)
        positions, rows = meaning.reachable(start)
        audit = values.audit_by_route(
            route,
            meaning,
            positions,
            classes=classes,
            trust=trust,
            run_source=run_source,
            path=name,
            allow=allowed,
        )
        reader = _Reader(source, contents)
        if verify == "first":
            reader.check(sorted({meaning.tensors.stored[row] for row in rows}))
        state = values.optimizer_rows(meaning, positions)
        host = values.host_rows(meaning, positions)
        inner = values.inner_rows(meaning, positions)
        on_cpu, uncast = state.steps | host | inner.on_cpu, state.all | host | inner.exact
        given = values.unread(
            meaning.tensors,
            rows,
            device=place,
            dtype=dtype,
            on_cpu=on_cpu,
            uncast=uncast,
            looked_at=values.looked_at_rows(meaning, positions),
            mapped=reader.map() if mmap else None,
        )
        memory = values.allocate(meaning.tensors, rows, given=given)
        reader.fill(memory)
        tensors = values.tensors(memory, rows, device=place, dtype=dtype, on_cpu=on_cpu, uncast=uncast)
        built = values.build(meaning, start, tensors, audit, device=place, dtype=dtype)
    flags: Mode = mode or ("saved" if state.present else "eval")
    values.set_mode(built.modules, flags)
    checks = _checks(golden, built.obj, dtype)
    if different := tuple(str(each) for each in checks if each.verdict == "different"):
        raise VerifyError(_different(name, different), different=different)
    report = ObjectReport(
        path=name,
        kind=contents.kind,
        route=values.route_taken(built.modules, audit),
        mode=flags,
        device=str(place),
        cast=tuple(memory.cast),
        mapped_nbytes=memory.mapped_nbytes if mmap else None,
        findings=tuple(document.merged([*audit.findings, *values.cast_findings(memory.cast), *_unknown(checks)])),
        outputs=checks,
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
            parts before a dot, or a function that gives a name's new one, or None to leave it out. It goes for
            every part, and for the names that an optimizer has of its parameters. Prefixes such as ``module.``
            and ``_orig_mod.`` are looked through without it, where that makes the names match, and reported.
        assign: put the file's tensors in the place of the target's, as torch's ``assign=True``; what a
            target on the meta device needs. Optimizers in the same call go on with the new parameters; any other
            optimizer, and whatever else holds the old ones, keeps them: make it afterwards.
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
        TypeError: `target` or `rename` is of another type.
        ValueError: `allow` or `verify` has a word that it does not take, or the target is an empty dict.
    """
    from . import values

    values.require_little_endian(LoadError, "The target was not changed.")
    allowed = _allowed(allow, {"missing", "unexpected", "mismatched"})
    if not strict:
        allowed |= {"missing", "unexpected"}
    _require_verify(verify, "first")
    renames = values.Renames(rename)
    name = _name(path)
    with _telling(name, "The target was not changed."), storage.open_source(path) as source:
        contents = containers.read(source)
        meaning, reader = contents.document, _Reader(source, contents)
        start = document.find(meaning, key, path=name)
        binding = values.bind(
            meaning,
            start,
            target,
            path=name,
            renames=renames,
            assign=assign,
            same_bytes=reader.same_bytes,
            allowed=allowed,
        )
        if verify == "first":
            reader.check(values.stored_of(meaning, binding))
        noticed = values.fill(meaning, binding, reader, path=name, replace=assign, allowed=allowed)
    report = _load_report(binding, name, document.merged(noticed))
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
    name = _name(path)
    with _telling(name, _NOTHING), storage.open_source(path) as source, document.collector_paused():
        contents = containers.read(source)
        return describe(
            contents.document,
            path=name,
            kind=contents.kind,
            nbytes=source.nbytes,
            metadata=contents.metadata,
        )


def diff(
    a: StrPath,
    b: StrPath,
    *,
    key: Key | None = None,
    key_a: Key | None = None,
    key_b: Key | None = None,
) -> DiffReport:
    """What changed between two files: tensors, values, classes, flags, order and sharing, each with its place.

    Reads headers only where both files have digests, and streams the tensors of a plain safetensors file through
    one small buffer. Runs nothing, and never imports torch.

    Tensors are compared by dtype, shape and the XXH3 digest of their bytes. That finds every change that happens;
    it is no proof against somebody who makes two tensors of one digest on purpose, and damage since the file was
    written is not looked for.

    A plain safetensors file says only names and tensors: order, flags and sharing are not compared with it. A
    module is compared with a dict of tensors by the names of its state_dict.

    Args:
        a: a file as in `load`.
        b: another.
        key: the part of both files that is compared, as in `load`; None for all.
        key_a: the part of `a`, where it is another.
        key_b: the part of `b`, where it is another: ``diff("ckpt", "net", key_a="model")`` compares a part of one
            file with all of the other.

    Returns:
        A report: ask it `equal`, or `tensors_equal`, or print it. What it notes about versions of packages and
        sources of classes is no difference.

    Raises:
        FormatError: a file is damaged, or not one that torchkeep reads.
        KeyMissingError: there is no such part.
        PathError: the file system refused.
    """
    with ExitStack() as opened, document.collector_paused():
        one = _Side(a, key if key_a is None else key_a, opened)
        other = _Side(b, key if key_b is None else key_b, opened)
        apart = _golden_apart(one, other)
        found = document.diff(
            one.document,
            other.document,
            one.digests(other),
            other.digests(one),
            start_a=one.start,
            start_b=other.start,
            bare="safetensors" in (one.contents.kind, other.contents.kind),
        )
        report = tell(found, one.document, other.document, path_a=one.label, path_b=other.label)
        return msgspec.structs.replace(report, notes=(*report.notes, *apart))


def _golden_apart(one: _Side, other: _Side) -> list[document.Finding]:
    """Examples and their outputs are no part of the model: they are taken away, and a note says whether they differ."""
    a, b = [document.calls_of(side.document, document.golden_of(side.document, side.start)) for side in (one, other)]
    told = ""
    if (a is None) != (b is None):
        told = f"only {one.label if b is None else other.label} keeps an example and its outputs."
    elif a is not None and all(side.contents.placement.digests is not None for side in (one, other)):
        digests = one.digests(other), other.digests(one)
        changes = document.diff(one.document, other.document, *digests, start_a=a, start_b=b)
        told = (
            "the examples that are kept with the model, or their outputs, are not the same." if changes.changes else ""
        )
    for side in (one, other):
        document.without_golden(side.document)
    return [document.Finding("golden", "note", "", told)] if told else []


def verify(
    path: StrPath,
    *,
    classes: Mapping[str, Any] | Iterable[Any] | None = None,
    trust: Iterable[str] = (),
    key: Key | None = None,
    device: str | int | torch.device | None = None,
) -> VerifyReport:
    """Whether a file is whole, and whether its model still computes the same, on this machine and with this torch.

    Every digest is checked. Then, where the file keeps examples (``save(model, path, example=(x,))``), the model is
    loaded by each route that is open, structure and program, and the calls are made again: in eval mode, under the
    same seed. Each output has the same bits, is within the tolerance that was measured at save, or is different.

    Args:
        path: a file as in `load`.
        classes: classes for the names in the file, as in `load`.
        trust: packages or classes that may be imported, as in `load`.
        key: the part whose model is run, as in `load`.
        device: where it is run; the CPU by default.

    Returns:
        A report: ask it `ok`, or print it. A damaged file is a report, too, and so is a route that is closed.

    Raises:
        VersionError: a newer torchkeep wrote the file.
        OtherFormatError: it is a file of another format.
        LimitError: it asks for more than the limits allow.
        KeyMissingError: there is no such part.
        DeviceError: torch or this machine does not have the device.
        LoadError: the example needs what this torch does not have, such as a dtype.
        PathError: the file system or the storage refused.
    """
    name = _name(path)
    try:
        with _telling(name, _NOTHING), storage.open_source(path) as source, document.collector_paused():
            contents = containers.read(source)
            _Reader(source, contents).check(range(len(contents.document.tensors.names)))
            start = document.find(contents.document, key, path=name)
            kept = document.golden_of(contents.document, start)
            golden = None if kept is None else _golden(contents, start, source, name)
    except (VersionError, OtherFormatError, LimitError):
        raise
    except FormatError as error:
        return VerifyReport(name, damage=error.text)
    digests = contents.placement.digests
    report = VerifyReport(name, contents.kind, 0 if digests is None else len(digests))
    if golden is None:
        return report
    from . import values

    trust, classes = tuple(trust), classes if isinstance(classes, Mapping | None) else list(classes)
    now = values.environment() | values.machine(values.device_of(device, None))
    saved = contents.document.environment | golden.environment
    routes: list[RouteCheck] = []
    ways: tuple[Literal["structure", "program"], ...] = ("structure", "program")
    for route in ways:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", TorchkeepWarning)
            try:
                obj = load(path, route=route, key=key, classes=classes, trust=trust, device=device, mode="eval")
                routes.append(RouteCheck(route, True, "", _checks(golden, obj, None)))
            except DeviceError:
                raise
            except FormatError as error:
                return msgspec.structs.replace(report, damage=error.text)
            except TrustError as error:
                names = ", ".join(map(brief_text, error.names[:8]))
                routes.append(RouteCheck(route, False, f"{names} did not open: pass classes= or trust="))
            except LoadError as error:
                routes.append(RouteCheck(route, False, brief_text(error.text, length=600)))
    return msgspec.structs.replace(
        report,
        examples=len(golden.examples),
        routes=tuple(routes),
        environment=tuple(
            (what, saved[what], now[what]) for what in saved if now.get(what, saved[what]) != saved[what]
        ),
    )


def _golden(contents: containers.Contents, start: document.Value, source: storage.Source, path: str) -> values.Golden:
    """The golden outputs of the module at a place.

    Raises:
        VerifyError: it has none.
    """
    from . import values

    kept = document.golden_of(contents.document, start)
    if kept is None:
        raise VerifyError(
            f"{path} holds no outputs to compare with: it was saved without example=, with golden=False, or its "
            "example could not be kept. Nothing was loaded. Load it without verify=, or save it again with an example."
        )
    found: values.Golden = values.read_golden(contents.document, kept, _Reader(source, contents).fill)
    return found


def _checks(golden: values.Golden | None, obj: Any, dtype: torch.dtype | None) -> tuple[OutputCheck, ...]:
    """What was loaded, held against golden outputs."""
    if golden is None:
        return ()
    from . import values

    return tuple(OutputCheck(*each) for each in values.compare_outputs(golden, obj, dtype))


def _different(path: str, different: Sequence[str]) -> str:
    """The message about a model that computes something else."""
    lines = [f"{path}: the model does not compute what was saved with it. Nothing was loaded."]
    lines += [f"  {each}" for each in different[:_MAX_LINES]]
    if len(different) > _MAX_LINES:
        lines.append(f"  ... and {len(different) - _MAX_LINES} more")
    lines.append(
        f"torchkeep.verify({path!r}) compares every route. To have the model all the same, load it without verify=."
    )
    return "\n".join(lines)


_MAX_LINES = 30
"""Outputs that a message lists."""


def _unknown(checks: Iterable[OutputCheck]) -> list[document.Finding]:
    """A warning for each output that could not be compared."""
    return [document.Finding("golden", "warning", "", f"{each}.") for each in checks if each.verdict == "unknown"]


def explain(
    path: StrPath,
    *,
    classes: Mapping[str, Any] | Iterable[Any] | None = None,
    key: Key | None = None,
    model: torch.nn.Module | None = None,
) -> ExplainReport:
    """What stands between a file and today's code, and the call that bridges it: for a file that a refactoring broke.

    For each class that the file names: whether it opens, where it moved, what it may be called now. For each class
    whose source changed: what appeared and what went, and a migration to paste. With `model`: which of its tensors the
    file fills, and the `rename=` that fills more. Reads the header only. Nothing of the file is run or imported, no
    constructor is called, nothing is changed; classes are looked for among what the program has imported, so import
    your code first.

    Args:
        path: a file as in `load`.
        classes: as in `load`: what you know already.
        key: the part of the file, as in `load`.
        model: a model of today that the weights are for; its names and shapes are looked at.

    Returns:
        The report; printed, its last lines are the call to make. A class that it proposes is found by its name and its
        text: look at it before you pass it to `load`, which trusts what it is given.

    Raises:
        FormatError: the file is damaged, or not a file that torchkeep reads.
        KeyMissingError: there is no such part.
        PathError: the file system or the storage refused.
        TypeError: `classes` or `model` is of another type.
    """
    from . import values

    name = _name(path)
    with _telling(name, _NOTHING), storage.open_source(path) as source, document.collector_paused():
        contents = containers.read(source)
        meaning = contents.document
        file = describe(meaning, path=name, kind=contents.kind, nbytes=source.nbytes, metadata=contents.metadata)
        found = values.explain(
            meaning,
            document.find(meaning, key, path=name),
            path=name,
            key="" if key is None else f", key={key!r}",
            classes=classes,
            model=model,
            same_bytes=_Reader(source, contents).same_bytes,
            texts=getattr(file, "sources", {}),
        )
    routes = still_lacking(file.routes, found.names, found.changes, found.structure)
    return ExplainReport(name, contents.kind, found.names, found.changes, found.fit, routes, found.way)


class _Side:
    """One of two files that are compared, open, and the part of it."""

    def __init__(self, path: StrPath, key: Key | None, opened: ExitStack) -> None:
        self.name = _name(path)
        with _telling(self.name, _NOTHING):
            self.source = opened.enter_context(storage.open_source(path))
            self.contents = containers.read(self.source)
            self.document = self.contents.document
            self.start = document.find(self.document, key, path=self.name)
        steps = () if key is None else key if isinstance(key, tuple) else (key,)
        self.label = self.name + "".join(f"[{brief(step)}]" for step in steps)

    def digests(self, other: _Side) -> document.Digests:
        """Digests of the stored tensors; where the file has none, of those that `other` has the like of."""
        if self.contents.placement.digests is not None:
            return self.contents.placement.digests
        table, theirs = self.document.tensors, other.document.tensors
        like = set(zip(theirs.dtypes, theirs.shapes, strict=True))
        stored = {table.stored[row] for row in self.document.reachable(self.start)[1]}
        wanted = [i for i in sorted(stored) if (table.dtypes[i], table.shapes[i]) in like]
        found: list[int | None] = [None] * len(table.names)
        parts = [(self.contents.placement.spans[i], table.names[i]) for i in wanted]
        with _telling(self.name, _NOTHING):
            for i, digest in zip(wanted, self.source.digests(parts), strict=True):
                found[i] = digest
        return found


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
        report.cast.extend((binding.label(label, name), a, b) for name, a, b in found.cast)
    for label, module in binding.modules.items():
        report.renamed.update({old: binding.label(label, new) for old, new in module.renamed.items()})
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


def _check_saved(encoded: values.Encoded) -> None:
    """What no file may hold is refused before one is begun."""
    try:
        document.check(encoded.document)
    except FormatError as error:
        raise SaveError(f"the object cannot be saved: {error.text}. Nothing was written.") from error
    if (position := document.holding_itself(encoded.document)) is not None:
        node = encoded.document.nodes[position]
        where, what = printable(encoded.path_of(position)), node.kind if isinstance(node, document.Typed) else "tuple"
        raise SaveError(
            f"{where} cannot be saved: it is a {what}, which is made at once from what it holds, and what it holds "
            "leads back to it. Nothing was written. Let it be held by an object of its own."
        )


class _Reader:
    """An open file and its placement, as the room of values sees them: it knows what, we know where."""

    def __init__(self, source: storage.Source, contents: containers.Contents) -> None:
        self.source = source
        self._placement = contents.placement
        self._names = contents.document.tensors.names

    def fill(self, memory: values.Memory) -> None:
        self.source.read_into([self._read(i, buffer) for i, buffer in memory.buffers().items()])

    def map(self) -> Callable[[int], memoryview] | None:
        """The file's own bytes of a stored tensor, by its index; None where its storage cannot map."""
        whole, spans = self.source.map(), self._placement.spans
        return None if whole is None else lambda stored: whole[spans[stored].offset : spans[stored].end]

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


def _name(path: object) -> str:
    """The text of a path.

    Raises:
        TypeError: it is none; most often, it stands in the other's place.
    """
    if not isinstance(path, str | bytes | os.PathLike):
        raise TypeError(
            f"a path is a str or an os.PathLike, not {type(path).__name__}: save(obj, path), load(path), "
            "load_into(target, path)"
        )
    return os.fsdecode(path)


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


def _require_verify(verify: str | None, *known: str) -> None:
    if verify not in (None, *known):
        raise ValueError(f"verify is {', '.join(map(repr, known))} or None, not {verify!r}")


def _warn(findings: Iterable[document.Finding]) -> None:
    for finding in findings:
        warnings.warn(printable(str(finding)), TorchkeepWarning, stacklevel=3)
