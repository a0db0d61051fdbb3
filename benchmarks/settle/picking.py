"""The constants of "auto" in next_to_label, by leave one set out.

    PYTHONPATH=benchmarks python benchmarks/settle/picking.py DATA --cache DIR [--part cold later] [--seeds 5]

Data, DIR and classifier are those of benchmarks/labelling.py (``--head usual``), but only training rows are read: 500
of them judge, and a seed's pool is 800 of the other 1,000. Of sets with more classes than 20, 20 are drawn.

"cold" is which rows are chosen before there is a classifier, measured with twice as many labels as classes: by `cover`
with several widths, the row nearest to each centre of k-means, and TypiClust. "later" is how rows are weighted after
ten that TypiClust chose: by the margin, to the power of 1 or 2, with several widths, or the entropy; measured as the
mean accuracy with 20, 30 and 40 labels. "k-means" there is the row nearest to each centre, weighted by the margin.
Each way is chosen on the other sets, by its mean there, and reported on the one left out.
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd
from labelling import SETS, Frozen, Rows, Way, curve, own, read_set
from sklearn.cluster import KMeans

from fewshot.labelling import diversity
from fewshot.labelling.uncertainty import Guesses, entropy, margin

JUDGES, POOL = 500, 800
OTHERS = ["mpqa", "tweeteval_hate", "clinc150", "banking77"]
COLD_WIDTHS, WIDTHS = (0.4, 0.5, 0.6, 0.7, 0.8, 1.0), (0.3, 0.4, 0.5, 0.6)
LATER = (20, 30, 40)


def covering(width: float, unsure: Any = margin, power: float = 1.0) -> Way:
    """`cover` with a width of the kernel and weights of rows, and of the usual width where there is no classifier."""

    def choose(rows: Rows, labelled: list[int], clf: Frozen | None, n: int, seed: int) -> list[int]:
        free = np.setdiff1d(np.arange(len(rows.vectors)), labelled)
        weights = np.ones(len(free))
        if clf is not None:
            guesses = Guesses(clf.proba(rows.vectors[free]), [], several=False)
            weights = np.maximum(unsure(guesses) ** power, 1e-3)
        vectors, known = rows.vectors[free].astype(float), rows.vectors[labelled].astype(float)
        with mock.patch.object(diversity, "_WIDTH", width):
            return free[diversity.cover(vectors, known, n, weights)].tolist()

    return choose


def centres(rows: Rows, labelled: list[int], clf: Frozen | None, n: int, seed: int) -> list[int]:
    """The rows nearest to the centres of k-means, weighted by the margin where there is a classifier."""
    free = np.setdiff1d(np.arange(len(rows.vectors)), labelled)
    known = clf is not None and len(clf.classes_) > 1
    weights = margin(Guesses(clf.proba(rows.vectors[free]), [], several=False)) if known else np.ones(len(free))
    found = KMeans(n, n_init=1, random_state=seed).fit(rows.vectors[free], sample_weight=weights + 1e-9)
    chosen: list[int] = []
    for similar in found.cluster_centers_ @ rows.vectors[free].T:
        similar[chosen] = -np.inf
        chosen.append(int(similar.argmax()))
    return free[chosen].tolist()


def cold_ways() -> dict[str, Way]:
    """What may be done before there is a classifier."""
    covers = {f"cover {width}": covering(width) for width in COLD_WIDTHS}
    return {"random": own("random"), "typical": own("typical"), "k-means": centres, **covers}


def later_ways() -> dict[str, Way]:
    """What may be done after ten typical rows."""
    found: dict[str, Way] = {"random": own("random"), "margin": own("margin"), "k-means": centres}
    for width in WIDTHS:
        found |= {f"margin^{power} {width}": covering(width, margin, power) for power in (1, 2)}
    found["entropy 0.5"] = covering(0.5, entropy)
    return {key: after_typical(way) for key, way in found.items()}


def after_typical(way: Way) -> Way:
    """Typical rows where nothing is labelled."""
    typical = own("typical")
    return lambda rows, labelled, clf, n, seed: (way if labelled else typical)(rows, labelled, clf, n, seed)


def measure(train: Rows, prompts: Any, way: Way, budgets: tuple[int, ...], seeds: int) -> float:
    """The mean accuracy on training rows that judge, but for a first budget of ten."""
    judges, rest = train.of(slice(JUDGES)), train.of(slice(JUDGES, None))
    found = []
    for seed in range(seeds):
        pool = rest.of(np.random.RandomState(seed).permutation(len(rest.classes))[:POOL])
        found.append(curve(way, prompts, pool, judges, budgets, seed, "usual"))
    return float(np.mean(np.array(found)[:, -len(LATER) :]))


def report(title: str, table: pd.DataFrame) -> None:
    """Print what was measured, and what the others choose for each set."""
    print(f"\n{title}\n{(100 * table.assign(mean=table.mean(axis=1))).round(1).to_string()}")
    left = {name: table.drop(columns=name).mean(axis=1).idxmax() for name in table}
    print(
        "left out:",
        ", ".join(f"{name}: {way} {100 * table.loc[way, name]:.1f}" for name, way in left.items()),
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--sets", nargs="*", default=[*SETS, *OTHERS])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--part", nargs="*", choices=["cold", "later"], default=["cold", "later"])
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    sets = {name: read_set(options.data, options.cache, name, most=20)[:2] for name in options.sets}
    for part in options.part:
        ways = cold_ways() if part == "cold" else later_ways()
        found = {}
        for name, (prompts, train) in sets.items():
            budgets = (2 * len(prompts),) if part == "cold" else (10, *LATER)
            found[name] = {key: measure(train, prompts, way, budgets, options.seeds) for key, way in ways.items()}
        report(part, pd.DataFrame(found))


if __name__ == "__main__":
    main()
