"""Extractor: the door to answers. A question is answered by a part of the row's own text, or by none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, clone
from sklearn.utils.validation import check_is_fitted

from fewshot.calibration.threshold import find_threshold
from fewshot.checks import at_least, between, check_seed, is_blank
from fewshot.display.answered import Answered, AnsweredText
from fewshot.display.preview import Preview
from fewshot.errors import FewshotWarning, InputError, ParameterError, UnsupportedError, warn
from fewshot.heads.answers import AnswerReading
from fewshot.linting.answers import find_lost
from fewshot.models.base import is_extractive, is_language_model
from fewshot.models.loading import load
from fewshot.models.tokens import is_tokens
from fewshot.persistence.mixin import KeptMixin
from fewshot.strategies.auto import Auto, chosen_of
from fewshot.strategies.choosing_answers import AnswerReport
from fewshot.strategies.extracting import AskedSpans
from fewshot.strategies.prompting import Prompting
from fewshot.strategies.reading_answers import ReadAnswers
from fewshot.strategies.span_head import SpanHead
from fewshot.task.answer_rows import read_answers, read_questions
from fewshot.task.answer_scores import answer_f1, exact_match
from fewshot.task.extracts import Answer, Asked, ExtractTask, Place, take_right

__all__ = ["Extractor"]

_SHOWN = 3  # answers that `explain` lists


class Extractor(KeptMixin, BaseEstimator):  # type: ignore[misc]
    r"""Answer each question with a part of the row's own text, its place and its probability, or with no answer.

    Rows have the fields "question" and "context", as in SQuAD. A language model is asked about every span of up to
    ``max_words`` words; it needs no answered questions. A question-answering checkpoint answers as it was trained. A
    sentence encoder, the default, learns from answered questions, 16 or more.

    Parameters
    ----------
    model : str, Path, tuple or model, optional
        A sentence encoder, a language model, or a question-answering model, as `load` takes it.
    template : str, Path or Template, optional
        How a language model is asked, with fields of the row, such as ``"{{ context | shorten }}\n{{ question }}
        {{ answer }}"``. None: "squad/answer".
    verbalizer : mapping, optional
        The label word of a language model for no answer, as in ``{None: "unanswerable"}``. None: the word that the
        template's ``words`` have for ``none``. Without such a word, it is "unanswerable" if a row of ``fit`` has no
        answer; otherwise every question gets an answer.
    strategy : SpanHead, FineTuning, ReadAnswers, Prompting, Auto or Strategy, optional
        How answered questions are used. ``FineTuning("span")`` tunes a copy of an encoder or a masked model. `Auto`
        compares the strategies that the model allows. None: ``ReadAnswers()`` with a question-answering model;
        ``SpanHead()`` with a sentence encoder, and with a masked language model if there are answered questions and
        neither a template nor a verbalizer; otherwise ``Prompting()``.
    question : str, optional
        One question for all texts. Rows are then plain texts, or have no field "question".
    max_words : int
        The most words of an answer; punctuation is not counted.
    threshold : float or None
        The least probability of an answer, above 0 and at most 1. Below it, the prediction is no answer. None: the most
        probable of all answers and no answer is predicted. See `fit_threshold`.
    random_state : int, RandomState or None
        Seed of everything random in the strategy.

    Attributes
    ----------
    model_, strategy_ : objects
        The parameters as `fit` resolved them.
    n_questions_, n_answered_ : int
        Number of questions in ``fit``, and of those with an answer.

    Raises
    ------
    InputError
        When X or y is not valid; the message names the row.
    UnsupportedError
        When the strategy needs another model, or answered questions.

    Examples
    --------
    >>> from fewshot import Extractor, FakeLM
    >>> lm = FakeLM(lambda query: [3.0 * (span == "Paris") for span in query.candidates])
    >>> extractor = Extractor(lm, question="Where does she live?").fit()
    >>> extractor.predict(["Ada lives in Paris."])[0].text
    'Paris'
    """

    def __init__(
        self,
        model: Any = None,
        template: Any = None,
        verbalizer: Any = None,
        strategy: Any = None,
        *,
        question: str | None = None,
        max_words: int = 8,
        threshold: float | None = None,
        random_state: Any = None,
    ) -> None:
        self.model = model
        self.template = template
        self.verbalizer = verbalizer
        self.strategy = strategy
        self.question = question
        self.max_words = max_words
        self.threshold = threshold
        self.random_state = random_state

    def fit(self, X: Any = None, y: Any = None) -> Self:
        """Learn from answered questions, or prepare to ask zero-shot.

        Parameters
        ----------
        X : DataFrame, dataset, list of mappings, list of texts (with ``question``), or None
            None is zero-shot.
        y : list, Series or name of a dataset's column
            The answer to each question, in any of the forms that ``read_answers`` takes: ``{"text": [...],
            "answer_start": [...]}``, ``(start, end)`` in characters, the text of the answer, which is right wherever it
            occurs, or `Answer`. None or "" means that the text has no answer.

        Returns
        -------
        self
            A failed fit leaves the previous state.

        Raises
        ------
        UnsupportedError
            When the strategy needs another model, or answered questions.
        InputError
            When X or y is not valid; the message names the row.
        ParameterError
            When there is a template or a verbalizer, and the strategy asks no language model.
        """
        self._check()
        if X is None and y is not None:
            raise InputError("y has answers, and X has no questions: give both, or neither to ask without examples.")
        model = load(self.model)
        strategy = self._settled(model, zero_shot=X is None)
        asked = [] if X is None else read_questions(X, self.question)
        golds = [] if X is None else read_answers(asked, y, X)
        task = ExtractTask(asked, golds, self.template, self.max_words, self._no_answer())
        strategy.fit_answers(task, model, random_state=self.random_state)
        _warn_of_lost(asked, golds, self.max_words)
        self.model_, self.strategy_ = model, strategy
        self.n_questions_, self.n_answered_ = len(asked), sum(map(bool, golds))
        return self

    def predict(self, X: Any) -> list[Answer]:
        """Return the answer to each question; no answer is ``Answer("", None, None)``, which is False."""
        asked = self._ask(X)
        return [
            _answer(one, *reading.find(self.threshold)) for one, reading in zip(asked, self._read(asked), strict=True)
        ]

    def predict_top(self, X: Any, k: int = 3) -> list[list[Answer]]:
        """Return up to k answers to each question, the most probable first; no answer may be one of them.

        Answers of equal text count as one. With a language model, a higher k takes longer. The probabilities are then
        lower bounds, and a higher k makes them slightly higher.
        """
        at_least("k", k, 1, whole=True)
        asked = self._ask(X)
        return [_top(one, reading, k) for one, reading in zip(asked, self._read(asked, k), strict=True)]

    def score(self, X: Any, y: Any) -> float:
        """Return the mean F1 of the words of answers, as in SQuAD's script; see `answer_f1`."""
        asked = self._ask(X)
        return answer_f1(take_right(asked, read_answers(asked, y, X)), self.predict(X))

    def fit_threshold(self, X: Any, y: Any, precision: float = 0.9) -> float:
        """Return the lowest threshold with which the given answers reach a precision.

        An answer is right if it matches exactly (see `exact_match`). Questions that the threshold leaves unanswered do
        not count. The precision is measured on these questions and is no guarantee for others. Give a few hundred
        questions on which the extractor was not fitted. Some must have no answer, if that also happens in later use.
        Set the result with ``extractor.set_params(threshold=...)``.

        Raises
        ------
        InputError
            When no threshold reaches the precision; the message says what the best one reaches.
        """
        between("precision", precision, 0, 1, with_high=True, more=", such as 0.95")
        asked = self._ask(X)
        right = take_right(asked, read_answers(asked, y, X))
        said = [_answer(one, *reading.find(0.0)) for one, reading in zip(asked, self._read(asked), strict=True)]
        given = [i for i, answer in enumerate(said) if answer]
        if not given:
            raise InputError(f"No answer is found in these {len(said)} texts: there is no threshold for a precision.")
        chances = [said[i].probability or 0.0 for i in given]
        # "The" matches no answer, as SQuAD has it; as an answer that was given it is wrong
        fine = [bool(right[i]) and exact_match([right[i]], [said[i]]) == 1 for i in given]
        return find_threshold(np.array(chances), np.array(fine), precision, of=f"{len(said)} questions")

    def explain(self, X: Any) -> Answered:
        """Show texts with the answer marked, and the most probable answers; prints as text, HTML in notebooks."""
        asked = self._ask(_as_rows(X))
        shown = [
            AnsweredText(
                one.question,
                one.context,
                _answer(one, *reading.find(self.threshold)),
                tuple(_top(one, reading, _SHOWN)),
            )
            for one, reading in zip(asked, self._read(asked), strict=True)
        ]
        return Answered(tuple(shown))

    def preview(self, X: Any) -> Preview:
        """Show the prompts without asking the model.

        Raises
        ------
        UnsupportedError
            When the strategy has no prompts.
        """
        asked = self._ask(_as_rows(X))
        chosen = chosen_of(self.strategy_)
        if not isinstance(chosen, AskedSpans):
            raise UnsupportedError(
                f"{type(chosen).__name__} asks nothing: there are no prompts to show. Give a language model "
                "with a template, or strategy=Prompting()."
            )
        return chosen.preview(asked)

    @property
    def report_(self) -> AnswerReport | None:
        """What `Auto` chose and why, with the held-out scores; None if the strategy chooses nothing."""
        check_is_fitted(self, "strategy_")
        return getattr(self.strategy_, "report_", None)

    def _check(self) -> None:
        check_seed(self.random_state)
        at_least("max_words", self.max_words, 1, whole=True)
        if self.threshold is not None:
            between("threshold", self.threshold, 0, 1, with_high=True)
        if self.question is not None and (not isinstance(self.question, str) or is_blank(self.question)):
            raise ParameterError(
                "question must be a text that is not blank, which is asked about every text, or None. Got "
                f"{self.question!r}."
            )
        given = self.strategy
        known = isinstance(given, Prompting) or callable(getattr(given, "fit_answers", None))
        if given is not None and (isinstance(given, type) or not known):
            raise ParameterError(
                f"strategy must be one that finds answers, such as Prompting(...), or None. Got {given!r:.200}."
            )

    def _settled(self, model: Any, *, zero_shot: bool) -> Any:
        """The strategy, unfitted: one that finds answers, or one that asks about every span."""
        asks_something = self.template is not None or self.verbalizer is not None
        strategy = self.strategy
        if strategy is None:
            strategy = _choose(model, asks=asks_something or zero_shot)
        if isinstance(strategy, Prompting):
            return AskedSpans(clone(strategy))
        if asks_something and not isinstance(strategy, Auto):
            raise ParameterError(
                f"{strategy!r} asks nothing, and template and verbalizer say how to ask: leave them out, or use "
                f"strategy=Prompting(). Got template={self.template!r:.200}, verbalizer={self.verbalizer!r:.80}."
            )
        return clone(strategy)

    def _no_answer(self) -> str | None:
        """What a language model calls no answer, where that is said."""
        said = self.verbalizer
        if said is None:
            return None
        text = said.get(None) if isinstance(said, Mapping) and set(said) == {None} else None
        if not isinstance(text, str) or not text.strip():
            raise ParameterError(
                f"verbalizer says what no answer is called, {{None: 'unanswerable'}}; answers themselves are spans of "
                f"the text. Got {said!r:.80}."
            )
        return text

    def _ask(self, X: Any) -> list[Asked]:
        check_is_fitted(self, "strategy_")
        self._check()
        return read_questions(X, self.question)

    def _read(self, asked: Sequence[Asked], k: int = _SHOWN) -> list[AnswerReading]:
        more = (
            {"k": max(k, _SHOWN)} if isinstance(chosen_of(self.strategy_), AskedSpans) else {}
        )  # others know all answers
        readings: list[AnswerReading] = self.strategy_.answer_readings(asked, **more)
        return readings


