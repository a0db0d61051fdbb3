"""Template: Jinja2 source with one hole."""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import UndefinedError

from fewshot.checks import is_blank
from fewshot.errors import InputError, TemplateError
from fewshot.inputs import Row
from fewshot.models.base import Query, Turn
from fewshot.task.descriptions import by_word, running, take_descriptions
from fewshot.task.front_matter import split_front_matter
from fewshot.task.hints import translate_marks
from fewshot.task.letters import letters_of
from fewshot.task.parsing import (
    CANDIDATE,
    CHOICE,
    DESCRIPTIONS,
    LABELS,
    LETTERS,
    Compiled,
    compile_plain,
    compile_source,
    render_joined,
    uses,
)
from fewshot.task.prompt import Prompt
from fewshot.task.row_choices import as_tuple, check_choices, texts_of
from fewshot.task.source import LINE_BREAK, Source, abridge, read_source

if TYPE_CHECKING:
    from fewshot.linting import LintReport

__all__ = ["Template"]

_SMALL = {  # what else is Jinja2, without a hole, and what messages call it
    "instruction": "The instruction",
    "domain_premise": "The domain_premise, which may use fields only where rows bring their own choices,",
    "choice": "'choice' in the front matter",
}


class Template:
    r"""A prompt with one hole, written in Jinja2.

    The hole is ``{{ label }}``, or ``{{ answer }}`` for free answers. Every other name is a field of the row. A row
    that is a string fills the template's only field; a mapping (or a DataFrame row) fills each field by its name. The
    source runs in a sandbox, and an undefined name is an error. The text of a row is never parsed, and no byte of the
    prompt is altered.

    Parameters
    ----------
    source : str
        Jinja2 source, with optional YAML front matter between two ``---`` lines. Its keys: ``task``, ``description``,
        ``fields``, ``words`` (class -> label words), ``descriptions`` (class -> what it means), ``ordered`` (``true``:
        ``words`` stand in the order of a scale, the lowest level first), ``instruction``, ``system``, ``separator``,
        ``source``, ``domain_premise``, ``answers`` (``{no: ..., yes: ...}`` if the template asks about one label of
        several; or ``letters``, see Notes), ``choices`` and ``choice`` (if each row brings its own choices, see Notes),
        ``licence``.
    instruction : str, optional
        Text that stands once before everything. It may list the label words with ``labels``. Overrides the front
        matter.
    words : mapping, optional
        Label words of each class. Overrides the front matter.
    descriptions : mapping, optional
        What each class means, or None. Overrides the front matter (see Notes).
    choices : str or sequence of str, optional
        The field that holds a row's choices, or the fields of one choice each. Overrides the front matter.
    name : str, optional
        The name of the template in messages.

    Attributes
    ----------
    fields : tuple of str
        Names that a row must have.
    metadata : dict
        The front matter.

    Raises
    ------
    TemplateError
        On a syntax error, without exactly one hole, without a field, with an unknown key in the front matter, or with
        anything that the sandbox does not allow.

    Notes
    -----
    A template may use fields, items of mappings and lists, parts of a date, ``if``, ``for`` over a field or a ``range``
    of at most 1,000, ``set``, ``with``, comparisons, arithmetic of numbers, ``~``, Jinja2's tests and most of its
    filters (not those that draw at random, pad or wrap), and methods of texts and mappings that make nothing longer.
    Macros, blocks, includes, recursive loops, powers and repeated texts are errors when the template is made. One
    rendering has at most 20,000,000 characters and at most 1,000,000 steps of loops. All values in the front matter are
    text as they are written, also ``Yes``, ``1.0`` and ``null``.

    ``{{ text | shorten }}`` marks a field that may be cut when a prompt exceeds the model's window. If no field is
    marked, all fields may be cut. The longest field is cut first, until it is as long as the next one. ``weight=``
    multiplies the length of a field in this comparison: a field with ``weight=2`` counts as twice as long, and is cut
    until it is half as long as the others. ``side=`` ("right" or "left") is the side that is cut off. No field becomes
    empty while another can still be cut.

    With ``choices: [choice1, choice2]`` (fields of one choice each) or ``choices: options`` (one field with a list of
    texts), each row brings the candidates for its hole. Its class is the number of the right choice, from 0; see
    `Choices`. ``choice: "{{ choice | lower }}"`` sets how a choice is written in the hole. ``labels`` are then the
    choices of the row in this form, and ``domain_premise`` may use the row's fields. Missing choices are left out of
    ``labels``, and their fields are not defined.

    In a template with descriptions, ``descriptions`` is a mapping from label words to descriptions, and not a field.
    ``{% for option in labels %}- {{ option }}: {{ descriptions[option] }}`` lists both; ``descriptions.get(option)`` is
    None if an option has none. A prompt shows descriptions only where the template uses this mapping, with three
    exceptions. For an encoder, the frame filled with the description is one more class prompt, beside those with label
    words. In the hypotheses of an entailment model, the description follows the label word, as in "billing: charges,
    invoices". A server of typed decisions gets it with the option. A line break in a description becomes a blank.

    With ``answers: letters``, the hole is filled with the letter of a class in the list, so that every answer is one
    token, whatever the names of the classes are. In such a template, ``letters`` is a mapping from label words to A, B,
    and so on, in the order of the list, and not a field: ``{% for option in labels %}{{ letters[option] }}. {{ option
    }}``. Each class must have one label word, and there are at most 26 classes; see the gallery's generic/letters.

    Examples
    --------
    >>> from fewshot import Template
    >>> template = Template("Review: {{ text }}\nSentiment: {{ label }}")
    >>> print(template.render("Great fun.", "positive"))
    Review: Great fun.
    Sentiment: positive
    >>> template.query("Great fun.", ["negative", "positive"]).prefix
    'Review: Great fun.\nSentiment: '
    """

    def __init__(
        self,
        source: str,
        *,
        instruction: str | None = None,
        words: Mapping[Any, Any] | None = None,
        descriptions: Mapping[Any, str | None] | None = None,
        choices: str | Sequence[str] | None = None,
        name: str | None = None,
    ) -> None:
        if not isinstance(source, str):
            raise TemplateError(
                f"A template's source must be a string. Got {type(source).__name__}: {abridge(source)}."
            )
        if name is not None and not isinstance(name, str):
            raise TemplateError(f"A template's name must be a string. Got {type(name).__name__}: {abridge(name)}.")
        self.source = source
        self.name = name
        self._renamed: dict[str, str] = {}
        with _named(name):
            self.metadata, self._body = split_front_matter(source)
            if instruction is not None:
                self.metadata["instruction"] = instruction
            if words is not None:
                self.metadata["words"] = dict(words) if isinstance(words, Mapping) else words
            if descriptions is not None:
                self.metadata["descriptions"] = descriptions
            if choices is not None:
                self.metadata["choices"] = choices if isinstance(choices, str) else list(choices)
            self._check()

    def _check(self) -> None:
        if DESCRIPTIONS in self.metadata:
            self.metadata[DESCRIPTIONS] = take_descriptions(self.metadata[DESCRIPTIONS] or {}, "'descriptions'")
        check_choices(self.metadata)
        names = self._names
        if not names:
            raise TemplateError(
                f"{translate_marks(self._body)}A template must use at least one field, such as {{{{ text }}}}. "
                f"Got {abridge(self._body)}."
            )
        declared = self.metadata.get("fields")
        if declared is not None and (not isinstance(declared, list) or set(map(str, declared)) != set(names)):
            raise TemplateError(f"The front matter declares the fields {declared}, the template uses {list(names)}.")
        words = self.metadata.get("words")
        if words is not None and not isinstance(words, Mapping):
            raise TemplateError(f"'words' must map each class to its label words. Got {type(words).__name__}.")
        for name, own in (words or {}).items():
            parts = own if isinstance(own, Sequence) and not isinstance(own, str) else ()
            if any(isinstance(one, Sequence | Mapping) and not isinstance(one, str) for one in parts):
                raise TemplateError(
                    f"'words' must map {abridge(name)} to a word or a list of words. Got {abridge(own)}."
                )
        self._check_order()
        self._check_answers()
        for key in ("instruction", "system", "separator", "domain_premise"):
            if not isinstance(self.metadata.get(key, ""), str):
                raise TemplateError(f"{key!r} must be text. Got {self.metadata[key]!r}.")
        self._small  # noqa: B018 - compiled now, so that a bad one fails here

    def _check_answers(self) -> None:
        answers = self.metadata.get("answers")
        if self.by_letter:
            listed = self._uses(LABELS) and self._uses(LETTERS)
            if not listed or CANDIDATE in self._names:
                raise TemplateError(
                    "'answers: letters' says that the hole is filled with the letter of a listed class: list them all, "
                    "'{% for option in labels %}{{ letters[option] }}. {{ option }} ...'"
                    f"{'' if listed is False else ', without {{ candidate }}'}."
                )
        elif answers is not None and (not isinstance(answers, Mapping) or set(answers) != {"no", "yes"}):
            raise TemplateError(
                f"'answers' must be words for no and yes, {{no: No, yes: Yes}}, or letters. Got {answers!r}."
            )

    def _check_order(self) -> None:
        said = self.metadata.get("ordered", "false")
        if said not in ("true", "false", True, False):
            raise TemplateError(f"'ordered' must be true or false. Got {abridge(said)}.")
        if self.ordered and not self.metadata.get("words"):
            raise TemplateError("'ordered: true' says that the classes of 'words' stand lowest first. Got no 'words'.")

    @classmethod
    def from_file(cls, path: str | Path, *, name: str | None = None) -> Template:
        """Read a template from a UTF-8 file. A line break at the end of the file is left out.

        Raises
        ------
        TemplateError
            When the file can't be read, or is not a valid template.
        """
        return cls(read_source(path), name=name or Path(path).name)

    @property
    def fields(self) -> tuple[str, ...]:
        """Names that a row must have."""
        return tuple(self._renamed.get(name, name) for name in self._names)

    @property
    def _names(self) -> tuple[str, ...]:
        """The fields as the source calls them, those of choices that the prompt does not show included."""
        return tuple(dict.fromkeys((*self._compiled.fields, *as_tuple(self.metadata.get("choices")))))

    @property
    def words(self) -> dict[Any, Any] | None:
        """Label words of each class, if the template brings its own; else None."""
        words = self.metadata.get("words")
        return None if words is None else dict(words)

    @property
    def ordered(self) -> bool:
        """Whether the classes of `words` are levels of a scale, lowest first."""
        return self.metadata.get("ordered") in ("true", True)

    @property
    def by_letter(self) -> bool:
        """Whether the hole is filled with the letter of a listed class."""
        return self.metadata.get("answers") == LETTERS

    @property
    def descriptions(self) -> dict[Any, str]:
        """What each class means, for classes with a description."""
        return dict(self.metadata.get(DESCRIPTIONS) or {})

    @property
    def shows_descriptions(self) -> bool:
        """Whether a prompt shows ``descriptions``: in the body, or in the instruction."""
        return self._uses(DESCRIPTIONS)

    @property
    def choices(self) -> str | tuple[str, ...] | None:
        """The field with a row's choices, or the fields of one choice each; None if rows bring no choices."""
        names = self.choice_fields
        return names[0] if isinstance(self.metadata.get("choices"), str) else names or None

    @property
    def choice_fields(self) -> tuple[str, ...]:
        """The fields of `choices` as a tuple; empty if rows bring no choices."""
        return tuple(self._renamed.get(name, name) for name in as_tuple(self.metadata.get("choices")))

    def choices_of(self, row: Row) -> tuple[str, ...]:
        """Return the choices of a row, written as they fill the hole.

        Raises
        ------
        TemplateError
            When the template takes no choices from its rows.
        InputError
            When the row has no choice, or one that is not text.
        """
        if self.choices is None:
            raise TemplateError(f"{self} takes no choices from its rows: name their fields, choices: [a, b].")
        texts = texts_of(row, self.choices)
        if "choice" not in self._small:
            return texts
        written = tuple(self._rendered("choice", {CHOICE: text}) or "" for text in texts)
        for text, form in zip(texts, written, strict=True):
            if not form.strip():
                raise InputError(f"nothing is left of the choice {text!r} as 'choice' writes it")
        return written

    def premise(self, row: Row | None = None) -> str | None:
        """Return the ``domain_premise``, rendered with a row that brings its own choices; None if there is none."""
        return self._rendered("domain_premise", {} if row is None else self._variables(row))

    def _rendered(self, key: str, variables: Mapping[str, Any]) -> str | None:
        if key not in self._small:
            return None
        with _named(self.name):
            return render_joined(self._small[key], variables, _SMALL[key])

    @property
    def separator(self) -> str:
        """The text between the instruction, the demonstrations and the prompt."""
        return str(self.metadata.get("separator", "\n\n"))

    def rename(self, /, **names: str) -> Template:
        """Return the same template with other names of fields, as in ``rename(text_a="premise")``.

        Raises
        ------
        TemplateError
            When the template has no such field, or two fields would get the same name.
        """
        if not all(isinstance(new, str) for new in names.values()):
            raise TemplateError(f"Fields are renamed to the names of columns, which are text. Got {abridge(names)}.")
        unknown = sorted(set(names) - set(self.fields))
        if unknown:
            raise TemplateError(f"{self} has no field {unknown[0]!r}. Its fields are {list(self.fields)}.")
        renamed = {name: names.get(now, now) for name, now in zip(self._names, self.fields, strict=True)}
        if len(set(renamed.values())) < len(renamed):
            raise TemplateError(f"Two fields of {self} would share one name: {sorted(renamed.values())}.")
        twin = Template.__new__(Template)
        changed = {name: new for name, new in renamed.items() if new != name}
        twin.__setstate__({**self.__getstate__(), "_renamed": changed})
        return twin

    def kept(self) -> dict[str, Any]:
        """Return what is needed to make the template again, beside its source and name."""
        own, _ = split_front_matter(self.source)
        changed = {key: value for key, value in self.metadata.items() if own.get(key) != value}
        kept = ("instruction", "words", DESCRIPTIONS)
        return {**{key: changed.get(key) for key in kept}, "renamed": dict(self._renamed)}

    def bind(self, words: Mapping[Any, Sequence[str]], descriptions: Mapping[Any, str | None]) -> Template:
        """Return the same template with these label words and descriptions; words of a scale in its order."""
        twin = Template.__new__(Template)
        twin.__setstate__(self.__getstate__())
        twin.metadata = {**self.metadata, "words": {name: list(own) for name, own in words.items()}}
        if descriptions:
            twin.metadata[DESCRIPTIONS] = descriptions
        twin._check()  # noqa: SLF001 - it is one of these
        return twin

    def prompt(self, row: Row, labels: Sequence[str] = ()) -> Prompt:
        """Render a row as a ``Prompt`` of several parts; ``labels`` are the label words or choices that it may list.

        Raises
        ------
        TemplateError
            When the row lacks a field of the template, or can't be rendered.
        """
        own = labels or (() if self.choices is None else self.choices_of(row))
        variables = {**self._variables(row), **self._shared(own)}
        with _named(self.name):
            try:
                return Prompt(self._compiled.pieces(variables))
            except UndefinedError as error:
                message = re.sub(r"^'(\w+)'", lambda m: repr(self._shown(m[1])), str(error.message))
                if message.startswith(tuple(map(repr, self.choice_fields))):
                    message += " (this row has fewer choices: guard it with 'is defined', or loop over labels)"
                has = "a text" if isinstance(row, str) else f"the fields {list(row)}"
                raise TemplateError(f"{message}; the row has {has}, the template uses {list(self.fields)}") from None
            except Exception as error:  # of the row's own objects as well
                kind = "" if isinstance(error, TemplateError) else f"{type(error).__name__}: "
                raise TemplateError(f"The row can't be rendered in {self}: {kind}{error!s:.400}") from error

    def render(self, row: Row, label: str, labels: Sequence[str] = ()) -> str:
        """Render a row with the hole filled."""
        return self.prompt(row, labels).fill(label)

    def query(
        self,
        row: Row,
        candidates: Sequence[str],
        *,
        labels: Sequence[str] = (),
        demonstrations: Sequence[tuple[Row, str]] = (),
        kind: str = "causal",
    ) -> Query:
        """Return the query that asks which candidate fills the hole, after instruction and demonstrations.

        Parameters
        ----------
        row : str or mapping
        candidates : sequence of str
            Label words.
        labels : sequence of str, default=()
            What the template lists as ``labels``.
        demonstrations : sequence of (row, label word), default=()
        kind : str, default="causal"
            The kind of the model that is asked.
        """
        return self.prompt(row, labels).query(candidates, self.context(demonstrations, labels), kind)

    def context(self, demonstrations: Sequence[tuple[Row, str]] = (), labels: Sequence[str] = ()) -> tuple[Turn, ...]:
        """Return the turns before every prompt: system text and instruction, then demonstrations.

        A demonstration, given as (row, label word), is the same template with the hole filled, so it always has the
        format of the prompt.
        """
        turns = []
        head = [text for text in (self.metadata.get("system"), self.instruction(labels)) if text]
        if head:
            turns.append(Turn("system", self.separator.join(head) + self.separator))
        for row, word in demonstrations:
            prompt = self.prompt(row, labels)
            turns.append(Turn("user", prompt.prefix))
            turns.append(Turn("assistant", word + prompt.suffix + self.separator))
        return tuple(turns)

    def instruction(self, labels: Sequence[str] = ()) -> str:
        """Return the instruction with the label words filled in; empty if there is none."""
        return self._rendered("instruction", self._shared(labels)) or ""

    def text(self, row: Row) -> str:
        """Return what an encoder reads: a string row itself, or the rendered fields without the frame."""
        return row if isinstance(row, str) else self.prompt(row).fields_text

    def lists_labels(self, *, instruction: bool = True) -> bool:
        """Return whether a prompt lists the label words with ``labels``: in the body, or in an instruction."""
        return self._uses(LABELS, instruction=instruction)

    def _uses(self, name: str, *, instruction: bool = True) -> bool:
        sources = [self._body, self.metadata.get("instruction") if instruction else None]
        return any(uses(Source(source), name) for source in sources if source is not None)

    def _shared(self, labels: Sequence[str]) -> dict[str, Any]:
        """What all rows share: the listed label words, and what they mean."""
        described = {DESCRIPTIONS: self._by_word} if DESCRIPTIONS in self.metadata else {}
        lettered = {LETTERS: letters_of(labels)} if self.by_letter else {}
        return {LABELS: list(labels), **described, **lettered}

    @cached_property
    def _by_word(self) -> dict[str, str]:
        return by_word(self.descriptions, self.words)

    def frame(self, word: str, labels: Sequence[str] = ()) -> str:
        """Return the frame (the text around the hole that has no field) filled with a word.

        Raises
        ------
        TemplateError
            When the text around the hole can't be rendered.
        """
        with _named(self.name):
            try:
                pieces = self._compiled.frame_pieces(self._shared(labels))
            except Exception as error:
                raise TemplateError(f"The text around the hole can't be rendered: {error!s:.400}") from error
        return Prompt(pieces).fill(word).strip()

    def class_prompts(self, words: Sequence[str], labels: Sequence[str] = ()) -> list[str]:
        """Return an encoder's prompts for a class: the frame with each label word, and with the description."""
        means = running(self._by_word.get(words[0], ""))
        return [self.frame(text, labels) for text in (*words, means) if text]

    def described(self, word: str) -> str:
        """Return a label word, followed by a colon and its description if it has one."""
        means = running(self._by_word.get(word, ""))
        return f"{word}: {means}" if means else word

    def lint(self, model: Any = None, X: Any = None, verbalizer: Any = None) -> LintReport:
        """Check what the template does to fields, tokens and label words; see `fewshot.lint`."""
        import fewshot  # the public door: what it opens lies above the task

        return fewshot.lint(self, model, X, verbalizer)

    def _variables(self, row: Row) -> dict[str, Any]:
        names = self._names
        if isinstance(row, str):
            if len(names) != 1:
                raise TemplateError(
                    f"{self} uses {len(names)} fields {list(self.fields)}, and the row is one text: pass a DataFrame "
                    "or mappings with these fields."
                )
            return {names[0]: row}
        if not isinstance(row, Mapping):
            raise InputError(f"a row must be a string or a mapping of fields. Got {type(row).__name__}: {row!r:.80}")
        may_lack = () if isinstance(self.choices, str) else self.choice_fields
        given = {n: row[n] for n in self.fields if n in row and not (n in may_lack and is_blank(row[n]))}
        for name, value in given.items():
            if isinstance(value, bytes) or (is_blank(value) and not isinstance(value, str)):
                raise InputError(f"the field {name!r} is {value!r}: fill it, or drop the row")
        return {name: given[now] for name, now in zip(names, self.fields, strict=True) if now in given}

    def _shown(self, name: str) -> str:
        """What a row calls a name of the compiled source."""
        own = self._compiled.named(name)
        return self._renamed.get(own, own)

    @cached_property
    def _compiled(self) -> Compiled:
        before = self.source[: len(self.source) - len(self._body)]
        source = Source(self._body, 1 + len(re.findall(LINE_BREAK, before)))
        known = {LABELS: True, DESCRIPTIONS: DESCRIPTIONS in self.metadata, LETTERS: self.by_letter}
        shared = [name for name, there in known.items() if there]
        return compile_source(source, as_tuple(self.metadata.get("choices")), shared)

    @cached_property
    def _small(self) -> dict[str, Any]:
        return {key: self._plain(key) for key in _SMALL if self.metadata.get(key) is not None}

    def _plain(self, key: str) -> Any:
        try:
            return compile_plain(Source(self.metadata[key]))
        except TemplateError as error:
            raise TemplateError(f"{_SMALL[key]} can't be rendered. {error}") from error.__cause__

    def __getstate__(self) -> dict[str, Any]:
        made = ("_compiled", "_small", "_by_word")
        return {key: value for key, value in dict(self.__dict__).items() if key not in made}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)

    def __sklearn_clone__(self) -> Template:
        """A template never changes, so clones share it."""
        return self

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Template) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def _key(self) -> Hashable:
        return (self.source, repr(self.metadata), tuple(sorted(self._renamed.items())))

    def __repr__(self) -> str:
        return f"Template({abridge(self.name or self._body)})"


class _named:
    """Add the template's name to an error on its way out."""

    def __init__(self, name: str | None) -> None:
        self.name = name

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if self.name and isinstance(error, TemplateError) and not str(error).startswith("In the template"):
            raise TemplateError(f"In the template {abridge(self.name)}: {error}") from error.__cause__
