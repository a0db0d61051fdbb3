"""The common form of typed decisions, which both wires spell: what is asked about a state, and what was answered."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np

from fewshot.errors import InputError
from fewshot.models.base import FloatArray

__all__ = [
    "Answered",
    "Asked",
    "Location",
    "Option",
    "QuestionType",
    "Request",
    "Usage",
    "Wire",
    "WireError",
    "answer_extras",
    "as_array",
    "as_count",
    "as_mapping",
    "as_text",
    "check_distribution",
    "check_options",
    "choice_confidence",
    "expected_level",
    "half_step",
    "only_keys",
    "rating_confidence",
    "read_json",
    "read_mass",
    "refuse_count",
    "required",
]

QuestionType = Literal["choice", "rating", "yes_no"]
Location = tuple[str | int, ...]

_TOLERANCE = 0.05  # how far from 1 a sum of probabilities may be, rounding apart


class WireError(InputError):
    """A body is not what a wire says. ``location`` leads to the place, ``message`` says what is wrong there."""

    def __init__(self, location: Location, message: str, kind: str = "value_error") -> None:
        super().__init__(f"{'.'.join(map(str, location)) or 'body'}: {message}")
        self.location = location
        self.message = message
        self.kind = kind

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.location, self.message, self.kind)


@dataclass(frozen=True, slots=True)
class Option:
    """One possible answer: its value, for a rating the level's number from 0, whose name is the label then."""

    value: str | bool | int
    description: str | None = None
    label: str | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """A question on the wire. Options of a yes/no question are False and True, in this order."""

    name: str | None
    type: QuestionType
    instructions: str
    options: tuple[Option, ...]


@dataclass(frozen=True, slots=True)
class Request:
    """Questions about one state. Structured content has become text, as `as_text` says."""

    model: str
    state: str
    questions: tuple[Asked, ...]


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens that a request took."""

    input_tokens: int = 0
    output_tokens: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(self.input_tokens + other.input_tokens, self.output_tokens + other.output_tokens)


@dataclass(frozen=True, slots=True)
class Answered:
    """What a response says: for each question, probabilities in the order of its options.

    ``rounding`` is for each question half the step to which its probabilities are rounded, 0 where they are not;
    ``masses`` the probability that the model gives to the options together, NaN where the server does not say.
    """

    probabilities: tuple[FloatArray, ...]
    model: str
    usage: Usage
    rounding: tuple[float, ...]
    masses: tuple[float, ...]


class Wire(Protocol):
    """One spelling of requests and responses. Nothing here sends anything."""

    name: str  # as `load(api=...)` has it
    path: str  # behind the address that ends in /v1
    names_questions: bool  # whether each question needs a name
    most_questions: int  # that the strictest server known takes in one request
    most_options: int
    most_levels: int

    def read_request(self, body: Any) -> Request:
        """Read a request strictly; fields that are not known at the top are ignored. Raises WireError."""
        ...

    def write_request(self, request: Request) -> dict[str, Any]:
        """Spell a request. Raises WireError where this wire can't say it."""
        ...

    def write_response(
        self,
        request: Request,
        probabilities: Sequence[FloatArray],
        *,
        model: str,
        usage: Usage,
        answered_by: Sequence[str] = (),
        masses: Sequence[float] = (),
    ) -> dict[str, Any]:
        """Spell a response.

        Parameters
        ----------
        request : Request
            What was asked.
        probabilities : sequence of ndarray
            For each question, one probability an option, in their order.
        model : str
            The name of the model that answered.
        usage : Usage
            The tokens that it took.
        answered_by : sequence of str
            For each question, what kind of answer it is, where that is said: it stands in the field x_answered_by.
        masses : sequence of float
            For each question, the probability of all its options together: it stands in the field x_label_mass.
        """
        ...

    def read_response(self, body: Any, request: Request) -> Answered:
        """Read the response to a request. Raises WireError where it is not one, or where a question was refused."""
        ...

    def write_error(self, status: int, error: WireError | str) -> dict[str, Any]:
        """Spell an error; a WireError says where it is."""
        ...


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
    raise WireError(location, f"A string, object or array stands here. Got {_shown(value)}.", "string_type")


