"""Chat formats: a query's turns as the model's chat template writes them. No text in them becomes a control token."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from fewshot.errors import ModelLoadError
from fewshot.models.base import Turn
from fewshot.models.text.tokens import Head, PlainTokenizer, strip_blanks

__all__ = ["Chat", "alternating"]


class Chat:
    """Puts a query's turns into the format of a tokenizer's chat template, with every text kept plain.

    The chat template never sees the texts: it renders placeholders, its own control tokens are found in what it wrote
    between them and written as private marks, and the texts go in afterwards as plain text. This is stricter than
    `sanitize_control_tokens` of transformers, which spares added tokens that are not flagged special and lets the
    template parse the texts.
    """

    def __init__(self, plain: PlainTokenizer, template_kwargs: Mapping[str, Any] | None = None) -> None:
        self.plain = plain
        self.template_kwargs = dict(template_kwargs or {})
        longest_first = sorted(plain.controls, key=len, reverse=True)
        self._controls = re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")

    def head(self, context: Sequence[Turn], prefix: str) -> Head:
        """The tokens up to the assistant's answer, and what ends that answer."""
        turns = alternating(context, prefix)
        marks = [f"\u2063{uuid.uuid4().hex}\u2063" for _ in turns]
        messages = [{"role": turn.role, "content": mark} for turn, mark in zip(turns, marks, strict=True)]
        rendered = self._render(messages, turns)
        texts = {mark: turn.text.strip() for mark, turn in zip(marks, turns, strict=True)}
        parts = re.split("(\u2063[0-9a-f]{32}\u2063)", rendered)
        before, last, tail = "", "", ""
        for part in parts:
            if part in texts:
                tail += texts[part]
                continue
            at = 0
            for control in self._controls.finditer(part):
                last = control.group()
                before, tail = before + tail + part[at : control.start()] + self.plain.marks[last], ""
                at = control.end()
            tail += part[at:]
        ids = tuple(self.plain.ids([before])[0])
        eats = self.plain.eats(last)
        return Head(ids, strip_blanks(tail) if eats else tail, bool(ids), self._end_of_turn, eats)

    def _render(self, messages: list[dict[str, str]], turns: list[Turn]) -> str:
        try:
            text = self._apply(messages, add_generation_prompt=True)
        except ModelLoadError:  # many templates refuse a system turn
            if turns[0].role != "system" or len(turns) < 2:
                raise
            system, user, *rest = messages
            merged = {"role": "user", "content": f"{system['content']}\n\n{user['content']}"}
            return self._render([merged, *rest], turns[1:])
        lost = [message["content"] for message in messages if message["content"][:34] not in text]
        if lost:
            raise ModelLoadError(
                "The tokenizer's chat template leaves out a turn, so the prompt can't be shown to the model."
            )
        return text

    def _apply(self, messages: list[dict[str, str]], **options: bool) -> str:
        try:
            text = self.plain.tokenizer.apply_chat_template(messages, tokenize=False, **options, **self.template_kwargs)
        except Exception as error:  # templates raise what they like
            raise ModelLoadError(
                f"The tokenizer's chat template can't be rendered: {error}. To do without it, load the model with "
                "chat=False."
            ) from error
        return str(text)

    @cached_property
    def _end_of_turn(self) -> str | int | None:
        """The first control token that the template writes after an assistant's answer."""
        mark = f"\u2063{uuid.uuid4().hex}\u2063"
        messages = [{"role": "user", "content": "q"}, {"role": "assistant", "content": mark}]
        rendered = self._apply(messages)
        control = self._controls.search(rendered.rpartition(mark)[2])
        return self.plain.controls[control.group()] if control else self.plain.tokenizer.eos_token_id


def alternating(context: Sequence[Turn], prefix: str) -> list[Turn]:
    """System first, then user and assistant in turn; a premise is the user's."""
    turns = [turn for turn in context if turn.text.strip()]
    turns = [Turn("user", turn.text) if turn.role == "premise" else turn for turn in turns]
    if turns and turns[-1].role == "user":
        prefix = turns.pop().text + prefix
    return [*turns, Turn("user", prefix)]
