"""Document -> Python objects, by state and never by calling what a file says.

One walk, depth first, without recursion. A mutable object gets its shell when the walk enters it and its
contents when the walk leaves it, so cycles close by themselves; an immutable one is made when the walk
leaves it, from children that are already there.
"""

from __future__ import annotations

import enum
import functools
import keyword
import struct
import types
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import torch

from ..document import (
    HOOK_KINDS,
    MAX_COLLISIONS,
    MAX_FLAG_NBITS,
    ROLES,
    TENSOR_KINDS,
    Document,
    Finding,
    Map,
    Node,
    Opaque,
    Ref,
    Seq,
    TensorRef,
    Typed,
    Value,
    children,
)
from ..errors import ChangedClassError, FormatError, LimitError, LoadError, brief, brief_text, in_code
from . import arrays, averaging, data_table, generators, golden, library, tensor_kinds
from .audit import Audit, computed_names, is_direct, owner_of
from .computation import ProgramModule, require_trees, runner_of
from .derived import BUILTINS, builtin_of, filled, shell_of
from .hooked import Hook, put_on
from .lazy import make_lazy, make_uninitialized
from .migrate import Additions, left_behind, migrate, require_complete
from .pack import buffer_of
from .packed import require_packed
from .parametrized import restore
from .registry import ModuleState, class_name, registration
from .standins import RUNNER, Origin, Record, Skeleton
from .state import is_a, is_of_dataclasses, namespace_of, set_state, slots_of
from .trust import fields_of, is_return_type

_MISSING = object()


@dataclass(frozen=True, slots=True)
class Built:
    """What was put together, and every module in it: those of the file, outermost first, and those added to them."""

    obj: Any
    modules: list[torch.nn.Module]


def build(
    document: Document,
    start: Value,
    tensors: Mapping[int, torch.Tensor],
    audit: Audit,
    *,
    device: torch.device | None = None,
    dtype: torch.dtype | None = None,
) -> Built:
    """Put together what `start` leads to.

    Args:
        document: a checked Document.
        start: the part that is wanted.
        tensors: its tensors, by row of the table.
        audit: what an audit of this part opened.
        device: where what is not initialized yet will be, and what migrations add is.
        dtype: what of these is floating-point becomes; None leaves it as it is.

    Raises:
        FormatError: the nodes describe what cannot exist, such as a tuple that holds itself.
        LoadError: a migration or a `__setstate__` raised, or a migration left what a class cannot hold.
    """
    builder = _Builder(document, tensors, audit, device or torch.device("cpu"), dtype)
    obj = builder.build(start)
    return Built(obj, [*(made for made in builder.made.values() if is_a(made, torch.nn.Module)), *builder.added])


