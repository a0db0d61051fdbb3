"""LabelWidget: the labelling page in a frame of a notebook."""

from __future__ import annotations

import html
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

from fewshot.classifier import Classifier
from fewshot.errors import FewshotWarning, ParameterError, warn
from fewshot.extras import need
from fewshot.inputs import as_rows

__all__ = ["LabelWidget"]


class LabelWidget:
    """The labelling page in a notebook: a text, the classifier's guess, and a label by a key press.

    The page is served by this process to this machine alone, in a thread, until ``close()`` or the end of the
    process. A notebook whose kernel runs on another machine can't show it: use ``fewshot label`` there through a
    tunnel. Every label is on the disk the moment it is given, and the same call goes on where it was.

    Parameters
    ----------
    X : list, array, Series or DataFrame
        Texts, or rows of fields.
    classes : sequence of str
        The names of the classes; more can be added on the page.
    path : str or Path
        The file of the labels, which ends with .csv; ``fewshot fit`` and pandas read it.
    clf : Classifier, optional
        What learns in the background, not fitted. None: ``Classifier()`` with a strategy that is fitted in seconds,
        `Embedding`.
    height : int
        Of the frame, in pixels.
    random_state : int
        Seed of what is drawn by chance.

    Attributes
    ----------
    url : str
        The address of the page, for a browser of this machine.

    Raises
    ------
    InputError
        When X is not what it should be, or the file is of other data, in use or not writable.
    ParameterError
        When ``clf`` is no Classifier.
    UnsupportedError
        When a field of the rows has the name of a column of the file.
    NotInstalledError
        When the extra ``serve`` is not there.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from fewshot import LabelWidget
    >>> texts = ["I was charged twice", "The app crashes"]
    >>> with TemporaryDirectory() as folder, LabelWidget(texts, ["billing", "bug"], Path(folder) / "mail.csv") as page:
    ...     page.labels  # none is given yet; in a notebook, let `page` be the last line of a cell
    [None, None]
    """

    def __init__(
        self,
        X: Any,
        classes: Sequence[str],
        path: str | Path = "labels.csv",
        *,
        clf: Classifier | None = None,
        height: int = 720,
        random_state: int = 0,
    ) -> None:
        need("starlette", "LabelWidget takes")
        need("uvicorn", "LabelWidget takes")
        from fewshot.pages.label_page import label_page, open_session
        from fewshot.serving.server import running

        if clf is not None and not isinstance(clf, Classifier):
            raise ParameterError(f"clf must be a Classifier, not fitted, or None. Got {type(clf).__name__}.")
        self.height = height
        self._session = open_session(
            as_rows(X), classes, Path(path), Classifier() if clf is None else clf, seed=random_state
        )
        for one in self._session.notes:
            warn(one, FewshotWarning)
        self._running = ExitStack()
        self._running.callback(self._session.close)
        page = label_page(self._session)
        try:
            self.url = self._running.enter_context(running(page.app)) + page.path
        except BaseException:
            self._running.close()
            raise

    @property
    def labels(self) -> list[str | None]:
        """The label of each row of X so far; None where it has none."""
        return self._session.labels()

    def close(self) -> None:
        """End the page; the labels stay in the file."""
        self._running.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _repr_html_(self) -> str:
        return (
            f'<iframe src="{html.escape(self.url)}" title="Labelling page" width="100%" height="{int(self.height)}" '
            'frameborder="0"></iframe>'
        )

    def __repr__(self) -> str:
        n = sum(label is not None for label in self.labels)
        return f"LabelWidget({n} of {len(self.labels)} labelled: {self.url})"
