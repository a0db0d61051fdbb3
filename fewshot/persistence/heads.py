"""Foreign scikit-learn heads: kept with skops, and read only where every type in them is trusted."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterable
from io import BytesIO
from types import ModuleType
from typing import Any

from fewshot.errors import InputError, ParameterError, UnsupportedError
from fewshot.extras import need
from fewshot.persistence.classes import KEPT

__all__ = ["dump", "find_untrusted", "is_head", "load_head", "type_names"]

#: This library's own heads may be parts of a foreign one, as of a pipeline, where skops writes their modules.
_NAMES = ("KLNeighbors", "LabelPriorLogisticRegression", "Prototypes")
_OWN = tuple(f"{KEPT[name]}.{name}" for name in _NAMES)
_FORMER_MODULES = ("fewshot.strategies.head", "fewshot.strategies.neighbors")
_SCHEMA = "schema.json"


def is_head(value: object) -> bool:
    """Whether an object is an estimator as scikit-learn knows them, that predicts or transforms."""
    if isinstance(value, type) or not all(callable(getattr(value, name, None)) for name in ("fit", "get_params")):
        return False
    kind = type(value)
    return any(hasattr(kind, name) for name in ("predict", "transform", "decision_function", "predict_proba"))


def dump(head: Any, path: str) -> bytes:
    """An estimator as a skops file; UnsupportedError where skops can't write it."""
    io = _skops()
    try:
        return io.dumps(head)
    except Exception as error:  # whatever a foreign estimator's state makes of it
        raise UnsupportedError(
            f"{path}, {head!r:.80}, can't be kept: skops can't write it ({type(error).__name__}: {error}). Use another "
            "head, or None for the default one."
        ) from error


def find_untrusted(data: bytes) -> list[str]:
    """The types in a skops file that whoever reads it has to trust."""
    return [name for name in _skops().get_untrusted_types(data=data) if name not in _OWN]


def load_head(data: bytes, trusted: Iterable[str], name: str) -> Any:
    """Read a skops file, in which every type is known to be safe or trusted."""
    io, trusted = _skops(), list(trusted)
    try:
        data = _updated(data)
        unknown = [one for one in find_untrusted(data) if one not in trusted]
        if not unknown:
            return io.loads(data, trusted=[*trusted, *_OWN])
    except ImportError:
        raise
    except Exception as error:  # a strange file may raise anything
        raise InputError(f"{name} can't be read: {type(error).__name__}: {error}") from error
    raise InputError(
        f"{name} holds types that are not known to be safe: {', '.join(unknown)}. If you trust whoever made this "
        f"folder, name them: Classifier.load(folder, trusted={unknown!r})."
    )


def _updated(data: bytes) -> bytes:
    """A skops file with this library's own heads where they are now; one that names no former module as it is."""

    def update(node: dict[str, Any]) -> dict[str, Any]:
        own = node.get("__module__") in _FORMER_MODULES and node.get("__class__") in _NAMES
        return {**node, "__module__": KEPT[node["__class__"]]} if own else node

    with zipfile.ZipFile(BytesIO(data)) as before:
        schema = before.read(_SCHEMA).decode()
        if not any(module in schema for module in _FORMER_MODULES):
            return data
        out = BytesIO()
        with zipfile.ZipFile(out, "w") as after:
            for name in set(before.namelist()) - {_SCHEMA}:
                after.writestr(name, before.read(name))
            after.writestr(_SCHEMA, json.dumps(json.loads(schema, object_hook=update)))
    return out.getvalue()


def type_names(trusted: Any) -> list[str]:
    """The names of types, each of which may be given as such."""
    if isinstance(trusted, str | type) or not isinstance(trusted, Iterable):
        raise ParameterError(f"trusted must be a list of types or of their full names. Got {trusted!r}.")
    names = []
    for one in trusted:
        if not isinstance(one, str | type):
            raise ParameterError(f"trusted must be a list of types or of their full names. Got {one!r} in it.")
        names.append(one if isinstance(one, str) else f"{one.__module__}.{one.__name__}")
    return names


def _skops() -> ModuleType:
    return need("skops.io", "A head that is not this library's own is kept with")
