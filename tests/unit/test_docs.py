"""The code that people copy runs: README, the page on plug-ins, and the examples in docstrings."""

from __future__ import annotations

import doctest
import inspect
import re
import sys
import types
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import torchkeep
from torchkeep.containers import registry as containers
from torchkeep.storage import registry as storages
from torchkeep.testing import ContainerSuite, StorageSuite, TypeSuite
from torchkeep.values import registry

ROOT = Path(__file__).parents[2]


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[types.ModuleType]:
    """A module to run code in, in a folder of its own, with registries that are put back."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(registry, "_by_class", dict(registry._by_class))
    monkeypatch.setattr(storages, "_storages", {})
    monkeypatch.setattr(containers, "_containers", {})
    module = types.ModuleType("mytool")
    monkeypatch.setitem(sys.modules, "mytool", module)
    return module


def blocks(path: Path) -> list[tuple[int, str]]:
    """Python code of a page: (line, text) each."""
    text = path.read_text(encoding="utf-8")
    found = re.finditer(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [(text.count("\n", 0, block.start()) + 2, block[1]) for block in found]


def run(path: Path, program: types.ModuleType) -> int:
    """Run a page's code from top to bottom; how many blocks there were."""
    found = blocks(path)
    for line, text in found:
        exec(compile("\n" * (line - 1) + text, str(path), "exec"), vars(program))
    return len(found)


READER = """
import torch, torchkeep
class Tokens(tuple):
    from_list = classmethod(lambda cls, texts: cls(texts))
    to_list = list
class Config:
    pass
class Block(torch.nn.Module):
    pass
class Net(torch.nn.Module):
    def __init__(self, config):
        super().__init__()
        self.config, self.block = config, Block()
class NewNet(Net):
    pass
path = "theirs.safetensors"
torchkeep.save(Net(Config()), path)
"""


def test_readme(program: types.ModuleType, tmp_path: Path) -> None:
    """What a reader brings (classes, a file of theirs) stands above; everything else is README's own."""
    (tmp_path / "mypackage").mkdir()
    (tmp_path / "mypackage" / "__init__.py").write_text("")
    (tmp_path / "mypackage" / "models.py").write_text("from torch import nn\nclass Tiny(nn.Module):\n    pass\n")
    exec(READER, vars(program))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", torchkeep.TorchkeepWarning)  # casts, which the examples ask for
        assert run(ROOT / "README.md", program) >= 8
    assert program.epoch == 3
    assert torchkeep.report_of(program.tiny).route == "source"


def test_plugins_page(program: types.ModuleType) -> None:
    """The page's plug-ins work, and pass the suites that the page subclasses."""
    run(ROOT / "docs" / "plugins.md", program)
    suites = [cls for name, cls in vars(program).items() if name.startswith("Test")]
    assert {base for cls in suites for base in cls.__bases__} == {TypeSuite, ContainerSuite, StorageSuite}
    for cls in suites:
        for name, rule in inspect.getmembers(cls, inspect.isfunction):
            if name.startswith("test_"):
                try:
                    rule(cls())
                except Exception as error:
                    if type(error).__name__ != "SkipTest":
                        raise


@pytest.mark.parametrize("subject", [torchkeep.register, torchkeep.register_container, torchkeep.register_storage])
def test_docstring_examples(subject: Callable[..., Any], program: types.ModuleType) -> None:
    finder, failures = doctest.DocTestFinder(recurse=False), 0
    [test] = finder.find(subject, subject.__name__, globs=vars(program) | {"torchkeep": torchkeep})
    assert len(test.examples) >= 3
    told: list[str] = []
    failures, _ = doctest.DocTestRunner().run(test, out=told.append)
    assert not failures, "".join(told)
