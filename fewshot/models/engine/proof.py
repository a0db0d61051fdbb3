"""Compares the packed path with the model's own forward pass on the rows that strain it most.

A window, a chunk or a scale of positions shows on rows that are longer than it, and one that is counted by where a key
lies in the cache (GPT-Neo) shows on rows that lie far behind their own beginning. No config names them all, and long
rows of a large model are dear: so real rows are compared, one or two whenever they are longer, or lie further behind,
than any before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch

from fewshot.models.engine.rounding import Rounding, same_logprobs
from fewshot.models.engine.split import Split, Whole
from fewshot.models.engine.trie import Plan

__all__ = ["Proof", "Watched"]

Row = tuple[int, ...]


class Watched(NamedTuple):
    """A row that strains the packed path."""

    row: Row
    behind: int  # how far its last token lies behind where it would lie alone
    state: torch.Tensor  # the last hidden state, of shape (1, dim)


class Proof:
    """What the packed path of a model, which is given whole and taken apart, has been compared on."""

    def __init__(self, model: Any, split: Split) -> None:
        self.model, self.split = model, split
        self._whole, self._rounding = Whole(model), Rounding(model)
        self._longest = self._furthest = self._answered = 0

    def strained(self, plan: Plan) -> dict[int, int]:
        """The rows of a plan that are longer, or lie further behind their beginning, than any that was compared.

        Each row's number stands by the node of its last token.
        """
        behind = np.zeros(len(plan.trie), dtype=np.int64)
        for step in plan.steps:
            behind[step.nodes] = len(step.cached) + np.arange(len(step.nodes)) - plan.trie.depth[step.nodes]
        last = np.array([path[-1] for path in plan.trie.paths])
        lengths, behind = plan.trie.depth[last] + 1, behind[last]
        watched: dict[int, int] = {}
        if lengths.max() > self._longest:
            watched[int(last[lengths.argmax()])] = int(lengths.argmax())
        if behind.max() > self._furthest:
            watched[int(last[behind.argmax()])] = int(behind.argmax())
        self._longest = max(self._longest, int(lengths.max()))
        self._furthest = max(self._furthest, int(behind.max()))
        return watched

    def search_error(self, watched: Iterable[Watched]) -> str | None:
        """What is wrong with those of these rows that strain the path more than any that was compared, or None."""
        rows = list(watched)
        new = [one for one in rows if len(one.row) > self._longest or one.behind > self._furthest]
        self._longest = max([self._longest, *(len(one.row) for one in rows)])
        self._furthest = max([self._furthest, *(one.behind for one in rows)])
        return self.error([one.row for one in new], [one.state for one in new])

    def error(self, rows: Sequence[Row], states: Sequence[torch.Tensor]) -> str | None:
        """What is wrong with these rows, whose last hidden states by the packed path are given, or None."""
        for row, state in zip(rows, states, strict=True):
            found = self.split.logits(state)[0].float().log_softmax(-1)
            again = partial(self._logprobs, row, [len(row) - 1])
            (expected,) = again()
            if not self._rounding.same(found, expected, again):
                return (
                    f"on {len(row)} tokens its log-probabilities differ by {float((found - expected).abs().max()):.2g}"
                )
        return None

    def answer_error(self, prompts: Sequence[Row], answers: Sequence[list[int]], capacity: int) -> str | None:
        """What is wrong with the greedy answers to the longest prompt and the last one, or None."""
        if capacity <= self._answered or not prompts:
            return None
        self._answered = capacity
        lengths = [len(prompt) + len(answer) for prompt, answer in zip(prompts, answers, strict=True)]
        for i in {int(np.argmax(lengths)), int(np.argmin(lengths))}:  # the shortest lies last in the cache
            prompt, answer = prompts[i], answers[i]
            if not answer:
                continue
            row = (*prompt, *answer[:-1])
            again = partial(self._logprobs, row, list(range(len(prompt) - 1, len(row))))
            logprobs = again()
            chosen, best = logprobs[range(len(answer)), answer], logprobs.amax(-1)
            if not same_logprobs(chosen, best, self.model.dtype) and not self._are_level(chosen, best, logprobs, again):
                return f"on {len(row)} tokens its greedy answer is another"
        return None

    def _are_level(
        self, chosen: torch.Tensor, best: torch.Tensor, logprobs: torch.Tensor, again: Callable[[], torch.Tensor]
    ) -> bool:
        """Whether rounding explains that another token was chosen: it moves either of the two."""
        if not self._rounding.is_measured(logprobs):
            return False
        return float((best - chosen).max()) <= 2 * self._rounding.bound(logprobs, again)

    def _logprobs(self, row: Row, positions: list[int]) -> torch.Tensor:
        ids = torch.tensor([row], device=self.model.device)
        return self._whole.states([0] * len(positions), positions, input_ids=ids).float().log_softmax(-1)
