"""evaluate: the metrics of a classifier, tagger, extractor or writer with intervals, and a table of its classes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from fewshot.evaluation.answers import AnswerEvaluation, evaluate_extractor
from fewshot.evaluation.doors import door_of
from fewshot.evaluation.metrics import compute_intervals, compute_metrics
from fewshot.evaluation.mistakes import Judged, Mistakes, count_pairs, find_mistakes
from fewshot.evaluation.multi_label import MultiLabelEvaluation, evaluate_multi_label
from fewshot.evaluation.predictions import Predictions, check_classifier, check_resampling, predict
from fewshot.evaluation.spans import SpanEvaluation
from fewshot.evaluation.tables import (
    make_class_table,
    make_intervals,
    need_pandas,
    print_evaluation,
    printed,
    render_html,
)
from fewshot.evaluation.taggers import evaluate_tagger
from fewshot.evaluation.writing import WritingEvaluation, evaluate_writer
from fewshot.inputs import as_indicator, as_labels, as_rows
from fewshot.tables import as_text

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Evaluation", "evaluate"]

#: Where a confusion table is wider than either, the most confused pairs are shown instead.
_MOST_CLASSES, _MOST_CHARACTERS = 10, 120


@dataclass(frozen=True, eq=False)
class Evaluation(Judged):
    """The metrics of a classifier on some rows; prints as a table.

    Attributes
    ----------
    metrics : DataFrame
        A row for each metric, with its value and the ends of its interval, low and high.
    classes : DataFrame
        A row for each class: precision, recall, f1, support (the number of rows of that class) and, with probabilities,
        "mean probability", the share of rows of this class that they predict. A ratio of 0 to 0 is 0.
    n : int
        Number of rows.
    n_bootstrap : int
        Number of resamples.
    level : float
        Confidence level of the intervals.
    pairs : DataFrame or None
        How often each pair of true and predicted class occurs, if it occurs: true, predicted and count. None if the
        result is from JSON of an earlier version.
    mistakes : object or None
        What `errors` shows; None if the result is from JSON.
    """

    metrics: pd.DataFrame
    classes: pd.DataFrame
    n: int
    n_bootstrap: int
    level: float
    pairs: pd.DataFrame | None = None
    mistakes: Mistakes | None = field(default=None, repr=False, metadata={"json": False})

    @property
    def confusion(self) -> pd.DataFrame:
        """Return the confusion matrix: a row for each true class, a column for each predicted class."""
        names = self.classes.index
        counts = self._pairs.pivot_table("count", "true", "predicted", fill_value=0)
        found = counts.reindex(index=names, columns=names, fill_value=0).astype(int)
        return found.rename_axis(index="true", columns="predicted")

    def _confusion_table(self) -> pd.DataFrame | None:
        """The table of all classes where they are few, else the most confused pairs; None where there are none."""
        if self.pairs is None:
            return None
        if len(self.classes) <= _MOST_CLASSES:
            return self.confusion
        pairs = self.confused()
        return pairs if len(pairs) else None

    def __str__(self) -> str:
        blocks, confusion = [printed(self.classes, ["class", *map(str, self.classes.columns)])], self._confusion_table()
        if confusion is not None:
            shown = _print_confusion(confusion)
            if len(shown.splitlines()[0]) > _MOST_CHARACTERS:
                confusion = self.confused()
                shown = _print_confusion(confusion) if len(confusion) else ""
            blocks += [shown] if shown else []
        return print_evaluation(self, *blocks)

    def _repr_html_(self) -> str:
        confusion = self._confusion_table()
        return render_html(self.metrics, self.classes, *([] if confusion is None else [confusion]))


def evaluate(
    clf: Any, X: Any, y: Any, *, n_bootstrap: int = 1000, level: float = 0.95, random_state: int = 0
) -> Evaluation | MultiLabelEvaluation | SpanEvaluation | AnswerEvaluation | WritingEvaluation:
    """Measure a fitted classifier, tagger, extractor or writer on rows on which it was not fitted.

    Parameters
    ----------
    clf : estimator
        Any fitted text classifier. A `Classifier` that gives each text one class is asked about each text once. Other
        classifiers are called with ``predict``, and with ``predict_proba`` if they have it. Or a fitted `Tagger`, or
        any object with ``predict_spans`` that returns a list of `Span` for each text. Or a fitted `Extractor`, or any
        object with ``predict_top``, and with ``predict`` that returns an `Answer` for each question. Or a fitted
        `Writer`, or any object with ``predict_written``.
    X : list, array, Series or DataFrame
        Texts, or rows of fields. For a tagger, also lists of tokens, Docs and Datasets. For an extractor, what its
        ``fit`` takes.
    y : list, array or Series of shape (n_texts,), or indicator matrix of shape (n_texts, n_labels)
        The class of each row. If a text may have several labels, an indicator matrix as `Classifier.fit` takes it. For
        a tagger, the spans, and for an extractor, the answers, in any form that ``fit`` takes. For a writer, the right
        text of each row, or a list of right texts.
    n_bootstrap : int
        Number of resamples of the rows for the intervals.
    level : float
        Confidence level of the intervals, above 0 and below 1.
    random_state : int
        Seed of the resamples, which are the same for all metrics.

    Returns
    -------
    Evaluation, MultiLabelEvaluation, SpanEvaluation, AnswerEvaluation or WritingEvaluation
        For a classifier: accuracy, macro-F1 and, with probabilities, log loss, Brier score and expected calibration
        error. For ordered classes also: quadratic-weighted kappa, the mean absolute error of the predicted level and,
        with probabilities, the mean absolute error of the expected level and the ranked probability score. If a text
        may have several labels: micro-F1, macro-F1, subset accuracy and Hamming loss. For a tagger: precision, recall
        and F1 of spans, and of their boundaries alone; see `evaluate_spans`. For an extractor: exact match and F1 of
        words; see `evaluate_answers`. For a writer: chrF, BLEU and the length ratio; see `evaluate_texts`.

    Raises
    ------
    InputError
        When a label is not one of the classes of the classifier, or an argument is not valid.
    UnsupportedError
        When the classifier gives a text several labels, and y is not an indicator matrix.
    NotInstalledError
        When pandas is not installed, or sacrebleu for a writer.

    See Also
    --------
    compare : Test whether one classifier is better than another.
    calibration_error : The expected calibration error alone.

    Notes
    -----
    Macro-F1 is the mean over the classes that occur among labels or predictions. In the log loss (in nats),
    probabilities below 1e-9 count as 1e-9. The Brier score is the sum of squared errors over all classes, from 0 to 2,
    for any number of classes; scikit-learn halves it for two classes. The expected calibration error is that of the
    most probable class, in 15 bins of equal mass.

    Classes are ordered if the verbalizer is: ``Verbalizer(words, ordered=True)``. Levels are numbered from 0. The
    quadratic-weighted kappa is that of Cohen (1968) over all levels; it is 0 if all labels and predictions are the same
    level. The ranked probability score (Epstein 1969) is the sum of squared differences between the cumulative
    probabilities and those of the true level, divided by the number of levels minus 1. It is from 0 (best) to 1.

    The intervals are percentiles over resamples of the rows. They show how much the value would vary with other rows,
    but not with another fit. The interval of the expected calibration error is not made of percentiles, because
    resampling biases this metric upwards. It is the value plus and minus the noise of the bins, and it is wide.

    Examples
    --------
    >>> from fewshot import Classifier, FakeLM
    >>> from fewshot.evaluation import evaluate
    >>> lm = FakeLM(lambda query: [query.prefix.count("fun"), query.prefix.count("dull")])
    >>> clf = Classifier(lm, "{{ text }} It was {{ label }}", {"good": "good", "poor": "poor"}).fit()
    >>> result = evaluate(clf, ["fun", "dull", "fun fun", "fun"], ["good", "poor", "good", "poor"], n_bootstrap=200)
    >>> print(result)
    4 rows, 95 % intervals of 200 resamples
    ...
    >>> result.metrics.loc["accuracy"].tolist()
    [0.75, 0.25, 1.0]

    The wrong rows, those with the highest confidence first, and the classes that the classifier confuses:

    >>> result.errors()
       row     text  true predicted  probability  true probability
    0    3      fun  poor      good     0.731059          0.268941
    >>> result.confused()
       true predicted  count
    0  poor      good      1

    A tagger is measured by its spans:

    >>> from fewshot import Tagger
    >>> texts, spans = ["Ada lives in Paris."], [[(0, 3, "person"), (13, 18, "place")]]
    >>> tagger = Tagger().fit(texts, spans)
    >>> evaluate(tagger, texts, spans).metrics["value"].to_dict()["f1"]
    1.0
    """
    need_pandas()
    check_classifier(clf)
    check_resampling(n_bootstrap, level)
    door = door_of(clf)
    if door == "spans":
        return evaluate_tagger(clf, X, y, n_bootstrap=n_bootstrap, level=level, random_state=random_state)
    if door == "answers":
        return evaluate_extractor(clf, X, y, n_bootstrap=n_bootstrap, level=level, random_state=random_state)
    if door == "texts":
        return evaluate_writer(clf, X, y, n_bootstrap=n_bootstrap, level=level, random_state=random_state)
    rows = as_rows(X)
    X = X if hasattr(X, "columns") else rows  # a pipeline may pick columns by name
    indicator = as_indicator(y, len(rows))
    if indicator is not None:
        return evaluate_multi_label(clf, X, indicator, n_bootstrap=n_bootstrap, level=level, random_state=random_state)
    labels = as_labels(y, len(rows))
    found = predict(clf, X, labels)
    values = compute_metrics(found)
    ends = compute_intervals(found, values, n_bootstrap, level, random_state).values()
    table = make_intervals("metric", list(values), list(values.values()), list(ends))
    pairs = count_pairs(list(zip(found.targets.tolist(), found.predicted.tolist(), strict=True)), found.classes)
    mistakes = find_mistakes(clf, X, found)
    return Evaluation(table, _by_class(found), len(labels), int(n_bootstrap), float(level), pairs, mistakes)


def _print_confusion(frame: pd.DataFrame) -> str:
    """A square table of counts, or a list of pairs."""
    if frame.index.name is None:
        rows = [[str(cell) for cell in row.values()] for row in frame.to_dict("records")]
        return as_text(["most confused: true", "predicted", "rows"], rows)
    return printed(frame, ["true \\ predicted", *map(str, frame.columns)])


def _by_class(p: Predictions) -> pd.DataFrame:
    size = len(p.classes)
    hits, said, support = (
        np.bincount(columns, minlength=size) for columns in (p.targets[p.right], p.predicted, p.targets)
    )
    return make_class_table("class", p.classes, (hits, said, support), p.proba)
