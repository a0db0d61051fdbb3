"""Embedding: sentence vectors, compared with the class prompts or given to a scikit-learn classifier."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, clone
from sklearn.utils.validation import has_fit_parameter

from fewshot.errors import InputError, ShortenedWarning, UnsupportedError, warn
from fewshot.models.base import FloatArray, Window, is_encoder
from fewshot.preview import Preview, PreviewRow
from fewshot.strategies.base import Task, at_row, log_softmax
from fewshot.strategies.head import LabelPriorLogisticRegression
from fewshot.task.template import Row

__all__ = ["Embedding"]

#: Inverse temperature of the cosine similarities: of 5, 10, 20 and 40 the one with the lowest log loss, on training
#: rows of eight public data sets with the default encoder.
_SCALE = 10.0
_FLOOR = np.log(1e-9)  # a class that the examples lack is improbable, not impossible


class Embedding(BaseEstimator):  # type: ignore[misc]
    """Classify sentence vectors.

    Without examples a text gets the class whose prompt (the template's frame, filled with the class's label words) is
    nearest in cosine similarity. With examples a classifier is fitted on the vectors: by default a logistic regression
    around that same similarity, so that the label names go on counting for as long as examples are few.

    Parameters
    ----------
    head : scikit-learn classifier, optional
        None: `LabelPriorLogisticRegression` on unit vectors.
    label_prior : float or "auto"
        Weight of the label names in the default head; 0 is plain logistic regression. "auto" chooses by
        cross-validation on the examples, together with the penalty. Another head does not use it.

    Attributes
    ----------
    head_ : classifier or None
        The fitted head; None in zero-shot.
    prototypes_ : ndarray of shape (n_classes, dim)
        Unit vectors of the class prompts, averaged over a class's label words.

    Examples
    --------
    >>> from fewshot import Classifier, Embedding
    >>> clf = Classifier(strategy=Embedding()).fit(None, ["billing", "bug report", "praise"])
    >>> clf.predict(["I was charged twice this month"]).tolist()
    ['billing']
    """

    def __init__(self, head: Any = None, label_prior: float | Literal["auto"] = "auto") -> None:
        self.head = head
        self.label_prior = label_prior

    def fit(
        self,
        task: Task,
        model: Any,
        X: Sequence[Row] | None = None,
        y: Sequence[Any] | None = None,
        *,
        sample_weight: FloatArray | None = None,
        random_state: Any = None,
    ) -> Self:
        """Encode the class prompts, and fit the head when there are labelled rows.

        Raises
        ------
        UnsupportedError
            When the model is not an encoder, or the head can't use sample weights.
        InputError
            When the labelled rows are all of one class.
        """
        if not is_encoder(model):
            raise UnsupportedError(
                f"Embedding needs an encoder. {model!r} is a language model: use Prompting(), or Auto()."
            )
        self.task_, self.model_ = task, model
        labels = task.verbalizer.labels
        frames = [[task.template.frame(word, labels) for word in group] for group in task.verbalizer.words]
        vectors = _unit(_encoded(model, [frame for group in frames for frame in group]))
        bounds = np.cumsum([0, *map(len, frames)])
        self.prototypes_ = _unit(np.stack([vectors[a:b].mean(0) for a, b in itertools.pairwise(bounds)]))
        self.head_: Any = None
        if X is not None and y is not None:
            self._fit_head(X, y, sample_weight, random_state)
        elif sample_weight is not None:
            raise InputError("sample_weight needs labelled rows: call fit(X, y, sample_weight=...).")
        return self

    def _fit_head(
        self, X: Sequence[Row], y: Sequence[Any], sample_weight: FloatArray | None, random_state: Any
    ) -> None:
        columns = self.task_.index(y)
        if len(np.unique(columns)) < 2:
            raise InputError(
                f"Every labelled row is of the class {y[0]!r}: a classifier needs examples of two classes."
            )
        if self.head is None:
            self._fit_default(self._encode(X), columns, sample_weight)
            return
        head = clone(self.head)
        if "random_state" in head.get_params() and head.get_params()["random_state"] is None:
            head.set_params(random_state=random_state)
        if head.get_params().get("decision_function_shape") == "ovo":  # its columns are pairs of classes
            raise UnsupportedError(
                f"{type(head).__name__} scores pairs of classes: give it decision_function_shape='ovr'."
            )
        if not hasattr(head, "predict_proba") and not hasattr(head, "decision_function"):
            raise UnsupportedError(
                f"{type(head).__name__} has neither predict_proba nor decision_function: use another head."
            )
        weights = {}
        if sample_weight is not None:
            if not has_fit_parameter(head, "sample_weight"):
                raise UnsupportedError(
                    f"{type(head).__name__}.fit takes no sample_weight: leave it out, or use another head."
                )
            weights["sample_weight"] = sample_weight
        self.head_ = head.fit(self._encode(X), columns, **weights)

    def _fit_default(self, vectors: FloatArray, columns: NDArray[np.int64], sample_weight: FloatArray | None) -> None:
        """Fit the label-prior head; a class without examples keeps its prior alone, at the mean intercept."""
        seen = np.unique(columns)
        head = LabelPriorLogisticRegression(tau=self.label_prior)
        head.fit(_unit(vectors), columns, prior=self.prototypes_[seen], sample_weight=sample_weight)
        coef, intercept = head.tau_ * self.prototypes_, np.full(len(self.prototypes_), head.intercept_.mean())
        coef[seen], intercept[seen] = head.coef_, head.intercept_
        head.coef_, head.intercept_, head.classes_ = coef, intercept, np.arange(len(coef))
        self.head_ = head

    def log_scores(self, X: Sequence[Row]) -> FloatArray:
        """Log-probabilities of the classes, of shape (n_texts, n_classes)."""
        vectors = self._encode(X)
        if self.head_ is None:
            return log_softmax(_SCALE * _unit(vectors) @ self.prototypes_.T)
        if self.head is None:
            scores: FloatArray = self.head_.predict_log_proba(_unit(vectors))
            return scores
        scores = np.full((len(vectors), len(self.task_.classes)), _FLOOR)
        scores[:, self.head_.classes_] = _head_scores(self.head_, vectors)
        return log_softmax(scores)

    def preview(self, X: Sequence[Row]) -> Preview:
        """The texts as the encoder would read them."""
        rows = []
        for text in self._texts(X):
            size = len(self.model_.token_ends([text])[0]) if isinstance(self.model_, Window) else 0
            frame = self.task_.template.frame("___")
            before, _, after = frame.partition("___")
            rows.append(PreviewRow([("user", f"{text}\n\n~ ")], before, after, size))
        return Preview(rows, self.task_.verbalizer.candidates, getattr(self.model_, "limit", None))

    def _texts(self, X: Sequence[Row]) -> list[str]:
        texts = []
        for i, row in enumerate(X):
            with at_row(i):
                texts.append(self.task_.template.text(row))
        return texts

    def _encode(self, X: Sequence[Row]) -> FloatArray:
        texts = self._texts(X)
        self._warn_of_cuts(texts)
        return _encoded(self.model_, texts)

    def _warn_of_cuts(self, texts: list[str]) -> None:
        """The encoder reads the beginning of a long text: say so, once and with numbers."""
        if not isinstance(self.model_, Window):
            return
        limit = self.model_.limit
        long = [text for text in texts if len(text) > limit]  # a token has at least one character
        cut = [len(ends) - limit for ends in self.model_.token_ends(long) if len(ends) > limit]
        if cut:
            warn(
                f"To fit the model's window of {limit} tokens, {len(cut)} of {len(texts)} rows were cut, by "
                f"{int(np.median(cut))} tokens in the median.",
                ShortenedWarning,
            )


def _encoded(model: Any, texts: list[str]) -> FloatArray:
    vectors: FloatArray = model.encode(texts)
    bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if bad.size:
        raise UnsupportedError(
            f"{model!r} gave NaN or infinite numbers for {texts[bad[0]]!r:.60}: its weights or its number type are "
            "broken."
        )
    return vectors


def _unit(vectors: FloatArray) -> FloatArray:
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: FloatArray = vectors / np.where(norms > 0, norms, 1.0)
    return unit


def _head_scores(head: Any, vectors: FloatArray) -> FloatArray:
    """Log-probabilities of any scikit-learn classifier, or its decision values as logits."""
    if hasattr(head, "predict_proba"):
        with np.errstate(divide="ignore"):
            logs: FloatArray = np.maximum(np.log(head.predict_proba(vectors)), _FLOOR)
        return logs
    values = np.asarray(head.decision_function(vectors), dtype=np.float64)
    return log_softmax(np.stack([-values / 2, values / 2], axis=1) if values.ndim == 1 else values)
