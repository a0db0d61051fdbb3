"""Verbalizer: classes to label words, word scores to class scores, free answers back to classes."""

from __future__ import annotations

import functools
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fewshot.errors import VerbalizerError
from fewshot.labels import named_class
from fewshot.models.base import FloatArray, Query, Scores
from fewshot.task.answers import named_in, simplify

if TYPE_CHECKING:
    from fewshot.inputs import Row

__all__ = ["MASS_FLOOR", "RowWords", "Verbalizer"]

#: Label mass below which a model hardly expects any of the label words.
MASS_FLOOR = 0.01

WordAggregation = Literal["mean", "max", "logsumexp"]
TokenAggregation = Literal["sum", "mean", "per-byte"]


class RowWords(NamedTuple):
    """The words that a prompt may list, the first of each class, and all that may fill its hole.

    Where these are the letters of the lines, ``letters`` has that of each word in the order of ``labels``.
    """

    labels: tuple[str, ...]
    candidates: tuple[str, ...]
    letters: Mapping[str, str] | None = None

    def under(self, listing: Sequence[str]) -> tuple[str, ...]:
        """What may fill the hole of a prompt that lists the labels in this order, class by class as before."""
        if self.letters is None:
            return self.candidates
        return tuple(self.filling(word, listing) for word in self.candidates)

    def filling(self, word: str, listing: Sequence[str]) -> str:
        """A candidate as it fills the hole of a prompt that lists the labels in this order."""
        if self.letters is None:
            return word
        line = next(label for label, letter in self.letters.items() if letter == word)
        return tuple(self.letters.values())[listing.index(line)]


