"""Calls of a model, as a person gives them: what in them are tensors, and how they are written."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Sequence
from typing import Any

import torch

from .model import Argument, Parameter, Value
from .trees import CannotDescribe, described, replaced


class CannotCapture(Exception):
    """Why a module's computation could not be captured, for a finding."""


class CannotSize(CannotCapture):
    """The same, where fewer sizes that vary may help."""


class Example:
    """One call of a model: ``Example(x, mask=m)`` stands for ``model(x, mask=m)``.

    Attributes:
        args: arguments by position.
        kwargs: arguments by name.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.args = args
        self.kwargs = kwargs


def examples_of(example: Any) -> tuple[Example, ...]:
    """The calls that a person means by `example=`: a tuple of arguments, an `Example`, or a list of these.

    Raises:
        TypeError: it is none of them.
    """
    several = example if isinstance(example, list) else [example]
    calls = [Example(*each) if isinstance(each, tuple) else each for each in several]
    if not calls or not all(isinstance(each, Example) for each in calls):
        raise TypeError(
            "example is a tuple of the arguments of a call, such as example=(x,), or torchkeep.Example(x, mask=m), or "
            f"a list of these, not {type(example).__name__}"
        )
    return tuple(calls)


class Signature:
    """How the calls of a model are written, and what in them are tensors."""

    def __init__(self, module: torch.nn.Module, examples: Sequence[Example]) -> None:
        try:
            signature = inspect.signature(module.forward)
        except (TypeError, ValueError) as error:
            raise CannotCapture(f"its forward has no signature that can be read: {error}") from error
        self.bound: list[inspect.BoundArguments] = []
        for example in examples:
            try:
                self.bound.append(signature.bind(*example.args, **example.kwargs))
            except TypeError as error:
                raise CannotCapture(f"the example does not fit forward{signature}: {error}") from error
        self.tensors: list[list[torch.Tensor]] = []
        self.names: list[str] = []
        self.parameters: tuple[Parameter, ...] = ()
        for i, bound in enumerate(self.bound):
            tensors: list[torch.Tensor] = []
            names: list[str] = []
            parameters = tuple(
                _parameter(parameter, bound, tensors, names) for parameter in signature.parameters.values()
            )
            if i and parameters != self.parameters:
                raise CannotCapture("the examples are calls of different forms; give one form, in different sizes")
            self.parameters, self.names = parameters, names
            self.tensors.append(tensors)
        if not self.names:
            raise CannotCapture("the example has no tensor")
        largest = max(range(len(self.tensors)), key=lambda i: sum(tensor.numel() for tensor in self.tensors[i]))
        self.bound.insert(0, self.bound.pop(largest))  # torch takes a size of 1 for one that never varies
        self.tensors.insert(0, self.tensors.pop(largest))
        ranks = {tuple(tensor.ndim for tensor in tensors) for tensors in self.tensors}
        if len(ranks) > 1:
            raise CannotCapture("the examples have tensors of different ranks; give one form, in different sizes")
        if len({tuple(tensor.dtype for tensor in tensors) for tensors in self.tensors}) > 1:
            raise CannotCapture("the examples have tensors of different dtypes; give one form, in different sizes")

    def call(self, module: torch.nn.Module, tensors: Iterable[torch.Tensor]) -> Any:
        """The first example's call, with these tensors in the place of its own."""
        bound, rest = self.bound[0], iter(tensors)
        arguments = {name: replaced(value, rest) for name, value in bound.arguments.items()}
        again = inspect.BoundArguments(bound.signature, arguments)
        return module(*again.args, **again.kwargs)


def _parameter(
    parameter: inspect.Parameter, bound: inspect.BoundArguments, tensors: list[torch.Tensor], names: list[str]
) -> Parameter:
    def leaf(tensor: Any, where: str) -> Argument:
        tensors.append(tensor)
        names.append(where)
        return Value(len(tensors) - 1)  # numbered among the inputs; `merge` gives it its place

    given = parameter.name in bound.arguments
    value: Argument
    try:
        if given:
            value = described(bound.arguments[parameter.name], leaf, parameter.name)
        else:
            default = None if parameter.default is inspect.Parameter.empty else parameter.default
            value = described(default, _refuse_leaf, parameter.name)
    except CannotDescribe as error:
        if given:
            raise CannotCapture(f"of the example, {error}") from error
        value = None
    return Parameter(parameter.name, _KINDS[parameter.kind], value, given)


def _refuse_leaf(tensor: Any, where: str) -> Argument:
    raise CannotDescribe(f"{where} is a tensor")


_KINDS: dict[Any, Any] = {
    inspect.Parameter.POSITIONAL_ONLY: "positional",
    inspect.Parameter.POSITIONAL_OR_KEYWORD: "either",
    inspect.Parameter.KEYWORD_ONLY: "keyword",
    inspect.Parameter.VAR_POSITIONAL: "args",
    inspect.Parameter.VAR_KEYWORD: "kwargs",
}
