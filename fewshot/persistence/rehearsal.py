"""A kept classifier is tried before it is handed out: with language models that answer at once, on one short row.

Its parts come from a file, each of the right type and yet perhaps not made for one another: coefficients for other
vectors, labels of other classes. All of that shows when one row goes through. The language models are stood in for,
since a prompt may be long; encoders and heads are the real ones.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fewshot.errors import FewshotError, InputError, TemplateError, UnsupportedError, at_question
from fewshot.models.base import Float32Array, IntArray, Query, Reading, Scores, is_encoder, is_extractive, kind_of
from fewshot.models.tokens import TokenVectors
from fewshot.task.extracts import Asked

__all__ = ["find_inner", "make_stand_in", "rehearse", "remember"]

_ROW = "It is a test."


def remember(make: Callable[[dict[str, Any]], Any]) -> Callable[[dict[str, Any]], Any]:
    """The same function, which makes the same thing of the same node."""
    made: dict[str, Any] = {}

    def get(node: dict[str, Any]) -> Any:
        key = repr(sorted(node.items()))
        if key not in made:
            made[key] = make(node)
        return made[key]

    return get


def make_stand_in(model: Any) -> Any:
    """What stands in for a model: for a language model one that finds all candidates alike."""
    return model if is_encoder(model) or is_extractive(model) else _Indifferent(model)


class _Indifferent:
    """A language model of the same kind and shape as another, which says nothing."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self.kind = kind_of(model).name
        self.fingerprint = "none"
        self.limit = 2**40

    def loglikelihoods(self, queries: Sequence[Query]) -> list[Scores]:
        n = [len(query.candidates) for query in queries]
        return [Scores(np.full(k, -1.0), np.ones(k, dtype=np.int64)) for k in n]

    def generate(self, queries: Sequence[Query], max_new_tokens: int, stop: Sequence[str] = ()) -> list[str]:
        return [query.candidates[0] for query in queries]

    def read(self, queries: Sequence[Query], what: Reading) -> Float32Array:
        """As many numbers as the model would give."""
        found = self._model.read([Query("It is a ", ("test", "word"))], what)
        return np.repeat(found, len(queries), axis=0)

    def token_vectors(self, texts: Sequence[str], layer: int | None = None) -> list[TokenVectors]:
        """The model's own: a head is for as many numbers, and the text is short."""
        found: list[TokenVectors] = self._model.token_vectors(texts, layer)
        return found

    def pair_vectors(
        self, questions: Sequence[str], texts: Sequence[str], layer: int | None = None
    ) -> list[TokenVectors]:
        """The model's own, as of a text alone."""
        found: list[TokenVectors] = self._model.pair_vectors(questions, texts, layer)
        return found

    @property
    def vocabulary(self) -> Any:
        return self._model.vocabulary

    def lengths(self, queries: Sequence[Query]) -> IntArray:
        return np.zeros(len(queries), dtype=np.int64)

    def token_ends(self, texts: Sequence[str]) -> list[IntArray]:
        return [np.arange(1, len(text) + 1) for text in texts]

    def __sklearn_clone__(self) -> _Indifferent:
        return self


def rehearse(clf: Any) -> None:
    """Predict one row, and refuse a classifier whose parts do not fit together; of a questionnaire each."""
    if hasattr(clf, "classifiers_"):
        for name, one in clf.classifiers_.items():
            with at_question(name):
                rehearse(one)
        return
    if hasattr(clf, "span_counts_"):
        _rehearse_tagger(clf)
        return
    if hasattr(clf, "asking_"):
        _rehearse_writer(clf)
        return
    if hasattr(clf, "n_answered_"):
        _rehearse_extractor(clf)
        return
    row, own = _row(clf)
    try:
        found = clf.predict_proba([row])
        sets = clf.predict_set([row]) if hasattr(clf, "predict_set") else found
        n = len(clf.classes_)
        clf.predict([row])
    except FewshotError as error:
        if own or not isinstance(error, InputError | TemplateError):
            raise
        return  # a row was made up, and is not what the template asks for
    except Exception as error:
        raise InputError(
            f"The parts of the classifier do not fit together: one row can't be predicted ({type(error).__name__}: "
            f"{error})."
        ) from error
    if found.shape != (1, n) or sets.shape != (1, n):
        raise InputError(f"The parts of the classifier do not fit together: {n} classes, and numbers {found.shape}.")
    if np.isnan(found).any():
        raise InputError("The classifier can predict nothing: its numbers lead to NaN.")


