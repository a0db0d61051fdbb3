"""Continued: queries as the token ids that a decoder reads and goes on with. Here is no torch, and no model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from fewshot.errors import ModelLoadError
from fewshot.models.base import Query
from fewshot.models.text.chat import Chat
from fewshot.models.text.tokens import Head, Joined, PlainTokenizer, join

__all__ = ["Continued"]

_KEPT_TOKENS = 512  # queries whose tokens are kept for a second look


class Continued:
    """How the queries for a decoder become token ids, whether its weights are here or behind an address.

    Parameters
    ----------
    tokenizer : PreTrainedTokenizerBase
    plain : PlainTokenizer
        Of the same tokenizer.
    chat : bool, optional
        Whether to use the tokenizer's chat template. None: if it has one.
    chat_template_kwargs : mapping, optional
        Passed on to the chat template.
    shown : str
        What messages call the model.

    Raises
    ------
    ModelLoadError
        When ``chat`` is True and the tokenizer has no chat template.
    """

    def __init__(
        self,
        tokenizer: Any,
        plain: PlainTokenizer,
        chat: bool | None,
        chat_template_kwargs: Mapping[str, Any] | None,
        shown: str,
    ) -> None:
        if chat and not tokenizer.chat_template:
            raise ModelLoadError(f"{shown} was asked to chat, and its tokenizer has no chat template.")
        self.tokenizer, self.plain = tokenizer, plain
        self.chat = bool(tokenizer.chat_template) if chat is None else chat
        self.chat_template_kwargs = dict(chat_template_kwargs or {})
        self._known: dict[Query, Joined] = {}  # of the queries that were seen last

    @property
    def variant(self) -> str:
        """What decides the tokens of a query beside the tokenizer."""
        return f"chat={self.chat}{sorted(self.chat_template_kwargs.items())}"

    @cached_property
    def _format(self) -> Chat:
        return Chat(self.plain, self.chat_template_kwargs)

    @cached_property
    def _before(self) -> tuple[int, ...]:
        return self.plain.special().before

    @cached_property
    def ends(self) -> frozenset[int]:
        """The tokens that end a free answer, as far as the tokenizer says."""
        turn = self._format.head((), "a").terminator if self.chat else None
        return frozenset(int(end) for end in (self.tokenizer.eos_token_id, turn) if isinstance(end, int))

    def head(self, query: Query) -> Head:
        """The beginning of a query's sequence, up to its hole."""
        if self.chat:
            return self._format.head(query.context, query.prefix)
        text = "".join(turn.text for turn in query.context) + query.prefix
        return Head(self._before, text, False, "\n")

    def joined(self, queries: Sequence[Query]) -> list[Joined]:
        """The tokens of each query's candidates; those of the last queries are kept, since lengths precede scores."""
        known = self._known  # never changed, only replaced: any thread may look while another tokenises
        new = [query for query in dict.fromkeys(queries) if query not in known]
        joined = join(self.plain, [(self.head(query), query) for query in new])
        found = {query: known[query] for query in queries if query in known}
        for query, one in zip(new, joined, strict=True):
            found[query] = one if one.common else Joined(self._anything(), one.rests)
        others = {query: one for query, one in known.items() if query not in found}
        self._known = dict(list({**others, **found}.items())[-_KEPT_TOKENS:])
        return [found[query] for query in queries]

    def sizes(self, queries: Sequence[Query]) -> list[int]:
        """Tokens of each query with its longest candidate."""
        return [len(one.common) + max(map(len, one.rests)) for one in self.joined(queries)]

    def prompt(self, query: Query) -> tuple[int, ...]:
        """What is continued freely: all before the hole."""
        head = self.head(query)
        text = head.text if self.chat else head.text.rstrip(" ")  # a blank before a word belongs to the word
        own = (self.plain.inner_ids if head.inner else self.plain.ids)([text])[0]
        return (*head.ids, *own) or self._anything()

    def _anything(self) -> tuple[int, ...]:
        """What an unconditional probability conditions on: the token that begins, or else ends, a text."""
        for token in (self.tokenizer.bos_token_id, self.tokenizer.eos_token_id):
            if token is not None:
                return (int(token),)
        raise ValueError("nothing stands before the hole, and the model has no token that begins a text: add some text")
