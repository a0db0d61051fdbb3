"""A language model that reads the mood of a text, and a classifier that asks it."""

from __future__ import annotations

import numpy as np

from fewshot import Classifier, FakeLM, Prompting
from fewshot.models.base import Query

WORDS = {"bad": "awful", "good": ["lovely", "great"]}
REVIEW = "Review: {{ text }}\nIt was {{ label }}."


def moods(query: Query) -> list[float]:
    """Normalised log-probabilities that lean to the first word, the more so in one wording."""
    own = query.prefix + "".join(turn.text for turn in query.context)
    lean = 1.0 + own.count("All in all")
    scores = [-lean * (i - 2.0 * own.count("fun")) * (word != "awful") for i, word in enumerate(query.candidates)]
    return (np.array(scores) - np.logaddexp.reduce([*scores, 3.0])).tolist()


def classifier(strategy=None, template=REVIEW, **params):
    return Classifier(FakeLM(moods, **params), template, WORDS, strategy or Prompting())
