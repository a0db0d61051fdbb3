"""Which classes can be kept, and what of their objects is kept: data only, nothing that could run."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from importlib import import_module
from types import ModuleType
from typing import Any

from fewshot import calibration, demonstrations
from fewshot.errors import InputError, ParameterError
from fewshot.persistence.invariants import check_fitted
from fewshot.persistence.typed import check_types
from fewshot.strategies import STRATEGIES

__all__ = ["KEPT", "TABLE", "construct", "is_known", "rebuild", "take_state"]

#: Class name -> module, beside the public strategies, calibrations and selectors.
TABLE = {
    "Classifier": "fewshot.classifier",
    "ConformalClassifier": "fewshot.conformal",
    "Questionnaire": "fewshot.questionnaire",
    "Extractor": "fewshot.extractor",
    "Tagger": "fewshot.tagger",
    "Writer": "fewshot.writer",
    "FrozenEstimator": "sklearn.frozen._frozen",
    "AutomaticVerbalizer": "fewshot.task.automatic",
    "Choice": "fewshot.task.question",
    "Choices": "fewshot.task.choices",
    "Rating": "fewshot.task.question",
    "Unnamed": "fewshot.task.unnamed",
    "Verbalizer": "fewshot.task.verbalizer",
    "Windows": "fewshot.models.windows",
    "WordCounts": "fewshot.task.answer_features",
    "YesNo": "fewshot.task.question",
    "Turn": "fewshot.models.base",
    "Form": "fewshot.task.spans",
    "AskedSpans": "fewshot.strategies.extracting",
    "CandidateSpans": "fewshot.strategies.candidates",
    "ReadAnswers": "fewshot.strategies.reading_answers",
    "SpanHead": "fewshot.strategies.span_head",
    "TokenHead": "fewshot.strategies.token_head",
    # what strategies are made of
    "AnswerCandidate": "fewshot.strategies.choosing_answers",
    "AnswerReport": "fewshot.strategies.choosing_answers",
    "Asking": "fewshot.prompts.asking",
    "AskingSpans": "fewshot.prompts.asking_spans",
    "Candidate": "fewshot.strategies.comparison",
    "FreeAsking": "fewshot.prompts.free",
    "LoRA": "fewshot.training.lora",
    "SpanCandidate": "fewshot.strategies.choosing_tags",
    "SpanReport": "fewshot.strategies.choosing_tags",
    "SequenceClassifier": "fewshot.training.new_layer",
    "TrainingStep": "fewshot.training.loop",
    "EachLabel": "fewshot.prompts.each_label",
    "OwnSpans": "fewshot.prompts.asking_spans",
    "Report": "fewshot.strategies.comparison",
    "Task": "fewshot.task.task",
    "_LabelFirst": "fewshot.strategies.channel",
    # heads
    "KLNeighbors": "fewshot.heads.neighbors",
    "LabelPriorLogisticRegression": "fewshot.heads.label_prior",
    "Prototypes": "fewshot.heads.neighbors",
    "SpanChoice": "fewshot.heads.span_choice",
    "TokenCRF": "fewshot.heads.tokens",
}


def _public(room: ModuleType, base: type) -> dict[str, str]:
    """The classes of one kind in the public list of a room, and where they are."""
    found = [getattr(room, name) for name in room.__all__]
    return {
        one.__name__: one.__module__
        for one in found
        if isinstance(one, type) and issubclass(one, base) and one is not base
    }


#: Class name -> module. None of these does anything when it is made, and what their methods do with their attributes is
#: compute: no class may be added, to the table or to a public list, that opens a path or calls a name it was given.
KEPT: dict[str, str] = {
    **TABLE,
    **STRATEGIES,
    **_public(calibration, calibration.Prior),
    **_public(demonstrations, demonstrations.Selector),
}


def is_known(value: object) -> bool:
    """Whether an object is of a class that can be kept; a subclass is another class."""
    return KEPT.get(type(value).__name__) == type(value).__module__


def take_state(value: Any) -> dict[str, Any]:
    """The attributes of an object that are kept."""
    if is_dataclass(value):
        return {one.name: getattr(value, one.name) for one in fields(value)}
    if isinstance(value, tuple):
        return dict(value._asdict())  # type: ignore[attr-defined]
    return dict(value.kept() if hasattr(type(value), "kept") else vars(value))


def construct(cls: type, parameters: Mapping[str, Any]) -> Any:
    """Make an object of what a file says; where that is not what it may be, the file is at fault."""
    try:
        return cls(**parameters)
    except ParameterError as error:
        raise InputError(f"{cls.__name__} in config.json is not what save writes: {error}") from error


def rebuild(name: Any, attributes: Mapping[str, Any]) -> Any:
    """Make an object again from its attributes, without running anything of theirs; refuse what no class has."""
    if name not in KEPT:
        raise InputError(f"a kept classifier holds no objects of a class {name!r}; this one may be of a newer version")
    cls = getattr(import_module(KEPT[name]), name)
    if is_dataclass(cls) or issubclass(cls, tuple):
        names = [one.name for one in fields(cls)] if is_dataclass(cls) else list(cls._fields)
        needed = {one for one in names if inspect.signature(cls).parameters[one].default is inspect.Parameter.empty}
        if not needed <= set(attributes) <= set(names):  # a folder of before lacks what has been added since
            raise InputError(f"{name} has the attributes {names}, and the file {sorted(attributes)}")
        check_types(cls, attributes)
        return construct(cls, attributes)
    for attribute in attributes:
        if not attribute.isidentifier() or attribute.startswith("__") or _is_taken(cls, attribute):
            raise InputError(f"{name} can have no attribute {attribute!r}")
    parameters = inspect.signature(cls).parameters if hasattr(cls, "get_params") else {}
    added = {key: one.default for key, one in parameters.items() if one.default is not one.empty}
    attributes = {**added, **attributes}  # a folder of before lacks what has been added since
    missing = sorted(set(parameters) - set(attributes))  # without which it can't be printed or cloned
    if missing:
        raise InputError(f"{name} has a parameter {missing[0]!r}, and the file has none")
    check_types(cls, attributes)
    check_fitted(name, attributes)
    made = cls.__new__(cls)
    vars(made).update(attributes)
    return made


def _is_taken(cls: type, attribute: str) -> bool:
    """Whether a class has a method or property of that name, which data must not hide."""
    found = inspect.getattr_static(cls, attribute, None)
    return callable(found) or hasattr(type(found), "__get__")
