"""The data of the benchmarks: one folder a set, with train.csv.gz and test.csv.gz, columns text and label."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

__all__ = ["draw", "read", "some", "spaced"]


def read(folder: Path, part: str) -> pd.DataFrame:
    """A part of a set, every field as it stands."""
    return pd.read_csv(folder / f"{part}.csv.gz", keep_default_na=False, dtype=str)


def spaced(frame: pd.DataFrame) -> pd.DataFrame:
    """The same with label names as they are written: underscores to blanks."""
    return frame.assign(label=frame.label.str.replace("_", " "))


def some(frame: pd.DataFrame, n: int = 600) -> pd.DataFrame:
    """Up to n rows, always the same ones."""
    return frame.sample(min(n, len(frame)), random_state=0)


def draw(train: pd.DataFrame, shots: int, seed: int) -> pd.DataFrame:
    """Examples: for each class in sorted order ``train[train.label == c].sample(shots, random_state=seed)``."""
    parts = [train[train.label == name] for name in sorted(set(train.label))]
    return pd.concat([part.sample(min(shots, len(part)), random_state=seed) for part in parts])
