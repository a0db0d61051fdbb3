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
        """Keep the fitted classifier in a folder of JSON, templates and safetensors; nothing is pickled.

        A model that `load` knows by name is kept by name, revision and fingerprint; one that was tuned, or made in
        memory, with its weights, as an ordinary folder ``models/0``; one of your own by its fingerprint. A foreign
        scikit-learn head is kept with skops. A `ConformalClassifier` takes along the `Classifier` inside it, and a
        `Questionnaire` all of its own, with a model that several of them share once. A card for people is in
        ``README.md``.

        Parameters
        ----------
        folder : str or Path
            Written whole or not at all.
        overwrite : bool
            Replace a kept classifier. Anything else that lies there is left alone.
        metrics : Evaluation, AnswerEvaluation, SpanEvaluation or mapping, optional
            What `evaluate` returned, or names with numbers, for the card.

        Returns
        -------
        Path
            The folder.

        Raises
        ------
        UnsupportedError
            When something in the classifier can't be kept; the message says where it is.
        InputError
            When the folder exists.

        Notes
        -----
        Of the labelled texts, those are kept that prompts may show. The card says how many.

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
        """Load a classifier that `save` kept, from a folder or from the hub; nothing in it can run.

        Parameters
        ----------
        folder : str or Path
            A folder, or ``"user/name"`` on the hub.
        model : model or list of them, optional
            Anything that the function `fewshot.load` takes: stands in for the model in the folder that has its
            fingerprint. Needed for models of your own, which are not kept.
        trusted : list of str or type
            Types in a foreign head that skops does not know to be safe, and you do. The error names them.
        revision : str, optional
            Branch, tag or commit on the hub.
        local_files_only : bool
            Download nothing, neither the classifier nor a model that it names. False: a model that it names and this
            machine lacks is downloaded, and a warning says which.
        follow_paths : bool
            Whether a model may come from a folder of this machine that the classifier names. False: that is refused,
            since whoever made the classifier chose the path; ``model=`` gives the model instead.
        **options
            For the hub: ``token``, ``cache_dir``.

        Returns
        -------
        Classifier, ConformalClassifier, Extractor, Questionnaire, Tagger or Writer
            Fitted as it was.

        Raises
        ------
        InputError
            When a file is missing, changed, or asks for something that a kept classifier can't, or for more than there
            is; when its parts do not fit together; or when a version does not fit. The message names it.
        ModelLoadError
            When a model can't be had, is not the one that was kept, or lies where ``local_files_only`` and
            ``follow_paths`` do not let it be looked for.
        UnsupportedError
            When a model was not kept, and has to be given.

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