def as_mapping(value: Any, location: Location) -> Mapping[str, Any]:
    """The value, which must be an object."""
    if not isinstance(value, Mapping):
        raise WireError(location, f"An object stands here. Got {_shown(value)}.", "dict_type")
    return value


def as_array(value: Any, location: Location) -> list[Any]:
    """The value, which must be an array."""
    if not isinstance(value, list):
        raise WireError(location, f"An array stands here. Got {_shown(value)}.", "list_type")
    return value


def as_count(value: Any, location: Location) -> int:
    """The value, which must be a whole number from 0."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise WireError(location, f"A whole number from 0 stands here. Got {_shown(value)}.", "int_type")
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
        raise WireError(location, f"At least {least} {what} stand here. Got {n}.", "too_short")
    if n > most:
        raise WireError(location, f"At most {most} {what} stand here. Got {n}.", "too_long")


def check_distribution(values: Sequence[Any], location: Location, *, summed: bool = True) -> FloatArray:
    """Probabilities as an array, refused where one is none or where they do not sum to 1, rounding apart."""
    for value in values:
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
            raise WireError(location, f"Probabilities are numbers from 0 to 1. Got {_shown(value)}.")
    found = np.array(values, dtype=np.float64)
    allowed = max(_TOLERANCE, len(values) * half_step(found)) + 1e-9
    if summed and abs(found.sum() - 1) > allowed:
        raise WireError(location, f"Probabilities sum to 1. Got a sum of {found.sum():.4f}.")
    return found


def check_options(wanted: Sequence[Any], found: Sequence[Any], location: Location) -> None:
    """Refuse an answer about other options than those that were asked about; "true" and True are two."""
    own, theirs = ([(type(value), value) for value in values] for values in (wanted, found))
    missing = [value for kind, value in own if (kind, value) not in set(theirs)]
    odd = [value for kind, value in theirs if (kind, value) not in set(own)]
    if missing or odd or len(theirs) != len(own):
        raise WireError(
            location,
            f"Each option has one probability. Without one: {_shown(missing)}. Not asked about: {_shown(odd)}.",
        )


def half_step(values: FloatArray) -> float:
    """Half the step to which all of the values are rounded, from two decimals to six; 0 where they are not rounded.

    Examples
    --------
    >>> half_step(np.array([0.98, 0.02])), half_step(np.array([1.0, 0.0])), half_step(np.array([1 / 3, 2 / 3]))
    (0.005, 0.005, 0.0)
    """
    for decimals in range(2, 7):
        if np.all(np.abs(values - np.round(values, decimals)) < 1e-7):
            return 0.5 / 10**decimals
    return 0.0


def choice_confidence(probabilities: FloatArray) -> float:
    """How far the most probable option is from chance: (max p - 1/n) / (1 - 1/n)."""
    n = len(probabilities)
    return max(0.0, (float(np.max(probabilities)) - 1 / n) / (1 - 1 / n)) if n > 1 else 1.0


def rating_confidence(probabilities: FloatArray) -> float:
    """How narrow a rating is: 1 less the mean distance from its mode, over that of a uniform rating from the middle."""
    n = len(probabilities)
    if n == 1:
        return 1.0
    levels = np.arange(n)
    spread = float(probabilities @ np.abs(levels - np.argmax(probabilities)))
    return max(0.0, 1 - spread / float(np.mean(np.abs(levels - (n - 1) / 2))))


def expected_level(probabilities: FloatArray) -> float:
    """The mean of the levels' numbers under their probabilities."""
    return float(np.arange(len(probabilities)) @ probabilities)


def answer_extras(index: int, answered_by: Sequence[str], masses: Sequence[float]) -> dict[str, Any]:
    """The fields of an answer that neither wire has: who answered, and the probability of all options together."""
    extras: dict[str, Any] = {"x_answered_by": answered_by[index]} if answered_by else {}
    if masses and math.isfinite(masses[index]):
        extras["x_label_mass"] = float(masses[index])
    return extras


def read_mass(answer: Mapping[str, Any], location: Location) -> float:
    """The probability of all options together, where the server says it."""
    if "x_label_mass" not in answer:
        return math.nan
    location = (*location, "x_label_mass")
    return float(check_distribution([answer["x_label_mass"]], location, summed=False)[0])


def _shown(value: Any) -> str:
    shown = json.dumps(value, default=repr)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."
