"""What a template may do: a list. Anything else is refused when the template is made, before anything is computed."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

from jinja2 import TemplateSyntaxError, nodes
from jinja2.parser import Parser

from fewshot.errors import TemplateError
from fewshot.task.hints import find_cure, find_hyphenated
from fewshot.task.sandbox import filters as ours
from fewshot.task.sandbox.charged import charge, is_loop_attribute
from fewshot.task.sandbox.environment import MOST_RANGE, Environment
from fewshot.task.source import Source

__all__ = ["SHORTEN", "check_allowed", "parse_source"]

SHORTEN = "shorten"
_MOST_CHARACTERS = 200_000
_MOST_TOKENS = 10_000
_MOST_BRACKETS = 20
_MOST_LEVELS = 50
_MOST_LOOPS = 8
_MOST_BRANCHES = 200
_MOST_DIGITS = 30
_STATEMENTS = (nodes.Output, nodes.TemplateData, nodes.If, nodes.For, nodes.With, nodes.Assign, nodes.AssignBlock)
_EXPRESSIONS = (
    *(nodes.Name, nodes.Const, nodes.List, nodes.Tuple, nodes.Dict, nodes.Pair, nodes.Keyword, nodes.CondExpr),
    *(nodes.Filter, nodes.Test, nodes.Getattr, nodes.Getitem, nodes.Slice, nodes.Call, nodes.FilterBlock),
    *(nodes.Concat, nodes.Compare, nodes.Operand, nodes.And, nodes.Or, nodes.Not, nodes.Neg, nodes.Pos),
    *(nodes.Add, nodes.Sub, nodes.Mul, nodes.Div, nodes.FloorDiv, nodes.Mod),
)
_LIST = "A template may use fields and items of them, if, for, set, the filters and tests of a list, ~ and comparisons"
_WORDS: dict[type[nodes.Node], tuple[str, str]] = {  # what is refused: how it is called, and how it is written
    nodes.Macro: ("macros", "macro"),
    nodes.CallBlock: ("calls", "call"),
    nodes.Include: ("includes", "include"),
    nodes.Import: ("imports", "import"),
    nodes.FromImport: ("imports", "from"),
    nodes.Extends: ("parents", "extends"),
    nodes.Block: ("blocks", "block"),
    nodes.Scope: ("autoescape", "autoescape"),
    nodes.Pow: ("powers", "**"),
    nodes.NSRef: ("namespaces", "."),
}
_ELSEWHERE = {  # filters of Jinja2 and of other tools, and why they are none here
    "choice": "it draws at random, and a prompt must be the same each time",
    "random": "it draws at random, and a prompt must be the same each time",
    "attr": "write {{ field.key }} for an item of a mapping",
    "center": "write the blanks themselves",
    "wordwrap": "a model reads a text without breaks",
}


def parse_source(env: Environment, source: Source) -> nodes.Template:
    """The tree of a source; one that does not parse, or is too long or too deep, is refused."""
    _check_tokens(env, source)
    parser = None
    try:
        parser = Parser(env, source.text)
        tree = parser.parse()
    except TemplateSyntaxError as error:
        tag = _failing_tag(env, source, error.lineno)
        raise _syntax_error(source, error, tag) from None
    except Exception as error:  # deep brackets, numbers too long for Python, text that is no text
        line = 1 if parser is None else parser.stream.current.lineno
        deep = isinstance(error, RecursionError)
        message = f"This can't be read: {type(error).__name__}: {error!s:.200}"
        raise source.error("The template is nested too deeply" if deep else message, line) from error
    _check_size(tree, source)
    return tree


def check_allowed(tree: nodes.Template, source: Source) -> nodes.Template:
    """Refuse what is not on the list, and charge a tree's operations to the meter of a rendering."""
    _Check(source).check(tree)
    return charge(tree)


def _syntax_error(source: Source, error: TemplateSyntaxError, tag: str | None) -> TemplateError:
    message = str(error.message)
    if message.startswith("Encountered unknown tag"):
        return source.error(f"{message.partition('.')[0]}. {_LIST}", error.lineno, tag)
    cure = find_cure(tag or "")
    return source.error(f"{cure}: {message}" if cure else message, error.lineno, tag)


def _failing_tag(env: Environment, source: Source, number: int) -> str | None:
    """The first tag on a line that does not parse by itself."""
    for tag in re.findall(r"\{\{.*?\}\}|\{%.*?%\}|\{\{.*|\{%.*|\{#.*", source.line(number)):
        try:
            env.parse(tag)
        except Exception:  # whichever: it is shown with the error that is known already
            return str(tag)
    return None


