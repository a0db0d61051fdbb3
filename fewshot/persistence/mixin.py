"""KeptMixin: the methods by which a classifier is kept in a folder, and loaded again."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Self

from fewshot.persistence import reading, saving

__all__ = ["KeptMixin"]


class KeptMixin:
    """What classifiers that can be kept share."""

    def save(self, folder: str | Path, *, overwrite: bool = False, metrics: Any = None) -> Path:
        """Save the fitted classifier in a folder of JSON, templates and safetensors; nothing is pickled.

        A model that `load` knows by name is saved as its name, revision and fingerprint. A model that was tuned or made
        in memory is saved with its weights, as an ordinary folder ``models/0``. A model of your own class is saved only
        as its fingerprint. Another scikit-learn head is saved with skops. A `ConformalClassifier` is saved with the
        `Classifier` inside it, and a `Questionnaire` with all its classifiers; a model that several of them share is
        saved once. ``README.md`` is a model card for readers.

        Parameters
        ----------
        folder : str or Path
            A new folder. It is written whole or not at all.
        overwrite : bool
            Whether to replace a kept classifier. A folder that is not a kept classifier is never replaced.
        metrics : Evaluation, AnswerEvaluation, SpanEvaluation or mapping, optional
            For the card: what `evaluate` returned, or a mapping from names to numbers.

        Returns
        -------
        Path
            The folder.

        Raises
        ------
        UnsupportedError
            When a part of the classifier can't be saved; the message says which.
        InputError
            When the folder exists.

        Notes
        -----
        Only the labelled texts that prompts may show are saved. The card says how many.

        Examples
        --------
        >>> import tempfile
        >>> from fewshot import Classifier
        >>> clf = Classifier().fit(None, ["billing", "bug report", "praise"])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     again = Classifier.load(clf.save(f"{folder}/tickets"))
        >>> again.predict(["I was charged twice this month"]).tolist()
        ['billing']
        """
        return saving.save(self, folder, overwrite=overwrite, metrics=metrics)

    @classmethod
    def load(
        cls,
        folder: str | Path,
        *,
        model: Any = None,
        trusted: Iterable[Any] = (),
        revision: str | None = None,
        local_files_only: bool = False,
        follow_paths: bool = False,
        **options: Any,
    ) -> Self:
        """Load a classifier that `save` wrote, from a folder or from the hub; no code in it can run.

        Parameters
        ----------
        folder : str or Path
            A folder, or ``"user/name"`` on the hub.
        model : model or list of them, optional
            Anything that the function `fewshot.load` takes. It is used for the model of the folder with the same
            fingerprint. It is needed for models of your own class, which are not saved.
        trusted : list of str or type
            Types in a scikit-learn head that you know to be safe, and skops does not. The error names them.
        revision : str, optional
            Branch, tag or commit on the hub.
        local_files_only : bool
            Whether to download nothing, neither the classifier nor its model. False: a model that is not on this
            machine is downloaded, and a warning names it.
        follow_paths : bool
            Whether the model may be loaded from a local path that the kept classifier names. False: this is an error,
            because the author of the classifier chose the path; give the model with ``model=`` instead.
        **options
            For the hub: ``token``, ``cache_dir``.

        Returns
        -------
        Classifier, ConformalClassifier, Extractor, Questionnaire, Tagger or Writer
            The fitted classifier.

        Raises
        ------
        InputError
            When a file is missing or was changed, has anything that a kept classifier may not have, or refers to
            missing data; when the parts do not fit together; or when a version does not fit. The message names it.
        ModelLoadError
            When a model can't be loaded, is not the one that was saved, or is at a place that ``local_files_only`` or
            ``follow_paths`` does not allow.
        UnsupportedError
            When a model was not saved, and must be given.

        Examples
        --------
        >>> import tempfile
        >>> from fewshot import Classifier, FakeLM
        >>> lm = FakeLM(lambda query: [query.prefix.count("fun"), query.prefix.count("dull")])
        >>> clf = Classifier(lm, "{{ text }} It was {{ label }}", {"good": "good", "poor": "poor"}).fit()
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     again = Classifier.load(clf.save(f"{folder}/reviews"), model=lm)
        >>> again.predict(["What fun."]).tolist()
        ['good']
        """
        return reading.load(
            cls,
            folder,
            model=model,
            trusted=trusted,
            revision=revision,
            local_files_only=local_files_only,
            follow_paths=follow_paths,
            **options,
        )
