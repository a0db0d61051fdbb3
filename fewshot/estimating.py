"""Estimating: what a classifier would ask of servers, before anything is sent."""

from __future__ import annotations

import warnings
from typing import Any

from sklearn.utils.validation import check_is_fitted

from fewshot.errors import UnsupportedError
from fewshot.models.remote.rehearsal import rehearsing
from fewshot.models.remote.server import Estimate

__all__ = ["estimate"]


def estimate(clf: Any, X: Any) -> Estimate:
    """Estimate what ``clf.predict(X)`` would ask of a server: requests, tokens and, if the model has prices, the cost.

    No text of X is sent. If a completions server was not used yet, it is asked about fixed texts, to learn its window
    and how it answers. Scores that a `CachedLM` already has are not counted.

    Parameters
    ----------
    clf : Classifier, Questionnaire or Writer
        Fitted with a model on a server: `CompletionsLM`, `ChatLM` or `DecisionsLM`, alone or in a `CachedLM`.
    X : sequence of str, or of rows
        The rows to predict.

    Returns
    -------
    Estimate
        ``requests``, ``input_tokens``, ``output_tokens`` and ``cost``. Tokens are None for a `DecisionsLM` and a
        `ChatLM`, because only their server can count them. Cost is None without prices. If texts are generated, the
        numbers are upper bounds.

    Raises
    ------
    UnsupportedError
        When the model is not on a server.

    Examples
    --------
    >>> from fewshot import Classifier, Prompting, estimate, load
    >>> lm = load("http://127.0.0.1:8080/v1", model="smollm2", tokenizer="embedded:causal")
    >>> clf = Classifier(lm, strategy=Prompting()).fit(None, ["billing", "bug report"])
    >>> estimate(clf, ["I was charged twice.", "It crashes."])  # doctest: +SKIP
    Estimate(requests=6, input_tokens=282, output_tokens=6, cost=None)
    """
    check_is_fitted(clf)
    with rehearsing() as rehearsal, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of answers that are none
        clf.predict(X)
    if not rehearsal.asked:
        raise UnsupportedError(
            f"There is no cost to estimate: {clf!r} asks no server, or all its answers are in its cache."
        )
    each = [model.planned(list(queries), n) for (model, n), queries in rehearsal.asked.items()]
    return Estimate(
        sum(one.requests for one in each),
        _sum([one.input_tokens for one in each]),
        _sum([one.output_tokens for one in each]),
        _sum([one.cost for one in each]),
    )


def _sum(numbers: list[Any]) -> Any:
    return None if None in numbers else sum(numbers)
