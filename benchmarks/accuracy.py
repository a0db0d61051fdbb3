"""Accuracy of the default model from label names alone and from 8 examples per class, on public data sets.

    python benchmarks/accuracy.py DATA [--sets sst2 ag_news trec6 snips] [--shots 8] [--seeds 5]

DATA holds one folder a set with train.csv.gz and test.csv.gz, columns text and label. For each class in sorted order
the examples are ``train[train.label == c].sample(k, random_state=seed)``; the test rows are
``test.sample(min(600, n), random_state=0)``. Label names are those of the file, underscores to blanks; template and
strategy are the defaults.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import pandas as pd

from fewshot import Classifier


def read(folder: Path, part: str) -> pd.DataFrame:
    return pd.read_csv(folder / f"{part}.csv.gz", keep_default_na=False, dtype=str)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--sets", nargs="+", default=["sst2", "ag_news", "trec6", "snips"])
    parser.add_argument("--shots", type=int, default=8)
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    print(f"| set | classes | zero-shot | {options.shots} per class, mean (s.d.) of {options.seeds} draws | seconds |")
    print("| --- | --- | --- | --- | --- |")
    for name in options.sets:
        started = time.perf_counter()
        train, test = read(options.data / name, "train"), read(options.data / name, "test")
        test = test.sample(min(600, len(test)), random_state=0)
        classes = sorted(set(train.label))
        zero = Classifier().fit(None, classes).score(test.text, test.label)
        few = []
        for seed in range(options.seeds):
            shown = pd.concat([train[train.label == c].sample(options.shots, random_state=seed) for c in classes])
            few.append(Classifier(random_state=seed).fit(shown.text, shown.label).score(test.text, test.label))
        seconds = time.perf_counter() - started
        print(
            f"| {name} | {len(classes)} | {zero:.3f} | {np.mean(few):.3f} ({np.std(few):.3f}) | {seconds:.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
