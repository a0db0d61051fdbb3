"""The label-prior head against plain logistic regression on the same frozen vectors, and against its own zero-shot.

    python benchmarks/label_prior.py DATA [--shots 8 64] [--first-seed 0] [--seeds 5]

DATA holds one folder a set with train.csv.gz and test.csv.gz, columns text and label. Protocol as in against_setfit.py;
the frame is the generic one, label names are those of the file, no words are chosen per set. "plain" is scikit-learn's
LogisticRegression with its defaults. Seconds are those of fitting the head on vectors that are there already.
"""

from __future__ import annotations

import argparse
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from data import draw, read, some, spaced
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from fewshot import Classifier, Embedding, load

SETS = ["sst2", "cr", "tweeteval_emotion", "trec6", "ag_news", "snips", "sms_spam", "banking77"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--sets", nargs="+", default=SETS)
    parser.add_argument("--shots", type=int, nargs="+", default=[8, 64])
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--rows-from", choices=["test", "train"], default="test", help="train: to settle constants on")
    options = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)
    encoder = load(cache_bytes=2**30)
    table = []
    for name in options.sets:
        train, rows = (spaced(read(options.data / name, part)) for part in ("train", options.rows_from))
        rows = some(rows)
        train = train.drop(rows.index) if options.rows_from == "train" else train
        classes = sorted(set(train.label))
        line: dict[str, object] = {
            "set": name,
            "zero-shot": Classifier(encoder).fit(None, classes).score(rows.text, rows.label),
        }
        for shots in options.shots:
            results = []
            for seed in range(options.first_seed, options.first_seed + options.seeds):
                shown = draw(train, shots, seed)
                encoder.encode(shown.text.tolist())  # so that the seconds below are the head's alone
                for title, strategy in (("plain", Embedding(LogisticRegression())), ("prior", Embedding())):
                    clf = Classifier(encoder, strategy=strategy, random_state=seed)
                    started = time.perf_counter()
                    clf.fit(shown.text, shown.label)
                    seconds = time.perf_counter() - started
                    proba = clf.predict_proba(rows.text)
                    accuracy = float((clf.classes_[proba.argmax(1)] == rows.label.to_numpy()).mean())
                    loss = log_loss(rows.label, proba, labels=clf.classes_)
                    results.append({"title": title, "accuracy": accuracy, "loss": loss, "seconds": seconds})
            means = pd.DataFrame(results).groupby("title").mean()
            for title in ("plain", "prior"):
                line[f"{title} {shots}"] = means.accuracy[title]
                line[f"loss {title} {shots}"] = means.loss[title]
            line[f"s {shots}"] = means.seconds["prior"]
        table.append(line)
        print(name, flush=True)
    frame = pd.DataFrame(table).set_index("set")
    frame.loc["mean"] = frame.mean()
    print("| set | " + " | ".join(frame.columns) + " |")
    print("| --- " * (len(frame.columns) + 1) + "|")
    for name, values in frame.iterrows():
        shown_values = [f"{v:.2f}" if c.startswith(("s ", "loss")) else f"{v:.3f}" for c, v in values.items()]
        print(f"| {name} | " + " | ".join(shown_values) + " |")
    gain = frame.loc["mean", f"prior {options.shots[0]}"] - frame.loc["mean", f"plain {options.shots[0]}"]
    print(f"\nmean gain over plain logistic regression, {options.shots[0]} per class: {100 * gain:+.1f} points")
    worst = (frame[f"prior {options.shots[0]}"] - frame["zero-shot"]).min()
    print(f"worst difference to the own zero-shot: {100 * worst:+.1f} points")
    assert np.isfinite(frame.to_numpy()).all()


if __name__ == "__main__":
    main()
