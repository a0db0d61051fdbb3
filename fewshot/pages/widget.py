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
    """The labelling page in a notebook: it shows a text and the classifier's prediction, and a key press gives a label.

    A thread of this process serves the page, only to this machine, until ``close()`` or the end of the process. If the
    kernel of a notebook runs on another machine, the notebook can't show the page: use ``fewshot label`` there, through
    a tunnel. Every label is written to disk at once, and the same call continues the work later.

    Parameters
    ----------
    X : list, array, Series or DataFrame
        Texts, or rows of fields.
    classes : sequence of str
        The names of the classes. You can add more on the page.
    path : str or Path
        The file of the labels, with the ending .csv; ``fewshot fit`` and pandas can read it.
    clf : Classifier, optional
        An unfitted classifier, which learns in the background. None: ``Classifier(strategy=Embedding())``, which is
        fitted in seconds.
    height : int
        The height of the frame, in pixels.
    random_state : int
        Seed of the random choice of texts.

    Attributes
    ----------
    url : str
        The address of the page, for a browser on this machine.

    Raises
    ------
    InputError
        When X is not valid, or the file belongs to other data, is in use or can't be written.
    ParameterError
        When ``clf`` is not a `Classifier`.
    UnsupportedError
        When a field of the rows has the same name as a column of the file.
    NotInstalledError
        When the extra ``serve`` is not installed.

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
        need("starlette", "LabelWidget needs")
        need("uvicorn", "LabelWidget needs")
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
        """The label of each row of X so far; None if it has no label."""
        return self._session.labels()

    def close(self) -> None:
        """Stop the page; the labels stay in the file."""
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
