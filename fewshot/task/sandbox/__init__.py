"""What a template may do: a list of what is allowed, and a meter for what it costs."""
