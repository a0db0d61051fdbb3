"""Read a classifier from a folder that `save` wrote, or that a stranger made."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from fewshot.errors import FewshotError, InputError
from fewshot.models.loading import load as load_model
from fewshot.persistence.folder import ARRAYS, CONFIG, Kept
from fewshot.persistence.graph import Reader
from fewshot.persistence.heads import loaded, type_names
from fewshot.persistence.hub import fetched
from fewshot.persistence.libraries import FORMAT, check_versions
from fewshot.persistence.models import Found
from fewshot.persistence.weights import read_weights

__all__ = ["load"]


def load(
    cls: type,
    folder: str | Path,
    *,
    model: Any = None,
    trusted: Iterable[Any] = (),
    revision: str | None = None,
    **options: Any,
) -> Any:
    """Read a kept classifier; see `Classifier.load`."""
    names = type_names(trusted)
    offered = [load_model(one) for one in model] if isinstance(model, list) else []
    if model is not None and not isinstance(model, list):
        offered = [load_model(model)]
    kept = Kept(fetched(folder, revision, options))
    try:
        clf = _read(kept, cls.__name__, offered, names)
    except FewshotError:
        raise
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
        raise InputError(
            f"{CONFIG} in {str(kept.folder)!r} is not what save writes ({type(error).__name__}: {error})."
        ) from error
    if not isinstance(clf, cls):
        raise InputError(f"{CONFIG} in {str(kept.folder)!r} holds a {type(clf).__name__}, not a {cls.__name__}.")
    return clf


def _read(kept: Kept, wanted: str, offered: list[Any], trusted: list[str]) -> Any:
    from safetensors import SafetensorError
    from safetensors.numpy import load as load_arrays

    config = json.loads(kept.read(CONFIG))
    if not isinstance(config, Mapping) or config.get("library") != "fewshot":
        raise InputError(f"{str(kept.folder)!r} holds no kept classifier: its {CONFIG} is something else's.")
    if config["format"] != FORMAT:
        raise InputError(
            f"{str(kept.folder)!r} has the format {config['format']!r}, and this library reads {FORMAT}: update "
            "fewshot, or fit again."
        )
    if config["class"] != wanted:
        raise InputError(f"{str(kept.folder)!r} holds a {config['class']}, not a {wanted}: use {config['class']}.load.")
    nodes = config["nodes"]
    check_versions(config["versions"], _libraries(nodes, config["models"]))
    models = Found(kept, config["models"], offered, config["versions"].get("transformers", ""))

    others: dict[str, Callable[[dict[str, Any]], Any]] = {
        "model": lambda node: models.get(node["model"]),
        "head": lambda node: loaded(kept.read(node["head"]), trusted, node["head"]),
        "weights": partial(read_weights, kept),
        "tokenizer": partial(read_weights, kept),
    }
    try:
        arrays = load_arrays(kept.read(ARRAYS)) if kept.has(ARRAYS) else {}
    except SafetensorError as error:
        raise InputError(f"{ARRAYS} in {str(kept.folder)!r} can't be read: {error}.") from error

    def source(name: Any) -> str:
        return kept.read(name).decode("utf-8", "surrogatepass").removesuffix("\n")

    return Reader(nodes, arrays, source, others).value(config["root"])


def _libraries(nodes: list[dict[str, Any]], entries: list[dict[str, Any]]) -> list[str]:
    """The libraries whose version decides whether this classifier can be read."""
    used = ["scikit-learn"] if any("head" in node for node in nodes) else []
    if any("dtype" in entry for entry in entries) or any("weights" in node or "tokenizer" in node for node in nodes):
        used.append("transformers")
    if any(entry["class"] == "SentenceEncoder" for entry in entries):
        used.append("sentence-transformers")
    return used