@dataclass(slots=True)
class _Builder:
    document: Document
    tensors: Mapping[int, torch.Tensor]
    audit: Audit
    device: torch.device
    dtype: torch.dtype | None
    made: dict[int, Any] = field(default_factory=dict)
    finished: set[int] = field(default_factory=set)
    whole: set[int] = field(default_factory=set)
    attributed: dict[int, None] = field(default_factory=dict)
    waiting: dict[int, list[int]] = field(default_factory=dict)
    unseen: dict[int, Iterator[TensorRef | Ref]] = field(default_factory=dict)
    checked: Counter[int] = field(default_factory=Counter)
    modules: list[tuple[Typed, torch.nn.Module]] = field(default_factory=list)
    schedulers: list[torch.optim.lr_scheduler.LRScheduler] = field(default_factory=list)
    migrated: list[Any] = field(default_factory=list)
    added: list[torch.nn.Module] = field(default_factory=list)

    def build(self, start: Value) -> Any:
        document = self.document
        entered: set[int] = set()
        attributes = document.tensors.attributes
        stack: list[tuple[TensorRef | Ref, bool]] = []
        if isinstance(start, TensorRef | Ref):
            stack.append((start, False))
        while stack:
            value, leaving = stack.pop()
            if isinstance(value, TensorRef):
                if value.index not in self.attributed and isinstance(held := attributes.get(value.index), Ref):
                    self.attributed[value.index] = None
                    stack.append((held, False))
                continue
            position = value.index
            if leaving:
                self._leave(position)
                continue
            if position in entered:
                continue
            entered.add(position)
            node = document.nodes[position]
            if (shell := self._shell(node)) is not _MISSING:
                self.made[position] = shell
            stack.append((value, True))
            below = (child for child in reversed(children(node)) if type(child) is Ref or child.index in attributes)
            stack.extend((child, False) for child in below)
        if self.waiting:
            position = next(iter(self.waiting.values()))[0]
            raise FormatError(f"node {position} of the document holds itself", clause="V-4")
        if self.migrated:
            self._settle()
        for node, module in self.modules:
            opened = self.audit.opened.get((node.text("class"), "module"))
            restore(module, named=opened is None or opened.how != "imported")
            if "lazy" in node.fields:
                make_lazy(module)
            self._put_on(node, module)
        if self.audit.taken == "program":
            require_trees(self.made.values())
        for scheduler in self.schedulers:
            _count_steps(scheduler)
        for row in self.attributed:  # last, since they may lead back to their tensor
            vars(self.tensors[row]).update(self._value(attributes[row]))
        return self._value(start)

    def _settle(self) -> None:
        """What migrations added goes where the load goes, and what they took away is told of its optimizer."""
        came = [*self.tensors.values(), *self.made.values()]
        additions = Additions(self.device, self.dtype, frozenset(map(id, came)))
        for obj in self.migrated:
            additions.settle(obj)
        self.added = additions.modules
        self.audit.findings += left_behind(self.document, self.made, self.tensors)

    def _put_on(self, node: Typed, module: torch.nn.Module) -> None:
        """The hooks that compute attributes of a module, once all that they need is there."""
        if (hooks := self._value(node.fields.get("computed"))) and (left := put_on(module, hooks)):
            names = ", ".join(map(brief_text, left))
            message = f"{node.text('class')} came back with {names} pruned once and for all: a method did not open."
            self.audit.findings.append(Finding("hooks", "warning", "", message))

    def _leave(self, position: int) -> None:
        """Finish a node, and then those that waited for it; or let it wait for a child that is not there yet."""
        ready = [position]
        while ready:
            current = ready.pop()
            if (missing := self._missing(current)) is not None:
                self.waiting.setdefault(missing, []).append(current)
                continue
            self._finish(current)
            self.finished.add(current)
            ready += self.waiting.pop(current, ())

    def _missing(self, position: int) -> int | None:
        """The first child that a node still has to wait for; what was there before is not looked at again."""
        node = self.document.nodes[position]
        if position not in self.unseen:
            self.unseen[position] = iter(children(node))
        for child in self.unseen[position]:
            if isinstance(child, Ref) and not self._is_there(child.index, node):
                self.unseen[position] = chain((child,), self.unseen[position])
                return child.index
        del self.unseen[position]
        return None

    def _is_there(self, position: int, holder: Node) -> bool:
        """Whether a child can be referred to; a dict in a field, and what a class derives from, have to be complete."""
        own = isinstance(holder, Typed) and (holder.kind == "derived" or isinstance(self.document.nodes[position], Map))
        return position in self.finished if own else position in self.made

    def _value(self, value: Value) -> Any:
        if isinstance(value, TensorRef):
            return self.tensors[value.index]
        if isinstance(value, Ref):
            return self.made[value.index]
        return value

    def _shell(self, node: object) -> Any:
        """The empty object of a mutable node; _MISSING for an immutable one."""
        if isinstance(node, Map):
            return {}
        if isinstance(node, Seq):
            return [] if node.kind == "list" else set() if node.kind == "set" else _MISSING
        if isinstance(node, Opaque):
            return Record(node.what, {})
        assert isinstance(node, Typed)
        if node.kind == "OrderedDict":
            return OrderedDict()
        if node.kind in library.SHELLS:
            return library.SHELLS[node.kind](node)
        if node.kind == "derived":
            return self._shell_of_derived(node)
        if node.kind == "torch.uninitialized":
            return make_uninitialized(node, self.device, self.dtype)
        if node.kind in ("module", "object", "optimizer"):
            cls = self.audit.of(node)
            if self.audit.taken == "program" and "program" in node.fields:
                cls = ProgramModule
            if cls is None:
                cls = Skeleton if node.kind == "module" else Record
            try:
                return object.__new__(cls)
            except TypeError as error:
                raise LoadError(f"{node.text('class')} cannot be made: {error}. Nothing was loaded.") from error
        return _MISSING

    def _shell_of_derived(self, node: Typed) -> Any:
        """The empty object of a container that can change, of its class or else of what that derives from."""
        base = _type_of(self.document, node.fields["value"])
        cls = self.audit.of(node)
        if cls is not None and (now := builtin_of(cls)) is not base:
            raise ChangedClassError(
                f"{node.text('class')} derived from {base.__name__} when it was saved, and {class_name(cls)} derives "
                f"from {now.__name__ if now else 'none'}. Nothing was loaded. Without the class it comes back as a "
                f"{base.__name__}."
            )
        shell = shell_of(base if cls is None else cls)
        return _MISSING if shell is None else shell

    def _finish(self, position: int) -> None:
        """Fill or make the object of a node whose children are there."""
        node = self.document.nodes[position]
        shell = self.made.get(position, _MISSING)
        try:
            if isinstance(node, Map):
                _require_hashes(map(self._value, node.keys), len(node.keys))
                shell.update(zip(map(self._value, node.keys), map(self._value, node.values), strict=True))
                if len(shell) != len(node.keys):
                    raise FormatError("a key stands twice in a map", clause="V-3")
            elif isinstance(node, Seq):
                self._finish_sequence(node, position, shell)
            elif isinstance(node, Typed):
                fields = {name: self._value(value) for name, value in node.fields.items()}
                if node.kind in HOOK_KINDS:
                    opened = self.audit.of(node) if node.kind == "pruning_method" else None
                    self.made[position] = Hook(node.kind, fields, opened)
                elif shell is _MISSING:
                    self.made[position] = self._immutable(node, fields)
                elif node.kind in library.FILL:
                    library.FILL[node.kind](shell, fields)
                else:
                    _FILL[node.kind](self, node, shell, fields)
        except LoadError:
            raise
        except Exception as error:
            what = str(node.fields.get("class", node.kind) if isinstance(node, Typed) else type(node).__name__)
            raise LoadError(
                f"{what} could not be put together: {type(error).__name__}: {error}. Nothing was loaded."
            ) from error

    def _finish_sequence(self, node: Seq, position: int, shell: Any) -> None:
        items = [self._value(item) for item in node.items]
        if node.kind in ("set", "frozenset"):
            _require_hashes(items, len(items))
        if node.kind == "list":
            shell.extend(items)
        elif node.kind == "set":
            shell.update(items)
        elif node.kind == "tuple":
            shell = self.made[position] = tuple(items)
        else:
            shell = self.made[position] = frozenset(items)
        if len(shell) != len(items):
            raise FormatError("an element stands twice in a set", clause="V-3")

    # --- immutable kinds ---

    def _immutable(self, node: Typed, fields: dict[str, Any]) -> Any:
        if node.kind in ("function", "class"):
            found = self.audit.of(node)
            return Record(node.text("name"), {}) if found is None else found
        if node.kind == "custom":
            cls = self.audit.of(node)
            known = registration(cls) if cls is not None else None
            if known is None or known.decode is None:
                return Record(node.text("class"), {"state": fields["state"]})
            self._require_whole(node)
            made = known.decode(fields["state"])
            if not is_a(made, known.cls):
                raise LoadError(
                    f"the decode that was registered for {node.text('class')} made a {type(made).__name__} of its "
                    "state. Nothing was loaded. Correct it: decode gives an object of the class."
                )
            return made
        if node.kind == "method":
            return self._method(node, fields["self"], fields["name"])
        if (own := _MADE_HERE.get(node.kind)) is not None:
            return own(self, node, fields)
        if node.kind == "program":
            return runner_of(self.document, node, fields) if self.audit.taken == "program" else None
        if node.kind == "numpy.ndarray":
            return arrays.make_array(fields, self.checked)
        if node.kind in generators.MAKE:
            return generators.make(node.kind, fields)
        if node.kind in library.MAKE:
            return library.make(node.kind, fields)
        return _IMMUTABLE[node.kind](fields)

    def _require_whole(self, node: Typed) -> None:
        """A `decode` reads all of its state: everything that it leads to has to be there, and complete."""
        waiting, met = list(children(node)), set()
        while waiting:
            child = waiting.pop()
            if not isinstance(child, Ref) or child.index in self.whole or child.index in met:
                continue
            if child.index not in self.finished:
                raise LoadError(
                    f"the state of an object of {node.text('class')} leads back to the object, and its decode needs "
                    "all of it. Nothing was loaded."
                )
            met.add(child.index)
            waiting.extend(children(self.document.nodes[child.index]))
        self.whole |= met

    def _record(self, node: Typed, attributes: dict[str, Any]) -> Record:
        """What stands in for a value of a class that did not open, and can be saved in its place."""
        name = node.text("class")
        return Record(name, attributes, kind=node.kind, info=self.document.classes.get(name))

    def _derived(self, node: Typed, fields: dict[str, Any], shell: Any = None) -> Any:
        cls = self.audit.of(node)
        value = fields["value"]
        if cls is None:
            return filled(type(value), shell, value, {})
        state = ModuleState(dict(fields.get("attributes", {})))
        migrated = migrate(self.document, node.text("class"), cls, state)  # what `__init__` assigns may be items
        made = filled(cls, shell, value, state.attributes)
        self.migrated += [made] if migrated else []
        return made

    def _namedtuple(self, node: Typed, fields: dict[str, Any]) -> Any:
        """Made as the tuple that it is, past what its class would do about it; a Record of its fields, otherwise."""
        names, items, cls = fields["names"], fields["items"], self.audit.of(node)
        if len(names) != len(items) or len(set(names)) != len(names) or not all(map(_is_field, names)):
            raise FormatError(f"a namedtuple with the names {brief(names)} of {len(items)} items", clause="K-5")
        if cls is None:
            return self._record(node, dict(zip(names, items, strict=True)))
        if fields_of(cls) != names:
            raise ChangedClassError(
                f"{node.text('class')} had the fields {', '.join(names)} when it was saved, and {class_name(cls)} has "
                f"{', '.join(fields_of(cls) or ())}. Nothing was loaded. Without the class it comes back as a Record."
            )
        if issubclass(cls, torch.nn.utils.rnn.PackedSequence):
            require_packed(items)
        return cls(items) if is_return_type(cls) else tuple.__new__(cls, items)

    def _partial(self, node: Typed, fields: dict[str, Any]) -> Any:
        """A partial; a Record where its function did not open, or is a data type that might make anything of these."""
        function, args, keywords = fields["function"], fields["args"], fields["keywords"]
        name = data_table.name_of(function)
        if callable(function) and (name is None or data_table.is_small_call(function, args, keywords)):
            return functools.partial(function, *args, **keywords)
        message = f"a partial of {name or 'what did not open'} came back as an inert Record, which cannot be called."
        self.audit.findings.append(Finding("record", "warning", "", message))
        return Record("functools.partial", fields)

    def _zone(self, node: Typed, fields: dict[str, Any]) -> Any:
        """A time zone by this machine's rules; a Record where it has none, and of each time in it."""
        if (zone := library.make_zone(fields["key"])) is not None:
            return zone
        message = (
            f"{brief_text(fields['key'])} came back as an inert Record, as does each time in it: no such zone here."
        )
        self.audit.findings.append(
            Finding("record", "warning", "", message, "To have them, install the time zones: pip install tzdata.")
        )
        return Record("zoneinfo:ZoneInfo", fields)

    def _generator(self, node: Typed, fields: dict[str, Any]) -> Any:
        """A generator in the state that it was in; a Record where this machine does not have its device."""
        device, state = fields["device"], fields["state"]
        try:
            generator = torch.Generator(device)
        except RuntimeError:
            message = (
                f"a torch.Generator on {brief_text(device)} came back as an inert Record: there is no such device here."
            )
            self.audit.findings.append(Finding("record", "warning", "", message))
            return Record("torch:Generator", fields)
        if generator.device.type == "cpu" and not _is_mersenne_twister(state):
            raise FormatError("no state of a generator on the CPU", clause="K-5")
        try:
            generator.set_state(torch.frombuffer(bytearray(state), dtype=torch.uint8))
        except (RuntimeError, TypeError, ValueError) as error:
            raise FormatError(f"no state of a generator on {device}: {error}", clause="K-5") from error
        return generator

    def _tensor(self, node: Typed, fields: dict[str, Any]) -> Any:
        """A tensor that is a node. Of a subclass that did not open: a Record, or the plain tensor that it views."""
        if node.kind not in ROLES:
            return tensor_kinds.make(node.kind, fields, self.device)
        if (cls := self.audit.of(node)) is not None:
            return tensor_kinds.make_of(cls, node.kind, fields)
        return tensor_kinds.plain(fields) if node.kind == "tensor_subclass" else Record(node.text("class"), fields)

    def _enum(self, node: Typed, fields: dict[str, Any]) -> Any:
        """A member that is there already. A flag of several may be new: its class makes it only if it was named."""
        names: tuple[str, ...] = fields["members"]
        rest: int = fields.get("rest", 0)
        if len(set(names)) != len(names):
            raise FormatError(f"an enum whose members {brief(names)} are there twice", clause="K-5")
        if "rest" in fields and not 0 < rest < 2**MAX_FLAG_NBITS:
            raise FormatError(f"a flag with {brief(rest)} more than its members", clause="K-5")
        cls = self.audit.of(node)
        record = self._record(node, {name: value for name, value in fields.items() if name != "class"})
        if cls is None:
            return record
        members = vars(cls)["_member_map_"]
        if absent := [name for name in names if name not in members]:
            raise ChangedClassError(
                f"{class_name(cls)} has no member {', '.join(absent)}, which the file needs. Nothing was loaded. "
                "Add it, or have it back as a Record: do not pass the class."
            )
        if len(names) == 1 and not rest:
            return members[names[0]]
        values = [object.__getattribute__(members[name], "_value_") for name in names]
        if not issubclass(cls, enum.Flag) or not all(type(value) is int for value in values):
            raise FormatError(f"{len(names)} members of {class_name(cls)}, which is no Flag", clause="K-5")
        value = functools.reduce(int.__or__, values, rest)
        if value in vars(cls)["_value2member_map_"]:
            return vars(cls)["_value2member_map_"][value]
        if self.audit.opened[node.text("class"), "enum"].how == "named" or _is_plain_flag(cls):
            return self._flag(node, cls, value)
        message = f"members of {node.text('class')} came back as an inert Record: joining them runs code of the class."
        self.audit.findings.append(
            Finding("record", "warning", "", message, f"To run it, pass classes=[{in_code(class_name(cls))}].")
        )
        return record

    def _flag(self, node: Typed, cls: type[enum.Flag], value: int) -> Any:
        """A flag that is none of the members, made by its class."""
        try:
            made: Any = cls(value)
        except ValueError:
            made = None
        if not is_a(made, cls) or object.__getattribute__(made, "_value_") != value:
            raise ChangedClassError(
                f"{node.text('class')} kept bits that no member has when it was saved, and {class_name(cls)} does not. "
                "Nothing was loaded. Add members for them, or have it back as a Record: do not pass the class."
            )
        return made

    def _method(self, node: Typed, owner: torch.nn.Module, name: str) -> Any:
        """A bound method of a class that the caller named; for a skeleton a Record, otherwise."""
        of = self.document.node(node.fields["self"])
        opened = self.audit.opened.get((of.text("class"), "module")) if isinstance(of, Typed) else None
        base = owner_of(type(owner), name)
        if opened is None or opened.how != "named" or base is None:
            return Record(f"method {name}", {})
        return types.MethodType(vars(base)[name], owner)

    # --- mutable kinds ---

    def _fill_ordered_dict(self, node: Typed, shell: OrderedDict[Any, Any], fields: dict[str, Any]) -> None:
        shell.update(fields["items"])
        vars(shell).update(fields.get("attributes", {}))

    def _fill_uninitialized(self, node: Typed, shell: torch.Tensor, fields: dict[str, Any]) -> None:
        vars(shell).update(fields.get("attributes", {}))

    def _fill_object(self, node: Typed, shell: Any, fields: dict[str, Any]) -> None:
        if is_a(shell, Record):
            info = self.document.classes.get(node.text("class"))
            Record.__init__(shell, node.text("class"), fields["attributes"], kind=node.kind, info=info)
            return
        state = ModuleState(dict(fields["attributes"]))
        self._migrate(node, shell, state)
        self._set_state(shell, state.attributes)
        if is_a(shell, torch.optim.lr_scheduler.LRScheduler):
            self.schedulers.append(shell)

    def _fill_derived(self, node: Typed, shell: Any, fields: dict[str, Any]) -> None:
        self._derived(node, fields, shell)

    def _fill_module(self, node: Typed, shell: torch.nn.Module, fields: dict[str, Any]) -> None:
        state = ModuleState(
            attributes=dict(fields.get("attributes", {})),
            parameters=dict(fields.get("parameters", {})),
            buffers=dict(fields.get("buffers", {})),
            modules=dict(fields.get("modules", {})),
            non_persistent=set(fields.get("non_persistent", ())),
        )
        for owned in (state.parameters, state.buffers):  # a tensor whose class did not open is none
            for name in [name for name, held in owned.items() if is_a(held, Record)]:
                state.attributes[name] = owned.pop(name)
        if is_a(shell, Skeleton):
            name = node.text("class")
            kept: dict[str, Any] = {
                field: fields[field] for field in ("hooks", "direct", "extra_state") if field in fields
            }
            complete = fields.keys().isdisjoint(("computed", "lazy"))
            state.attributes["(class)"] = name
            state.attributes["(origin)"] = Origin(self.document.classes.get(name), kept, complete)
            if is_a(shell, ProgramModule):
                state.attributes[RUNNER] = fields["program"]
        else:
            self._migrate(node, shell, state)
        whole = vars(torch.nn.Module()) | {
            "training": fields["training"],
            "_parameters": state.parameters,
            "_buffers": state.buffers,
            "_modules": state.modules,
            "_non_persistent_buffers_set": state.non_persistent,
        }
        if is_direct(node, type(shell)):
            set_state(shell, whole | state.attributes)
        else:
            self._set_state(shell, whole | state.attributes)
        if not is_a(shell, Skeleton):
            self.modules.append((node, shell))
        if "extra_state" in fields and not is_a(shell, Skeleton):
            self._set_extra_state(node, shell, fields["extra_state"])

    def _migrate(self, node: Typed, obj: Any, state: ModuleState) -> None:
        """Bring a state to the version of today's class, and note the object that will have it."""
        name = node.text("class")
        if migrate(self.document, name, type(obj), state):
            require_complete(type(obj), name, state, computed_names(self.document, node))
            self.migrated.append(obj)

    def _set_extra_state(self, node: Typed, module: torch.nn.Module, extra: Any) -> None:
        """Hand the extra state back, to a method of torch's or of a class that the caller named."""
        owner = owner_of(type(module), "set_extra_state")
        if owner is None or owner is torch.nn.Module:
            return
        opened = self.audit.opened[node.text("class"), "module"]
        if opened.how == "imported":
            name = in_code(class_name(type(module)))
            message = f"the extra state of {node.text('class')} was not handed to its set_extra_state."
            self.audit.findings.append(
                Finding("extra-state", "warning", "", message, f"To run it, pass classes=[{name}].")
            )
            return
        module.set_extra_state(extra)

    def _fill_optimizer(self, node: Typed, shell: Any, fields: dict[str, Any]) -> None:
        if is_a(shell, Record):
            Record.__init__(shell, node.text("class"), fields)
            return
        state: defaultdict[Any, Any] = defaultdict(dict, fields["state"])
        attributes = dict(fields.get("attributes", {}))
        owned = {"defaults": fields["defaults"], "state": state, "param_groups": fields["param_groups"]}
        shell.__setstate__(attributes | owned)

    def _set_state(self, shell: Any, state: dict[str, Any]) -> None:
        """Write the state into `__dict__`, through `__setstate__` where the audit found one that may run."""
        if is_a(shell, torch.nn.RNNBase) and not _is_texts(state.get("_all_weights")):
            raise FormatError("an RNN whose _all_weights are no names", clause="M-3")
        if is_a(shell, torch.nn.RNNBase) and not _is_texts([state.get("_flat_weights_names", ["none"])]):
            raise LoadError("an RNN's _flat_weights_names, which torch compares, are no names. Nothing was loaded.")
        if is_a(shell, torch.nn.RNNBase) and (
            type(state.get("_flat_weights", [])) is not list or "all_weights" in state
        ):
            raise LoadError("an RNN's _flat_weights are no list, or it has all_weights of its own. Nothing was loaded.")
        owner = owner_of(type(shell), "__setstate__")
        if owner is None or is_of_dataclasses(vars(owner)["__setstate__"]):
            set_state(shell, state)
            return
        slots = slots_of(type(shell)) if owner is torch.nn.Module else {}  # any other __setstate__ knows its own
        set_state(shell, {name: value for name, value in state.items() if name in slots})
        shell.__setstate__({name: value for name, value in state.items() if name not in slots})


