"""One model in two formats: a kept classifier may ask it as a chat and plainly, and its weights are read once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fewshot.models.base import is_formatted

__all__ = ["in_other_format"]


def in_other_format(entry: Mapping[str, Any], loaded: Sequence[tuple[Mapping[str, Any], Any]]) -> Any:
    """A model of these that are loaded, asked as an entry asks it, where nothing else tells the two apart; or None."""
    for other, model in loaded:
        if is_formatted(model) and hasattr(model, "tokenizer") and _but_for_chat(other) == _but_for_chat(entry):
            template = bool(model.tokenizer.chat_template)
            chat = entry["options"].get("chat")
            return model.with_chat(template if chat is None else template and chat is True)
    return None


def _but_for_chat(entry: Mapping[str, Any]) -> dict[str, Any]:
    options = {key: value for key, value in entry.get("options", {}).items() if key != "chat"}
    return {key: value for key, value in entry.items() if key != "fingerprint"} | {"options": options}