def _rehearse_tagger(tagger: Any) -> None:
    """Tag one text, and refuse a tagger whose parts do not fit together."""
    try:
        (found,) = tagger.strategy_.span_readings([_ROW], [[(0, 2)]])
        tagger.predict([_ROW])
    except FewshotError:
        raise
    except Exception as error:
        raise InputError(
            f"The parts of the tagger do not fit together: one text can't be tagged ({type(error).__name__}: {error})."
        ) from error
    n = len(tagger.classes_)
    if found.n_types != n:
        raise InputError(f"The parts of the tagger do not fit together: {n} types, and numbers of {found.n_types}.")
    if any(np.isnan(span[3]) for span in found.find(threshold=1e-9)):
        raise InputError("The tagger can predict nothing: its numbers lead to NaN.")


def _rehearse_writer(writer: Any) -> None:
    """Ask about one row, and refuse a writer whose parts do not fit together."""
    rows, fields = list(writer.asking_.shown.values()), writer.template_.fields
    row = rows[0] if rows else dict.fromkeys(fields, _ROW)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a text that is empty, since the stand-in writes what ends it
            found = writer.predict([row])
    except FewshotError as error:
        if rows or not isinstance(error, InputError | TemplateError):
            raise
        return  # a row was made up, and is not what the template asks for
    except Exception as error:
        raise InputError(
            f"The parts of the writer do not fit together: nothing can be written ({type(error).__name__}: {error})."
        ) from error
    fine = isinstance(writer.stop_, tuple) and all(isinstance(one, str) and one for one in writer.stop_)
    if not fine or not isinstance(found[0], str):
        raise InputError(f"The writer has the stop texts {writer.stop_!r:.80}, which are none.")


def _rehearse_extractor(extractor: Any) -> None:
    """Answer one question, and refuse an extractor whose parts do not fit together."""
    asking = getattr(extractor.strategy_, "asking_", None)
    fields = dict.fromkeys(() if asking is None else asking.task.template.fields, _ROW)
    try:
        (found,) = extractor.strategy_.answer_readings([Asked("Is it?", _ROW, {**fields, "question": "Is it?"})])
        places, numbers = list(found.places), np.asarray(found.log_probabilities)
        sure = [probability for _, probability in (*found.top(2), found.find(extractor.threshold))]
    except FewshotError as error:
        if fields.keys() <= {"question", "context"} or not isinstance(error, InputError | TemplateError):
            raise
        return  # a row was made up, and is not what the template asks for
    except Exception as error:
        raise InputError(
            "The parts of the extractor do not fit together: one question can't be answered "
            f"({type(error).__name__}: {error})."
        ) from error
    if len(places) != len(numbers):
        raise InputError(
            f"The parts of the extractor do not fit together: {len(places)} answers, and {len(numbers)} numbers."
        )
    if np.isnan(sure).any():
        raise InputError("The extractor can answer nothing: its numbers lead to NaN.")


def find_inner(clf: Any) -> Any:
    """The classifier with a strategy, which may be inside a prediction set's, and frozen."""
    inner = clf
    while not hasattr(inner, "strategy_"):
        inner = getattr(inner, "classifier_", None) or getattr(inner, "estimator", None)
        if inner is None:
            raise UnsupportedError(f"{clf!r:.80} can't be kept: only Classifier and ConformalClassifier can.")
    return inner


def _row(clf: Any) -> tuple[Any, bool]:
    """A row to try, and whether it is one of the classifier's own."""
    inner = find_inner(clf)
    for asking in getattr(inner.strategy_, "askings_", ()):
        for row in dict(getattr(asking, "_rows", ())).values():
            return row, True
    fields = tuple(inner.template_.fields)
    if fields in ((), ("text",)):
        return _ROW, True
    return dict.fromkeys(fields, _ROW), False
