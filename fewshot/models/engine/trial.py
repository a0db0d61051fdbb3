"""Tries a model before it is used, so that what can't be scored is refused when it is loaded, with the reason."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch

from fewshot.errors import ModelLoadError
from fewshot.models.engine.rounding import same_logprobs

__all__ = ["draw_samples", "try_forward", "try_later_tokens"]

_LENGTH, _LATER = 10, 2
#: A later token is noticed if it moves an earlier logit by this share of what it moves its own, beyond rounding.
_SHARES = {torch.float32: 2e-3, torch.float64: 2e-3}
_SHARE_OF_OTHERS = 0.01


def draw_samples(model: Any, tokenizer: Any) -> torch.Tensor:
    """Two rows of ordinary tokens, which differ in the last ones, on the model's device."""
    rows = _n_embeddings(model, tokenizer)
    ordinary = np.setdiff1d(np.arange(min(rows, len(tokenizer))), tokenizer.all_special_ids)
    drawn = np.random.RandomState(0).choice(ordinary, size=_LENGTH + _LATER, replace=len(ordinary) < 2 * _LENGTH)
    first, second = drawn[:_LENGTH], np.concatenate([drawn[: _LENGTH - _LATER], drawn[_LENGTH:]])
    return torch.from_numpy(np.stack([first, second]).astype(np.int64)).to(model.device)


def _n_embeddings(model: Any, tokenizer: Any) -> int:
    """How many tokens the model knows."""
    try:
        return int(model.get_input_embeddings().weight.shape[0])
    except (AttributeError, NotImplementedError, TypeError):  # some have no single table
        return int(getattr(model.config.get_text_config(), "vocab_size", 0) or len(tokenizer))


def try_forward(who: str, forward: Callable[[], Any]) -> torch.Tensor:
    """The logits of a forward pass.

    Raises
    ------
    ModelLoadError
        When there are none, it raises, or the same pass gives others when it is repeated.
    """
    first, again = _logits(who, forward), _logits(who, forward)
    if not same_logprobs(first.float().log_softmax(-1), again.float().log_softmax(-1), first.dtype):
        raise ModelLoadError(
            f"{who} can't be used: the same forward pass, repeated, gives other numbers. It draws at random: look for "
            "a seed in its config (hash_seed of a Reformer), or for a layer that does not heed model.eval()."
        )
    return first


@torch.no_grad()
def _logits(who: str, forward: Callable[[], Any]) -> torch.Tensor:
    try:
        logits = forward().logits
        if not isinstance(logits, torch.Tensor):
            raise TypeError(f"its logits are of type {type(logits).__name__}")
        return logits
    except Exception as error:  # whatever it is, it would be raised at every prediction
        said = (str(error).strip() or repr(error)).splitlines()[0]
        raise ModelLoadError(
            f"{who} can't be used: its forward pass fails on a few tokens of text ({type(error).__name__}: {said}). "
            "Perhaps it needs another input (pictures, sound, a second text), or its config lacks something."
        ) from error


def try_later_tokens(who: str, forward: Callable[[torch.Tensor], Any], rows: torch.Tensor, cure: str) -> None:
    """Refuse a model whose logits at a token depend on later ones: it has no probability of a continuation.

    ``forward`` is its forward pass over one of the rows that `draw_samples` gave.

    Raises
    ------
    ModelLoadError
        That ends with the cure.
    """
    logits = torch.cat([try_forward(who, partial(forward, rows[:1])), _logits(who, partial(forward, rows[1:]))])
    if logits.ndim != 3 or logits.shape[:2] != (2, _LENGTH):
        raise ModelLoadError(
            f"{who} can't be used: it gives logits of shape {tuple(logits.shape)} for 2 rows of {_LENGTH} tokens, and "
            "not one distribution a token."
        )
    moved = (logits[0].float() - logits[1].float()).abs().amax(-1)
    early, late = float(moved[:-_LATER].max()), float(moved[-_LATER:].max())
    share = _SHARES.get(logits.dtype, _SHARE_OF_OTHERS)
    # nor may their number (ProphetNet); rows of two lengths are rounded differently
    shorter = _logits(who, partial(forward, rows[:1, :-_LATER]))[0]
    counted = float((logits[0, :-_LATER].float() - shorter.float()).abs().max())
    if early > share * late or counted > 10 * share * late:
        raise ModelLoadError(f"{who} looks ahead: a later token moves the logits of earlier ones. {cure}")
