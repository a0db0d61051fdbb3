"""Tables as text, as HTML and as lines of delimited files: the one way in which all print and write them."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from jinja2 import Environment

__all__ = ["as_html", "as_text", "cells_to_line", "known", "long_cells"]

_LARGEST = min(sys.maxsize, 2**31 - 1)  # of a cell, as the C type of the csv module takes it everywhere

#: The colours are the page's own; a bare table has no lines either.
_HTML = Environment(autoescape=True).from_string(
    """\
{%- set style = "text-align:left;vertical-align:top" %}
{%- if bare %}{% set style = style ~ ";background:transparent;padding:.1em 1em .1em 0;border:0" %}{% endif %}
{%- set head %}{% if header %}<tr>
    {%- for name in header %}<th style='{{ style }}'>{{ name }}</th>{% endfor %}</tr>
{%- endif %}{% endset %}
{%- set body %}{% for row in rows %}<tr>
    {%- for cell in row %}<td style='{{ style }};white-space:pre-wrap'>{{ cell }}</td>{% endfor %}</tr>
{%- endfor %}{% endset %}
{%- if bare %}<table style='border:0;margin:0 0 1em'>{{ head }}{{ body }}</table>
{%- else %}<table><thead>{{ head }}</thead><tbody>{{ body }}</tbody></table>{% endif %}"""
)


def known(columns: Mapping[str, Sequence[Any]]) -> tuple[list[str], list[list[Any]]]:
    """Header and rows of the columns of which anything is known; an unknown cell, None, is blank.

    Examples
    --------
    >>> known({"word": ["good", "bad"], "tokens": [1, None], "share": [None, None]})
    (['word', 'tokens'], [['good', 1], ['bad', '']])
    """
    shown = {name: cells for name, cells in columns.items() if any(cell is not None for cell in cells)}
    rows = [["" if cell is None else cell for cell in row] for row in zip(*shown.values(), strict=True)]
    return list(shown), rows


def as_text(header: Sequence[str], rows: Sequence[Sequence[str]], *, right: bool = False, rule: bool = False) -> str:
    """Lay out cells as plain text.

    ``right`` aligns all columns but the first to the right, as numbers are; ``rule`` puts dashes below the header.

    Examples
    --------
    >>> print(as_text(["metric", "value"], [["accuracy", "0.9"], ["Brier", "0.15"]], right=True))
    metric    value
    accuracy    0.9
    Brier      0.15
    """
    lines = [header, *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    if rule:
        lines.insert(1, ["-" * width for width in widths])
    return "\n".join(
        "  ".join(
            cell.rjust(width) if right and i else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def as_html(header: Sequence[str], rows: Sequence[Sequence[Any]], *, bare: bool = False) -> str:
    """Write a table for a notebook; all cells are escaped but those that are Markup already.

    Examples
    --------
    >>> "<td style='text-align:left;vertical-align:top;white-space:pre-wrap'>a &lt; b</td>" in as_html([], [["a < b"]])
    True
    """
    return _HTML.render(header=header, rows=rows, bare=bare)


def cells_to_line(cells: Iterable[Any], delimiter: str) -> str:
    """One line of a delimited file, which reads as these cells again."""
    stream = io.StringIO(newline="")
    # a cell is quoted where it holds a character of the terminator: only thus is a lone carriage return quoted too
    csv.writer(stream, delimiter=delimiter, lineterminator="\r\n").writerow(cells)
    return stream.getvalue().removesuffix("\r\n") + "\n"


@contextmanager
def long_cells() -> Iterator[None]:
    """Let the csv module read cells of any length, while the block runs."""
    before = csv.field_size_limit(_LARGEST)
    try:
        yield
    finally:
        csv.field_size_limit(before)
