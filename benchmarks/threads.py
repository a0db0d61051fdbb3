"""Eight threads against one caller: what comes back wrong, what crashes, and what it costs.

    python benchmarks/threads.py [--calls 240] [--threads 8]

Every kind of model is a tiny one with random weights, as the tests build them; a call scores, measures, reads,
generates or encodes up to three texts. Wrong is what differs from the same call alone by more than 1e-3 nats, or in a
letter.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from fewshot import CachedLM, FakeLM, load
from fewshot.models.base import Query, Turn
from fewshot.models.encoder import SentenceEncoder
from tests.conftest import pair, sentence_model
from tests.together import together

TEXTS = [f"I was charged {i} times this month{' and it is bad' * (i % 5)}." for i in range(24)]
WORDS = ("good", "bad", "terrible news")
KINDS = {
    "causal": "gpt2",
    "causal, chat": "gpt2-chat",
    "masked": "bert",
    "seq2seq": "t5",
    "entailment": "nli",
}

Call = Callable[[], list[Any]]


def queries(kind: str, i: int) -> list[Query]:
    texts = [TEXTS[(i + j) % len(TEXTS)] for j in range(1 + i % 3)]
    if kind == "entailment":
        return [Query("It is about ", WORDS, ".", (Turn("premise", text),)) for text in texts]
    return [Query(f"Review: {text} It was ", WORDS, ".", (Turn("user", "Be brief. " * (i % 4)),)) for text in texts]


def calls_of(lm: Any, n: int) -> list[Call]:
    ways: list[Callable[[list[Query]], list[Any]]] = [
        lambda asked: [one.logprobs for one in lm.loglikelihoods(asked)],
        lambda asked: [lm.lengths(asked)],
        lambda asked: list(lm.token_ends([query.prefix for query in asked])),
    ]
    if lm.kind in ("causal", "masked", "seq2seq") and getattr(lm, "hidden", True) is not None:
        ways.append(lambda asked: [lm.read(asked, "hidden")])
    if lm.kind in ("causal", "seq2seq"):
        ways.append(lambda asked: list(lm.generate(asked, 5)))
    return [lambda i=i: ways[i % len(ways)](queries(lm.kind, i)) for i in range(n)]  # type: ignore[misc]


def models(folder: str, n: int) -> dict[str, list[Call]]:
    encoder = SentenceEncoder(sentence_model(), cache_bytes=0)
    fake = FakeLM(lambda query: [float(len(query.prefix) + len(word)) for word in query.candidates])
    made = {name: calls_of(load(pair(key)), n) for name, key in KINDS.items()}
    made["encoder"] = [lambda i=i: [encoder.encode([TEXTS[i % 24], TEXTS[i * 7 % 24]])] for i in range(n)]  # type: ignore[misc]
    made["FakeLM"] = calls_of(fake, n)
    made["CachedLM"] = calls_of(CachedLM(load(pair("gpt2")), f"{folder}/scores.sqlite"), n)
    return made


def same(one: list[Any], other: list[Any]) -> bool:
    pairs = list(zip(one, other, strict=True))
    return all(a == b if isinstance(a, str) else np.allclose(a, b, atol=1e-3) for a, b in pairs)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--calls", type=int, default=240)
    parser.add_argument("--threads", type=int, default=8)
    args = parser.parse_args()
    print("| kind | calls | threads | wrong | crashed | seconds, one caller | seconds, threads |")
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for name, calls in models(folder, args.calls).items():
            calls[0]()  # what is made once
            began = time.perf_counter()
            alone = [call() for call in calls]
            middle = time.perf_counter()
            found = together(calls, args.threads)
            ended = time.perf_counter()
            crashed = sum(isinstance(one, Exception) for one in found)
            wrong = sum(not isinstance(a, Exception) and not same(a, b) for a, b in zip(found, alone, strict=True))
            print(
                f"| {name} | {len(calls)} | {args.threads} | {wrong} | {crashed} | {middle - began:.2f} "
                f"| {ended - middle:.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