class Verbalizer:
    """The map from classes to label words, and from scores of words to scores of classes.

    Parameters
    ----------
    words : mapping or sequence
        Class -> label word, or list of label words; a word may have any number of tokens. A sequence gives the words in
        the order of the sorted classes, whatever their names are. So it also works inside scikit-learn estimators that
        encode labels as integers. If some classes are missing, as in a fold, integer classes are positions in the
        sequence, and classes that are words of the sequence are matched by name.
    word_aggregation : {"mean", "max", "logsumexp"}
        How the scores of a class's label words are combined into the score of the class. "mean" is the mean
        log-probability.
    token_aggregation : {"sum", "mean", "per-byte"}
        The score of a word: its log-probability ("sum"), the same divided by its number of tokens ("mean"), or divided
        by its number of UTF-8 bytes ("per-byte").
    multi_label : bool
        Whether a text may have several classes, or none. It is not needed if the classifier is fitted on an indicator
        matrix.
    ordered : bool
        Whether the classes are levels of a scale, given in order, the lowest first.

    Attributes
    ----------
    classes : tuple or None
        Sorted classes. If the words are a sequence, None until `bind`.
    scale : tuple or None
        The classes in the order of their scale, lowest first; None if they are not ordered, and until `bind`.
    words : tuple of tuple of str
        Label words of each class, in class order.
    candidates : tuple of str
        All label words, in class order.

    Raises
    ------
    VerbalizerError
        When a class has no words, a word is blank or not text, or two classes share a word.

    Examples
    --------
    >>> from fewshot import Verbalizer
    >>> verbalizer = Verbalizer({"neg": ["bad", "terrible"], "pos": "good"})
    >>> verbalizer.candidates
    ('bad', 'terrible', 'good')
    >>> verbalizer.parse("Good.")
    'pos'
    >>> verbalizer.parse("good or bad, hard to say") is None
    True
    >>> stars = Verbalizer({"poor": "terrible", "fair": "okay", "good": "great"}, ordered=True)
    >>> stars.classes, stars.scale
    (('fair', 'good', 'poor'), ('poor', 'fair', 'good'))
    """

    #: Whether the words come from each row: see `Choices`.
    per_row: bool = False
    #: Whether the classes have names at all: see ``Unnamed``.
    named: bool = True
    #: Attributes of verbalizers that are ordered; a folder of before has neither.
    ordered: bool = False
    scale: tuple[Any, ...] | None = None

    def __init__(
        self,
        words: Mapping[Any, str | Sequence[str]] | Sequence[str | Sequence[str]] | NDArray[Any],
        *,
        word_aggregation: WordAggregation = "mean",
        token_aggregation: TokenAggregation = "sum",
        multi_label: bool = False,
        ordered: bool = False,
    ) -> None:
        _one_of("word_aggregation", word_aggregation, ("mean", "max", "logsumexp"))
        _one_of("token_aggregation", token_aggregation, ("sum", "mean", "per-byte"))
        self.word_aggregation: WordAggregation = word_aggregation
        self.token_aggregation: TokenAggregation = token_aggregation
        self.multi_label = multi_label
        if not isinstance(ordered, bool | np.bool_):
            raise VerbalizerError(f"ordered must be True or False. Got {ordered!r:.80}.")
        if ordered:
            self.ordered = True
        self.classes: tuple[Any, ...] | None = None
        values: list[Any]
        if isinstance(words, Mapping):
            named = {named_class(name): value for name, value in words.items()}
            self.classes = tuple(_sorted(named))
            values = [named[name] for name in self.classes]
            if ordered:
                self.scale = tuple(named)
        elif isinstance(words, Sequence | np.ndarray) and not isinstance(words, str):
            values = list(words)
        else:
            raise VerbalizerError(
                f"Label words must be a mapping of classes to words, or a list in sorted-class order. Got {words!r}."
            )
        names = self.classes or [f"number {i}" for i in range(len(values))]
        self.words = tuple(_words(name, value) for name, value in zip(names, values, strict=True))
        self.candidates = tuple(word for group in self.words for word in group)
        owner: dict[str, Any] = {}
        for name, group in zip(names, self.words, strict=True):
            for word in group:
                if word in owner:
                    raise VerbalizerError(
                        f"The classes {owner[word]!r} and {name!r} share the label word {word!r}. Give each its own."
                    )
                owner[word] = name

    @property
    def labels(self) -> tuple[str, ...]:
        """The first label word of each class, as a prompt lists them; ordered classes from the lowest level."""
        first = dict(zip(self.classes or range(len(self.words)), (group[0] for group in self.words), strict=True))
        return tuple(first[name] for name in self.scale or first)

    def of(self, row: Row) -> RowWords:
        """Return the label words for a row; in this class they are the same for all rows."""
        return RowWords(self.labels, self.candidates)

    def bind(self, classes: Sequence[Any]) -> Verbalizer:
        """Return the verbalizer for these classes, which must all have words.

        Raises
        ------
        VerbalizerError
            When a class has no words, or the number of words is not the number of classes.
        """
        classes = _sorted(classes)
        if self.classes is None:
            return self.with_words(dict(zip(self._listed(classes), self.words, strict=True)))
        unknown = [name for name in classes if name not in self.classes]
        if unknown:
            raise VerbalizerError(
                f"The class {unknown[0]!r} has no label words. There are words for {list(self.classes)}; pass a "
                "verbalizer that names every class."
            )
        return self

    def with_words(self, words: Mapping[Any, str | Sequence[str]], *, ordered: bool | None = None) -> Verbalizer:
        """Return a verbalizer like this one with other words, and with another ``ordered`` if it is given."""
        return Verbalizer(
            words,
            word_aggregation=self.word_aggregation,
            token_aggregation=self.token_aggregation,
            multi_label=self.multi_label,
            ordered=self.ordered if ordered is None else ordered,
        )

    def _listed(self, classes: list[Any]) -> list[Any]:
        """The class of each entry of a list of words: by name where the classes are words of it, else in sorted order.

        Where some have no rows, as in a fold, integers are places in the list.
        """
        if all(name in self.labels for name in classes):
            return list(self.labels)
        if len(classes) == len(self.words):
            return classes
        for places in ([False, True], list(range(len(self.words)))):
            if len(places) == len(self.words) and all(type(c) is type(places[0]) and c in places for c in classes):
                return places
        raise VerbalizerError(
            f"There are label words for {len(self.words)} classes ({', '.join(self.labels)}), and "
            f"{len(classes)} classes: {classes}. A list needs one entry per class, in sorted order; a mapping "
            "{class: label word} also fits rows that lack a class."
        )

    def table(
        self, scores: Sequence[Scores], queries: Sequence[Query], words: Sequence[RowWords] = ()
    ) -> tuple[FloatArray, Any]:
        """Return log-probabilities and numbers of tokens of all words, each of shape (n_texts, n_words)."""
        shape = (len(scores), len(self.candidates))
        logprobs = np.array([one.logprobs for one in scores], dtype=np.float64).reshape(shape)
        return logprobs, np.array([one.n_tokens for one in scores], dtype=np.int64).reshape(shape)

    def aggregate(self, logprobs: Any, n_tokens: Any) -> Any:
        """Turn word scores into class scores.

        Parameters
        ----------
        logprobs : array or tensor of shape (n_texts, n_words)
            Log-probability of each candidate, in the order of ``candidates``.
        n_tokens : array or tensor of shape (n_texts, n_words)
            Number of tokens of each candidate.

        Returns
        -------
        array or tensor of shape (n_texts, n_classes)
            Class scores. NumPy arrays and torch tensors use the same code, so training optimises exactly the scores
            that prediction uses.
        """
        xp = sys.modules[type(logprobs).__module__.partition(".")[0]]
        scores = logprobs
        if self.token_aggregation == "mean":
            scores = logprobs / n_tokens
        columns = [scores[:, i] for i in range(len(self.candidates))]
        if self.token_aggregation == "per-byte":
            columns = [c / len(w.encode("utf-8", "replace")) for c, w in zip(columns, self.candidates, strict=True)]
        classes, start = [], 0
        for group in self.words:
            own = columns[start : start + len(group)]
            start += len(group)
            if self.word_aggregation == "mean":
                classes.append(sum(own[1:], own[0]) / len(own))
            else:
                pairwise = xp.maximum if self.word_aggregation == "max" else xp.logaddexp
                classes.append(functools.reduce(pairwise, own))
        return xp.stack(classes, -1)

    def parse(self, answer: str) -> Any | None:
        """Map a free answer to a class, or to None if it names no class or several.

        Only the first line is read, after any ``<think>`` block. It names a class if it is one of the class's label
        words, if it begins with a label word before punctuation, or if it ends with a label word after "is", ":" or
        similar. Case, punctuation around the word, full-width forms and invisible characters do not matter. An answer
        names no class if it also has a label word of another class, if it has a negation or a doubt ("not spam", unless
        that is a label word), if it lists options ("Options: spam"), or if the label word is part of a larger number
        ("0.1", "<1", "1%").

        Raises
        ------
        VerbalizerError
            When the classes are not set yet; see `bind`.
        """
        if self.classes is None:
            raise VerbalizerError("bind the verbalizer to its classes before parsing answers")
        owners = [(simplify(word), i) for i, group in enumerate(self.words) for word in group]
        named = named_in(answer, owners)
        return None if named is None else self.classes[named]

    def __sklearn_clone__(self) -> Verbalizer:
        """A verbalizer never changes, so clones share it."""
        return self

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Verbalizer) and self.__dict__ == other.__dict__

    def __hash__(self) -> int:
        return hash((self.words, self.word_aggregation, self.token_aggregation, self.multi_label, self.scale))

    def __repr__(self) -> str:
        names = self.classes if self.classes is not None else range(len(self.words))
        shown = {
            name: group[0] if len(group) == 1 else list(group) for name, group in zip(names, self.words, strict=True)
        }
        if self.ordered:
            in_order = {name: shown[name] for name in self.scale or shown}
            return f"Verbalizer({in_order!r}, ordered=True)"
        return f"Verbalizer({shown!r})"


