"""Asking: one wording of a task put to a language model, with the demonstrations that fit into its window."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import replace
from itertools import count
from typing import Any, Literal, Self

import numpy as np
from scipy.special import log_softmax
from sklearn.base import clone

from fewshot.calibration import Prior
from fewshot.calibration.priors import Ask
from fewshot.checks import at_least
from fewshot.demonstrations import Selector
from fewshot.display.preview import Preview
from fewshot.errors import InputError, UnsupportedError, at_row
from fewshot.inputs import Row
from fewshot.models.base import FloatArray, IntArray, Query, is_encoder, is_window, kind_of
from fewshot.models.loading import load
from fewshot.prompts.asked import Asked, Context, word_scores
from fewshot.prompts.listing import lists_labels
from fewshot.task.by_letter import as_filled
from fewshot.task.label_orders import label_orders
from fewshot.task.meaning import with_meanings
from fewshot.task.prompt import Fitted, Prompt, cut_alike, fit_to_window
from fewshot.task.task import Task
from fewshot.task.verbalizer import RowWords, Verbalizer

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
    orders : int or "all"
        Under how many orders of the label words that the template lists each row is asked about.
    """

    orders: int | Literal["all"] = 1  # of those that were kept before there were any
    _turn: Callable[[tuple[str, ...]], tuple[str, ...]] | None = None

    def __init__(
        self,
        task: Task,
        model: Any,
        selector: Selector | None = None,
        *,
        rows: Sequence[Row] = (),
        labels: Sequence[Any] = (),
        max_tokens: int | None = None,
        orders: int | Literal["all"] = 1,
    ) -> None:
        self.task, self.model, self.selector = task, model, selector
        self.calibration: Prior | None = None
        self._rows, self._labels, self._max_tokens = rows, labels, max_tokens
        self._turns: dict[tuple[int, int], Context] = {}
        self.orders = orders if lists_labels(task, model) else 1
        self.verbalizer  # noqa: B018 - made now, so that one that can't be had fails here

    @property
    def kind(self) -> str:
        """The name of the model's kind."""
        return kind_of(self.model).name

    @property
    def verbalizer(self) -> Verbalizer:
        """What fills the hole: the label words, or the letters of their lines."""
        return as_filled(self.task, self.model)

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

    def compared(self, row: Row) -> str:
        """The text of a row by which demonstrations are chosen."""
        return self.task.template.text(row)

    def relisted(self, turn: Callable[[tuple[str, ...]], tuple[str, ...]]) -> Self:
        """The same asking, whose prompts list the label words as ``turn`` reorders them."""
        other = copy(self)
        other._turn, other._turns = turn, {}  # noqa: SLF001 - of this class
        return other

    def _listings(self, labels: tuple[str, ...]) -> list[tuple[str, ...]]:
        """Label words in the orders that prompts list them in, their own first."""
        labels = labels if self._turn is None else self._turn(labels)
        return [tuple(labels[i] for i in order) for order in label_orders(len(labels), self.orders)]

    def contexts(self, X: Sequence[Row], listings: Sequence[list[tuple[str, ...]]]) -> list[list[list[Context]]]:
        """What may stand before each text, in each order: no demonstration, the nearest one, and so on to all."""
        shown: list[tuple[int, ...]] = [()] * len(X)
        if self.selector is not None:
            chosen = self.selector.select([self.compared(row) for row in X])
            shown = [tuple(rows.tolist()) for rows in chosen]
        made: dict[tuple[tuple[str, ...], tuple[int, ...]], list[list[Context]]] = {}
        found = []
        for own, rows in zip(listings, shown, strict=True):
            if (own[0], rows) not in made:
                each = [self._contexts(labels, rows, k) for k, labels in enumerate(own)]
                most = min(map(len, each))  # as many demonstrations in each order
                made[own[0], rows] = [turns[:most] for turns in each]
            found.append(made[own[0], rows])
        return found

    def _contexts(self, labels: tuple[str, ...], shown: tuple[int, ...], k: int) -> list[Context]:
        head = self.task.template.context((), labels)
        turns = [self._demonstration(i, k) for i in shown[::-1]]  # the last stands nearest to the text
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

    def _demonstration(self, i: int, k: int) -> Context:
        """A labelled row as a prompt shows it in the k-th order."""
        if (i, k) not in self._turns:
            with at_row(i):
                own, word = self._answer(i)
                listings = self._listings(own.labels)
                listing = listings[k % len(listings)]
                context = self.task.template.context([(self._rows[i], own.filling(word, listing))], listing)
                self._turns[i, k] = context[-2:]
        return self._turns[i, k]

    def _answer(self, i: int) -> tuple[RowWords, str]:
        """What the prompt of a labelled row may list, and what its class fills the hole with."""
        verbalizer, at = self.verbalizer, int(self.task.index([self._labels[i]])[0])
        own = verbalizer.of(self._rows[i])
        return own, own.labels[at] if verbalizer.per_row else verbalizer.words[at][0]

    def ask(self, X: Sequence[Row]) -> Asked:
        """Render the prompts of every row, and shorten those that exceed the window; the model answers later."""
        words, prompts, verbalizer = [], [], self.verbalizer
        for i, row in enumerate(X):
            with at_row(i):
                words.append(verbalizer.of(row))
        listings = [self._listings(own.labels) for own in words]
        for i, (row, own) in enumerate(zip(X, listings, strict=True)):
            with at_row(i):
                prompts.append([self.task.template.prompt(row, labels) for labels in own])
        contexts = self.contexts(X, listings)
        answers = [
            [with_meanings(self.task.template, own.under(listing), self.model) for listing in each]
            for own, each in zip(words, listings, strict=True)
        ]
        fitted = self._fitted(prompts, contexts, [each[0] for each in answers])  # of the same length in each order
        forms = [
            tuple(
                cut_alike(prompt, own[0], fit.prompt).query(candidates, turns[fit.n_demonstrations], self.kind)
                for prompt, turns, candidates in zip(own, before, each, strict=True)
            )
            for fit, own, before, each in zip(fitted, prompts, contexts, answers, strict=True)
        ]
        task = replace(self.task, verbalizer=verbalizer)
        return Asked(task, self.model, X, words, [before[0] for before in contexts], fitted, forms)

    def _fitted(
        self,
        prompts: Sequence[list[Prompt]],
        contexts: Sequence[list[list[Context]]],
        answers: Sequence[tuple[str, ...]],
    ) -> list[Fitted]:
        """The first prompt of each row, so short that the row's others fit the window as well."""
        if not is_window(self.model):
            return [Fitted(own[0], len(before[0]) - 1, 0) for own, before in zip(prompts, contexts, strict=True)]
        fitted, asked = [], list(zip(prompts, contexts, answers, strict=True))
        sizes = self._lengths(
            [
                [prompt.query(candidates, turns[-1], self.kind) for prompt, turns in zip(own, before, strict=True)]
                for own, before, candidates in asked
            ]
        )
        for i, ((own, before, candidates), size) in enumerate(zip(asked, sizes, strict=True)):
            twins = list(zip(own[1:], before[1:], strict=True))
            with at_row(i):
                fit = fit_to_window(
                    own[0], before[0], candidates, self.model, kind=self.kind, n_tokens=size, twins=twins
                )
                fitted.append(fit)
        return fitted

    def _lengths(self, forms: Sequence[Sequence[Query]]) -> list[int]:
        """Tokens of each row's longest query; where rows bring their own choices, a row with bad ones is named."""
        queries = [query for own in forms for query in own]
        try:
            sizes = iter(self.model.lengths(queries))
        except ValueError:
            for i, own in enumerate(forms if self.verbalizer.per_row else ()):
                with at_row(i):
                    self.model.lengths(own)
            raise
        return [int(max(next(sizes) for _ in own)) for own in forms]

    def calibrate(self, calibration: Prior, X: Sequence[Row] | None, y: Any, rng: Any) -> None:
        """Fit a calibration on rows that are not shown in every prompt, and apply it from now on."""
        at_least("max_texts", calibration.max_texts, 1, whole=True, optional=True)
        rows = np.setdiff1d(np.arange(0 if X is None else len(X)), shown_rows(self.selector))
        if calibration.max_texts is not None and len(rows) > calibration.max_texts:
            rows = np.sort(rng.choice(rows, calibration.max_texts, replace=False))
        texts = None if X is None else [X[i] for i in rows]
        verbalizer = self.verbalizer
        if verbalizer.per_row:
            one, ask = (texts or [])[:1], self._asker()(0)
            calibration.own_probes(ask, self.task.template, one, ask(one))  # to see whether it can
            self.calibration = calibration
            return
        calibration.take_classes(self.task.classes.tolist())
        probes = self._probes(calibration, texts, rng)
        targets = None if y is None else self.task.index([y[i] for i in rows])
        first = [own[0] for own in probes]
        logprobs, n_tokens = verbalizer.table(word_scores(self.model, probes), first)

        def aggregate(scores: FloatArray, which: IntArray) -> FloatArray:
            return verbalizer.aggregate(scores, n_tokens[which])

        self.calibration = calibration.fit(logprobs, targets, aggregate)

    def _asker(self) -> Callable[[int], Ask]:
        """What asks for a calibration in the k-th order; what it asks in each order alike is rendered once."""
        asked: list[Asked] = []

        def in_order(k: int) -> Ask:
            calls = count()

            def ask(rows: Sequence[Row]) -> list[Query]:
                call = next(calls)
                if call == len(asked):
                    asked.append(self.ask(rows))
                return asked[call].in_order(k)

            return ask

        return in_order

    def _probes(self, calibration: Prior, X: Sequence[Row] | None, rng: Any) -> list[tuple[Query, ...]]:
        """The probes of a calibration, each in every order of the listed label words."""
        asker, state, each = self._asker(), rng.get_state(), []
        for k in range(len(self._listings(self.verbalizer.labels))):
            rng.set_state(state)  # the same texts in each order
            each.append(calibration.probes(asker(k), self.task.template, X, rng))
        return list(zip(*each, strict=True))

    def _own_probes(self, calibration: Prior, asked: Asked) -> list[list[tuple[Query, ...]]]:
        """The probes of each row that brings its own choices, each in every order of these."""
        asker, template = self._asker(), self.task.template
        each = [
            calibration.own_probes(asker(k), template, asked.rows, asked.in_order(k)) for k in range(asked.n_orders)
        ]
        return [
            list(zip(*(probes[i] for probes in each[: len(own)]), strict=True)) for i, own in enumerate(asked.forms)
        ]

    def class_scores(self, asked: Asked) -> FloatArray:
        """Calibrated log-probabilities of the classes, of shape (n_rows, n_classes)."""
        verbalizer, calibration = self.verbalizer, self.calibration
        if calibration is None:
            return asked.raw_scores()
        if not verbalizer.per_row:
            logprobs, n_tokens = verbalizer.table(asked.answers, asked.queries)
            scores = verbalizer.aggregate(calibration.transform(logprobs), n_tokens)
            return log_softmax(calibration.transform_classes(scores), axis=1)
        words = asked.answers
        probes = self._own_probes(calibration, asked)
        said = iter(word_scores(self.model, [forms for own in probes for forms in own]))
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
