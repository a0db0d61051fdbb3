"""AskedSpans: a language model is asked which span of a text answers a question, by `Prompting`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from scipy.special import logsumexp
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state

from fewshot.checks import at_least
from fewshot.demonstrations import Selector, as_selector
from fewshot.display.preview import Preview
from fewshot.errors import InputError, TemplateError, UnsupportedError, at_row, broken
from fewshot.heads.answers import AnswerReading
from fewshot.inputs import Row
from fewshot.models.base import Query, is_language_model, is_window, kind_of
from fewshot.models.loading import load
from fewshot.models.ranking import Ranked, most_probable
from fewshot.prompts.asked import Asked as AskedPrompts
from fewshot.prompts.asking import shown_rows
from fewshot.prompts.asking_spans import AskingSpans, compare_by, find_texts, make_task, take_fields
from fewshot.strategies.prompting import Prompting
from fewshot.task.extracts import Asked, ExtractTask, Place
from fewshot.task.resolve import templates_of
from fewshot.task.template import Template

__all__ = ["AskedSpans"]

_TEMPLATE = "squad/answer"
#: What no answer is called, where rows of fit have none and nothing else is said: the word of lm-evaluation-harness.
_NO_ANSWER = "unanswerable"
#: Answers that are looked for unless more are asked for: each further one goes on with the search.
_TOP = 3
#: What `Prompting` can do with classes only, and the value that leaves it out.
_OF_CLASSES = {"read": "score", "calibration": None, "ensemble": "mean", "orders": 1}


class AskedSpans(BaseEstimator):  # type: ignore[misc]
    """Find the spans of a text that most probably fill the hole of a template, exactly.

    Every distinct span of up to ``max_words`` words is a candidate, and so is no answer, where the verbalizer, the
    template or a row of ``fit`` says that there may be none. The probability of an answer is its share of the
    probabilities of all candidates: of the three most probable ones, and of the most that all others can have together.
    Where a model finds the three without scoring the others, it is a lower bound, the nearer the more are looked for.

    Demonstrations are answered questions, chosen as `Prompting` says; "stratified" shows answerable and unanswerable
    ones alike. "nearest" and "mmr" compare questions; where two rows of ``fit`` have the same question, questions
    with their contexts.

    Parameters
    ----------
    strategy : Prompting
        Its shots, selection, order, max_shot_tokens and encoder.

    Attributes
    ----------
    asking_ : AskingSpans
        What is asked.

    Notes
    -----
    Castel et al. (2022), "How Optimal is Greedy Decoding for Extractive Question Answering?"

    Examples
    --------
    >>> from fewshot import FakeLM, Prompting
    >>> from fewshot.strategies.extracting import AskedSpans
    >>> from fewshot.task.answer_rows import read_questions
    >>> from fewshot.task.extracts import ExtractTask
    >>> lm = FakeLM(lambda query: [3.0 * (span == "Paris") for span in query.candidates])
    >>> spans = AskedSpans(Prompting()).fit_answers(ExtractTask([], [], max_words=2), lm)
    >>> (reading,) = spans.answer_readings(read_questions(["Ada lives in Paris."], "Where?"))
    >>> reading.find()[0]
    (13, 18)
    """

    def __init__(self, strategy: Any) -> None:
        self.strategy = strategy

    def fit_answers(self, task: ExtractTask, model: Any, *, random_state: Any = None) -> Self:
        """Choose the demonstrations; no model call is made.

        Raises
        ------
        UnsupportedError
            When the model reads no prompts, or the strategy is to do what is for classes.
        TemplateError
            When the template does not use the context, or does what is for classes.
        InputError
            When there are fewer rows than shots, or none.
        """
        self._check(model)
        template, no_answer = _template_of(task, model), task.no_answer
        if no_answer is None:
            no_answer = _none_of(template) or (_NO_ANSWER if not all(task.golds) else None)
        asked = make_task(template, int(task.max_words or 1), no_answer)
        rows = [take_fields(one, template) for one in task.asked]
        golds = zip(task.asked, task.golds, strict=True)
        labels = [one.context[slice(*own[0])] if own else str(no_answer) for one, own in golds]
        by_context = len({one.question for one in task.asked}) < len(rows)
        selector = self._choose(rows, list(map(bool, task.golds)), by_context, check_random_state(random_state))
        most = self.strategy.max_shot_tokens
        self.asking_: AskingSpans = AskingSpans(asked, model, selector, rows=rows, labels=labels, max_tokens=most)
        self.asking_.by_context = by_context
        for i in shown_rows(selector).tolist():
            with at_row(i):
                template.prompt(rows[i])
        return self

    def answer_readings(self, asked: Sequence[Asked], k: int = _TOP) -> list[AnswerReading]:
        """Return what it says of the answers to each question, of the k most probable ones."""
        said = self._ask(asked)
        said.warn_of_cuts()
        ranked = _rank(said.model, said.queries, k)
        spans = self.asking_.spans
        readings = []
        for one, query in zip(asked, said.queries, strict=True):
            texts = find_texts(one.context, spans.max_words)
            readings.append(_reading(query.candidates, ranked[query], texts, spans.no_answer))
        return readings

    def preview(self, asked: Sequence[Asked]) -> Preview:
        """The prompts as they would be asked."""
        return self._ask(asked).preview()

    def _ask(self, asked: Sequence[Asked]) -> AskedPrompts:
        return self.asking_.ask([take_fields(one, self.asking_.task.template) for one in asked])

    def _check(self, model: Any) -> None:
        strategy = self.strategy
        if not isinstance(strategy, Prompting):
            raise UnsupportedError(f"An Extractor asks by Prompting(). Got {strategy!r:.100}.")
        if not is_language_model(model) or kind_of(model).reads != "prompt":
            raise UnsupportedError(
                f"Prompting asks a causal, masked or encoder-decoder model which span answers a question. {model!r} "
                f"({kind_of(model)}) can't be asked: use another model."
            )
        for name, plain in _OF_CLASSES.items():
            value = getattr(strategy, name)
            if value is not plain and value != plain:
                raise UnsupportedError(
                    f"The answers of an Extractor are no classes, so Prompting({name}={value!r}) has no meaning there: "
                    f"leave {name} out."
                )
        if strategy.order == "lowest bias":
            raise UnsupportedError("order='lowest bias' compares classes, and answers are none: leave it out.")
        at_least("shots", strategy.shots, 0, whole=True)
        at_least("max_shot_tokens", strategy.max_shot_tokens, 1, whole=True, optional=True)
        if strategy.max_shot_tokens is not None and not is_window(model):
            raise UnsupportedError(f"{model!r} can't count tokens, which max_shot_tokens needs.")

    def _choose(self, rows: Sequence[Row], answered: Sequence[bool], by_context: bool, rng: Any) -> Selector | None:
        """What says which answered questions a prompt shows."""
        shots = int(self.strategy.shots)
        if not shots:
            return None
        if not rows:
            raise InputError(f"shots={shots} needs answered questions: call fit(X, y), or set shots=0.")
        selector = as_selector(self.strategy.selection, self.strategy.order)
        encoder = load(self.strategy.encoder) if selector.needs_encoder else None
        return selector.fit([compare_by(row, by_context) for row in rows], answered, shots, rng, encoder)


def _rank(model: Any, queries: Sequence[Query], k: int) -> dict[Query, Ranked]:
    """The most probable candidates of each distinct query; those that begin alike are asked next to each other."""
    distinct = sorted(dict.fromkeys(queries), key=lambda query: query.context)
    found = most_probable(model, distinct, k)
    for one in found:
        if not np.isfinite(np.max(one.logprobs)) or np.isnan(one.rest):
            raise broken(model, "scores")
    return dict(zip(distinct, found, strict=True))


def _reading(candidates: Sequence[str], ranked: Ranked, texts: Mapping[str, Place], none: str | None) -> AnswerReading:
    if not texts:  # a text without a word has no answer, whatever is asked
        return AnswerReading([], np.empty(0), none=0.0)
    total = float(logsumexp([*ranked.logprobs, ranked.rest]))
    said = {candidates[i]: float(log) - total for i, log in zip(ranked.indices, ranked.logprobs, strict=True)}
    log_none = said.pop(none, -np.inf) if none is not None else -np.inf
    places = sorted((texts[text], log) for text, log in said.items())
    logs = np.array([log for _, log in places])
    return AnswerReading([place for place, _ in places], logs, log_none, ranked.rest - total)


def _template_of(task: ExtractTask, model: Any) -> Template:
    found = templates_of(_TEMPLATE if task.template is None else task.template, model, False)
    if len(found) > 1:
        raise UnsupportedError("An Extractor asks in one wording: give one template.")
    (template,) = found
    if "context" not in template.fields:
        raise TemplateError(
            f"An Extractor asks about the field 'context': its template has it, and mostly 'question', such as "
            f"'{{{{ context | shorten }}}} {{{{ question }}}} {{{{ answer }}}}'. {template} has "
            f"{list(template.fields)}: use template.rename(...)."
        )
    if template.choices is not None or template.by_letter or template.lists_labels():
        raise TemplateError(f"{template} lists what may fill its hole, and answers are spans of the text: list none.")
    return template


def _none_of(template: Template) -> str | None:
    """What a template calls no answer."""
    words = template.words
    if words is None:
        return None
    said = words.get("none") if set(words) == {"none"} else None
    text = said[0] if isinstance(said, list) and len(said) == 1 else said
    if not isinstance(text, str) or not text.strip():
        raise TemplateError(
            f"The 'words' of a template for an Extractor say what no answer is called, {{none: unanswerable}}. "
            f"{template} has {words!r:.80}."
        )
    return text
