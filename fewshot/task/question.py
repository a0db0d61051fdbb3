"""Questions: what is asked about a text, and what may be answered, typed. Each becomes an ordinary template."""

from __future__ import annotations

import re
import textwrap
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from fewshot.errors import ParameterError
from fewshot.models.kinds import kind_named
from fewshot.task.answers import simplify
from fewshot.task.descriptions import take_descriptions
from fewshot.task.source import abridge
from fewshot.task.template import Template

__all__ = ["GENERIC", "Choice", "Question", "Rating", "YesNo", "check_name", "phrase"]

#: What is asked where classes are described, and nothing else is said.
GENERIC = "Which of these describes the text best?"

#: The opposite of a yes/no question, in the words of jevbench 0.1.0.
_OPPOSITE = "Answer yes if the correct answer to the following question is no, and answer no if it is yes. Question: {}"
_LISTED = (
    "{% for option in labels %}"
    "- {{ option }}{% if descriptions.get(option) %}: {{ descriptions[option] }}{% endif %}\n"
    "{% endfor %}"
)
_TEXT = "{{ text | shorten }}"
#: The source of each kind's template; ``<asked>`` is the instructions.
_SOURCES = {
    "causal": f"Text: {_TEXT}\nQuestion: <asked>\nOptions:\n{_LISTED}Answer: {{{{ label }}}}",
    "seq2seq": f"Text: {_TEXT}\nQuestion: <asked>\nOptions:\n{_LISTED}Answer: {{{{ label }}}}",
    "masked": f"{_TEXT}\n<asked>\n{{{{ label }}}}.",
    "entailment": f"{_TEXT}\n\n<asked> The answer is {{{{ label }}}}.",
    "decision": f"{_TEXT}\n\n<asked> {{{{ label }}}}",
    "encoder": f"{_TEXT}\n\n<asked> {{{{ label }}}}.",
}


class Question(ABC):
    """What the questions have in common; see `Choice`, `Rating` and `YesNo`."""

    instructions: str
    ordered: bool = False

    @property
    @abstractmethod
    def _answers(self) -> Mapping[Any, str | None]:
        """What may be answered, each with what it means in one line, or None."""

    @property
    def classes(self) -> tuple[Any, ...]:
        """The possible answers, in the order that was given."""
        return tuple(self._answers)

    @property
    def descriptions(self) -> dict[Any, str]:
        """What each class means, in one line, for classes with a description."""
        return {name: text for name, text in self._answers.items() if text}

    @property
    def words(self) -> dict[Any, str]:
        """The label word of each class."""
        return {name: name for name in self.classes}

    def template(self, kind: str = "causal") -> Template:
        """Return the question as a template for a kind of model, with its label words and descriptions.

        Parameters
        ----------
        kind : {"causal", "seq2seq", "masked", "entailment", "decision", "encoder"}
            The kind of the model that is asked. Causal and encoder-decoder models read a list of the options and their
            descriptions after the text. An encoder reads the description of an option as one more class prompt, an
            entailment model reads it in the hypothesis, and a decision model reads it with the option. A masked model
            reads no descriptions, and no list of options, since a list makes its answers worse.

        Raises
        ------
        ParameterError
            When there is no such kind.
        """
        return phrase(self.instructions, kind, ordered=self.ordered, words=self.words, descriptions=self.descriptions)

    def _key(self) -> tuple[Any, ...]:
        return (type(self), self.instructions, self.classes, tuple(self.descriptions.items()))

    def __sklearn_clone__(self) -> Question:
        """A question never changes, so clones share it."""
        return self

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Question) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())


