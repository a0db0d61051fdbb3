"""learning_curve: what a classifier, tagger or extractor makes of no labels, of a few, and of more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state

from fewshot.checks import at_least, check_seed
from fewshot.classifier import Classifier
from fewshot.errors import InputError, ParameterError, UnsupportedError
from fewshot.evaluation.answer_curve import draw_answer_curve
from fewshot.evaluation.doors import door_of_all
from fewshot.evaluation.metrics import METRICS, ORDERED_METRICS, compute_metrics
from fewshot.evaluation.predictions import Predictions, check_named, predict
from fewshot.evaluation.records import LearningCurve, Records, fit_each
from fewshot.evaluation.span_curve import draw_span_curve
from fewshot.evaluation.tables import need_pandas
from fewshot.inputs import take_labelled
from fewshot.labels import in_turn, orders_of_classes
from fewshot.models.base import IntArray, is_language_model
from fewshot.models.loading import load
from fewshot.models.wrappers import RememberedLM

__all__ = ["LearningCurve", "learning_curve"]

_SHOTS = {"classes": (0, 2, 4, 8, 16, 32), "spans": (1, 2, 5, 10), "answers": (0, 4, 16, 64)}
_CURVES = {"spans": draw_span_curve, "answers": draw_answer_curve}  # of what is no classifier


def learning_curve(
    clf: Any,
    X: Any,
    y: Any,
    *,
    shots: Sequence[int] | None = None,
    draws: int = 5,
    test_size: float = 0.5,
    random_state: Any = 0,
) -> LearningCurve:
    """Fit estimators on increasing numbers of labelled rows, and measure each fit on the same held-out rows.

    For classifiers, a part of the rows is held out once, stratified by class. Each draw shuffles the other rows of
    every class and takes the first ones. So the rows for a small number of shots are also among the rows for a larger
    number. All classifiers get the same draws. A language model is never asked the same query twice: all fits share its
    scores.

    For taggers, a part of the texts is held out at random. Each draw shuffles the other texts, and `draw_support` takes
    texts until each type has ``shots`` mentions, or all its mentions. So texts without a span are never used.

    For extractors, a part of the texts is held out at random, with all questions about them. Each draw shuffles the
    other questions and takes the first ones.

    Parameters
    ----------
    clf : estimator or mapping of str to estimator
        A text classifier that gives each text one class, a tagger or an extractor; or a mapping from names, which the
        result uses, to several of one kind. Clones of them are fitted.
    X : list, array, Series or DataFrame
        Texts, or rows of fields. For a tagger, also lists of tokens, Docs and Datasets. For an extractor, what its
        ``fit`` takes.
    y : list, array or Series of shape (n_texts,)
        The class of each row. For a tagger, the spans, and for an extractor, the answers, in any form that ``fit``
        takes.
    shots : sequence of int, optional
        Numbers of labelled rows per class, of mentions per type, or of answered questions. 0 is zero-shot, ``fit(None,
        classes)``, and is fitted only once. None: 0, 2, 4, 8, 16 and 32 for classifiers; 1, 2, 5 and 10 for taggers; 0,
        4, 16 and 64 for extractors.
    draws : int
        How often the labelled rows are drawn.
    test_size : float or int
        Share or number of the held-out rows; for extractors, of the held-out texts.
    random_state : int, RandomState or None
        Seed of the held-out part and of the draws. Classifiers have their own seeds.

    Returns
    -------
    LearningCurve
        Its ``skipped`` says what could not be fitted and why: a class has too few rows for a number of shots, a
        strategy can't work zero-shot or with so few labels, or there are more shots than mentions of any type or than
        answered questions.

    Raises
    ------
    InputError
        When the rows can't be split, or no fit was possible.
    UnsupportedError
        When texts may have several labels, or there are estimators of several kinds, or writers.
    NotInstalledError
        When pandas is not installed.

    Examples
    --------
    >>> from fewshot import Classifier, FakeLM, Prompting
    >>> from fewshot.datasets import load_tickets
    >>> from fewshot.evaluation import learning_curve
    >>> lm = FakeLM(lambda query: [float(word in query.prefix) for word in query.candidates])
    >>> clfs = {"zero": Classifier(lm, strategy=Prompting()), "two shown": Classifier(lm, strategy=Prompting(shots=2))}
    >>> curve = learning_curve(clfs, *load_tickets(), shots=[0, 2], draws=3)
    >>> curve.draws.groupby(["name", "shots"]).size().to_dict()
    {('two shown', 2): 3, ('zero', 0): 1, ('zero', 2): 3}
    >>> curve.skipped[["name", "shots", "draws"]].values.tolist()
    [['two shown', 0, 1]]
    """
    need_pandas()
    named = dict(clf) if isinstance(clf, Mapping) else {type(clf).__name__: clf}
    check_named(named, 1)
    door = door_of_all(named)
    if door == "texts":
        raise UnsupportedError("A learning curve is of classifiers, taggers or extractors: use compare for writers.")
    sizes = _checked(_SHOTS[door] if shots is None else shots)
    at_least("draws", draws, 1, whole=True)
    check_seed(random_state)
    if door in _CURVES:
        draw = _CURVES[door]
        return draw(named, X, y, shots=sizes, draws=draws, test_size=test_size, random_state=random_state)
    X, labels = take_labelled(X, y)
    rng = check_random_state(random_state)
    pool, test = _split(labels, test_size, rng)
    orders = [orders_of_classes(labels, rng, pool) for _ in range(draws)]
    counts = {name: len(rows) for name, rows in orders[0].items()}
    rarest = min(counts, key=lambda name: counts[name])
    held_out = (_taken(X, test), [labels[i] for i in test])

    def give(size: int, draw: int) -> tuple[Any, Any]:
        if not size:
            return None, list(counts)
        train = in_turn(orders[draw], size)
        return _taken(X, train), [labels[i] for i in train]

    def refuse(clf: Any, size: int) -> str | None:
        if size > counts[rarest]:
            return f"the class {rarest!r} has {counts[rarest]} rows that are not held out"
        if not size and not isinstance(clf, Classifier):
            return f"{type(clf).__name__} learns from labelled texts only"
        return None

    def find(clf: Any, given: tuple[Any, Any]) -> Predictions:
        return predict(clone(clf).fit(*given), *held_out)

    curve, shared = Records(tuple(METRICS), tuple(ORDERED_METRICS)), _sharing_models(named)
    fit_each(curve, shared, sizes, draws, refuse=refuse, give=give, predict=find, measure=compute_metrics)
    return curve.done(len(test))


def _checked(shots: Any) -> list[int]:
    sizes = list(shots) if isinstance(shots, Sequence | np.ndarray) and not isinstance(shots, str) else [shots]
    if not sizes or not all(isinstance(size, int | np.integer) and size >= 0 for size in sizes):
        raise ParameterError(f"shots must be integers of at least 0, such as [0, 2, 4, 8]. Got {shots!r}.")
    return sorted({int(size) for size in sizes})


def _split(labels: list[Any], test_size: float, rng: Any) -> tuple[list[int], list[int]]:
    try:
        pool, test = train_test_split(range(len(labels)), test_size=test_size, random_state=rng, stratify=labels)
    except ValueError as error:
        raise InputError(
            f"The rows can't be split with test_size={test_size!r}: {error} Both parts need rows of each class."
        ) from error
    return pool, test


def _sharing_models(named: Mapping[str, Any]) -> dict[str, Any]:
    """Clones whose models are loaded once, and whose language models remember what they were asked."""
    loaded: dict[Any, Any] = {}
    clfs = {}
    for name, clf in named.items():
        clfs[name] = clone(clf)
        # a pipeline or a search may hold classifiers
        inner = {"": clf, **{f"{path}__": one for path, one in clf.get_params().items()}}
        for path, one in inner.items():
            if isinstance(one, Classifier):
                key = str(one.model) if isinstance(one.model, str | Path | None) else id(one.model)
                if key not in loaded:
                    model = load(one.model)
                    loaded[key] = RememberedLM(model) if is_language_model(model) else model
                clfs[name].set_params(**{f"{path}model": loaded[key]})
    return clfs


def _taken(X: Any, rows: Sequence[int] | IntArray) -> Any:
    if isinstance(X, list):
        return [X[i] for i in rows]
    return X.iloc[list(rows)] if hasattr(X, "iloc") else X[list(rows)]  # pandas, polars
