"""From when on two names of classes are read alike by an encoder: `ALIKE` and `ALIKE_OF_MANY` of fewshot/labels.py.

    PYTHONPATH=benchmarks python benchmarks/settle/names_alike.py FOLDER

FOLDER has one folder a set, as benchmarks/data.py reads them; only the names of its classes are used. For each set it
prints the pair of class prompts that is nearest, and how far it is apart as a share of the median pair. The same for
the six names of `load_tickets` and one more that means the same as one of them. The sets, and the scales, must not be
warned about.
"""

from __future__ import annotations

import sys
from pathlib import Path

from data import read

from fewshot import Classifier, Embedding
from fewshot.datasets import load_tickets
from fewshot.labels import nearest_pairs

MORE = ("sign-up", "sign up"), ("cafe", "café"), ("refund request", "refund requests"), ("film", "movie")
MORE += ("payment problem", "payment issue"), ("bug report", "bug reports"), ("delivery", "deliveries")
MORE += ("customer service", "customer services"), ("bug report", "bug  report"), ("billing", "billing.")
MORE += ("bug report", "bug-report"), ("cancellation", "cancelation"), ("user interface", "user-interface")
SCALES = [["terrible", "bad", "okay", "good", "great"]]
SCALES += [["very negative", "negative", "neutral", "positive", "very positive"]]
SCALES += [["very negative", "somewhat negative", "neutral", "somewhat positive", "very positive"]]


def show(title: str, names: list[str]) -> None:
    """Print the nearest pair of a set."""
    clf = Classifier(strategy=Embedding()).fit(None, names)
    (i, j), share = nearest_pairs(clf.strategy_.prototypes_)[0]
    classes = clf.classes_.tolist()
    print(f"{share:6.3f}  {title}: {classes[i]!r} and {classes[j]!r}", flush=True)


if __name__ == "__main__":
    for folder in sorted(Path(sys.argv[1]).iterdir()):
        if (folder / "train.csv.gz").exists():
            frame = read(folder, "train")
            names = sorted(set(frame.label)) if "label" in frame else []
            if 2 < len(names) < 500:
                show(folder.name, names)
                show(f"{folder.name}, blanks", [name.replace("_", " ") for name in names])
    for graded in SCALES:
        show("a scale", sorted(graded))
    six = sorted(set(load_tickets()[1]))
    show("tickets", six)
    for pair in MORE:
        show("tickets and", sorted({*six, *pair}))
