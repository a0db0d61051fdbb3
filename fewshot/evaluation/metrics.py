"""The metrics, each under any number of resamples of the rows at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from scipy.sparse import csr_array
from sklearn.utils import check_random_state

from fewshot.checks import as_numbers, at_least, check_seed
from fewshot.errors import InputError
from fewshot.evaluation.predictions import Predictions
from fewshot.models.base import FloatArray, IntArray

__all__ = [
    "HIGHER_IS_BETTER",
    "METRICS",
    "ORDERED_METRICS",
    "WITHOUT_PROBABILITIES",
    "bin_confidences",
    "bootstrap",
    "calibration_error",
    "compute_intervals",
    "compute_metrics",
    "compute_percentiles",
    "draw_resamples",
    "get_metrics",
]

_BINS = 15
_FLOOR = 1e-9  # a label of probability 0 costs 20.7 nats, not infinitely many
_CELLS = 4_000_000  # resamples are drawn in blocks of so many counts, 32 MB


def _accuracy(p: Predictions, counts: IntArray) -> FloatArray:
    return _mean(p.right, counts)


def _macro_f1(p: Predictions, counts: IntArray) -> FloatArray:
    hits = _per_class(p, p.targets, counts * p.right)
    present = _per_class(p, p.targets, counts) + _per_class(p, p.predicted, counts)
    f1 = 2 * hits / np.maximum(present, 1)
    return f1.sum(axis=1) / (present > 0).sum(axis=1)


def _log_loss(p: Predictions, counts: IntArray) -> FloatArray:
    return _mean(-np.log(np.maximum(p.probabilities[np.arange(len(p.targets)), p.targets], _FLOOR)), counts)


def _brier(p: Predictions, counts: IntArray) -> FloatArray:
    return _mean(((p.probabilities - np.eye(len(p.classes))[p.targets]) ** 2).sum(axis=1), counts)


def _ece(p: Predictions, counts: IntArray) -> FloatArray:
    return np.abs(_top_gaps(p, counts)).sum(axis=1)


def _ece_noise(p: Predictions, counts: IntArray) -> FloatArray:
    """How far the bins' gaps are from those of all rows: by the triangle inequality, no less than the error of _ece."""
    gaps = _top_gaps(p, np.ones((1, len(p.targets)), dtype=np.int64))
    return np.abs(_top_gaps(p, counts) - gaps).sum(axis=1)


def _top_gaps(p: Predictions, counts: IntArray) -> FloatArray:
    top = p.probabilities.argmax(axis=1)
    return _bin_gaps(p.probabilities.max(axis=1), top == p.targets, counts, _BINS)


def _quadratic_kappa(p: Predictions, counts: IntArray) -> FloatArray:
    """1 less the mean squared distance of the levels, over what it would be if the predictions were shuffled."""
    target, said = p.levels[p.targets], p.levels[p.predicted]
    apart, squares = counts @ ((target - said) ** 2), counts @ (target**2 + said**2)
    n, by_chance = counts.shape[1], 2 * (counts @ target) * (counts @ said)
    shuffled = n * squares - by_chance  # n squared times the mean; whole numbers, so that 0 is 0
    return np.where(shuffled > 0, 1 - n * apart / np.maximum(shuffled, 1), 0.0)


def _level_error(p: Predictions, counts: IntArray) -> FloatArray:
    return _mean(np.abs(p.levels[p.targets] - p.levels[p.predicted]), counts)


def _expected_level_error(p: Predictions, counts: IntArray) -> FloatArray:
    return _mean(np.abs(p.levels[p.targets] - p.probabilities @ p.levels), counts)


def _rps(p: Predictions, counts: IntArray) -> FloatArray:
    n_levels = len(p.scale or ())
    proba = np.zeros((len(p.targets), n_levels))
    proba[:, p.levels] = p.probabilities
    reached = np.arange(n_levels) >= p.levels[p.targets][:, None]  # the cumulative distribution of the true level
    gaps = (proba.cumsum(axis=1) - reached)[:, :-1]
    return _mean((gaps**2).sum(axis=1) / (n_levels - 1), counts)


Metric = Callable[[Predictions, IntArray], FloatArray]

