"""The memory that fine-tuning takes: the embedded model on 5,000 texts, and LoRA on a causal model of 0.5B parameters.

    python benchmarks/memory.py [embedded | lora]

Linux only. The causal model has Qwen2-0.5B's shape, random weights and the tokenizer of the embedded model; a step is 8
texts of about 128 tokens. A few steps of each are taken, since memory is that of a step; the peak is of the whole
process, the libraries and the model included.
"""

from __future__ import annotations

import random
import sys
import time
import warnings
from pathlib import Path
from typing import Any

from fewshot import Classifier, FewshotWarning, FineTuning, LoRA, embedded, load
from fewshot.datasets import load_tickets

WORDS = {"bad": "bad", "good": "good"}
TEMPLATE = "{{ text }} It was {{ label }}."


def texts(n: int, words: int) -> list[str]:
    """Texts of so many words, from the words of the package's own messages."""
    known = " ".join(load_tickets()[0]).split()
    rng = random.Random(0)
    return [" ".join(rng.choices(known, k=words)) for _ in range(n)]


def causal() -> Any:
    """A causal model with random weights."""
    from transformers import Qwen2Config, Qwen2ForCausalLM

    config = Qwen2Config(
        vocab_size=151_936,
        hidden_size=896,
        intermediate_size=4864,
        num_hidden_layers=24,
        num_attention_heads=14,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
    )
    return load((Qwen2ForCausalLM(config), embedded.read()[1]))


def main() -> None:
    warnings.simplefilter("ignore", FewshotWarning)
    what = sys.argv[1] if len(sys.argv) > 1 else "embedded"
    if what == "embedded":
        model, X, strategy = (
            "embedded:masked",
            texts(5000, 40),
            FineTuning(steps=10, early_stopping=False, calibration=None),
        )
    else:
        model, X = causal(), texts(16, 90)
        strategy = FineTuning(parameters=LoRA(), steps=2, batch_size=8, calibration=None)
    clf = Classifier(model, TEMPLATE, WORDS, strategy, random_state=0)
    started = time.perf_counter()
    clf.fit(X, ["bad", "good"] * (len(X) // 2))
    peak = int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) / 2**20
    trained = clf.strategy_.n_trained_
    print(f"{what}: {len(X)} texts, {trained:,} numbers trained, {time.perf_counter() - started:.0f} s, {peak:.1f} GiB")


if __name__ == "__main__":
    main()
