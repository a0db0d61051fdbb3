"""Checks of length: what a window holds, and what is cut."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fewshot.errors import PromptTooLongError
from fewshot.linting.look import Look
from fewshot.linting.report import TokenCounts
from fewshot.models.base import Query, is_window
from fewshot.task.prompt import Prompt, fit_to_window

__all__ = ["check_marks", "count_prompts", "count_texts"]

_LONG = 2000  # characters: about 500 tokens, which is all that many encoders and masked models read


def check_marks(look: Look, prompts: Sequence[Prompt]) -> None:
    """Long texts in fields that are not marked to be shortened; their weight is 0 only where others are marked."""
    own = [p for prompt in prompts for p in prompt.pieces if p.place.kind == "field"]
    fixed = max((len(piece.text) for piece in own if not piece.place.weight), default=0)
    if fixed > _LONG:
        look.found(
            "warning",
            f"A field without 'shorten' is up to {fixed:,} characters long. It is never cut, since another field "
            "is marked.",
            "Mark it as well: {{ field | shorten }}; with shorten(weight=2) it counts as twice as long, and gives "
            "first.",
        )
    longest = max((len(piece.text) for piece in own), default=0)
    if look.model is None and longest > _LONG and not look.marked:
        look.found(
            "hint",
            f"A field is up to {longest:,} characters long, and none is marked 'shorten': where a prompt exceeds "
            "the window, the longest is cut first, from the right.",
            "Mark what may be cut: {{ field | shorten }}, or shorten(side='left') to keep the end.",
        )


def count_prompts(look: Look, prompts: Sequence[Prompt], blank: Prompt | None) -> TokenCounts | None:
    """Count a language model's tokens, and cut what exceeds its window, as a strategy would."""
    model = look.model
    shared = look.asked.candidates if look.asked else ("x",)
    if not is_window(model) or look.kind is None:
        return None
    kind = look.kind.name
    counted = [*prompts, *([] if blank is None else [blank])]
    words = [*(tuple(dict.fromkeys(own)) for own in look.own), *[shared] * (len(counted) - len(look.own))]
    sizes = model.lengths([prompt.query(own, look.context, kind) for prompt, own in zip(counted, words, strict=True)])
    overhead = None if blank is None else int(sizes[-1])
    sizes = sizes[: len(prompts)]
    over, cuts, stuck = np.flatnonzero(sizes > model.limit), [], 0
    if overhead is not None and overhead > model.limit / 2:
        look.found(
            "error" if overhead > model.limit else "warning",
            f"The instruction, the template and the longest label word take {overhead} of the {model.limit} tokens "
            "that the model reads, before any text.",
            "Shorten the instruction or the label words, or use a model that reads more.",
        )
    if overhead is None or overhead <= model.limit:
        for i in over.tolist():
            try:
                size = int(sizes[i])
                fit = fit_to_window(prompts[i], [look.context], words[i], model, kind=kind, n_tokens=size)
                cuts.append(fit.n_cut)
            except PromptTooLongError:
                stuck += 1
    if stuck:
        look.found(
            "error",
            f"{stuck} of {len(prompts)} rows exceed the window of {model.limit} tokens even when everything that "
            "may be cut is cut; predict would refuse them.",
            "Mark the long fields as well: {{ field | shorten }}.",
        )
    if cuts and not look.marked:
        look.found(
            "warning",
            f"{len(cuts)} of {len(prompts)} rows exceed the window of {model.limit} tokens, and no field is marked "
            "'shorten': the longest is cut first, from the right.",
            "Mark what may be cut: {{ field | shorten }}, or shorten(side='left') to keep the end; or use a model "
            "that reads more.",
        )
    return _counts(model.limit, overhead, sizes, cuts)


def count_texts(look: Look) -> TokenCounts | None:
    """Count the tokens of what an encoder reads: the fields without the frame."""
    if not is_window(look.model):
        return None
    texts = [look.template.text(row) for row in look.rows if look.fills(row)]
    sizes = look.model.lengths([Query(text, ()) for text in texts]) if texts else np.empty(0, dtype=np.int64)
    windows = getattr(look.model, "windows", None)  # reads a long text window by window
    cuts = [] if windows is not None else [int(size) - look.model.limit for size in sizes if size > look.model.limit]
    if cuts:
        look.found(
            "warning",
            f"{len(cuts)} of {len(texts)} texts exceed the encoder's window of {look.model.limit} tokens: it does "
            "not read the rest.",
            "Read long texts in windows: load(model, windows=Windows()).",
        )
    return _counts(look.model.limit, None, sizes, cuts, cut=windows is None)


def _counts(limit: int, overhead: int | None, sizes: Any, cuts: Sequence[int], cut: bool = True) -> TokenCounts:
    if not len(sizes):
        return TokenCounts(limit, overhead)
    median, p95 = round(float(np.median(sizes))), int(np.percentile(sizes, 95, method="higher"))
    share = float(np.mean(sizes > limit)) if cut else 0.0
    return TokenCounts(limit, overhead, median, p95, int(sizes.max()), share, int(np.median(cuts)) if cuts else 0)
