"""Checks that need no model: the fields, the text around the hole, how label words are written, and what rows bring."""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Sequence

from fewshot.linting.look import Look, list_words, show_end, show_start
from fewshot.models.base import is_window
from fewshot.task.parsing import CANDIDATE
from fewshot.task.prompt import Prompt

__all__ = ["check_blanks", "check_choices", "check_columns", "check_spellings"]

_UNEVEN = 2  # how many times as long as another a choice must be to be called longer


def check_columns(look: Look) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The fields that no row has, and the columns that the template does not use."""
    fields = [name for name in look.template.fields if not (look.answers and name == CANDIDATE)]
    if not look.rows:
        return (), ()
    if isinstance(look.rows[0], str):
        if len(fields) > 1:
            cure = "Pass a DataFrame, or mappings, with one column a field."
            look.found("error", f"The template uses the fields {fields}, and the rows are plain texts.", cure)
        return (), ()
    columns = list(dict.fromkeys(str(key) for row in look.rows for key in row))
    missing = tuple(name for name in fields if name not in columns)
    unused = tuple(name for name in columns if name not in fields)
    for name in missing:
        near = difflib.get_close_matches(name, unused, n=1, cutoff=0.5) or list(unused if len(unused) == 1 else ())
        cure = f'Write {{{{ {near[0]} }}}}, or use template.rename({name}="{near[0]}").' if near else ""
        optional = look.fills(look.rows[0])  # a field behind "is defined" may be missing
        look.found(
            "hint" if optional else "error",
            f"The template uses the field {name!r}, and no row has it. The columns are {columns}.",
            cure or f"Rename the field or the column, or guard it: {{% if {name} is defined %}}.",
        )
    return missing, unused


def check_blanks(look: Look, prompt: Prompt) -> None:
    """Blanks before the hole and after it, and words that would run into the text."""
    before, after = prompt.prefix, prompt.suffix
    gap = before[len(before.rstrip()) :]
    on_line = gap.rpartition("\n")[2]
    words = look.asked.candidates if look.asked else ()
    if len(on_line) > 1 or "\t" in on_line:
        look.found(
            "warning",
            f"{on_line!r} stands before the hole, and the model reads every one of these blanks.",
            "Keep one blank. It need not go: it is tokenised together with the word, as the tokenizer wants it.",
        )
    elif not gap and _glued(look, before[-1:], words):
        look.found(
            "warning" if before[-1].isalnum() else "hint",
            f"Nothing separates the hole from {show_end(before)!r}, so a word would read "
            f"{show_end(before, 8) + (words[0] if words else 'word')!r}.",
            "Write a blank before {{ label }}. It is safe here: the model tokenises it together with the word.",
        )
    if after[:1].isascii() and after[:1].isalnum():
        cure = "Write a blank or a punctuation mark after {{ label }}."
        look.found("warning", f"The text after the hole, {show_start(after)!r}, runs into the word.", cure)
    if after != after.rstrip():
        look.found(
            "warning",
            f"The template ends with {after[len(after.rstrip()) :]!r}. A causal model scores it with every label "
            "word, and every demonstration ends with it before the separator.",
            "Remove it. The one line break that ends a file is taken off already.",
        )
    odd = [word for word in words if word != word.strip()]
    if odd:
        doubled = "" if not gap else " Before the hole stands a blank already."
        cure = "Write blanks into the template, and the bare word into the verbalizer."
        look.found("warning" if gap else "hint", f"Blanks are part of label words: {list_words(odd)}.{doubled}", cure)
    rest = itertools.dropwhile(lambda piece: piece.place.kind != "hole", prompt.pieces)
    if look.continues and any(piece.place.kind == "field" for piece in rest):
        look.found(
            "hint",
            "A field stands after the hole. A causal model can't read it before it answers: it scores that text "
            "again after every label word.",
            "Move {{ label }} to the end, or use a masked model, or strategy=Channel() where that is meant.",
        )


def _glued(look: Look, last: str, words: Sequence[str]) -> bool:
    """Whether a word would touch the text before it; in a chat it begins a turn, and some words bring a blank."""
    brings_its_own = bool(words) and all(word[:1].isspace() for word in words)
    starts = getattr(look.model, "chat", False) or last in ("", *"([{<\"'")
    return last.isascii() and not brings_its_own and not starts


def check_spellings(look: Look) -> None:
    """Words that differ only by case, or of which one begins another."""
    words = look.asked.candidates if look.asked else ()
    spelt: dict[str, list[str]] = {}
    for word in words:
        spelt.setdefault(word.strip().casefold(), []).append(word)
    for same in spelt.values():
        if len(same) > 1:
            look.found(
                "warning",
                f"The label words {list_words(same)} differ only by case or blanks: an uncased model refuses them, "
                "and free answers are matched without case.",
                "Keep one of them, or choose another word for one class.",
            )
    if is_window(look.model):  # then first tokens are compared
        return
    for short in spelt:
        longer = [spelt[word][0] for word in spelt if word != short and word.startswith(short)]
        if longer:
            look.found(
                "hint",
                f"The label word {spelt[short][0]!r} begins {list_words(longer)}, so they may share their first "
                "tokens; all words are then scored with what would end an answer.",
                "Choose words that begin differently, or lint with a model to see their tokens.",
            )


def check_choices(look: Look) -> None:
    """Whether a model can choose among what rows bring, and whether length would decide."""
    if look.template.choices is not None and look.encodes:
        cure = "Use a language model, such as model='embedded:causal', 'embedded:masked' or a hub name."
        look.found("error", "The template takes its choices from each row, and an encoder compares no such.", cure)
    fair = look.by_length or look.template.metadata.get("domain_premise") is not None
    uneven = sum(len(max(own, key=len)) > _UNEVEN * len(min(own, key=len)) for own in look.own)
    if uneven > len(look.own) / 4 and not fair:
        look.found(
            "hint",
            f"In {uneven} of {len(look.own)} rows one choice is more than {_UNEVEN} times as long as another, and "
            "a longer text is less probable for that alone.",
            "Use verbalizer=Choices(token_aggregation='mean'), or a domain_premise with calibration='pmi'.",
        )
