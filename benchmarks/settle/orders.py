"""What averaging over the orders of the listed label words gives, and how the average is best taken.

    PYTHONPATH=benchmarks python benchmarks/settle/orders.py DATA SCORES [--model ...] [--template ...] [--sets ...]

DATA holds one folder a set with train.csv.gz, columns text and label. SCORES is a folder for the word log-scores under
every order, which are computed where they are not there. ``train.sample(200, random_state=0)``: the first 50 are the
unlabelled texts of ``calibration="batch"``, the others are judged; all are training rows. The words are the names of
the classes. A list is asked about under all its rotations and their mirrors, and in a drawn order under four of them:
what ``Prompting(orders=...)`` would say follows. "reversed" and "shuffled" are the shares of the answers that another
order of the same list changes; of two words there is no other order than the reversed one.
"""

from __future__ import annotations

import argparse
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from data import read, spaced
from scipy.special import log_softmax, logsumexp
from sklearn.metrics import balanced_accuracy_score

from fewshot import Classifier, LabelMassWarning, Prompting, load
from fewshot.calibration import Batch
from fewshot.calibration.priors import log_loss
from fewshot.task.label_orders import label_orders

SETS = ["sst2", "trec6", "ag_news", "sms_spam"]
UNLABELLED, JUDGED, TIMED = 50, 150, 24
NUMBERS: list[Any] = [1, 2, 4, "all"]
LISTS = ["given", "reversed", "shuffled"]


def classifier(model: Any, template: str, words: list[str], orders: Any) -> Classifier:
    """A classifier whose classes are places in the list, so that it lists the words in this order."""
    verbalizer = {f"{i:03d}": word for i, word in enumerate(words)}
    return Classifier(model, template, verbalizer, Prompting(orders=orders)).fit()


def score(model: Any, template: str, texts: list[str], words: list[str], orders: Any) -> Any:
    """Log-scores of the words under each order of this list, of shape (n_texts, n_orders, n_words)."""
    asking = classifier(model, template, words, orders).strategy_.askings_[0]
    asked = asking.ask(texts)
    said = model.loglikelihoods([query for own in asked.forms for query in own])
    return np.array([one.logprobs for one in said]).reshape(len(texts), -1, len(words))


def timed(model: Any, template: str, texts: list[str], words: list[str], orders: Any) -> float:
    """Seconds a text."""
    clf = classifier(model, template, words, orders)
    clf.predict_proba(texts[:4])
    start = time.perf_counter()
    clf.predict_proba(texts)
    return (time.perf_counter() - start) / len(texts)


def measure(model: Any, options: argparse.Namespace, name: str) -> dict[str, Any]:
    """The scores under every order of a list and of its shuffled twin, and the time that the numbers of orders take."""
    rows = spaced(read(options.data / name, "train")).sample(UNLABELLED + JUDGED, random_state=0)
    words = sorted(set(rows.label))
    shuffled = np.random.RandomState(0).permutation(len(words))
    texts, most = rows.text.tolist(), options.most or "all"
    numbers = [orders for orders in NUMBERS if options.most is None or (orders != "all" and orders <= options.most)]
    found = {
        "labels": np.searchsorted(words, rows.label),
        "shuffled": shuffled,
        "given_scores": score(model, options.template, texts, words, most),
        "shuffled_scores": score(model, options.template, texts, [words[i] for i in shuffled], options.most or 4),
        "seconds": [timed(model, options.template, texts[:TIMED], words, orders) for orders in numbers],
    }
    return {key: np.asarray(value) for key, value in found.items()}


def places(found: dict[str, Any], which: str, orders: Any) -> list[int] | None:
    """Where the scores under some orders of a list stand; None where one of them was not asked about."""
    _, n_known, n = found["shuffled_scores" if which == "shuffled" else "given_scores"].shape
    known = {order: k for k, order in enumerate(label_orders(n, n_known))}
    wanted = label_orders(n, orders)
    if which == "reversed":
        wanted = tuple(tuple(n - 1 - i for i in order) for order in wanted)
    return [known[order] for order in wanted] if all(order in known for order in wanted) else None


def averaged(found: dict[str, Any], which: str, at: list[int], mean: str) -> Any:
    """Word log-scores of a list in the columns of the given one, in the mean over some orders."""
    scores = found["shuffled_scores" if which == "shuffled" else "given_scores"]
    own = log_softmax(scores[:, at], axis=2)
    out = own.mean(axis=1) if mean == "log" else logsumexp(own, axis=1) - np.log(len(at))
    return out[:, np.argsort(found["shuffled"])] if which == "shuffled" else out


def calibrated(scores: Any, calibration: str) -> Any:
    """Log-probabilities of the judged rows."""
    if calibration == "batch":
        return log_softmax(Batch().fit(scores[:UNLABELLED]).transform(scores[UNLABELLED:]), axis=1)
    return log_softmax(scores[UNLABELLED:], axis=1)


def line(found: dict[str, Any], orders: Any, mean: str, calibration: str) -> list[float]:
    """Balanced accuracy, log loss, flips under reversal and under a shuffle; NaN where that was not asked about."""
    labels, said = found["labels"][UNLABELLED:], []
    scores = None
    for which in LISTS:
        at = places(found, which, orders)
        own = None if at is None else calibrated(averaged(found, which, at, mean), calibration)
        scores = own if which == "given" else scores
        said.append(np.full(len(labels), -1) if own is None else own.argmax(axis=1))
    if scores is None:
        return [np.nan] * 4
    flips = [np.nan if (one < 0).all() else float(np.mean(one != said[0])) for one in said[1:]]
    return [float(balanced_accuracy_score(labels, said[0])), log_loss(scores, labels), *flips]


def report(each: dict[str, dict[str, Any]]) -> None:
    """Print a table of each calibration and mean; the last cells are means over the sets."""
    for calibration in ("none", "batch"):
        for mean in ("log", "probability"):
            print(
                f"| {calibration}, mean of {mean}: balanced accuracy / log loss / flips reversed / shuffled | ", end=""
            )
            print(" | ".join([*each, "mean"]) + " |\n" + "| --- " * (len(each) + 2) + "|")
            for orders in NUMBERS:
                lines = [line(found, orders, mean, calibration) for found in each.values()]
                lines.append(np.mean(lines, axis=0).tolist())
                print(f"| {orders} | " + " | ".join(" / ".join(f"{x:.3f}" for x in own) for own in lines) + " |")
            print()
    print("| seconds a text | " + " | ".join(each) + " |\n" + "| --- " * (len(each) + 1) + "|")
    for k, orders in enumerate(NUMBERS):
        times = (found["seconds"][k] if k < len(found["seconds"]) else np.nan for found in each.values())
        print(f"| {orders} | " + " | ".join(f"{own:.3f}" for own in times) + " |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("scores", type=Path)
    parser.add_argument("--model", default="embedded:causal")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--template", default="generic/listed")
    parser.add_argument("--sets", nargs="+", default=SETS)
    parser.add_argument("--most", type=int, help="orders of each list that are asked about; all by default")
    options = parser.parse_args()
    warnings.simplefilter("ignore", LabelMassWarning)
    options.scores.mkdir(parents=True, exist_ok=True)
    model, each = None, {}
    for name in options.sets:
        path = options.scores / f"{options.template.replace('/', '-')}-{name}.npz"
        if not path.exists():
            model = model or load(options.model, dtype=options.dtype)
            np.savez(path, **measure(model, options, name))
            print(f"{path.name}: scored", flush=True)
        each[name] = dict(np.load(path))
    report(each)


if __name__ == "__main__":
    main()
