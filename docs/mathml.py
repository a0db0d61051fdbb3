"""Formulas as MathML, which browsers read by themselves: MathJax would be loaded from outside."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from docutils.nodes import SkipNode
from docutils.utils.math.latex2mathml import tex2mathml

if TYPE_CHECKING:
    from sphinx.application import Sphinx


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx; `html_math_renderer` names it."""
    app.add_html_math_renderer("mathml", (write_inline, None), (write_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def write_inline(translator: Any, node: Any) -> None:
    """Write a formula of a line. What docutils can't read is an error of the build."""
    translator.body.append(tex2mathml(node.astext()))
    raise SkipNode


def write_block(translator: Any, node: Any) -> None:
    """Write a formula of its own; one that is wider than the page is scrolled."""
    translator.body.append(f'<div class="formula">{tex2mathml(node.astext(), as_block=True)}</div>\n')
    raise SkipNode
