"""next_to_label: which texts to label next, and why each of them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from sklearn.utils import check_random_state

from fewshot.checks import at_least, check_seed, one_of
from fewshot.errors import ParameterError
from fewshot.inputs import as_rows
from fewshot.labelling.diversity import cover, nearest, spread, typical
from fewshot.labelling.pool import Pool, encoder_of, make_pool, vectors_of
from fewshot.labelling.uncertainty import Guesses, entropy, guess, margin
from fewshot.models.base import FloatArray, IntArray

__all__ = ["STRATEGIES", "Pick", "next_to_label"]

_UNSURE = {"entropy": entropy, "margin": margin}
STRATEGIES = ("auto", *_UNSURE, "diverse", "typical", "random")
#: Rows whose vectors are compared, and labelled ones that these are compared with: of more, so many are drawn.
_COMPARED = 4000
_LEAST = 1e-3  # what a row counts for that the classifier is sure of, where the most is 1


class Pick(NamedTuple):
    """A text to label next: its row, the number in X, and the reason in words.

    Examples
    --------
    >>> from fewshot import Pick
    >>> Pick(3, "unsure: billing 0.41, praise 0.39").row
    3
    """

    row: int
    reason: str


def next_to_label(
    clf: Any, X: Any, n: int = 10, *, y: Any = None, strategy: str = "auto", random_state: Any = 0
) -> list[Pick]:
    """Choose the texts whose labels would help a classifier most.

    Rows with a label are never chosen, nor texts that equal theirs. Of several equal texts, only the first may be
    chosen. The same arguments give the same rows.

    Parameters
    ----------
    clf : classifier, encoder or None
        A fitted text classifier with ``predict_proba``: a `Classifier` with an encoder or a language model, also a
        zero-shot one, or a classifier of scikit-learn. It may give a row several labels. If no row has a label yet:
        None, or an encoder. Texts are compared by vectors of the classifier's own encoder, or of the given encoder. If
        there is none, as with a language model, the default encoder is used.
    X : list, array, Series or DataFrame
        Texts, or rows of fields. If there are more than 4,000 rows to choose from, 4,000 of them are drawn: with a
        classifier by its uncertainty, else evenly.
    n : int
        How many texts to choose. If fewer are left, all of them are returned.
    y : sequence of shape (n_texts,), optional
        The labels so far, with None for a row without a label; if rows may have several labels, indicator rows or None.
        None: no row has a label. The chosen texts differ from the labelled rows.
    strategy : {"auto", "entropy", "margin", "diverse", "typical", "random"}
        "auto": texts that represent many others about which the classifier is uncertain (Uncertainty Herding);
        "typical" if there is no classifier, or it knows only one class. "entropy" and "margin": the texts about which
        the classifier is most uncertain. "diverse": texts far from each other and from the labelled ones, by k-means++.
        "typical": the most typical text of each cluster (TypiClust). "random": drawn evenly.
    random_state : int, RandomState or None
        Seed of everything random.

    Returns
    -------
    list of Pick
        The texts in the order in which to label them. Each has ``row``, its number in X, and ``reason``, in words.

    Raises
    ------
    InputError
        When X or y is not valid; the message names the row.
    ParameterError
        When n is below 1, the strategy is unknown, or it needs a classifier and there is none.
    UnsupportedError
        When the classifier has no probabilities, the classifier or the encoder returns NaN, or a given model is not an
        encoder.
    NotFittedError
        When the classifier is not fitted.

    References
    ----------
    Bae, Oliveira, Sutherland 2025 "Uncertainty Herding: One Active Learning Method for All Label Budgets".
    Arthur, Vassilvitskii 2007 "k-means++: The Advantages of Careful Seeding".
    Hacohen, Dekel, Weinshall 2022 "Active Learning on a Budget: Opposite Strategies Suit High and Low Budgets".

    Examples
    --------
    >>> from fewshot import Classifier, next_to_label
    >>> texts = ["I was charged twice", "The app crashes", "It crashes at once", "The invoice page is blank"]
    >>> [pick.row for pick in next_to_label(None, texts, 2)]
    [2, 3]
    >>> clf = Classifier().fit(None, ["billing", "bug report"])
    >>> pick = next_to_label(clf, texts, 1, y=["billing", None, None, None], strategy="margin")[0]
    >>> texts[pick.row], pick.reason
    ('The invoice page is blank', 'unsure: billing 0.73, bug report 0.27')
    """
    at_least("n", n, 1, whole=True)
    check_seed(random_state)
    one_of("strategy", strategy, STRATEGIES)
    is_model = clf is None or hasattr(clf, "encode") or not hasattr(clf, "fit")
    if is_model and strategy in _UNSURE:
        raise ParameterError(
            f"strategy={strategy!r} needs a fitted classifier as clf, for its probabilities. Got {clf!r}."
        )
    rows = as_rows(X)
    pool = make_pool(rows, y, getattr(clf, "template_", None))
    guesses = None
    if not is_model and strategy in ("auto", *_UNSURE):
        guesses = guess(clf, X if hasattr(X, "columns") else rows)  # a pipeline may pick columns by name
    if strategy == "auto" and (guesses is None or guesses.proba.shape[1] == 1):
        strategy, guesses = "typical", None
    rng = check_random_state(random_state)
    if not len(pool.free):
        return []
    if strategy == "random":
        return [Pick(int(i), "drawn at random") for i in rng.permutation(pool.free)[:n]]
    if guesses is not None and strategy in _UNSURE:
        unsure = _UNSURE[strategy](guesses)[pool.free]
        by_chance = rng.permutation(len(pool.free))  # which of equally unsure rows comes first
        return [Pick(int(i), guesses.said(i)) for i in pool.free[np.lexsort((by_chance, -unsure))[:n]]]
    return _compare(pool, n, strategy, guesses, encoder=encoder_of(clf), rng=rng)


def _compare(
    pool: Pool, n: int, strategy: str, guesses: Guesses | None, *, encoder: Any, rng: np.random.RandomState
) -> list[Pick]:
    """Choose by the vectors of at most so many rows."""
    weights = np.ones(len(pool.free)) if guesses is None else np.maximum(margin(guesses)[pool.free], _LEAST)
    free, known = pool.free, _drawn(pool.known, np.ones(len(pool.known)), rng)
    counts = np.ones(len(free))
    if len(free) > _COMPARED:  # what is drawn by its weight counts as 1 afterwards, and stands for the more the less
        place = _drawn(np.arange(len(free)), weights, rng)
        free, counts, weights = free[place], 1 / weights[place], np.ones(_COMPARED)
        counts *= len(pool.free) / counts.sum()
    found = vectors_of(encoder, [pool.texts[i] for i in [*free, *known]])
    vectors, labelled = found[: len(free)], found[len(free) :]
    if strategy == "auto":
        order = cover(vectors, labelled, n, weights)
    else:
        order = {"diverse": spread, "typical": typical}[strategy](vectors, labelled, n, rng)
    chosen = free[order]
    if strategy == "diverse":
        return [Pick(int(i), why) for i, why in zip(chosen, _distances(vectors[order], labelled), strict=True)]
    reasons = _groups(vectors, order, labelled, counts)
    if guesses is not None:
        reasons = [f"{guesses.said(i)}; {why}" for i, why in zip(chosen, reasons, strict=True)]
    return [Pick(int(i), why) for i, why in zip(chosen, reasons, strict=True)]


def _drawn(rows: IntArray, weights: FloatArray, rng: np.random.RandomState) -> IntArray:
    """The rows, or of too many some, drawn by their weights."""
    if len(rows) <= _COMPARED:
        return rows
    return np.sort(rng.choice(rows, _COMPARED, replace=False, p=weights / weights.sum()))


def _groups(vectors: FloatArray, order: IntArray, labelled: FloatArray, counts: FloatArray) -> list[str]:
    """For how many texts each chosen one stands: those that are nearer to it than to any other chosen or labelled."""
    owner, _ = nearest(vectors, np.vstack([vectors[order], labelled]))
    own = np.bincount(owner, counts, minlength=len(order))[: len(order)]
    about = "about " if (counts > 1).any() else ""
    than = " that no labelled one is nearer to" if len(labelled) else ""
    return [f"stands for {about}{count:.0f} text{'s' * (round(count) != 1)}{than}" for count in own]


def _distances(chosen: FloatArray, labelled: FloatArray) -> list[str]:
    """How similar each chosen row is to the nearest of those before it."""
    reasons = []
    for i in range(len(chosen)):
        before = np.vstack([labelled, chosen[:i]])
        if not len(before):
            reasons.append("the first, drawn at random")
            continue
        similar = nearest(chosen[i : i + 1], before)[1][0]
        reasons.append(f"unlike what is labelled: a similarity of at most {similar:.2f}")
    return reasons
