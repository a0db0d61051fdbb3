"""Contents of a body: JSON, checked field by field. Every error says where in the body it is."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from fewshot.errors import InputError

__all__ = [
    "Location",
    "WireError",
    "as_array",
    "as_count",
    "as_mapping",
    "as_name",
    "as_text",
    "only_keys",
    "read_json",
    "refuse_count",
    "required",
    "shown",
]

Location = tuple[str | int, ...]


class WireError(InputError):
    """A body is not what a wire says. ``location`` leads to the place, ``message`` says what is wrong there."""

    def __init__(self, location: Location, message: str, kind: str = "value_error") -> None:
        super().__init__(f"{'.'.join(map(str, location)) or 'body'}: {message}")
        self.location = location
        self.message = message
        self.kind = kind

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.location, self.message, self.kind)


def read_json(data: bytes | str) -> Any:
    """Parse a body. A key that stands twice in one object, or a number that is none, is an error.

    Raises
    ------
    WireError
        When the body is no JSON, or nested too deep.
    """
    try:
        return json.loads(data, object_pairs_hook=_once, parse_constant=_no_number)
    except WireError:
        raise
    except (ValueError, RecursionError) as error:
        raise WireError((), f"The body is not JSON: {error}", "json_invalid") from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in found if names.count(name) > 1)
        raise WireError((), f"The key {twice!r} stands twice in one object.", "json_invalid")
    return found


def _no_number(name: str) -> Any:
    raise WireError((), f"{name} is not a number that JSON has.", "json_invalid")


def as_text(value: Any, location: Location) -> str:
    """The text of a content: a string is itself, an object or array its JSON with its own order and characters.

    Examples
    --------
    >>> as_text({"subject": "Übergabe", "pages": [1, 2]}, ("state",))
    '{"subject": "Übergabe", "pages": [1, 2]}'
    """
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping | list):
        return json.dumps(value, ensure_ascii=False)
    raise WireError(location, f"This must be a string, an object or an array. Got {shown(value)}.", "string_type")


def as_mapping(value: Any, location: Location) -> Mapping[str, Any]:
    """The value, which must be an object."""
    if not isinstance(value, Mapping):
        raise WireError(location, f"This must be an object. Got {shown(value)}.", "dict_type")
    return value


def as_array(value: Any, location: Location) -> list[Any]:
    """The value, which must be an array."""
    if not isinstance(value, list):
        raise WireError(location, f"This must be an array. Got {shown(value)}.", "list_type")
    return value


def as_count(value: Any, location: Location) -> int:
    """The value, which must be a whole number from 0."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise WireError(location, f"This must be a whole number of at least 0. Got {shown(value)}.", "int_type")
    return value


def required(body: Mapping[str, Any], key: str, location: Location = ()) -> Any:
    """What stands under a key, which must be there."""
    if key not in body:
        raise WireError((*location, key), "This field is required.", "missing")
    return body[key]


def only_keys(body: Mapping[str, Any], known: Sequence[str], location: Location) -> None:
    """Refuse fields that are not known, for what they ask would be left out silently; x_ begins what may be."""
    for key in body:
        if key not in known and not key.startswith("x_"):
            raise WireError(
                (*location, key), f"This field is not known. Known are {', '.join(known)}.", "extra_forbidden"
            )


def refuse_count(n: int, what: str, least: int, most: int, location: Location) -> None:
    """Refuse fewer or more of something than a wire takes.

    Parameters
    ----------
    n : int
        How many there are.
    what : str
        What the message calls them.
    least, most : int
        How few and how many there may be.
    location : tuple
        Where they are.

    Raises
    ------
    WireError
    """
    if n < least:
        raise WireError(location, f"There must be at least {least} {what}. Got {n}.", "too_short")
    if n > most:
        raise WireError(location, f"There may be at most {most} {what}. Got {n}.", "too_long")


def as_name(value: Any, what: str, location: Location) -> str:
    """The value, which must be a string; ``what`` is what the message calls it."""
    if not isinstance(value, str):
        raise WireError(location, f"{what} must be a string. Got {shown(value)}.", "string_type")
    return value


def shown(value: Any) -> str:
    """A value for a message, cut where it is long."""
    said = json.dumps(value, default=repr)
    return said if len(said) <= 60 else f"{said[:57]}..."
