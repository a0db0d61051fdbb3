"""Classifier: the door. A scikit-learn classifier of texts with pretrained transformers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted

from fewshot.checks import check_seed
from fewshot.display.explanation import Explanation
from fewshot.display.preview import Preview
from fewshot.errors import InputError, UnsupportedError
from fewshot.inputs import as_indicator, as_labels, as_row, as_rows, as_weights, match_columns
from fewshot.models.base import FloatArray
from fewshot.persistence.mixin import KeptMixin
from fewshot.strategies.auto import Auto
from fewshot.strategies.base import as_strategy
from fewshot.strategies.comparison import Report
from fewshot.task.resolve import resolve
from fewshot.task.scale import levels_of, scale_of

__all__ = ["Classifier"]


class Classifier(KeptMixin, ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Classify texts with a pretrained transformer, from label names alone or with a few examples.

    Parameters
    ----------
    model : str, Path, tuple or model, optional
        The model: a hub name, a folder, ``(model, tokenizer)``, a SentenceTransformer, or any LanguageModel or Encoder
        (see `load`). None: the default encoder, all-MiniLM-L6-v2.
    template : str, Template, Choice, Rating, YesNo or list of them, optional
        What is asked: Jinja2 source with the hole ``{{ label }}``, the name of a gallery template such as
        "sst2/it_was", or a question. None: the generic template of the model's kind. A list is an ensemble of wordings;
        a wording may bring its own label words (see `Prompting`).
    verbalizer : mapping, sequence, Verbalizer or AutomaticVerbalizer, optional
        The label words of each class: a mapping, or a list in the order of the sorted classes. None: the label words of
        the template, else the class names. An `AutomaticVerbalizer` finds label words with the model. If the template
        takes its choices from each row, `Choices` says how they are compared.
    strategy : Strategy, optional
        How labelled texts are used: `Prompting`, `Embedding`, `FineTuning` and others. None: `Auto`, which chooses.
    random_state : int, RandomState or None
        Seed of everything random in the strategy.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The sorted classes. When multi-label, they are in the order of the columns of y. If the template takes its
        choices from each row, they are the numbers of the choices, from 0.
    multi_label_ : bool
        Whether a text may have several labels.
    model_, template_, verbalizer_, strategy_ : objects
        The four parameters as `fit` resolved them; of several templates, the first.
    learned_words_ : AutomaticVerbalizer or None
        The label words that an `AutomaticVerbalizer` found, with their scores; prints as a table. None without one.
    n_texts_ : int
        Number of texts given to ``fit``.
    class_counts_ : ndarray of shape (n_classes,)
        How many of these texts were labelled with each class.

    Raises
    ------
    InputError
        When X or y is not valid; the message names the row.
    VerbalizerError
        When classes and label words do not fit together, for example when classes are integers and no words are given.
    TemplateError
        When the template does not parse, or a row lacks one of its fields.
    ModelLoadError
        When the model can't be loaded.

    See Also
    --------
    Prompting : Ask a language model, with or without demonstrations.
    Embedding : Sentence vectors with a scikit-learn classifier.

    Examples
    --------
    >>> from fewshot import Classifier
    >>> clf = Classifier().fit(None, ["billing", "bug report", "praise"])
    >>> clf.predict(["I was charged twice this month", "The app crashes on start"]).tolist()
    ['billing', 'bug report']
    """

    def __init__(
        self,
        model: Any = None,
        template: Any = None,
        verbalizer: Any = None,
        strategy: Any = None,
        *,
        random_state: Any = None,
    ) -> None:
        self.model = model
        self.template = template
        self.verbalizer = verbalizer
        self.strategy = strategy
        self.random_state = random_state

    def fit(self, X: Any = None, y: Any = None, *, sample_weight: Any = None) -> Self:
        """Fit on labelled texts, or prepare zero-shot prediction from class names or from the template alone.

        Parameters
        ----------
        X : list, array, Series, DataFrame or None
            Texts, or rows of fields. None is zero-shot.
        y : list, array, Series, indicator matrix or None
            The class of each row. If X is None, the names of the classes, or a mapping from names to descriptions. With
            a language model, such a mapping is short for a `Choice`; a masked model does not read descriptions. With an
            encoder, descriptions make further class prompts. None: the classes are those of the verbalizer or of the
            template's label words. With labelled rows, an encoder needs no class names: classes such as numbers or True
            and False are learnt from the rows alone. If a text may have several labels, y is a matrix (array, sparse or
            DataFrame) of shape (n_texts, n_classes), with 1 if a row has the label. The DataFrame or a list of label
            words names its columns; otherwise they are the sorted classes of the verbalizer.
        sample_weight : array of shape (n_texts,), optional
            Weights of the labelled rows, for strategies that can use them. A row of weight 2 counts as two equal rows.
            A row of weight 0 is left out, but its class is still one of the classes.

        Returns
        -------
        self
            A failed or interrupted fit leaves the previous state.
        """
        check_seed(self.random_state)
        rows = None if X is None else as_rows(X)
        strategy = as_strategy(Auto() if self.strategy is None else self.strategy)
        settled = resolve(self, rows, y, sample_weight, unlabelled=getattr(strategy, "takes_unlabelled", False))
        task = settled.task
        strategy.fit(
            task,
            settled.model,
            settled.rows,
            settled.targets,
            sample_weight=settled.weights,
            random_state=self.random_state,
        )
        task, self.model_ = getattr(strategy, "asked_", (task, settled.model))
        self.template_, self.verbalizer_ = task.template, task.verbalizer
        self.classes_, self._order = task.classes[settled.order], settled.order
        self.multi_label_, self.strategy_ = task.multi_label, strategy
        self.learned_words_ = settled.learned
        self.n_texts_, self.class_counts_ = len(rows or ()), settled.class_counts
        return self

    def predict(self, X: Any) -> NDArray[Any]:
        """Return the most probable class of each row, of shape (n_texts,); when multi-label, an indicator matrix."""
        scores = self._log_scores(X)
        if self.multi_label_:
            return (scores > 0).astype(np.int64)
        return self.classes_[scores.argmax(axis=1)]

    def predict_proba(self, X: Any) -> FloatArray:
        """Return class probabilities in the order of ``classes_``, of shape (n_texts, n_classes).

        When multi-label, each label has its own probability, so a row need not sum to 1.
        """
        return np.exp(self.predict_log_proba(X))

    def predict_log_proba(self, X: Any) -> FloatArray:
        """Return log-probabilities in the order of ``classes_``, of shape (n_texts, n_classes)."""
        scores = self._log_scores(X)
        return -np.logaddexp(0, -scores) if self.multi_label_ else scores

    def decision_function(self, X: Any) -> FloatArray:
        """Return class log-scores, of shape (n_texts, n_classes).

        For two classes, return their difference, of shape (n_texts,). When multi-label, return log-odds of each label.
        """
        scores = self._log_scores(X)
        return scores[:, 1] - scores[:, 0] if scores.shape[1] == 2 and not self.multi_label_ else scores

    def expected_level(self, X: Any) -> FloatArray:
        """Return the mean level of each row under its class probabilities, of shape (n_texts,), for ordered classes.

        Levels are numbered from 0, the lowest, to the number of classes minus 1.

        Raises
        ------
        UnsupportedError
            When the classes are not ordered, or a text may have several of them.

        Examples
        --------
        >>> from fewshot import Classifier, FakeLM, Verbalizer
        >>> lm = FakeLM(lambda query: [query.prefix.count("fun") * k for k in (1, 2, 0)])
        >>> stars = Verbalizer({"poor": "poor", "fair": "fair", "good": "good"}, ordered=True)
        >>> clf = Classifier(lm, "{{ text }} It was {{ label }}.", stars).fit()
        >>> clf.classes_.tolist(), clf.verbalizer_.scale
        (['fair', 'good', 'poor'], ('poor', 'fair', 'good'))
        >>> clf.expected_level(["dull", "fun", "fun, fun, fun"]).round(2).tolist()
        [1.0, 1.58, 1.95]
        """
        check_is_fitted(self, "strategy_")
        if self.multi_label_:
            raise UnsupportedError(
                "The classifier gives a text several labels, so a text has no single level: use predict_proba."
            )
        levels = levels_of(scale_of(self), self.classes_.tolist())
        return self.predict_proba(X) @ levels.astype(np.float64)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return the accuracy; when multi-label, a row is right if all its labels are right.

        Raises
        ------
        InputError
            When the labels are of another type than the classes, or an indicator matrix has other columns.
        """
        check_is_fitted(self, "strategy_")
        rows = as_rows(X)
        weights = None if sample_weight is None else as_weights(sample_weight, len(rows))
        indicator, classes = as_indicator(y, len(rows)), self.classes_.tolist()
        if (indicator is not None) != self.multi_label_:
            raise InputError(
                f"The classifier gives a text {'several labels' if self.multi_label_ else 'one class'}: y must be "
                f"{'an indicator matrix' if self.multi_label_ else 'the class of each text'}, as in fit."
            )
        if indicator is not None:
            right = (self.predict(rows) == match_columns(indicator, classes)).all(axis=1)
            return float(np.average(right, weights=weights))
        labels = as_labels(y, len(rows))
        if isinstance(labels[0], str) != isinstance(classes[0], str):
            raise InputError(f"The classes are {classes[:9]}, and y[0] is {labels[0]!r}: they must be of one type.")
        hits = [label == found for label, found in zip(labels, self.predict(rows).tolist(), strict=True)]
        return float(np.average(hits, weights=weights))

    def preview(self, X: Any) -> Preview:
        """Show the prompts, their token counts and what would be cut, without asking the model."""
        return self._asked("preview")(as_rows(X))

    def explain(self, x: Any) -> Explanation:
        """Show how the model reads one row, and what the probability of each class comes from.

        Parameters
        ----------
        x : str or mapping
            One text or row of fields.

        Returns
        -------
        Explanation
            It prints as text, and shows as HTML in notebooks. It has the prompt with its parts coloured, and the
            probabilities of each label word and each class, also before calibration if there is one. With an encoder,
            it has the similarity to each class prompt and to the nearest labelled examples.

        Raises
        ------
        InputError
            When x is not one row.
        UnsupportedError
            When the strategy can't explain.

        Examples
        --------
        >>> from fewshot import Classifier, FakeLM, Prompting
        >>> lm = FakeLM(lambda query: [-1.0, -2.0 + 2.0 * ("fun" in query.prefix)])
        >>> clf = Classifier(lm, "{{ text }} It was {{ label }}.", strategy=Prompting()).fit(None, ["bad", "good"])
        >>> print(clf.explain("Great fun."))
        good (73.1 %)
        <BLANKLINE>
        class  probability
        good   0.731 ███████████████
        bad    0.269 █████
        <BLANKLINE>
        class  word    probability  share
        bad    'bad'   0.37         0.269 █████
        good   'good'  1            0.731 ███████████████
        <BLANKLINE>
        5 tokens
        Great fun. It was ___.
        """
        shown: Explanation = self._asked("explain")(as_row(x))
        return replace(shown, classes=tuple(shown.classes[i] for i in self._order))

    def label_mass(self, X: Any) -> FloatArray:
        """Return the model's total probability of the label words' distinct first tokens, of shape (n_texts,).

        If it is near 0, the scores compare very improbable events: choose other words or another template.
        """
        return self._asked("label_mass")(as_rows(X))

    @property
    def report_(self) -> Report | None:
        """What `Auto` chose and why, with the held-out scores; None if the strategy chooses nothing."""
        check_is_fitted(self, "strategy_")
        return getattr(self.strategy_, "report_", None)

    def _asked(self, method: str) -> Any:
        check_is_fitted(self, "strategy_")
        found = getattr(self.strategy_, method, None)
        if found is None:
            raise UnsupportedError(
                f"{type(self.strategy_).__name__} has no {method}. Prompting(), for example, has it."
            )
        return found

    def _log_scores(self, X: Any) -> FloatArray:
        return self._asked("log_scores")(as_rows(X))[:, self._order]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.two_d_array = False
        tags.input_tags.one_d_array = True
        tags.classifier_tags.multi_label = True
        return tags
