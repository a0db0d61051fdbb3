"""Control tokens: which added tokens steer a model, and a backend that never finds them in text.

A *control* token has a role: it begins or ends a text or a turn, or stands for a hole, a tool, a file or an image. The
tokenizer names it, or its chat template writes it. Tokenizers flag most control tokens as special, but not all. Every
other added token spells text: an HTML tag, a run of whitespace, a word of a domain.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from fewshot.errors import ModelLoadError

__all__ = ["PlainBackend", "plain_backend"]

_ROLES = (
    r"s|bos|eos|bot|eot|eom|sop|eop|sot|pad|padding|unk|mask|[gs]mask|cls|sep|nul|null"
    r"|endoftext|startoftext|(?:start|begin|beginning|end)_?of_?[\w-]+|im_(?:start|end|sep)|\w+_(?:start|end)_?id"
    r"|fim[-_ ]\w+|pre|mid|suf|prefix|suffix|middle|fill_me|extra_(?:id|token)_\d+|sentinel_?\d+"
    r"|unused[-_ ]?\d+|reserved[-_ ]?\w*|special[-_ ]?\w*\d+|control[-_ ]?\d+|madeupword\d+"
    r"|inst|system_prompt|model_settings|think|thinking|tool_\w+|tools|available_tools|args|call_id"
    r"|image|image_\w+|img_\w+|audio_\w+|video_\w+|vision_\w+|\w+_soft_token"
    r"|reponame|repo_name|filename|file_sep|gh_stars|issue_(?:start|comment|closed)|jupyter_\w+|empty_output"
    r"|commit_(?:before|msg|after)"
)
#: Spellings that have no other use: <|im_start|>, <｜User｜>, <turn|>, <start_of_turn>, </s>, [INST], <<SYS>>, ▁<PRE>.
_MARK = re.compile(
    rf"▁?(?:<[|｜].*\w.*|.*\w.*[|｜]>|</?(?:{_ROLES})>|\[/?(?:{_ROLES})\]|<</?SYS>>|>>\w+<<)", re.IGNORECASE | re.DOTALL
)
#: A string in a chat template is a control token only if it looks like a mark. A plain word there belongs to Jinja.
_BRACKETED = re.compile(r"[^\w\s].*\w.*[^\w\s]", re.DOTALL)
_BYTE = re.compile(r"<0x[0-9A-F]{2}>")
_STRUCK = ("<s>", "</s>")  # of text in a vocabulary that has HTML's other tags as well


def _controls(tokenizer: Any, state: dict[str, Any]) -> dict[str, int]:
    """The control tokens of a tokenizer, whose backend has this state, by their spelling."""
    model, added = state["model"], state["added_tokens"]
    vocabulary = _vocabulary(model)
    named = set(tokenizer.all_special_tokens)
    written = _templates(tokenizer)
    unflagged = {token["content"] for token in added if not token["special"]}
    struck = _STRUCK if "<b>" in unflagged or "<u>" in unflagged else ()
    products = {"".join(pair) for pair in _merges(model)}
    found = {}
    for token in added:
        content = token["content"]
        if not content.strip(" \t\r\n▁") or (_BYTE.fullmatch(content) and content in vocabulary):
            continue
        if content in vocabulary and (len(content) == 1 or (content.isalnum() and content in products)):
            continue  # a letter or word that the model itself builds: it has no other way to spell it
        role = content in named or (content not in struck and _MARK.fullmatch(content))
        if token["special"] or role or (_BRACKETED.fullmatch(content) and content in written):
            found[content] = int(token["id"])
    if model["type"] != "BPE" or model.get("ignore_merges"):  # these emit whatever piece the text spells
        found |= {piece: i for piece, i in vocabulary.items() if piece not in unflagged and _MARK.fullmatch(piece)}
    return found


def _templates(tokenizer: Any) -> str:
    template = tokenizer.chat_template
    return "\n".join(map(str, template.values())) if isinstance(template, dict) else str(template or "")


def _vocabulary(model: dict[str, Any]) -> dict[str, int]:
    vocabulary = model["vocab"]
    return vocabulary if isinstance(vocabulary, dict) else {piece: i for i, (piece, _) in enumerate(vocabulary)}


def _merges(model: dict[str, Any]) -> Iterator[list[str]]:
    for merge in model.get("merges", []):
        yield merge if isinstance(merge, list) else merge.split(" ")


@dataclass(frozen=True, slots=True)
class PlainBackend:
    """A copy of a tokenizer's backend that reads every text as text."""

    backend: Any  # a tokenizers.Tokenizer, which gives the tokenizer's own tokens and puts none around them
    controls: dict[str, int]  # the control tokens, none of which a text can spell
    marks: dict[str, str]  # the private spelling of each, with the original's manners towards the blanks around it
    eats: frozenset[str]  # control tokens that take the blanks after them
    swallows: bool  # whether one token may hold the blank between two words
    stop: str  # a private token without a meaning


