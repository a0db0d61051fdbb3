"""Questions about texts with their answers: how they are read, split and drawn."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from fewshot.task.extracts import Asked

__all__ = ["Example", "draw_examples", "read_examples", "split_paragraphs"]

#: How many paragraphs examples are drawn from: 60 of xquad_en have 288 questions, 40 would have too few for 256.
PARAGRAPHS = 60


class Example(NamedTuple):
    """What is asked about a text, and the place and the text of the answer."""

    asked: Asked
    place: tuple[int, int]
    answer: str


def read_examples(path: Path) -> list[Example]:
    """The rows of a file with the columns context, question, answer and answer_start."""
    frame = pd.read_csv(path, keep_default_na=False, dtype=str)
    return [
        Example(
            Asked(row["question"], row["context"], row),
            (int(row["answer_start"]), int(row["answer_start"]) + len(row["answer"])),
            row["answer"],
        )
        for row in frame.to_dict("records")
    ]


def split_paragraphs(examples: list[Example]) -> tuple[list[Example], list[Example]]:
    """The examples of the paragraphs that all draws are from, and those of the other paragraphs, which judge."""
    contexts = sorted({one.asked.context for one in examples})
    pool = {contexts[i] for i in np.random.RandomState(0).permutation(len(contexts))[:PARAGRAPHS]}
    inside = [one for one in examples if one.asked.context in pool]
    return inside, [one for one in examples if one.asked.context not in pool]


def draw_examples(pool: list[Example], size: int, seed: int) -> list[Example]:
    """So many of them, whatever their paragraphs."""
    return [pool[i] for i in np.random.RandomState(seed).choice(len(pool), size, replace=False)]