def _check_tokens(env: Environment, source: Source) -> None:
    """Bound what the parser, which calls itself for every bracket, is given."""
    if len(source.text) > _MOST_CHARACTERS:
        raise TemplateError(
            f"A template has {_MOST_CHARACTERS:,} characters at most. Got {len(source.text):,}: a long text belongs "
            "in a field of the row."
        )
    n_tokens = depth = run = 0
    try:
        for line, kind, text in env.lexer.tokeniter(source.text, None):
            if kind in ("data", "whitespace", "comment"):
                continue
            n_tokens += 1
            depth += {"(": 1, "[": 1, "{": 1, ")": -1, "]": -1, "}": -1}.get(text, 0) if kind == "operator" else 0
            run = run + 1 if text in ("not", "-", "+", "else") else 0 if kind.endswith("_begin") else run
            if depth > _MOST_BRACKETS or run > _MOST_LEVELS:
                raise source.error("The template is nested too deeply", line, text)
            if kind in ("integer", "float") and len(text) > _MOST_DIGITS:
                raise source.error(f"A number has {_MOST_DIGITS} digits at most", line, text)
            if n_tokens > _MOST_TOKENS:
                raise source.error(f"A template has {_MOST_TOKENS:,} names and signs in its tags at most", line, text)
    except TemplateSyntaxError as error:
        raise _syntax_error(source, error, _failing_tag(env, source, error.lineno)) from None


def _check_size(tree: nodes.Template, source: Source) -> None:
    """Bound how deep a tree is, since the compiler and Python itself go down it by calls."""
    waiting: list[tuple[nodes.Node, int, int]] = [(tree, 0, 0)]
    while waiting:
        node, depth, loops = waiting.pop()
        loops += isinstance(node, nodes.For)
        if depth > _MOST_LEVELS or loops > _MOST_LOOPS:
            raise source.error("The template is nested too deeply", node.lineno)
        if isinstance(node, nodes.If) and len(node.elif_) > _MOST_BRANCHES:
            raise source.error(f"An if has {_MOST_BRANCHES} branches at most", node.lineno, "if")
        waiting.extend((child, depth + 1, loops) for child in node.iter_child_nodes())


