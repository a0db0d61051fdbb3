"""Which order of each text's own demonstrations computes the fewest tokens, and what it does to the answers.

    PYTHONPATH=benchmarks python benchmarks/settle/demonstration_order.py DATA SCORES [--draws 4] [--rows 8]

DATA holds one folder a set with train.csv.gz, columns text and label. Of ``train.sample(frac=1, random_state=draw)``
the first 48 rows are labelled, and each of the next rows of their classes is shown its 8 nearest: training rows alone.
Tokens are what the plan of 200 rows computes, prompts and label words, over those of "nearest last". The orders:

- nearest last, as is, common first: those of ``Nearest``;
- by count: as "common first", the count of neighbours not being multiplied by the length;
- tree: the nearest row last, the others along a tree that is made of the labelled rows' own sets, from the root: the
  row with the highest count times length comes first, and the sets with it and without it go on apart;
- tree of the texts: the same of the asked texts themselves, which a prompt must not depend on: a bound.

SCORES is a folder for the class log-scores of the first rows under ORDERS, which are computed where they are not there,
in the model's own chat format and as plain text.
"""

from __future__ import annotations

import argparse
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from data import read, spaced

from fewshot import Classifier, LabelMassWarning, Prompting, load
from fewshot.calibration.priors import log_loss
from fewshot.demonstrations import Nearest, Selector
from fewshot.models.engine.reads import Reads
from fewshot.models.engine.trie import build_trie, make_plan
from fewshot.models.local import cut_into_chunks

LABELLED, SHOTS, PLANNED = 48, 8, 200
ORDERS = ["nearest last", "common first"]
MORE = ["as is", "by count", "tree", "tree of the texts"]  # of which only the tokens are counted


class Arranged(Selector):
    """The nearest rows in an order that is only compared here, with the nearest one last."""

    shared, needs_encoder, order = False, True, "as is"

    def __init__(self, way: str = "tree") -> None:
        self.way = way

    def _fit(self, texts: Any, y: Any, rng: Any) -> None:
        self.nearest = Nearest().fit(texts, y, self._shots, rng, self.encoder_)
        self.sets = [set(rows.tolist()) for rows in self.nearest.select(texts)]
        self.sizes = [1 if self.way == "by count" else len(text) for text in texts]

    def select(self, texts: Any) -> list[Any]:
        """For each text, the row numbers in prompt order."""
        shown = [rows.tolist() for rows in self.nearest.select(texts)]
        counts = Counter(i for own in self.sets for i in own)
        place = {i: (-counts[i] * size, i) for i, size in enumerate(self.sizes)}
        if self.way == "by count":
            return [np.array([*sorted(rows[:-1], key=place.get), rows[-1]]) for rows in shown]
        tree = grow([set(rows[:-1]) for rows in shown] if self.way == "tree of the texts" else self.sets, self.sizes)
        return [np.array([*walk(tree, set(rows[:-1]), place), rows[-1]]) for rows in shown]


class Remembered:
    """An encoder that encodes each text once, since every order asks about the same ones."""

    def __init__(self, encoder: Any) -> None:
        self.encoder = encoder
        self.known: dict[str, Any] = {}
        self.fingerprint = encoder.fingerprint

    def __sklearn_clone__(self) -> Remembered:
        return self

    def encode(self, texts: Any) -> Any:
        """The vectors of texts."""
        new = [text for text in dict.fromkeys(texts) if text not in self.known]
        self.known |= zip(new, self.encoder.encode(new) if new else (), strict=True)
        return np.stack([self.known[text] for text in texts])


def grow(sets: list[set[int]], sizes: list[int]) -> list[tuple[int, Any]]:
    """The children of a node, in the order in which they are tried: a row, and the children of that."""
    children = []
    while sets := [own for own in sets if own]:
        counts = Counter(i for own in sets for i in own)
        best = min(counts, key=lambda i: (-counts[i] * sizes[i], i))
        children.append((best, grow([own - {best} for own in sets if best in own], sizes)))
        sets = [own for own in sets if best not in own]
    return children


def walk(children: list[tuple[int, Any]], rows: set[int], place: dict[int, Any]) -> list[int]:
    """The rows along the tree as far as it goes, and the rest in the fixed order."""
    for row, below in children:
        if row in rows:
            return [row, *walk(below, rows - {row}, place)]
    return sorted(rows, key=place.__getitem__)


def ask(model: Any, encoder: Any, data: Path, name: str, draw: int, order: str) -> tuple[Classifier, Any]:
    """The classifier that is fitted on the labelled rows of a draw, and the rows that may be asked."""
    train = spaced(read(data / name, "train")).sample(frac=1, random_state=draw)
    labelled, others = train[:LABELLED], train[LABELLED:]
    selection = Nearest(order=order) if order in (*ORDERS, "as is") else Arranged(order)
    clf = Classifier(model, strategy=Prompting(SHOTS, selection, encoder=encoder))
    return clf.fit(labelled.text, labelled.label), others[others.label.isin(set(labelled.label))]


