"""PlainTokenizer: a tokenizer that reads text as text; and the join of a prompt with its candidates.

A tokenizer finds its special and added tokens inside any string. So a review that contains "</s>" or "<|im_end|>" could
end a turn. `PlainTokenizer` does not look for control tokens. A text without one has exactly the tokens that the
tokenizer gives it; a text with one stays text. Control tokens are put in by the model, as ids.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from fewshot.errors import ModelLoadError
from fewshot.models.base import IntArray, Query
from fewshot.models.locks import after_fork, lock_of
from fewshot.models.text.controls import plain_backend

__all__ = [
    "Head",
    "Joined",
    "PairFrame",
    "PlainTokenizer",
    "Special",
    "Typed",
    "as_text",
    "is_open_ended",
    "join",
    "strip_blanks",
    "without_surrogates",
]

_SURROGATES = re.compile("[\ud800-\udfff]")
_PROBE = "It's 12.5 %  naïve\n漢字 😀."
_MANY = 32  # candidates, of which a pair is looked at before all are tokenised
_BLANKS = re.compile(r"\A[^\S\x1c-\x1f]+")
_BETWEEN_WORDS = re.compile(r"(?<=[A-Za-z]) (?=[A-Za-z])")


@dataclass(frozen=True, slots=True)
class Special:
    """The special tokens that a model was trained to see around its input."""

    before: tuple[int, ...]
    after: tuple[int, ...]


#: Token ids, and as many token types.
Typed = tuple[tuple[int, ...], tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class PairFrame:
    """The special tokens that a model was trained to see around and between two texts, with their token types."""

    before: Typed
    between: Typed
    after: Typed
    types: tuple[int, int]  # of the two texts

    def join(self, first: Sequence[int], second: Sequence[int]) -> Typed:
        """Token ids and types of a pair of texts."""
        one, two = (self.types[0],) * len(first), (self.types[1],) * len(second)
        ids = (*self.before[0], *first, *self.between[0], *second, *self.after[0])
        return ids, (*self.before[1], *one, *self.between[1], *two, *self.after[1])


@dataclass(frozen=True, slots=True)
class Head:
    """The beginning of a sequence: fixed ids, then the last run of plain text, which the candidate continues."""

    ids: tuple[int, ...]
    text: str
    inner: bool  # whether that text follows a special token rather than begins the input
    terminator: str | int | None  # what would follow a finished candidate: text, or a special token
    eats: bool = False  # whether that special token takes the blanks after it


@dataclass(frozen=True, slots=True)
class Joined:
    """The candidates of a query as tokens: what they all condition on, and each one's own rest."""

    common: tuple[int, ...]
    rests: tuple[tuple[int, ...], ...]


def as_text(tokenizer: Any) -> str:
    """A tokenizer as text for a fingerprint: without how its last call cut and padded, which its backend remembers."""
    parts = json.loads(tokenizer.backend_tokenizer.to_str())
    return json.dumps({**parts, "truncation": None, "padding": None})


