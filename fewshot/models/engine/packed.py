"""Executes a plan on a decoder-only model: packed steps over one path of cached keys and values."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers.cache_utils import Cache, CacheLayerMixin

from fewshot.errors import UnsupportedError
from fewshot.models.base import IntArray
from fewshot.models.engine.islands import attention_mask
from fewshot.models.engine.rounding import Rounding
from fewshot.models.engine.split import Split, Whole
from fewshot.models.engine.trie import Plan, Step, Trie, build_trie, make_plan

__all__ = ["PackedForward", "self_check"]


class _Layer(CacheLayerMixin):  # type: ignore[no-untyped-call]
    """Keys and values of one layer in one buffer; new ones are written behind the path, and nothing is copied."""

    is_sliding = False

    def __init__(self, cache: _PathCache) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.cache = cache
        self.buffers: tuple[torch.Tensor, torch.Tensor] | None = None

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Make room for the longest path, keeping what is there."""
        old, length = self.buffers, self.cache.length
        self.buffers = _room(key_states, self.cache.capacity), _room(value_states, self.cache.capacity)
        if old is not None:
            for buffer, before in zip(self.buffers, old, strict=True):
                buffer[:, :, :length] = before[:, :, :length]
        self.is_initialized = True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write behind the path, and return views of the path with what was written."""
        start = self.cache.length
        stop = start + key_states.shape[2]
        if self.buffers is None or self.buffers[0].shape[2] < stop:
            self.lazy_initialization(key_states, value_states)
        assert self.buffers is not None
        keys, values = self.buffers
        keys[:, :, start:stop] = key_states
        values[:, :, start:stop] = value_states
        return keys[:, :, :stop], values[:, :, :stop]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Of no use here, since every step brings its own mask."""
        return self.cache.length + query_length, 0

    def get_seq_length(self) -> int:
        """Length of the path."""
        return self.cache.length

    def get_max_length(self) -> int:
        """No maximum."""
        return -1

    get_max_cache_shape = get_max_length  # its name in older versions of transformers


class _PathCache(Cache):
    """The keys and values of one path from the root of the trie, in every layer."""

    def __init__(self) -> None:
        super().__init__(layers=[])
        self.length = 0  # of the path
        self.capacity = 0

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write into one layer, which is made when it is first seen."""
        while len(self.layers) <= layer_idx:
            self.layers.append(_Layer(self))
        layer = self.layers[layer_idx]
        assert isinstance(layer, _Layer)
        return layer.update(key_states, value_states)

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Length of the path."""
        return self.length


def _room(states: torch.Tensor, capacity: int) -> torch.Tensor:
    batch, heads, _, dim = states.shape
    return states.new_empty(batch, heads, capacity, dim)