def plain_backend(tokenizer: Any) -> PlainBackend:
    """Rename a backend's control tokens, so that no text can spell them; all else stays as it is.

    Byte tokens (``<0x0A>``) keep their names, by which a model falls back on them, but are not recognised in text.

    Raises
    ------
    ModelLoadError
        When the copy would number a token otherwise.
    """
    from tokenizers import AddedToken, Tokenizer

    state = json.loads(tokenizer.backend_tokenizer.to_str())
    model = state["model"]
    found = _controls(tokenizer, state)
    key = uuid.uuid4().hex
    marks = {content: f"\u2063{key}{i:x}\u2063" for i, content in enumerate(found)}
    _rename(model, marks)
    state["post_processor"] = state["truncation"] = state["padding"] = None
    if "dropout" in model:
        model["dropout"] = None  # which draws the tokens at random, in training
    vocabulary = _vocabulary(model)
    bytes_ = [piece for piece in vocabulary if _BYTE.fullmatch(piece)]
    kept = [token for token in state["added_tokens"] if token["content"] not in bytes_]
    eats = frozenset(token["content"] for token in kept if token["content"] in marks and token["rstrip"])
    for token in kept:
        if token["content"] in marks:
            token |= {"content": marks[token["content"]], "normalized": False}
    state["added_tokens"] = kept
    plain = Tokenizer.from_str(json.dumps(state))
    if any(vocabulary[b] in plain.encode(b, add_special_tokens=False).ids for b in bytes_):
        state["pre_tokenizer"] = _parting_bytes(state["pre_tokenizer"])
        plain = Tokenizer.from_str(json.dumps(state))
    expected = {token["content"]: token["id"] for token in kept} | {marks[c]: i for c, i in found.items()}
    wrong = [content for content, i in expected.items() if plain.token_to_id(content) != i]
    if wrong:
        raise ModelLoadError(
            f"{type(tokenizer).__name__} numbers its added tokens in a way that can't be kept ({wrong[0]!r}): save it "
            "with save_pretrained and load it again."
        )
    stop = f"\u2063{uuid.uuid4().hex}\u2063"
    plain.add_special_tokens([AddedToken(stop, normalized=False, special=True)])
    swallows = any(re.search(r"\w\s\w", token["content"]) for token in kept)
    return PlainBackend(plain, found, marks, eats, swallows, stop)


def _rename(model: dict[str, Any], names: dict[str, str]) -> None:
    """Give pieces of a vocabulary other names, and drop the merges that would build them or go on from them."""
    vocabulary = model["vocab"]
    if not isinstance(vocabulary, dict):
        model["vocab"] = [[names.get(piece, piece), score] for piece, score in vocabulary]
        return
    present = {piece for piece in names if piece in vocabulary}
    for piece in present:
        vocabulary[names[piece]] = vocabulary.pop(piece)
    if model.get("unk_token") in present:
        model["unk_token"] = names[model["unk_token"]]
    if model.get("merges"):
        model["merges"] = [pair for pair in _merges(model) if not present & {*pair, "".join(pair)}]


def _parting_bytes(before: dict[str, Any] | None) -> dict[str, Any]:
    """A pre-tokenizer that also parts the text "<0x0A>" behind its first character, since the byte has that name."""
    part = {"type": "Split", "pattern": {"Regex": "<(?=0x[0-9A-F]{2}>)"}, "behavior": "Isolated", "invert": False}
    return {"type": "Sequence", "pretokenizers": [*([before] if before else []), part]}
