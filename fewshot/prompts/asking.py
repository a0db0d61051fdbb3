"""Asking: one wording of a task put to a language model, with the demonstrations that fit into its window."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from typing import Any

import numpy as np
from scipy.special import log_softmax
from sklearn.base import clone

from fewshot.calibration import Prior
from fewshot.checks import at_least
from fewshot.demonstrations import Selector
from fewshot.display.preview import Preview, PreviewRow, parts_of
from fewshot.errors import InputError, LabelMassWarning, ShortenedWarning, UnsupportedError, at_row, warn
from fewshot.inputs import Row
from fewshot.models.base import (
    FloatArray,
    IntArray,
    Query,
    Scores,
    Turn,
    check_scores,
    is_encoder,
    is_window,
    kind_of,
)
from fewshot.models.loading import load
from fewshot.task.prompt import Fitted, fit_to_window
from fewshot.task.task import Task
from fewshot.task.verbalizer import MASS_FLOOR, RowWords

__all__ = ["Asking", "fitted_selector", "shown_rows"]

#: What the askings that are remembering have been told, by their id; each thread has its own.
_REMEMBERED: ContextVar[dict[int, dict[Query, Scores]] | None] = ContextVar("remembered", default=None)

Context = tuple[Turn, ...]


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

    def _words(self, X: Sequence[Row]) -> list[RowWords]:
        """The words that each row may be answered with."""
        words = []
        for i, row in enumerate(X):
            with at_row(i):
                words.append(self.task.verbalizer.of(row))
        return words

    def fitted(self, X: Sequence[Row], warn: bool = True) -> list[tuple[Fitted, list[Context]]]:
        """Render every row, and shorten those that exceed the window."""
        words, prompts = self._words(X), []
        for i, (row, own) in enumerate(zip(X, words, strict=True)):
            with at_row(i):
                prompts.append(self.task.template.prompt(row, own.labels))
        contexts = self.contexts(X, words)
        if not is_window(self.model):
            return [(Fitted(p, len(c) - 1, 0), c) for p, c in zip(prompts, contexts, strict=True)]
        asked = list(zip(prompts, [own.candidates for own in words], contexts, strict=True))
        sizes = self._lengths([prompt.query(answers, turns[-1], self.kind) for prompt, answers, turns in asked])
        fitted = []
        for i, ((prompt, answers, turns), size) in enumerate(zip(asked, sizes, strict=True)):
            with at_row(i):
                fit = fit_to_window(prompt, turns, answers, self.model, kind=self.kind, n_tokens=int(size))
                fitted.append((fit, turns))
        if warn:
            _warn_of_cuts(fitted, self.model.limit)
        return fitted

    def _lengths(self, queries: Sequence[Query]) -> IntArray:
        """Their tokens; where rows bring their own choices, the row is named whose choices are one to the model."""
        try:
            return self.model.lengths(queries)
        except ValueError:
            for i, query in enumerate(queries if self.task.verbalizer.per_row else ()):
                with at_row(i):
                    self.model.lengths([query])
            raise

    def queries(self, X: Sequence[Row], warn: bool = True) -> list[Query]:
        """The questions, one a row."""
        return self._queries(X, self.fitted(X, warn))

    def _queries(self, X: Sequence[Row], fitted: Sequence[tuple[Fitted, list[Context]]]) -> list[Query]:
        return [
            fit.prompt.query(self.task.verbalizer.of(row).candidates, turns[fit.n_demonstrations], self.kind)
            for row, (fit, turns) in zip(X, fitted, strict=True)
        ]

    @contextmanager
    def remembering(self) -> Iterator[None]:
        """Score no question twice within this block."""
        token = _REMEMBERED.set({**(_REMEMBERED.get() or {}), id(self): {}})
        try:
            yield
        finally:
            _REMEMBERED.reset(token)

    def word_scores(self, queries: Sequence[Query]) -> list[Scores]:
        """Score the label words; questions that begin alike are asked together, so that the model can share them."""
        known = (_REMEMBERED.get() or {}).get(id(self), {})
        new = sorted(dict.fromkeys(q for q in queries if q not in known), key=lambda query: query.context)
        answers = self.model.loglikelihoods(new)
        if len(answers) != len(new):
            raise UnsupportedError(f"{self.model!r} gave {len(answers)} scores for {len(new)} queries: one is of each.")
        known.update(zip(new, answers, strict=True))
        words = [known[query] for query in queries]
        for i, (query, scores) in enumerate(zip(queries, words, strict=True)):
            with at_row(i):
                check_scores(self.model, query, scores)
        return words

    def calibrate(self, calibration: Prior, X: Sequence[Row] | None, y: Any, rng: Any) -> None:
        """Fit a calibration on rows that are not shown in every prompt, and apply it from now on."""
        rows = np.setdiff1d(np.arange(0 if X is None else len(X)), shown_rows(self.selector))
        if calibration.max_texts is not None and len(rows) > calibration.max_texts:
            rows = np.sort(rng.choice(rows, calibration.max_texts, replace=False))
        texts = None if X is None else [X[i] for i in rows]
        if self.task.verbalizer.per_row:
            self._own_probes(calibration, (texts or [])[:1])  # to see now whether it can be done
            self.calibration = calibration
            return
        probes = calibration.probes(lambda asked: self.queries(asked, warn=False), self.task.template, texts, rng)
        targets = None if y is None else self.task.index([y[i] for i in rows])
        logprobs, n_tokens = self.task.verbalizer.table(self.word_scores(probes), probes)

        def aggregate(scores: FloatArray, which: IntArray) -> FloatArray:
            return self.task.verbalizer.aggregate(scores, n_tokens[which])

        self.calibration = calibration.fit(logprobs, targets, aggregate)

    def _own_probes(self, calibration: Prior, X: Sequence[Row], queries: Sequence[Query] = ()) -> list[list[Query]]:
        """The questions whose answers make the prior of each row's own choices."""

        def ask(rows: Sequence[Row]) -> list[Query]:
            return self.queries(rows, warn=False) if rows else []

        return calibration.own_probes(ask, self.task.template, X, queries or ask(X))

    def class_scores(self, queries: Sequence[Query], warn: bool = True, X: Sequence[Row] = ()) -> FloatArray:
        """Calibrated log-probabilities of the classes, of shape (n_queries, n_classes).

        ``X`` are the rows that are asked about; only rows that bring their own choices are looked at again.
        """
        verbalizer, calibration = self.task.verbalizer, self.calibration
        words = self.word_scores(queries)
        if warn and not verbalizer.per_row:  # of a whole sentence no model expects the first token
            _warn_of_mass(words, verbalizer.candidates)
        if calibration is not None and verbalizer.per_row:
            probes = self._own_probes(calibration, X, queries)
            said = iter(self.word_scores([query for own in probes for query in own]))
            for i, own in enumerate(probes):
                prior = clone(calibration).fit(np.stack([next(said).logprobs for _ in own]))
                words[i] = replace(words[i], logprobs=prior.transform(words[i].logprobs[None])[0])
        logprobs, n_tokens = verbalizer.table(words, queries, X)
        if calibration is None or verbalizer.per_row:
            return log_softmax(verbalizer.aggregate(logprobs, n_tokens), axis=1)
        scores = verbalizer.aggregate(calibration.transform(logprobs), n_tokens)
        return log_softmax(calibration.transform_classes(scores), axis=1)

    def label_mass(self, X: Sequence[Row]) -> FloatArray:
        """The model's total probability of the label words' distinct first tokens, of shape (n_texts,).

        Raises
        ------
        UnsupportedError
            When the model has no such number, as entailment models have none.
        """
        mass = np.array([scores.mass for scores in self.word_scores(self.queries(X))])
        if np.isnan(mass).all():
            raise UnsupportedError(
                f"{self.model!r} scores candidates without a distribution over tokens: it has no label mass."
            )
        return mass

    def preview(self, X: Sequence[Row]) -> Preview:
        """The prompts as they would be asked, without asking."""
        rows, per_row = [], self.task.verbalizer.per_row
        fitted = self.fitted(X, warn=False)
        for (fit, _), query, own in zip(fitted, self._queries(X, fitted), self._words(X), strict=True):
            turns = [(turn.role, turn.text) for turn in query.context if turn.role != "premise"]
            parts, candidates = parts_of(fit, self.kind), own.labels if per_row else ()
            rows.append(PreviewRow(turns, parts, fit.n_tokens, fit.n_demonstrations, fit.n_cut, candidates))
        return Preview(rows, self.task.verbalizer.candidates, getattr(self.model, "limit", None))


