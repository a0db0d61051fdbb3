"""A source that can point at its own lines, for errors that show where."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from fewshot.checks import check_path
from fewshot.errors import TemplateError

__all__ = ["LINE_BREAK", "Source", "abridge", "read_source"]

LINE_BREAK = r"(?:\r\n|\r|\n)"  # the breaks that Jinja2 counts
_SHOWN = 120  # characters of a long line
_MOST_CHARACTERS = 1_000_000  # of a file, before anything is looked at


@dataclass(frozen=True, slots=True)
class Source:
    """Text of a template, or of a part of it, and the line of the file that it begins on."""

    text: str
    first: int = 1

    def line(self, number: int) -> str:
        """The line of that number, counted from 1 within the text."""
        lines = re.split(LINE_BREAK, self.text)
        return lines[min(max(number, 1), len(lines)) - 1]

    def error(self, message: str, number: int, target: str | None = None, *, last: bool = False) -> TemplateError:
        """The message with the line it speaks of and a caret under the offender."""
        line = self.line(number)
        found = [match.start() for match in re.finditer(_whole(target), line)] if target else []
        column = found[-1 if last else 0] if found else len(line) - len(line.lstrip())
        return self.at(message, number, column)

    def at(self, message: str, number: int, column: int) -> TemplateError:
        """The message with the line it speaks of and a caret under a column."""
        line = self.line(number)
        start = max(column - _SHOWN // 2, 0) if len(line) > _SHOWN else 0
        shown = "".join(char if char.isprintable() else " " for char in line[start : start + _SHOWN])
        before = "…" if start else ""
        after = "…" if len(line) > start + _SHOWN else ""
        caret = " " * (len(before) + column - start) + "^"
        where = f"(line {number + self.first - 1})"
        return TemplateError(f"{message.rstrip('.')} {where}:\n    {before}{shown}{after}\n    {caret}")


def _whole(target: str) -> str:
    """A pattern of a text; of a name, where it is not part of a longer one."""
    exact = re.escape(target)
    return rf"(?<!\w){exact}(?!\w)" if target.isidentifier() else exact


def abridge(value: object, most: int = 200) -> str:
    """The repr of what was got, or the beginning of it where it is long."""
    shown = repr(value[: most + 1] if isinstance(value, str) else value)
    return shown if len(shown) <= most else shown[:most] + "…"


def read_source(path: str | Path) -> str:
    """The text of a template's UTF-8 file, without the line break that ends it.

    Raises
    ------
    TemplateError
        When the file can't be read, or is too long.
    """
    check_path("path", path)
    path = Path(path)
    try:
        with path.open(encoding="utf-8-sig") as file:  # some editors begin it with a byte order mark
            source = file.read(_MOST_CHARACTERS + 1)
    except UnicodeDecodeError as error:
        raise TemplateError(f"The template file {str(path)!r} is not UTF-8: {error}. Save it as UTF-8.") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise TemplateError(f"The template file {str(path)!r} can't be read: {reason}.") from error
    if len(source) > _MOST_CHARACTERS:
        raise TemplateError(f"The template file {str(path)!r} has more than {_MOST_CHARACTERS:,} characters.")
    return source.removesuffix("\n")
