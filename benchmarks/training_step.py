"""What a training step of the embedded model costs: attention, size of its parts, gradient of the word embeddings.

    python benchmarks/training_step.py

A step is the 16 longest of the package's own messages; seconds are the best of five, the variants taking turns.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from fewshot import load
from fewshot.datasets import load_tickets
from fewshot.models.base import Query
from fewshot.models.local import batches
from fewshot.training.copies import own_copy

ROUNDS = 5


def step(attention: str, part_tokens: int, *, embeddings: bool = True) -> Callable[[], Any]:
    """A step of one variant, ready to be taken."""
    lm = load("embedded:masked")
    model, _ = own_copy(lm.model, "all")
    model.set_attn_implementation(attention)
    model.get_input_embeddings().weight.requires_grad_(embeddings)
    tuned = lm.around(model, None)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-6, fused=True)
    texts = sorted(load_tickets()[0], key=len)[-16:]
    queries = [Query(f"{text} It is about ", ("bills", "bugs"), ".") for text in texts]
    sizes = lm.n_inputs(queries)

    def take() -> None:
        optimizer.zero_grad()
        for part in batches(sizes, part_tokens):
            logprobs, _ = tuned.differentiable([queries[i] for i in part])
            (-logprobs[:, 0].sum()).backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()

    take.tokens = sum(sizes)  # type: ignore[attr-defined]
    return take


def main() -> None:
    variants = {
        "eager attention, one part": step("eager", 10**6),
        "fused attention, one part": step("sdpa", 10**6),
        "eager attention, parts of 1,024 tokens": step("eager", 1024),
        "eager attention, parts of 256 tokens": step("eager", 256),
        "eager attention, parts of 128 tokens": step("eager", 128),
        "eager attention, one part, word embeddings frozen": step("eager", 10**6, embeddings=False),
    }
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(ROUNDS + 1):  # the first warms up
        for name, take in variants.items():
            started = time.perf_counter()
            take()
            seconds[name].append(time.perf_counter() - started)
    best = {name: float(np.min(values[1:])) for name, values in seconds.items()}
    first = next(iter(best.values()))
    print(f"| a step of {next(iter(variants.values())).tokens} tokens | seconds | ratio |\n| --- | --- | --- |")
    for name, value in best.items():
        print(f"| {name} | {value:.2f} | {value / first:.2f} |")


if __name__ == "__main__":
    main()
