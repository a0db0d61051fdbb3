"""Results that are pandas frames: where pandas comes from, their way through JSON, and how they print."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from fewshot.errors import InputError
from fewshot.extras import need
from fewshot.tables import as_text

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Result", "make_frame", "make_intervals", "need_pandas", "printed", "render_html"]


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


class Result:
    """Base of the results: dataclasses of frames, numbers and strings, which go through JSON without loss."""

    def to_json(self) -> str:
        """Return all of it as JSON; `from_json` reads it."""
        values = {one.name: _packed(getattr(self, one.name)) for one in fields(self)}  # type: ignore[arg-type]
        return json.dumps({"result": type(self).__name__, **values}, allow_nan=False, indent=1)

    def _repr_html_(self) -> str:
        values = [getattr(self, one.name) for one in fields(self)]  # type: ignore[arg-type]
        return render_html(*(value for value in values if hasattr(value, "columns")))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` wrote.

        Raises
        ------
        InputError
            When the text is something else.
        """
        need_pandas()
        try:
            found = json.loads(text)
        except (TypeError, ValueError) as error:
            raise InputError(f"text must be the JSON that {cls.__name__}.to_json() wrote. Got {text!r:.60}.") from error
        names = [one.name for one in fields(cls)]  # type: ignore[arg-type]
        if not isinstance(found, dict) or found.get("result") != cls.__name__ or not found.keys() >= set(names):
            what = found.get("result") if isinstance(found, dict) else None
            got = f"that of {what}" if isinstance(what, str) and what != cls.__name__ else f"{text!r:.60}"
            raise InputError(f"text must be the JSON that {cls.__name__}.to_json() wrote. Got {got}.")
        return cls(**{name: _unpacked(found[name]) for name in names})


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


def _packed(value: Any) -> Any:
    if not hasattr(value, "columns"):
        return value
    index = value.index.name
    flat = value if index is None else value.reset_index()
    columns = {name: [None if one != one else one for one in flat[name].tolist()] for name in flat.columns}  # noqa: PLR0124
    return {"index": index, "columns": columns}


def _unpacked(value: Any) -> Any:
    return make_frame(value["columns"], value["index"]) if isinstance(value, dict) else value