@dataclass(frozen=True, eq=False)
class Choice(Question):
    """A question with one right answer among several options.

    Give it to a `Classifier` in place of a template. The options are the classes, and their names are the label words,
    unchanged. Prompts list them sorted, so that the order in which you give them does not change the answers.

    Parameters
    ----------
    instructions : str
        What is asked about the text.
    options : mapping or sequence of str
        The names of the options, at least two. A mapping gives each name a description, or None.

    Attributes
    ----------
    classes : tuple of str
        The options in the given order.
    descriptions : dict
        What each option means, in one line, for options with a description.
    words : dict
        The label word of each class.

    Raises
    ------
    ParameterError
        When a name is not a text, is blank, is given twice, or has a line break or a NUL; when there are fewer than two
        names.

    See Also
    --------
    Rating : A question with the levels of a scale as answers.
    YesNo : A question with the answers yes and no.

    Examples
    --------
    >>> from fewshot import Choice, Classifier
    >>> team = Choice(
    ...     "Which team?",
    ...     {"billing": "charges, invoices, refunds", "bug": "something is broken", "praise": None},
    ... )
    >>> clf = Classifier(template=team).fit()
    >>> clf.predict(["The invoice is wrong, please pay it back", "It crashes on start"]).tolist()
    ['billing', 'bug']
    >>> print(team.template().render("It crashes on start.", "bug", labels=team.classes))
    Text: It crashes on start.
    Question: Which team?
    Options:
    - billing: charges, invoices, refunds
    - bug: something is broken
    - praise
    Answer: bug
    """

    instructions: str
    options: Mapping[str, str | None] | Sequence[str]

    def __post_init__(self) -> None:
        _set(self, instructions=_instructions(self.instructions), options=_named(self.options, "option", "options"))

    @property
    def _answers(self) -> dict[str, str | None]:
        return cast("dict[str, str | None]", self.options)


@dataclass(frozen=True, eq=False)
class Rating(Question):
    """A question with an answer on a scale.

    Its levels are the classes, and they are ordered: prompts list them from the lowest to the highest.

    Parameters
    ----------
    instructions : str
        What is asked about the text.
    levels : sequence of str or mapping
        The names of the levels, the lowest first, at least two. A mapping gives each name a description, or None.

    Attributes
    ----------
    classes : tuple of str
        The levels, the lowest first. ``Classifier.classes_`` has them sorted by name, like all classes.
    descriptions : dict
        What each level means, in one line, for levels with a description.
    words : dict
        The label word of each class.
    ordered : bool
        True.

    Raises
    ------
    ParameterError
        When a name is not a text, is blank, is given twice, or has a line break or a NUL; when there are fewer than two
        names.

    Examples
    --------
    >>> from fewshot import Rating
    >>> urgent = Rating("How urgent is it?", ["low", "medium", "high"])
    >>> print(urgent.template().render("All is on fire!", "high", labels=urgent.classes))
    Text: All is on fire!
    Question: How urgent is it?
    Options:
    - low
    - medium
    - high
    Answer: high
    """

    ordered = True

    instructions: str
    levels: Mapping[str, str | None] | Sequence[str]

    def __post_init__(self) -> None:
        _set(self, instructions=_instructions(self.instructions), levels=_named(self.levels, "level", "levels"))

    @property
    def _answers(self) -> dict[str, str | None]:
        return cast("dict[str, str | None]", self.levels)


@dataclass(frozen=True, eq=False)
class YesNo(Question):
    """A question with the answers yes and no. The classes are False and True, their label words are "No" and "Yes".

    Parameters
    ----------
    instructions : str
        What is asked about the text, or a statement about it.
    true, false : str, optional
        What True and False mean.

    Attributes
    ----------
    classes : tuple of bool
        ``(False, True)``.
    descriptions : dict
        What each class means, in one line, for classes with a description.
    words : dict
        ``{False: "No", True: "Yes"}``, as in the gallery's generic/yes_no.

    Raises
    ------
    ParameterError
        When an argument is not a text, or the instructions are blank.

    Examples
    --------
    >>> from fewshot import Classifier, FakeLM, Prompting, YesNo
    >>> lm = FakeLM(lambda query: [float((word == "Yes") == ("!" in query.prefix)) for word in query.candidates])
    >>> clf = Classifier(lm, YesNo("Is the customer angry?", true="they shout"), strategy=Prompting()).fit()
    >>> clf.predict(["Nothing works!", "Thank you."]).tolist()
    [True, False]
    """

    instructions: str
    true: str | None = None
    false: str | None = None

    def __post_init__(self) -> None:
        given = {False: self.false, True: self.true}
        meant = take_descriptions(given, "The descriptions of a YesNo", ParameterError)
        _set(self, instructions=_instructions(self.instructions), false=meant.get(False), true=meant.get(True))

    @property
    def _answers(self) -> dict[bool, str | None]:
        return {False: self.false, True: self.true}

    @property
    def words(self) -> dict[bool, str]:
        """The label word of each class."""
        return {False: "No", True: "Yes"}

    def opposite(self) -> YesNo:
        """Return the opposite question: its False means what True means here, and the reverse.

        Examples
        --------
        >>> from fewshot import YesNo
        >>> YesNo("Is the customer angry?", true="they shout").opposite().descriptions
        {False: 'they shout'}
        """
        return YesNo(_OPPOSITE.format(self.instructions), true=self.false, false=self.true)


