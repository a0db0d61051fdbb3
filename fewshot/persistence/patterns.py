"""What a tokenizer's file may ask for: rules that end soon, and that do not make a text many times as long."""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from typing import Any

from fewshot.errors import InputError

__all__ = ["check_ids", "check_tokenizer", "is_linear"]

#: How many times as long rules may make a text, and the longest thing that they may put into it.
_MAX_GROWTH, _MAX_PUT = 256, 1024
#: Numbers of a tokenizer: lengths to which it cuts or fills up, and the like.
_MAX_LENGTH = 2**24
_MAX_PATTERN = 10_000
#: Repetitions that count as endless, and how many of these may follow one another: each is a power of a text's length.
_LONG, _MAX_ENDLESS = 64, 4
_GROUP = re.compile(r"\?(?:[imsx-]*:|<?[=!]|>|P?<\w+>|[imsx-]+(?=\)))")  # what says which kind of group it is
_QUANTIFIER = re.compile(r"\{(\d*)(,?)(\d*)\}|[*+?]")


def check_tokenizer(found: Any, where: str) -> None:
    """Refuse a ``tokenizer.json`` whose rules may take for ever, or as much memory as they like.

    Such are regular expressions that repeat what repeats, replacements that multiply, and numbers beyond all use.
    """
    if not isinstance(found, Mapping):
        raise InputError(f"{where} is not what transformers writes: it holds no rules.")
    for part in ("normalizer", "pre_tokenizer", "post_processor", "decoder", "padding", "truncation"):
        _check_numbers(found.get(part), f"{where}, {part}")
    model = found.get("model")
    check_ids([one.get("id") for one in found.get("added_tokens") or ()], where)
    if isinstance(model, Mapping):
        if isinstance(model.get("vocab"), Mapping):
            check_ids(model["vocab"].values(), where)
        own = {key: value for key, value in model.items() if key not in ("vocab", "merges")}
        _check_numbers(own, f"{where}, model")
        if int(model.get("max_input_chars_per_word") or 0) > _MAX_LENGTH // 2**10:
            raise InputError(f"{where} reads words of {model['max_input_chars_per_word']} characters.")
    for part in ("normalizer", "decoder"):
        growth = math.prod(map(_growth, _rules(found.get(part))))
        if growth > _MAX_GROWTH:
            raise InputError(f"{where}, {part}, may make a text {growth:.3g} times as long: at most {_MAX_GROWTH}.")
    for part in ("normalizer", "pre_tokenizer", "decoder"):
        for rule in _rules(found.get(part)):
            pattern = rule.get("pattern")
            if isinstance(pattern, Mapping) and "Regex" in pattern and not is_linear(str(pattern["Regex"])):
                raise InputError(
                    f"{where}, {part}, has the regular expression {pattern['Regex']!r:.80}, which repeats what "
                    "repeats, and may take for ever."
                )
    copies = _copies(found.get("post_processor"))
    if copies > 4:
        raise InputError(f"{where}, post_processor, repeats a text {copies} times.")


def _copies(processor: Any) -> int:
    """How many times the templates of a post-processor repeat a text."""
    templates = (pieces for rule in _rules(processor) for pieces in (rule.get("single"), rule.get("pair")))
    lists = (pieces for pieces in templates if isinstance(pieces, list))
    return math.prod(max(1, sum("Sequence" in piece for piece in pieces) - 1) for pieces in lists)


def check_ids(ids: Iterable[Any], where: str) -> None:
    """Refuse numbers of tokens that no vocabulary reaches, up to which tables would be made."""
    for one in ids:
        if type(one) is not int or not 0 <= one <= _MAX_LENGTH:
            raise InputError(f"{where} has a token of the number {one!r:.40}.")


def _rules(found: Any) -> Iterator[Mapping[str, Any]]:
    """The rules of a sequence of rules, at whatever depth."""
    if isinstance(found, Mapping):
        yield found
        for key in ("normalizers", "pretokenizers", "processors", "decoders"):
            for rule in found.get(key) or ():
                yield from _rules(rule)


