"""The protocols of models: a `Query` goes in, `Scores` come out."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol, TypeGuard, TypeVar

import numpy as np
from numpy.typing import NDArray

from fewshot.errors import UnsupportedError, broken
from fewshot.models.kinds import Kind, kind_named

__all__ = [
    "BLOCK_BYTES",
    "SCORING_VERSION",
    "Encoder",
    "Float32Array",
    "FloatArray",
    "Formatted",
    "Generator",
    "IntArray",
    "LanguageModel",
    "Query",
    "Reader",
    "Reading",
    "Scores",
    "Turn",
    "Window",
    "check_scores",
    "formats_of",
    "is_encoder",
    "is_extractive",
    "is_formatted",
    "is_generator",
    "is_language_model",
    "is_reader",
    "is_window",
    "kind_of",
    "score_each",
    "scored_once",
]

#: The most bytes that logits over a vocabulary may take at once.
BLOCK_BYTES = 64 * 2**20
FloatArray = NDArray[np.float64]
Float32Array = NDArray[np.float32]
IntArray = NDArray[np.int64]
Reading = Literal["vocabulary", "hidden"]
Role = Literal["system", "user", "assistant", "premise"]
T = TypeVar("T")

#: Part of every fingerprint. It rises when the definition of a score changes: then no cache serves old numbers.
SCORING_VERSION = 1


class Turn(NamedTuple):
    """One piece of what stands before a prompt: who says it, and what."""

    role: Role
    text: str


@dataclass(frozen=True, slots=True)
class Query:
    """One question to a language model, with the candidates for the hole.

    Parameters
    ----------
    prefix : str
        The text before the hole.
    candidates : tuple of str
        What may fill the hole.
    suffix : str
        The text after the hole.
    context : tuple of Turn
        The turns before the prefix. A model without turns reads their texts joined without any change.

    Examples
    --------
    >>> from fewshot import Query
    >>> Query("I loved it. It was ", ("great", "terrible"), ".").candidates
    ('great', 'terrible')
    """

    prefix: str
    candidates: tuple[str, ...]
    suffix: str = ""
    context: tuple[Turn, ...] = ()


@dataclass(frozen=True, slots=True)
class Scores:
    """A language model's scores for one query.

    Parameters
    ----------
    logprobs : ndarray of shape (n_candidates,)
        Log-probability (natural logarithm) of each candidate.
    n_tokens : ndarray of shape (n_candidates,)
        Number of tokens over which each log-probability is summed.
    mass : float
        Total probability of the candidates' distinct first tokens (the label mass); NaN if the model does not have it.

    Examples
    --------
    >>> import numpy as np
    >>> from fewshot import Scores
    >>> scores = Scores(logprobs=np.log([0.6, 0.1]), n_tokens=np.array([1, 2]), mass=0.7)
    >>> np.exp(scores.logprobs).round(3)
    array([0.6, 0.1])
    """

    logprobs: FloatArray
    n_tokens: IntArray
    mass: float = float("nan")


class LanguageModel(Protocol):
    """Protocol of a model that scores candidates for a hole.

    Your own class needs a ``fingerprint`` and ``loglikelihoods``. Its attribute ``kind`` may be "masked", "causal",
    "seq2seq", "entailment" or "decision", and chooses the generic template. Without it, the model counts as causal. The
    protocols `Window`, `Generator` and `Reader` describe what a model may also do, such as counting tokens.

    Examples
    --------
    >>> import numpy as np
    >>> from fewshot import Classifier, Scores
    >>> class Counting:
    ...     '''A word is as probable as it is frequent in the prompt.'''
    ...
    ...     fingerprint = "Counting, version 1"
    ...
    ...     def loglikelihoods(self, queries):
    ...         return [self.score(query) for query in queries]
    ...
    ...     def score(self, query):
    ...         counts = np.array([1 + query.prefix.count(word) for word in query.candidates])
    ...         return Scores(np.log(counts / counts.sum()), np.ones(len(counts), dtype=int))
    >>> clf = Classifier(Counting(), "{{ text }} It is about {{ label }}.").fit(None, ["music", "sport"])
    >>> clf.predict(["All the sport of the day"]).tolist()
    ['sport']
    """

    @property
    def fingerprint(self) -> str:
        """A string that changes whenever a score could change: weights, dtype, tokenizer, variant, SCORING_VERSION."""
        ...

    def loglikelihoods(self, queries: Sequence[Query]) -> list[Scores]:
        """Score the candidates of every query, in order."""
        ...


class Encoder(Protocol):
    """Protocol of a model that turns each text into one vector.

    Your own class needs a ``fingerprint`` and ``encode``.

    Examples
    --------
    >>> import numpy as np
    >>> from fewshot import Classifier
    >>> class Vowels:
    ...     fingerprint = "Vowels, version 1"
    ...
    ...     def encode(self, texts):
    ...         return np.array([[text.count(letter) for letter in "aeiou"] for text in texts], dtype=float)
    >>> clf = Classifier(Vowels()).fit(["banana", "monsoon"], ["a", "o"])
    >>> clf.predict(["a cat", "two dogs too"]).tolist()
    ['a', 'o']
    """

    @property
    def fingerprint(self) -> str:
        """A string that changes whenever a vector could change."""
        ...

    def encode(self, texts: Sequence[str]) -> FloatArray:
        """Return one vector per text, of shape (n_texts, dim)."""
        ...


class Window(Protocol):
    """Protocol of a model that can count tokens and has a limit."""

    @property
    def limit(self) -> int:
        """The most tokens that the model reads at once, its own special tokens included."""
        ...

    def lengths(self, queries: Sequence[Query]) -> IntArray:
        """Return the number of tokens of each query with its longest candidate, special tokens included."""
        ...

    def token_ends(self, texts: Sequence[str]) -> list[IntArray]:
        """Return, for each text, the character offset at which each of its tokens ends."""
        ...


class Generator(Protocol):
    """Protocol of a model that can write a free answer.

    Your own model may have no parameter ``stop``: its text is then cut afterwards.
    """

    def generate(self, queries: Sequence[Query], max_new_tokens: int, stop: Sequence[str] = ()) -> list[str]:
        """Return the greedy continuation of each query's prefix, up to the first of the stop texts in it.

        Candidates and suffix are ignored.
        """
        ...


class Reader(Protocol):
    """Protocol of a model whose output at the hole can be read without naming candidates."""

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """The text of each token as it would be in the hole; empty for a token that can't stand there alone."""
        ...

    def read(self, queries: Sequence[Query], what: Reading) -> Float32Array:
        """Return the model's output at the first token of each query's hole; candidates are ignored.

        "vocabulary" is the log-probability of every token, of shape (n_queries, n_tokens). "hidden" is the last hidden
        state, of shape (n_queries, dim).
        """
        ...


