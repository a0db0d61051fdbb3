"""Kept classifiers: the class that wrote a folder, and the last classifiers that this process has loaded."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any

from fewshot.classifier import Classifier
from fewshot.conformal import ConformalClassifier
from fewshot.errors import InputError
from fewshot.models.locks import lock_of
from fewshot.persistence.folder import CONFIG, digest_of
from fewshot.persistence.heads import type_names
from fewshot.persistence.limits import read_json
from fewshot.questionnaire import Questionnaire

__all__ = ["kept_class", "load_once"]

_CLASSES = {kind.__name__: kind for kind in (Classifier, ConformalClassifier, Questionnaire)}
_MOST = 2  # classifiers


class _Loaded:
    """The last classifiers, for the copies of a `Predictor`: Spark and process pools make one for every task."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Hashable, Any] = OrderedDict()

    def get(self, key: Hashable, load: Callable[[], Any]) -> Any:
        """One of them, loaded by the first thread that asks for it."""
        with lock_of(self):  # models take locks of their own meanwhile, and none of them ever waits for this one
            if key not in self._kept:
                self._kept[key] = load()
            self._kept.move_to_end(key)
            while len(self._kept) > _MOST:
                self._kept.popitem(last=False)
            return self._kept[key]


_LOADED = _Loaded()


def kept_class(folder: Path) -> Any:
    """The class whose ``load`` reads a folder; None where it holds no kept classifier."""
    try:
        config = read_json((folder / CONFIG).read_bytes(), CONFIG)
    except (OSError, InputError):
        return None
    if not isinstance(config, dict) or config.get("library") != "fewshot":
        return None
    return _CLASSES.get(str(config.get("class")), Classifier)  # which says what is there instead


def load_once(folder: str, digest: str | None, *, follow_paths: bool, model: Any, trusted: Any) -> Any:
    """Load a classifier of whatever class, or take it from the last ones that this process has loaded.

    Parameters
    ----------
    folder : str
        A folder, or the name of a `Classifier` on the hub.
    digest : str, optional
        What `digest_of` said of the folder that is meant; None where it was not there.
    follow_paths, model, trusted
        As in `Classifier.load`.

    Raises
    ------
    InputError
        When the folder holds another classifier than the one that is meant.
    """
    path = Path(folder)
    found = digest_of(path)
    if digest is not None and found is not None and found != digest:
        raise InputError(
            f"{folder!r} does not hold the classifier that this Predictor was made for: it was replaced meanwhile, or "
            "this machine has another one there. Make a new Predictor."
        )
    given = model if isinstance(model, list) else [model]
    prints = tuple(getattr(one, "fingerprint", one) for one in given)
    key = (folder, found, follow_paths, prints, tuple(type_names(trusted)))
    kind = kept_class(path) or Classifier  # which says what is missing, or asks the hub
    return _LOADED.get(key, lambda: kind.load(folder, model=model, trusted=trusted, follow_paths=follow_paths))
