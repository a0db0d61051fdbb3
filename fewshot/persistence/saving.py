"""Write a fitted classifier into a folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sklearn.utils.validation import check_is_fitted

from fewshot.checks import check_path
from fewshot.errors import UnsupportedError
from fewshot.persistence.card import check_metrics, write_card
from fewshot.persistence.folder import ARRAYS, CARD, CONFIG, HEADS, write_folder
from fewshot.persistence.graph import Writer
from fewshot.persistence.heads import dump, find_untrusted, is_head
from fewshot.persistence.libraries import FORMAT, read_versions
from fewshot.persistence.models import Models, as_loadable
from fewshot.persistence.weights import Weights
from fewshot.prompts.asking import Asking

__all__ = ["save"]


def save(clf: Any, folder: str | Path, *, overwrite: bool = False, metrics: Any = None, where: str = "") -> Path:
    """Keep a fitted classifier in a folder; see `Classifier.save`."""
    check_is_fitted(clf)
    check_metrics(metrics)
    check_path("folder", folder)
    target = Path(folder).expanduser()
    with write_folder(target, overwrite=overwrite) as part:
        _write(clf, part, metrics, where or target.name)
    return target


def _write(clf: Any, part: Path, metrics: Any, where: str) -> None:
    from safetensors.numpy import save_file

    weights = Weights(part)
    models = Models(weights)
    heads: list[bytes] = []

    def other(value: Any, path: str) -> dict[str, Any] | None:
        model = as_loadable(value)
        if model is not None:
            return {"model": models.add(model, path)}
        if is_head(value):
            heads.append(dump(value, path))
            return {"head": f"{HEADS}/{len(heads) - 1}.skops"}
        return weights.node(value, path)

    writer = Writer(other)
    root = writer.value(clf, type(clf).__name__)
    config = {
        "library": "fewshot",
        "format": FORMAT,
        "class": type(clf).__name__,
        "versions": read_versions(),
        "models": models.entries,
        "nodes": writer.nodes,
        "root": root,
    }
    (part / CONFIG).write_text(_printed(config), encoding="utf-8")
    for name, source in writer.templates.items():
        (part / name).write_bytes(f"{source}\n".encode("utf-8", "surrogatepass"))
    if writer.arrays:
        save_file(writer.arrays, part / ARRAYS)
    for i, data in enumerate(heads):
        (part / HEADS).mkdir(exist_ok=True)
        (part / HEADS / f"{i}.skops").write_bytes(data)
    text = write_card(
        clf,
        where=where,
        entries=models.entries,
        trusted=sorted({name for data in heads for name in find_untrusted(data)}),
        n_shown=max((len(asking.shown) for asking in writer.written if isinstance(asking, Asking)), default=0),
        metrics=metrics,
        versions=config["versions"],
    )
    (part / CARD).write_text(text, encoding="utf-8")


def _printed(config: dict[str, Any]) -> str:
    """JSON with a line for each model and each node."""
    lines = []
    for key, value in config.items():
        try:
            items = [json.dumps(one, allow_nan=False) for one in (value if isinstance(value, list) else [value])]
        except (TypeError, ValueError) as error:
            raise UnsupportedError(f"The options that a model was loaded with can't be kept: {error}.") from error
        said = "[\n  " + ",\n  ".join(items) + "\n ]" if isinstance(value, list) else items[0]
        lines.append(f" {json.dumps(key)}: {said}")
    return "{\n" + ",\n".join(lines) + "\n}\n"
