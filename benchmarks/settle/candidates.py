"""A tagger that asks about candidate spans: templates, the word for None and strategies, on training rows only.

    PYTHONPATH=benchmarks python benchmarks/settle/candidates.py DATA [--model embedded:causal] [--set wnut17_ner]
        [--shots 0 5] [--draws 1] [--judges 60] [--max-words 4] [--ways "Prompting()" "Readout()"]
        [--templates entity_typing/kind] [--nothing "part of the text"]
        [--part test]

DATA holds one folder a set with train.csv.gz, columns sentence_id, token and tag (BIO). Annotated sentences are drawn
greedily until there are so many mentions of each type; 0 is zero-shot, from the names alone. Judges are other training
sentences, or with --part test, once everything is settled, those of the test. Columns: the F1 of entities and of their
boundaries, precision, recall, the highest F1 that any threshold reaches, the area under the ROC curve of "is of some
type" over the candidates, and seconds a sentence.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sentences import Sentence, draw_support, entities_of, read_sentences
from sklearn.metrics import roc_auc_score

import fewshot
from fewshot import Tagger, load

NAMES = {
    "wnut17_ner": {
        "corporation": "company",
        "creative-work": "movie or song",
        "group": "band or team",
        "location": "place",
        "person": "person",
        "product": "product",
    },
    "crossner_politics": {
        "country": "country",
        "election": "election",
        "event": "event",
        "location": "place",
        "misc": "other name",
        "organisation": "organisation",
        "person": "person",
        "politicalparty": "political party",
        "politician": "politician",
    },
}
THRESHOLDS = (0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


def counts(wanted: list[set[Any]], said: list[set[Any]]) -> tuple[float, float, float]:
    """Precision, recall and F1."""
    hits = sum(len(a & b) for a, b in zip(wanted, said, strict=True))
    found, true = sum(map(len, said)), sum(map(len, wanted))
    return hits / max(1, found), hits / max(1, true), 2 * hits / max(1, found + true)


def measure(tagger: Tagger, judges: list[Sentence]) -> tuple[list[float], float]:
    """The columns, and the seconds a sentence."""
    wanted = [entities_of(one.tags) for one in judges]
    texts = [" ".join(one.tokens) for one in judges]
    words = []
    for one in judges:
        ends = np.cumsum([len(token) + 1 for token in one.tokens]) - 1
        words.append([(int(end) - len(token), int(end)) for token, end in zip(one.tokens, ends, strict=True)])
    started = time.perf_counter()
    readings = tagger.strategy_.span_readings(texts, words)
    seconds = (time.perf_counter() - started) / len(judges)
    types = tagger.classes_.tolist()

    def said(threshold: float | None) -> list[set[Any]]:
        return [{(a, b, types[k]) for a, b, k, _ in one.find(threshold, tagger.max_words)} for one in readings]

    precision, recall, f1 = counts(wanted, said(None))
    bounds = counts([{x[:2] for x in own} for own in wanted], [{x[:2] for x in own} for own in said(None)])[2]
    best = max(counts(wanted, said(threshold))[2] for threshold in THRESHOLDS)
    true, scores = [], []
    for own, one in zip(wanted, readings, strict=True):
        if hasattr(one, "first"):
            places = {x[:2] for x in own}
            true += [place in places for place in zip(one.first.tolist(), one.after.tolist(), strict=True)]
            scores += np.logaddexp.reduce(one.log_odds, axis=1).tolist()
    area = roc_auc_score(true, scores) if true else np.nan
    return [f1, bounds, precision, recall, best, area], seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", default="embedded:causal")
    parser.add_argument("--dtype", default="fast")
    parser.add_argument("--chat", action="store_true", help="ask a causal model in its chat's turns")
    parser.add_argument("--set", default="wnut17_ner", choices=list(NAMES))
    parser.add_argument("--part", default="train")
    parser.add_argument("--shots", type=int, nargs="+", default=[0, 5])
    parser.add_argument("--draws", type=int, default=1)
    parser.add_argument("--judges", type=int, default=60)
    parser.add_argument("--max-words", type=int, default=4)
    parser.add_argument("--ways", nargs="+", default=["Prompting()"])
    parser.add_argument("--templates", nargs="+", default=["None"])
    parser.add_argument("--nothing", nargs="+", default=["part of the text"])
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    train = read_sentences(options.data / options.set, "train")
    more = {} if options.chat or "causal" not in options.model else {"chat": False}
    model = load() if options.model == "None" else load(options.model, dtype=options.dtype, **more)
    print("| shots | way | template | None is | F1 | bounds | P | R | best F1 | AUC | s a sentence | s to fit |")
    print("| --- " * 12 + "|", flush=True)
    for shots in options.shots:
        for way in options.ways:
            for source in options.templates:
                for nothing in options.nothing:
                    rows = []
                    for seed in range(options.draws):
                        shown = draw_support(train, shots, seed) if shots else []
                        used = {id(one) for one in shown}
                        rest = [one for one in train if id(one) not in used and len(one.tokens) <= 40]
                        if options.part != "train":
                            rest = read_sentences(options.data / options.set, options.part)
                        order = np.random.RandomState(100 + seed).permutation(len(rest))[: options.judges]
                        judges = [rest[i] for i in order]
                        names = {**NAMES[options.set], None: nothing}
                        strategy = eval(way, {name: getattr(fewshot, name) for name in fewshot.__all__})
                        template = None if source == "None" else source.encode().decode("unicode_escape")
                        tagger = Tagger(
                            model, template, names, strategy, max_words=options.max_words, random_state=seed
                        )
                        started = time.perf_counter()
                        if shots:
                            tagger.fit([one.tokens for one in shown], [one.tags for one in shown])
                        else:
                            tagger.fit()
                        fitted = time.perf_counter() - started
                        values, seconds = measure(tagger, judges)
                        rows.append([*values, seconds, fitted])
                    means = " | ".join(f"{value:.3f}" for value in np.mean(rows, axis=0))
                    print(f"| {shots} | {way} | {source!r} | {nothing} | {means} |", flush=True)


if __name__ == "__main__":
    sys.exit(main())
