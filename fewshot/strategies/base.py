"""Strategy: how labelled texts are used, and what strategies refuse."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Self

from sklearn.base import BaseEstimator, clone

from fewshot.errors import ParameterError, UnsupportedError, at_row
from fewshot.inputs import Row
from fewshot.models.base import FloatArray, is_encoder, is_language_model
from fewshot.prompts.pending import Pending
from fewshot.task.prompt import Fitted, fit_text
from fewshot.task.task import Task

__all__ = [
    "Rows",
    "Strategy",
    "as_strategy",
    "fitted_texts",
    "fixed_words",
    "no_weights",
    "one_label",
    "one_wording",
]

Rows = Sequence[Row]


class Strategy(BaseEstimator, ABC):  # type: ignore[misc]
    """A way to use labelled texts: what ``Classifier(strategy=...)`` takes.

    A subclass sets the class attributes below to say what it can do, and writes ``_fit`` and `log_scores`. `fit` then
    raises an error for anything that the subclass can't do. A subclass may also have ``preview(X)``, ``explain(row)``
    and ``label_mass(X)``. If a kept classifier needs only some of its attributes, ``kept()`` returns those. A strategy
    that asks a language model may have ``pending(X)``, so that a `Questionnaire` asks for several strategies in one
    call. An object that is no subclass but has ``fit`` and ``log_scores`` is a strategy as well. It has the default
    values of the attributes, and must raise its own errors.

    Attributes
    ----------
    takes_multi_label : bool
        Whether a text may have several labels.
    takes_wordings : bool
        Whether there may be several templates.
    takes_choices : bool
        Whether each row may bring its own choices.
    takes_weights : bool
        Whether the labelled rows may have weights.
    takes_unlabelled : bool
        Whether some rows may lack a label.
    needs_encoder, needs_language_model : bool
        Whether it refuses every model that is not an encoder, or not a language model.
    only_shows : bool
        Whether labelled rows are used only as demonstrations in the prompt, ``shots`` of them.

    Examples
    --------
    >>> import numpy as np
    >>> from fewshot import Classifier, FakeLM, Strategy
    >>> class Shares(Strategy):
    ...     def _fit(self, task, model, X, y, *, sample_weight, random_state):
    ...         counts = np.bincount(task.index(y), minlength=len(task.classes))
    ...         self.shares_ = np.log(counts / counts.sum())
    ...
    ...     def log_scores(self, X):
    ...         return np.tile(self.shares_, (len(X), 1))
    >>> lm = FakeLM(lambda query: [0.0 for _ in query.candidates])
    >>> clf = Classifier(lm, strategy=Shares()).fit(["a", "b", "c"], ["x", "y", "y"])
    >>> clf.predict(["d"]).tolist()
    ['y']
    """

    takes_multi_label: bool = False
    takes_wordings: bool = False
    takes_choices: bool = False
    takes_weights: bool = False
    takes_unlabelled: bool = False
    needs_encoder: bool = False
    needs_language_model: bool = False
    only_shows: bool = False

    def fit(
        self,
        task: Task,
        model: Any,
        X: Rows | None = None,
        y: Any = None,
        *,
        sample_weight: FloatArray | None = None,
        random_state: Any = None,
    ) -> Self:
        """Learn from labelled rows, or get ready to predict without them.

        Parameters
        ----------
        task : Task
            What is asked.
        model : LanguageModel or Encoder
        X : sequence of rows, optional
            None is zero-shot.
        y : sequence or indicator matrix, optional
            The class of each row; when ``task.multi_label``, a matrix of shape (n_texts, n_classes). None: the rows are
            unlabelled.
        sample_weight : ndarray of shape (n_texts,), optional
        random_state : int, RandomState or None

        Raises
        ------
        UnsupportedError
            When the strategy can't handle the task, the model or the weights.
        InputError
            When the strategy can't learn from these rows, for example because they are too few.
        """
        self._refuse(task, model, sample_weight)
        self._fit(task, model, X, y, sample_weight=sample_weight, random_state=random_state)
        return self

    def _refuse(self, task: Task, model: Any, sample_weight: FloatArray | None) -> None:
        if not self.takes_weights:
            no_weights(self, sample_weight)
        if not self.takes_multi_label:
            one_label(self, task)
        if not self.takes_wordings:
            one_wording(self, task)
        if not self.takes_choices:
            fixed_words(self, task)
        name = type(self).__name__
        if self.needs_encoder and not is_encoder(model):
            raise UnsupportedError(
                f"{name} needs an encoder. {model!r} is a language model: use Prompting(), or Auto()."
            )
        if self.needs_language_model and not is_language_model(model):
            raise UnsupportedError(
                f"{name} needs a language model. {model!r} is an encoder: use Embedding(), or Auto()."
            )

    @abstractmethod
    def _fit(
        self, task: Task, model: Any, X: Rows | None, y: Any, *, sample_weight: FloatArray | None, random_state: Any
    ) -> None:
        """What `fit` does where nothing is refused."""

    @abstractmethod
    def log_scores(self, X: Rows) -> FloatArray:
        """Return log-probabilities of the classes, of shape (n_texts, n_classes); when multi-label, log-odds."""

    def pending(self, X: Rows) -> Pending[FloatArray] | None:
        """Return what `log_scores` is about to ask of a language model, so that a `Questionnaire` can ask it.

        None, the default, means that the strategy asks by itself.
        """
        return None


def as_strategy(given: Any, name: str = "strategy") -> Any:
    """An unfitted copy of a strategy.

    Raises
    ------
    InputError
        When it is none.
    """
    if isinstance(given, type) or not callable(getattr(given, "log_scores", None)):
        raise ParameterError(f"{name} must be a strategy such as Prompting() or Embedding(). Got {given!r}.")
    return clone(given)


def fitted_texts(task: Task, X: Rows, encoder: Any) -> list[tuple[str, Fitted | None]]:
    """What an encoder reads of each row, and its prompt shortened to the window; a plain text has no fields."""
    found: list[tuple[str, Fitted | None]] = []
    for i, row in enumerate(X):
        with at_row(i):
            if isinstance(row, str):
                found.append((row, None))
                continue
            fit = fit_text(task.template.prompt(row), encoder)
            found.append((fit.prompt.fields_text, fit))
    return found


def no_weights(strategy: object, sample_weight: object) -> None:
    """Refuse sample weights on behalf of a strategy that can't use them."""
    if sample_weight is not None:
        raise UnsupportedError(f"{type(strategy).__name__} can't use sample_weight: leave it out, or use Embedding().")


def one_label(strategy: object, task: Task) -> None:
    """Refuse a multi-label task on behalf of a strategy that knows only classes which exclude each other."""
    if task.multi_label:
        raise UnsupportedError(
            f"{type(strategy).__name__} gives each text one class, and y is an indicator matrix: use Embedding() with "
            "an encoder, Prompting() with a language model, or one classifier a label."
        )


def one_wording(strategy: object, task: Task) -> None:
    """Refuse several templates on behalf of a strategy that asks in one wording."""
    if task.others:
        raise UnsupportedError(
            f"{type(strategy).__name__} asks in one wording, and there are {len(task.wordings)} templates: give one, "
            "or use Prompting()."
        )


def fixed_words(strategy: object, task: Task) -> None:
    """Refuse rows that bring their own choices on behalf of a strategy that compares texts by the same words."""
    if task.verbalizer.per_row:
        raise UnsupportedError(
            f"{type(strategy).__name__} compares all texts by the same label words, and here each row brings its own "
            "choices: use Prompting() with a language model, such as Classifier('embedded:masked', ...)."
        )
