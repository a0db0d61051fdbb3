"""Texts a second of the encoder, against SentenceTransformer.encode with its defaults, and what a faster type costs.

    python benchmarks/encoding.py DATA [--rows 600] [--rounds 3]

DATA holds one folder a set with train.csv.gz and test.csv.gz. Both sides read the test rows of three sets in one call,
alternating; the best round counts. "fast" is ``load(dtype="fast")``: bfloat16 where the processor computes it natively,
else float32. Accuracy is that of ``Embedding()`` with 8 examples per class (seed 0), on those rows.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from data import draw, read, some

from fewshot import Classifier, Embedding, load

SETS = ["sst2", "ag_news", "trec6"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--rows", type=int, default=600)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    data = {name: (read(options.data / name, "train"), read(options.data / name, "test")) for name in SETS}
    tests = {name: some(test, options.rows) for name, (_, test) in data.items()}
    texts = [text for test in tests.values() for text in test.text]
    encoders = {"float32": load(cache_bytes=0), "fast": load(dtype="fast", cache_bytes=0)}
    peer = load().model
    ways = {"SentenceTransformer.encode": lambda: peer.encode(texts, show_progress_bar=False)}
    ways |= {f"ours, {name}": lambda e=encoder: e.encode(texts) for name, encoder in encoders.items()}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(options.rounds):
        for name, way in ways.items():
            started = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - started)
    slow = min(seconds["SentenceTransformer.encode"])
    print(f"{len(texts)} texts; fast is {next(encoders['fast'].model.parameters()).dtype}; torch {torch.__version__}\n")
    print("| way | texts a second | ratio | accuracy, mean of the sets |\n| --- | --- | --- | --- |")
    for name, took in seconds.items():
        encoder = encoders.get(name.removeprefix("ours, "))
        accuracy = "" if encoder is None else f"{mean_accuracy(encoder, data, tests):.3f}"
        print(f"| {name} | {len(texts) / min(took):.0f} | {slow / min(took):.2f} | {accuracy} |")


def mean_accuracy(encoder: object, data: dict[str, tuple[pd.DataFrame, ...]], tests: dict[str, pd.DataFrame]) -> float:
    scores = []
    for name, (train, _) in data.items():
        shown = draw(train, 8, 0)
        clf = Classifier(encoder, strategy=Embedding(), random_state=0).fit(shown.text, shown.label)
        scores.append(clf.score(tests[name].text, tests[name].label))
    return float(np.mean(scores))


if __name__ == "__main__":
    main()
