"""What one mode computes, read node by node from what `torch.export` gives."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence, Set
from typing import Any, NamedTuple

import sympy  # type: ignore[import-untyped]
import torch

from ..errors import brief, brief_text
from . import resolve
from .examples import CannotCapture
from .model import AUTOCAST, END, GRAD, Argument, Extent, List, OwnDevice, Slice, StateRef, Tuple, Value, rebuilt
from .sizes import Fixed, Sizes
from .trees import is_scalar, scalar_of


class Key(NamedTuple):
    """What a value is before both modes are merged: a tensor of the tree, a constant, an input, or a call's result."""

    kind: str
    number: int


class Link(NamedTuple):
    """A reference to a value, inside of the arguments of a `Step`."""

    key: Key


class Within(NamedTuple):
    """A call of a module: its path, and how often it had been called before."""

    path: str
    nth: int


class Step(NamedTuple):
    """One call, of one mode.

    Attributes:
        op: the operator's name.
        schema: its schema, or "" for one of Python's.
        stack: each module call that it was made in, from the outermost: the module's path, and which of its calls.
        args: what `Argument` is, with `Link` for `Value`.
        kwargs: the same by name.
        defaults: of each argument of the schema, its name, its default as data, and whether it is given by name.
    """

    op: str
    schema: str
    stack: tuple[Within, ...]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    defaults: tuple[tuple[str, Any, bool], ...] = ()


class Seen(NamedTuple):
    """What was seen of the modules while their code ran.

    Attributes:
        called: how often each module was called, by its path, also those that made no call of an operator.
        reads: of each module, by its path, whose `training` flags its code read.
        plain: paths of the modules whose code is torch's own: these decide by nothing else than they read.
        asked: comparisons of sizes that the code made, as sympy has them, and how they came out.
    """

    called: Mapping[str, int]
    reads: Mapping[str, Set[str]]
    plain: Set[str]
    asked: Sequence[tuple[Any, bool]]


class Trace(NamedTuple):
    """What one mode computes.

    Attributes:
        steps: the calls, in order.
        output: what is returned, with `Link` for `Value`.
        shapes: what the inputs' sizes have to be.
        guards: what else has to be true of them.
        fixed: sizes that were to vary, and the code made do with one.
        seen: of the modules, while their code ran.
    """

    steps: list[Step]
    output: Any
    shapes: list[tuple[Extent | None, ...]]
    guards: list[Extent]
    fixed: list[Fixed]
    seen: Seen


class Shared:
    """Tensors that the computation uses, in both modes."""

    def __init__(self) -> None:
        self.state: dict[StateRef, int] = {}
        self.constants: list[torch.Tensor] = []
        self.buffers: set[int] = set()

    def copy(self) -> Shared:
        """The same, to add to: what an attempt that fails found is of no use."""
        made = Shared()
        made.state, made.constants, made.buffers = dict(self.state), list(self.constants), set(self.buffers)
        return made

    def constant(self, tensor: torch.Tensor) -> Key:
        """The number of a constant; one with the same bits is the same."""
        for number, known in enumerate(self.constants):
            if known is tensor or _same_bits(known, tensor):
                return Key("constant", number)
        self.constants.append(tensor)
        return Key("constant", len(self.constants) - 1)


def _same_bits(a: torch.Tensor, b: torch.Tensor) -> bool:
    if a.dtype != b.dtype or a.shape != b.shape or a.device != b.device or a.layout != b.layout:
        return False
    if a.layout != torch.strided or a.numel() > _COMPARED:
        return False
    return a.detach().cpu().contiguous().numpy(force=True).tobytes() == (
        b.detach().cpu().contiguous().numpy(force=True).tobytes() if a.dtype in _NUMPY else b""
    )


_COMPARED = 4096
_NUMPY = frozenset({torch.float32, torch.float64, torch.int64, torch.int32, torch.bool, torch.uint8, torch.float16})