class PlainTokenizer:
    """A Hugging Face tokenizer with a Rust backend, as all have since transformers 5, that reads text as text.

    Raises
    ------
    ModelLoadError
        When the tokenizer has no such backend, or does more to a text than its backend does.
    """

    def __init__(self, tokenizer: Any) -> None:
        backend = getattr(tokenizer, "backend_tokenizer", None)
        if backend is None:
            raise ModelLoadError(
                f"{type(tokenizer).__name__} has no fast backend, so its special tokens can't be kept out of plain "
                "text. Load the tokenizer with AutoTokenizer, or convert it (transformers.convert_slow_tokenizer)."
            )
        self.tokenizer = tokenizer
        self._plain = plain_backend(tokenizer)
        self._backend = self._plain.backend
        self._check()

    def _check(self) -> None:
        """Refuse a tokenizer whose Python code changes what its backend gives."""
        if getattr(self.tokenizer.backend_tokenizer.model, "dropout", None):
            return  # it gives other tokens every time
        with lock_of(self.tokenizer):  # its backend remembers how each call cuts and pads
            own = list(self.tokenizer(_PROBE, add_special_tokens=False).input_ids)
        if own != self.ids([_PROBE])[0]:
            raise ModelLoadError(
                f"{type(self.tokenizer).__name__} gives other tokens than its fast backend, so that text can't be kept "
                "free of special tokens. Load the tokenizer with AutoTokenizer, or save it and load it again."
            )

    @property
    def controls(self) -> dict[str, int]:
        """The tokens that steer the model rather than spell text, by their spelling."""
        return self._plain.controls

    @property
    def marks(self) -> dict[str, str]:
        """For each control token, the private spelling that stands for it in what `ids` reads."""
        return self._plain.marks

    def eats(self, control: str) -> bool:
        """Whether a control token takes the blanks after it."""
        return control in self._plain.eats

    def encodings(self, texts: Sequence[str]) -> list[Any]:
        """Encode each text as if it stood at the beginning; lone surrogates become U+FFFD, one for one."""
        return list(self._backend.encode_batch([without_surrogates(text) for text in texts], add_special_tokens=False))

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text."""
        return [encoding.ids for encoding in self.encodings(texts)]

    def inner_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text as it stands right after a special token."""
        return [ids[1:] for ids in self.ids([self._plain.stop + text for text in texts])]

    @contextmanager
    def reading(self, tokenizer: Any) -> Iterator[None]:
        """Let the tokenizer itself, or its copy, read text as text, for libraries that call it; one thread at a time.

        Its own special tokens still stand around a text, and it still cuts and pads.
        """
        with lock_of(tokenizer), lock_of(self):
            own = tokenizer._tokenizer  # noqa: SLF001 - transformers has no public way to set the backend
            _READING[id(tokenizer)] = tokenizer, own, self
            tokenizer._tokenizer = _Reader(own, self._framing)  # noqa: SLF001
            try:
                yield
            finally:
                tokenizer._tokenizer = own  # noqa: SLF001
                _READING.pop(id(tokenizer), None)

    @cached_property
    def _framing(self) -> Any:
        framing = type(self._backend).from_str(self._backend.to_str())
        framing.post_processor = self.tokenizer.backend_tokenizer.post_processor
        return framing

    @cached_property
    def _cuts_at_blanks(self) -> bool:
        """Whether no token ever reaches across the blank between two words."""
        split = self._backend.pre_tokenizer
        return not self._plain.swallows and split is not None and len(split.pre_tokenize_str("one two three")) >= 3

    def late_cut(self, text: str) -> int:
        """Where a text can be cut late without changing its tokens; 0 where it can't, or need not."""
        if len(text) < 64 or not self._cuts_at_blanks:
            return 0
        found = _BETWEEN_WORDS.search(text[::-1], 16)
        return len(text) - found.end() if found else 0

    def early_cut(self, text: str) -> int:
        """Where a text can be cut early without changing its tokens; its length where it can't, or need not."""
        if len(text) < 64 or not self._cuts_at_blanks:
            return len(text)
        found = _BETWEEN_WORDS.search(text, 16)
        return found.start() if found else len(text)

    def token_ends(self, texts: Sequence[str]) -> list[IntArray]:
        """For each text, the character offset at which each of its tokens ends."""
        return [np.array([end for _, end in e.offsets], dtype=np.int64) for e in self.encodings(texts)]

    def special(self) -> Special:
        """The special tokens around a single text, as the tokenizer was saved."""
        plain = self.ids(["a"])[0]
        with lock_of(self.tokenizer):
            framed = self.tokenizer("a").input_ids
        for start in range(len(framed) - len(plain) + 1):
            if list(framed[start : start + len(plain)]) == plain:
                return Special(tuple(framed[:start]), tuple(framed[start + len(plain) :]))
        raise ModelLoadError(
            f"{type(self.tokenizer).__name__} alters its input beyond adding special tokens around it."
        )

    def pair_frame(self) -> PairFrame:
        """The special tokens around and between a pair of texts, and the token types of all of it."""
        with lock_of(self.tokenizer):
            framed = self.tokenizer("a", "a", return_token_type_ids=True)
        ids, types = tuple(framed.input_ids), tuple(framed.token_type_ids)
        plain = tuple(self.ids(["a"])[0])
        first, *_, last = (i for i in range(len(ids)) if ids[i : i + len(plain)] == plain)
        before, between, after = (
            (ids[start:stop], types[start:stop])
            for start, stop in ((0, first), (first + len(plain), last), (last + len(plain), len(ids)))
        )
        return PairFrame(before, between, after, (types[first], types[last]))


