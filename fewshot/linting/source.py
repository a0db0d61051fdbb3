"""Checks of the source itself: what would stand in the prompt and was hardly meant to."""

from __future__ import annotations

import re

from fewshot.linting.look import Look, show_start
from fewshot.task.front_matter import split_front_matter
from fewshot.task.hints import find_marks
from fewshot.task.source import LINE_BREAK

__all__ = ["check_source"]

_TAGS = re.compile(
    r"[ \t]*(?:\{%(?!-|\s*raw)[^{}]*[^-{}]%\}[ \t]*)+"
)  # a line of statements that keep their line break


def check_source(look: Look) -> None:
    """Marks of other tools, dashes at the start, and lines that hold nothing but a statement."""
    _, body = split_front_matter(look.template.source)
    for mark in find_marks(body):
        if mark.certain:
            look.found(
                "warning",
                f"{mark.written!r} stands in the template as text, and other tools write their marks so.",
                f"Write {mark.here}, or leave it where that text is meant.",
            )
    if re.match(r"---[ \t]*[\r\n]", body):
        cure = "Write keys and a second line of dashes for a front matter, or leave it where that text is meant."
        look.found("hint", "The prompt begins with a line of dashes.", cure)
    lines = re.split(LINE_BREAK, body)
    alone = [line for line in lines[:-1] if _TAGS.fullmatch(line)]
    if alone:
        first = lines[0] is alone[0]
        more = f", as {len(alone) - 1} more do" if len(alone) > 1 else ""
        look.found(
            "warning",
            f"The line {show_start(alone[0].strip())!r} holds nothing that is shown, and leaves a line break{more}.",
            "End it with -%}, which takes the line break after it."
            if first
            else "Begin it with {%-, which takes the line break before it.",
        )