def _is_plain_flag(cls: type[enum.Flag]) -> bool:
    """Whether members of a flag are joined by Python's own code alone."""
    own = [owner_of(cls, name) for name in ("_missing_", "__init__", "__getattribute__")]
    made = vars(cls).get("_new_member_") in (object.__new__, int.__new__)
    return type(cls) is enum.EnumMeta and made and all(base is None or base.__module__ == "enum" for base in own)


def _is_mersenne_twister(state: bytes) -> bool:
    """Whether what is left of a state begins where the next number is.

    torch checks each of the two by itself and then reads at the second; the layout is that of ``CPUGeneratorImpl``.
    """
    if len(state) < _TWISTER.size:
        return False
    _, left, _, position = _TWISTER.unpack_from(state)
    return (left, position) == (1, 0) or (0 < left <= 624 and left + position == 625)


_TWISTER = struct.Struct("<QiiQ")  # seed, left, seeded, next


def _is_field(name: str) -> bool:
    return name.isidentifier() and not keyword.iskeyword(name) and not name.startswith("_")


def _require_hashes(keys: Iterable[Any], count: int) -> None:
    """Keys chosen to hash alike make a hash table slow: few may."""
    if count > MAX_COLLISIONS and count - len(set(map(hash, keys))) > MAX_COLLISIONS:
        raise LimitError(f"more than {MAX_COLLISIONS} keys of a map have equal hashes")