#: Each returns its value under every resample, of shape (n_resamples,). The second argument, of shape (n_resamples,
#: n_rows), says how often each resample has each row.
METRICS: dict[str, Metric] = {
    "accuracy": _accuracy,
    "macro-F1": _macro_f1,
    "log loss": _log_loss,
    "Brier": _brier,
    "ECE": _ece,
}
#: The same for classes that are ordered.
ORDERED_METRICS: dict[str, Metric] = {
    "quadratic kappa": _quadratic_kappa,
    "level MAE": _level_error,
    "expected level MAE": _expected_level_error,
    "RPS": _rps,
}
HIGHER_IS_BETTER = {
    *("accuracy", "macro-F1", "quadratic kappa"),
    *("entity F1", "boundary F1", "precision", "recall"),
    *("answer F1", "exact match"),
    *("chrF", "BLEU"),
}
#: What needs the predicted class only; the others need probabilities.
WITHOUT_PROBABILITIES = {"accuracy", "macro-F1", "quadratic kappa", "level MAE"}


def get_metrics(p: Predictions) -> dict[str, Metric]:
    """Every metric that the predictions allow, those of ordered classes last."""
    known = METRICS if p.scale is None else {**METRICS, **ORDERED_METRICS}
    return {name: own for name, own in known.items() if p.proba is not None or name in WITHOUT_PROBABILITIES}


def compute_metrics(p: Predictions) -> dict[str, float]:
    """The value of every metric that the predictions allow."""
    once = np.ones((1, len(p.targets)), dtype=np.int64)
    return {name: float(measure(p, once)[0]) for name, measure in get_metrics(p).items()}


def bootstrap(each: Sequence[Predictions], measure: Metric, n_bootstrap: int, random_state: Any) -> FloatArray:
    """One metric, of shape (n_classifiers, n_bootstrap), under resamples that are the same for all classifiers."""
    blocks = draw_resamples(len(each[0].targets), n_bootstrap, random_state)
    return np.concatenate([[measure(p, counts) for p in each] for counts in blocks], axis=1)


def compute_percentiles(values: FloatArray, level: float) -> tuple[float, float]:
    """The middle of resampled values."""
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def compute_intervals(
    p: Predictions, values: dict[str, float], n_bootstrap: int, level: float, random_state: int
) -> dict[str, tuple[float, float]]:
    """The interval of each of the metrics, of which the values are known.

    They are percentiles over resamples, except that of the calibration error. Noise makes it larger, and resamples add
    noise: in simulations of calibrated classifiers their percentiles never held the true error. Its interval is the
    value, and around it what the noise of the bins can do to it. It is wide, and holds the true error often enough.

    Parameters
    ----------
    p : Predictions
    values : dict
        The metrics of ``p`` by their names.
    n_bootstrap : int
        Number of resamples.
    level : float
        Confidence level.
    random_state : int
        Seed of the resamples.
    """
    found = {}
    measures = get_metrics(p)
    for name, value in values.items():
        if name == "ECE":
            noise = float(np.quantile(bootstrap([p], _ece_noise, n_bootstrap, random_state), level))
            found[name] = (max(0.0, value - noise), min(1.0, value + noise))
        else:
            found[name] = compute_percentiles(bootstrap([p], measures[name], n_bootstrap, random_state)[0], level)
    return found


def calibration_error(confidence: Any, right: Any, bins: int = 15) -> float:
    """Return the expected calibration error: the mean difference of confidence and accuracy over bins.

    Parameters
    ----------
    confidence : array of shape (n_texts,)
        The probability of each answer.
    right : array of shape (n_texts,)
        Whether each answer is right.
    bins : int
        Number of bins. The rows are sorted by confidence, and all bins have the same number of rows (or one row more).

    Returns
    -------
    float
        The absolute differences of the bins, averaged over the rows. By chance it is above 0 even if the probabilities
        are exact, and more so with fewer rows.

    Raises
    ------
    InputError
        When the arrays are empty or have different shapes, a confidence is not a probability, or ``bins`` is below 1.

    References
    ----------
    Nguyen and O'Connor (2015), "Posterior Calibration and Exploratory Analysis for Natural Language Processing Models".

    Examples
    --------
    >>> from fewshot.evaluation import calibration_error
    >>> round(calibration_error([0.6, 0.6, 0.9, 0.9], [True, False, True, True], bins=2), 3)
    0.1
    """
    sure, correct, n_bins = _checked(confidence, right, bins)
    return float(np.abs(_bin_gaps(sure, correct, np.ones((1, len(sure)), dtype=np.int64), n_bins)).sum())


