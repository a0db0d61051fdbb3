"""The demonstration behind ``fewshot demo``: the main job, on real text, offline."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fewshot.classifier import Classifier
from fewshot.datasets import load_tickets
from fewshot.extras import pip_line
from fewshot.labels import orders_of_classes

__all__ = ["interval", "run"]

SHOTS = 8
SEED = 0


def run(
    picture: Path, replaced: Callable[[Path], AbstractContextManager[Path]] = nullcontext
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the demonstration line by line, each with its facts, and save the confusion matrix of its last step.

    The picture is written to what ``replaced`` opens for it, which may put it into place only when it is whole.
    """
    texts, labels = (np.array(part, dtype=object) for part in load_tickets())
    orders = orders_of_classes(labels.tolist(), np.random.RandomState(SEED))
    classes = list(orders)
    shown = np.concatenate([rows[:SHOTS] for rows in orders.values()])
    rest = np.setdiff1d(np.arange(len(texts)), shown)
    yield (
        f"{len(texts)} customer-support messages, {len(classes)} classes: {', '.join(classes)}",
        {"messages": len(texts), "classes": classes},
    )
    yield f"Tested on the {len(rest)} messages that are in no example.\n", {"tested": len(rest)}

    started = time.perf_counter()
    zero = Classifier(random_state=SEED).fit(None, classes)
    yield _report("Label names alone", zero, texts[rest], labels[rest], started)
    started = time.perf_counter()
    few = Classifier(random_state=SEED).fit(texts[shown], labels[shown])
    yield _report(f"{SHOTS} examples per class", few, texts[rest], labels[rest], started)
    chosen = few.strategy_.report_.chosen
    yield f"{'':22} {chosen}, chosen by cross-validation", {"chosen": chosen}

    yield "\nTen predictions:", {}
    probabilities = few.predict_proba(texts[rest[:10]])
    for text, label, p in zip(texts[rest[:10]], labels[rest[:10]], probabilities, strict=True):
        best = str(few.classes_[p.argmax()])
        mark = " " if best == label else "x"
        yield f"{mark} {p.max():4.0%} {best:16} {text if len(text) <= 78 else text[:75] + '...'}", {}
    with replaced(picture) as new:
        saved = _confusion(few, texts[rest], labels[rest], new)
    if saved:
        yield f"\nThe confusion matrix is in {picture}.", {"picture": str(picture)}
    else:
        yield f"\nNo picture: matplotlib is not installed ({pip_line('matplotlib')}).", {"picture": None}


def interval(correct: NDArray[Any]) -> tuple[float, float]:
    """A 95 % bootstrap confidence interval of the accuracy (percentiles over rows drawn again)."""
    rng = np.random.RandomState(SEED)
    means = correct[rng.randint(len(correct), size=(2000, len(correct)))].mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def _report(title: str, clf: Classifier, texts: Any, labels: Any, started: float) -> tuple[str, dict[str, Any]]:
    correct = clf.predict(texts) == labels
    accuracy, (low, high) = float(correct.mean()), interval(correct)
    seconds = time.perf_counter() - started
    return (
        f"{title:22} accuracy {accuracy:.3f}  (95 % interval {low:.3f} to {high:.3f})  {seconds:.1f} s",
        {title.lower(): {"accuracy": accuracy, "low": low, "high": high, "seconds": seconds}},
    )


def _confusion(clf: Classifier, texts: Any, labels: Any, picture: Path) -> bool:
    """Whether the picture could be drawn."""
    try:
        import matplotlib as mpl
    except ImportError:
        return False
    from sklearn.metrics import ConfusionMatrixDisplay

    with mpl.rc_context({"backend": "Agg"}):
        from matplotlib.figure import Figure

        figure = Figure(figsize=(6.4, 5.4), layout="constrained")
        axes = figure.add_subplot()
        ConfusionMatrixDisplay.from_predictions(
            labels, clf.predict(texts), ax=axes, cmap="Blues", colorbar=False, xticks_rotation=35
        )
        axes.set_title(f"{SHOTS} examples per class, {len(texts)} messages")
        figure.savefig(picture, dpi=150)
    return True
