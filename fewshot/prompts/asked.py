"""Asked: the prompts for some rows, and the answers of the model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from scipy.special import log_softmax

from fewshot.display.preview import Preview, PreviewRow, split_parts
from fewshot.errors import LabelMassWarning, ShortenedWarning, at_row, warn
from fewshot.models.base import FloatArray, Query, Scores, Turn, check_scores, kind_of, score_each
from fewshot.task.prompt import Fitted
from fewshot.task.task import Task
from fewshot.task.verbalizer import MASS_FLOOR, RowWords

__all__ = ["Asked", "Context", "word_scores"]

Context = tuple[Turn, ...]


@dataclass(frozen=True, eq=False)
class Asked:
    """One wording of a task asked of one model about some rows; the model answers once, when that is needed."""

    task: Task
    model: Any
    rows: Sequence[Any]
    words: list[RowWords]  # what each row may be answered with
    contexts: list[list[Context]]  # before each text: no demonstration, the nearest one, and so on to all
    prompts: list[Fitted]  # each row's prompt, as short as the window of the model needs it
    forms: list[tuple[Query, ...]]  # each row's queries, one for each order of the listed label words

    @cached_property
    def queries(self) -> list[Query]:
        """The query of each row with the label words in their own order."""
        return self.in_order(0)

    @property
    def n_orders(self) -> int:
        """The most orders that the label words of a row are listed in."""
        return max(map(len, self.forms), default=1)

    def in_order(self, k: int) -> list[Query]:
        """The queries of the k-th order; of a row with fewer, one of its own."""
        return [own[k % len(own)] for own in self.forms]

    @property
    def answers(self) -> list[Scores]:
        """The scores of the candidates of each query, in the mean over the orders."""
        # before Python 3.12 a cached_property has one lock for all instances, and all threads would wait for one server
        known = vars(self)
        if "_answers" not in known:
            known["_answers"] = word_scores(self.model, self.forms)
        return known["_answers"]

    def raw_scores(self) -> FloatArray:
        """Log-probabilities of the classes before any calibration, of shape (n_rows, n_classes)."""
        verbalizer = self.task.verbalizer
        return log_softmax(verbalizer.aggregate(*verbalizer.table(self.answers, self.queries, self.words)), axis=1)

    def preview(self) -> Preview:
        """The prompts as they are asked."""
        shown, verbalizer = [], self.task.verbalizer
        for fit, query, own in zip(self.prompts, self.queries, self.words, strict=True):
            turns = [(turn.role, turn.text) for turn in query.context if turn.role != "premise"]
            parts = split_parts(fit, kind_of(self.model).name)
            choices = own.labels if verbalizer.per_row else ()
            shown.append(PreviewRow(turns, parts, fit.n_tokens, fit.n_demonstrations, fit.n_cut, choices))
        candidates = verbalizer.candidates if verbalizer.per_row or not shown else self.queries[0].candidates
        return Preview(shown, candidates, getattr(self.model, "limit", None))

    def warn(self) -> None:
        """Warn of what makes the answers worse: cut prompts, and label words that the model does not expect."""
        self.warn_of_cuts()
        self.warn_of_mass()

    def warn_of_cuts(self) -> None:
        """Warn where prompts were shortened to fit the window."""
        cut = [fit.n_cut for fit in self.prompts if fit.shortened]
        full = max(map(len, self.contexts)) - 1
        fewer = sum(fit.n_demonstrations < len(own) - 1 for fit, own in zip(self.prompts, self.contexts, strict=True))
        if not (cut or fewer):
            return
        n = len(self.prompts)
        texts = f"{len(cut)} of {n} rows were cut, by {int(np.median(cut))} tokens in the median" if cut else ""
        shots = f"{fewer} of {n} rows show fewer than {full} demonstrations" if fewer else ""
        warn(
            f"To fit the model's window of {self.model.limit} tokens, {' and '.join(filter(None, (texts, shots)))}."
            f"{_said_of_empty([fit.emptied for fit in self.prompts])}",
            ShortenedWarning,
        )

    def warn_of_mass(self) -> None:
        """Warn where the model hardly expects the label words; of a whole sentence no model expects the first token."""
        if self.task.verbalizer.per_row:
            return
        mass = np.array([scores.mass for scores in self.answers])
        if not np.isnan(mass).all() and np.nanmedian(mass) < MASS_FLOOR:
            warn(
                f"The model expects the label words hardly at all: their median total probability is "
                f"{np.nanmedian(mass):.2g}. Words: {', '.join(map(repr, self.task.verbalizer.candidates[:6]))}. Choose "
                "words that would really follow in the template; preview(X) shows the prompt.",
                LabelMassWarning,
            )


def word_scores(model: Any, forms: Sequence[tuple[Query, ...]]) -> list[Scores]:
    """Score the label words of each row, in the mean over its queries, which ask the same in several forms.

    Queries that begin alike are next to each other, so that the model can share them.
    """
    distinct = dict.fromkeys(query for own in forms for query in own)
    known = score_each(model, sorted(distinct, key=lambda query: query.context))
    words = []
    for i, own in enumerate(forms):
        with at_row(i):
            for query in own:
                check_scores(model, query, known[query])
            words.append(_mean([known[query] for query in own]))
            check_scores(model, own[0], words[-1])
    return words


def _mean(scores: Sequence[Scores]) -> Scores:
    """The mean of log-probabilities and of the mass."""
    if len(scores) == 1:
        return scores[0]
    logprobs = np.mean([one.logprobs for one in scores], axis=0)
    return replace(scores[0], logprobs=logprobs, mass=float(np.mean([one.mass for one in scores])))


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