def bin_confidences(confidence: Any, right: Any, bins: int = 15) -> tuple[FloatArray, FloatArray, IntArray]:
    """The bins of `calibration_error`: mean confidence, share of right answers and number of rows of each.

    Returns
    -------
    three ndarrays of shape (n_bins,)
        A bin without rows is left out, so there are at most as many as rows.
    """
    sure, correct, n_bins = _checked(confidence, right, bins)
    order = np.argsort(sure, kind="stable")
    edges = _edges(len(sure), n_bins)
    starts, counts = edges[:-1], np.diff(edges)
    starts, counts = starts[counts > 0], counts[counts > 0]
    means: list[FloatArray] = [np.add.reduceat(values[order], starts) / counts for values in (sure, correct)]
    return means[0], means[1], counts


def _checked(confidence: Any, right: Any, bins: Any) -> tuple[FloatArray, FloatArray, int]:
    sure, correct = as_numbers("confidence", confidence), as_numbers("right", right)
    if sure.ndim != 1 or sure.shape != correct.shape or not len(sure):
        raise InputError(
            f"confidence and right must be two arrays of one length. Got shapes {sure.shape} and {correct.shape}."
        )
    if not ((sure >= 0) & (sure <= 1)).all():
        odd = sure[~((sure >= 0) & (sure <= 1))][0]
        raise InputError(f"confidence must be probabilities from 0 to 1. Got {odd}.")
    if not np.isin(correct, (0, 1)).all():
        raise InputError(f"right must be true or false for each. Got {correct[~np.isin(correct, (0, 1))][0]}.")
    at_least("bins", bins, 1, whole=True)
    return sure, correct, int(bins)


def draw_resamples(n: int, n_bootstrap: int, random_state: Any) -> Iterator[IntArray]:
    """Blocks of resamples, as the number of times that each row is drawn."""
    check_seed(random_state)
    rng = check_random_state(random_state)
    step = max(1, _CELLS // n)
    for start in range(0, n_bootstrap, step):
        size = min(step, n_bootstrap - start)
        drawn = rng.randint(n, size=(size, n)) + np.arange(size)[:, None] * n
        yield np.bincount(drawn.ravel(), minlength=size * n).reshape(size, n)


def _mean(values: Any, counts: IntArray) -> FloatArray:
    return counts.astype(np.float64) @ np.asarray(values, dtype=np.float64) / counts.shape[1]


def _per_class(p: Predictions, columns: IntArray, counts: IntArray) -> FloatArray:
    """How many rows of each resample have each class, of shape (n_resamples, n_classes)."""
    n = len(columns)
    members = csr_array((np.ones(n), (np.arange(n), columns)), shape=(n, len(p.classes)))
    return counts.astype(np.float64) @ members


def _bin_gaps(confidence: Any, right: Any, counts: IntArray, bins: int) -> FloatArray:
    """Sum of confidence minus right in each bin of each resample, over the number of rows, (n_resamples, bins)."""
    n = len(confidence)
    order = np.argsort(confidence, kind="stable")
    gaps = (confidence - right)[order]
    drawn = np.repeat(np.tile(gaps, len(counts)), counts[:, order].ravel()).reshape(len(counts), n)
    sums = np.concatenate([np.zeros((len(counts), 1)), drawn.cumsum(axis=1)], axis=1)
    return np.diff(sums[:, _edges(n, bins)], axis=1) / n


def _edges(n: int, bins: int) -> IntArray:
    """Where bins of equal mass begin and end among n sorted rows, as np.array_split has them."""
    sizes = np.full(bins, n // bins) + (np.arange(bins) < n % bins)
    return np.concatenate([[0], sizes.cumsum()])
