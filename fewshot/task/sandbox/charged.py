"""Operations of a template turned into filters, which are charged to the meter of a rendering."""

from __future__ import annotations

from jinja2 import nodes
from jinja2.visitor import NodeTransformer

from fewshot.task.sandbox import filters as ours
from fewshot.task.sandbox.environment import LOOP

__all__ = ["charge", "is_loop_attribute"]


def charge(tree: nodes.Template) -> nodes.Template:
    """The tree with its calls, joins, comparisons, slices, lists and loops as filters; it is changed in place."""
    return _Charging().visit(tree)


def is_loop_attribute(node: nodes.Getattr) -> bool:
    """Whether it is ``loop.index`` and the like."""
    return isinstance(node.node, nodes.Name) and node.node.name == "loop" and node.attr in LOOP


class _Charging(NodeTransformer):
    """Turns operations into filters that are charged to the meter of a rendering."""

    def visit_Call(self, node: nodes.Call) -> nodes.Node:
        self.generic_visit(node)
        if isinstance(node.node, nodes.Name):
            return _filter(ours.RANGE, *node.args)
        if isinstance(node.node, nodes.Getattr) and not is_loop_attribute(node.node):
            method = nodes.Const(node.node.attr)
            return _filter(ours.CALLED, node.node.node, method, *node.args, kwargs=node.kwargs)
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:
        self.generic_visit(node)
        return _filter(ours.JOINED, nodes.List(node.nodes, lineno=node.lineno))

    def visit_Compare(self, node: nodes.Compare) -> nodes.Node:
        self.generic_visit(node)
        node.expr = _weighed(node.expr)
        for operand in node.ops:
            operand.expr = _weighed(operand.expr)
        return node

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Node:
        self.generic_visit(node)
        if not isinstance(node.arg, nodes.Slice):
            return node
        assert isinstance(node.node, nodes.Expr)
        bounds = (node.arg.start, node.arg.stop, node.arg.step)
        return _filter(ours.SLICED, node.node, *[nodes.Const(None) if one is None else one for one in bounds])

    def visit_List(self, node: nodes.List | nodes.Dict) -> nodes.Node:
        self.generic_visit(node)
        return _filter(ours.MADE, node)

    visit_Dict = visit_List

    def visit_Tuple(self, node: nodes.Tuple) -> nodes.Node:
        self.generic_visit(node)
        return _filter(ours.MADE, node) if node.ctx == "load" else node

    def visit_For(self, node: nodes.For) -> nodes.Node:
        each = sum(1 for _ in node.find_all(nodes.Node))
        self.generic_visit(node)
        assert isinstance(node.iter, nodes.Expr)
        node.iter = _filter(ours.LOOPED, node.iter, nodes.Const(each))
        return node


def _filter(name: str, node: nodes.Expr, *args: nodes.Expr, kwargs: list[nodes.Keyword] | None = None) -> nodes.Filter:
    return nodes.Filter(node, name, list(args), kwargs or [], None, None, lineno=node.lineno)


def _weighed(node: nodes.Expr) -> nodes.Expr:
    return node if isinstance(node, nodes.Const) else _filter(ours.WEIGHED, node)