def _words(name: Any, value: Any) -> tuple[str, ...]:
    group = (value,) if isinstance(value, str) else tuple(value) if isinstance(value, Sequence) else (value,)
    if not group:
        raise VerbalizerError(f"The class {name!r} has no label words.")
    for word in group:
        if not isinstance(word, str) or not simplify(word):
            raise VerbalizerError(f"The label words of class {name!r} must be text that is not blank. Got {word!r}.")
    return tuple(dict.fromkeys(str.__str__(word) for word in group))


def _sorted(classes: Any) -> list[Any]:
    """Sort as NumPy does, so that the order is that of ``classes_``."""
    values = list(classes)
    try:
        return sorted(values)
    except TypeError:
        raise VerbalizerError(f"Classes must be of one type, so that they can be sorted. Got {values}.") from None


def _one_of(name: str, value: object, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise VerbalizerError(f"{name} must be one of {', '.join(map(repr, allowed))}. Got {value!r}.")


def as_verbalizer(words: Any, classes: Sequence[Any]) -> Verbalizer:
    """Make the verbalizer of these classes from what a user passed: None (the class names), words, or a Verbalizer.

    Raises
    ------
    VerbalizerError
        When no words are given and the classes are not strings: the word "0" would be scored, and mean nothing.
    """
    if words is None:
        odd = [name for name in classes if not isinstance(name, str)]
        if odd:
            raise VerbalizerError(
                f"The class {odd[0]!r} ({type(odd[0]).__name__}) is not a name that a model could know. Pass "
                "verbalizer={class: label word, ...}, or a list of label words in sorted-class order; the list also "
                "works inside VotingClassifier, StackingClassifier and others that encode labels as integers. An "
                "encoder needs no names once there are labelled rows."
            )
        return Verbalizer(
            {name: name.replace("_", " ") if name.replace("_", " ").strip() else name for name in classes}
        )
    verbalizer = words if isinstance(words, Verbalizer) else Verbalizer(words)
    return verbalizer.bind(np.asarray(classes, dtype=object).tolist())
