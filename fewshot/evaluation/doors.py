"""Which door an estimator is: what finds spans is measured by spans, and every other one by classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fewshot.errors import UnsupportedError

__all__ = ["all_find_spans", "finds_spans"]


def finds_spans(estimator: Any) -> bool:
    """Whether an estimator is a tagger, whoever made it: it has ``predict_spans``."""
    return not isinstance(estimator, type) and callable(getattr(estimator, "predict_spans", None))


def all_find_spans(named: Mapping[str, Any]) -> bool:
    """Whether all of them are taggers; taggers beside classifiers are refused."""
    found = {name: finds_spans(one) for name, one in named.items()}
    if len(set(found.values())) > 1:
        taggers, others = ([name for name, own in found.items() if own is kind] for kind in (True, False))
        raise UnsupportedError(
            f"{', '.join(map(repr, taggers))} find spans, and {', '.join(map(repr, others))} do not: the two have no "
            "metric in common. Compare taggers with taggers, and classifiers with classifiers."
        )
    return all(found.values())
