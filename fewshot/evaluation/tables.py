"""Results that are pandas frames: where pandas comes from, their way through JSON, and how they print."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, fields
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from fewshot.errors import InputError
from fewshot.extras import need
from fewshot.models.base import FloatArray, IntArray
from fewshot.tables import as_text

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "Result",
    "make_class_table",
    "make_frame",
    "make_intervals",
    "need_pandas",
    "print_evaluation",
    "printed",
    "render_html",
]


def need_pandas() -> None:
    """Raise before anything is computed where the tables could not be made."""
    need("pandas", "The results are tables of")


def make_frame(columns: Mapping[str, Sequence[Any]], index: str | None = None) -> pd.DataFrame:
    """Make a table of named columns; one of them may be the index. None is not a number."""
    import pandas as pd

    made = pd.DataFrame(
        {
            name: np.array(values, dtype=np.float64) if any(value is None for value in values) else list(values)
            for name, values in columns.items()
        }
    )
    return made if index is None else made.set_index(index)


def make_intervals(header: str, names: Sequence[Any], values: Sequence[float], ends: Sequence[Any]) -> pd.DataFrame:
    """Make a table of named values with the ends of their intervals, low and high; the names are its index."""
    low, high = zip(*ends, strict=True)
    return make_frame({header: names, "value": values, "low": low, "high": high}, header)


def make_class_table(
    header: str, names: Sequence[Any], counts: tuple[IntArray, IntArray, IntArray], proba: FloatArray | None
) -> pd.DataFrame:
    """Make a table of each class's precision, recall, f1 and support, and its mean probability where that is known.

    A ratio of nothing is 0. ``counts`` are of each class: rightly predicted, predicted, true.
    """
    hits, said, support = counts
    columns: dict[str, Sequence[Any]] = {
        header: names,
        "precision": (hits / np.maximum(said, 1)).tolist(),
        "recall": (hits / np.maximum(support, 1)).tolist(),
        "f1": (2 * hits / np.maximum(support + said, 1)).tolist(),
        "support": support.tolist(),
    }
    if proba is not None:
        columns["mean probability"] = proba.mean(axis=0).tolist()
    return make_frame(columns, header)


class Result:
    """Base of the results: dataclasses of frames, numbers and strings, which go through JSON without loss.

    A field with ``metadata={"json": False}`` is not in the JSON, and has a default. So has what a later version has
    added: JSON of an earlier one goes on being read.
    """

    def to_json(self) -> str:
        """Return the tables and numbers as JSON, without the measured rows; `from_json` reads it."""
        values = {one.name: _packed(getattr(self, one.name)) for one in _written(self)}
        return json.dumps({"result": type(self).__name__, **values}, allow_nan=False, indent=1)

    def _repr_html_(self) -> str:
        values = [getattr(self, one.name) for one in fields(self)]  # type: ignore[arg-type]
        return render_html(*(value for value in values if hasattr(value, "columns")))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Make a result from the JSON of `to_json`.

        Raises
        ------
        InputError
            When the text is not such JSON.
        """
        need_pandas()
        try:
            found = json.loads(text)
        except (TypeError, ValueError) as error:
            raise InputError(f"text must be the JSON that {cls.__name__}.to_json() wrote. Got {text!r:.60}.") from error
        known = _written(cls)
        needed = {one.name for one in known if one.default is MISSING}
        if not isinstance(found, dict) or found.get("result") != cls.__name__ or not found.keys() >= needed:
            what = found.get("result") if isinstance(found, dict) else None
            got = f"that of {what}" if isinstance(what, str) and what != cls.__name__ else f"{text!r:.60}"
            raise InputError(f"text must be the JSON that {cls.__name__}.to_json() wrote. Got {got}.")
        return cls(**{one.name: _unpacked(found[one.name]) for one in known if one.name in found})


def render_html(*frames: pd.DataFrame) -> str:
    """Tables one below the other, for a notebook."""
    return "".join(one.to_html(float_format="{:.3f}".format) for one in frames)


def printed(frame: pd.DataFrame, header: Sequence[str]) -> str:
    """Lay out a frame as plain text: its index, counts, and numbers of three decimals."""
    rows = [
        [str(name), *(str(cell) if isinstance(cell, int) else f"{cell:.3f}" for cell in row.values())]
        for name, row in zip(frame.index, frame.to_dict("records"), strict=True)
    ]
    return as_text(header, rows, right=True)


def print_evaluation(result: Any, *tables: str) -> str:
    """Lay out metrics with their intervals, and what else there is of them, each a block."""
    said = f"{result.n} rows, {100 * result.level:g} % intervals of {result.n_bootstrap} resamples"
    return "\n\n".join([said, printed(result.metrics, ["metric", "value", "low", "high"]), *tables])


def _written(result: Any) -> list[Field[Any]]:
    """The fields of a result, or of its class, that are in its JSON."""
    return [one for one in fields(result) if one.metadata.get("json", True)]


def _packed(value: Any) -> Any:
    if not hasattr(value, "columns"):
        return value
    index = value.index.name
    flat = value if index is None else value.reset_index()
    columns = {name: [None if one != one else one for one in flat[name].tolist()] for name in flat.columns}  # noqa: PLR0124
    return {"index": index, "columns": columns}


def _unpacked(value: Any) -> Any:
    return make_frame(value["columns"], value["index"]) if isinstance(value, dict) else value
