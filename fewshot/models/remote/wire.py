"""The common form of typed decisions, which both wires spell: what is asked about a state, and what was answered."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np

from fewshot.models.base import FloatArray
from fewshot.models.remote.contents import Location, WireError, as_count, as_mapping, as_name, required, shown

__all__ = [
    "Answered",
    "Asked",
    "Option",
    "QuestionType",
    "Request",
    "Usage",
    "Wire",
    "answer_extras",
    "check_distribution",
    "check_options",
    "choice_confidence",
    "expected_level",
    "half_step",
    "rating_confidence",
    "read_answers",
    "read_mass",
    "read_model",
    "read_type",
    "read_usage",
]

QuestionType = Literal["choice", "rating", "yes_no"]

_TOLERANCE = 0.05  # how far from 1 a sum of probabilities may be, rounding apart


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


def check_distribution(values: Sequence[Any], location: Location, *, summed: bool = True) -> FloatArray:
    """Probabilities as an array, refused where one is none or where they do not sum to 1, rounding apart."""
    for value in values:
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
            raise WireError(location, f"Probabilities are numbers from 0 to 1. Got {shown(value)}.")
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
            f"Each option has one probability. Without one: {shown(missing)}. Not asked about: {shown(odd)}.",
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


def read_model(body: Mapping[str, Any], what: str = "The name of a model") -> str:
    """The name of the model that a request asks, or that gave a response."""
    return as_name(required(body, "model"), what, ("model",))


def read_usage(body: Mapping[str, Any]) -> Usage:
    """The tokens that a response says it took."""
    usage = as_mapping(required(body, "usage"), ("usage",))
    return Usage(
        *(as_count(required(usage, key, ("usage",)), ("usage", key)) for key in ("input_tokens", "output_tokens"))
    )


def read_type(question: Mapping[str, Any], known: Collection[str], location: Location) -> str:
    """The type of a question, which must be one of those that a wire has."""
    kind = required(question, "type", location)
    if not isinstance(kind, str) or kind not in known:
        raise WireError(
            (*location, "type"), f"The type is one of {', '.join(known)}. Got {kind!r}.", "union_tag_invalid"
        )
    return kind


def read_answers(
    request: Request,
    body: Mapping[str, Any],
    answers: Iterable[tuple[Location, Any]],
    read: Callable[[Asked, Mapping[str, Any], Location], FloatArray],
) -> Answered:
    """A response, from the answer to each question and its place, as one wire reads them."""
    found, masses = [], []
    for asked, (location, said) in zip(request.questions, answers, strict=True):
        answer = as_mapping(said, location)
        found.append(read(asked, answer, location))
        masses.append(read_mass(answer, location))
    model = read_model(body, "The name of the model that answered")
    return Answered(tuple(found), model, read_usage(body), tuple(map(half_step, found)), tuple(masses))
