"""Choices: what may fill the hole comes from each row itself, as in COPA and in multiple-choice questions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fewshot.errors import InputError, VerbalizerError, at_row
from fewshot.inputs import Row
from fewshot.models.base import FloatArray, Query, Scores
from fewshot.task.template import Template
from fewshot.task.verbalizer import RowWords, TokenAggregation, Verbalizer

__all__ = ["Choices", "as_choices"]


class Choices(Verbalizer):
    r"""The verbalizer for rows that bring their own choices. It sets how choices are compared.

    The template names the fields with the choices: ``choices: [choice1, choice2]``, or ``choices: field`` for a field
    with a list of texts. The classes are the numbers of the choices, from 0. A row may have fewer choices than another:
    missing choices at the end (None, NaN or blank) have probability 0.

    Parameters
    ----------
    token_aggregation : {"sum", "mean", "per-byte"}
        The score of a choice: its log-probability ("sum"), the same divided by its number of tokens ("mean"), or
        divided by its number of UTF-8 bytes ("per-byte"). A long choice is improbable because of its length alone, so
        use "mean" or "per-byte" for choices of different lengths.
    n_choices : int, optional
        The most choices of a row, if one field holds them all. None: the most of any row of ``fit``. Give it if ``fit``
        may not see a row with all of them, as in the folds of a cross-validation.

    Notes
    -----
    Division by the number of tokens follows Brown et al. (2020), "Language Models are Few-Shot Learners". Division by
    bytes is ``acc_norm`` in EleutherAI's lm-evaluation-harness. ``Prompting(calibration="pmi")`` is another way to
    compare choices of different lengths.

    Examples
    --------
    >>> from fewshot import Choices, Classifier, FakeLM
    >>> lm = FakeLM(lambda query: [-0.5 * len(choice.split()) for choice in query.candidates])
    >>> rows = [{"q": "Which is a colour?", "options": ["blue as the sea", "mud"]}, {"q": "And?", "options": ["red"]}]
    >>> template = "---\nchoices: options\n---\n{{ q }} {{ label }}"
    >>> Classifier(lm, template).fit(rows).predict_proba(rows).round(2).tolist()
    [[0.18, 0.82], [1.0, 0.0]]
    >>> Classifier(lm, template, Choices(token_aggregation="mean")).fit(rows).predict_proba(rows).round(2).tolist()
    [[0.5, 0.5], [1.0, 0.0]]
    """

    per_row = True

    def __init__(self, *, token_aggregation: TokenAggregation = "sum", n_choices: int | None = None) -> None:
        super().__init__((), token_aggregation=token_aggregation)
        if n_choices is not None and (not isinstance(n_choices, int | np.integer) or n_choices < 2):
            raise VerbalizerError(f"n_choices must be an integer of at least 2, or None. Got {n_choices!r}.")
        self.n_choices = None if n_choices is None else int(n_choices)
        self.template: Template | None = None

    def of(self, row: Row) -> RowWords:
        """Return the choices of a row: as the prompt lists them, and without duplicates, as they are scored.

        Raises
        ------
        VerbalizerError
            When no template has been set yet.
        InputError
            When the row has no choice, more than there are classes, or one that is not text.
        """
        if self.template is None:
            raise VerbalizerError("these choices belong to no template yet: fit a Classifier, or use choices_of")
        texts = self.template.choices_of(row)
        if self.n_choices is not None and len(texts) > self.n_choices:
            raise InputError(
                f"the row has {len(texts)} choices, and the classifier knows {self.n_choices} at most: fit it on rows "
                f"with as many, or give their number, verbalizer=Choices(n_choices={len(texts)})"
            )
        return RowWords(texts, tuple(dict.fromkeys(texts)))

    def table(
        self, scores: Sequence[Scores], queries: Sequence[Query], words: Sequence[RowWords] = ()
    ) -> tuple[FloatArray, FloatArray]:
        """Return the log-probabilities of each row's choices, -inf for missing ones, and the lengths to divide them by.

        Both are of shape (n_texts, n_choices).
        """
        assert self.n_choices is not None
        logprobs = np.full((len(scores), self.n_choices), -np.inf)
        lengths = np.ones(logprobs.shape)
        for i, (one, query, own) in enumerate(zip(scores, queries, words, strict=True)):
            texts = own.labels
            at = [query.candidates.index(text) for text in texts]  # equal choices are scored once
            logprobs[i, : len(texts)] = one.logprobs[at]
            if self.token_aggregation == "mean":
                lengths[i, : len(texts)] = one.n_tokens[at]
            elif self.token_aggregation == "per-byte":
                lengths[i, : len(texts)] = [len(text.encode("utf-8", "replace")) for text in texts]
        return logprobs, lengths

    def aggregate(self, logprobs: Any, n_tokens: Any) -> Any:
        """Return class scores, of shape (n_texts, n_choices), from what `table` returns."""
        return logprobs / n_tokens

    def __hash__(self) -> int:
        return hash((self.token_aggregation, self.n_choices, self.template))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Choices) and self.__dict__ == other.__dict__

    def __repr__(self) -> str:
        given = [] if self.token_aggregation == "sum" else [f"token_aggregation={self.token_aggregation!r}"]
        given += [] if self.n_choices is None else [f"n_choices={self.n_choices}"]
        return f"Choices({', '.join(given)})"


def as_choices(
    verbalizer: Any, template: Template, rows: Sequence[Row] | None = None, labels: Sequence[Any] | None = None
) -> Choices:
    """Make the verbalizer of a template with choices, which knows their number, and check the rows and their labels.

    ``labels`` are the number of each row's right choice, None where it is not known; without rows, the classes.

    Raises
    ------
    VerbalizerError
        When the template names no choices, or label words were given as well.
    InputError
        When a row's choices or its label are not what they should be, which names the row, or the number of choices
        is not known.
    """
    if template.choices is None:
        raise VerbalizerError(
            f"Choices() is for rows that bring their own choices, and {template} does not say where they are: write "
            "'choices: [choice1, choice2]' (a field each) or 'choices: field' (a list of texts) into its front matter."
        )
    if verbalizer is not None and not isinstance(verbalizer, Choices):
        raise VerbalizerError(
            f"{template} takes what may fill the hole from each row, so there are no label words to give: leave "
            f"verbalizer out, or say how choices are compared, Choices(token_aggregation='mean'). Got {verbalizer!r}."
        )
    given = Choices() if verbalizer is None else verbalizer
    counts = [] if rows is None else _counts(_bound(given, template, given.n_choices), rows)
    bound = _bound(given, template, _number(given, template, counts, labels if rows is None else None))
    _check_labels(labels, counts if rows is not None else None, int(bound.n_choices or 0))
    return bound


def _bound(given: Choices, template: Template, n_choices: int | None) -> Choices:
    bound = Choices(token_aggregation=given.token_aggregation, n_choices=n_choices)
    bound.template = template
    return bound


def _counts(choices: Choices, rows: Sequence[Row]) -> list[int]:
    """How many choices each row has."""
    counts = []
    for i, row in enumerate(rows):
        with at_row(i):
            counts.append(len(choices.of(row).labels))
    return counts


def _number(given: Choices, template: Template, counts: list[int], classes: Sequence[Any] | None) -> int:
    """The number of classes."""
    if not isinstance(template.choices, str):
        n = len(template.choices or ())
        if given.n_choices not in (None, n):
            raise VerbalizerError(f"{template} names {n} choices, and Choices() says {given.n_choices}: leave it out.")
        return n
    if given.n_choices is not None:
        return given.n_choices
    if counts:
        if max(counts) < 2:
            raise InputError("No row has two choices, so there is nothing to choose: give at least one that has.")
        return max(counts)
    if classes is None:
        raise InputError(
            f"How many choices a row may have is not known: {template} takes them from a list. Give rows, fit(X), or "
            "their numbers, fit(None, [0, 1, 2, 3]), or verbalizer=Choices(n_choices=4)."
        )
    return max(2, len(set(classes)))


def _check_labels(labels: Sequence[Any] | None, counts: list[int] | None, n_choices: int) -> None:
    """Refuse labels that are not numbers of choices, with rows of the row's own, else all of them."""
    labels = [] if labels is None else labels
    for i, label in enumerate(labels):
        if label is not None and (not isinstance(label, int) or isinstance(label, bool)):
            raise InputError(
                f"y[{i}] is {label!r}: where rows bring their own choices, y is the number of the right one, an "
                "integer from 0."
            )
    if counts is None:
        if labels and sorted(set(labels)) != list(range(n_choices)):
            raise InputError(
                f"The classes are the numbers of the choices, {list(range(n_choices))}. Got {sorted(set(labels))}."
            )
        return
    for i, label in enumerate(labels):
        if label is not None and not 0 <= label < counts[i]:
            raise InputError(f"y[{i}] is {label}, and row {i} has {counts[i]} choices, numbered from 0.")