class _Reader:
    """A backend that is asked for its vocabulary, while another one encodes.

    A copy or a pickle that is made meanwhile is of the tokenizer's own backend: nobody would ever put it back there.
    """

    _ENCODING = {"encode", "encode_batch"} | {
        f"{verb}{what}" for verb in ("", "no_", "enable_") for what in ("truncation", "padding")
    }

    def __init__(self, own: Any, encoding: Any) -> None:
        self._own, self._encoding = own, encoding

    def __getattr__(self, name: str) -> Any:
        return getattr(self._encoding if name in self._ENCODING else self._own, name)

    def __reduce__(self) -> Any:
        return _itself, (self._own,)


def _itself(backend: Any) -> Any:
    return backend


#: Tokenizers that read text as text right now, with the backends that they get back.
_READING: dict[int, tuple[Any, Any, PlainTokenizer]] = {}


@after_fork
def _read_no_more() -> None:
    """In a forked process: end what other threads read, who are not there any more.

    The backend that they were inside is locked for ever, and is made again.
    """
    for tokenizer, own, plain in _READING.values():
        tokenizer._tokenizer = own  # noqa: SLF001
        plain.__dict__.pop("_framing", None)
    _READING.clear()


def join(plain: PlainTokenizer, asked: Sequence[tuple[Head, Query]]) -> list[Joined]:
    """Tokenise every candidate where it stands, and cut where any of them leaves the prefix's own tokens.

    Scores start at the first token where any candidate's joined tokenisation differs from the prefix's, so all
    candidates of a query condition on the same tokens and a blank at the join belongs to whichever side the tokenizer
    puts it. The template's text after the hole is scored with the candidate. When one candidate's tokens begin
    another's ("1", "12"), all candidates of that query are scored with their terminator.

    Raises
    ------
    ValueError
        When a candidate adds no token, or two candidates are the same tokens.
    """
    opened = _find_open_ended(plain, asked)
    left = [i for i in range(len(asked)) if i not in opened]
    found = dict(zip(left, _joined(plain, [asked[i] for i in left], [""] * len(left)), strict=True))
    opened |= {i for i in left if is_open_ended(found[i].rests)}
    ends = {i: asked[i][0].terminator for i in sorted(opened)}
    texts = {i: end for i, end in ends.items() if not isinstance(end, int)}
    found |= zip(texts, _joined(plain, [asked[i] for i in texts], [end or "" for end in texts.values()]), strict=True)
    for i, end in ends.items():
        if isinstance(end, int):
            found[i] = Joined(found[i].common, tuple((*rest, end) for rest in found[i].rests))
    joined = [found[i] for i in range(len(asked))]
    for (_, query), one in zip(asked, joined, strict=True):
        check_tokens(query.candidates, one.rests)
    return joined