class Formatted(Protocol):
    """A model with a chat template, which can be asked without it as well."""

    chat: bool  # whether it is asked with it

    def with_chat(self, chat: bool) -> Any:
        """Return the same weights, asked with the chat template or without it."""
        ...


def is_language_model(model: object) -> bool:
    """Whether the object scores candidates. Asked without computing its fingerprint, which may hash its weights."""
    return callable(getattr(model, "loglikelihoods", None)) and _has_fingerprint(model)


def is_encoder(model: object) -> bool:
    """Whether the object turns texts into vectors."""
    return callable(getattr(model, "encode", None)) and _has_fingerprint(model)


def is_extractive(model: object) -> bool:
    """Whether the object finds answers to questions in texts (see `fewshot.models.answering.Extractive`)."""
    return callable(getattr(model, "answer_scores", None)) and _has_fingerprint(model)


# What a wrapper such as CachedLM hands on by ``__getattr__`` counts: isinstance() does not see it from Python 3.12 on.


def is_window(model: object) -> TypeGuard[Window]:
    """Whether the object knows how much it can read."""
    return all(hasattr(model, name) for name in ("limit", "lengths", "token_ends"))


def is_generator(model: object) -> TypeGuard[Generator]:
    """Whether the object can answer in its own words."""
    return callable(getattr(model, "generate", None))


def is_reader(model: object) -> TypeGuard[Reader]:
    """Whether the object shows what it thinks at the hole. Asked without computing its vocabulary."""
    return callable(getattr(model, "read", None))


def is_formatted(model: object) -> TypeGuard[Formatted]:
    """Whether the object can be asked as a chat and plainly."""
    return all(hasattr(model, name) for name in ("chat", "with_chat"))


def formats_of(model: Any) -> list[Any]:
    """The model as it is, and where it is asked as a chat also without its chat template."""
    return [model, model.with_chat(False)] if is_formatted(model) and model.chat else [model]


def _has_fingerprint(model: object) -> bool:
    return inspect.getattr_static(model, "fingerprint", None) is not None


def kind_of(model: object) -> Kind:
    """Return the kind of a model; a language model that names none is taken for a causal one.

    Raises
    ------
    ParameterError
        When it names a kind that there is not.
    """
    other = "extractive" if is_extractive(model) else "encoder"
    name = getattr(model, "kind", "causal") if is_language_model(model) else other
    return kind_named(name, f"The attribute kind of {model!r}")


def check_scores(model: object, query: Query, scores: Scores) -> None:
    """Refuse a model's answer that can't be used.

    Single candidates may be impossible (-inf); where all are, or one is NaN, nothing can be normalised.
    """
    n, shapes = len(query.candidates), {np.shape(scores.logprobs), np.shape(scores.n_tokens)}
    if shapes != {(n,)}:
        found = " and ".join(map(str, sorted(shapes)))
        raise UnsupportedError(f"{model!r} gave scores of shape {found} for {n} candidates.")
    if not np.isfinite(np.max(scores.logprobs)):
        raise broken(model, "scores")
    if np.min(scores.n_tokens) < 1:
        which = query.candidates[int(np.argmin(scores.n_tokens))]
        raise UnsupportedError(
            f"{model!r} says that {which!r} has {np.min(scores.n_tokens)} tokens: a score is of one token at least."
        )


def score_each(model: LanguageModel, queries: Sequence[Query]) -> dict[Query, Scores]:
    """Score distinct queries.

    Raises
    ------
    UnsupportedError
        When the model gives fewer or more scores than there are queries.
    """
    answers = model.loglikelihoods(queries)
    if len(answers) != len(queries):
        raise UnsupportedError(f"{model!r} gave {len(answers)} scores for {len(queries)} queries: one is of each.")
    return dict(zip(queries, answers, strict=True))


def scored_once(score: Callable[[Sequence[Query]], Iterable[T]], queries: Sequence[Query]) -> list[T]:
    """Apply ``score`` to the distinct queries only, and hand its answers back in the order of ``queries``."""
    distinct = list(dict.fromkeys(queries))
    answers = dict(zip(distinct, score(distinct), strict=True))
    return [answers[query] for query in queries]