def _growth(rule: Mapping[str, Any]) -> float:
    """How many times as long a rule may make a text."""
    if rule.get("type") == "Replace":
        pattern = rule.get("pattern")
        found = len(str(pattern["String"])) if isinstance(pattern, Mapping) and "String" in pattern else 1
        return max(1.0, len(str(rule.get("content", ""))) / max(found, 1))
    if rule.get("type") == "Precompiled":
        blob = base64.b64decode(str(rule.get("precompiled_charsmap") or ""))
        texts = blob[4 + int.from_bytes(blob[:4], "little") :]
        ends = [-1, *(found.start() for found in re.finditer(b"\0", texts)), len(texts)]
        longest = max(b - a - 1 for a, b in pairwise(ends))
        return 4.0 if longest <= 64 else float(longest)
    return 1.0


def _check_numbers(found: Any, where: str) -> None:
    """Refuse numbers and texts that are beyond all use."""
    if isinstance(found, bool | float) or found is None:
        return
    if isinstance(found, int) and not 0 <= found <= _MAX_LENGTH:
        raise InputError(f"{where}, has the number {found!r:.40}.")
    if isinstance(found, Mapping):
        for key, value in found.items():
            if key in ("content", "prepend", "prefix", "unk_token") and len(str(value)) > _MAX_PUT:
                raise InputError(f"{where}, puts {len(str(value))} characters into a text.")
            if key in ("length", "chunk_size") and value == 0:
                raise InputError(f"{where}, cuts a text into pieces of length 0.")
            _check_numbers(value, where)
    elif isinstance(found, list):
        for value in found:
            _check_numbers(value, where)


def is_linear(pattern: str) -> bool:
    """Whether matching a regular expression surely ends soon: no group repeats whose content repeats or has choices.

    Expressions such as ``(a+)+`` and ``(a|a)*`` take exponential time on a text that does not match, and
    ``a*a*a*a*a*b`` a high power of its length. This is stricter than needed, and takes what real tokenizers have.
    """
    if len(pattern) > _MAX_PATTERN or re.search(r"\\[1-9]|\\k|\\g|\(\?[&R(]", pattern):  # what was found before
        return False
    open_groups, i, last = [False], 0, False  # whether what is in each open group varies; whether the last atom does
    endless = 0
    while i < len(pattern):
        found = _QUANTIFIER.match(pattern, i)
        if found and i and pattern[i - 1] not in "(|":
            if last and _most(found) > 1:
                return False
            open_groups[-1] |= found.group() != f"{{{found.group(1)}}}"
            endless += _most(found) > _LONG
            if endless > _MAX_ENDLESS:
                return False
            i, last = found.end(), False
            if pattern[i : i + 1] in ("?", "+"):  # lazy, or possessive
                i += 1
            if _QUANTIFIER.match(pattern, i):
                return False
            continue
        last = False
        if pattern[i] == "\\":
            i += 2
            if pattern[i - 1 : i] in ("p", "P") and pattern[i : i + 1] == "{":
                i = pattern.find("}", i) + 1 or len(pattern)
        elif pattern[i] == "[":
            i = _after_class(pattern, i)
        elif pattern[i] == "(":
            open_groups.append(False)
            i += 1
            head = _GROUP.match(pattern, i)
            i = head.end() if head else i
        elif pattern[i] == ")":
            if len(open_groups) == 1:
                return False
            last = open_groups.pop()
            open_groups[-1] |= last
            i += 1
        else:
            open_groups[-1] |= pattern[i] == "|"
            endless = 0 if pattern[i] == "|" and len(open_groups) == 1 else endless
            i += 1
    return True


def _most(found: re.Match[str]) -> float:
    """How often a quantifier repeats at most."""
    if found.group() == "?":
        return 1
    if found.group() in ("*", "+"):
        return float("inf")
    least, comma, most = found.groups()
    return float(most or "inf") if comma else float(least or 0)


def _after_class(pattern: str, i: int) -> int:
    """The place after a class of characters, which may hold others."""
    depth, i = 1, i + 1
    i += pattern[i : i + 1] == "^"
    i += pattern[i : i + 1] == "]"
    while i < len(pattern) and depth:
        if pattern[i] == "\\":
            i += 1
        elif pattern[i] == "[":
            depth += 1
        elif pattern[i] == "]":
            depth -= 1
        i += 1
    return i