def _find_open_ended(plain: PlainTokenizer, asked: Sequence[tuple[Head, Query]]) -> set[int]:
    """Which of the queries with many candidates, such as the spans of a text, one pair shows to be open-ended.

    A terminator that is text joins their last tokens, so without this they would be tokenised twice.
    """
    pairs: dict[int, tuple[Head, Query]] = {}
    for i, (head, query) in enumerate(asked):
        if len(query.candidates) > _MANY and isinstance(head.terminator, str):
            nested = (pair for pair in itertools.pairwise(sorted(query.candidates)) if pair[1].startswith(pair[0]))
            pair = next(nested, None)
            if pair is not None:
                pairs[i] = head, replace(query, candidates=pair)
    joined = _joined(plain, list(pairs.values()), [""] * len(pairs))
    return {i for i, one in zip(pairs, joined, strict=True) if is_open_ended(one.rests)}


def _joined(plain: PlainTokenizer, asked: Sequence[tuple[Head, Query]], ends: Sequence[str]) -> list[Joined]:
    """One joined tokenisation a query, the long text before the hole tokenised once and not once a candidate.

    The text is cut at a late blank between two words where the tokenizer cuts as well; only what follows is tokenised
    with each candidate. Where the two parts' tokens are not those of the whole, the whole is tokenised with each.
    """
    cuts = [plain.late_cut(head.text) if len(query.candidates) > 2 else 0 for head, query in asked]
    jobs: dict[bool, list[str]] = {True: [], False: []}
    for (head, query), end, cut in zip(asked, ends, cuts, strict=True):
        jobs[head.inner] += [head.text] + ([head.text[:cut]] if cut else [])
        tail = head.text[cut:]
        jobs[head.inner or bool(cut)] += [tail] if cut else []
        rests = [tail + word + query.suffix + end for word in query.candidates]
        jobs[head.inner or bool(cut)] += [strip_blanks(rest) if head.eats and not head.text else rest for rest in rests]
    done = {True: iter(plain.inner_ids(jobs[True])), False: iter(plain.ids(jobs[False]))}
    joined = []
    for (head, query), end, cut in zip(asked, ends, cuts, strict=True):
        alone = next(done[head.inner])
        stem = next(done[head.inner]) if cut else []
        late = done[head.inner or bool(cut)]
        tail_ids = next(late) if cut else alone
        wholes = [stem + next(late) for _ in query.candidates]
        if cut and stem + tail_ids != alone:
            encode = plain.inner_ids if head.inner else plain.ids
            wholes = encode([head.text + word + query.suffix + end for word in query.candidates])
        joined.append(_cut(head.ids, alone, wholes))
    return joined


def check_tokens(candidates: Sequence[str], rests: Sequence[tuple[int, ...]]) -> None:
    """Refuse label words that are nothing, or the same thing, to the model."""
    seen: dict[tuple[int, ...], str] = {}
    for candidate, rest in zip(candidates, rests, strict=True):
        if not rest:
            raise ValueError(
                f"the label word {candidate!r} yields no token in this model's vocabulary: choose another word"
            )
        if rest in seen:
            raise ValueError(
                f"the label words {seen[rest]!r} and {candidate!r} are the same tokens to this model: keep one of them"
            )
        seen[rest] = candidate


def _cut(head: tuple[int, ...], alone: list[int], wholes: list[list[int]]) -> Joined:
    k = 0
    while k < len(alone) and all(k < len(whole) and whole[k] == alone[k] for whole in wholes):
        k += 1
    return Joined((*head, *alone[:k]), tuple(tuple(whole[k:]) for whole in wholes))


def is_open_ended(rests: Sequence[tuple[int, ...]]) -> bool:
    """Whether one candidate's tokens begin another's; in sorted order such a pair, if any, has one side by side."""
    return any(len(a) < len(b) and b[: len(a)] == a for a, b in itertools.pairwise(sorted(rests)))


def strip_blanks(text: str) -> str:
    """The text without the blanks it begins with, as tokenizers count blanks."""
    return _BLANKS.sub("", text, count=1)


def without_surrogates(text: str) -> str:
    """The text with lone surrogates replaced, which no tokenizer takes."""
    return _SURROGATES.sub("\ufffd", text)
