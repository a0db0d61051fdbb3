"""The constants of the head of a tagger, by leave one set out: chosen on one set, reported on the other.

    PYTHONPATH=benchmarks python benchmarks/settle/tagging.py DATA [--shots 5 10] [--draws 5] [--encoder NAME]

DATA holds wnut17_ner and crossner_politics, each with train.csv.gz (and dev.csv.gz), columns sentence_id, token and
tag. Only training rows are read, and of crossner_politics its dev rows, which count as training here. Sentences judge
that no example comes from: 500 of wnut17_ner, and 200 of the dev rows of crossner_politics, which are longer; those
without entities too.
Examples are drawn as benchmarks/tagging.py does: in an order under a seed, each sentence that has an entity of a type
with fewer mentions than shots. So no example is a sentence without entities. Names of types are as they are written.

From the first choice on, one constant after the other is set to what has the highest mean F1 over the draws and shots,
until none changes: on each set by itself, and on both for the constants of the library. F1 is of whole entities.
Seconds are those of the processor for one fit. At the end it says how often spans are right, by their probability.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import pandas as pd
from sentences import Sentence as Annotated
from sentences import draw_support, entities_of, read_sentences

from fewshot import TokenHead, load
from fewshot.heads.readings import ChainReading

SETS = ["wnut17_ner", "crossner_politics"]
WRITTEN = {"politicalparty": "political party", "misc": "miscellaneous"}
JUDGES = {"wnut17_ner": 500, "crossner_politics": 200}
LEAST_GAIN = 1e-4  # a gain of F1 below this changes no constant
BINS = [0.2, 0.4, 0.6, 0.8, 1.0]


class Variant(NamedTuple):
    """The parameters of a head, and from which probability on a span is found; the search begins with these."""

    layer: int = 3
    names: float = 2.0
    detector: float = 0.03
    own: float = 0.1
    transition: float = 0.1
    none_weight: float = 0.6
    neighbors: float = 0.3
    spelling: float = 0.2
    least: float = 0.25

    def __str__(self) -> str:
        return ", ".join(f"{name} {value:g}" for name, value in self._asdict().items())


#: A penalty on the transitions that leaves none: words are independent.
INDEPENDENT = 1e9
CHOICES: dict[str, list[Any]] = {
    "least": [0.2, 0.25, 0.3],
    "none_weight": [0.4, 0.6, 1],
    "detector": [0.01, 0.03, 0.1],
    "own": [0.03, 0.1, 0.3],
    "neighbors": [0, 0.2, 0.3, 0.5],
    "spelling": [0.1, 0.2, 0.4],
    "names": [0, 2, 5],
    "transition": [0.03, 0.1, 1],
    "layer": [3, 4],
}


class Sentence(NamedTuple):
    """A text, the bounds of its words, their tags as numbers, and its entities (first word, end, type)."""

    text: str
    words: list[tuple[int, int]]
    tags: Any
    entities: set[tuple[int, int, int]]


@dataclass(frozen=True)
class Data:
    """The sentences that judge, and those that examples are drawn from."""

    types: list[str]
    judges: list[Sentence]
    pool: list[Annotated]

    @property
    def names(self) -> list[list[str]]:
        """The label words of each type."""
        return [[WRITTEN.get(one, one.replace("-", " "))] for one in self.types]


class KeptHead(TokenHead):
    """A head that makes the features of a text once."""

    kept: ClassVar[dict[tuple[Any, ...], Any]] = {}

    def _features(self, texts: Sequence[str], words: Sequence[Any]) -> list[Any]:
        keys = [(self.layer, self.neighbors, self.spelling, text) for text in texts]
        new = {key: bounds for key, bounds in zip(keys, words, strict=True) if key not in self.kept}
        made = super()._features([text for *_, text in new], list(new.values()))
        self.kept.update(zip(new, made, strict=True))
        return [self.kept[key] for key in keys]


def as_sentence(sentence: Annotated, types: list[str]) -> Sentence:
    """The tokens, joined by blanks, as words with their bounds, and numbers in place of types."""
    tokens, tags = sentence
    ends = np.cumsum([len(token) + 1 for token in tokens]) - 1
    words = [(int(end) - len(token), int(end)) for token, end in zip(tokens, ends, strict=True)]
    numbers = np.array([0 if tag == "O" else 1 + types.index(tag[2:]) for tag in tags])
    entities = {(first, after, types.index(label)) for first, after, label in entities_of(tags)}
    return Sentence(" ".join(tokens), words, numbers, entities)


def read_set(folder: Path) -> Data:
    """A set, split into judges and the rest."""
    given = read_sentences(folder, "train")
    types = sorted({label for one in given for *_, label in entities_of(one.tags)})
    dev = read_sentences(folder, "dev") if (folder / "dev.csv.gz").exists() else []
    judging = dev or given
    order = np.random.RandomState(0).permutation(len(judging))
    judges = [as_sentence(judging[i], types) for i in order[: JUDGES[folder.name]]]
    return Data(types, judges, given if dev else [given[i] for i in order[JUDGES[folder.name] :]])


def columns(sentences: list[Sentence]) -> tuple[list[str], list[Any], list[Any]]:
    """Texts, words and tags."""
    return [s.text for s in sentences], [s.words for s in sentences], [s.tags for s in sentences]


def score(judges: list[Sentence], readings: list[ChainReading], least: float) -> tuple[float, float, float]:
    """Precision, recall and F1 of whole entities."""
    spans = [{span[:3] for span in reading.find(least)} for reading in readings]
    right = sum(len(own & sentence.entities) for own, sentence in zip(spans, judges, strict=True))
    precision = right / max(sum(map(len, spans)), 1)
    recall = right / sum(len(sentence.entities) for sentence in judges)
    return precision, recall, 2 * right / (sum(map(len, spans)) + sum(len(s.entities) for s in judges))


class Measured:
    """The measures of every variant on every set, made when they are first asked for."""

    def __init__(self, encoder: Any, sets: dict[str, Data], shots: list[int], draws: int) -> None:
        self.encoder, self.sets, self.shots, self.draws = encoder, sets, shots, draws
        self.lines: dict[tuple[Variant, str], pd.DataFrame] = {}
        self.last: dict[str, tuple[Variant, Any]] = {}  # readings serve every threshold, and fill much memory

    def readings(self, variant: Variant, name: str) -> Any:
        """Of each draw the shots, the readings of the judges, and the seconds of the fit."""
        key = variant._replace(least=0)
        if name not in self.last or self.last[name][0] != key:
            data, made = self.sets[name], []
            texts, words, _ = columns(data.judges)
            for shots in self.shots:
                for seed in range(self.draws):
                    support = [as_sentence(one, data.types) for one in draw_support(data.pool, shots, seed)]
                    head, seconds = fit_head(self.encoder, data, support, variant)
                    made.append((shots, head.span_readings(texts, words), seconds))
            self.last[name] = key, made
        return self.last[name][1]

    def table(self, variant: Variant, name: str) -> pd.DataFrame:
        """A line for each draw: shots, precision, recall, F1 and the seconds of the fit."""
        if (variant, name) not in self.lines:
            judges = self.sets[name].judges
            lines = [
                (shots, *score(judges, readings, variant.least), seconds)
                for shots, readings, seconds in self.readings(variant, name)
            ]
            self.lines[variant, name] = pd.DataFrame(lines, columns=["shots", "P", "R", "F1", "seconds"])
            print(f"{name}: {variant}: {self.lines[variant, name].F1.mean():.4f}", file=sys.stderr, flush=True)
        return self.lines[variant, name]

    def reliability(self, variant: Variant, name: str) -> list[str]:
        """For bins of the probability: the spans of all draws, their mean probability, and the share that is right."""
        judges = self.sets[name].judges
        found = np.array(
            [
                (span[3], span[:3] in sentence.entities)
                for _, readings, _ in self.readings(variant, name)
                for reading, sentence in zip(readings, judges, strict=True)
                for span in reading.find(BINS[0])
            ]
        )
        bins = np.digitize(found[:, 0], BINS[1:-1])
        return [
            f"| {name} | {BINS[one]:g} to {BINS[one + 1]:g} | {(bins == one).sum()} | "
            + " | ".join(f"{mean:.3f}" for mean in found[bins == one].mean(axis=0))
            + " |"
            for one in np.unique(bins)
        ]

    def mean(self, variant: Variant, names: list[str]) -> float:
        """F1 over sets, shots and draws."""
        return float(np.mean([self.table(variant, name).F1.mean() for name in names]))

    def choose(self, names: list[str]) -> Variant:
        """Set one constant after the other to the best one, until none changes."""
        best = Variant()
        while True:
            before = best
            for constant, values in CHOICES.items():
                others = [best._replace(**{constant: value}) for value in values]
                likely = max(others, key=lambda variant: self.mean(variant, names))
                if self.mean(likely, names) > self.mean(best, names) + LEAST_GAIN:
                    best = likely
            if best == before:
                return best


def fit_head(encoder: Any, data: Data, support: list[Sentence], variant: Variant) -> tuple[TokenHead, float]:
    """The head, and the seconds that it took; the features were there before."""
    head = KeptHead(**{name: value for name, value in variant._asdict().items() if name != "least"})
    texts, words, tags = columns(support)
    head.model_ = encoder
    head._features(texts, words)
    started = time.process_time()
    head.fit(encoder, texts, words, tags, data.names)
    return head, time.process_time() - started


def line(measured: Measured, title: str, variant: Variant, name: str) -> str:
    """One row of the table: the F1 at each number of shots with its spread, precision, recall and seconds."""
    table = measured.table(variant, name)
    parts = [own.F1 for _, own in table.groupby("shots")]
    scores = " | ".join(f"{part.mean():.3f} ({part.std():.3f})" for part in parts)
    return f"| {name} | {title} | {scores} | {table.P.mean():.3f} | {table.R.mean():.3f} | {table.seconds.mean():.2f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--encoder", default=None)
    parser.add_argument("--shots", type=int, nargs="+", default=[5, 10])
    parser.add_argument("--draws", type=int, default=5)
    options = parser.parse_args()
    sets = {name: read_set(options.data / name) for name in SETS}
    encoder = load(*[options.encoder] * bool(options.encoder), cache_bytes=0)
    measured = Measured(encoder, sets, options.shots, options.draws)
    print("| set | head | " + " | ".join(f"F1, {n} shots (sd)" for n in options.shots) + " | P | R | s |")
    print("| --- " * (5 + len(options.shots)) + "|")
    both = measured.choose(SETS)
    for name in SETS:
        (other,) = set(SETS) - {name}
        print(line(measured, f"of both: {both}", both, name))
        print(line(measured, "the same without spelling", both._replace(spelling=0), name))
        print(line(measured, "the same without neighbours", both._replace(neighbors=0), name))
        print(line(measured, "the same without names", both._replace(names=0), name))
        print(line(measured, "the same with independent words", both._replace(transition=INDEPENDENT), name))
        chosen = measured.choose([other])
        print(line(measured, f"of the other set: {chosen}", chosen, name), flush=True)
    print("\nMean F1 of both sets, one constant changed from the choice of both:")
    for constant, values in CHOICES.items():
        scores = [f"{value:g}: {measured.mean(both._replace(**{constant: value}), SETS):.3f}" for value in values]
        print(f"{constant}  " + "  ".join(scores))
    print("\n| set | probability | spans | mean probability | right |\n" + "| --- " * 5 + "|")
    for name in SETS:
        print("\n".join(measured.reliability(both, name)))


if __name__ == "__main__":
    main()
