"""What was meant: fields whose names Jinja2 can't read, and the marks of other tools."""

from __future__ import annotations

import keyword
import re
from typing import NamedTuple

from jinja2 import nodes

__all__ = ["Mark", "find_cure", "find_hyphenated", "find_marks", "translate_marks"]

_COLUMN = re.compile(r"\w[\w .,:;/#&?!'’$%°-]*")  # what a table calls a column, where that is more than one name
_RESERVED = frozenset({"and", "else", "if", "in", "is", "not", "or"})
_LONG = 80


class Mark(NamedTuple):
    """A mark of another tool: how it is written, and what is written here."""

    written: str
    here: str
    certain: bool  # that it is no text, wherever it stands


_LABEL, _FIELD = "{{ label }}", "{{ text }}"
_MARKS: tuple[tuple[str, str, bool], ...] = (
    # OpenPrompt
    (r"\{ {0,3}[\"']mask[\"'][^{}\n]{0,80}\}", _LABEL, True),
    (r"\{ {0,3}[\"'](?:placeholder|meta)[\"'] {0,3}: {0,3}[\"'](?P<field>\w{1,80})[\"'][^{}\n]{0,200}\}", "", True),
    (r"\{ {0,3}[\"'](?:soft|special|sep|cls|eos)[\"'][^{}\n]{0,200}\}", "plain words", True),
    # the mask tokens of models, PET, LM-BFF
    (r"\[MASK\]|<mask>|<extra_id_0>|\*mask\*", _LABEL, True),
    (r"\*(?:sent|sentl)[-+_]?[01]\*|\*\+?sentl?_?[01]\*", _FIELD, True),
    (r"\*cls\*|\*sep\+?\*|\*eos\*", "nothing", True),  # special tokens are the tokenizer's own
    # promptsource, lm-evaluation-harness
    (r"answer_choices {0,3}\[ {0,3}\w{1,80} {0,3}\]", _LABEL, True),
    (r"\|\|\|", "a line break", True),
    (r"\bdoc_to_(?:text|target|choice)\b", "the text itself, and " + _LABEL + " after it,", False),
    # formatted strings
    (r"\$\{ {0,3}(?P<field>[^\W\d]\w{0,80}) {0,3}\}", "", True),
    (r"(?<![{$])\{ {0,3}(?P<field>[^\W\d]\w{0,80})?\d? {0,3}(?:![rsa])?\}(?!\})", "", True),
    (r"%\((?P<field>\w{1,80})\)s|%s", "", False),
    (r"(?<!\w)\$(?P<field>[A-Za-z_]\w{0,80})", "", False),
    (r"<(?P<field>text|text_a|text_b|sentence|sentence1|sentence2|input|premise|hypothesis|review|label)>", "", False),
    (r"\[(?P<field>text|TEXT|X|INPUT|label|LABEL)\]", "", False),
)
_ANY = re.compile(
    "|".join(f"(?P<m{i}>{re.sub(r'[(][?]P<field>', f'(?P<f{i}>', found)})" for i, (found, *_) in enumerate(_MARKS))
)
_MOST_MARKS = 3


def find_marks(text: str) -> list[Mark]:
    """The marks of other tools in a text, each once."""
    found: dict[str, Mark] = {}
    for match in _ANY.finditer(text):
        number = next(i for i in range(len(_MARKS)) if match.group(f"m{i}") is not None)
        _, here, certain = _MARKS[number]
        field = match.groupdict().get(f"f{number}")
        if not here:
            here = _LABEL if (field or "").lower() in ("label", "mask", "answer") else f"{{{{ {field or 'text'} }}}}"
        found.setdefault(match.group(), Mark(match.group(), here, certain))
    return list(found.values())


def translate_marks(text: str) -> str:
    """What to write for the first marks of other tools in a text, as a sentence; empty where there are none."""
    said = [f"{mark.here} instead of {mark.written}" for mark in find_marks(text)[:_MOST_MARKS]]
    return f"Write {', '.join(said)}. " if said else ""


def find_cure(tag: str) -> str:
    """What to do about a tag that does not parse because a column's name stands in it; empty where it is not that."""
    printed = tag.startswith("{{") and tag.endswith("}}")
    name = tag[2:-2].strip(" \t+-") if printed else ""
    if len(name) > _LONG or not _COLUMN.fullmatch(name):
        return ""
    if name not in _RESERVED and name.isidentifier():
        return ""
    plain = _plain(name)
    return (
        f"A field is one name of letters, digits and _, and {name!r} is none: write {{{{ {plain} }}}}, and "
        f"template.rename({plain}={name!r}) where the column is called so"
    )


def find_hyphenated(node: nodes.Sub, line: str) -> str | None:
    """The name with hyphens that was read as fields minus each other; None where blanks stand around the minus."""
    parts: list[str] = []
    at: nodes.Node = node
    while isinstance(at, nodes.Sub):
        right: nodes.Node | None = at.right
        while isinstance(right, nodes.Filter):  # it binds closer than the minus
            right = right.node
        if not isinstance(right, nodes.Name):
            return None
        parts.insert(0, right.name)
        at = at.left
    if not isinstance(at, nodes.Name):
        return None
    name = "-".join([at.name, *parts])
    return name if re.search(rf"(?<![\w.]){re.escape(name)}(?![\w.(])", line) else None


def _plain(name: str) -> str:
    plain = re.sub(r"\W+", "_", name).strip("_") or "field"
    return (
        f"{plain}_" if plain in _RESERVED or keyword.iskeyword(plain) else f"_{plain}" if plain[0].isdigit() else plain
    )
