"""Kept classifiers on the Hugging Face hub."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import Any

from fewshot.errors import InputError, ModelLoadError
from fewshot.persistence.folder import ARRAYS, HEADS, MODELS, interrupted
from fewshot.persistence.saving import save

__all__ = ["fetched", "push_to_hub"]

_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)


def push_to_hub(
    clf: Any,
    repo_id: str,
    *,
    metrics: Any = None,
    private: bool | None = None,
    token: str | bool | None = None,
    **options: Any,
) -> Any:
    """Put a fitted classifier on the Hugging Face hub, from where ``Classifier.load(repo_id)`` gets it.

    Parameters
    ----------
    clf : Classifier or ConformalClassifier
    repo_id : str
        ``"user/name"``. Made if it is not there; what an earlier push left is replaced, other files stay.
    metrics : Evaluation or mapping, optional
        For the card, as in `Classifier.save`.
    private : bool, optional
        Whether a new repository is private. None: as your account has it.
    token : str or bool, optional
        None: that of ``hf auth login``.
    **options
        For ``huggingface_hub.upload_folder``: ``commit_message``, ``revision``, ``create_pr``.

    Returns
    -------
    CommitInfo
        Of huggingface_hub.

    Raises
    ------
    UnsupportedError
        When something in the classifier can't be kept.

    Notes
    -----
    A classifier whose prompts show labelled texts takes these texts along; the card says how many. A model that was
    loaded from a folder is named by the path of that folder.

    Examples
    --------
    >>> from fewshot import Classifier, push_to_hub
    >>> clf = Classifier().fit(None, ["billing", "bug report"])  # doctest: +SKIP
    >>> push_to_hub(clf, "user/tickets", private=True)  # doctest: +SKIP
    >>> Classifier.load("user/tickets").predict(["I was charged twice"])  # doctest: +SKIP
    array(['billing'], dtype='<U10')
    """
    from huggingface_hub import create_repo, upload_folder

    own = ["template-*.jinja", ARRAYS, f"{HEADS}/*", f"{MODELS}/*"]  # what an earlier push may have left
    with tempfile.TemporaryDirectory() as folder:
        kept = save(clf, Path(folder) / "classifier", metrics=metrics, where=repo_id)
        create_repo(repo_id, private=private, token=token, exist_ok=True)
        given = {"commit_message": f"Keep a {type(clf).__name__}", "delete_patterns": own, **options}
        return upload_folder(repo_id=repo_id, folder_path=str(kept), token=token, **given)


def fetched(folder: str | Path, revision: str | None, options: dict[str, Any]) -> Path:
    """The folder itself, or the hub's copy of it."""
    path = Path(folder).expanduser()
    before = interrupted(path)
    if before:
        raise InputError(f"A save of {str(path)!r} was interrupted. What was kept before is whole: rename {before!r}.")
    if path.exists() or not isinstance(folder, str) or not _REPOSITORY.fullmatch(folder):
        given = ["revision"] if revision is not None else []
        if given or options:
            raise InputError(f"{', '.join([*given, *options])} are for the hub, and {str(folder)!r} is a folder.")
        return path
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(folder, revision=revision, **options))
    except (OSError, ValueError) as error:
        reason = (str(error).strip() or repr(error)).splitlines()[0]
        raise ModelLoadError(
            f"The classifier {folder!r} can't be had. Tried: a folder of that name (there is none), then the Hugging "
            f"Face hub. The machine may be offline, the name misspelt or private. ({type(error).__name__}: {reason})"
        ) from error