class PackedForward:
    """Runs plans, one after another, and keeps the path that the next plan may begin with as well.

    The model is decoder-only, and takes 4-D masks, position ids and a cache.

    Raises
    ------
    UnsupportedError
        When the model's body can't be taken apart from its head.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        self.split = Split(model)
        names = inspect.signature(self.split.body.forward).parameters
        self._cache_name = "cache" if "cache" in names else "past_key_values"
        config = model.config.get_text_config()
        window = getattr(config, "sliding_window", None)
        self.window: int | None = int(window) if window and getattr(config, "use_sliding_window", True) else None
        self._kinds = sorted(set(getattr(config, "layer_types", None) or ()))
        if not set(self._kinds) <= {"full_attention", "sliding_attention"}:
            raise UnsupportedError(f"{type(model).__name__} has layers of the kinds {self._kinds}.")
        self._boolean = config._attn_implementation == "sdpa"  # noqa: SLF001 - nothing public tells it
        self.n_computed = 0  # tokens so far, for whoever wants to know
        self.forget()

    def reserve(self, capacity: int) -> None:
        """Make room for a cache of this many tokens, so that it need not grow on the way."""
        self._cache.capacity = max(self._cache.capacity, capacity)

    @property
    def capacity(self) -> int:
        """Tokens that the cache has had room for since it was forgotten last."""
        return self._cache.capacity

    def forget(self) -> None:
        """Drop the cached path."""
        self._cache = _PathCache()
        self._held: IntArray = np.empty(0, dtype=np.int64)  # its tokens

    @torch.inference_mode()
    def run(self, plan: Plan) -> Iterator[tuple[IntArray, torch.Tensor]]:
        """Yield, step by step, the nodes that are read and their last hidden states."""
        self.reserve(plan.capacity)
        for step in plan.steps:
            hidden = self._forward(plan.trie, step)
            if len(step.read):
                assert hidden is not None
                yield step.nodes[step.read], hidden[torch.from_numpy(step.read).to(hidden.device)]

    def _forward(self, trie: Trie, step: Step) -> torch.Tensor | None:
        start = len(step.cached)
        if step.keep and not len(step.read):  # the last plan may have begun in the same way
            tokens = trie.tokens[step.nodes]
            held = self._held[start : start + len(tokens)]
            same = int(np.argmin([*(held == tokens[: len(held)]), False]))
            start += same
            step = Step(np.concatenate([step.cached, step.nodes[:same]]), step.nodes[same:], True, step.read)
            if not len(step.nodes):
                return None
        tokens = trie.tokens[step.nodes]
        hidden = self.forward(tokens, trie.depth[step.nodes], start, lambda window: step.mask(trie, window))
        self._held = np.concatenate([self._held[:start], tokens]) if step.keep else self._held[:start]
        return hidden

    @torch.inference_mode()
    def forward(
        self, tokens: IntArray, depth: IntArray, start: int, seen: Callable[[int | None], NDArray[np.bool_]]
    ) -> torch.Tensor:
        """Hidden states of tokens behind the first ``start`` cached ones; their keys and values are left in the cache.

        ``depth`` is each token's position in its sequence, and ``seen(window)`` what each may attend to, of shape
        (n, start + n), with a sliding window or None.
        """
        device = self.model.device
        self._cache.length = start
        self.reserve(start + len(tokens))
        self._held = self._held[:start]
        hidden: torch.Tensor = self.split.body(
            input_ids=torch.from_numpy(tokens)[None].to(device),
            attention_mask=self._masks(seen),
            position_ids=torch.from_numpy(depth)[None].to(device),
            use_cache=True,
            **{self._cache_name: self._cache},
        ).last_hidden_state[0]
        self.n_computed += len(tokens)
        return hidden

    def _masks(self, seen: Callable[[int | None], NDArray[np.bool_]]) -> Any:
        """One mask, or one for each kind of layer: a bare one would be taken for all layers, sliding ones included."""
        if not self._kinds:
            return self._mask(seen(self.window))
        windows = {"full_attention": None, "sliding_attention": self.window}
        return {kind: self._mask(seen(windows[kind])) for kind in self._kinds}

    def _mask(self, seen: NDArray[np.bool_]) -> torch.Tensor:
        if self._boolean:
            return attention_mask(seen, self.model.device)
        boolean = torch.from_numpy(seen)[None, None].to(self.model.device)
        dtype = self.model.dtype
        return torch.zeros_like(boolean, dtype=dtype).masked_fill(~boolean, torch.finfo(dtype).min)


@torch.inference_mode()
def self_check(model: Any, packed: PackedForward) -> str | None:
    """Compare the packed path with the model's own forward pass, on rows of a few dozen tokens in several layouts.

    The rows share long and short beginnings. They run in one pack, in which all lie behind one another and are masked
    from one another; in short steps over a path that is cached; and again over the path that was held. What rows as
    long as real ones do is compared when they come (`fewshot.models.engine.proof`).

    Returns what is wrong, or None.
    """
    rows = _rows(model)
    own = [partial(_own_logprobs, Whole(model), row) for row in rows]
    expected = [compute() for compute in own]
    rounding, longest = Rounding(model), max(map(len, rows))
    for budget in (4 * longest, longest // 2, longest // 2):  # one pack; steps; steps over a path that is held
        computed = _last_logits(packed, rows, budget)
        for row, logits, wanted, again in zip(rows, computed, expected, own, strict=True):
            found = logits.float().log_softmax(-1)
            if not rounding.same(found, wanted, again):
                packed.forget()
                return f"on {len(row)} tokens its log-probabilities differ by {float((found - wanted).abs().max()):.2g}"
    packed.forget()
    packed.n_computed = 0
    return None


def _own_logprobs(whole: Whole, row: tuple[int, ...]) -> torch.Tensor:
    """Log-probabilities behind a row, by the model's own forward pass."""
    ids = torch.tensor([row], device=whole.model.device)
    return whole.states([0], [len(row) - 1], input_ids=ids)[0].float().log_softmax(-1)


def _rows(model: Any) -> list[tuple[int, ...]]:
    """Rows that begin alike, of 40 tokens where the model takes so many."""
    config = model.config.get_text_config()
    longest = int(getattr(config, "max_position_embeddings", 0) or 0)
    n = max(4, min(36, longest - 4)) if longest > 0 else 36
    a, b, c = np.random.RandomState(0).randint(0, config.vocab_size, size=(3, n)).tolist()
    return [(*a, *b[:3]), (*a, *c[:2]), (*a[: n // 2], *b[:4]), (*a[: n // 4], *c[: n // 2]), tuple(b)]


def _last_logits(packed: PackedForward, rows: list[tuple[int, ...]], budget: int) -> list[torch.Tensor]:
    """The logits of each row's last token by the packed path."""
    trie = build_trie(rows)
    wanted = np.zeros(len(trie), dtype=bool)
    wanted[[path[-1] for path in trie.paths]] = True
    found: dict[int, torch.Tensor] = {}
    for nodes, hidden in packed.run(make_plan(trie, wanted, budget=budget, step_cost=0)):
        found |= zip(nodes.tolist(), packed.split.logits(hidden), strict=True)
    return [found[int(path[-1])] for path in trie.paths]
