"""Readout: a scikit-learn classifier on what the language model says at the hole."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax
from sklearn.utils import check_random_state

from fewshot.calibration.learned import centre
from fewshot.checks import one_of
from fewshot.demonstrations import as_selector
from fewshot.display.explanation import Explanation
from fewshot.display.preview import Preview
from fewshot.errors import InputError, UnsupportedError
from fewshot.heads.any import fitted_head, head_log_scores
from fewshot.heads.counting import merge_equal
from fewshot.heads.label_prior import LabelPriorLogisticRegression
from fewshot.heads.neighbors import KLNeighbors, Prototypes
from fewshot.inputs import Row
from fewshot.models.base import BLOCK_BYTES, FloatArray, is_reader, kind_of
from fewshot.models.loading import load
from fewshot.prompts.asking import Asking, fitted_selector, shown_rows
from fewshot.prompts.explaining import ask_question, class_lines
from fewshot.strategies.base import Rows, Strategy, fitted_texts
from fewshot.task.task import Task

__all__ = ["Readout"]

Features = Literal["labels", "vocabulary", "hidden"]
#: Weights of the calibrated label scores and inverse penalties that are compared, settled on training rows.
_TAUS, _CS, _LABEL_CS = (0.25, 0.5, 1.0), (0.3, 1.0, 4.0, 16.0), (0.001, 0.01, 0.1)
#: The label scores are this faint beside the other features, so that they count through the prior alone.
_FAINT = 0.1


class Readout(Strategy):
    """Fit a classifier on the output of a language model at the hole, without training the model.

    Parameters
    ----------
    features : {"labels", "vocabulary", "hidden"}
        What the classifier learns from. "labels": the log-scores of the classes. "vocabulary": the log-probabilities of
        all tokens at the first token of the hole. "hidden": the last hidden state at the same place.
    head : scikit-learn classifier, optional
        None: `LabelPriorLogisticRegression`, whose prior is the calibrated scores of the label words, as `Prompting`
        has them. With few examples this prior counts most; with many examples the features do.
    embeddings : bool
        Whether to append the sentence embeddings of ``encoder`` to the features.
    encoder : str or Encoder, optional
        The encoder of ``embeddings``. None: the default encoder.
    shots : int
        Number of demonstrations in the prompt, over all classes. The classifier is not fitted on their rows.
    selection : {"stratified", "random", "first"} or Selector
        Which labelled rows become demonstrations.

    Attributes
    ----------
    head_ : classifier
        The fitted head.

    See Also
    --------
    Readout.knn_prompting, Readout.regression, Readout.prototypes : The three published methods.

    Examples
    --------
    >>> from fewshot import Classifier, Readout
    >>> clf = Classifier("embedded:masked", "sst2/it_was", strategy=Readout("hidden"))
    >>> clf = clf.fit(["I loved it.", "What a joy.", "So dull.", "I fell asleep."], ["positive"] * 2 + ["negative"] * 2)
    >>> clf.predict(["A lovely film."]).tolist()
    ['positive']
    """

    takes_wordings = takes_weights = True
    needs_language_model = True

    def __init__(
        self,
        features: Features = "hidden",
        head: Any = None,
        *,
        embeddings: bool = False,
        encoder: Any = None,
        shots: int = 0,
        selection: Any = "stratified",
    ) -> None:
        self.features = features
        self.head = head
        self.embeddings = embeddings
        self.encoder = encoder
        self.shots = shots
        self.selection = selection

    @classmethod
    def knn_prompting(cls, n_neighbors: int = 5, **params: Any) -> Self:
        """Return a `Readout` that votes among the examples with the nearest next-token distributions.

        Xu et al. (2023), "kNN Prompting: Beyond-Context Learning with Calibration-Free Nearest Neighbor Inference".
        """
        return cls("vocabulary", KLNeighbors(n_neighbors), **params)

    @classmethod
    def regression(cls, **params: Any) -> Self:
        """Return a `Readout` with a logistic regression on class log-scores, with batch calibration as prior."""
        return cls("labels", **params)

    @classmethod
    def prototypes(cls, **params: Any) -> Self:
        """Return a `Readout` that chooses the class with the nearest mean hidden state of its examples.

        It follows Cui et al. (2022), "Prototypical Verbalizer for Prompt-based Few-shot Tuning", but tunes nothing.
        """
        return cls("hidden", Prototypes(), **params)

    def _fit(
        self, task: Task, model: Any, X: Rows | None, y: Any, *, sample_weight: FloatArray | None, random_state: Any
    ) -> None:
        """Read what the model says of the labelled rows, and fit the head on it."""
        self._check(model)
        if X is None or y is None:
            raise InputError("Readout learns from labelled rows: call fit(X, y), or use Prompting().")
        rng = check_random_state(random_state)
        self.task_, self.model_ = task, model
        self.encoder_ = load(self.encoder) if self.embeddings else None
        selector = fitted_selector(as_selector(self.selection), self.shots, task, X, y, rng=rng, encoder=self.encoder)
        self.askings_ = [Asking(one, model, selector, rows=X, labels=y) for one in task.wordings]
        rows = np.setdiff1d(np.arange(len(X)), shown_rows(selector))
        targets = task.index([y[i] for i in rows])
        if len(set(targets.tolist())) < 2:
            raise InputError(
                f"Readout needs examples of two classes besides the {self.shots} demonstrations. Got those of "
                f"{sorted({str(y[i]) for i in rows})}."
            )
        weights = None if sample_weight is None else sample_weight[rows]
        texts, seed = [X[i] for i in rows], rng.randint(2**31 - 1)
        if self.head is None:
            self.head_ = self._fit_default(texts, targets, weights)
        else:
            features = self._features(texts)
            self.head_ = fitted_head(self.head, features, targets, sample_weight=weights, random_state=seed)

    def _check(self, model: Any) -> None:
        one_of("features", self.features, ("labels", "vocabulary", "hidden"))
        if self.features != "labels" and not is_reader(model):
            raise UnsupportedError(
                f"{model!r} ({kind_of(model)}) does not show its {self.features} at the hole: use Readout('labels')."
            )

    def _label_scores(self, X: Sequence[Row]) -> FloatArray:
        """Class log-scores of every wording, centred, of shape (n_texts, n_wordings, n_classes)."""
        each = []
        for asking in self.askings_:
            asked = asking.ask(X)
            asked.warn_of_cuts()
            if self.features == "labels":  # otherwise the label words are no more than a prior
                asked.warn_of_mass()
            each.append(centre(asking.class_scores(asked)))
        return np.stack(each, axis=1)

    def _features(self, X: Sequence[Row]) -> FloatArray:
        """What the model says, and the sentence embeddings where they are joined, of shape (n_texts, n_features)."""
        if self.features == "labels":
            parts = [self._label_scores(X).reshape(len(X), -1)]
        else:
            parts = []
            for asking in self.askings_:
                asked = asking.ask(X)
                asked.warn_of_cuts()
                parts.append(self.model_.read(asked.queries, self.features))
        if self.encoder_ is not None:
            parts.append(self.encoder_.encode([text for text, _ in fitted_texts(self.task_, X, self.encoder_)]))
        return np.concatenate(parts, axis=1)

    def _inputs(self, X: Sequence[Row], labels: FloatArray | None = None) -> FloatArray:
        """What the default head sees: calibrated label scores, which count as its prior, then the scaled features."""
        labels = self._label_scores(X) if labels is None else labels
        own: FloatArray = (labels - self._offset).mean(axis=1)
        if self.features == "labels" and len(self.askings_) == 1 and self.encoder_ is None:
            return own
        features = (self._features(X) - self._mean) * self._scale
        return np.concatenate([_FAINT * own, features], axis=1)

    def _fit_default(
        self, X: Sequence[Row], targets: NDArray[np.int64], sample_weight: FloatArray | None
    ) -> LabelPriorLogisticRegression:
        labels = self._label_scores(X)
        self._offset = np.average(labels, axis=0, weights=sample_weight)  # batch calibration
        features = self._features(X)
        self._mean = np.average(features, axis=0, weights=sample_weight)
        spread = features.std(axis=0)
        if sample_weight is not None:
            spread = np.sqrt(np.average((features - self._mean) ** 2, axis=0, weights=sample_weight))
        self._scale = 1 / (np.where(spread > 0, spread, 1.0) * np.sqrt(features.shape[1]))
        inputs = self._inputs(X, labels)
        k = labels.shape[2]
        alone = inputs.shape[1] == k
        prior = np.eye(k, inputs.shape[1]) / (1.0 if alone else _FAINT)
        head = LabelPriorLogisticRegression(taus=_TAUS, Cs=_LABEL_CS if alone else _CS, average=False, max_iter=500)
        rows, _ = merge_equal([(own.tobytes(), target) for own, target in zip(inputs, targets.tolist(), strict=True)])
        counts = np.bincount(targets[rows])
        if counts[counts > 0].min() < 2:  # nothing can be held out
            head.set_params(tau=_TAUS[1], C=_CS[0])
        return head.fit(inputs, targets, prior, sample_weight, classes=np.arange(k))

    def log_scores(self, X: Sequence[Row]) -> FloatArray:
        """Return log-probabilities of the classes, of shape (n_texts, n_classes)."""
        size = len(X)
        if self.features == "vocabulary":
            size = max(1, BLOCK_BYTES // (4 * len(self.model_.vocabulary) * len(self.askings_)))
        return np.concatenate([self._scored(X[start : start + size]) for start in range(0, len(X), size)])

    def _scored(self, X: Sequence[Row]) -> FloatArray:
        if self.head is None:
            return self.head_.predict_log_proba(self._inputs(X))
        return head_log_scores(self.head_, self._features(X), len(self.task_.classes))

    def label_mass(self, X: Sequence[Row]) -> FloatArray:
        """Return the model's total probability of the label words' distinct first tokens, of shape (n_texts,)."""
        return self.askings_[0].label_mass(X)

    def explain(self, row: Row) -> Explanation:
        """Show the prompt, how probable each label word is to the model, and the head's class probabilities."""
        asked = [asking.ask([row]) for asking in self.askings_]
        questions = tuple(ask_question(one, None) for one in asked)
        alone = log_softmax(np.mean([one.raw_scores() for one in asked], axis=0))
        lines = class_lines(self.task_, self.log_scores([row]), alone)
        return Explanation(lines, questions, before="by the label words alone")

    def preview(self, X: Sequence[Row]) -> Preview:
        """Show the prompts without asking the model; with several templates, those of the first."""
        return self.askings_[0].preview(X)
