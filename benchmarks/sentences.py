"""Annotated sentences of the benchmarks: one folder a set, with columns sentence_id, token and tag (BIO)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from data import read

from fewshot import evaluation

__all__ = ["Sentence", "draw_support", "entities_of", "entity_scores", "read_sentences"]

Entity = tuple[int, int, str]  # its first word, the one after it, and its type


class Sentence(NamedTuple):
    """Tokens, and a tag for each."""

    tokens: list[str]
    tags: list[str]


def read_sentences(folder: Path, part: str) -> list[Sentence]:
    """The sentences of a part of a set, in their order."""
    groups = read(folder, part).groupby("sentence_id", sort=False)
    return [Sentence(own.token.tolist(), own.tag.tolist()) for _, own in groups]


def entities_of(tags: list[str]) -> set[Entity]:
    """The entities of a sentence; I- without a B- before it begins one, as conlleval has it."""
    found, start, label = set(), 0, ""
    for i, tag in enumerate([*tags, "O"]):
        kind, _, own = tag.partition("-")
        if label and (kind != "I" or own != label):
            found.add((start, i, label))
            label = ""
        if own and not label:
            start, label = i, own
    return found


def draw_support(sentences: list[Sentence], shots: int, seed: int) -> list[Sentence]:
    """Sentences with at least so many mentions of each type, drawn greedily in an order under a seed."""
    mentions = [[label for _, _, label in entities_of(one.tags)] for one in sentences]
    return [sentences[i] for i in evaluation.draw_support(mentions, shots, seed)]


def entity_scores(wanted: list[set[Entity]], said: list[set[Entity]]) -> tuple[float, float]:
    """The micro-averaged F1 of entities, and that of their boundaries alone."""

    def f1(true: Sequence[set[Any]], found: Sequence[set[Any]]) -> float:
        hits = sum(len(a & b) for a, b in zip(true, found, strict=True))
        return 2 * hits / max(1, sum(map(len, true)) + sum(map(len, found)))

    bare = [[{(a, b) for a, b, _ in own} for own in part] for part in (wanted, said)]
    return f1(wanted, said), f1(bare[0], bare[1])
