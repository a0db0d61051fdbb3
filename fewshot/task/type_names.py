"""The types of a tagger, what they are called, and what a span of no type is called."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fewshot.errors import InputError
from fewshot.inputs import as_labels
from fewshot.task.label_sets import get_label_set
from fewshot.task.span_task import NOTHING
from fewshot.task.verbalizer import Verbalizer, as_verbalizer

__all__ = ["list_types", "name_types"]


def list_types(y: Any) -> list[Any]:
    """Return the types that are given without texts; an empty list where there are none.

    Raises
    ------
    InputError
        When y is no list of types.
    """
    if y is None:
        return []
    if isinstance(y, str | Mapping) or not isinstance(y, Iterable):
        raise InputError(
            f"Without texts, y must be a list of the types, such as ['person', 'place']. Got {y!r:.80}. Words for the "
            "types go into the verbalizer."
        )
    found = as_labels(y)
    if None in found:
        raise InputError(
            "None can't be a type in y. Give the word for a span of no type with verbalizer={..., None: 'nothing'}."
        )
    return list(dict.fromkeys(found))


def name_types(
    types: Sequence[Any], verbalizer: Any = None, brought: Mapping[Any, Any] | None = None
) -> tuple[Verbalizer, tuple[str, ...]]:
    """Return the names of the types, and those of a span of no type.

    Parameters
    ----------
    types : sequence
        Those that are annotated or given, each once. None of them: those that have names.
    verbalizer : mapping, sequence, Verbalizer or str, optional
        A mapping may name None as well. Text is the name of a label set of the gallery.
    brought : mapping, optional
        The words of a template for some of the types.

    Raises
    ------
    InputError
        When there are no types, or they are of several kinds.
    VerbalizerError
        When names are given and do not fit the types.

    Examples
    --------
    >>> from fewshot.task.type_names import name_types
    >>> name_types(["PER", "home_town"], {"PER": "person", "home_town": "city", None: "nothing"})
    (Verbalizer({'PER': 'person', 'home_town': 'city'}), ('nothing',))
    >>> name_types(["PER", "home_town"], brought={"PER": "person"})[0]
    Verbalizer({'PER': 'person', 'home_town': 'home town'})
    """
    words: Any = verbalizer
    nothing: tuple[str, ...] = NOTHING
    if isinstance(words, str):
        label_set = get_label_set(words)
        words = label_set.take(types) if types else dict(label_set.words)
    if isinstance(words, Mapping) and None in words:
        nothing = Verbalizer([words[None]]).words[0]
        words = {name: own for name, own in words.items() if name is not None} or None
    known = words if isinstance(words, Mapping) else getattr(words, "classes", None)
    named = list(types or known or brought or ())
    kinds = sorted({type(one).__name__ for one in named})
    if len(kinds) > 1:
        raise InputError(f"The types in y mix {', '.join(kinds)}: make all of them of one kind.")
    if not named:
        raise InputError("There are no types: annotate some spans of each, or give names, fit(None, ['person', ...]).")
    if words is not None:
        return as_verbalizer(words, sorted(named)), nothing
    own = brought or {}
    return Verbalizer(
        {one: own.get(one, str(one).replace("_", " ").replace("-", " ")) for one in sorted(named)}
    ), nothing