_DROPPED = frozenset(
    {
        "aten._assert_tensor_metadata.default",
        "aten._assert_scalar.default",
        "aten._assert_async.msg",
        "aten._assert_async.default",
        "aten.sym_constrain_range.default",
        "aten.sym_constrain_range_for_size.default",
        "aten._check_tensor_all.default",
    }
)
"""What torch asserts of its own; sizes are checked when the program is called."""

_SAME_AS = {"aten.lift_fresh_copy.default": "aten.clone.default", "aten.lift_fresh.default": "aten.clone.default"}


class Reader:
    """One exported program, node by node."""

    def __init__(self, program: Any, output: Any, shared: Shared) -> None:
        self._program = program
        self._output = output
        self._shared = shared
        self._steps: list[Step] = []
        self._links: dict[torch.fx.Node, Any] = {}
        self._squeezed: list[tuple[Any, bool]] = []
        self._device = self._own_device()

    def trace(self, seen: Seen) -> Trace:
        """What the program computes."""
        graph = self._program.graph_module
        inputs = self._placeholders()
        returned = self._run(graph, ())
        output = _linked(self._output, returned)
        sizes = Sizes([node.meta["val"] for node in inputs], [*seen.asked, *self._squeezed])
        return Trace(self._steps, output, sizes.shapes, sizes.guards, sizes.fixed, seen)

    def _own_device(self) -> torch.device | None:
        tensors = [*self._program.state_dict.values(), *self._program.constants.values()]
        devices = {tensor.device for tensor in tensors if isinstance(tensor, torch.Tensor)}
        if not devices:
            devices = {
                node.meta["val"].device
                for node in self._program.graph.nodes
                if node.op == "placeholder" and isinstance(node.meta.get("val"), torch.Tensor)
            }
        return devices.pop() if len(devices) == 1 else None

    def _placeholders(self) -> list[torch.fx.Node]:
        kinds = torch.export.graph_signature.InputKind
        nodes = [node for node in self._program.graph.nodes if node.op == "placeholder"]
        inputs: list[torch.fx.Node] = []
        for node, spec in zip(nodes, self._program.graph_signature.input_specs, strict=True):
            if spec.kind in (kinds.PARAMETER, kinds.BUFFER):
                path, _, name = spec.target.removeprefix("model.").rpartition(".")
                row = self._shared.state.setdefault(StateRef(path, name), len(self._shared.state))
                if spec.kind is kinds.BUFFER:
                    self._shared.buffers.add(row)
                self._links[node] = Link(Key("state", row))
            elif spec.kind is kinds.CONSTANT_TENSOR:
                self._links[node] = Link(self._shared.constant(self._program.constants[spec.target]))
            elif spec.kind is kinds.USER_INPUT:
                self._links[node] = Link(Key("input", len(inputs)))
                inputs.append(node)
            else:
                raise CannotCapture(f"it uses {brief(spec.target)}, an object of a kind that no program holds")
        return inputs

    def _run(self, graph: Any, outer: tuple[Within, ...]) -> list[Any]:
        """Read one graph; what it returns."""
        for node in graph.graph.nodes:
            if node.op == "call_function":
                self._call(node, graph, outer)
            elif node.op == "get_attr":
                self._links[node] = _attribute(graph, node.target)
            elif node.op == "output":
                return [self._argument(value) for value in node.args[0]]
        raise CannotCapture("its graph has no output")

    def _call(self, node: torch.fx.Node, graph: Any, outer: tuple[Within, ...]) -> None:
        stack = _stack(node) or outer
        target: Any = node.target
        kind = getattr(target, "__name__", "")
        if isinstance(target, torch._ops.HigherOrderOperator):
            self._region(node, kind, stack)
        elif target is operator.getitem and isinstance(inner := self._links.get(node.args[0]), list):  # type: ignore[arg-type]
            self._links[node] = inner[node.args[1]]  # type: ignore[index]
        else:
            name = resolve.name_of(target)
            if name is not None:
                self._step(node, name, stack)
            elif str(target) in _SAME_AS:
                self._step(node, _SAME_AS[str(target)], stack)
            elif str(target) in _DROPPED:
                self._links[node] = None
            elif plain := _without_out(node):
                self._into_out(node, plain, stack)
            else:
                raise CannotCapture(
                    f"it uses {target}, which is not among the operators that a file may name{_line(node)}"
                )

    def _squeeze(self, node: torch.fx.Node) -> None:
        """Sizes that vary and would be taken away if they were 1: then the code would see another number of sizes."""
        shape = node.args[0].meta["val"].shape  # type: ignore[union-attr]
        dims = node.args[1] if len(node.args) > 1 else range(len(shape))
        for d in [dims] if isinstance(dims, int) else dims:  # type: ignore[union-attr]
            if isinstance(size := shape[d], torch.SymInt):
                self._squeezed.append((sympy.Eq(size.node.expr, 1), False))

    def _step(self, node: torch.fx.Node, name: str, stack: tuple[Within, ...]) -> None:
        if name.startswith("aten.squeeze"):
            self._squeeze(node)
        args, kwargs = _normalised(node.target, node.args, node.kwargs)
        schema = getattr(node.target, "_schema", "")
        self._emit(
            node,
            Step(
                name,
                str(schema),
                stack,
                tuple(self._argument(arg) for arg in args),
                {key: self._argument(value) for key, value in kwargs.items()},
                _defaults(schema),
            ),
        )

    def _into_out(self, node: torch.fx.Node, plain: torch._ops.OpOverload, stack: tuple[Within, ...]) -> None:
        """What writes its result into a tensor that it is given: made, and then copied there."""
        name = resolve.name_of(plain)
        if name is None:
            raise CannotCapture(
                f"it uses {node.target}, which is not among the operators that a file may name{_line(node)}"
            )
        kwargs = {key: value for key, value in node.kwargs.items() if key != "out"}
        args, kwargs = _normalised(plain, node.args, kwargs)
        self._emit(
            None,
            Step(
                name,
                str(plain._schema),
                stack,
                tuple(map(self._argument, args)),
                {key: self._argument(value) for key, value in kwargs.items()},
                _defaults(plain._schema),
            ),
        )
        made = Link(Key("step", len(self._steps) - 1))
        copy = torch.ops.aten.copy_.default._schema
        into = self._argument(node.kwargs["out"])
        self._emit(node, Step("aten.copy_.default", str(copy), stack, (into, made, False), {}, _defaults(copy)))

    def _emit(self, node: torch.fx.Node | None, step: Step) -> None:
        self._steps.append(step)
        if node is not None:
            self._links[node] = Link(Key("step", len(self._steps) - 1))

    def _region(self, node: torch.fx.Node, kind: str, stack: tuple[Within, ...]) -> None:
        """A part that runs under another setting: written out in place, between its begin and its end."""
        if kind == "wrap_with_set_grad_enabled":
            enabled, inner, *given = node.args
            begin = Step(GRAD, "", stack, (enabled,), {})
        elif kind == "wrap_with_autocast":
            device_type, dtype, enabled, cached, inner, *given = node.args
            own = self._device is not None and device_type == self._device.type
            device: Argument = OwnDevice() if own else str(device_type)
            begin = Step(AUTOCAST, "", stack, (device, scalar_of(dtype), enabled, cached), {})
        else:
            raise CannotCapture(f"it uses {kind}, a region that no program holds{_line(node)}")
        graph = self._links[inner]  # type: ignore[index]
        places = [each for each in graph.graph.nodes if each.op == "placeholder"]
        for place, value in zip(places, given, strict=True):
            self._links[place] = self._argument(value)
        self._emit(None, begin)
        self._links[node] = self._run(graph, stack)
        self._emit(None, Step(END, "", stack, (), {}))

    def _argument(self, value: Any) -> Any:
        if isinstance(value, torch.fx.Node):
            return self._links[value]
        if isinstance(value, torch.device):
            return OwnDevice() if value == self._device else scalar_of(value)
        if isinstance(value, list | tuple):
            items = tuple(self._argument(item) for item in value)
            return List(items) if isinstance(value, list) else Tuple(items)
        if isinstance(value, slice):
            ends = tuple(self._argument(end) for end in (value.start, value.stop, value.step))
            return Slice(*ends)
        if not is_scalar(value):
            raise CannotCapture(f"it gives {brief_text(repr(value), length=60)} to an operator, which is no data")
        return scalar_of(value)


