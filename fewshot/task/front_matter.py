"""Front matter: the YAML between two lines of dashes that a template may begin with.

Whatever stands there is text, lists of text and mappings of text: YAML takes ``Yes`` for a truth value, ``1.0`` for a
number and ``2024-01-01`` for a date, and label words and class names are none of these. So the events of the YAML
parser are put together here, scalars as they are written.
"""

from __future__ import annotations

import itertools
import re
from typing import Any

import yaml

from fewshot.errors import TemplateError
from fewshot.task.source import LINE_BREAK, Source

__all__ = ["split_front_matter"]

_OPENING = re.compile(rf"\A\s*---[ \t]*{LINE_BREAK}")
_FRONT_MATTER = re.compile(rf"\A---[ \t]*{LINE_BREAK}(.*?)(?<=[\r\n])---[ \t]*(?:{LINE_BREAK}|\Z)", re.DOTALL)
_KEYS = (
    "answers",
    "choice",
    "choices",
    "description",
    "descriptions",
    "domain_premise",
    "fields",
    "instruction",
    "licence",
    "ordered",
    "separator",
    "source",
    "system",
    "task",
    "words",
)
_KEY = re.compile(rf"[ \t]*(?:{'|'.join(_KEYS)})[ \t]*:")
_LIKE_YAML = re.compile(r"(?:\Z|#|- |[\w\"' ]+:)")
_STRUCTURED = frozenset({"answers", "choice", "choices", "descriptions", "fields", "words"})  # null is nothing
_NOTHING = ("", "~", "null", "Null", "NULL")
_MOST_CHARACTERS = 100_000
_MOST_LEVELS = 5
_BREAK = re.compile(r"\r\n?")


def split_front_matter(source: str) -> tuple[dict[str, Any], str]:
    """Split a source into its front matter and its body.

    Raises
    ------
    TemplateError
        When the front matter is not closed, not YAML, no mapping of known keys, or too long or too deep.
    """
    source = source.removeprefix("\ufeff")  # some editors begin a file with a byte order mark
    match = _FRONT_MATTER.match(source)
    if match is None:
        _check_that_none_is_meant(source)
        return {}, source
    text = match.group(1)
    if len(text) > _MOST_CHARACTERS:
        raise TemplateError(
            f"The front matter has {len(text):,} characters, and may have {_MOST_CHARACTERS:,}: pass many label words "
            "as verbalizer={class: word}."
        )
    loaded = _loaded(Source(text, 2))
    unknown = sorted(set(loaded) - set(_KEYS))
    if unknown:
        raise TemplateError(f"Unknown front matter key {unknown[0]!r:.80}. Known keys: {', '.join(_KEYS)}.")
    return loaded, source[match.end() :]


def _check_that_none_is_meant(source: str) -> None:
    """Refuse dashes and keys that are no front matter only because of how they begin or end."""
    opening = _OPENING.match(source)
    if opening is None:
        return
    after = re.split(LINE_BREAK, source[opening.end() : opening.end() + _MOST_CHARACTERS])
    if not any(map(_KEY.match, itertools.takewhile(_LIKE_YAML.match, map(str.lstrip, after)))):
        return  # a text that begins with a line of dashes
    if not source.startswith("---"):
        raise TemplateError(
            "The front matter must begin with the source: take away the blanks and line breaks before its first ---, "
            "as a backslash after the opening quotes of the text does, or textwrap.dedent(source).lstrip()."
        )
    raise Source(source).error("The front matter is not closed: write a line of --- after its last key", 1)


def _loaded(source: Source) -> dict[str, Any]:
    """The mapping that the YAML is."""
    try:
        found = _Builder(source).built()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        message = f"The front matter is not valid YAML: {error.problem or error.context}"
        raise source.at(message, mark.line + 1 if mark else 1, mark.column if mark else 0) from None
    except yaml.reader.ReaderError as error:
        before = re.split(LINE_BREAK, source.text[: error.position])
        message = f"The front matter is not valid YAML: it holds the character {error.character!r}"
        raise source.at(message, len(before), len(before[-1])) from None
    except TemplateError:
        raise
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise TemplateError(f"The front matter is not valid YAML: {error}") from error
    if found is None:
        return {}
    if not isinstance(found, dict):
        kind = "text" if isinstance(found, str) else type(found).__name__
        raise TemplateError(f"The front matter must be a mapping of keys to values. Got {kind}.")
    return found


class _Builder:
    """Puts the events of a YAML parser together, without calls inside calls."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.found: Any = None
        self.n_documents = 0
        self.open: list[list[Any] | dict[str, Any]] = []
        self.keys: list[str | None] = []  # of each open one, the key that waits for its value

    def built(self) -> Any:
        """The document; None where there is none."""
        for event in yaml.parse(_BREAK.sub("\n", self.source.text), Loader=yaml.SafeLoader):
            self._check(event)
            if isinstance(event, yaml.ScalarEvent):
                self._add(self._text(event), event)
            elif isinstance(event, yaml.SequenceStartEvent):
                self._begin([], event)
            elif isinstance(event, yaml.MappingStartEvent):
                self._begin({}, event)
            elif isinstance(event, yaml.CollectionEndEvent):
                self.open.pop()
                self.keys.pop()
        return self.found

    def _check(self, event: yaml.Event) -> None:
        if isinstance(event, yaml.DocumentStartEvent):
            self.n_documents += 1
            if self.n_documents > 1:
                raise self._error("The front matter is one YAML document", event)
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise self._error(
                "The front matter has no anchors and aliases of YAML: write in quotes what begins so", event
            )
        if getattr(event, "tag", None) not in (None, "!", "tag:yaml.org,2002:str"):
            raise self._error("The front matter has no tags of YAML: whatever stands there is text", event)

    def _begin(self, made: list[Any] | dict[str, Any], event: yaml.Event) -> None:
        self._add(made, event)
        if len(self.open) == _MOST_LEVELS:
            raise self._error(f"The front matter is nested more than {_MOST_LEVELS} levels deep", event)
        self.open.append(made)
        self.keys.append(None)

    def _add(self, value: Any, event: yaml.Event) -> None:
        if not self.open:
            self.found = value
        elif isinstance(within := self.open[-1], list):
            within.append(value)
        elif (key := self.keys[-1]) is not None:
            within[key] = value
            self.keys[-1] = None
        elif not isinstance(value, str):
            raise self._error("A key of the front matter must be text", event)
        elif value in within:
            raise self._error(f"The front matter has the key {value!r:.80} twice", event)
        else:
            self.keys[-1] = value

    def _text(self, event: yaml.ScalarEvent) -> str | None:
        """A scalar as it is written; nothing where a list or mapping would stand and YAML says that it is not there."""
        top = (len(self.open) == 1 and self.keys[-1] in _STRUCTURED) or not self.open
        nothing = top and event.style is None and event.value in _NOTHING
        return None if nothing else str(event.value)

    def _error(self, message: str, event: yaml.Event) -> TemplateError:
        mark = event.start_mark
        return self.source.at(message, mark.line + 1 if mark else 1, mark.column if mark else 0)
