"""Asking: one wording of a task put to a language model, with the demonstrations that fit into its window."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from fewshot.calibration import Prior
from fewshot.demonstrations import Selector
from fewshot.errors import InputError, LabelMassWarning, ShortenedWarning, UnsupportedError, warn
from fewshot.models.base import FloatArray, IntArray, Kind, Query, Scores, Turn, is_encoder, is_window, kind_of
from fewshot.models.loading import load
from fewshot.preview import Preview, PreviewRow, parts_of
from fewshot.strategies.base import Task, at_row, log_softmax
from fewshot.task.prompt import Fitted, fit_to_window
from fewshot.task.template import Row

__all__ = ["Asking", "fitted_selector", "shown_rows"]

_MASS_FLOOR = 0.01

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
        self._words = dict(zip(task.classes.tolist(), task.verbalizer.labels, strict=True))
        self._head = task.template.context((), task.verbalizer.labels)
        self._turns: dict[int, Context] = {}
        self._known: dict[Query, Scores] | None = None

    @property
    def kind(self) -> Kind:
        """The kind of the model."""
        return kind_of(self.model)

    def contexts(self, X: Sequence[Row]) -> list[list[Context]]:
        """What may stand before each text: with no demonstration, with the nearest one, and so on to all."""
        if self.selector is None:
            return [[self._head]] * len(X)
        chosen = self.selector.select([self.task.template.text(row) for row in X])
        made: dict[tuple[int, ...], list[Context]] = {}
        return [made.setdefault(key, self._contexts(key)) for key in (tuple(rows.tolist()) for rows in chosen)]

    def _contexts(self, shown: tuple[int, ...]) -> list[Context]:
        turns = [self._demonstration(i) for i in shown[::-1]]  # the last stands nearest to the text
        found, size = [self._head], 0
        tail: Context = ()
        for turn in turns:
            if self._max_tokens is not None:
                size += sum(map(len, self.model.token_ends([text for _, text in turn])))
                if size > self._max_tokens:
                    break
            tail = (*turn, *tail)
            found.append((*self._head, *tail))
        return found

    def _demonstration(self, i: int) -> Context:
        if i not in self._turns:
            with at_row(i):
                word = self._words[self._labels[i]]
                turns = self.task.template.context([(self._rows[i], word)], self.task.verbalizer.labels)
            self._turns[i] = turns[len(self._head) :]
        return self._turns[i]

    def fitted(self, X: Sequence[Row], warn: bool = True) -> list[tuple[Fitted, list[Context]]]:
        """Render every row, and shorten those that exceed the window."""
        template, verbalizer = self.task.template, self.task.verbalizer
        prompts = []
        for i, row in enumerate(X):
            with at_row(i):
                prompts.append(template.prompt(row, verbalizer.labels))
        contexts = self.contexts(X)
        if not is_window(self.model):
            return [(Fitted(p, len(c) - 1, 0), c) for p, c in zip(prompts, contexts, strict=True)]
        queries = [p.query(verbalizer.candidates, c[-1], self.kind) for p, c in zip(prompts, contexts, strict=True)]
        sizes = self.model.lengths(queries)
        fitted = []
        for i, (prompt, own, size) in enumerate(zip(prompts, contexts, sizes, strict=True)):
            with at_row(i):
                fit = fit_to_window(prompt, own, verbalizer.candidates, self.model, kind=self.kind, n_tokens=int(size))
                fitted.append((fit, own))
        if warn:
            _warn_of_cuts(fitted, self.model.limit)
        return fitted

    def queries(self, X: Sequence[Row], warn: bool = True) -> list[Query]:
        """The questions, one a row."""
        return [self._query(fit, own) for fit, own in self.fitted(X, warn)]

    def _query(self, fit: Fitted, contexts: list[Context]) -> Query:
        return fit.prompt.query(self.task.verbalizer.candidates, contexts[fit.n_demonstrations], self.kind)

    @contextmanager
    def remembering(self) -> Iterator[None]:
        """Score no question twice within this block."""
        self._known = {}
        try:
            yield
        finally:
            self._known = None

    def word_scores(self, queries: Sequence[Query]) -> list[Scores]:
        """Score the label words; questions that begin alike are asked together, so that the model can share them."""
        known = {} if self._known is None else self._known
        new = sorted(dict.fromkeys(q for q in queries if q not in known), key=lambda query: query.context)
        known.update(zip(new, self.model.loglikelihoods(new), strict=True))
        words = [known[query] for query in queries]
        # the highest score is NaN where one is, and -inf where no candidate is possible: neither can be normalised
        bad = [i for i, scores in enumerate(words) if not np.isfinite(scores.logprobs.max())]
        if bad:
            raise UnsupportedError(
                f"{self.model!r} gave NaN or infinite scores for row {bad[0]}: its weights or its number type are "
                "broken."
            )
        return words

    def calibrate(self, calibration: Prior, X: Sequence[Row] | None, y: Any, rng: Any) -> None:
        """Fit a calibration on rows that are not shown in every prompt, and apply it from now on."""
        rows = np.setdiff1d(np.arange(0 if X is None else len(X)), shown_rows(self.selector))
        if calibration.max_texts is not None and len(rows) > calibration.max_texts:
            rows = np.sort(rng.choice(rows, calibration.max_texts, replace=False))
        texts = None if X is None else [X[i] for i in rows]
        probes = calibration.probes(lambda asked: self.queries(asked, warn=False), self.task.template, texts, rng)
        targets = None if y is None else self.task.index([y[i] for i in rows])
        words = self.word_scores(probes)
        shape = (len(words), len(self.task.verbalizer.candidates))
        n_tokens = np.array([one.n_tokens for one in words]).reshape(shape)

        def aggregate(scores: FloatArray, which: IntArray) -> FloatArray:
            return self.task.verbalizer.aggregate(scores, n_tokens[which])  # type: ignore[no-any-return]

        self.calibration = calibration.fit(np.array([one.logprobs for one in words]).reshape(shape), targets, aggregate)

    def class_scores(self, queries: Sequence[Query], warn: bool = True) -> FloatArray:
        """Calibrated log-probabilities of the classes, of shape (n_queries, n_classes)."""
        words = self.word_scores(queries)
        if warn:
            _warn_of_mass(words, self.task.verbalizer.candidates)
        logprobs = np.stack([scores.logprobs for scores in words])
        n_tokens = np.stack([scores.n_tokens for scores in words])
        if self.calibration is None:
            return log_softmax(self.task.verbalizer.aggregate(logprobs, n_tokens))
        scores = self.task.verbalizer.aggregate(self.calibration.transform(logprobs), n_tokens)
        return log_softmax(self.calibration.transform_classes(scores))

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
        rows = []
        for fit, contexts in self.fitted(X, warn=False):
            query = self._query(fit, contexts)
            turns = [(turn.role, turn.text) for turn in query.context if turn.role != "premise"]
            parts = parts_of(fit, self.kind)
            rows.append(PreviewRow(turns, parts, fit.n_tokens, fit.n_demonstrations, fit.n_cut))
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
    if not isinstance(shots, int | np.integer) or shots < 0:
        raise ValueError(f"shots must be an integer of at least 0. Got {shots!r}.")
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
    if not np.isnan(mass).all() and np.nanmedian(mass) < _MASS_FLOOR:
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
    if cut or fewer:
        texts = (
            f"{len(cut)} of {len(fitted)} rows were cut, by {int(np.median(cut))} tokens in the median" if cut else ""
        )
        shots = f"{fewer} of {len(fitted)} rows show fewer than {full} demonstrations" if fewer else ""
        warn(
            f"To fit the model's window of {limit} tokens, {' and '.join(filter(None, (texts, shots)))}.",
            ShortenedWarning,
        )
