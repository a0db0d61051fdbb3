"""Kept classifiers: a folder of data that holds a fitted classifier, and can run nothing when it is loaded.

``config.json`` is the classifier as a list of nodes, with the models that it needs and the versions it was kept with;
``*.jinja`` are its templates, ``arrays.safetensors`` its numbers, ``heads/*.skops`` foreign scikit-learn heads,
``models/*`` the weights of models that have no name, as ordinary transformers folders; ``checksums.json`` says what all
of these were, and ``README.md`` tells people. Nothing is pickled.
"""

from fewshot.persistence.hub import push_to_hub
from fewshot.persistence.reading import load
from fewshot.persistence.saving import save

__all__ = ["load", "push_to_hub", "save"]
