"""Asking: one wording of a task put to a language model, with the demonstrations that fit into its window."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from scipy.special import log_softmax
from sklearn.base import clone

from fewshot.calibration import Prior
from fewshot.checks import at_least
from fewshot.demonstrations import Selector
from fewshot.display.preview import Preview
from fewshot.errors import InputError, UnsupportedError, at_row
from fewshot.inputs import Row
from fewshot.models.base import FloatArray, IntArray, Query, is_encoder, is_window, kind_of
from fewshot.models.loading import load
from fewshot.prompts.asked import Asked, Context, word_scores
from fewshot.task.prompt import Fitted, fit_to_window
from fewshot.task.task import Task
from fewshot.task.verbalizer import RowWords

__all__ = ["Asking", "fitted_selector", "shown_rows"]


class Asking:
    """One wording of a task, asked of one model.

    Parameters
    ----------
    task : Task
        Its template and verbalizer; its other wordings are other askings.
    model : LanguageModel
    selector : Selector, optional
        Fitted on the labelled rows; says which of them are shown before a text.
    rows, labels : sequences
        The labelled rows that the selector chooses from.
    max_tokens : int, optional
        Most tokens of demonstrations in a prompt.
    """

    def __init__(
        self,
        task: Task,
        model: Any,
        selector: Selector | None = None,
        *,
        rows: Sequence[Row] = (),
        labels: Sequence[Any] = (),
        max_tokens: int | None = None,
    ) -> None:
        self.task, self.model, self.selector = task, model, selector
        self.calibration: Prior | None = None
        self._rows, self._labels, self._max_tokens = rows, labels, max_tokens
        self._turns: dict[int, Context] = {}

    @property
    def kind(self) -> str:
        """The name of the model's kind."""
        return kind_of(self.model).name

    @property
    def shown(self) -> dict[int, Row]:
        """The labelled rows that a prompt may show, by their numbers."""
        if self.selector is None:
            return {}
        numbers = self.selector.rows_.tolist() if self.selector.shared else range(len(self._rows))
        return {i: self._rows[i] for i in numbers}

    def kept(self) -> dict[str, Any]:
        """All but the labelled rows that no prompt shows: they would only be big, and somebody's private text."""
        rows = {i: dict(row) if isinstance(row, Mapping) else row for i, row in self.shown.items()}
        # turns are made again when they are asked for
        return {**vars(self), "_rows": rows, "_labels": {i: self._labels[i] for i in rows}, "_turns": {}}

    def contexts(self, X: Sequence[Row], words: Sequence[RowWords]) -> list[list[Context]]:
        """What may stand before each text: with no demonstration, with the nearest one, and so on to all."""
        shown: list[tuple[int, ...]] = [()] * len(X)
        if self.selector is not None:
            chosen = self.selector.select([self.task.template.text(row) for row in X])
            shown = [tuple(rows.tolist()) for rows in chosen]
        made: dict[tuple[tuple[str, ...], tuple[int, ...]], list[Context]] = {}
        for key in zip((own.labels for own in words), shown, strict=True):
            if key not in made:
                made[key] = self._contexts(*key)
        return [made[own.labels, rows] for own, rows in zip(words, shown, strict=True)]

    def _contexts(self, labels: tuple[str, ...], shown: tuple[int, ...]) -> list[Context]:
        head = self.task.template.context((), labels)
        turns = [self._demonstration(i) for i in shown[::-1]]  # the last stands nearest to the text
        found, size = [head], 0
        tail: Context = ()
        for turn in turns:
            if self._max_tokens is not None:
                size += sum(map(len, self.model.token_ends([text for _, text in turn])))
                if size > self._max_tokens:
                    break
            tail = (*turn, *tail)
            found.append((*head, *tail))
        return found

    def _demonstration(self, i: int) -> Context:
        if i not in self._turns:
            with at_row(i):
                labels, word = self._answer(i)
                self._turns[i] = self.task.template.context([(self._rows[i], word)], labels)[-2:]
        return self._turns[i]

    def _answer(self, i: int) -> tuple[tuple[str, ...], str]:
        """What the prompt of a labelled row may list, and the word of its class."""
        labels = self.task.verbalizer.of(self._rows[i]).labels
        return labels, labels[int(self.task.index([self._labels[i]])[0])]

    def ask(self, X: Sequence[Row]) -> Asked:
        """Render the prompt of every row, and shorten those that exceed the window; the model answers later."""
        words, prompts = [], []
        for i, row in enumerate(X):
            with at_row(i):
                words.append(self.task.verbalizer.of(row))
        for i, (row, own) in enumerate(zip(X, words, strict=True)):
            with at_row(i):
                prompts.append(self.task.template.prompt(row, own.labels))
        contexts = self.contexts(X, words)
        asked = list(zip(prompts, contexts, [own.candidates for own in words], strict=True))
        if is_window(self.model):
            sizes = self._lengths([prompt.query(answers, turns[-1], self.kind) for prompt, turns, answers in asked])
            fitted = []
            for i, ((prompt, turns, answers), size) in enumerate(zip(asked, sizes, strict=True)):
                with at_row(i):
                    fit = fit_to_window(prompt, turns, answers, self.model, kind=self.kind, n_tokens=int(size))
                    fitted.append(fit)
        else:
            fitted = [Fitted(prompt, len(turns) - 1, 0) for prompt, turns, _ in asked]
        queries = [
            fit.prompt.query(answers, turns[fit.n_demonstrations], self.kind)
            for fit, (_, turns, answers) in zip(fitted, asked, strict=True)
        ]
        return Asked(self.task, self.model, X, words, contexts, fitted, queries)

    def _lengths(self, queries: Sequence[Query]) -> IntArray:
        """Their tokens; where rows bring their own choices, the row is named whose choices are one to the model."""
        try:
            return self.model.lengths(queries)
        except ValueError:
            for i, query in enumerate(queries if self.task.verbalizer.per_row else ()):
                with at_row(i):
                    self.model.lengths([query])
            raise

    def calibrate(self, calibration: Prior, X: Sequence[Row] | None, y: Any, rng: Any) -> None:
        """Fit a calibration on rows that are not shown in every prompt, and apply it from now on."""
        rows = np.setdiff1d(np.arange(0 if X is None else len(X)), shown_rows(self.selector))
        if calibration.max_texts is not None and len(rows) > calibration.max_texts:
            rows = np.sort(rng.choice(rows, calibration.max_texts, replace=False))
        texts = None if X is None else [X[i] for i in rows]
        if self.task.verbalizer.per_row:
            one = (texts or [])[:1]
            calibration.own_probes(self._probe, self.task.template, one, self._probe(one))  # to see whether it can
            self.calibration = calibration
            return
        calibration.take_classes(self.task.classes.tolist())
        probes = calibration.probes(self._probe, self.task.template, texts, rng)
        targets = None if y is None else self.task.index([y[i] for i in rows])
        logprobs, n_tokens = self.task.verbalizer.table(word_scores(self.model, probes), probes)

        def aggregate(scores: FloatArray, which: IntArray) -> FloatArray:
            return self.task.verbalizer.aggregate(scores, n_tokens[which])

        self.calibration = calibration.fit(logprobs, targets, aggregate)

    def _probe(self, rows: Sequence[Row]) -> list[Query]:
        return self.ask(rows).queries if rows else []

    def class_scores(self, asked: Asked) -> FloatArray:
        """Calibrated log-probabilities of the classes, of shape (n_rows, n_classes)."""
        verbalizer, calibration = self.task.verbalizer, self.calibration
        if calibration is None:
            return asked.raw_scores()
        if not verbalizer.per_row:
            logprobs, n_tokens = verbalizer.table(asked.answers, asked.queries)
            scores = verbalizer.aggregate(calibration.transform(logprobs), n_tokens)
            return log_softmax(calibration.transform_classes(scores), axis=1)
        words = asked.answers
        probes = calibration.own_probes(self._probe, self.task.template, asked.rows, asked.queries)
        said = iter(word_scores(self.model, [query for own in probes for query in own]))
        calibrated = []
        for scores, own in zip(words, probes, strict=True):
            prior = clone(calibration).fit(np.stack([next(said).logprobs for _ in own]))
            calibrated.append(replace(scores, logprobs=prior.transform(scores.logprobs[None])[0]))
        table = verbalizer.table(calibrated, asked.queries, asked.words)
        return log_softmax(verbalizer.aggregate(*table), axis=1)

    def label_mass(self, X: Sequence[Row]) -> FloatArray:
        """The model's total probability of the label words' distinct first tokens, of shape (n_texts,).

        Raises
        ------
        UnsupportedError
            When the model has no such number, as entailment models have none.
        """
        asked = self.ask(X)
        asked.warn_of_cuts()
        mass = np.array([scores.mass for scores in asked.answers])
        if np.isnan(mass).all():
            raise UnsupportedError(
                f"{self.model!r} scores candidates without a distribution over tokens: it has no label mass."
            )
        return mass

    def preview(self, X: Sequence[Row]) -> Preview:
        """The prompts as they would be asked, without asking."""
        return self.ask(X).preview()


