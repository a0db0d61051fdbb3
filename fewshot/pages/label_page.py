"""The labelling page: its session, begun or taken up again, and what its script may call of it, checked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fewshot.checks import check_seed
from fewshot.classifier import Classifier
from fewshot.errors import InputError
from fewshot.pages.labelling import Session, check_name
from fewshot.pages.labels_file import LabelsFile
from fewshot.pages.learner import Learner
from fewshot.pages.page import Page, page_application

__all__ = ["label_page", "open_session"]


def open_session(
    rows: Sequence[Any], classes: Sequence[str], path: Path, clf: Classifier, *, seed: int = 0, data: str = "the data"
) -> Session:
    """Take up the labels in a file, or begin it, and learn from them in the background.

    Parameters
    ----------
    rows : sequence
        The texts, or fields by name.
    classes : sequence of str
        May be empty where the file has labels.
    path : Path
        Of the labels.
    clf : Classifier
        What learns, not fitted.
    seed : int
        Of the draw of rows among which is chosen.
    data : str
        What messages call the rows.

    Returns
    -------
    Session

    Raises
    ------
    InputError
        When there is no class, or the file can't be taken up; see `LabelsFile`.
    """
    if isinstance(classes, str):
        raise InputError(f"classes must be a list of names. Got one text: wrap it in a list, [{classes!r:.60}].")
    check_seed(seed)
    names = list(dict.fromkeys(map(check_name, classes)))
    kept = LabelsFile(path, rows, data)
    if not names and not any(one.label for one in kept.given.values()):
        kept.close()
        raise InputError("There are no classes to label with: give at least one class.")
    return Session(rows, names, kept, Learner(clf, rows, seed))


def label_page(session: Session) -> Page:
    """Make the page of a session; see `page_application`."""

    def label(said: dict[str, Any]) -> dict[str, Any]:
        return session.label(_text(said, "tab"), _whole(said, "row"), _text(said, "label"), new=said.get("new") is True)

    def skip(said: dict[str, Any]) -> dict[str, Any]:
        return session.skip(_text(said, "tab"), _whole(said, "row"), none=said.get("none") is True)

    return page_application(
        "label",
        {
            "state": lambda said: session.state(_text(said, "tab")),
            "label": label,
            "skip": skip,
            "undo": lambda said: session.undo(_text(said, "tab"), _whole(said, "act")),
            "again": lambda said: session.again(_text(said, "tab")),
        },
    )


def _text(said: dict[str, Any], name: str) -> str:
    value = said.get(name)
    if not isinstance(value, str):
        raise InputError(f"{name!r} must be text. Got {value!r:.60}.")
    return value


def _whole(said: dict[str, Any], name: str) -> int:
    value = said.get(name)
    if isinstance(value, bool) or not isinstance(value, int):
        raise InputError(f"{name!r} must be a whole number. Got {value!r:.60}.")
    return value
