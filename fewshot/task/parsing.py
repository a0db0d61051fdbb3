"""From Jinja2 source to a compiled template whose output knows, piece by piece, where it came from.

The whole source is compiled once. Each output of the template's own text is wrapped in a private filter that tags the
value with the place it stands at, so that rendering yields pieces (literal text, field, hole) instead of one string.
That is what lets a prompt be cut at its hole, shortened field by field, and coloured in a preview, while
``"".join(pieces)`` stays byte for byte what plain Jinja2 would have written.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple

from jinja2 import Template as JinjaTemplate
from jinja2 import TemplateSyntaxError, meta, nodes, pass_context

from fewshot.errors import TemplateError
from fewshot.task.hints import translate_marks
from fewshot.task.sandbox.allowed import SHORTEN, check_allowed, parse_source
from fewshot.task.sandbox.environment import METER, Environment, Meter, text_of
from fewshot.task.sandbox.filters import AS_TEXT, equip
from fewshot.task.source import Source, abridge

__all__ = [
    "ANSWER",
    "CANDIDATE",
    "CHOICE",
    "DESCRIPTIONS",
    "HOLE",
    "LABELS",
    "LETTERS",
    "Compiled",
    "Piece",
    "compile_plain",
    "compile_source",
    "render_joined",
    "uses",
]

HOLE = "label"  # the variable that marks the hole
ANSWER = "answer"  # its other name, where there is no label: what fills it is no label word; beside a label, a field
LABELS = "labels"  # the label words of all classes, or the row's own choices, for prompts that list them
DESCRIPTIONS = "descriptions"  # what the label words mean, where a template has descriptions; else it is a field
LETTERS = "letters"  # the letter of each label word, where a template's answers are letters; else it is a field
CANDIDATE = "candidate"  # the field that the label in question fills, where a template asks about one label
CHOICE = "choice"  # a choice of the row, where the front matter says how one is written in the hole
_TAG = "tagged with its place"  # a filter, under a name that no template could write


Kind = Literal["text", "field", "hole"]


@dataclass(frozen=True, slots=True)
class Place:
    """Where in the source a piece comes from, and what may be done with it."""

    kind: Kind
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
_BLOCKS = (nodes.If, nodes.For, nodes.FilterBlock, nodes.With)  # may write


@pass_context
def _tag(context: Any, value: Any, place: int) -> Piece:
    return Piece(text_of(context, value), context.environment.places[place])


@dataclass(frozen=True)
class Compiled:
    """A template ready to be rendered: pure functions of a row."""

    body: JinjaTemplate
    frame: JinjaTemplate
    fields: tuple[str, ...]
    aliases: Mapping[str, str] = field(default_factory=dict)  # of names that Python would not tell apart

    def pieces(self, variables: Mapping[str, Any]) -> tuple[Piece, ...]:
        """Render to pieces; the hole is a piece with empty text."""
        return _render(self.body, {self.aliases.get(name, name): value for name, value in variables.items()})

    def frame_pieces(self, variables: Mapping[str, Any]) -> tuple[Piece, ...]:
        """Render the frame alone, which needs no row."""
        return _render(self.frame, variables)

    def named(self, alias: str) -> str:
        """What the source calls a name."""
        return next((name for name, known in self.aliases.items() if known == alias), alias)


def compile_source(source: Source, choices: Collection[str] = (), shared: Collection[str] = (LABELS,)) -> Compiled:
    """Parse, check and compile the body of a template.

    Where no field asks to be shortened, all may be but ``choices``, which hold what may fill the hole. The names in
    ``shared`` are no fields: they are the same for all rows.

    Raises
    ------
    TemplateError
        On a syntax error, on what no template may do, on no hole or more than one, and on a `shorten` that could have
        no effect.
    """
    env = equip(Environment(), **{_TAG: _tag})
    tree = parse_source(env, source)
    hole = _the_hole(tree, source)
    tree = check_allowed(tree, source)
    frame = _frame(tree, hole, shared)
    places: list[Place] = []
    frame_nodes: list[nodes.Node] = []
    lists = {*choices, *shared, *_listed(tree, {*shared, *choices})}
    own = list(_own_outputs(tree))
    for output in own:
        for i, child in enumerate(output.nodes):
            kind: Kind = "hole" if child is hole else "text" if _is_fixed(child, shared) else "field"
            used = _names(child)
            name = ", ".join(sorted(used)) if kind == "field" else ""
            place = Place(kind, id(child) in frame, lists=used <= lists, name=name)
            output.nodes[i] = _tagged(child, place, source, places)
            if place.in_frame:
                frame_nodes.append(output.nodes[i])
    if not any(place.weight for place in places):  # no field asks to be shortened: then all may be
        places = [
            replace(place, weight=1.0) if place.kind == "field" and not place.lists else place for place in places
        ]
    _refuse_misplaced(tree, source)
    _as_texts(tree, {id(output) for output in own})
    env.places = tuple(places)
    names = _fields(env, tree, source, shared)
    aliases = _aliased(tree)
    frame_tree = nodes.Template([nodes.Output(frame_nodes)])
    return Compiled(_compile(env, tree, source), _compile(env, frame_tree, source), names, aliases)


def compile_plain(source: Source) -> JinjaTemplate:
    """Compile a source without a hole (an instruction), under the same rules."""
    env = equip(Environment())
    tree = check_allowed(parse_source(env, source), source)
    _refuse_misplaced(tree, source)
    _as_texts(tree, set())
    return _compile(env, tree, source)


def uses(source: Source, name: str) -> bool:
    """Whether a source uses a name, such as that of the list of label words."""
    tree = parse_source(equip(Environment()), source)
    return any(node.name == name for node in tree.find_all(nodes.Name))


def render_joined(template: JinjaTemplate, variables: Mapping[str, Any], what: str) -> str:
    """Render a template to one string; an error says what it was."""
    try:
        return "".join(piece.text for piece in _render(template, variables))
    except Exception as error:
        raise TemplateError(f"{what} can't be rendered: {error!s:.400}") from error


def _refuse_misplaced(tree: nodes.Template, source: Source) -> None:
    for stray in tree.find_all(nodes.Filter):
        if stray.name == SHORTEN:
            message = "'shorten' must be the last filter of a field in the template's own text"
            raise source.error(message, stray.lineno, SHORTEN)


def _fields(env: Environment, tree: nodes.Template, source: Source, shared: Collection[str]) -> tuple[str, ...]:
    """The names that come from a row, in the order of the source."""
    try:
        found = meta.find_undeclared_variables(tree) - {HOLE, *shared}
    except TemplateSyntaxError as error:
        raise source.error(str(error.message), error.lineno) from None
    if any(node.name == "self" for node in tree.find_all(nodes.Name)):  # Jinja2 declares it wherever it is used
        found.add("self")
    order: dict[str, int] = {}
    for _, kind, text in env.lexer.tokeniter(source.text, None):
        if kind == "name":
            order.setdefault(text, len(order))
    return tuple(sorted(found, key=lambda name: order.get(name, -1)))


def _aliased(tree: nodes.Template) -> dict[str, str]:
    """Rename what Python, into which a template is compiled, would not tell apart from another name.

    Python takes ``ﬁ`` for ``fi``, and ``self`` is Jinja2's own.
    """
    names = {node.name for node in tree.find_all(nodes.Name)}
    aliases: dict[str, str] = {}
    for name in sorted(names):
        if name == "self" or not name.isascii():
            aliases[name] = next(new for i in range(len(names) + 1) if (new := f"name_{len(aliases)}_{i}") not in names)
    for node in tree.find_all(nodes.Name):
        node.name = aliases.get(node.name, node.name)
    return aliases


def _as_texts(tree: nodes.Template, tagged: set[int]) -> None:
    """Let every other output, as those within a captured block, be charged as well."""
    for output in tree.find_all(nodes.Output):
        if id(output) not in tagged:
            output.nodes = [
                child
                if isinstance(child, nodes.TemplateData)
                else nodes.Filter(child, AS_TEXT, [], [], None, None, lineno=child.lineno)
                for child in output.nodes
            ]


def _compile(env: Environment, tree: nodes.Template, source: Source) -> JinjaTemplate:
    tree.set_environment(env)
    try:
        return env.template_class.from_code(env, env.compile(tree), env.make_globals(None))
    except TemplateSyntaxError as error:
        raise source.error(str(error.message), error.lineno) from None
    except Exception as error:  # Python's own limits
        raise TemplateError(f"The template can't be compiled: {type(error).__name__}: {error!s:.200}") from error


def _render(template: JinjaTemplate, variables: Mapping[str, Any]) -> tuple[Piece, ...]:
    context = template.new_context({**variables, HOLE: "", METER: Meter()})
    raw = template.root_render_func(context)
    return tuple(part if isinstance(part, Piece) else Piece(str(part), _LITERAL) for part in raw)


def _own_outputs(node: nodes.Node) -> Iterator[nodes.Output]:
    """The outputs that reach the prompt directly, not through a captured block."""
    for child in node.iter_child_nodes():
        if isinstance(child, nodes.Output):
            yield child
        elif isinstance(child, nodes.If | nodes.For):
            yield from _own_outputs(child)


def _the_hole(tree: nodes.Template, source: Source) -> nodes.Expr:
    """The output that is the hole. Where it is called answer, it is called label from now on."""
    found = list(tree.find_all(nodes.Name))
    written = HOLE if any(node.name == HOLE for node in found) else ANSWER
    names = [node for node in found if node.name == written]
    for node in names:
        node.name = HOLE
    cure = "A template has exactly one hole, written {{ label }}, or {{ answer }} where it is filled freely"
    if not names:
        raise TemplateError(f"{translate_marks(source.text)}{cure}. Got none in: {abridge(source.text)}.")
    if len(names) > 1:
        message = f"{cure}. Got {len(names)}; the second one"
        raise source.error(message, names[1].lineno, written, last=names[0].lineno == names[1].lineno)
    for output in tree.body:
        if isinstance(output, nodes.Output):
            for child in output.nodes:
                if child is names[0]:
                    return child
    message = f"{translate_marks(source.text)}{cure}, by itself: without a filter, and outside any block"
    raise source.error(message, names[0].lineno, written)


def _frame(tree: nodes.Template, hole: nodes.Expr, shared: Collection[str]) -> set[int]:
    """Ids of the nodes in the run around the hole that holds no field and is interrupted by no block."""
    line: list[nodes.Node | None] = []
    for node in tree.body:
        if isinstance(node, nodes.Output):
            line += node.nodes
        elif isinstance(node, _BLOCKS):
            line.append(None)
    at = next(i for i, node in enumerate(line) if node is hole)
    start, stop = at, at + 1
    while start > 0 and _is_fixed(line[start - 1], shared):
        start -= 1
    while stop < len(line) and _is_fixed(line[stop], shared):
        stop += 1
    return {id(node) for node in line[start:stop]}


def _listed(tree: nodes.Template, several: set[str]) -> set[str]:
    """What a loop over label words or choices calls one of them, and its number."""
    loops = [loop for loop in tree.find_all(nodes.For) if _names(loop.iter) and _names(loop.iter) <= several]
    return {name for loop in loops for name in (*_names(loop.target), "loop")}


def _names(node: nodes.Node) -> set[str]:
    return {name.name for name in (node, *node.find_all(nodes.Name)) if isinstance(name, nodes.Name)}


def _is_fixed(node: nodes.Node | None, shared: Collection[str]) -> bool:
    return node is not None and (isinstance(node, nodes.TemplateData) or _names(node) <= {*shared})


def _tagged(node: nodes.Expr, place: Place, source: Source, places: list[Place]) -> nodes.Expr:
    """Wrap one output in the tagging filter, taking an outermost `shorten` off on the way."""
    if isinstance(node, nodes.Filter) and node.name == SHORTEN and node.node is not None:
        place = _shortenable(node, place, source)
        node = node.node
    if isinstance(node, nodes.TemplateData):
        node = nodes.Const(node.data, lineno=node.lineno)
    places.append(place)
    return nodes.Filter(node, _TAG, [nodes.Const(len(places) - 1)], [], None, None, lineno=node.lineno)


def _shortenable(node: nodes.Filter, place: Place, source: Source) -> Place:
    """The place of a field that may be cut, with the constants that `shorten` takes."""
    given: dict[str, Any] = {}
    named = [*zip(("weight", "side"), node.args, strict=False), *((str(one.key), one.value) for one in node.kwargs)]
    odd = "a third argument" if len(node.args) > 2 else ""
    for name, value in named:
        if name in given or name not in ("weight", "side"):
            odd = f"{name} twice" if name in given else f"no argument {name!r:.80}"
        given[name] = _constant(value)
    weight, side = given.get("weight", 1.0), given.get("side", "right")
    if odd or not _is_weight(weight) or side not in ("left", "right"):
        message = (
            f"shorten takes weight (a number above 0 and finite) and side ('left' or 'right'), "
            f"both constants. Got weight={weight!r}, side={side!r}{odd and ', '}{odd}"
        )
        raise source.error(message, node.lineno, SHORTEN)
    if place.kind != "field":
        raise source.error("shorten must follow a field of the row", node.lineno, SHORTEN)
    return replace(place, weight=float(weight), side=side)


def _is_weight(value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and 0 < value <= sys.float_info.max


def _constant(node: nodes.Expr) -> Any:
    """The value of a constant, which may have a sign; the node itself where it is something else."""
    if isinstance(node, nodes.Neg | nodes.Pos) and isinstance(node.node, nodes.Const):
        value = node.node.value
        if isinstance(value, int | float):
            return -value if isinstance(node, nodes.Neg) else value
    return node.value if isinstance(node, nodes.Const) else node
