"""How labelled texts are used: one file a strategy (see `fewshot.strategies.base` for the protocol)."""
