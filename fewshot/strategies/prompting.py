"""Prompting: ask the language model, with or without demonstrations in the prompt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Self

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state

from fewshot.calibration import Prior, as_prior
from fewshot.demonstrations import Selection, select
from fewshot.errors import InputError, LabelMassWarning, NoAnswerWarning, ShortenedWarning, UnsupportedError, warn
from fewshot.models.base import FloatArray, Generator, Query, Scores, Turn, Window, is_language_model, kind_of
from fewshot.preview import Preview, PreviewRow
from fewshot.strategies.base import Task, at_row, log_softmax, no_weights, one_label
from fewshot.task.prompt import Fitted, fit_to_window
from fewshot.task.template import Row

__all__ = ["Prompting"]

_MASS_FLOOR = 0.01
_EPSILON = 1e-6  # what a generated answer leaves to the other classes together


class Prompting(BaseEstimator):  # type: ignore[misc]
    """Ask a language model which label word fills the hole.

    Parameters
    ----------
    shots : int
        Number of demonstrations in the prompt, over all classes; 0 is zero-shot.
    selection : {"stratified", "random", "first"}
        Which labelled rows become demonstrations (see `fewshot.demonstrations.select`).
    read : {"score", "generate"}
        "score" reads the probabilities of the label words. "generate" lets the model answer freely (greedily) and maps
        the answer to a class with `Verbalizer.parse`; a row whose answer names no class is scored instead, and counted
        in a `NoAnswerWarning`.
    max_new_tokens : int
        Length of a generated answer.
    calibration : {"contextual", "domain-context", "pmi", "batch"} or Prior, optional
        What the model says of every text alike is taken out of its scores (see `fewshot.calibration`). "contextual" and
        "pmi" need no text, "domain-context" and "batch" learn from the texts of ``fit``, labelled or not.

    Attributes
    ----------
    demonstrations_ : ndarray of shape (shots,)
        Row numbers of the demonstrations in prompt order; the last stands nearest to the text.
    calibration_ : Prior or None
        The fitted calibration.

    Notes
    -----
    In-context learning: Brown et al. (2020), "Language Models are Few-Shot Learners". Cloze prompts with label words:
    Schick and Schütze (2021), "Exploiting Cloze Questions".

    Examples
    --------
    >>> from fewshot import Classifier, FakeLM, Prompting
    >>> lm = FakeLM(lambda query: [-float(word not in query.prefix) for word in query.candidates])
    >>> clf = Classifier(lm, strategy=Prompting(shots=2), random_state=0)
    >>> clf.fit(["a good day", "a bad day"], ["good", "bad"]).predict(["so good"]).tolist()
    ['good']
    """

    def __init__(
        self,
        shots: int = 0,
        selection: Selection = "stratified",
        read: Literal["score", "generate"] = "score",
        max_new_tokens: int = 16,
        calibration: Any = None,
    ) -> None:
        self.shots = shots
        self.selection = selection
        self.read = read
        self.max_new_tokens = max_new_tokens
        self.calibration = calibration

    def fit(
        self,
        task: Task,
        model: Any,
        X: Sequence[Row] | None = None,
        y: Any = None,
        *,
        sample_weight: FloatArray | None = None,
        random_state: Any = None,
    ) -> Self:
        """Choose the demonstrations, and score the probes of a calibration; without one, no model call is made.

        Raises
        ------
        UnsupportedError
            When the model is not a language model, or can't generate and ``read`` asks it to.
        InputError
            When there are fewer labelled rows than shots, or a calibration lacks what it learns from.
        """
        no_weights(self, sample_weight)
        one_label(self, task)
        if not isinstance(self.shots, int | np.integer) or self.shots < 0:
            raise ValueError(f"shots must be an integer of at least 0. Got {self.shots!r}.")
        if self.read not in ("score", "generate"):
            raise ValueError(f"read must be 'score' or 'generate'. Got {self.read!r}.")
        if not is_language_model(model):
            raise UnsupportedError(
                f"Prompting needs a language model. {model!r} is an encoder: use Embedding(), or Auto()."
            )
        if self.read == "generate" and not isinstance(model, Generator):
            raise UnsupportedError(f"{model!r} can't generate text: use read='score'.")
        if self.shots and kind_of(model) == "entailment":
            raise UnsupportedError(
                f"{model!r} compares one premise with one hypothesis: it has no place for shots={self.shots}."
            )
        if self.read == "generate" and self.calibration is not None:
            raise UnsupportedError("A generated answer has no scores to calibrate: use read='score'.")
        calibration = None if self.calibration is None else as_prior(self.calibration)
        rng = check_random_state(random_state)
        shown: list[tuple[Row, str]] = []
        self.demonstrations_ = np.empty(0, dtype=np.int64)
        if self.shots:
            if X is None or y is None:
                raise InputError(f"shots={self.shots} needs labelled rows: call fit(X, y), or set shots=0.")
            self.demonstrations_ = select(self.selection, y, self.shots, rng)
            words = dict(zip(task.classes.tolist(), task.verbalizer.labels, strict=True))
            for i in self.demonstrations_.tolist():
                with at_row(i):
                    task.template.prompt(X[i], task.verbalizer.labels)
            shown = [(X[i], words[y[i]]) for i in self.demonstrations_.tolist()]
        self.task_, self.model_ = task, model
        labels = task.verbalizer.labels
        turns = task.template.context(shown, labels)
        head, last = turns[: len(turns) - 2 * len(shown)], turns[len(turns) - 2 * len(shown) :]
        # a demonstration is two turns; the nearest ones stay when there is no room for all
        self._contexts: list[tuple[Turn, ...]] = [(*head, *last[2 * (len(shown) - k) :]) for k in range(len(shown) + 1)]
        self.calibration_ = None if calibration is None else self._calibrated(calibration, X, y, rng)
        return self

    def _calibrated(self, calibration: Prior, X: Sequence[Row] | None, y: Any, rng: Any) -> Prior:
        """Fit the calibration on rows that are not demonstrations."""
        rows = np.setdiff1d(np.arange(0 if X is None else len(X)), self.demonstrations_)
        if calibration.max_texts is not None and len(rows) > calibration.max_texts:
            rows = np.sort(rng.choice(rows, calibration.max_texts, replace=False))
        texts = None if X is None else [X[i] for i in rows]
        probes = calibration.probes(
            lambda asked: self._queries(self._fitted_prompts(asked, warn=False)), self.task_.template, texts, rng
        )
        targets = None if y is None else self.task_.index([y[i] for i in rows])
        if not probes:
            return calibration.fit(np.empty((0, len(self.task_.verbalizer.candidates))))
        words = self._word_scores(probes)
        n_tokens = np.stack([one.n_tokens for one in words])
        return calibration.fit(
            np.stack([one.logprobs for one in words]),
            targets,
            lambda scores: self.task_.verbalizer.aggregate(scores, n_tokens),
        )

    def log_scores(self, X: Sequence[Row]) -> FloatArray:
        """Log-probabilities of the classes, of shape (n_texts, n_classes)."""
        queries = self._queries(self._fitted_prompts(X))
        verbalizer = self.task_.verbalizer
        words = self._word_scores(queries)
        _warn_of_mass(words, verbalizer.candidates)
        logprobs = np.stack([scores.logprobs for scores in words])
        if self.calibration_ is not None:
            logprobs = self.calibration_.transform(logprobs)
        scores = log_softmax(verbalizer.aggregate(logprobs, np.stack([s.n_tokens for s in words])))
        return self._answered(queries, scores) if self.read == "generate" else scores

    def label_mass(self, X: Sequence[Row]) -> FloatArray:
        """The model's total probability of the label words' distinct first tokens, of shape (n_texts,).

        Raises
        ------
        UnsupportedError
            When the model has no such number, as entailment models have none.
        """
        mass = np.array([scores.mass for scores in self._word_scores(self._queries(self._fitted_prompts(X)))])
        if np.isnan(mass).all():
            raise UnsupportedError(
                f"{self.model_!r} scores candidates without a distribution over tokens: it has no label mass."
            )
        return mass

    def preview(self, X: Sequence[Row]) -> Preview:
        """The prompts as they would be asked, without asking."""
        rows = []
        for fitted in self._fitted_prompts(X, warn=False):
            query = fitted.prompt.query(
                self.task_.verbalizer.candidates, self._contexts[fitted.n_demonstrations], self._kind
            )
            turns = [(turn.role, turn.text) for turn in query.context]
            rows.append(
                PreviewRow(
                    turns,
                    query.prefix,
                    query.suffix,
                    fitted.n_tokens,
                    fitted.n_demonstrations,
                    fitted.n_cut,
                    fitted.cut_texts,
                )
            )
        return Preview(rows, self.task_.verbalizer.candidates, getattr(self.model_, "limit", None))

    @property
    def _kind(self) -> Any:
        return kind_of(self.model_)

    def _word_scores(self, queries: list[Query]) -> list[Scores]:
        words: list[Scores] = self.model_.loglikelihoods(queries)
        # the highest score is NaN where one is, and -inf where no candidate is possible: neither can be normalised
        bad = [i for i, scores in enumerate(words) if not np.isfinite(scores.logprobs.max())]
        if bad:
            raise UnsupportedError(
                f"{self.model_!r} gave NaN or infinite scores for row {bad[0]}: its weights or its number type are "
                "broken."
            )
        return words

    def _queries(self, prompts: list[Fitted]) -> list[Query]:
        words = self.task_.verbalizer.candidates
        return [f.prompt.query(words, self._contexts[f.n_demonstrations], self._kind) for f in prompts]

    def _fitted_prompts(self, X: Sequence[Row], warn: bool = True) -> list[Fitted]:
        """Render every row, and shorten those that exceed the window."""
        template, verbalizer, full = self.task_.template, self.task_.verbalizer, len(self._contexts) - 1
        prompts = []
        for i, row in enumerate(X):
            with at_row(i):
                prompts.append(template.prompt(row, verbalizer.labels))
        if not isinstance(self.model_, Window):
            return [Fitted(prompt, full, 0) for prompt in prompts]
        queries = [prompt.query(verbalizer.candidates, self._contexts[full], self._kind) for prompt in prompts]
        fitted = []
        for i, (prompt, size) in enumerate(zip(prompts, self.model_.lengths(queries), strict=True)):
            with at_row(i):
                fitted.append(
                    fit_to_window(
                        prompt,
                        self._contexts,
                        verbalizer.candidates,
                        self.model_,
                        kind=self._kind,
                        n_tokens=int(size),
                    )
                )
        if warn:
            _warn_of_cuts(fitted, full, self.model_.limit)
        return fitted

    def _answered(self, queries: list[Query], scores: FloatArray) -> FloatArray:
        """Put the class that each generated answer names first; the rest share what is left by their scores."""
        answers = self.model_.generate(queries, self.max_new_tokens)
        named = [self.task_.verbalizer.parse(answer) for answer in answers]
        columns = {name: i for i, name in enumerate(self.task_.classes.tolist())}
        out = scores.copy()
        for i, name in enumerate(named):
            if name is not None:
                column = columns[name]
                rest = np.delete(np.arange(len(columns)), column)
                out[i, rest] = np.log(_EPSILON) + log_softmax(scores[i : i + 1, rest])[0]
                out[i, column] = np.log1p(-_EPSILON)
        unnamed = [answer for answer, name in zip(answers, named, strict=True) if name is None]
        if unnamed:
            warn(
                f"{len(unnamed)} of {len(answers)} generated answers name no class and were scored instead, such as "
                f"{unnamed[0]!r:.80}.",
                NoAnswerWarning,
            )
        return out


def _warn_of_mass(words: list[Scores], candidates: Sequence[str]) -> None:
    mass = np.array([scores.mass for scores in words])
    if not np.isnan(mass).all() and np.nanmedian(mass) < _MASS_FLOOR:
        warn(
            f"The model expects the label words hardly at all: their median total probability is "
            f"{np.nanmedian(mass):.2g}. Words: {', '.join(map(repr, candidates[:6]))}. Choose "
            "words that would really follow in the template; preview(X) shows the prompt.",
            LabelMassWarning,
        )


def _warn_of_cuts(fitted: Sequence[Fitted], full: int, limit: int) -> None:
    cut = [f.n_cut for f in fitted if f.shortened]
    fewer = sum(f.n_demonstrations < full for f in fitted)
    if cut or fewer:
        texts = (
            f"{len(cut)} of {len(fitted)} rows were cut, by {int(np.median(cut))} tokens in the median" if cut else ""
        )
        shots = f"{fewer} of {len(fitted)} rows show fewer than {full} demonstrations" if fewer else ""
        warn(
            f"To fit the model's window of {limit} tokens, {' and '.join(filter(None, (texts, shots)))}.",
            ShortenedWarning,
        )
