"""Predictor: a kept classifier as one callable that labels batches of rows, wherever they are handed out."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fewshot.checks import at_least, is_blank, is_missing
from fewshot.conformal import ConformalClassifier
from fewshot.errors import InputError, ParameterError, UnsupportedError
from fewshot.inputs import Row
from fewshot.models.base import FloatArray
from fewshot.persistence.folder import digest_of
from fewshot.persistence.heads import type_names
from fewshot.questionnaire import unfrozen
from fewshot.serving.batches import Batch, batch_of
from fewshot.serving.kept import load_once
from fewshot.serving.memory import Returning

__all__ = ["Predictor"]

_RETURNING = Returning()


class Predictor:
    """A kept classifier that labels batches of rows, for Ray Data, Spark, ``datasets`` and process pools.

    It has only a path, so its pickle is a few hundred bytes. It loads the classifier at the first call in each process.
    Each call takes a batch and returns it with further columns: the results of ``predict`` and ``predict_proba`` for
    the same rows.

    Parameters
    ----------
    folder : str or Path
        The folder of a saved `Classifier`, `ConformalClassifier` or `Questionnaire`. It must be at this path on every
        machine that calls the predictor. Or the name of a `Classifier` on the hub.
    column : str, optional
        The column with the texts. None: every field of the template is read from the column with the same name. This is
        needed if the template has several fields.
    prefix : str
        A prefix for the names of the new columns. Existing columns are never overwritten.
    probabilities : bool
        Whether to add a column for each class too, ``probability_<class>``.
    skip_empty : bool
        Whether a row without text (missing or blank) gets no prediction and no probability. False: it is an error.
    threads : int, optional
        The number of threads of torch in every process that loads the classifier. Use 1 if there is one process for
        each core. None: the default of torch.
    follow_paths, model, trusted
        As in `Classifier.load`. A given model is pickled too.

    Raises
    ------
    ParameterError
        When a parameter has a value that is not allowed.

    See Also
    --------
    Classifier.predict_proba : Predict texts in memory, without batches.

    Notes
    -----
    A batch is a mapping of arrays or lists, a DataFrame of pandas, or a Table or RecordBatch of pyarrow. The result has
    the same type, with the given rows and columns. ``prediction`` is the class as text, and ``probability`` is its
    probability as float64, so that all batches have the same column types. A `Questionnaire` adds
    ``<question>_prediction`` and ``<question>_probability`` for each question. A `ConformalClassifier` adds the
    prediction of its classifier.

    Threads may share a `Predictor`. If the folder exists when the `Predictor` is made, its content is remembered: a
    process that finds another classifier there raises an error.

    Examples
    --------
    >>> import tempfile
    >>> from fewshot import Classifier
    >>> from fewshot.serving import Predictor
    >>> clf = Classifier().fit(None, ["billing", "bug report", "praise"])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     predictor = Predictor(clf.save(f"{folder}/tickets"))
    ...     found = predictor({"id": [7, 8], "text": ["I was charged twice", "The app crashes at login"]})
    >>> list(found), found["prediction"]
    (['id', 'text', 'prediction', 'probability'], ['billing', 'bug report'])
    """

    def __init__(
        self,
        folder: str | Path,
        column: str | None = "text",
        *,
        prefix: str = "",
        probabilities: bool = False,
        skip_empty: bool = False,
        threads: int | None = None,
        follow_paths: bool = False,
        model: Any = None,
        trusted: Iterable[Any] = (),
    ) -> None:
        if not str(folder).strip():
            raise ParameterError(f"folder must be that of a kept classifier. Got {folder!r}.")
        at_least("threads", threads, 1, whole=True, optional=True)
        path = Path(folder).expanduser()
        # worker processes have working directories of their own
        self.folder = os.path.abspath(path) if path.exists() else str(folder)  # noqa: PTH100 - links stay
        self.column, self.prefix, self.probabilities = column, prefix, probabilities
        self.skip_empty, self.threads, self.follow_paths = skip_empty, threads, follow_paths
        self.model, self.trusted = model, type_names(trusted)
        self._digest = digest_of(Path(self.folder))
        self._asked: _Asked | None = None

    def __repr__(self) -> str:
        return f"Predictor({self.folder!r}, {self.column!r})"

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_asked": None}

    def __call__(self, batch: Any) -> Any:
        """Return a batch with its predictions, as columns behind its own.

        Parameters
        ----------
        batch : mapping of arrays or lists, DataFrame, or Table or RecordBatch of pyarrow
            Rows, also none at all.

        Returns
        -------
        dict, DataFrame, Table or RecordBatch
            Of the kind of ``batch``, which is not changed.

        Raises
        ------
        InputError
            When it is no batch, a column is missing, there twice or has the name of one that is added, or a row has no
            text; the message names row and column. Or when the folder holds another classifier than before.
        ParameterError
            When one column is named, and the classifier reads several.
        UnsupportedError
            When the classifier gives a text several labels.
        """
        given, asked = batch_of(batch), self._loaded()
        self._check_names(given, asked)
        rows = list(self._rows(given, asked.fields))
        places = [i for i, row in enumerate(rows) if row is not None]
        proba = asked.probabilities([row for row in rows if row is not None]) if places else {}
        added: dict[str, Any] = {}
        for question, classes in asked.classes.items():
            found = np.full((len(rows), len(classes)), np.nan)
            if places:
                found[places] = proba[question]
            best: dict[int, int] = dict(zip(places, found[places].argmax(axis=1).tolist(), strict=True))
            columns = [[classes[best[i]] if i in best else None for i in range(len(rows))], found.max(axis=1)]
            columns += list(found.T.copy()) if self.probabilities else []
            added |= dict(zip(self._names(question, classes), columns, strict=True))
        _RETURNING()
        return given.with_columns(added)

    def _loaded(self) -> _Asked:
        if self._asked is None:
            if self.threads is not None:
                import torch

                torch.set_num_threads(self.threads)
            clf = load_once(
                self.folder, self._digest, follow_paths=self.follow_paths, model=self.model, trusted=self.trusted
            )
            self._asked = _Asked(clf, self._fields(clf))
        return self._asked

    def _fields(self, clf: Any) -> dict[str, str]:
        """The column that each field is read from."""
        columns: dict[str, str] = {}
        for one in _classifiers(clf).values():
            template = getattr(one, "template_", None)
            fields = ("text",) if template is None else template.fields
            if self.column is not None and len(fields) > 1:
                raise ParameterError(
                    f"column names one column, {self.column!r}, and the classifier in {self.folder!r} reads the fields "
                    f"{', '.join(fields)}: with column=None each is read from the column of its own name."
                )
            columns |= {name: name if self.column is None else self.column for name in fields}
        return columns

    def _names(self, question: str, classes: Sequence[str]) -> list[str]:
        """What the columns that are added for a question are called."""
        start = f"{self.prefix}{question}{'_' * bool(question)}"
        names = ["prediction", "probability", *(f"probability_{name}" for name in classes if self.probabilities)]
        return [f"{start}{name}" for name in names]

    def _check_names(self, batch: Batch, asked: _Asked) -> None:
        """Refuse a batch without the columns that are read, or with one that is to be added."""
        for name in asked.fields.values():
            if (there := batch.names.count(name)) != 1:
                raise InputError(
                    f"The batch has {there or 'no'} column{'s' * (there > 1)} {name!r}. Got the columns {batch.names}: "
                    "choose the one with the texts, Predictor(folder, column=...)."
                )
        names = [name for question, classes in asked.classes.items() for name in self._names(question, classes)]
        for name in names:
            if name in batch.names:
                raise InputError(
                    f"The batch has a column {name!r} of its own, which is not overwritten: choose the names of those "
                    "that are added, Predictor(folder, prefix=...)."
                )
            if names.count(name) > 1:
                raise InputError(f"Two of the columns to be added are called {name!r}: leave out probabilities=True.")

    def _rows(self, batch: Batch, fields: Mapping[str, str]) -> Iterator[Row | None]:
        """The rows as the classifier takes them; None for one without text, where that may be."""
        sources = list(dict.fromkeys(fields.values()))
        columns = {name: batch.cells(name) for name in sources}
        for i in range(len(batch)):
            cells = [columns[name][i] for name in sources]
            empty = [name for name, cell in zip(sources, cells, strict=True) if is_missing(cell)]
            empty = empty or (sources if all(map(is_blank, cells)) else [])
            if empty and not self.skip_empty:
                raise InputError(
                    f"Row {i} of the batch has no text in the column {empty[0]!r}: fill it in or drop the row. With "
                    "skip_empty=True such a row gets no prediction."
                )
            if not empty and len(sources) == 1 and not isinstance(cells[0], str):
                raise InputError(
                    f"Row {i} of the batch: the column {sources[0]!r} must be text. Got {type(cells[0]).__name__}: "
                    f"{cells[0]!r:.40}."
                )
            whole = cells[0] if len(sources) == 1 else {name: columns[source][i] for name, source in fields.items()}
            yield None if empty else whole


def _classifiers(clf: Any) -> dict[str, Any]:
    """The classifier of each question; a lone one has no question."""
    lone = not hasattr(clf, "classifiers_")
    return {
        name: unfrozen(one.classifier_ if isinstance(one, ConformalClassifier) else one)
        for name, one in ({"": clf} if lone else clf.classifiers_).items()
    }


@dataclass(frozen=True)
class _Asked:
    """A loaded classifier, what it reads, and the classes of each question as text."""

    clf: Any
    fields: Mapping[str, str]

    def __post_init__(self) -> None:
        for one in _classifiers(self.clf).values():
            if getattr(one, "multi_label_", False):
                raise UnsupportedError(
                    "The classifier gives a text several labels, and a Predictor one: use Classifier.load()."
                )

    @property
    def classes(self) -> dict[str, list[str]]:
        """The classes of each question, in the order of their probabilities."""
        return {name: list(map(str, one.classes_.tolist())) for name, one in _classifiers(self.clf).items()}

    def probabilities(self, rows: Sequence[Row]) -> dict[str, FloatArray]:
        """The probabilities of each question, of shape (n_rows, n_classes)."""
        found = self.clf.predict_proba(rows)
        return found if isinstance(found, dict) else {"": found}