def _choose(model: Any, *, asks: bool) -> Any:
    """The strategy of a model where none is given."""
    if is_extractive(model):
        return ReadAnswers()
    if is_tokens(model) and not (asks and is_language_model(model)):
        return SpanHead()
    if not is_language_model(model):
        raise UnsupportedError(
            f"{model!r} can't be asked, and shows no vectors of tokens: give a language model, such as "
            "'embedded:causal', a sentence encoder, or a model of question answering."
        )
    return Prompting()


def _as_rows(X: Any) -> Any:
    return [X] if isinstance(X, str | Mapping) else X


def _answer(asked: Asked, place: Place | None, probability: float) -> Answer:
    if place is None:
        return Answer("", None, None, probability)
    start, end = place
    return Answer(asked.context[start:end], start, end, probability)


def _top(asked: Asked, reading: AnswerReading, k: int) -> list[Answer]:
    return [_answer(asked, place, probability) for place, probability in reading.top(k)]


def _warn_of_lost(asked: Sequence[Asked], golds: Sequence[Sequence[Place]], max_words: int) -> None:
    """Say how many right answers no prediction can be."""
    lost = find_lost(asked, golds, max_words)
    if lost:
        warn(
            f"{len(lost)} of {len(asked)} questions have a right answer that can't be predicted: it has more than "
            f"max_words={max_words} words, or it begins or ends inside a word or with a sign. Raise max_words, or "
            "correct these answers.",
            FewshotWarning,
        )
