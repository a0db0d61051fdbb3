"""Channel: ask the language model how probable the text is after each label."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from scipy.special import log_softmax
from sklearn.utils import check_random_state

from fewshot.demonstrations import as_selector
from fewshot.display.explanation import Explanation, Question
from fewshot.display.preview import Preview
from fewshot.errors import InputError, PromptTooLongError, TemplateError, UnsupportedError, at_row
from fewshot.inputs import Row
from fewshot.models.base import FloatArray, IntArray, Query, Turn, check_scores, kind_of, scored_once
from fewshot.prompts.asking import Asking, fitted_selector, shown_rows
from fewshot.prompts.explaining import class_lines, word_lines
from fewshot.strategies.base import Rows, Strategy
from fewshot.task.prompt import Prompt
from fewshot.task.task import Task

__all__ = ["Channel"]


class Channel(Strategy):
    r"""Classify by the probability of the text given the label, instead of the label given the text.

    The template puts the label first. With :math:`x` the text from the template's first field to its end, and
    :math:`c(w)` everything before it with label word w in the hole,

    .. math:: \log P(y \mid x) = \log P(x \mid c(w_y)) + \text{const}, \qquad
              \log P(x \mid c) = \sum_t \log P(x_t \mid c, x_{<t})

    which is Bayes' rule with a uniform prior over the classes. The model must explain every word of the text, so it
    can't always choose the label that it prefers in general.

    Parameters
    ----------
    shots : int
        Number of demonstrations in the prompt, over all classes; 0 is zero-shot.
    selection : {"stratified", "random", "first", "nearest", "mmr"} or Selector
        Which labelled rows become demonstrations (see `fewshot.demonstrations`).

    Attributes
    ----------
    demonstrations_ : ndarray of shape (shots,)
        Row numbers of the demonstrations in prompt order; empty where each text has its own.

    Notes
    -----
    Min et al. (2022), "Noisy Channel Language Model Prompting for Few-Shot Text Classification". All demonstrations
    stand in one prompt; the paper calls this concatenation.

    The verbalizer says how several label words of a class are combined. A long text makes the class probabilities
    extreme. ``token_aggregation="mean"``, the log-probability per token of the text, makes them less extreme. With one
    label word for each class it changes no prediction. A prompt that exceeds the model's window loses demonstrations
    first. Then the text is shortened, to the same words for all classes.

    Examples
    --------
    >>> from fewshot import Classifier, FakeLM
    >>> from fewshot.strategies.channel import Channel
    >>> lm = FakeLM(lambda query: [-float("fun" in text) * ("bad" in query.prefix) for text in query.candidates])
    >>> clf = Classifier(lm, "A {{ label }} review: {{ text }}", strategy=Channel()).fit(None, ["bad", "good"])
    >>> clf.predict(["Great fun."]).tolist()
    ['good']
    """

    only_shows = True

    def __init__(self, shots: int = 0, selection: Any = "stratified") -> None:
        self.shots = shots
        self.selection = selection

    def _fit(
        self, task: Task, model: Any, X: Rows | None, y: Any, *, sample_weight: FloatArray | None, random_state: Any
    ) -> None:
        """Choose the demonstrations; no model call is made."""
        if kind_of(model).pretraining != "causal":
            raise UnsupportedError(
                f"Channel scores the words of a text one after the other, which takes a causal language model. Got "
                f"{model!r} ({kind_of(model)}): use Prompting(), or Embedding() with an encoder."
            )
        if task.verbalizer.token_aggregation == "per-byte":
            raise UnsupportedError(
                "Channel scores the text and not the label words, whose bytes token_aggregation='per-byte' divides by: "
                "use 'sum' or 'mean'."
            )
        _check_order(task)
        rng = check_random_state(random_state)
        selector = fitted_selector(as_selector(self.selection), self.shots, task, X, y, rng=rng)
        self.demonstrations_ = shown_rows(selector)
        shown = (X, y) if selector is not None else ((), ())
        self.asking_ = _LabelFirst(task, model, selector, rows=shown[0] or (), labels=shown[1])
        for i in self.demonstrations_.tolist():
            with at_row(i):
                _halves(task.template.prompt((X or [])[i], task.verbalizer.labels), "")
        self.task_, self.model_ = task, model

    def log_scores(self, X: Sequence[Row]) -> FloatArray:
        """Return log-probabilities of the classes, of shape (n_texts, n_classes)."""
        return log_softmax(self.asking_.verbalizer.aggregate(*self._word_scores(X)), axis=1)

    def _word_scores(self, X: Sequence[Row]) -> tuple[FloatArray, IntArray]:
        """Log-probability and number of tokens of each text after each label word, both (n_texts, n_words)."""
        queries = self._queries(X)
        # one word's questions begin alike: side by side, so that the model can share their beginning
        order = sorted(range(len(queries)), key=lambda i: (queries[i].context, queries[i].prefix))
        answers = scored_once(self.model_.loglikelihoods, [queries[i] for i in order])
        logprobs, n_tokens = np.empty(len(queries)), np.empty(len(queries), dtype=np.int64)
        for i, scores in zip(order, answers, strict=True):
            with at_row(i * len(X) // len(queries)):
                check_scores(self.model_, queries[i], scores)
            logprobs[i], n_tokens[i] = scores.logprobs[0], scores.n_tokens[0]
        return logprobs.reshape(len(X), -1), n_tokens.reshape(len(X), -1)

    def _queries(self, X: Sequence[Row]) -> list[Query]:
        """The questions: every text after every label word, row by row."""
        queries = []
        asked = self.asking_.ask(X)
        asked.warn_of_cuts()
        for i, (fit, query) in enumerate(zip(asked.prompts, asked.queries, strict=True)):
            with at_row(i):
                for word in asked.task.verbalizer.candidates:
                    before, text = _halves(fit.prompt, word, shortened=fit.shortened)
                    queries.append(Query(before, (text,), "", query.context))
        return queries

    def explain(self, row: Row) -> Explanation:
        """Show the prompt, and how probable the text is after each label word."""
        logprobs, n_tokens = self._word_scores([row])
        task = replace(self.task_, verbalizer=self.asking_.verbalizer)
        scores = log_softmax(task.verbalizer.aggregate(logprobs, n_tokens), axis=1)
        asked = Question(
            self.preview([row])[0],
            task.verbalizer.candidates,
            word_lines(task, logprobs[0]),
            measure="log-probability of the text",
        )
        return Explanation(class_lines(self.task_, scores), (asked,))

    def preview(self, X: Sequence[Row]) -> Preview:
        """Show the prompts without asking the model; the part that is scored begins at the first field."""
        return self.asking_.preview(X)


class _LabelFirst(Asking):
    """Demonstrations whose label is the user's turn and whose text is the assistant's, as in the question itself."""

    def _demonstration(self, i: int, k: int) -> tuple[Turn, ...]:
        if (i, k) not in self._turns:
            template = self.task.template
            with at_row(i):
                own, word = self._answer(i)
                before, text = _halves(template.prompt(self._rows[i], own.labels), word)
            self._turns[i, k] = (Turn("user", before), Turn("assistant", text + template.separator))
        return self._turns[i, k]


def _halves(prompt: Prompt, word: str, *, shortened: bool = False) -> tuple[str, str]:
    """What the text is conditioned on, with the word in the hole, and the text: from the first field to the end."""
    kinds = [piece.place.kind for piece in prompt.pieces]
    hole, fields = kinds.index("hole"), [i for i, kind in enumerate(kinds) if kind == "field"]
    if not fields or fields[0] < hole:
        raise TemplateError(
            "Channel scores the text after the label, and this template has "
            f"{'a field before the hole' if fields else 'no field after the hole'}: write the label first, such as "
            "'A {{ label }} review: {{ text }}'."
        )
    if not any(prompt.pieces[i].text.strip() for i in fields):
        if shortened:
            raise PromptTooLongError(
                "what stands before the text fills the model's window by itself: shorten the instruction or the "
                "template, or use a model that reads more."
            )
        raise InputError("the text is blank, so there is nothing to score: fill it, or drop the row")
    texts = [word if i == hole else piece.text for i, piece in enumerate(prompt.pieces)]
    return "".join(texts[: fields[0]]), "".join(texts[fields[0] :])


def _check_order(task: Task) -> None:
    """Refuse a template with a field before the hole before any row is asked about, where it renders without one."""
    try:
        prompt = task.template.prompt(dict.fromkeys(task.template.fields, "text"), task.verbalizer.labels)
    except TemplateError:  # a field may have to be a number; every row is checked anyway
        return
    _halves(prompt, "")
