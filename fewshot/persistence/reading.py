"""Read a classifier from a folder that `save` wrote, or that a stranger made."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from fewshot.errors import FewshotError, InputError
from fewshot.models.kinds import KINDS
from fewshot.models.loading import load as load_model
from fewshot.persistence.folder import ARRAYS, CONFIG, Kept
from fewshot.persistence.graph import Reader
from fewshot.persistence.heads import load_head, type_names
from fewshot.persistence.hub import fetch
from fewshot.persistence.libraries import FORMAT, check_versions
from fewshot.persistence.limits import MISREAD, read_json
from fewshot.persistence.models import Found, Reach
from fewshot.persistence.rehearsal import make_stand_in, rehearse, remember
from fewshot.persistence.weights import read_weights

__all__ = ["load"]


def load(
    cls: type,
    folder: str | Path,
    *,
    model: Any = None,
    trusted: Iterable[Any] = (),
    revision: str | None = None,
    local_files_only: bool = False,
    follow_paths: bool = False,
    **options: Any,
) -> Any:
    """Read a kept classifier; see `Classifier.load`."""
    names = type_names(trusted)
    given = model if isinstance(model, list) else [] if model is None else [model]
    offered = [load_model(one) for one in given]
    only = {"local_files_only": True} if local_files_only else {}
    kept = Kept(fetch(folder, revision, options | only))
    hub = {key: options[key] for key in ("token", "cache_dir") if options.get(key) is not None}
    try:
        return _read(kept, cls, offered, names, Reach(follow_paths, local_files_only, hub))
    except FewshotError as error:
        if str(kept.folder) in str(error):
            raise
        raise type(error)(f"{error} (In the kept classifier {str(kept.folder)!r}.)") from error
    except MISREAD as error:
        raise InputError(
            f"{CONFIG} in {str(kept.folder)!r} is not what save writes ({type(error).__name__}: {error})."
        ) from error


def _read(kept: Kept, cls: type, offered: list[Any], trusted: list[str], reach: Reach) -> Any:
    wanted = cls.__name__
    config = read_json(kept.read(CONFIG), CONFIG)
    if not isinstance(config, Mapping) or config.get("library") != "fewshot":
        raise InputError(f"{str(kept.folder)!r} holds no kept classifier: its {CONFIG} was not written by fewshot.")
    if config["format"] != FORMAT:
        raise InputError(
            f"{str(kept.folder)!r} has the format {config['format']!r}, and this library reads {FORMAT}: update "
            "fewshot, or fit again."
        )
    if config["class"] != wanted:
        raise InputError(f"{str(kept.folder)!r} holds a {config['class']}, not a {wanted}: use {config['class']}.load.")
    nodes = config["nodes"]
    check_versions(config["versions"], _libraries(nodes, config["models"]))
    models = Found(kept, config["models"], offered, config["versions"].get("transformers", ""), reach)
    arrays = _arrays(kept)

    def source(name: Any) -> str:
        return kept.read(name).decode("utf-8", "surrogatepass").removesuffix("\n")

    others: dict[str, Callable[[dict[str, Any]], Any]] = {
        "model": lambda node: models.get(node["model"]),
        "head": remember(lambda node: load_head(kept.read(node["head"]), trusted, node["head"])),
        "weights": remember(partial(read_weights, kept)),
        "tokenizer": remember(partial(read_weights, kept)),
    }
    found = Reader(nodes, arrays, source, others).value(config["root"])
    if not isinstance(found, cls):
        raise InputError(f"{CONFIG} in {str(kept.folder)!r} holds a {type(found).__name__}, not a {wanted}.")
    others["model"] = remember(lambda node: make_stand_in(models.get(node["model"])))
    rehearse(Reader(nodes, arrays, source, others).value(config["root"]))
    return found


def _arrays(kept: Kept) -> dict[str, Any]:
    """The numbers of a classifier, none of which is NaN."""
    from safetensors import SafetensorError
    from safetensors.numpy import load as load_arrays

    try:
        arrays = load_arrays(kept.read(ARRAYS)) if kept.has(ARRAYS) else {}
    except (SafetensorError, LookupError, TypeError, ValueError) as error:
        raise InputError(f"{ARRAYS} in {str(kept.folder)!r} can't be read: {error}.") from error
    for name, array in arrays.items():
        if array.dtype.kind == "f" and np.isnan(array).any():
            raise InputError(
                f"{ARRAYS} in {str(kept.folder)!r} holds NaN in the array {name!r}, with which nothing can be "
                "predicted: get the folder again, or fit again."
            )
    return arrays


def _libraries(nodes: list[dict[str, Any]], entries: list[dict[str, Any]]) -> list[str]:
    """The libraries whose version decides whether this classifier can be read."""
    used = ["scikit-learn"] if any("head" in node for node in nodes) else []
    if any("dtype" in entry for entry in entries) or any("weights" in node or "tokenizer" in node for node in nodes):
        used.append("transformers")
    if any(entry["class"] == kind.class_name for entry in entries for kind in KINDS if kind.name == "encoder"):
        used.append("sentence-transformers")
    return used