def phrase(
    instructions: str,
    kind: str,
    *,
    ordered: bool = False,
    words: Mapping[Any, Any] | None = None,
    descriptions: Mapping[Any, str | None] | None = None,
) -> Template:
    """Return the template that puts instructions to a kind of model.

    Parameters
    ----------
    instructions : str
    kind : str
        The name of the kind.
    ordered : bool
        Whether the words stand in the order of a scale.
    words, descriptions : mapping, optional
        Of each class; a template without words takes any classes.
    """
    own = kind_named(kind)
    source = _SOURCES[own.name].replace("<asked>", _literal(instructions))
    means = (descriptions or {}) if own.descriptions else {}
    front = "---\nordered: true\n---\n" if ordered else ""
    name = textwrap.shorten(instructions, 60, placeholder=" …")
    return Template(front + source, words=words, descriptions=means, name=name)


def _set(question: Question, **values: Any) -> None:
    """What a frozen question is made of."""
    for name, value in values.items():
        object.__setattr__(question, name, value)


def _instructions(given: Any) -> str:
    if not isinstance(given, str) or not given.strip():
        raise ParameterError(f"The instructions of a question must be text that is not blank. Got {abridge(given)}.")
    return str.__str__(given)


def _named(given: Any, one: str, several: str) -> dict[str, str | None]:
    """The names of options or levels, each with its description in one line or None, checked."""
    if isinstance(given, str | bytes) or not isinstance(given, Mapping | Sequence):
        raise ParameterError(
            f"{several} must be a list of names, or a mapping of names to descriptions. Got {abridge(given)}."
        )
    names: list[str] = []
    for name in given:
        check_name(name, one)
        if name in names:
            raise ParameterError(f"The {one} {abridge(name)} is given twice: give each a name of its own.")
        names.append(str.__str__(name))
    if len(names) < 2:
        raise ParameterError(f"{several} must be at least two, to choose between. Got {names}.")
    meant = given if isinstance(given, Mapping) else {}
    described = take_descriptions(meant, f"The descriptions of {several}", ParameterError)
    return {name: described.get(name) for name in names}


def check_name(name: Any, what: str) -> None:
    """Refuse the name of an option, level or class that no prompt could list as one line, or no array keep."""
    if not isinstance(name, str):
        raise ParameterError(
            f"The name of each {what} must be text. Got {type(name).__name__}: {abridge(name)}. Write it as text; "
            "YesNo is for True and False."
        )
    if not simplify(name):
        raise ParameterError(f"The name of each {what} must be text that is not blank. Got {abridge(name)}.")
    if name.splitlines() != [name]:
        raise ParameterError(
            f"The {what} {abridge(name)} has a line break, with which it could pass for another {what} in a prompt: "
            "name it in one line, and say the rest in its description."
        )
    if "\0" in name:
        raise ParameterError(f"The {what} {abridge(name)} has a NUL, which arrays drop at the end: remove it.")


def _literal(text: str) -> str:
    """The source that renders to this text: itself, or quoted where Jinja2 would read something into it."""
    if re.search(r"[{\r]", text) is None:
        return text
    escaped = text.encode("unicode_escape").decode("ascii").replace('"', '\\"')
    return f'{{{{ "{escaped}" }}}}'