class _Check:
    """Looks at every node of a tree."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self._rules: dict[type[nodes.Node], Callable[[Any], None]] = {
            nodes.Filter: self._filter,
            nodes.FilterBlock: self._filter_block,
            nodes.Test: self._test,
            nodes.Call: self._call,
            nodes.Getattr: self._item,
            nodes.Getitem: self._item,
            nodes.Const: self._const,
            nodes.Dict: self._dict,
            nodes.Mul: self._numbers,
            nodes.Mod: self._numbers,
            nodes.Sub: self._sub,
            nodes.For: self._for,
            nodes.Output: self._output,
        }

    def check(self, node: nodes.Node, looping: bool = False) -> None:
        """Check a node and all in it."""
        if isinstance(node, nodes.Name) and node.name == "loop" and node.ctx == "load" and looping:
            raise self.error("A loop has no text of its own: write {{ loop.index }}", node, "loop")
        if not isinstance(node, (nodes.Template, *_STATEMENTS, *_EXPRESSIONS)):
            called, written = _WORDS.get(type(node), (type(node).__name__, ""))
            raise self.error(f"A template has no {called}. {_LIST}", node, written)
        rule = self._rules.get(type(node))
        if rule is not None:
            rule(node)
        if isinstance(node, nodes.For):
            for inside in (node.target, node.iter, *node.else_):
                self.check(inside, looping)
            for inside in (*node.body, *([] if node.test is None else [node.test])):
                self.check(inside, True)
            return
        own = {"args", "kwargs"} if isinstance(node, nodes.Filter) and node.name == SHORTEN else ()  # looked at later
        for child in node.iter_child_nodes(exclude=own):
            if not _is_range_or_loop(node, child):
                self.check(child, looping)

    def error(self, message: str, node: nodes.Node, written: str = "") -> TemplateError:
        """The error of a node, with its line."""
        numbered = (one.lineno for one in (node, *node.find_all(nodes.Node)) if one.lineno)
        return self.source.error(message, next(numbered, 1), written)

    def _filter(self, node: nodes.Filter) -> None:
        if node.dyn_args is not None or node.dyn_kwargs is not None:
            if node.name == SHORTEN:
                raise self.error("'shorten' takes weight and side, both constants", node, SHORTEN)
            raise self.error("A filter's arguments are written out, without * and **", node, "*")
        if node.name not in ours.FILTERS and node.name != SHORTEN:
            why = f": {_ELSEWHERE[node.name]}" if node.name in _ELSEWHERE else f". There are {', '.join(ours.FILTERS)}"
            raise self.error(f"No filter named {node.name!r:.80}{why}", node, node.name)
        if node.name == "format" and node.node is not None:
            try:
                ours.check_format(getattr(node.node, "value", None))
            except TemplateError as error:
                raise self.error(str(error), node, "format") from None
        named = {"map": ours.MAPPED, "select": ours.TESTS, "reject": ours.TESTS}.get(node.name)
        place = 1 if node.name in ("selectattr", "rejectattr") else 0
        known = ours.TESTS if place else named
        if known is not None and len(node.args) > place:
            name = getattr(node.args[place], "value", None)
            if name not in known:
                kind = "filter" if node.name == "map" else "test"
                raise self.error(f"{node.name!r} takes a constant name of a {kind}. Got {name!r:.80}", node, node.name)

    def _filter_block(self, node: nodes.FilterBlock) -> None:
        if any(one.name in ours.LISTS for one in node.filter.find_all(nodes.Filter)) or node.filter.name in ours.LISTS:
            raise self.error("A filtered block is one text", node, "filter")

    def _test(self, node: nodes.Test) -> None:
        if node.name not in ours.TESTS:
            raise self.error(f"No test named {node.name!r:.80}. There are {', '.join(ours.TESTS)}", node, node.name)
        if node.dyn_args is not None or node.dyn_kwargs is not None:
            raise self.error("A test's arguments are written out, without * and **", node, "*")

    def _call(self, node: nodes.Call) -> None:
        if node.dyn_args is not None or node.dyn_kwargs is not None:
            raise self.error("Arguments are written out, without * and **", node, "*")
        if isinstance(node.node, nodes.Getattr) and (node.node.attr in ours.METHODS or is_loop_attribute(node.node)):
            return
        if isinstance(node.node, nodes.Name) and node.node.name == "range":
            self._range(node)
            return
        name = getattr(node.node, "attr", getattr(node.node, "name", ""))
        cure = f"Write the filter, | {name}" if name in ours.FILTERS else _LIST
        raise self.error(
            f"A template calls range and some methods of texts and mappings, and nothing else. {cure}",
            node,
            f"{name}(" if name else "(",
        )

    def _range(self, node: nodes.Call) -> None:
        values = [getattr(arg, "value", None) for arg in node.args]
        if node.kwargs or not 1 <= len(node.args) <= 3:
            raise self.error("range takes one to three numbers", node, "range")
        if all(isinstance(one, int) for one in values) and 0 not in values[2:]:
            long = range(*values)  # type: ignore[arg-type]
            if max(abs(one) for one in values if isinstance(one, int)) > 10**9 or len(long) > MOST_RANGE:
                raise self.error(f"A range has {MOST_RANGE:,} numbers at most", node, "range")

    def _item(self, node: nodes.Getattr | nodes.Getitem) -> None:
        value = node.attr if isinstance(node, nodes.Getattr) else getattr(node.arg, "value", None)
        if isinstance(value, str) and value.startswith("__"):
            raise self.error("A template reads no names that begin with __", node, value)

    def _const(self, node: nodes.Const) -> None:
        if isinstance(node.value, float) and not math.isfinite(node.value):
            raise self.error("This number is too large", node)

    def _dict(self, node: nodes.Dict) -> None:
        if not all(isinstance(pair.key, nodes.Const) for pair in node.items):
            raise self.error("The keys of a mapping are constants", node, "{")

    def _numbers(self, node: nodes.BinExpr) -> None:
        for side in (node.left, node.right):
            if isinstance(side, nodes.List | nodes.Tuple) or isinstance(getattr(side, "value", None), str):
                cure = "use the filter format" if node.operator == "%" else "write the text out"
                raise self.error(f"'{node.operator}' takes numbers: {cure}", node, node.operator)

    def _sub(self, node: nodes.Sub) -> None:
        name = find_hyphenated(node, self.source.line(node.lineno))
        if name is not None:
            plain = re.sub(r"\W+", "_", name)
            raise self.error(
                f"A field's name has no hyphen: write {{{{ {plain} }}}} and template.rename({plain}={name!r}), or "
                "blanks around the minus where numbers are meant",
                node,
                name,
            )

    def _for(self, node: nodes.For) -> None:
        if node.recursive:
            raise self.error(f"A template has no recursive loops. {_LIST}", node, "recursive")

    def _output(self, node: nodes.Output) -> None:
        for child in node.nodes:
            if isinstance(child, nodes.Filter) and child.name in ours.LISTS:
                message = f"'{child.name}' makes a list, which has no text of its own: join it, | join(', ')"
                raise self.error(message, child, child.name)


def _is_range_or_loop(node: nodes.Node, child: nodes.Node) -> bool:
    """Whether a name is no field: the range that is called, and the loop whose attribute is asked for."""
    if isinstance(node, nodes.Call):
        return isinstance(child, nodes.Name) and child is node.node
    return isinstance(node, nodes.Getattr) and child is node.node and is_loop_attribute(node)
