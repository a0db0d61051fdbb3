"""The layers of a transformer, found without code for particular architectures, and a pass that ends at one of them."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable
from typing import Any

import torch

__all__ = ["find_layers", "in_own_modules", "states_before", "with_hidden_states"]


def find_layers(body: Any) -> tuple[Any, str, Any]:
    """The module list as long as the config says, with its parent and its name there; nothing where there is none."""
    wanted = getattr(getattr(body, "config", None), "num_hidden_layers", None)
    for parent in body.modules() if body is not None else ():
        for name, child in parent.named_children():
            if isinstance(child, torch.nn.ModuleList) and len(child) == wanted:
                return parent, name, child
    return None, "", None


class _ReachedError(Exception):
    """The layer is reached, with these states."""

    def __init__(self, states: Any) -> None:
        self.states = states


def states_before(layer: torch.nn.Module, compute: Callable[[], Any]) -> Any:
    """The hidden states that go into a layer while something is computed, which ends there; None where none do."""
    thread = threading.get_ident()

    def stop(module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if threading.get_ident() == thread:  # others may use the same weights
            raise _ReachedError(args[0] if args else kwargs.get("hidden_states"))

    hook = layer.register_forward_pre_hook(stop, with_kwargs=True)
    try:
        compute()
    except _ReachedError as reached:
        return reached.states
    finally:
        hook.remove()
    return None


def in_own_modules(model: Any) -> Any:
    """The same weights in modules of their own, in evaluation mode."""
    held = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    return copy.deepcopy(model, held).eval()


def with_hidden_states(model: Any, **inputs: Any) -> Any:
    """What a model gives with the hidden states of every layer; it stays as it is, and can be pickled.

    transformers leaves hooks for good in the modules that it asks for them: here in copies that nobody keeps.
    """
    return in_own_modules(model)(**inputs, output_hidden_states=True)
