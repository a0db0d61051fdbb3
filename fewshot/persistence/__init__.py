"""Kept classifiers: a folder of data that holds a fitted classifier, and can run nothing when it is loaded.

``config.json`` is the classifier as a list of nodes, with the models that it needs and the versions it was kept with;
``*.jinja`` are its templates, ``arrays.safetensors`` its numbers, ``heads/*.skops`` foreign scikit-learn heads,
``models/*`` the weights of models that have no name, as ordinary transformers folders; ``checksums.json`` says what all
of these were, and ``README.md`` tells people. Nothing is pickled.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from sklearn.utils.validation import check_is_fitted

from fewshot.errors import FewshotError, InputError, ModelLoadError, UnsupportedError
from fewshot.models.loading import load as load_model
from fewshot.persistence.card import card, check_metrics
from fewshot.persistence.folder import CARD, CONFIG, Kept, interrupted, written
from fewshot.persistence.graph import Reader, Writer
from fewshot.persistence.heads import dumped, is_head, loaded, type_names, untrusted
from fewshot.persistence.libraries import FORMAT, check_versions, versions
from fewshot.persistence.models import Found, Models, loadable
from fewshot.persistence.weights import Weights, read_weights

__all__ = ["load", "push_to_hub", "save"]

_ARRAYS = "arrays.safetensors"
_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)
#: What an earlier push may have left, and this one does not have.
_OWN_FILES = ["template-*.jinja", _ARRAYS, "heads/*", "models/*"]


def save(clf: Any, folder: str | Path, *, overwrite: bool = False, metrics: Any = None, where: str = "") -> Path:
    """Keep a fitted classifier in a folder; see `Classifier.save`."""
    check_is_fitted(clf)
    check_metrics(metrics)
    with written(folder, overwrite=overwrite) as part:
        _write(clf, part, metrics, where or Path(folder).name)
    return Path(folder)


def _write(clf: Any, part: Path, metrics: Any, where: str) -> None:
    from safetensors.numpy import save_file

    weights = Weights(part)
    models = Models(weights)
    heads: list[bytes] = []

    def other(value: Any, path: str) -> dict[str, Any] | None:
        model = loadable(value)
        if model is not None:
            return {"model": models.add(model, path)}
        if is_head(value):
            heads.append(dumped(value, path))
            return {"head": f"heads/{len(heads) - 1}.skops"}
        return weights.node(value, path)

    writer = Writer(other)
    root = writer.value(clf, type(clf).__name__)
    config = {
        "library": "fewshot",
        "format": FORMAT,
        "class": type(clf).__name__,
        "versions": versions(),
        "models": models.entries,
        "nodes": writer.nodes,
        "root": root,
    }
    (part / CONFIG).write_text(_printed(config), encoding="utf-8")
    for name, source in writer.templates.items():
        (part / name).write_bytes(f"{source}\n".encode("utf-8", "surrogatepass"))
    if writer.arrays:
        save_file(writer.arrays, part / _ARRAYS)
    for i, data in enumerate(heads):
        (part / "heads").mkdir(exist_ok=True)
        (part / "heads" / f"{i}.skops").write_bytes(data)
    text = card(
        clf,
        where=where,
        entries=models.entries,
        trusted=sorted({name for data in heads for name in untrusted(data)}),
        n_shown=_n_shown(writer.nodes),
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


def _n_shown(nodes: list[dict[str, Any]]) -> int:
    """How many labelled texts were written: those that the asking with most of them may show."""
    places = [node["attributes"]["_rows"]["ref"] for node in nodes if "_rows" in node.get("attributes", ())]
    return max((len(nodes[place]["dict"]) for place in places), default=0)


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
    kept = Kept(_found(folder, revision, options))
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
        arrays = load_arrays(kept.read(_ARRAYS)) if kept.has(_ARRAYS) else {}
    except SafetensorError as error:
        raise InputError(f"{_ARRAYS} in {str(kept.folder)!r} can't be read: {error}.") from error

    def source(name: Any) -> str:
        return kept.read(name).decode("utf-8", "surrogatepass").removesuffix("\n")

    return Reader(nodes, arrays, source, others).value(config["root"])


def _libraries(nodes: list[dict[str, Any]], entries: list[dict[str, Any]]) -> list[str]:
    """The libraries whose version decides whether this classifier can be read."""
    used = ["scikit-learn"] if any("head" in node for node in nodes) else []
    if any("dtype" in one for one in (*entries, *nodes)):
        used.append("transformers")
    if any(entry["class"] == "SentenceEncoder" for entry in entries):
        used.append("sentence-transformers")
    return used


def _found(folder: str | Path, revision: str | None, options: dict[str, Any]) -> Path:
    """The folder itself, or the hub's copy of it."""
    path = Path(folder).expanduser()
    before = interrupted(path)
    if before:
        raise InputError(f"A save of {str(path)!r} was interrupted. What was kept before is whole: rename {before!r}.")
    if path.exists() or not isinstance(folder, str) or not _REPOSITORY.fullmatch(folder):
        given = ["revision"] if revision is not None else []
        if given or options:
            raise InputError(f"{', '.join([*given, *options])} are for the hub, and {str(folder)!r} is a folder.")
        return path
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(folder, revision=revision, **options))
    except (OSError, ValueError) as error:
        reason = (str(error).strip() or repr(error)).splitlines()[0]
        raise ModelLoadError(
            f"The classifier {folder!r} can't be had. Tried: a folder of that name (there is none), then the Hugging "
            f"Face hub. The machine may be offline, the name misspelt or private. ({type(error).__name__}: {reason})"
        ) from error


def push_to_hub(
    clf: Any,
    repo_id: str,
    *,
    metrics: Any = None,
    private: bool | None = None,
    token: str | bool | None = None,
    **options: Any,
) -> Any:
    """Put a fitted classifier on the Hugging Face hub, from where ``Classifier.load(repo_id)`` gets it.

    Parameters
    ----------
    clf : Classifier or ConformalClassifier
    repo_id : str
        ``"user/name"``. Made if it is not there; what an earlier push left is replaced, other files stay.
    metrics : Evaluation or mapping, optional
        For the card, as in `Classifier.save`.
    private : bool, optional
        Whether a new repository is private. None: as your account has it.
    token : str or bool, optional
        None: that of ``hf auth login``.
    **options
        For ``huggingface_hub.upload_folder``: ``commit_message``, ``revision``, ``create_pr``.

    Returns
    -------
    CommitInfo
        Of huggingface_hub.

    Raises
    ------
    UnsupportedError
        When something in the classifier can't be kept.

    Notes
    -----
    A classifier whose prompts show labelled texts takes these texts along; the card says how many. A model that was
    loaded from a folder is named by the path of that folder.

    Examples
    --------
    >>> from fewshot import Classifier, push_to_hub
    >>> clf = Classifier().fit(None, ["billing", "bug report"])  # doctest: +SKIP
    >>> push_to_hub(clf, "user/tickets", private=True)  # doctest: +SKIP
    >>> Classifier.load("user/tickets").predict(["I was charged twice"])  # doctest: +SKIP
    array(['billing'], dtype='<U10')
    """
    from huggingface_hub import create_repo, upload_folder

    with tempfile.TemporaryDirectory() as folder:
        kept = save(clf, Path(folder) / "classifier", metrics=metrics, where=repo_id)
        create_repo(repo_id, private=private, token=token, exist_ok=True)
        given = {"commit_message": f"Keep a {type(clf).__name__}", "delete_patterns": _OWN_FILES, **options}
        return upload_folder(repo_id=repo_id, folder_path=str(kept), token=token, **given)