def _without_out(node: torch.fx.Node) -> torch._ops.OpOverload | None:
    """The overload that gives what this one writes into ``out``, where that is of the result's shape and dtype."""
    target, out = node.target, node.kwargs.get("out")
    if not isinstance(target, torch._ops.OpOverload) or not isinstance(out, torch.fx.Node):
        return None
    wanted = [each for each in target._schema.arguments if each.name != "out"]
    for name in target.overloadpacket.overloads():
        plain = getattr(target.overloadpacket, name)
        own = plain._schema.arguments
        if len(own) == len(wanted) and all(
            a.name == b.name and str(a.type) == str(b.type) for a, b in zip(own, wanted, strict=True)
        ):
            kwargs = {key: value for key, value in node.kwargs.items() if key != "out"}
            made = plain(*_values(node.args), **_values(kwargs))
            into = out.meta["val"]
            same = isinstance(made, torch.Tensor) and made.shape == into.shape and made.dtype == into.dtype
            return plain if same else None
    return None


def _values(obj: Any) -> Any:
    """Arguments of a node with the fake tensors that torch has for other nodes."""
    return torch.fx.node.map_arg(obj, lambda node: node.meta["val"])


def _normalised(target: Any, args: Any, kwargs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Arguments with every default filled in, so that both modes' calls of one operator have as many."""
    args, kwargs = list(args), dict(kwargs)
    if isinstance(target, torch._ops.OpOverload):
        for i, argument in enumerate(target._schema.arguments):
            if i < len(args):
                continue
            value = kwargs.pop(argument.name, argument.default_value)
            if argument.kwarg_only:
                kwargs[argument.name] = value
            else:
                args.append(value)
    return tuple(args), kwargs


def _defaults(schema: Any) -> tuple[tuple[str, Any, bool], ...]:
    return tuple(
        (each.name, _as_data(each.default_value) if each.has_default_value() else _NO_DEFAULT, each.kwarg_only)
        for each in (schema.arguments if schema else ())
    )


_NO_DEFAULT = object()


def _as_data(value: Any) -> Any:
    """A default of a schema as an argument."""
    if isinstance(value, list | tuple):
        return List(tuple(map(_as_data, value)))
    return scalar_of(value) if is_scalar(value) else _NO_DEFAULT


def _attribute(graph: Any, target: Any) -> Any:
    for part in str(target).split("."):
        graph = getattr(graph, part)
    if not isinstance(graph, torch.fx.GraphModule):
        raise CannotCapture(f"it uses {brief(target)}, an object of a kind that no program holds")
    return graph


def _linked(argument: Any, returned: list[Any]) -> Any:
    """The output's description, with what the graph returns in the place of numbered leaves."""
    if isinstance(argument, Value):
        return returned[argument.number]
    return rebuilt(argument, lambda each: _linked(each, returned))


def _stack(node: torch.fx.Node) -> tuple[Within, ...]:
    """The module calls that a node was made in; () where torch does not say."""
    stack = node.meta.get("nn_module_stack") or {}
    if any(key.startswith("_empty") for key in stack):
        return ()
    found: list[Within] = []
    for key, (path, _) in stack.items():
        if path == "model" or path.startswith("model."):
            nth = key.rpartition("@")[2] if "@" in key else "0"
            found.append(Within(path.removeprefix("model").removeprefix("."), int(nth) if nth.isdigit() else 0))
    return tuple(found)


def _line(node: torch.fx.Node) -> str:
    """Where the program's code made a call, as far as torch tells."""
    trace = node.meta.get("stack_trace") or ""
    lines = [line.strip() for line in trace.splitlines() if line.strip().startswith("File ")]
    own = [line for line in lines if "/torch/" not in line]
    return f", in {brief_text(own[-1])}" if own else ""