def count_tokens(clf: Classifier, model: Any, texts: list[str]) -> int:
    """Tokens that go through the model, by its plan."""
    queries = clf.strategy_.askings_[0].ask(texts).queries
    total = 0
    for chunk in cut_into_chunks(sorted(queries, key=lambda query: query.context)):
        reads = Reads()
        model.plan(chunk, reads)
        trie = build_trie(reads.rows)
        wanted = np.zeros(len(trie), dtype=bool)
        wanted[reads.settle(trie.paths)] = True
        total += make_plan(trie, wanted).n_computed
    return total


def report_tokens(model: Any, encoder: Any, options: argparse.Namespace) -> None:
    """Print the tokens of each order over those of the first."""
    print("| tokens computed, of nearest last | " + " | ".join(options.sets) + " | mean |")
    print("| --- " * (len(options.sets) + 2) + "|")
    first: dict[tuple[str, int], int] = {}
    for order in [*ORDERS, *MORE]:
        shares = []
        for name in options.sets:
            own = []
            for draw in range(options.draws):
                clf, rows = ask(model, encoder, options.data, name, draw, order)
                n = count_tokens(clf, model, rows.text[:PLANNED].tolist())
                own.append(n / first.setdefault((name, draw), n))
            shares.append(np.mean(own))
        cells = " | ".join(f"{share:.3f}" for share in [*shares, np.mean(shares)])
        print(f"| {order} | {cells} |", flush=True)
    print()


def score(model: Any, encoder: Any, options: argparse.Namespace, name: str, draw: int, order: str) -> Any:
    """Accuracy and log loss of one draw, from the folder where the scores are there."""
    kind = "chat" if model.chat else "plain"
    path = options.scores / f"{name}-{draw}-{options.rows}-{kind}-{order.replace(' ', '-')}.npz"
    if not path.exists():
        clf, rows = ask(model, encoder, options.data, name, draw, order)
        rows = rows[: options.rows]
        targets = np.searchsorted(clf.classes_, rows.label)
        np.savez(path, scores=clf.predict_log_proba(rows.text), targets=targets)
        print(f"{path.name}: scored", flush=True)
    found = np.load(path)
    accuracy = np.mean(found["scores"].argmax(axis=1) == found["targets"])
    return accuracy, log_loss(found["scores"], found["targets"])


def report_scores(models: list[Any], encoder: Any, options: argparse.Namespace) -> None:
    """Print what the orders do to the answers, and the difference from the first with its standard error."""
    found: dict[tuple[bool, str, str], list[Any]] = {}
    for draw in range(options.draws):
        for model in models:
            for name in options.sets:
                for order in ORDERS:
                    scores = score(model, encoder, options, name, draw, order)
                    found.setdefault((model.chat, name, order), []).append(scores)
    print("\n| accuracy, log loss | " + " | ".join(options.sets) + " | mean | from nearest last |")
    print("| --- " * (len(options.sets) + 3) + "|")
    for chat in [model.chat for model in models]:
        report_lines(f"{'chat' if chat else 'plain'}, ", [chat], found, options.sets)
    report_lines("", [model.chat for model in models], found, options.sets)


def report_lines(title: str, chats: list[bool], found: Any, sets: list[str]) -> None:
    """One line an order: means over draws and formats; the differences are those of the cells."""
    for order in ORDERS:
        of_sets = [np.mean([found[chat, name, order] for chat in chats], axis=(0, 1)) for name in sets]
        cells = [f"{accuracy:.3f}, {loss:.3f}" for accuracy, loss in [*of_sets, np.mean(of_sets, axis=0)]]
        every = [np.ravel([found[chat, name, one] for chat in chats for name in sets]) for one in (order, ORDERS[0])]
        apart = (every[0] - every[1]).reshape(-1, 2)
        error = apart.std(axis=0, ddof=1) / np.sqrt(len(apart))
        more = ", ".join(f"{mean:+.3f} ± {one:.3f}" for mean, one in zip(apart.mean(axis=0), error, strict=True))
        print(f"| {title}{order} | " + " | ".join(cells) + f" | {more} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("scores", type=Path)
    parser.add_argument("--sets", nargs="+", default=["ag_news", "banking77", "trec6"])
    parser.add_argument("--draws", type=int, default=4)
    parser.add_argument("--rows", type=int, default=8)
    options = parser.parse_args()
    options.scores.mkdir(parents=True, exist_ok=True)
    warnings.simplefilter("ignore", LabelMassWarning)
    encoder = Remembered(load(None))
    models = [load("embedded:causal", chat=chat) for chat in (False, True)]
    report_tokens(models[0], encoder, options)
    report_scores(models, encoder, options)


if __name__ == "__main__":
    main()
