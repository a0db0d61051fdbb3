"""What docstrings owe: the parameters of the signature, in its order, and the errors that are raised."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from pathlib import Path

import pytest

import fewshot

PACKAGE = Path(fewshot.__file__).parent
ENOUGH, PRIVATE_ENOUGH = (
    5,
    8,
)  # so many parameters are not understood from a line; a private function's callers are near
#: Their signatures are those of transformers and torch, where they are explained.
FOREIGN = {"update", "serves"}


def section(doc: str | None, title: str) -> str | None:
    found = re.search(rf"^{title}\n-+\n(.*?)(?=^\S[^\n]*\n-{{3,}}|\Z)", inspect.cleandoc(doc or ""), re.S | re.M)
    return found.group(1) if found else None


def entries(text: str) -> list[str]:
    """What the lines at the margin name: ``a, b : int`` names two."""
    heads = [line.partition(" : ")[0] for line in text.splitlines() if line[:1].strip()]
    return [name.strip().lstrip("*") for head in heads for name in head.split(",")]


def public():
    """Functions, classes and methods that users can name, with where they stand."""
    for name in fewshot.__all__:  # type: ignore[attr-defined]
        thing = getattr(fewshot, name)
        inside = getattr(thing, "__all__", ()) if inspect.ismodule(thing) else ()
        yield from ((f"{name}.{part}", getattr(thing, part)) for part in inside)
        if not inspect.ismodule(thing):
            yield name, thing


def documented():
    for name, thing in public():
        if inspect.isclass(thing) and not issubclass(thing, BaseException):
            yield name, thing
            for part, kind in vars(thing).items():
                if not part.startswith("_") and (inspect.isfunction(kind) or isinstance(kind, classmethod)):
                    yield f"{name}.{part}", getattr(thing, part)
        elif inspect.isroutine(thing):
            yield name, thing


THINGS = dict(documented())


@pytest.mark.parametrize("name", [name for name, thing in THINGS.items() if section(thing.__doc__, "Parameters")])
def test_parameters_are_those_of_the_signature(name):
    said = section(THINGS[name].__doc__, "Parameters") or ""
    assert entries(said) == [one for one in inspect.signature(THINGS[name]).parameters if one not in ("self", "cls")]


@pytest.mark.parametrize("name", [name for name, thing in THINGS.items() if inspect.isroutine(thing)])
def test_errors_that_it_raises_itself_are_in_raises(name):
    function = inspect.unwrap(THINGS[name])
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    calls = [node.exc for node in ast.walk(tree) if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call)]
    raised = {call.func.id for call in calls if isinstance(call.func, ast.Name)}
    said = set(entries(section(function.__doc__, "Raises") or ""))
    for error in raised:
        kinds = {kind.__name__ for kind in function.__globals__[error].__mro__}
        assert said & kinds, f"{name} raises {error}, and its docstring tells of {sorted(said)}"


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_many_parameters_are_explained(path):
    """Of functions and methods; typer explains a command's options one by one."""
    if "cli" in path.parts:
        return
    tree = ast.parse(path.read_text(encoding="utf-8"))
    homes = [tree, *(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name[0] != "_")]
    for node in (node for home in homes for node in home.body if isinstance(node, ast.FunctionDef)):
        if node.name in FOREIGN or node.name == "__init__":  # the class documents its parameters
            continue
        limit = PRIVATE_ENOUGH if node.name.startswith("_") else ENOUGH
        given = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs, node.args.vararg, node.args.kwarg]
        count = sum(one is not None and one.arg not in ("self", "cls") for one in given)
        doc = ast.get_docstring(node) or ""
        assert count < limit or "; see `" in doc or section(doc, "Parameters"), f"{path.name}: {node.name}"