def fitted_selector(
    selector: Selector, shots: int, task: Task, X: Sequence[Row] | None, y: Any, *, rng: Any, encoder: Any = None
) -> Selector | None:
    """Fit a selector of demonstrations on the labelled rows; None where none are shown.

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
    rows: IntArray = selector.rows_
    return rows


def _warn_of_mass(words: list[Scores], candidates: Sequence[str]) -> None:
    mass = np.array([scores.mass for scores in words])
    if not np.isnan(mass).all() and np.nanmedian(mass) < MASS_FLOOR:
        warn(
            f"The model expects the label words hardly at all: their median total probability is "
            f"{np.nanmedian(mass):.2g}. Words: {', '.join(map(repr, candidates[:6]))}. Choose "
            "words that would really follow in the template; preview(X) shows the prompt.",
            LabelMassWarning,
        )


def _warn_of_cuts(fitted: Sequence[tuple[Fitted, list[Context]]], limit: int) -> None:
    cut = [fit.n_cut for fit, _ in fitted if fit.shortened]
    full = max(len(contexts) for _, contexts in fitted) - 1
    fewer = sum(fit.n_demonstrations < len(contexts) - 1 for fit, contexts in fitted)
    if not (cut or fewer):
        return
    texts = f"{len(cut)} of {len(fitted)} rows were cut, by {int(np.median(cut))} tokens in the median" if cut else ""
    shots = f"{fewer} of {len(fitted)} rows show fewer than {full} demonstrations" if fewer else ""
    warn(
        f"To fit the model's window of {limit} tokens, {' and '.join(filter(None, (texts, shots)))}."
        f"{_said_of_empty([fit.emptied for fit, _ in fitted])}",
        ShortenedWarning,
    )


def _said_of_empty(emptied: Sequence[tuple[str, ...]]) -> str:
    """Which fields nothing is left of, and in how many rows."""
    names = dict.fromkeys(name for own in emptied for name in own)
    if not names:
        return ""
    rows = sum(map(bool, emptied))
    return (
        f" There is no room at all for the field {' and '.join(map(repr, names))} in {rows} of them: they are decided "
        "without it. Shorten the instruction or the template, or use a model that reads more."
    )
