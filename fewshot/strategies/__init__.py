"""How labelled texts are used: one file a strategy (see `fewshot.strategies.base` for what they share)."""

from fewshot import _HOME

__all__ = ["STRATEGIES"]

#: Files of this room whose public names are no strategy of `Classifier`.
_OTHERS = tuple(f"fewshot.strategies.{name}" for name in ("base", "reading_answers", "span_head", "token_head"))
#: Where the public strategies are, and what is tuned for them, by name.
STRATEGIES = {
    name: home for name, home in _HOME.items() if home.startswith("fewshot.strategies.") and home not in _OTHERS
}
