"""How scores are computed: what prompts share is computed once, in packed steps."""
