"""Prompting: ask the language model, with or without demonstrations in the prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax
from sklearn.base import clone
from sklearn.utils import check_random_state

from fewshot.calibration import as_prior
from fewshot.checks import at_least, one_of
from fewshot.demonstrations import as_selector, least_biased, orders
from fewshot.display.explanation import Explanation
from fewshot.display.preview import Preview
from fewshot.errors import InputError, NoAnswerWarning, ParameterError, UnsupportedError, at_row, warn
from fewshot.inputs import Row
from fewshot.models.base import FloatArray, is_generator, is_window, kind_of
from fewshot.models.wrappers import RememberedLM
from fewshot.prompts.asked import Asked
from fewshot.prompts.asking import Asking, fitted_selector, shown_rows
from fewshot.prompts.each_label import EachLabel
from fewshot.prompts.explaining import ask_question, class_lines, say_orders
from fewshot.prompts.listing import check_orders
from fewshot.prompts.pending import Pending
from fewshot.strategies.base import Rows, Strategy, one_wording
from fewshot.task.task import Task

__all__ = ["Prompting"]

_EPSILON = 1e-6  # what a generated answer leaves to the other classes together
#: Orders of the demonstrations that "lowest bias" tries, and texts that it tries them on.
_ORDERS, _ORDER_TEXTS = 12, 32


class Prompting(Strategy):
    """Ask a language model which label word fills the hole.

    Parameters
    ----------
    shots : int
        Number of demonstrations in the prompt, over all classes; 0 is zero-shot.
    selection : {"stratified", "random", "first", "nearest", "mmr"} or Selector
        Which labelled rows become demonstrations (see `fewshot.demonstrations`). "nearest" and "mmr" choose rows for
        each text, by sentence embeddings. A text is never its own demonstration.
    read : {"score", "generate"}
        "score" reads the probabilities of the label words. "generate" lets the model write a free answer (greedily) and
        maps the answer to a class with `Verbalizer.parse`. A row whose answer names no class is scored instead, and a
        `NoAnswerWarning` says how many such rows there were.
    max_new_tokens : int
        The most tokens of a generated answer.
    calibration : {"contextual", "domain-context", "pmi", "batch", "learned", "temperature", "auto"} or Prior, optional
        How to remove from the scores the model's bias, which is the same for all texts (see `fewshot.calibration`).
        "contextual" and "pmi" need no texts. "domain-context" and "batch" learn from the texts of ``fit``, labelled or
        not. "learned" learns from labels. "temperature" learns from labels how confident the probabilities may be.
        "auto" chooses among these, except "temperature", or none (see `fewshot.calibration.BestOf`). If rows bring
        their own choices, only "contextual" and "pmi" are possible, with one more query for each row.
    order : {"as is", "common first", "interleaved", "nearest last", "lowest bias"}, optional
        The order of the demonstrations. "common first" is for "nearest" and "mmr": prompts of different texts then
        share most of their beginning, and the nearest row still stands next to the text. "lowest bias" tries some
        orders on other texts of ``fit`` and takes the one with which the model's answers favour no class (GlobalE: Lu
        et al. 2022, "Fantastically Ordered Prompts and Where to Find Them"). None: the order of the selector.
    ensemble : {"mean", "learned"}
        How to combine several templates. "mean" averages their log-scores. "learned" gives them the weights with the
        lowest log loss on the labelled rows that are not demonstrations.
    orders : int or "all"
        In how many orders the label words are listed, one prompt for each. It applies to templates that list them with
        ``labels``, in the body or the instruction, as ``generic/causal`` and ``generic/listed`` do. A small model's
        answer depends on the order of the list. The words' log-probabilities are averaged over the orders, before
        calibration. The orders are evenly spaced rotations of the given order, each followed by its reverse. "all" are
        twice as many orders as there are words (for two words, two orders). In ``generic/listed`` the list stands at
        the end, so each further order costs little more than the tokens of the list.
    max_shot_tokens : int, optional
        The most tokens of demonstrations in a prompt. If there are more, the demonstrations nearest to the text stay.
    encoder : str or Encoder, optional
        The encoder with which "nearest" and "mmr" compare texts. None: the default encoder.

    Attributes
    ----------
    demonstrations_ : ndarray of shape (shots,)
        Row numbers of the demonstrations in prompt order; the last stands nearest to the text. Empty if each text has
        its own demonstrations.
    calibration_ : Prior or None
        The fitted calibration; with several templates, a list.
    weights_ : ndarray of shape (n_templates,)
        The weight of each template.

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

    takes_multi_label = takes_wordings = takes_choices = True
    needs_language_model = True
    only_shows = True

    def __init__(
        self,
        shots: int = 0,
        selection: Any = "stratified",
        read: Literal["score", "generate"] = "score",
        max_new_tokens: int = 16,
        calibration: Any = None,
        *,
        order: str | None = None,
        ensemble: Literal["mean", "learned"] = "mean",
        orders: int | Literal["all"] = 1,
        max_shot_tokens: int | None = None,
        encoder: Any = None,
    ) -> None:
        self.shots = shots
        self.selection = selection
        self.read = read
        self.max_new_tokens = max_new_tokens
        self.calibration = calibration
        self.order = order
        self.ensemble = ensemble
        self.orders = orders
        self.max_shot_tokens = max_shot_tokens
        self.encoder = encoder

    def _fit(
        self, task: Task, model: Any, X: Rows | None, y: Any, *, sample_weight: FloatArray | None, random_state: Any
    ) -> None:
        """Choose the demonstrations, and score the probes of a calibration; without one, no model call is made."""
        self._check(task, model)
        if task.multi_label:
            self._fit_labels(task, model)
            return
        calibration = None if self.calibration is None else as_prior(self.calibration)
        rng = check_random_state(random_state)
        self.task_, self.model_ = task, model
        order = None if self.order == "lowest bias" else self.order
        self.selector_ = fitted_selector(
            as_selector(self.selection, order), self.shots, task, X, y, rng=rng, encoder=self.encoder
        )
        if self.order == "lowest bias" and self.selector_ is not None and not self.selector_.shared:
            raise UnsupportedError(
                f"order='lowest bias' needs the same demonstrations for all texts, and selection={self.selection!r} "
                "chooses them for each text: use selection='stratified', 'random' or 'first'."
            )
        self.demonstrations_ = shown_rows(self.selector_)
        rows, labels = (X, y) if self.selector_ is not None else ((), ())
        asked: dict[str, Any] = {"max_tokens": self.max_shot_tokens, "orders": self.orders}
        remembered = RememberedLM(model)  # a calibration and the weights of the wordings ask the same
        self.askings_ = [
            Asking(one, remembered, self.selector_, rows=rows or (), labels=labels, **asked) for one in task.wordings
        ]
        for asking in self.askings_:
            for i in self.demonstrations_.tolist():
                with at_row(i):
                    asking.task.template.prompt((X or [])[i], asking.task.verbalizer.labels)
        self.weights_: FloatArray = np.full(len(self.askings_), 1 / len(self.askings_))
        if self.order == "lowest bias" and self.shots:
            self._reorder(X or [], rng)
        for asking in self.askings_:
            if calibration is not None:
                asking.calibrate(clone(calibration), X, y, rng)
        if self.ensemble == "learned" and task.others:
            self.weights_ = self._learned_weights(X, y)
        for asking in self.askings_:
            asking.model = model
        calibrations = [asking.calibration for asking in self.askings_]
        self.calibration_ = calibrations if task.others else calibrations[0]

    def _fit_labels(self, task: Task, model: Any) -> None:
        """Get ready to ask about each label by itself."""
        if self.shots or self.calibration is not None or self.read == "generate":
            raise UnsupportedError(
                "When a text may have several labels, Prompting asks about each of them zero-shot and reads the scores "
                f"as they are: leave shots, calibration and read at their defaults. Got {self!r}."
            )
        one_wording(self, task)
        self.each_label_ = EachLabel(task, model)
        self.askings_, self.calibration_ = [self.each_label_.asking], None
        self.task_, self.model_, self.demonstrations_ = task, model, shown_rows(None)

    def _check(self, task: Task, model: Any) -> None:
        at_least("shots", self.shots, 0, whole=True)
        at_least("max_shot_tokens", self.max_shot_tokens, 1, whole=True, optional=True)
        one_of("read", self.read, ("score", "generate"))
        at_least("max_new_tokens", self.max_new_tokens, 1, whole=True)
        if self.order not in (None, "as is", "common first", "interleaved", "nearest last", "lowest bias"):
            raise ParameterError(
                "order must be 'as is', 'common first', 'interleaved', 'nearest last', 'lowest bias' or None, the "
                f"selector's own. Got {self.order!r}."
            )
        one_of("ensemble", self.ensemble, ("mean", "learned"))
        check_orders(self.orders, task, model)
        if self.read == "generate" and not is_generator(model):
            raise UnsupportedError(f"{model!r} can't generate text: use read='score'.")
        if self.shots and not kind_of(model).demonstrations:
            raise UnsupportedError(
                f"{model!r} ({kind_of(model)}) reads one text and what is asked of it: it has no place for "
                f"shots={self.shots}."
            )
        if self.read == "generate" and self.calibration is not None:
            raise UnsupportedError("A generated answer has no scores to calibrate: use read='score'.")
        if self.read == "generate" and self.orders != 1:
            raise UnsupportedError("A generated answer is written under one order of the labels: use read='score'.")
        if self.read == "generate":
            one_wording(self, task)
        if self.read == "generate" and task.verbalizer.per_row:
            raise UnsupportedError("The choices of each row are scored, not looked for in an answer: use read='score'.")
        if self.max_shot_tokens is not None and not is_window(model):
            raise UnsupportedError(f"{model!r} can't count tokens, which max_shot_tokens needs.")

    def _reorder(self, X: Sequence[Row], rng: Any) -> None:
        """Show the demonstrations in the order under which the model prefers no class (Lu et al. 2022, GlobalE)."""
        assert self.selector_ is not None
        rows = self.selector_.rows_
        others = np.setdiff1d(np.arange(len(X)), rows)
        if not others.size:
            raise InputError(
                "order='lowest bias' compares orders on texts that are not demonstrations, and every text of fit is "
                "one: give more texts, or lower shots."
            )
        texts = [X[i] for i in rng.permutation(others)[:_ORDER_TEXTS]]
        tried = orders(len(rows), _ORDERS, rng)
        scores = []
        for order in tried:
            self.selector_.rows_ = rows[order]
            scores.append(self._scored(self._ask(texts)))
        self.demonstrations_ = self.selector_.rows_ = rows[tried[least_biased(np.stack(scores))]]

    def _learned_weights(self, X: Sequence[Row] | None, y: Any) -> FloatArray:
        """Weights of the wordings with the lowest log loss on labelled rows, shrunk towards equal ones."""
        if X is None or y is None:
            raise InputError("ensemble='learned' weighs the templates on labelled rows: call fit(X, y).")
        rows = np.setdiff1d(np.arange(len(X)), self.demonstrations_)
        if not rows.size:
            raise InputError("ensemble='learned' needs labelled rows besides the demonstrations: lower shots.")
        texts, targets = [X[i] for i in rows], self.task_.index([y[i] for i in rows])
        scores = np.stack([asking.class_scores(asking.ask(texts)) for asking in self.askings_])

        def loss(free: FloatArray) -> float:
            pooled = log_softmax(np.tensordot(softmax(free), scores, 1), axis=1)
            return float(free @ free / 2 - pooled[np.arange(len(targets)), targets].sum())

        return softmax(minimize(loss, np.zeros(len(scores)), method="L-BFGS-B").x)

    def log_scores(self, X: Sequence[Row]) -> FloatArray:
        """Return log-probabilities of the classes, of shape (n_texts, n_classes); when multi-label, log-odds."""
        return self.each_label_.log_odds(X) if self.task_.multi_label else self._pending(X).finish(self.model_)

    def pending(self, X: Sequence[Row]) -> Pending[FloatArray] | None:
        """Return the queries about some rows; None if a text may have several labels."""
        return None if self.task_.multi_label else self._pending(X)

    def _pending(self, X: Sequence[Row]) -> Pending[FloatArray]:
        asked = self._ask(X)
        queries = [query for one in asked for forms in one.forms for query in forms]
        return Pending(self.model_, queries, lambda model: self._finish([replace(one, model=model) for one in asked]))

    def _finish(self, asked: Sequence[Asked]) -> FloatArray:
        for one in asked:
            one.warn()
        scores = self._scored(asked)
        if self.read == "generate":
            return self._answered(self.model_.generate(asked[0].queries, self.max_new_tokens), scores)
        return scores

    def _ask(self, X: Sequence[Row]) -> list[Asked]:
        return [asking.ask(X) for asking in self.askings_]

    def _scored(self, asked: Sequence[Asked]) -> FloatArray:
        return self._pooled([asking.class_scores(one) for asking, one in zip(self.askings_, asked, strict=True)])

    def _pooled(self, each: Sequence[FloatArray]) -> FloatArray:
        return each[0] if len(each) == 1 else log_softmax(np.tensordot(self.weights_, np.stack(each), 1), axis=1)

    def label_mass(self, X: Sequence[Row]) -> FloatArray:
        """Return the model's total probability of the label words' distinct first tokens, of shape (n_texts,).

        With several templates, it is the probability in the prompts of the first one.

        Raises
        ------
        UnsupportedError
            When a text may have several labels.
        """
        if self.task_.multi_label:
            raise UnsupportedError("When a text may have several labels, yes and no are asked for, not label words.")
        return self.askings_[0].label_mass(X)

    def preview(self, X: Sequence[Row]) -> Preview:
        """Show the prompts without asking the model; with several templates, those of the first."""
        return self.each_label_.preview(X) if self.task_.multi_label else self.askings_[0].preview(X)

    def explain(self, row: Row) -> Explanation:
        """Show the prompt, how probable each label word is to the model, and how this becomes class probabilities."""
        if self.task_.multi_label:
            return self.each_label_.explain(row)
        asked = self._ask([row])
        questions = tuple(
            ask_question(own, asking.calibration) for own, asking in zip(asked, self.askings_, strict=True)
        )
        before, scores = self._pooled([own.raw_scores() for own in asked]), self._scored(asked)
        if self.read == "score":
            calibrated = any(asking.calibration is not None for asking in self.askings_)
            lines = class_lines(self.task_, scores, before if calibrated else None)
            return Explanation(lines, questions, notes=say_orders(max(own.n_orders for own in asked)))
        (answer,) = self.model_.generate(asked[0].queries, self.max_new_tokens)
        lines = class_lines(self.task_, self._answered([answer], scores), before)
        return Explanation(lines, questions, before="by the scores", notes=(f"The model wrote {answer!r}.",))

    def _answered(self, answers: Sequence[str], scores: FloatArray) -> FloatArray:
        """Put the class that each generated answer names first; the rest share what is left by their scores."""
        named = [self.askings_[0].verbalizer.parse(answer) for answer in answers]
        columns = {name: i for i, name in enumerate(self.task_.classes.tolist())}
        out = scores.copy()
        for i, name in enumerate(named):
            if name is not None:
                column = columns[name]
                rest = np.delete(np.arange(len(columns)), column)
                out[i, rest] = np.log(_EPSILON) + log_softmax(scores[i : i + 1, rest], axis=1)[0]
                out[i, column] = np.log1p(-_EPSILON)
        unnamed = [answer for answer, name in zip(answers, named, strict=True) if name is None]
        if unnamed:
            warn(
                f"{len(unnamed)} of {len(answers)} generated answers name no class and were scored instead, such as "
                f"{unnamed[0]!r:.80}.",
                NoAnswerWarning,
            )
        return out
