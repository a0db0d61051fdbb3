"""Checks of what a model says of the label words after a text without content."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from fewshot.linting.look import Look, list_words
from fewshot.linting.report import NEUTRAL, WordLine
from fewshot.models.base import Query, check_scores, is_language_model, is_window
from fewshot.task.meaning import with_meanings
from fewshot.task.prompt import Prompt
from fewshot.task.verbalizer import MASS_FLOOR

__all__ = ["check_frames", "score_words"]

_FAR = 10.0  # how many times more probable than every other class a class must be to be called a favourite


def check_frames(look: Look) -> list[WordLine]:
    """An encoder compares texts with the prompts of each class."""
    prompts = look.template.class_prompts
    return [replace(line, frame=" | ".join(prompts([line.word], look.labels))) for line in look.lines()]


def score_words(look: Look, blank: Prompt) -> tuple[list[WordLine], float | None]:
    """Score the words once, after a text without content."""
    lines = look.lines()
    if look.asked is None or not is_language_model(look.model) or look.kind is None:
        return lines, None
    words = with_meanings(look.template, look.asked.candidates, look.model)
    query = blank.query(words, look.context, look.kind.name)
    scores = look.model.loglikelihoods([query])[0]
    check_scores(look.model, query, scores)
    shares = np.exp(scores.logprobs - np.logaddexp.reduce(scores.logprobs))
    entails = look.kind.reads == "premise"  # it reads whole sentences, and its words have no tokens of their own
    firsts = [None] * len(lines) if entails else _firsts(look, query)
    made = [
        replace(line, n_tokens=None if entails else int(n), first=first, probability=float(p), share=float(share))
        for line, n, first, p, share in zip(
            lines, scores.n_tokens, firsts, np.exp(scores.logprobs), shares, strict=True
        )
    ]
    mass = None if np.isnan(scores.mass) else float(scores.mass)
    _judge(look, made, mass)
    _told(look, query, made)
    return made, mass


def _firsts(look: Look, query: Query) -> list[str | None]:
    """The characters of each word that lie in its first token, where the model shows its tokens."""
    if not is_window(look.model):
        return [None] * len(query.candidates)
    text = "".join(turn.text for turn in query.context) + query.prefix
    ends = look.model.token_ends([text + word for word in query.candidates])
    return [
        word[: next((int(end) for end in own if end > len(text)), len(text)) - len(text)]
        for word, own in zip(query.candidates, ends, strict=True)
    ]


def _judge(look: Look, lines: list[WordLine], mass: float | None) -> None:
    groups: dict[str, list[WordLine]] = {}
    for line in lines:
        if line.first is not None:
            groups.setdefault(line.first, []).append(line)
    for first, group in groups.items():
        if len({line.label for line in group}) > 1:
            words = [line.word for line in group]
            look.found(
                "warning",
                f"The label words {list_words(words)} share their first token {first!r}: at the hole the model can't "
                "tell them apart, and the label mass counts them once.",
                "Give each class a word that begins differently: verbalizer={class: word}.",
            )
    counts = sorted({line.n_tokens for line in lines if line.n_tokens is not None})
    if len(counts) > 1 and look.asked is not None and look.asked.token_aggregation == "sum":
        look.found(
            "hint",
            f"The label words have {counts[0]} to {counts[-1]} tokens, and a word of more tokens is less probable "
            "for that alone.",
            "Use words of one length, calibration='contextual', or Verbalizer(..., token_aggregation='mean').",
        )
    best: dict[str, float] = {}
    for line in lines:
        best[line.label] = max(best.get(line.label, 0.0), line.share or 0.0)
    ranked = sorted(best, key=lambda name: -best[name])
    if len(ranked) > 1 and best[ranked[0]] >= _FAR * best[ranked[1]]:
        look.found(
            "hint",
            f"After {NEUTRAL!r} the model expects the class {ranked[0]!r} {_FAR:.0f} times or more as much as "
            "any other: it will lean to it whatever it reads.",
            "Use Prompting(calibration='contextual'), or calibration='batch' where there are unlabelled texts.",
        )
    if mass is not None and mass < MASS_FLOOR:
        look.found(
            "warning",
            f"The model hardly expects any label word: after {NEUTRAL!r} their total probability is {mass:.2g}.",
            "Choose words that would really follow in the template, or list them in an instruction: "
            "\"One of: {{ labels | join(', ') }}.\"",
        )


def _told(look: Look, query: Query, lines: list[WordLine]) -> None:
    said = "".join(turn.text for turn in query.context) + query.prefix
    if getattr(look.model, "chat", False) and not all(line.word in said for line in lines):
        look.found(
            "hint",
            "The model chats, and nothing tells it which label words there are.",
            "List them in an instruction: \"Answer with one of: {{ labels | join(', ') }}.\"",
        )
