"""Kept classifiers on the Hugging Face hub."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fewshot.checks import check_path
from fewshot.errors import InputError, ModelLoadError, ParameterError
from fewshot.models.secrets import redact_errors
from fewshot.persistence.folder import ARRAYS, HEADS, MODELS, find_interrupted
from fewshot.persistence.saving import save

__all__ = ["fetch", "push_to_hub"]

_NETWORK = ("huggingface_hub", "httpx", "requests", "urllib3")
#: Options that also the models of a classifier need, which may be on the hub when it is not.
_FOR_MODELS = frozenset({"token", "cache_dir", "local_files_only"})
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
    """Upload a fitted classifier to the Hugging Face hub; ``Classifier.load(repo_id)`` loads it from there.

    Parameters
    ----------
    clf : Classifier, ConformalClassifier, Extractor, Questionnaire, Tagger or Writer
    repo_id : str
        ``"user/name"``. The repository is created if it does not exist. Files of an earlier push are replaced, other
        files stay.
    metrics : Evaluation, AnswerEvaluation, SpanEvaluation or mapping, optional
        For the card, as in `Classifier.save`.
    private : bool, optional
        Whether a new repository is private. None: the default of your account.
    token : str or bool, optional
        None: the token of ``hf auth login``.
    **options
        Passed to ``huggingface_hub.upload_folder``: ``commit_message``, ``revision``, ``create_pr``.

    Returns
    -------
    CommitInfo
        The result of huggingface_hub.

    Raises
    ------
    ParameterError
        When ``repo_id`` is not of the form 'user/name'.
    UnsupportedError
        When a part of the classifier can't be saved.
    ModelLoadError
        When the hub can't be reached, or does not accept the upload.

    Notes
    -----
    If the prompts of a classifier show labelled texts, these texts are uploaded too; the card says how many. A model
    that was loaded from a folder is saved as the path of this folder.

    Examples
    --------
    >>> from fewshot import Classifier, push_to_hub
    >>> clf = Classifier().fit(None, ["billing", "bug report"])  # doctest: +SKIP
    >>> push_to_hub(clf, "user/tickets", private=True)  # doctest: +SKIP
    >>> Classifier.load("user/tickets").predict(["I was charged twice"])  # doctest: +SKIP
    array(['billing'], dtype='<U10')
    """
    from huggingface_hub import create_repo, upload_folder

    if not isinstance(repo_id, str) or not _REPOSITORY.fullmatch(repo_id):
        raise ParameterError(f"repo_id must be 'user/name'. Got {repo_id!r}.")
    own = ["template-*.jinja", ARRAYS, f"{HEADS}/*", f"{MODELS}/*"]  # what an earlier push may have left
    with tempfile.TemporaryDirectory() as folder:
        kept = save(clf, Path(folder) / "classifier", metrics=metrics, where=repo_id)
        given = {"commit_message": f"Keep a {type(clf).__name__}", "delete_patterns": own, **options}
        refused = (
            f"The {type(clf).__name__} can't be put on the Hugging Face hub as {repo_id!r}. The machine may be "
            "offline, the token missing or without the right to write there (hf auth login), or the name wrong. "
            f"clf.save(folder) keeps it here, and 'hf upload {repo_id} folder' puts it there later."
        )
        with redact_errors({"token": token}), _reached(refused):
            create_repo(repo_id, private=private, token=token, exist_ok=True)
            return upload_folder(repo_id=repo_id, folder_path=str(kept), token=token, **given)


@contextmanager
def _reached(refused: str) -> Iterator[None]:
    """Say what can be done where huggingface_hub, or a library by which it speaks to the network, refuses."""
    try:
        yield
    except Exception as error:
        if not isinstance(error, OSError | ValueError) and type(error).__module__.partition(".")[0] not in _NETWORK:
            raise
        reason = (str(error).strip() or repr(error)).splitlines()[0]
        raise ModelLoadError(f"{refused} ({type(error).__name__}: {reason})") from error


def fetch(folder: str | Path, revision: str | None, options: dict[str, Any]) -> Path:
    """The folder itself, or the hub's copy of it."""
    check_path("folder", folder)
    path = Path(folder).expanduser()
    before = find_interrupted(path)
    if before:
        raise InputError(f"A save of {str(path)!r} was interrupted. What was kept before is whole: rename {before!r}.")
    if path.exists() or not isinstance(folder, str) or not _REPOSITORY.fullmatch(folder):
        given = ["revision"] if revision is not None else []
        given += [key for key in options if key not in _FOR_MODELS]
        if given:
            raise ParameterError(f"{', '.join(given)} can only be given for the hub, and {str(folder)!r} is a folder.")
        return path
    from huggingface_hub import snapshot_download

    refused = (
        f"The classifier {folder!r} can't be loaded. Tried: a folder of that name (there is none), then the Hugging "
        "Face hub. The machine may be offline, the name misspelt or private."
    )
    with redact_errors(options), _reached(refused):
        return Path(snapshot_download(folder, revision=revision, **options))
