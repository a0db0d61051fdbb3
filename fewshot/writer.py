"""Writer: the door to free text. Translations, summaries and the like, written by a language model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Self

from sklearn.base import BaseEstimator, clone
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from fewshot.checks import at_least, check_seed
from fewshot.demonstrations import as_selector
from fewshot.display.preview import Preview
from fewshot.errors import FewshotWarning, InputError, ParameterError, UnsupportedError, warn
from fewshot.inputs import as_row, as_rows
from fewshot.models.base import Query, is_generator, is_language_model, kind_of
from fewshot.models.generating import generate_texts
from fewshot.models.loading import load
from fewshot.persistence.mixin import KeptMixin
from fewshot.prompts.asking import fitted_selector
from fewshot.prompts.free import FreeAsking, free_task, text_after
from fewshot.strategies.prompting import Prompting
from fewshot.task.gallery import template_of
from fewshot.task.template import Template
from fewshot.task.written import Written, corpus_chrf, read_references

__all__ = ["Writer"]

_SHOTS = 8  # of the default strategy
#: What free answers have no classes for; each at its default.
_OF_CLASSES = {"calibration": None, "ensemble": "mean", "orders": 1}


class Writer(KeptMixin, BaseEstimator):  # type: ignore[misc]
    r"""Fill the hole of a template with free text, such as a translation, a summary or a title.

    A language model continues each prompt greedily. The prompt shows demonstrations from the rows of ``fit``. A
    beginning that several prompts share is computed once. The quality of the texts depends on the model. The models
    inside this package can't translate or summarise.

    Parameters
    ----------
    model : str, Path, tuple or model
        A causal or encoder-decoder language model, or the address of a server, as `load` takes it. There is no default,
        because the default model of this package is an encoder, which can't write.
    template : str, Path or Template
        What is asked. It ends with the hole ``{{ answer }}``, as in ``"English: {{ text }}\nGerman: {{ answer }}"``.
        Fixed text may stand after the hole, such as a quotation mark; it then ends the answer.
    verbalizer : None
        Must be None: there are no classes with label words.
    strategy : Prompting, optional
        How many demonstrations a prompt shows, and which: ``Prompting(shots=8, selection="nearest")``. "nearest" and
        "mmr" choose demonstrations for each text, but never the text itself. "random" and "first" show the same
        demonstrations for all texts, so that the prompts share most of their computation. "stratified" is the same as
        "random", since there are no classes. None: the 8 nearest rows of ``fit``, or all if there are fewer.
    max_new_tokens : int
        The most tokens of a written text. The prompt is shortened until both fit into the model's window.
    stop : str or sequence of str, optional
        A written text ends before the first of these, and generation stops there. None: the fixed text after the hole
        and, for most models, a line break; if texts of ``fit`` have line breaks, the template's separator instead. A
        chat model and an encoder-decoder model end their texts themselves, so they get neither line break nor
        separator. ``()``: only the model ends a text.
    random_state : int, RandomState or None
        Seed for drawing the demonstrations.

    Attributes
    ----------
    model_, template_, strategy_ : objects
        The parameters as `fit` resolved them.
    stop_ : tuple of str
        The texts at which generation stops.
    n_texts_ : int
        Number of rows in ``fit`` with a right text.

    Raises
    ------
    InputError
        When X or y is not valid; the message names the row.
    ParameterError
        When a parameter has a value that is not allowed, or the template is missing.
    UnsupportedError
        When the model can't write, or the strategy or the template is for classes.

    See Also
    --------
    Prompting : With ``read="generate"``, a `Classifier` lets the model write the class.

    Notes
    -----
    Generation with demonstrations follows Brown et al. (2020), "Language Models are Few-Shot Learners". On the choice
    of demonstrations for translation, see Agrawal et al. (2022), "In-context Examples Selection for Machine
    Translation".

    Examples
    --------
    >>> from fewshot import FakeLM, Writer
    >>> lm = FakeLM(lambda query: [-1.0], answer=lambda query: query.prefix.split()[1].upper() + "\nText: more")
    >>> writer = Writer(lm, "Text: {{ text }}\nLoud: {{ answer }}").fit(["one two", "three"], ["ONE", "THREE"])
    >>> writer.predict(["four five"])
    ['FOUR']
    """

    def __init__(
        self,
        model: Any = None,
        template: Any = None,
        verbalizer: None = None,
        strategy: Any = None,
        *,
        max_new_tokens: int = 64,
        stop: Any = None,
        random_state: Any = None,
    ) -> None:
        self.model = model
        self.template = template
        self.verbalizer = verbalizer
        self.strategy = strategy
        self.max_new_tokens = max_new_tokens
        self.stop = stop
        self.random_state = random_state

    def fit(self, X: Any = None, y: Any = None) -> Self:
        """Store the rows that prompts may show as demonstrations; without rows, prepare to write zero-shot.

        Parameters
        ----------
        X : list, array or Series of texts, or DataFrame or list of mappings of fields; or None
            None is zero-shot.
        y : list, array or Series
            The right text for each row, or a list of several right texts. Demonstrations show the first one.

        Returns
        -------
        self
            A failed fit leaves the previous state.

        Raises
        ------
        InputError
            When X or y is not valid; the message names the row.
        ParameterError
            When a parameter has a value that is not allowed, or the template is missing.
        UnsupportedError
            When the model can't write, or the strategy or the template is for classes.
        """
        stop = self._checked()
        if X is None and y is not None:
            raise InputError("y has texts and X is missing: give the rows that they belong to, or neither.")
        rows = [] if X is None else as_rows(X)
        references = read_references(y, len(rows)) if rows else []
        model = load(self.model)
        _check_model(model)
        template = template_of(self.template)
        task, after = free_task(template), text_after(template)
        if after and kind_of(model).name == "seq2seq":
            raise UnsupportedError(
                f"{model!r} writes what follows a text, and {after!r:.60} stands after the hole of {template}: end the "
                "template with {{ answer }}."
            )
        strategy = self._settled(len(rows))
        selector = fitted_selector(
            as_selector(strategy.selection, strategy.order),
            strategy.shots,
            task,
            rows or None,
            [task.classes[0]] * len(rows),
            rng=check_random_state(self.random_state),
            encoder=strategy.encoder,
        )
        shown, answers = (rows, [own[0] for own in references]) if selector is not None else ([], [])
        stop = _default_stop(model, template, after, answers) if stop is None else stop
        _warn_of_stops(answers, stop)
        self.asking_ = FreeAsking(
            task,
            model,
            selector,
            rows=shown,
            answers=answers,
            max_tokens=strategy.max_shot_tokens,
            room=int(self.max_new_tokens),
        )
        self.model_, self.template_, self.strategy_ = model, template, strategy
        self.stop_, self.n_texts_ = stop, len(rows)
        return self

    def predict(self, X: Any) -> list[str]:
        """Return the text that the model writes for each row, without whitespace around it.

        A warning says for how many rows it wrote nothing.
        """
        return self._write(X)[0]

    def predict_written(self, X: Any) -> list[Written]:
        """Return the text of each row as `Written`, with the mean log-probability of its tokens.

        The texts are scored after they are written, so the model reads each prompt a second time.
        """
        texts, queries = self._write(X)
        scored = [i for i, text in enumerate(texts) if text]
        asked = [Query(queries[i].prefix, (texts[i],), "", queries[i].context) for i in scored]
        scores = dict(zip(scored, self.model_.loglikelihoods(asked) if asked else [], strict=True))
        return [
            Written(text, float(scores[i].logprobs[0] / scores[i].n_tokens[0]) if text else None)
            for i, text in enumerate(texts)
        ]

    def score(self, X: Any, y: Any) -> float:
        """Return the chrF of the written texts against the references, from 0 to 100.

        Raises
        ------
        NotInstalledError
            When sacrebleu is not installed.
        """
        references = read_references(y, len(as_rows(X)))
        return corpus_chrf(references, self.predict(X))

    def preview(self, X: Any) -> Preview:
        """Show the prompts of some rows without asking the model."""
        check_is_fitted(self, "asking_")
        return self.asking_.preview(as_rows([as_row(X)] if isinstance(X, str) else X))

    def _write(self, X: Any) -> tuple[list[str], list[Query]]:
        check_is_fitted(self, "asking_")
        asked = self.asking_.ask(as_rows(X))
        asked.warn_of_cuts()
        written = generate_texts(self.model_, asked.queries, self.asking_.room, self.stop_)
        texts = [text.strip() for text in written]
        empty = sum(not text for text in texts)
        if empty:
            warn(
                f"{empty} of {len(texts)} texts are empty: the model ended them, or wrote one of stop={self.stop_!r}, "
                "before anything else. Look at preview(X), or give another stop.",
                FewshotWarning,
            )
        return texts, asked.queries

    def _checked(self) -> tuple[str, ...] | None:
        """Refuse parameters that are not what they may be; what is left is the stop texts."""
        check_seed(self.random_state)
        at_least("max_new_tokens", self.max_new_tokens, 1, whole=True)
        if self.verbalizer is not None:
            raise ParameterError(
                f"A Writer has no classes, so it takes no verbalizer: leave it out. Got {self.verbalizer!r:.80}."
            )
        if self.template is None:
            raise ParameterError(
                "template is missing: say what is asked, such as 'English: {{ text }}\\nGerman: {{ answer }}', or a "
                "name of the gallery such as 'translation/en_de'."
            )
        if self.stop is None:
            return None
        stop = (self.stop,) if isinstance(self.stop, str) or not isinstance(self.stop, Iterable) else tuple(self.stop)
        if not all(isinstance(one, str) and one for one in stop):
            raise ParameterError(f"stop must be a text or a list of texts, none of them empty. Got {self.stop!r:.80}.")
        return stop

    def _settled(self, n_rows: int) -> Any:
        """The strategy, which says what a prompt shows."""
        if self.strategy is None:
            return Prompting(shots=min(_SHOTS, n_rows), selection="nearest")
        if not isinstance(self.strategy, Prompting):
            raise ParameterError(f"strategy must be Prompting(...) or None. Got {self.strategy!r}.")
        strategy = clone(self.strategy)
        changed = [name for name, default in _OF_CLASSES.items() if getattr(strategy, name) != default]
        if changed or strategy.order == "lowest bias":
            name = (changed or ["order"])[0]
            raise UnsupportedError(
                f"{name}={getattr(strategy, name)!r} is about scores of classes, and a Writer has none: leave it out."
            )
        at_least("max_shot_tokens", strategy.max_shot_tokens, 1, whole=True, optional=True)
        return strategy


def _check_model(model: Any) -> None:
    """Refuse a model that writes nothing."""
    if not is_language_model(model) or not is_generator(model):
        raise UnsupportedError(
            f"{model!r} can't write text: give a causal or an encoder-decoder language model, such as "
            "Writer('embedded:causal', ...)."
        )


def _default_stop(model: Any, template: Template, after: str, answers: Sequence[str]) -> tuple[str, ...]:
    """What ends an answer where nothing was said: the text after the hole, and what separates demonstrations."""
    first = after.splitlines()[:1]
    if getattr(model, "chat", False) or kind_of(model).name == "seq2seq":
        return tuple(first)
    fitting = (one for one in ("\n", template.separator) if one and not any(one in own.strip() for own in answers))
    return tuple(dict.fromkeys([*first, *([one] if (one := next(fitting, "")) else [])]))


def _warn_of_stops(answers: Sequence[str], stop: Sequence[str]) -> None:
    """Say which texts of ``fit`` no answer can be."""
    held = [i for i, text in enumerate(answers) if any(one in text.strip() for one in stop)]
    if held:
        warn(
            f"{len(held)} texts of y hold one of stop={tuple(stop)!r}, such as y[{held[0]}]: the model is shown what "
            "its own texts are cut at.",
            FewshotWarning,
        )
