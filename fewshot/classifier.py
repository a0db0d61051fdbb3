"""Classifier: the door. A scikit-learn classifier of texts with pretrained transformers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.utils.validation import check_is_fitted

from fewshot.errors import InputError, UnsupportedError, VerbalizerError
from fewshot.explain import Explanation
from fewshot.models.base import FloatArray, kind_of
from fewshot.models.loading import load
from fewshot.preview import Preview
from fewshot.rows import as_indicator, as_labels, as_row, as_rows
from fewshot.strategies.auto import Auto
from fewshot.strategies.base import Task
from fewshot.strategies.choice import Report
from fewshot.task import gallery
from fewshot.task.choices import Choices, as_choices
from fewshot.task.template import Template
from fewshot.task.verbalizer import Verbalizer, as_verbalizer

__all__ = ["Classifier"]

_GENERIC = {"seq2seq": "generic/causal"}  # every other kind has a generic template of its own name
_GENERIC_LABELS = {  # where a text may have several labels
    "causal": "generic/yes_no",
    "seq2seq": "generic/yes_no",
    "masked": "generic/yes_no_masked",
}


class Classifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Classify texts with a pretrained transformer, from label names alone or with a few examples.

    Parameters
    ----------
    model : str, Path, tuple or model, optional
        With what: a hub name, a folder, ``(model, tokenizer)``, a SentenceTransformer, or any LanguageModel or Encoder
        (see `load`). None: the default encoder, all-MiniLM-L6-v2.
    template : str, Template or list of them, optional
        What is asked: Jinja2 source with the hole ``{{ label }}``, or the name of a gallery template such as
        "sst2/it_was". None: the generic template of the model's kind. A list is an ensemble of wordings, each with its
        own label words where it brings some (see `Prompting`).
    verbalizer : mapping, sequence, Verbalizer or AutomaticVerbalizer, optional
        The label words of each class: a mapping, or a list in sorted-class order. None: the template's own, else the
        class names. An `AutomaticVerbalizer` lets the model find them. Where the template takes its choices from each
        row, `Choices` says how they are compared.
    strategy : Strategy, optional
        How labelled texts are used: `Prompting`, `Embedding`, ... None: `Auto`.
    random_state : int, RandomState or None
        Seed of everything random in the strategy.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Sorted classes; when multi-label, in the order of the columns of y; the numbers of the choices, from 0, where
        the template takes these from each row.
    multi_label_ : bool
        Whether a text may have several labels.
    model_, template_, verbalizer_, strategy_ : objects
        What the four parameters became; of several templates, the first.
    learned_words_ : AutomaticVerbalizer or None
        The label words that were found with their scores, where they were; prints as a table.
    n_texts_ : int
        Number of texts given to ``fit``.
    class_counts_ : ndarray of shape (n_classes,)
        How many of them were labelled with each class.

    Raises
    ------
    InputError
        When X or y is not what it should be; the message names the row.
    VerbalizerError
        When classes and label words do not fit together, as when classes are integers and no words are given.
    TemplateError
        When the template does not parse, or a row does not fill it.
    ModelLoadError
        When the model can't be had.

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
        """Get ready to predict, from nothing, from class names, or from labelled texts.

        Parameters
        ----------
        X : list, array, Series, DataFrame or None
            Texts, or rows of fields. None is zero-shot.
        y : list, array, Series, indicator matrix or None
            The class of each row; with X None, the names of the classes. None: the classes are those of the verbalizer
            or of the template's label words. Where a text may have several labels, a matrix (array, sparse or
            DataFrame) of shape (n_texts, n_classes), 1 where a row has the label. Its columns are named by the
            DataFrame, or else are the sorted classes of the verbalizer.
        sample_weight : array of shape (n_texts,), optional
            Weights of the labelled rows, for strategies that can use them.

        Returns
        -------
        self
            A failed or interrupted fit leaves the previous state.
        """
        rows = None if X is None else as_rows(X)
        n = None if rows is None else len(rows)
        strategy = self._strategy()
        indicator = as_indicator(y, n)
        labels = None if y is None else indicator[1] if indicator else self._labels(y, n, strategy)
        model = load(self.model)
        templates = self._templates(
            model, indicator is not None or bool(getattr(self.verbalizer, "multi_label", False))
        )
        learners = [self._learner(one, model, rows, labels) for one in templates]
        named = labels if any(label is not None for label in labels or ()) else None
        verbalizer, classes = self._verbalizer(templates[0], named, learners[0], rows)
        multi_label = indicator is not None or verbalizer.multi_label
        targets: Any = None if rows is None else labels
        order = np.arange(len(classes))
        if indicator is not None:
            order = _column_order(indicator, classes)
            targets = None if rows is None else indicator[0][:, np.argsort(order)]
        elif multi_label and targets is not None:
            raise InputError(
                "The verbalizer says that texts have several labels: y must be an indicator matrix of shape (n_texts, "
                f"{len(classes)}), such as MultiLabelBinarizer makes. Got one label a row."
            )
        weights = _weights(sample_weight, rows, targets)
        others = tuple(
            self._other(one, named, classes, learner, rows)
            for one, learner in zip(templates[1:], learners[1:], strict=True)
        )
        task = Task(templates[0], verbalizer, classes, multi_label, others)
        strategy.fit(
            task,
            model,
            rows,
            targets,
            sample_weight=weights,
            random_state=self.random_state,
        )
        self.model_, self.template_, self.verbalizer_ = model, templates[0], verbalizer
        self.classes_, self.strategy_ = classes[order], strategy
        self.multi_label_, self._order = multi_label, order
        self.learned_words_ = learners[0]
        self.n_texts_, self.class_counts_ = n or 0, _counts(targets, classes, multi_label)[order]
        return self

    def _strategy(self) -> Any:
        """An unfitted copy of the strategy."""
        strategy = Auto() if self.strategy is None else self.strategy
        if isinstance(strategy, type) or not callable(getattr(strategy, "log_scores", None)):
            raise InputError(f"strategy must be a strategy such as Prompting() or Embedding(). Got {self.strategy!r}.")
        return clone(strategy)

    def _labels(self, y: Any, n: int | None, strategy: Any) -> list[Any]:
        """The labels; None for unlabelled rows, where the strategy has a use for them."""
        if n is None or not getattr(strategy, "takes_unlabelled", False):
            return as_labels(y, n)
        words = self.verbalizer
        if words is None and self.template:
            words = as_template(self.template[0] if isinstance(self.template, list | tuple) else self.template).words
        named = words if isinstance(words, Mapping) else getattr(words, "classes", None) or ()
        return as_labels(y, n, unlabelled=[None] if -1 in named else [None, -1])

    def _templates(self, model: Any, multi_label: bool) -> list[Template]:
        if self.template is None:
            kind = kind_of(model)
            generic = _GENERIC_LABELS if multi_label else _GENERIC
            return [gallery.get(generic.get(kind, f"generic/{kind}"))]
        several = isinstance(self.template, list | tuple)
        if several and not self.template:
            raise InputError("template is an empty list: give at least one template, or None for the generic one.")
        found = [as_template(one) for one in (self.template if several else [self.template])]
        if multi_label and any(one.choices is not None for one in found):
            raise UnsupportedError(
                "A row has one right choice, and y is an indicator matrix: give the choices' numbers."
            )
        return found

    def _learner(self, template: Template, model: Any, rows: Any, labels: Sequence[Any] | None) -> Any:
        """The verbalizer that finds its label words itself, with those that it found; None where words are given."""
        if not callable(getattr(self.verbalizer, "learn", None)):
            return None
        if template.choices is not None:
            raise VerbalizerError(f"{template} takes its choices from each row: there are no label words to find.")
        learner = clone(self.verbalizer)
        if rows is not None and labels is not None and None in labels:
            known = [i for i, label in enumerate(labels) if label is not None]
            rows = [rows[i] for i in known] or rows
            labels = [labels[i] for i in known] or None
        classes = list(template.words or ()) if labels is None else _distinct(labels)
        learner.verbalizer_ = learner.learn(model, template, rows, None if rows is None else labels, classes or None)
        return learner

    def _other(
        self, template: Template, labels: Sequence[Any] | None, classes: NDArray[Any], learner: Any, rows: Any
    ) -> Task:
        """The same task in another wording, with that template's own label words where it brings some."""
        named = template.words is None and template.choices is None
        verbalizer, its = self._verbalizer(template, classes.tolist() if named else labels, learner, rows)
        if its.tolist() != classes.tolist():
            raise InputError(
                f"The templates are for different classes: the first for {classes.tolist()}, {template} for "
                f"{its.tolist()}."
            )
        return Task(template, verbalizer, classes)

    def _verbalizer(
        self, template: Template, labels: Sequence[Any] | None, learner: Any = None, rows: Any = None
    ) -> tuple[Verbalizer, NDArray[Any]]:
        if template.choices is not None or isinstance(self.verbalizer, Choices):
            choices = as_choices(self.verbalizer, template, rows, labels)
            return choices, np.arange(choices.n_choices or 0)
        words = template.words if self.verbalizer is None else self.verbalizer
        if learner is not None:
            words = learner.verbalizer_
        seen = None if labels is None else _distinct(labels)
        if words is None:
            if seen is None:
                raise InputError(
                    "There are no classes: give names, fit(None, [...]), labelled rows, a verbalizer, or for several "
                    "labels a row a DataFrame whose columns are the classes."
                )
            named = seen
        else:
            given = words if isinstance(words, Verbalizer) else Verbalizer(words)
            if given.classes is None and seen is None:
                raise InputError(
                    "A list of label words needs the classes: give their names, fit(None, [...]), or a mapping."
                )
            if given.classes is not None and seen is not None:
                given.bind(seen)  # every class that occurs must have words
            named = list(given.classes) if given.classes is not None else (seen or [])
        if len(named) < 2:
            raise InputError(f"A classifier needs at least two classes. Got {named}.")
        return as_verbalizer(words, named), np.array(named)

    def predict(self, X: Any) -> NDArray[Any]:
        """Return the most probable class of each row, of shape (n_texts,); when multi-label, an indicator matrix."""
        scores = self._log_scores(X)
        if self.multi_label_:
            return (scores > 0).astype(np.int64)
        return self.classes_[scores.argmax(axis=1)]  # type: ignore[no-any-return]

    def predict_proba(self, X: Any) -> FloatArray:
        """Return class probabilities in the order of ``classes_``, of shape (n_texts, n_classes).

        When multi-label, each label's own probability: a row need not sum to 1.
        """
        return np.exp(self.predict_log_proba(X))

    def predict_log_proba(self, X: Any) -> FloatArray:
        """Return log-probabilities in the order of ``classes_``, of shape (n_texts, n_classes)."""
        scores = self._log_scores(X)
        return -np.logaddexp(0, -scores) if self.multi_label_ else scores

    def decision_function(self, X: Any) -> FloatArray:
        """Return class log-scores, of shape (n_texts, n_classes), or for two classes their difference, (n_texts,).

        When multi-label, the log-odds of each label.
        """
        scores = self._log_scores(X)
        return scores[:, 1] - scores[:, 0] if scores.shape[1] == 2 and not self.multi_label_ else scores

    def preview(self, X: Any) -> Preview:
        """Show the prompts, their token counts and what would be cut, before any compute is spent."""
        return self._asked("preview")(as_rows(X))  # type: ignore[no-any-return]

    def explain(self, x: Any) -> Explanation:
        """Show how one row is read, and what speaks for each class.

        Parameters
        ----------
        x : str or mapping
            One text or row of fields.

        Returns
        -------
        Explanation
            Prints as text, and shows as HTML in notebooks: the prompt with its parts coloured; the probability of each
            label word, of each class, and where a calibration changes these, what they were; with an encoder, the
            similarity to the prompt of each class and to the nearest labelled examples.

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

        Near 0, the scores compare events that the model thinks hardly possible: choose other words or another template.
        """
        return self._asked("label_mass")(as_rows(X))  # type: ignore[no-any-return]

    @property
    def report_(self) -> Report | None:
        """What `Auto` chose and why, with the held-out scores; None where the strategy had nothing to choose."""
        check_is_fitted(self, "strategy_")
        return getattr(self.strategy_, "report_", None)

    def save(self, folder: str | Path, *, overwrite: bool = False, metrics: Any = None) -> Path:
        """Keep the fitted classifier in a folder of JSON, templates and safetensors; nothing is pickled.

        A model that `load` knows by name is kept by name, revision and fingerprint; one that was tuned, or made in
        memory, with its weights, as an ordinary folder ``models/0``; one of your own by its fingerprint. A foreign
        scikit-learn head is kept with skops. ``README.md`` is a card for people.

        Parameters
        ----------
        folder : str or Path
            Written whole or not at all.
        overwrite : bool
            Replace a kept classifier. Anything else that lies there is left alone.
        metrics : Evaluation or mapping, optional
            What `evaluate` returned, or names with numbers, for the card.

        Returns
        -------
        Path
            The folder.

        Raises
        ------
        UnsupportedError
            When something in the classifier can't be kept; the message says where it is.
        InputError
            When the folder exists.

        Notes
        -----
        Of the labelled texts, those are kept that prompts may show. The card says how many.

        Examples
        --------
        >>> import tempfile
        >>> from fewshot import Classifier
        >>> clf = Classifier().fit(None, ["billing", "bug report", "praise"])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     again = Classifier.load(clf.save(f"{folder}/tickets"))
        >>> again.predict(["I was charged twice this month"]).tolist()
        ['billing']
        """
        from fewshot import persistence

        return persistence.save(self, folder, overwrite=overwrite, metrics=metrics)

    @classmethod
    def load(
        cls,
        folder: str | Path,
        *,
        model: Any = None,
        trusted: Iterable[Any] = (),
        revision: str | None = None,
        **options: Any,
    ) -> Self:
        """Load a classifier that `save` kept, from a folder or from the hub; nothing in it can run.

        Parameters
        ----------
        folder : str or Path
            A folder, or ``"user/name"`` on the hub.
        model : model or list of them, optional
            Anything that the function `fewshot.load` takes: stands in for the model in the folder that has its
            fingerprint. Needed for models of your own, which are not kept.
        trusted : list of str or type
            Types in a foreign head that skops does not know to be safe, and you do. The error names them.
        revision : str, optional
            Branch, tag or commit on the hub.
        **options
            For ``huggingface_hub.snapshot_download``: ``token``, ``cache_dir``, ``local_files_only``.

        Returns
        -------
        Classifier
            Fitted as it was.

        Raises
        ------
        InputError
            When a file is missing, changed, or asks for something that a kept classifier can't; or when a version does
            not fit. The message names it.
        ModelLoadError
            When a model can't be had, or is not the one that was kept.
        UnsupportedError
            When a model was not kept, and has to be given.

        Examples
        --------
        >>> import tempfile
        >>> from fewshot import Classifier, FakeLM
        >>> lm = FakeLM(lambda query: [query.prefix.count("fun"), query.prefix.count("dull")])
        >>> clf = Classifier(lm, "{{ text }} It was {{ label }}", {"good": "good", "poor": "poor"}).fit()
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     again = Classifier.load(clf.save(f"{folder}/reviews"), model=lm)
        >>> again.predict(["What fun."]).tolist()
        ['good']
        """
        from fewshot import persistence

        found: Self = persistence.load(cls, folder, model=model, trusted=trusted, revision=revision, **options)
        return found

    def _asked(self, method: str) -> Any:
        check_is_fitted(self, "strategy_")
        found = getattr(self.strategy_, method, None)
        if found is None:
            raise UnsupportedError(f"{type(self.strategy_).__name__} has no {method}.")
        return found

    def _log_scores(self, X: Any) -> FloatArray:
        scores: FloatArray = self._asked("log_scores")(as_rows(X))
        return scores[:, self._order]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.two_d_array = False
        tags.input_tags.one_d_array = True
        tags.classifier_tags.multi_label = True
        return tags


