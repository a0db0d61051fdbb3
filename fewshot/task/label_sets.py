"""Label sets: everyday names for the types of public data sets, kept as files ``templates/label_sets/<name>.yaml``."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import yaml

from fewshot.errors import VerbalizerError
from fewshot.task.packaged import find_templates

__all__ = ["LabelSet", "get_label_set", "list_label_sets"]


@dataclass(frozen=True)
class LabelSet:
    """The types of a public data set, as the data set spells them, with plain names for them.

    Attributes
    ----------
    name : str
    words : dict
        The name of each type, or a list of several names.
    description : str
    source : str
        The paper, and the licence of the data set.
    """

    name: str
    words: dict[str, Any]
    description: str
    source: str

    def take(self, types: Sequence[Any]) -> dict[Any, Any]:
        """Return the words of some of the types.

        Case, "-", "_" and blanks are ignored.

        Raises
        ------
        VerbalizerError
            When one of the types is not in the set.
        """
        known = {_bare(one): words for one, words in self.words.items()}
        strange = [one for one in types if _bare(one) not in known]
        if strange:
            raise VerbalizerError(
                f"The label set {self.name!r} has no type {strange[0]!r}: it has {', '.join(self.words)}. Pass a "
                f"mapping, verbalizer={{**gallery.get_label_set({self.name!r}).words, {strange[0]!r}: 'its name'}}."
            )
        return {one: known[_bare(one)] for one in types}


def list_label_sets() -> list[str]:
    """Return the names of all label sets.

    Examples
    --------
    >>> from fewshot import gallery
    >>> gallery.list_label_sets()[:2]
    ['conll2003', 'crossner_ai']
    """
    return sorted(path.stem for path in (find_templates() / "label_sets").glob("*.yaml"))


@lru_cache(maxsize=64)
def get_label_set(name: str) -> LabelSet:
    """Return the label set of that name.

    Raises
    ------
    VerbalizerError
        When there is none; the message suggests similar names.

    Examples
    --------
    >>> from fewshot import gallery
    >>> gallery.get_label_set("conll2003").words
    {'PER': 'person', 'ORG': 'organization', 'LOC': 'place', 'MISC': ['nationality', 'event', 'title']}
    """
    known = list_label_sets()
    if name not in known:  # a listing, not a path: a name can't climb out of the gallery
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.4) or known
        raise VerbalizerError(f"There is no label set {name!r}; there are: {', '.join(near)}.")
    said = yaml.safe_load((find_templates() / "label_sets" / f"{name}.yaml").read_text(encoding="utf-8"))
    return LabelSet(name, said["words"], said["description"], said["source"])


def _bare(name: Any) -> str:
    return "".join(char for char in str(name).casefold() if char not in "-_ ")
