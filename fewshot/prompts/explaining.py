"""What strategies share when they explain one row: the questions with their label words, and the classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.special import expit, softmax

from fewshot.calibration import Prior
from fewshot.display.explanation import ClassLine, Question, WordLine
from fewshot.models.base import FloatArray
from fewshot.prompts.asked import Asked
from fewshot.task.task import Task

__all__ = ["ask_question", "class_lines", "say_orders", "word_lines"]


def ask_question(asked: Asked, calibration: Prior | None) -> Question:
    """What one wording asks about one row, and what the model says of its label words."""
    (scores,), (query,), (own,) = asked.answers, asked.queries, asked.words
    logprobs = scores.logprobs
    if asked.task.verbalizer.per_row:  # a calibration has a prior for each row's choices; it is in the class scores
        logprobs = logprobs[[query.candidates.index(text) for text in own.labels]]
        words = _lines(list(range(len(own.labels))), own.labels, logprobs, None)
    else:
        calibrated = None if calibration is None else calibration.transform(logprobs[None])[0]
        words = word_lines(asked.task, logprobs, calibrated)
    mass = None if np.isnan(scores.mass) else float(scores.mass)
    return Question(asked.preview()[0], query.candidates, words, mass)


def word_lines(task: Task, logprobs: FloatArray, calibrated: FloatArray | None = None) -> tuple[WordLine, ...]:
    """A line for each label word, with its share among all of them."""
    owners = [label for label, group in zip(task.classes.tolist(), task.verbalizer.words, strict=True) for _ in group]
    return _lines(owners, task.verbalizer.candidates, logprobs, calibrated)


def _lines(
    owners: Sequence[Any], words: Sequence[str], logprobs: FloatArray, calibrated: FloatArray | None
) -> tuple[WordLine, ...]:
    after: Any = [None] * len(owners) if calibrated is None else softmax(calibrated).tolist()
    lines = zip(owners, words, logprobs.tolist(), softmax(logprobs).tolist(), after, strict=True)
    return tuple(WordLine(*line) for line in lines)


def class_lines(
    task: Task,
    scores: FloatArray,
    before: FloatArray | None = None,
    similarities: Sequence[float] | None = None,
    prompts: Sequence[str] | None = None,
) -> tuple[ClassLine, ...]:
    """A line for each class, from the log-scores of one row.

    Parameters
    ----------
    task : Task
    scores, before : ndarray of shape (1, n_classes)
        Log-scores after and before calibration.
    similarities, prompts : sequence of n_classes, optional
        What an encoder compares the row with, and how similar they are.
    """
    probabilities = (expit(scores) if task.multi_label else np.exp(scores))[0].tolist()
    none: list[Any] = [None] * len(probabilities)
    columns = [none if before is None else np.exp(before[0]).tolist(), similarities or none, prompts or none]
    return tuple(ClassLine(*line) for line in zip(task.classes.tolist(), probabilities, *columns, strict=True))


def say_orders(n: int) -> tuple[str, ...]:
    """A note where the label words were listed in several orders."""
    if n == 1:
        return ()
    return (f"The scores are means over {n} orders of the listed label words; the first is shown.",)