def _counts(targets: Any, classes: NDArray[Any], multi_label: bool) -> NDArray[np.int64]:
    """How many rows are labelled with each class."""
    if multi_label and targets is not None:
        return np.asarray(targets.sum(axis=0), dtype=np.int64)
    found = Counter(targets or ())
    return np.array([found[name] for name in classes.tolist()], dtype=np.int64)


def _column_order(indicator: tuple[NDArray[Any], list[Any] | None], classes: NDArray[Any]) -> NDArray[np.int64]:
    """For each column of y, its place among the sorted classes; columns without names are in that order already."""
    matrix, names = indicator
    if matrix.shape[1] != len(classes):
        raise InputError(
            f"y has {matrix.shape[1]} columns and there are {len(classes)} classes, {classes.tolist()}: each class "
            "needs a column of its own name."
        )
    if names is None:
        return np.arange(len(classes))
    where = {name: i for i, name in enumerate(classes.tolist())}
    return np.array([where[name] for name in names], dtype=np.int64)


def as_template(template: Any) -> Template:
    """Resolve source or a gallery name, or hand back what is a template already.

    Raises
    ------
    InputError
        When it is none of these.
    """
    if isinstance(template, Template):
        return template
    if isinstance(template, str):
        return Template(template) if "{{" in template else gallery.get(template)
    raise InputError(f"template must be source, a gallery name or a Template. Got {type(template).__name__}.")


def _distinct(labels: Sequence[Any]) -> list[Any]:
    try:
        return sorted({label for label in labels if label is not None})
    except TypeError as error:
        raise InputError(f"The classes can't be sorted: {error}. Make them all of one type.") from error


def _weights(sample_weight: Any, rows: Any, labels: Any) -> FloatArray | None:
    if sample_weight is None:
        return None
    if rows is None or labels is None:
        raise InputError("sample_weight needs labelled rows: call fit(X, y, sample_weight=...).")
    weights = np.asarray(sample_weight, dtype=np.float64)
    if weights.shape != (len(rows),):
        raise InputError(f"sample_weight must be {len(rows)} numbers, one a row. Got shape {weights.shape}.")
    bad = np.flatnonzero(~(np.isfinite(weights) & (weights >= 0)))
    if bad.size:
        raise InputError(f"sample_weight[{bad[0]}] must be a finite number of at least 0. Got {weights[bad[0]]}.")
    return weights