def fitted_selector(
    selector: Selector, shots: int, task: Task, X: Sequence[Row] | None, y: Any, *, rng: Any, encoder: Any = None
) -> Selector | None:
    """Fit a selector of demonstrations on the labelled rows; None where none are shown.

    Parameters
    ----------
    selector : Selector
    shots : int
        Number of demonstrations of a prompt.
    task : Task
        Whose template renders the rows that are compared.
    X : sequence of rows or None
    y : sequence or None
        The class of each row.
    rng : RandomState
    encoder : Encoder or str, optional
        What a selector by similarity encodes with.

    Raises
    ------
    InputError
        When there are no labelled rows, or fewer than shots.
    """
    at_least("shots", shots, 0, whole=True)
    if not shots:
        return None
    if X is None or y is None:
        raise InputError(f"shots={shots} needs labelled rows: call fit(X, y), or set shots=0.")
    if selector.needs_encoder and not is_encoder(encoder):
        encoder = load(encoder)
    texts = []
    for i, row in enumerate(X):
        with at_row(i):
            texts.append(task.template.text(row))
    return selector.fit(texts, y, int(shots), rng, encoder)


def shown_rows(selector: Selector | None) -> IntArray:
    """Rows that stand in every prompt."""
    if selector is None or not selector.shared:
        return np.empty(0, dtype=np.int64)
    return selector.rows_
