"""From Jinja2 source to a compiled template whose output knows, piece by piece, where it came from.

The whole source is compiled once. Each output of the template's own text is wrapped in a private filter that tags the
value with the place it stands at, so that rendering yields pieces (literal text, field, hole) instead of one string.
That is what lets a prompt be cut at its hole, shortened field by field, and coloured in a preview, while
``"".join(pieces)`` stays byte for byte what plain Jinja2 would have written.
"""

from __future__ import annotations

import copy
import re
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import yaml
from jinja2 import StrictUndefined, TemplateSyntaxError, meta, nodes, pass_context
from jinja2 import Template as JinjaTemplate
from jinja2 import TemplateError as JinjaError
from jinja2.nativetypes import NativeEnvironment
from jinja2.sandbox import ImmutableSandboxedEnvironment

from fewshot.errors import TemplateError

__all__ = [
    "CHOICE",
    "HOLE",
    "LABELS",
    "RENDERING",
    "Compiled",
    "Piece",
    "compile_source",
    "joined",
    "plain",
    "split_front_matter",
]

HOLE = "label"  # the variable that marks the hole
LABELS = "labels"  # the label words of all classes, or the row's own choices, for prompts that list them
CHOICE = "choice"  # a choice of the row, where the front matter says how one is written in the hole
#: What goes wrong when a template meets a row.
RENDERING = (JinjaError, TypeError, ValueError, ArithmeticError, AttributeError, LookupError, RecursionError)
_FRONT_MATTER = re.compile(r"\A---[ \t]*\r?\n(.*?)^---[ \t]*(?:\r?\n|\Z)", re.DOTALL | re.MULTILINE)
_KEYS = frozenset(
    {
        "task",
        "description",
        "fields",
        "words",
        "instruction",
        "system",
        "separator",
        "source",
        "domain_premise",
        "answers",
        "choices",
        "choice",
        "licence",
    }
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where in the source a piece comes from, and what may be done with it."""

    kind: Literal["text", "field", "hole"]
    in_frame: bool = False
    weight: float = 0.0  # 0: never cut
    side: Literal["left", "right"] = "right"  # the side that is cut away
    lists: bool = False  # a choice of the row, listed in the prompt
    name: str = ""  # of the field, for messages


class Piece(NamedTuple):
    """A run of rendered text and the place it comes from."""

    text: str
    place: Place

    def __str__(self) -> str:  # what Jinja2 joins inside macros and captured blocks
        return self.text


_LITERAL = Place("text")
_BLOCKS = (nodes.If, nodes.For, nodes.CallBlock, nodes.FilterBlock, nodes.With, nodes.Include, nodes.Block)  # may write


class _Environment(ImmutableSandboxedEnvironment, NativeEnvironment):
    """Sandboxed and strict, and with native output, so that pieces come out as they are."""

    @staticmethod
    def concat(parts: Iterable[Any]) -> str:
        return "".join(str(part) for part in parts)


@pass_context  # a filter that sees the context is never folded into a constant at compile time
def _tag(context: Any, value: Any, place: int) -> Piece:
    return Piece(str(value), context.environment.places[place])


def _misplaced_shorten(value: Any, *args: Any, **kwargs: Any) -> Any:
    raise TemplateError("'shorten' must be the last filter of a field in the template's own text: {{ text | shorten }}")


@dataclass(frozen=True)
class Compiled:
    """A template ready to be rendered: pure functions of a row."""

    body: JinjaTemplate
    frame: JinjaTemplate
    fields: tuple[str, ...]

    def pieces(self, variables: Mapping[str, Any]) -> tuple[Piece, ...]:
        """Render to pieces; the hole is a piece with empty text."""
        return _render(self.body, variables)

    def frame_pieces(self, variables: Mapping[str, Any]) -> tuple[Piece, ...]:
        """Render the frame alone, which needs no row."""
        return _render(self.frame, variables)


def split_front_matter(source: str) -> tuple[dict[str, Any], str]:
    """Split a source into its YAML front matter and its body."""
    match = _FRONT_MATTER.match(source)
    if match is None:
        return {}, source
    try:
        loaded = yaml.safe_load(match.group(1)) or {}
    except yaml.YAMLError as error:
        raise TemplateError(f"The front matter is not valid YAML: {error}") from error
    if not isinstance(loaded, dict):
        raise TemplateError(f"The front matter must be a mapping of keys to values. Got {type(loaded).__name__}.")
    unknown = sorted(map(str, set(loaded) - _KEYS))
    if unknown:
        raise TemplateError(f"Unknown front matter key {unknown[0]!r}. Known keys: {', '.join(sorted(_KEYS))}.")
    return loaded, source[match.end() :]


def compile_source(body: str, choices: Collection[str] = ()) -> Compiled:
    """Parse, check and compile the body of a template.

    Where no field asks to be shortened, all may be but ``choices``, which hold what may fill the hole.

    Raises
    ------
    TemplateError
        On a syntax error, on no hole or more than one, and on a `shorten` that could have no effect.
    """
    env = _environment()
    try:
        tree = env.parse(body)
    except TemplateSyntaxError as error:
        raise TemplateError(_pointed(str(error.message), body, error.lineno, _failing_tag(env, body, error))) from None
    hole = _the_hole(tree, body)
    frame = _frame(tree, hole)
    places: list[Place] = []
    lists = {*choices, *_listed(tree, {LABELS, *choices})}
    for output in _own_outputs(tree):
        output.nodes = [_tagged(child, child is hole, id(child) in frame, lists, places) for child in output.nodes]
    if not any(place.weight for place in places):  # no field asks to be shortened: then all may be
        places = [
            replace(place, weight=1.0) if place.kind == "field" and not place.lists else place for place in places
        ]
    for stray in tree.find_all(nodes.Filter):
        if stray.name == "shorten":
            raise TemplateError(_pointed("'shorten' must be the last filter of a field", body, stray.lineno, "shorten"))
    for node in tree.find_all((nodes.Filter, nodes.Test)):  # also those in a branch that no row may ever take
        known = env.filters if isinstance(node, nodes.Filter) else env.tests
        if node.name not in known:
            kind = "filter" if isinstance(node, nodes.Filter) else "test"
            raise TemplateError(_pointed(f"No {kind} named {node.name!r}", body, node.lineno, node.name))
    env.places = tuple(places)  # type: ignore[attr-defined]
    run = [child for output in _own_outputs(tree) for child in output.nodes if _in_frame(child, places)]
    frame_tree = nodes.Template([nodes.Output(copy.deepcopy(run))])
    frame_tree.set_environment(env)
    try:
        names = meta.find_undeclared_variables(tree) - {HOLE, LABELS} - set(env.globals)
        return Compiled(_compile(env, tree), _compile(env, frame_tree), tuple(sorted(names, key=body.find)))
    except TemplateSyntaxError as error:  # an unknown filter or test
        missing = re.search(r"'([^']+)'", str(error.message))
        caret_at = missing.group(1) if missing else None
        raise TemplateError(_pointed(str(error.message), body, error.lineno, caret_at)) from None


def plain(source: str) -> JinjaTemplate:
    """Compile a source without a hole (an instruction), under the same sandbox."""
    env = _environment()
    try:
        return env.from_string(source)
    except TemplateSyntaxError as error:
        raise TemplateError(_pointed(str(error.message), source, error.lineno, None)) from None


def joined(template: JinjaTemplate, variables: Mapping[str, Any], what: str) -> str:
    """Render a template to one string; an error says what it was."""
    try:
        return "".join(piece.text for piece in _render(template, variables))
    except RENDERING as error:
        raise TemplateError(f"{what} can't be rendered: {error}") from error


def _environment() -> _Environment:
    env = _Environment(undefined=StrictUndefined, keep_trailing_newline=True)
    env.filters["tag_place"] = _tag
    env.filters["shorten"] = _misplaced_shorten
    env.globals.pop("lipsum", None)
    return env


def _compile(env: _Environment, tree: nodes.Template) -> JinjaTemplate:
    code = env.compile(tree)
    return env.template_class.from_code(env, code, env.make_globals(None))


def _render(template: JinjaTemplate, variables: Mapping[str, Any]) -> tuple[Piece, ...]:
    context = template.new_context({**variables, HOLE: ""})
    raw = template.root_render_func(context)
    return tuple(part if isinstance(part, Piece) else Piece(str(part), _LITERAL) for part in raw)


def _own_outputs(node: nodes.Node) -> Iterator[nodes.Output]:
    """The outputs that reach the prompt directly, not through a macro or a captured block."""
    for child in node.iter_child_nodes():
        if isinstance(child, nodes.Output):
            yield child
        elif isinstance(child, nodes.If) or (isinstance(child, nodes.For) and not child.recursive):
            yield from _own_outputs(child)


def _the_hole(tree: nodes.Template, body: str) -> nodes.Expr:
    names = [node for node in tree.find_all(nodes.Name) if node.name == HOLE]
    cure = "A template has exactly one hole, written {{ label }}"
    if not names:
        raise TemplateError(f"{cure}. Got none in: {body!r}.")
    if len(names) > 1:
        raise TemplateError(
            _pointed(f"{cure}. Got {len(names)}; the second one", body, names[1].lineno, HOLE, last=True)
        )
    for output in tree.body:
        if isinstance(output, nodes.Output):
            for child in output.nodes:
                if child is names[0]:
                    return child
    message = f"{cure}, by itself: without a filter, and outside any block"
    raise TemplateError(_pointed(message, body, names[0].lineno, HOLE))


def _frame(tree: nodes.Template, hole: nodes.Expr) -> set[int]:
    """Ids of the nodes in the run around the hole that holds no field and is interrupted by no block."""
    line: list[nodes.Node | None] = []
    for node in tree.body:
        if isinstance(node, nodes.Output):
            line += node.nodes
        elif isinstance(node, _BLOCKS):
            line.append(None)
    at = next(i for i, node in enumerate(line) if node is hole)
    start, stop = at, at + 1
    while start > 0 and _is_fixed(line[start - 1]):
        start -= 1
    while stop < len(line) and _is_fixed(line[stop]):
        stop += 1
    return {id(node) for node in line[start:stop]}


def _listed(tree: nodes.Template, several: set[str]) -> set[str]:
    """What a loop over label words or choices calls one of them, and its number."""
    loops = [loop for loop in tree.find_all(nodes.For) if _names(loop.iter) and _names(loop.iter) <= several]
    return {name for loop in loops for name in (*_names(loop.target), "loop")}


def _names(node: nodes.Node) -> set[str]:
    return {name.name for name in (node, *node.find_all(nodes.Name)) if isinstance(name, nodes.Name)}


def _is_fixed(node: nodes.Node | None) -> bool:
    return node is not None and (isinstance(node, nodes.TemplateData) or _names(node) <= {LABELS})


def _tagged(node: nodes.Expr, is_hole: bool, in_frame: bool, lists: set[str], places: list[Place]) -> nodes.Expr:
    """Wrap one output in the tagging filter, taking an outermost `shorten` off on the way."""
    kind: Literal["text", "field", "hole"] = "hole" if is_hole else "text" if _is_fixed(node) else "field"
    name = ", ".join(sorted(_names(node)))
    place = Place(kind, in_frame, lists=_names(node) <= lists, name=name if kind == "field" else "")
    if isinstance(node, nodes.Filter) and node.name == "shorten" and node.node is not None:
        place = _shortenable(node, place)
        node = node.node
    if isinstance(node, nodes.TemplateData):
        node = nodes.Const(node.data, lineno=node.lineno)
    places.append(place)
    index = nodes.Const(len(places) - 1)
    wrapped = nodes.Filter(node, "tag_place", [index], [], None, None, lineno=node.lineno)
    if node.environment is not None:
        wrapped.set_environment(node.environment)
    return wrapped


def _in_frame(node: nodes.Expr, places: list[Place]) -> bool:
    assert isinstance(node, nodes.Filter)
    assert isinstance(node.args[0], nodes.Const)
    place: Place = places[node.args[0].value]
    return place.in_frame


def _shortenable(node: nodes.Filter, place: Place) -> Place:
    try:
        values = dict(zip(("weight", "side", "a third argument"), (arg.as_const() for arg in node.args), strict=False))
        values |= {str(pair.key): pair.value.as_const() for pair in node.kwargs}
    except nodes.Impossible:
        values = {"an argument that is not constant": None}
    if node.dyn_args is not None or node.dyn_kwargs is not None:
        values["an argument that is not constant"] = None
    weight, side = values.pop("weight", 1.0), values.pop("side", "right")
    if values or not _is_weight(weight) or side not in ("left", "right"):
        raise TemplateError(
            f"shorten takes weight (a number above 0 and finite) and side ('left' or 'right'), both constants. "
            f"Got weight={weight!r}, side={side!r}{', ' + ', '.join(values) if values else ''} on line {node.lineno}."
        )
    if place.kind != "field":
        raise TemplateError(f"shorten on line {node.lineno} must follow a field of the row.")
    return replace(place, weight=float(weight), side=side)


def _is_weight(value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and 0 < value <= sys.float_info.max


def _failing_tag(env: _Environment, body: str, error: TemplateSyntaxError) -> str | None:
    """The first tag on the error's line that does not parse by itself."""
    line = _line(body, error.lineno)
    for tag in re.findall(r"\{\{.*?\}\}|\{%.*?%\}|\{\{.*|\{%.*", line):
        try:
            env.parse(tag)
        except TemplateSyntaxError:
            return str(tag)
    return None


def _line(body: str, number: int) -> str:
    lines = re.split(r"\r\n|\r|\n", body)  # the breaks that Jinja2 counts
    return lines[min(number, len(lines)) - 1]


def _pointed(message: str, body: str, number: int, target: str | None, *, last: bool = False) -> str:
    """The message with the line it speaks of and a caret under the offender."""
    line = _line(body, number)
    find = line.rfind if last else line.find
    column = max(find(target), 0) if target else len(line) - len(line.lstrip())
    return f"{message.rstrip('.')} (line {number}):\n    {line}\n    {' ' * column}^"
