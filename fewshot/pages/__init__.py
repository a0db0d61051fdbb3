"""Pages of this machine, in a browser or a notebook: one to label texts, one to work on a template."""
