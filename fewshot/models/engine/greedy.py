"""Greedy decoding of many prompts at once, over one copy of what they share."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from fewshot.models.base import IntArray
from fewshot.models.engine.packed import PackedForward
from fewshot.models.engine.trie import build_trie, count_common, make_plan

__all__ = ["decode"]

Prompt = tuple[int, ...]


def decode(
    packed: PackedForward,
    prompts: Sequence[Prompt],
    max_new_tokens: int,
    ends: Collection[int],
    *,
    group: int,
    pack: int,
    is_done: Callable[[list[int]], bool] | None = None,
) -> Iterator[tuple[int, list[int]]]:
    """Continue every prompt greedily; equal prompts are continued once.

    Parameters
    ----------
    packed : PackedForward
    prompts : sequence of tuple of int
    max_new_tokens : int
    ends : collection of int
        Tokens that end an answer; they are not part of it.
    group : int
        The most tokens of different prompts that lie in the cache together.
    pack : int
        The most tokens that go through the model at once.
    is_done : callable, optional
        Whether an answer so far needs no further token; what made it so is part of it.

    Yields
    ------
    (int, list of int)
        Number of a prompt, and its answer.
    """
    numbers: dict[Prompt, list[int]] = {}
    for i, prompt in enumerate(prompts):
        numbers.setdefault(prompt, []).append(i)
    distinct = sorted(numbers, key=lambda prompt: (-len(prompt), prompt))
    # the last token of each prompt is its own, since its logits begin the answer
    shared = min(count_common(min(distinct), max(distinct)), len(distinct[-1]) - 1) if distinct else 0
    start = 0
    while start < len(distinct):
        own = len(distinct[start]) - shared + max_new_tokens
        members = distinct[start : start + max(1, group // own)]
        start += len(members)
        answers = _answers(packed, members, shared, new=max_new_tokens, ends=ends, pack=pack, is_done=is_done)
        for prompt, answer in zip(members, answers, strict=True):
            for i in numbers[prompt]:
                yield i, list(answer)


def _answers(
    packed: PackedForward,
    prompts: list[Prompt],
    shared: int,
    *,
    new: int,
    ends: Collection[int],
    pack: int,
    is_done: Callable[[list[int]], bool] | None,
) -> list[list[int]]:
    """Continue a group of prompts, whose first ``shared`` tokens are the same, by at most ``new`` tokens each."""
    total = shared + sum(len(prompt) - shared + new for prompt in prompts)
    packed.reserve(total)
    if shared:
        trie = build_trie([prompts[0][:shared]])
        for _ in packed.run(make_plan(trie, np.zeros(shared, dtype=bool), budget=pack, step_cost=0)):
            pass
    # the cache is the shared path and then, one behind another, the tokens of all prompts and answers
    owner = np.full(total, -1, dtype=np.int64)
    depth = np.zeros(total, dtype=np.int64)
    depth[:shared] = np.arange(shared)
    filled = shared

    def compute(members: IntArray, tokens: IntArray, positions: IntArray) -> torch.Tensor:
        nonlocal filled
        before, filled = filled, filled + len(tokens)
        owner[before:filled], depth[before:filled] = members, positions

        def seen(window: int | None) -> NDArray[np.bool_]:
            whose, where = owner[:filled], depth[:filled]
            mask: NDArray[np.bool_] = (whose[None, :] == -1) | (whose[None, :] == members[:, None])
            mask &= where[None, :] <= positions[:, None]
            if window is not None:
                mask &= positions[:, None] - where[None, :] < window
            return mask

        return packed.forward(tokens, positions, before, seen)

    lengths = np.array([len(prompt) for prompt in prompts])
    members = np.repeat(np.arange(len(prompts)), lengths - shared)
    tokens = np.concatenate([np.asarray(prompt[shared:], dtype=np.int64) for prompt in prompts])
    positions = np.concatenate([np.arange(shared, n) for n in lengths])
    last = np.cumsum(lengths - shared) - 1
    states = [
        compute(members[i : i + pack], tokens[i : i + pack], positions[i : i + pack])
        for i in range(0, len(tokens), pack)
    ]
    hidden = torch.cat(states)[torch.from_numpy(last).to(states[0].device)]
    answers: list[list[int]] = [[] for _ in prompts]
    active = np.arange(len(prompts))
    for step in range(1, new + 1):
        chosen = packed.split.logits(hidden).argmax(-1).cpu().numpy()
        goes_on = ~np.isin(chosen, list(ends))
        for i, token in zip(active[goes_on].tolist(), chosen[goes_on].tolist(), strict=True):
            answers[i].append(token)
        if is_done is not None:
            goes_on &= np.array([not is_done(answers[i]) for i in active.tolist()])
        active, chosen = active[goes_on], chosen[goes_on]
        if not len(active) or step == new:
            break
        written = np.array([len(answers[i]) for i in active.tolist()])
        hidden = compute(active, chosen.astype(np.int64), lengths[active] + written - 1)
    return answers