def _is_texts(value: object) -> bool:
    """Whether a value is a list of lists of strings; RNNBase.__setstate__ counts to `num_layers` otherwise."""
    return type(value) is list and all(
        type(names) is list and names and all(type(name) is str for name in names) for names in value or [None]
    )


def _type_of(document: Document, value: Value) -> type:
    """The builtin that a value comes back as."""
    node = document.node(value)
    if node is None:
        return type(value)
    name = "dict" if isinstance(node, Map) else node.kind if isinstance(node, Seq | Typed) else ""
    return next(builtin for builtin in BUILTINS if builtin.__name__ == name)


_MADE_HERE: dict[str, Callable[[_Builder, Typed, dict[str, Any]], Any]] = {
    "derived": _Builder._derived,
    "namedtuple": _Builder._namedtuple,
    "partial": _Builder._partial,
    "ZoneInfo": _Builder._zone,
    "enum": _Builder._enum,
    "torch.Generator": _Builder._generator,
    **dict.fromkeys(TENSOR_KINDS, _Builder._tensor),
}

_FILL: dict[str, Callable[[_Builder, Typed, Any, dict[str, Any]], None]] = {
    "OrderedDict": _Builder._fill_ordered_dict,
    "torch.uninitialized": _Builder._fill_uninitialized,
    "object": _Builder._fill_object,
    "derived": _Builder._fill_derived,
    "module": _Builder._fill_module,
    "optimizer": _Builder._fill_optimizer,
}


