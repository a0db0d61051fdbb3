"""With what: the kinds of pretrained models, behind two one-method protocols (see `fewshot.models.base`)."""
