"""Which classes can be kept, and what of their objects is kept: data only, nothing that could run."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from importlib import import_module
from typing import Any

from fewshot.errors import InputError
from fewshot.persistence.invariants import check_fitted
from fewshot.persistence.typed import check_types

__all__ = ["KEPT", "known", "rebuilt", "state"]

#: Class name -> module. A new strategy is one line here. None of these does anything when it is made, and what their
#: methods do with their attributes is compute: no class may be added that opens a path or calls a name it was given.
KEPT = {
    "Classifier": "fewshot.classifier",
    "ConformalClassifier": "fewshot.conformal",
    "FrozenEstimator": "sklearn.frozen._frozen",
    "AutomaticVerbalizer": "fewshot.task.automatic",
    "Choices": "fewshot.task.choices",
    "Unnamed": "fewshot.task.unnamed",
    "Verbalizer": "fewshot.task.verbalizer",
    "Windows": "fewshot.models.encoder",
    "Turn": "fewshot.models.base",
    # strategies
    "Auto": "fewshot.strategies.auto",
    "Channel": "fewshot.strategies.channel",
    "Contrastive": "fewshot.strategies.contrastive",
    "Distillation": "fewshot.strategies.distillation",
    "Embedding": "fewshot.strategies.embedding",
    "FineTuning": "fewshot.strategies.finetuning",
    "Prompting": "fewshot.strategies.prompting",
    "Readout": "fewshot.strategies.readout",
    # what strategies are made of
    "Asking": "fewshot.prompts.asking",
    "Candidate": "fewshot.strategies.comparison",
    "LoRA": "fewshot.training.copies",
    "SequenceClassifier": "fewshot.training.new_layer",
    "TrainingStep": "fewshot.training.loop",
    "EachLabel": "fewshot.prompts.each_label",
    "Report": "fewshot.strategies.comparison",
    "Task": "fewshot.task.task",
    "_LabelFirst": "fewshot.strategies.channel",
    # heads
    "KLNeighbors": "fewshot.heads.neighbors",
    "LabelPriorLogisticRegression": "fewshot.heads.label_prior",
    "Prototypes": "fewshot.heads.neighbors",
    # calibrations
    "Batch": "fewshot.calibration.priors",
    "BestOf": "fewshot.calibration.best_of",
    "Contextual": "fewshot.calibration.priors",
    "DomainContext": "fewshot.calibration.priors",
    "Learned": "fewshot.calibration.learned",
    "PMI": "fewshot.calibration.priors",
    # demonstrations
    "First": "fewshot.demonstrations.drawn",
    "MMR": "fewshot.demonstrations.similar",
    "Nearest": "fewshot.demonstrations.similar",
    "Random": "fewshot.demonstrations.drawn",
    "Stratified": "fewshot.demonstrations.drawn",
}


def known(value: object) -> bool:
    """Whether an object is of a class that can be kept; a subclass is another class."""
    return KEPT.get(type(value).__name__) == type(value).__module__


def state(value: Any) -> dict[str, Any]:
    """The attributes of an object that are kept."""
    if is_dataclass(value):
        return {one.name: getattr(value, one.name) for one in fields(value)}
    if isinstance(value, tuple):
        return dict(value._asdict())  # type: ignore[attr-defined]
    found = dict(vars(value))
    trim = _TRIMMED.get(type(value).__name__)
    return trim(found) if trim else found


def rebuilt(name: Any, attributes: Mapping[str, Any]) -> Any:
    """Make an object again from its attributes, without running anything of theirs.

    Raises
    ------
    InputError
        When no such class can be kept, or it has no such attributes.
    """
    if name not in KEPT:
        raise InputError(f"a kept classifier holds no objects of a class {name!r}; this one may be of a newer version")
    cls = getattr(import_module(KEPT[name]), name)
    if is_dataclass(cls) or issubclass(cls, tuple):
        names = [one.name for one in fields(cls)] if is_dataclass(cls) else list(cls._fields)
        if set(names) != set(attributes):
            raise InputError(f"{name} has the attributes {names}, and the file {sorted(attributes)}")
        check_types(cls, attributes)
        return cls(**attributes)
    for attribute in attributes:
        if not attribute.isidentifier() or attribute.startswith("__") or _is_taken(cls, attribute):
            raise InputError(f"{name} can have no attribute {attribute!r}")
    missing = sorted(set(_parameters(cls)) - set(attributes))
    if missing:
        raise InputError(f"{name} has a parameter {missing[0]!r}, and the file has none")
    check_types(cls, attributes)
    check_fitted(name, attributes)
    made = cls.__new__(cls)
    vars(made).update(attributes)
    return made


def _parameters(cls: type) -> list[str]:
    """The parameters of a scikit-learn estimator, without which it can't be printed or cloned."""
    return list(inspect.signature(cls).parameters) if hasattr(cls, "get_params") else []


def _is_taken(cls: type, attribute: str) -> bool:
    """Whether a class has a method or property of that name, which data must not hide."""
    found = inspect.getattr_static(cls, attribute, None)
    return callable(found) or hasattr(type(found), "__get__")


def _asking(found: dict[str, Any]) -> dict[str, Any]:
    """Of the labelled rows those that a prompt may show: others would only be big, and somebody's private text."""
    selector, rows, labels = found["selector"], found["_rows"], found["_labels"]
    shown = [] if selector is None else selector.rows_.tolist() if selector.shared else range(len(rows))
    return {
        **found,
        "_rows": {i: dict(rows[i]) if isinstance(rows[i], Mapping) else rows[i] for i in shown},
        "_labels": {i: labels[i] for i in shown},
        "_turns": {},  # made again when they are asked for
    }


def _selector(found: dict[str, Any]) -> dict[str, Any]:
    """Of demonstrations that all texts share, only what says which they are."""
    if "rows_" not in found:
        return found
    shown = set(found["rows_"].tolist())
    equals = {text: [i for i in rows if i in shown] for text, rows in found["_equals"].items()}
    kept = {key: value for key, value in found.items() if key not in ("_vectors", "_place", "_classes")}
    return {**kept, "_equals": {text: rows for text, rows in equals.items() if rows}, "encoder_": None}


def _without(*names: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Leave out what prediction does not need."""
    return lambda found: {key: value for key, value in found.items() if key not in names}


_TRIMMED: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "Asking": _asking,
    "Distillation": _without("teachers_", "soft_labels_"),
    "Embedding": _without("examples_"),
    "SequenceClassifier": _without("_reader", "padding"),
    "_LabelFirst": _asking,
    **dict.fromkeys(("First", "MMR", "Nearest", "Random", "Stratified"), _selector),
}
