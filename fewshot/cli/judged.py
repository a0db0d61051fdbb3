"""The wrong rows of an evaluation, as a file."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from fewshot.cli.app import WrongUsage
from fewshot.cli.data import Data
from fewshot.cli.parquet import Schema
from fewshot.cli.table import Table
from fewshot.cli.writing import check_rows_output, kind_of_output, save_rows

__all__ = ["check_errors", "save_errors"]


def check_errors(path: Path, others: Iterable[Path]) -> None:
    """Refuse a file that could not be written, or is another file of the command, before anything is computed."""
    if path.absolute() in [one.absolute() for one in others]:  # --output need not be there yet
        raise WrongUsage(f"--errors {str(path)!r} is the name of another file of this command: give it its own.")
    check_rows_output(path, others, "--errors")


def save_errors(path: Path, result: Any, tested: Data) -> None:
    """Write the wrong rows, those first of which the classifier was surest; of none, the names of the columns alone."""
    found = result.errors()
    rows: list[dict[str, Any]] = found.to_dict("records")
    for row in rows:
        row["row"] = tested.number(row["row"])
        row |= {name: round(row[name], 4) for name in ("probability", "true probability") if name in row}
        if "nearest" in row:
            row["nearest"] = [asdict(replace(one, similarity=round(one.similarity, 4))) for one in row["nearest"]]
    table = Table(str(path), "jsonl", rows, list(found.columns))
    schema = Schema()
    if kind_of_output(path) == "parquet":
        schema.add(table)
    save_rows(path, table, table.columns, [(table, {})], schema=schema, types={})
