"""Attention within a pack, island by island: what its mask hides is not computed first.

A pack holds texts that see what lies in the cache, the pack's lead, and themselves. As one masked call, attention would
compute every text against every other; here each island is a call of its own, and the cached keys, which all see, are
one call without a mask. The two are joined by their normalisers, exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import scaled_dot_product_attention

__all__ = ["IslandMask", "attention_mask", "find_islands"]

#: Tokens of the smallest island: smaller ones are joined with the next, since a call costs as much as a few tokens do.
LEAST = 32


def find_islands(own: NDArray[np.bool_], least: int) -> tuple[int, list[tuple[int, int]]]:
    """Cut a pack into runs of tokens that see none of one another.

    Given what each token of the pack sees of the pack (itself, and nothing behind it), and the least tokens of an
    island but the last, return the number of tokens at the beginning that all later ones see, and (start, stop) of each
    island behind them.

    Examples
    --------
    >>> import numpy as np
    >>> find_islands(np.array([[1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0], [1, 0, 0, 1]], dtype=bool), 1)
    (1, [(1, 3), (3, 4)])
    """
    n = len(own)
    behind = np.tri(n, dtype=bool)
    lead = int(np.argmin([*(own | ~behind).all(axis=0), False]))
    lowest = own[lead:, lead:].argmax(axis=1) if lead < n else np.empty(0, dtype=np.int64)
    free = np.minimum.accumulate(lowest[::-1])[::-1] >= np.arange(n - lead)
    bounds: list[int] = []
    for start in (lead + np.flatnonzero(free)).tolist():
        if not bounds or start - bounds[-1] >= least:
            bounds.append(start)
    return lead, list(zip(bounds, [*bounds[1:], n], strict=False))


class IslandMask(torch.Tensor):
    """A boolean mask of a pack behind a cached path, which torch's fused attention computes island by island.

    To everything else it is the plain mask.
    """

    lead: int
    islands: list[tuple[int, int]]
    hidden: list[torch.Tensor]  # of each island, what is added to its scores: the same in every layer

    @classmethod
    def __torch_function__(
        cls, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Compute attention island by island where that is what is asked for."""
        given = dict(kwargs or {})
        with torch._C.DisableTorchFunctionSubclass():  # noqa: SLF001 - as torch's guide to subclasses says
            if func is scaled_dot_product_attention and isinstance(given.get("attn_mask"), cls):
                mask = given.pop("attn_mask")
                if len(args) == 3 and mask.serves(*args, **given):
                    return mask.attend(*args, scale=given.get("scale"))
                given["attn_mask"] = mask.as_subclass(torch.Tensor)
            return func(*args, **given)

    def serves(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *, dropout_p: float = 0.0, **options: Any
    ) -> bool:
        """Whether this call is plain attention of one pack, with as many heads of keys as of queries."""
        (_, _, n, n_keys) = self.shape
        alike = query.shape[:2] == key.shape[:2] and key.shape == value.shape
        return (
            alike
            and (query.shape[0], query.shape[2], key.shape[2]) == (1, n, n_keys)
            and not (dropout_p or options.get("is_causal") or options.get("enable_gqa"))
        )

    def attend(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float | None) -> torch.Tensor:
        """What each token of the pack takes from the values, of the shape of ``query``."""
        _, heads, n, dim = query.shape
        cached = key.shape[2] - n
        out = query.new_empty(1, n, heads, dim).transpose(1, 2)
        if cached:
            path, path_weight = _attend(query, key[:, :, :cached], value[:, :, :cached], None, scale)
        if not self.hidden or self.hidden[0].dtype != query.dtype:
            self.hidden = [self._hidden(start, stop, cached, query.dtype) for start, stop in self.islands]
        for (start, stop), hidden in zip(self.islands, self.hidden, strict=True):
            keys, values = (_with_lead(part[:, :, cached:], self.lead, start, stop) for part in (key, value))
            part, weight = _attend(query[:, :, start:stop], keys, values, hidden, scale)
            if cached:
                share = torch.sigmoid(weight - path_weight[:, :, start:stop])[..., None]
                part = torch.lerp(path[:, :, start:stop].to(share.dtype), part.to(share.dtype), share)
            out[:, :, start:stop] = part
        return out

    def _hidden(self, start: int, stop: int, cached: int, dtype: torch.dtype) -> torch.Tensor:
        seen = _with_lead(self[:, :, start:stop, cached:].transpose(2, 3), self.lead, start, stop).transpose(2, 3)
        return torch.zeros(seen.shape, dtype=dtype).masked_fill_(~seen, -torch.inf)


def _with_lead(states: torch.Tensor, lead: int, start: int, stop: int) -> torch.Tensor:
    """The lead's keys and an island's own, along the third dimension."""
    own = states[:, :, start:stop]
    return torch.cat([states[:, :, :lead], own], dim=2) if lead and start else own


def _attend(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor | None, scale: float | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Fused attention, and the logarithm of its normaliser; without a mask each query sees everything."""
    fused = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu  # noqa: SLF001 - the only one with its normaliser
    return fused(query, key, value, attn_mask=mask, scale=scale)


def attention_mask(seen: NDArray[np.bool_], device: torch.device) -> torch.Tensor:
    """A boolean mask of shape (1, 1, n_tokens, n_cached + n_tokens), in islands where there are some and it is faster.

    A GPU computes one large masked call in less time than many small ones.
    """
    mask = torch.from_numpy(seen)[None, None].to(device)
    cached = seen.shape[1] - len(seen)
    if device.type != "cpu" or not seen[:, :cached].all():  # a sliding window hides a part of the path
        return mask
    lead, islands = find_islands(seen[:, cached:], LEAST)
    if len(islands) < 2:
        return mask
    made = mask.as_subclass(IslandMask)
    made.hidden = []
    made.lead, made.islands = lead, ([(0, lead), *islands] if lead else islands)
    return made
