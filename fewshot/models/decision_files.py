"""The files of a decision model: ``decision.json``, its template, and the heads that ship beside a model's weights."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from fewshot.errors import FewshotWarning, ModelLoadError, warn

__all__ = [
    "SETTINGS",
    "check_settings",
    "decisions_of_transformers",
    "files_of_head",
    "has_head",
    "is_head",
    "load_adapter",
    "read_settings",
]

SETTINGS = "decision.json"


def decisions_of_transformers() -> Any:
    """What transformers has for decisions.

    Raises
    ------
    ModelLoadError
        When the installed version has nothing of the kind.
    """
    try:
        import transformers.decision
    except ImportError:
        import transformers

        raise ModelLoadError(
            f"Decision models need a newer transformers than {transformers.__version__}: "
            "pip install 'transformers>=5.24'"
        ) from None
    return transformers.decision


def check_settings(said: Any, shown: str) -> None:
    """Refuse a ``decision.json`` that can't be followed, and warn of what transformers leaves out of it.

    Raises
    ------
    ModelLoadError
        When a setting is not what it may be.
    """
    decisions = decisions_of_transformers()
    if not isinstance(said, dict):
        raise ModelLoadError(f"The {SETTINGS} of {shown} must hold an object. Got {said!r:.80}.")
    known = {field.name for field in fields(decisions.DecisionConfig)}
    types = decisions.Question.questions_types
    odd = [key for key in said if key not in known]
    nested = [(key, said[key]) for key in ("labels", "temperature") if isinstance(said.get(key), dict)]
    odd += [f"{key}.{name}" for key, own in nested for name in own if name not in types]
    if odd:
        warn(
            f"The {SETTINGS} of {shown} sets {', '.join(odd)}, which transformers does not know and leaves out: the "
            f"model is asked without. Known are {', '.join(sorted(known))}, and the types {', '.join(types)}.",
            FewshotWarning,
        )
    try:
        _ = decisions.DecisionConfig(**{key: value for key, value in said.items() if key in known}).logits_processors
    except Exception as error:  # its checks raise errors of several libraries
        raise ModelLoadError(f"The {SETTINGS} of {shown} can't be followed: {error}") from error


def read_settings(name: str, **options: Any) -> Any:
    """The settings in a folder or repository, those of transformers where it has none."""
    return decisions_of_transformers().DecisionConfig.from_pretrained(name, **options)


def is_head(config: Any) -> bool:
    """Whether a config is that of a model with a head for decisions."""
    return next(iter(getattr(config, "architectures", None) or []), "").endswith("ForDecision")


def files_of_head(config: Any) -> tuple[str, ...]:
    """The files that a repository of such a config may have, where it has a head beside its weights."""
    head = _head_of(config)
    return tuple(head.config_class.extra_config_files) if head is not None else ()


def has_head(name: str, config: Any, **options: Any) -> bool:
    """Whether these files say that there is such a head."""
    return _head_of(config).checkpoint_config(name, **options)[0] is not None


def _head_of(config: Any) -> Any:
    """The class of transformers for a model of that config with a head; None where there is none."""
    from transformers.models.auto import modeling_auto

    heads: Any = getattr(modeling_auto, "MODEL_FOR_DECISION_MAPPING", None) or {}
    return heads.get(type(config), None)


def load_adapter(model: Any, name: str, adapter: str | None, **options: Any) -> None:
    """Load the LoRA in a subfolder of the repository, as ``pipeline("decision")`` does.

    Raises
    ------
    ModelLoadError
        When peft is not installed.
    """
    if not adapter:
        return
    try:
        model.load_adapter(name, adapter_kwargs={"subfolder": adapter, **options})
    except ImportError as error:
        raise ModelLoadError(f"{name!r} decides with the LoRA in {adapter!r}: {error}") from error
