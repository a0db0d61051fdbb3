"""What a model's chat template may do when its folder is a stranger's: write turns, and end."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension

from fewshot.errors import InputError
from fewshot.persistence.limits import MAX_TEXT

__all__ = ["check_chat_source", "check_chat_template"]

#: Loops within loops, and rounds of a loop over numbers.
_MAX_LOOPS, _MAX_ROUNDS = 6, 1000
#: Filters that fill up to a width.
_WIDE = frozenset({"center", "format", "indent", "wordwrap"})
_WIDTH = re.compile(r"%[-+ #0]*(\d{4,}|\*)|\{[^{}]*:[^{}]*\d{4,}")


class _Generation(Extension):
    """The tag of transformers that marks what an assistant says; here it only has to be read."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Any) -> Any:
        line = next(parser.stream).lineno
        return nodes.Scope(parser.parse_statements(("name:endgeneration",), drop_needle=True), lineno=line)


def check_chat_template(path: Path, where: str) -> None:
    """Refuse the file of a chat template that may take for ever, or as much memory as it likes."""
    if path.stat().st_size > MAX_TEXT:
        raise InputError(f"{where} is larger than any chat template: at most {MAX_TEXT} bytes.")
    check_chat_source(path.read_bytes().decode("utf-8", "replace"), where)


def check_chat_source(said: Any, where: str) -> None:
    """Refuse a chat template, or each of several, that is none, multiplies texts or counts far."""
    if isinstance(said, list):
        for one in said:
            check_chat_source(one.get("template"), where)
    if not isinstance(said, str):
        return
    if len(said) > MAX_TEXT:
        raise InputError(f"{where}: the chat template is larger than any: at most {MAX_TEXT} characters.")
    try:
        tree = jinja2.Environment(extensions=["jinja2.ext.loopcontrols", _Generation]).parse(said)
    except (jinja2.TemplateError, RecursionError, ValueError) as error:
        raise InputError(f"{where}: the chat template can't be read: {error!r:.200}.") from error
    for node in tree.find_all((nodes.Mul, nodes.Pow, nodes.Mod)):
        if isinstance(node, nodes.Pow) or not _is_small(node):
            raise InputError(f"{where}: the chat template multiplies, in line {node.lineno}, which may never end.")
    for call in tree.find_all(nodes.Call):
        _check_call(call, where)
    for one in tree.find_all(nodes.Filter):
        numbers = [arg.value for arg in one.args if isinstance(arg, nodes.Const)]
        if one.name in _WIDE and any(isinstance(n, int) and n > _MAX_ROUNDS for n in numbers):
            raise InputError(f"{where}: the chat template fills up text, in line {one.lineno}.")
    for text in tree.find_all((nodes.Const, nodes.TemplateData)):
        said = text.value if isinstance(text, nodes.Const) else getattr(text, "data", "")
        if isinstance(said, str) and _WIDTH.search(said) and any(tree.find_all((nodes.Mod, nodes.Filter, nodes.Call))):
            raise InputError(f"{where}: the chat template fills up text, in line {text.lineno}.")
    if _depth(tree) > _MAX_LOOPS:
        raise InputError(f"{where}: the chat template has loops within loops, {_MAX_LOOPS} deep.")
    _check_doubling(tree, where)


def _check_call(call: Any, where: str) -> None:
    if isinstance(call.node, nodes.Name) and call.node.name in ("range", "lipsum"):
        numbers = [one.value for one in call.args if isinstance(one, nodes.Const)]
        if call.node.name == "lipsum" or any(not isinstance(n, int) or n > _MAX_ROUNDS for n in numbers):
            raise InputError(f"{where}: the chat template counts far, in line {call.lineno}.")
    if isinstance(call.node, nodes.Getattr) and call.node.attr in ("center", "ljust", "rjust", "zfill", "format"):
        raise InputError(f"{where}: the chat template fills up text, in line {call.lineno}.")


def _is_small(node: Any) -> bool:
    """Whether numbers are multiplied and not texts: one factor is a number that is written there, and small."""
    sides = (node.left, node.right)
    if isinstance(node, nodes.Mod):  # of a text, it fills in
        return isinstance(node.right, nodes.Const) and isinstance(node.right.value, int)
    return any(isinstance(one, nodes.Const) and type(one.value) is int and one.value <= 16 for one in sides)


def _depth(node: Any) -> int:
    return isinstance(node, nodes.For) + max(map(_depth, node.iter_child_nodes()), default=0)


def _check_doubling(tree: Any, where: str) -> None:
    """Refuse a text that is joined with itself, or a macro that is called by macros that are called by macros."""
    for node in tree.find_all(nodes.Assign):
        uses = [one for one in _names(node.node) if one in _names(node.target)]
        joins = isinstance(node.node, nodes.Add | nodes.Concat) or any(node.node.find_all((nodes.Add, nodes.Concat)))
        if joins and len(uses) > _alone(node.node):
            raise InputError(f"{where}: the chat template joins a text with itself, in line {node.lineno}.")
    macros = {one.name: one for one in tree.find_all(nodes.Macro)}
    costs: dict[str, int] = {}
    for name in macros:
        if _cost(name, macros, costs, ()) > 10_000:
            raise InputError(f"{where}: the chat template's macro {name!r} calls others too often.")


def _names(node: Any) -> list[tuple[str, str]]:
    """The names, and the attributes of namespaces, in an expression; as often as they stand there."""
    if isinstance(node, nodes.NSRef):
        return [(node.name, node.attr)]
    if isinstance(node, nodes.Getattr) and isinstance(node.node, nodes.Name):
        return [(node.node.name, node.attr)]
    if isinstance(node, nodes.Name):
        return [(node.name, "")]
    return [one for child in node.iter_child_nodes() for one in _names(child)]


def _alone(node: Any) -> int:
    """How many conditions there are, each of which may look at the text that it changes."""
    return 1 + sum(1 for _ in node.find_all((nodes.CondExpr, nodes.Test, nodes.Compare)))


def _cost(name: str, macros: dict[str, Any], costs: dict[str, int], above: tuple[str, ...]) -> int:
    """How many macros a call of one calls in all; what calls itself goes as deep as its data."""
    if name in above:
        return 1
    if name not in costs:
        calls = [one.node.name for one in macros[name].find_all(nodes.Call) if isinstance(one.node, nodes.Name)]
        costs[name] = 1 + sum(_cost(one, macros, costs, (*above, name)) for one in calls if one in macros)
    return costs[name]
