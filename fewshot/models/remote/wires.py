"""The two wires by name, and which of them a body speaks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fewshot.models.remote.openai_decisions import OPENAI
from fewshot.models.remote.systemone import SYSTEM_ONE
from fewshot.models.remote.wire import Wire

__all__ = ["WIRES", "wire_of"]

WIRES: dict[str, Wire] = {wire.name: wire for wire in (SYSTEM_ONE, OPENAI)}


def wire_of(body: Any) -> Wire:
    """The wire that a request's body speaks: its questions are a list on OpenAI's; the path says nothing.

    Examples
    --------
    >>> wire_of({"questions": {"angry": {"type": "noul", "instructions": "Is the customer angry?"}}}).name
    'systemone'
    """
    if not isinstance(body, Mapping) or isinstance(body.get("questions"), Mapping):
        return SYSTEM_ONE
    return OPENAI if isinstance(body.get("questions"), list) or "input" in body else SYSTEM_ONE
