"""What a strategy says of the answers to one question: places with their log-probabilities, and none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import logsumexp

from fewshot.models.base import FloatArray

__all__ = ["AnswerReading", "read_scores"]

Place = tuple[int, int]


@dataclass(frozen=True, eq=False)
class AnswerReading:
    """The answers that a text may hold, of which one is right or none.

    Parameters
    ----------
    places : sequence of (start, end)
        Where each answer stands, in characters; answers of equal text are one, at the place that is preferred.
    log_probabilities : array of shape (n_places,)
        Of each answer. Together with ``none`` and ``rest`` their probabilities add to one, or to less.
    none : float
        The log-probability that the text holds no answer; -inf where that was not asked.
    rest : float
        The logarithm of the most probability that answers can have which were not looked at; -inf where all were.

    Examples
    --------
    >>> import numpy as np
    >>> from fewshot.heads.answers import AnswerReading
    >>> reading = AnswerReading([(0, 3), (8, 13)], np.log([0.2, 0.5]), none=float(np.log(0.3)))
    >>> [(place, round(probability, 2)) for place, probability in reading.top(2)]
    [((8, 13), 0.5), (None, 0.3)]
    """

    places: Sequence[Place]
    log_probabilities: FloatArray
    none: float = -np.inf
    rest: float = -np.inf

    def top(self, k: int) -> list[tuple[Place | None, float]]:
        """The k most probable answers with their probabilities; None is no answer, where it is possible.

        Of equally probable ones the first place comes first, and no answer last.
        """
        found: list[tuple[Place | None, float]] = [
            (place, float(np.exp(log))) for place, log in zip(self.places, self.log_probabilities, strict=True)
        ]
        if self.none > -np.inf:
            found.append((None, float(np.exp(self.none))))
        return sorted(found, key=lambda one: -one[1])[:k]

    def find(self, threshold: float | None = None) -> tuple[Place | None, float]:
        """The answer and its probability.

        Without a threshold it is the most probable of all answers and none. With one it is the most probable answer
        where that is at least so probable, and otherwise None with the probability of no answer.
        """
        if threshold is None:
            return next(iter(self.top(1)), (None, 1.0))
        if len(self.places):
            best = int(np.argmax(self.log_probabilities))
            probability = float(np.exp(self.log_probabilities[best]))
            if probability >= threshold:
                return self.places[best], probability
        return None, float(np.exp(self.none))


def read_scores(context: str, places: Sequence[Place], scores: FloatArray, none: float) -> AnswerReading:
    """Normalise the scores of all spans of a text, and of no answer.

    Spans of equal text are one answer: their probabilities add, and it stands at the most probable place.

    Parameters
    ----------
    context : str
    places : sequence of (start, end)
        In ascending order.
    scores : array of shape (n_spans,)
        Log-probabilities up to one number that they all share.
    none : float
        The score of no answer; -inf where that is not asked.

    Examples
    --------
    >>> import numpy as np
    >>> from fewshot.heads.answers import read_scores
    >>> reading = read_scores("ab ab", [(0, 2), (3, 5)], np.log([1.0, 2.0]), none=0.0)
    >>> [(place, round(probability, 2)) for place, probability in reading.top(2)]
    [((3, 5), 0.75), (None, 0.25)]
    """
    total = float(logsumexp([none, *scores]))
    if not np.isfinite(total):  # no span has a score, and no answer is not asked for
        return AnswerReading([], np.empty(0))
    mass: dict[str, float] = {}
    best: dict[str, int] = {}
    for i in np.argsort(-scores, kind="stable"):
        if scores[i] > -np.inf:
            text = context[slice(*places[i])]
            mass[text] = float(np.logaddexp(mass.get(text, -np.inf), scores[i] - total))
            best.setdefault(text, int(i))
    in_order = sorted(best, key=best.__getitem__)
    return AnswerReading([places[best[text]] for text in in_order], np.array([mass[t] for t in in_order]), none - total)
