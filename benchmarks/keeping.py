"""Bytes and seconds to keep a fitted classifier, and to load it again, against pickle where that works.

    python benchmarks/keeping.py [--rounds 3]

Fitted on the embedded tickets. Every model is in memory already and shared by `load`, except weights of the folder's
own; so the seconds are those of files, checksums and fingerprints (hashing all weights, once a model), not of a first
start. The best round counts. Each loaded classifier is compared with the one that was kept: the table says by how much
their probabilities differ at the most.
"""

from __future__ import annotations

import argparse
import pickle
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression

from fewshot import Classifier, Contrastive, Embedding, Prompting, Readout
from fewshot.datasets import load_tickets

CASES = {
    "prompting, embedded masked model": ("embedded:masked", lambda: Prompting(calibration="auto")),
    "readout of hidden states, same model": ("embedded:masked", Readout),
    "kNN prompting, same model": ("embedded:masked", Readout.knn_prompting),
    "prompting, nearest demonstrations": ("embedded:masked", lambda: Prompting(4, "nearest")),
    "embedding, frozen default encoder": (None, Embedding),
    "embedding, tuned encoder": (None, lambda: Embedding(tuning=Contrastive())),
    "embedding, foreign head: logistic regression": (None, lambda: Embedding(LogisticRegression())),
    "embedding, foreign head: 100 trees": (None, lambda: Embedding(RandomForestClassifier(random_state=0))),
}
TREES = ["sklearn.tree._tree.Tree"]


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    started = time.perf_counter()
    found = call()
    return time.perf_counter() - started, found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    texts, labels = load_tickets()
    print("| classifier | bytes | files | seconds to save | to load | pickle: bytes | dumps | loads | difference |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for name, (model, strategy) in CASES.items():
        clf = Classifier(model, strategy=strategy(), random_state=0).fit(texts, labels)
        expected = clf.predict_proba(texts)
        saves, loads, dumps, thaws, gap = [], [], [], [], 0.0
        with tempfile.TemporaryDirectory() as root:
            for i in range(options.rounds):
                seconds, folder = timed(lambda clf=clf, path=Path(root) / str(i): clf.save(path))
                saves.append(seconds)
                seconds, again = timed(lambda folder=folder: Classifier.load(folder, trusted=TREES))
                loads.append(seconds)
                gap = max(gap, float(np.abs(again.predict_proba(texts) - expected).max()))
                seconds, data = timed(lambda clf=clf: pickle.dumps(clf))
                dumps.append(seconds)
                thaws.append(timed(lambda data=data: pickle.loads(data))[0])
            files = [path for path in folder.rglob("*") if path.is_file()]
            size = sum(path.stat().st_size for path in files)
        print(
            f"| {name} | {size:,} | {len(files)} | {min(saves):.2f} | {min(loads):.2f} | {len(data):,} | "
            f"{min(dumps):.2f} | {min(thaws):.2f} | {gap:.1g} |"
        )


if __name__ == "__main__":
    main()
