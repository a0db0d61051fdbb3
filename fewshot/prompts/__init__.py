"""A task put to a language model: the prompts, what it answers, and why."""
