"""What is asked: templates, verbalizers and the gallery. Nothing here needs torch."""
