"""Several labels a text: 27 emotions and "neutral" (GoEmotions), from label names alone and with examples.

    python benchmarks/multi_label.py DATA [--shots 8 32] [--seeds 3]

DATA/goemotions holds train.csv.gz and test.csv.gz, columns text and label, the labels of a row joined by "|". Examples
are drawn label by label in sorted order, k rows that have it (``sample(k, random_state=seed)``), repeated rows once;
test rows are ``test.sample(1000, random_state=0)``. The peer is scikit-learn's LogisticRegression with its defaults,
one versus rest, on the same vectors. Mean average precision is over labels; F1 at the threshold one half.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from data import read, some
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, f1_score, log_loss

from fewshot import Classifier, Embedding, Verbalizer, load


def indicator(labels: pd.Series, names: list[str]) -> pd.DataFrame:
    return labels.str.replace("_", " ").str.get_dummies("|").reindex(columns=names, fill_value=0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--shots", type=int, nargs="+", default=[8, 32])
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    train, test = read(options.data / "goemotions", "train"), read(options.data / "goemotions", "test")
    test = some(test, 1000)
    names = sorted({name.replace("_", " ") for row in train.label for name in row.split("|")})
    all_y, truth = indicator(train.label, names), indicator(test.label, names).to_numpy()
    there = truth.sum(axis=0) > 0  # average precision needs a positive row
    encoder = load()
    rows = []

    def judge(title: str, clf: Classifier) -> None:
        proba = clf.predict_proba(test.text)[:, [list(clf.classes_).index(name) for name in names]]
        losses = [log_loss(truth[:, j], proba[:, j], labels=[0, 1]) for j in range(len(names))]
        rows.append(
            {
                "way": title,
                "mean average precision": average_precision_score(truth[:, there], proba[:, there], average="macro"),
                "micro-F1": f1_score(truth, proba > 0.5, average="micro", zero_division=0),
                "macro-F1": f1_score(truth, proba > 0.5, average="macro", zero_division=0),
                "log loss a label": float(np.mean(losses)),
            }
        )

    verbalizer = Verbalizer({name: name for name in names}, multi_label=True)
    judge("label names alone", Classifier(encoder, verbalizer=verbalizer).fit())
    for shots in options.shots:
        for seed in range(options.seeds):
            drawn = [all_y.index[all_y[name] == 1].to_series().sample(shots, random_state=seed) for name in names]
            chosen = pd.concat(drawn).drop_duplicates()
            X, y = train.text[chosen], all_y.loc[chosen]
            judge(f"{shots} a label, plain", Classifier(encoder, strategy=Embedding(LogisticRegression())).fit(X, y))
            judge(f"{shots} a label, label names as prior", Classifier(encoder, strategy=Embedding()).fit(X, y))
    frame = pd.DataFrame(rows).groupby("way", sort=False).mean()
    print("| way | " + " | ".join(frame.columns) + " |")
    print("| --- " * (len(frame.columns) + 1) + "|")
    for title, values in frame.iterrows():
        print(f"| {title} | " + " | ".join(f"{v:.3f}" for v in values) + " |")


if __name__ == "__main__":
    main()
