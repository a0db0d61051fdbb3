"""The embedded masked language model: a small English model inside the package, 22M parameters in 8-bit weights.

It is for demonstrations, tests and notebooks without a network; its README describes it. ``python -m
fewshot.embedded.build CORPUS`` trains such a model on your own corpus.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from fewshot.checks import check_path
from fewshot.errors import FolderExistsError
from fewshot.models.embedded import NAME, read, write
from fewshot.models.loading import load

if TYPE_CHECKING:
    from fewshot.models.masked import MaskedLM

__all__ = ["NAME", "export", "masked_lm", "read", "write"]


def masked_lm(**kwargs: Any) -> MaskedLM:
    """Return the embedded masked language model.

    Parameters
    ----------
    **kwargs
        Passed to `load`: ``device``, ``dtype``, ``variant``.

    Raises
    ------
    ModelLoadError
        When its files are missing, or differ from those of the package.

    Examples
    --------
    >>> from fewshot import Classifier, embedded
    >>> clf = Classifier(embedded.masked_lm(), template="sst2/it_was").fit()
    >>> clf.predict(["A wonderful evening, and I laughed all the way home."]).tolist()
    ['positive']
    """
    return load(NAME, **kwargs)


def export(folder: str | Path) -> Path:
    """Write the model as an ordinary ``BertForMaskedLM`` folder, in float32.

    Parameters
    ----------
    folder : str or Path
        It is created if it does not exist; otherwise it must be empty.

    Returns
    -------
    Path
        The folder. `load`, `adapt` and transformers' ``from_pretrained`` can read it.

    Raises
    ------
    FolderExistsError
        When the folder is not empty.

    Examples
    --------
    >>> from fewshot import embedded
    >>> embedded.export("embedded-bert")  # doctest: +SKIP
    """
    check_path("folder", folder)
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FolderExistsError(f"{str(folder)!r} already holds something: give another folder, or empty it.")
    model, tokenizer = read()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