class _Counting(torch.optim.lr_scheduler.LRScheduler):
    """torch's own constructor without a first step: it lets the optimizer note that it was stepped."""

    def _initial_step(self) -> None:
        pass


def _count_steps(scheduler: torch.optim.lr_scheduler.LRScheduler) -> None:
    """Where a scheduler counts its steps, its optimizer's `step` is wrapped, and torch warns of one that is not."""
    state = namespace_of(scheduler)
    optimizer: Any = state.get("optimizer")
    if "_step_count" in state and is_a(optimizer, torch.optim.Optimizer):
        try:
            _Counting(optimizer)
        except Exception as error:
            raise LoadError(
                f"{class_name(type(scheduler))} does not fit its optimizer: {type(error).__name__}: {error}. Nothing "
                "was loaded."
            ) from error


def _one_of_torch(kind: type) -> Callable[[dict[str, Any]], Any]:
    """What torch has under a name that stands in the file: a dtype, a layout, a memory format."""

    def make(fields: dict[str, Any]) -> Any:
        found = vars(torch).get(fields["name"])
        if not isinstance(found, kind):
            what = f"{kind.__name__} {fields['name']!r}"
            raise LoadError(f"torch {torch.__version__} has no {what}. Nothing was loaded.")
        return found

    return make


def _bytes(fields: dict[str, Any]) -> bytes:
    tensor = fields["data"]
    if tensor.dtype != torch.uint8 or tensor.dim() != 1:
        raise FormatError("bytes are not kept as bytes", clause="V-5")
    return bytes(buffer_of(tensor))


def _str(fields: dict[str, Any]) -> str:
    try:
        return _bytes(fields).decode("utf-8", "surrogatepass")
    except UnicodeDecodeError as error:
        raise FormatError(f"a long text is not UTF-8: {error}", clause="V-5") from error


_IMMUTABLE: dict[str, Callable[[dict[str, Any]], Any]] = {
    "torch.Size": lambda fields: torch.Size(fields["dims"]),
    "torch.dtype": _one_of_torch(torch.dtype),
    "torch.memory_format": _one_of_torch(torch.memory_format),
    "torch.layout": _one_of_torch(torch.layout),
    "torch.averaging": averaging.make,
    "numpy.scalar": arrays.make_scalar,
    "numpy.dtype": arrays.make_dtype,
    "torch.device": lambda fields: torch.device(fields["name"]),
    "bytes": _bytes,
    "bytearray": lambda fields: bytearray(_bytes(fields)),
    "str": _str,
    **golden.MAKE,
}
