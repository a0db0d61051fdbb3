"""Label words that the language model itself finds, from a few labelled texts or from text and class names alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from scipy.special import log_softmax
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError

from fewshot.checks import at_least, between, one_of
from fewshot.errors import InputError, UnsupportedError, at_row, broken
from fewshot.inputs import Row
from fewshot.models.base import BLOCK_BYTES, FloatArray, Query, is_reader, is_window, kind_of
from fewshot.tables import as_text
from fewshot.task.prompt import fit_to_window
from fewshot.task.template import Template
from fewshot.task.verbalizer import Verbalizer, as_verbalizer

__all__ = ["AutomaticVerbalizer"]

_SMALLEST, _LARGEST = 1e-300, 1 - 2**-24  # probabilities whose log-odds are finite


class AutomaticVerbalizer(BaseEstimator):  # type: ignore[misc]
    r"""Choose label words that a language model finds probable for the texts of one class, and not for other texts.

    Let :math:`p(v \mid x)` be the model's probability of word v in the hole of text x, and :math:`X_c` the texts of
    class c. The score of a word for a class is

    .. math::

        \text{"amulap"}: \operatorname*{mean}_{x \in X_c} p(v \mid x)
        \qquad
        \text{"petal"}: \operatorname*{mean}_{x \in X_c} \operatorname{logit} p(v \mid x)
        - \operatorname*{mean}_{x \notin X_c} \operatorname{logit} p(v \mid x)

    Each word belongs to the class for which its score is highest, and each class keeps its best words.

    Parameters
    ----------
    words_per_class : int
        How many words each class gets.
    criterion : {"petal", "amulap"}
        "petal" prefers words that distinguish the classes, "amulap" prefers probable words. With the embedded masked
        model and 16 texts of each class, "petal" and ten words were the best on training rows of four data sets.
    candidates : sequence of str, optional
        The words to choose among; those that are not one token of the model are left out. None: every word of at least
        two letters that is one token.
    n_candidates : int
        "petal" considers this many words for each class: the most probable ones for its texts.
    share : float
        Without labels: the share of the texts to learn from, those with the most certain predictions.

    Attributes
    ----------
    words_ : dict
        Class -> list of words, best first.
    scores_ : dict
        Class -> list of their scores.

    Notes
    -----
    "amulap" is Wang, Xu and McAuley (2022), "Automatic Multi-Label Prompting: Simple and Interpretable Few-Shot
    Classification". Here its sum over the texts of a class is a mean, so that a large class does not get every word.

    "petal" is the likelihood ratio of Schick, Schmid and Schütze (2020), "Automatically Identifying Words That Can
    Serve as Labels for Few-Shot Text Classification", for one class against the rest. It weights the texts of the class
    so that they count as much as the rest: :math:`\frac{n - n_c}{n_c} \sum_{x \in X_c} \operatorname{logit} p - \sum_{x
    \notin X_c} \operatorname{logit} p`. Here it is divided by :math:`n - n_c`, which makes it a difference of mean
    log-odds and does not change the order of words within a class. The paper also requires words to be frequent in
    unlabelled text; this is left out here.

    Without labels, the model's zero-shot predictions are the labels. The class names are scored in the hole, and the
    mean log-score of each name over the texts is subtracted (batch calibration). The texts with the most certain
    predictions are the examples, equally many of each class.

    The words of one class may be more probable than those of another class for every text. So a calibration such as
    "batch" often helps.

    Words of several tokens are never candidates. A token may be the beginning of longer words (``inter``), so check the
    words in the table. While words are learnt, a template that lists the label words, as ``generic/causal`` does, lists
    the class names, or nothing if these are not strings. A template that lists no words does not influence the model in
    this way.

    Examples
    --------
    >>> from fewshot import AutomaticVerbalizer, FakeLM, Template
    >>> hints = {"great": "love", "lovely": "love", "dull": "bored", "awful": "bored", "long": "was"}
    >>> lm = FakeLM(lambda query: [2.0 * (hints[word] in query.prefix) for word in query.candidates], vocabulary=hints)
    >>> automatic = AutomaticVerbalizer(2, "amulap")
    >>> automatic.learn(lm, Template("{{ text }} Really {{ label }}."), ["I love it.", "I was bored."], ["pos", "neg"])
    Verbalizer({'neg': ['dull', 'awful'], 'pos': ['great', 'lovely']})
    >>> print(automatic)
    class  word    score
    neg    dull    0.306
           awful   0.306
    pos    great   0.416
           lovely  0.416
    """

    def __init__(
        self,
        words_per_class: int = 10,
        criterion: Literal["petal", "amulap"] = "petal",
        *,
        candidates: Sequence[str] | None = None,
        n_candidates: int = 1000,
        share: float = 0.5,
    ) -> None:
        self.words_per_class = words_per_class
        self.criterion = criterion
        self.candidates = candidates
        self.n_candidates = n_candidates
        self.share = share

    def learn(
        self,
        model: Any,
        template: Template,
        X: Sequence[Row] | None,
        y: Sequence[Any] | None = None,
        classes: Sequence[Any] | None = None,
    ) -> Verbalizer:
        """Find label words, and return them as a verbalizer.

        Parameters
        ----------
        model : LanguageModel
            A model that shows its vocabulary at the hole (see `fewshot.models.base.Reader`).
        template : Template
        X : sequence of rows
        y : sequence of shape (n_texts,), optional
            Class of each row. None: the model's zero-shot predictions are used instead, and the classes must be
            strings.
        classes : sequence, optional
            All classes. None: those of y.

        Raises
        ------
        UnsupportedError
            When the model does not show its vocabulary at the hole.
        InputError
            When there is no text, a class has no examples, or there are too few words.
        VerbalizerError
            When there are no labels and a class is not a string.
        """
        self._check(model)
        if X is None or not len(X):
            raise InputError("AutomaticVerbalizer learns from texts: call fit(X, y), or name the label words yourself.")
        names = _names(X, y, classes)
        words = _whole_words(model.vocabulary, self.candidates)
        needed = len(names) * self.words_per_class
        if len(words) < needed:
            raise InputError(
                f"{len(names)} classes need {needed} label words, and {model!r} has {len(words)} candidates, which are "
                "words of at least two letters in one token: lower words_per_class."
            )
        if y is None:
            members = self._pseudo_members(model, template, X, names)
        else:
            members = np.array([[float(label == name) for label in y] for name in names])
        named = all(isinstance(name, str) for name in names)
        labels = [name.replace("_", " ") for name in names] if named else []
        # the one candidate only shows the model where the hole's first token is
        queries = _queries(model, template, X, (next(iter(words)),), labels)
        self.words_, self.scores_ = self._chosen(names, list(words), *self._scored(model, queries, members, words))
        # as in each paper: the summed probability of a class's words, or their mean log-probability
        return Verbalizer(self.words_, word_aggregation="logsumexp" if self.criterion == "amulap" else "mean")

    def _check(self, model: Any) -> None:
        one_of("criterion", self.criterion, ("amulap", "petal"))
        at_least("words_per_class", self.words_per_class, 1, whole=True)
        at_least("n_candidates", self.n_candidates, 1, whole=True)
        between("share", self.share, 0, 1, with_high=True)
        if not kind_of(model).vocabulary or not is_reader(model):
            raise UnsupportedError(
                f"AutomaticVerbalizer reads the model's vocabulary at the hole, and {model!r} ({kind_of(model)}) does "
                "not show it: use a causal or masked model, or name the label words yourself."
            )

    def _pseudo_members(self, model: Any, template: Template, X: Sequence[Row], names: list[Any]) -> FloatArray:
        """Take the model's surest zero-shot answers for labels, equally many of each class."""
        verbalizer = as_verbalizer(None, names)
        queries = _queries(model, template, X, verbalizer.candidates, verbalizer.labels)
        scores = np.stack([one.logprobs for one in model.loglikelihoods(queries)])
        if not np.isfinite(scores).all():
            raise broken(model, "scores")
        sure = log_softmax(scores - scores.mean(axis=0), axis=1)
        answers = sure.argmax(axis=1)
        counts = np.bincount(answers, minlength=len(names))
        if not counts.all():
            raise InputError(
                f"The model takes none of the {len(X)} unlabelled texts for {names[int(counts.argmin())]!r}: give more "
                "texts, labels, or a class name that says more."
            )
        size = min(counts.min(), max(1, int(self.share * len(X) / len(names))))
        members = np.zeros((len(names), len(X)))
        for i in range(len(names)):
            own = np.flatnonzero(answers == i)
            members[i, own[np.argsort(-sure[own, i], kind="stable")[:size]]] = 1.0
        return members

    def _scored(
        self, model: Any, queries: list[Query], members: FloatArray, words: dict[str, list[int]]
    ) -> tuple[FloatArray, FloatArray]:
        """Each word's score for each class, and its likelihood after the class's texts; (n_classes, n_words) both."""
        columns = np.concatenate(list(words.values()))
        starts = np.cumsum([0, *map(len, words.values())])[:-1]
        size = max(1, BLOCK_BYTES // (8 * len(model.vocabulary)))
        score, likely = np.zeros((2, len(members), len(words)))
        used = np.flatnonzero(members.any(axis=0))
        for rows in np.split(used, range(size, len(used), size)):
            logs = model.read([queries[i] for i in rows], "vocabulary")[:, columns].astype(np.float64)
            p = np.clip(np.add.reduceat(np.exp(logs), starts, axis=1), _SMALLEST, _LARGEST)
            likely += members[:, rows] @ np.log(p)
            score += members[:, rows] @ (p if self.criterion == "amulap" else np.log(p) - np.log1p(-p))
        if not np.isfinite(score).all():
            raise broken(model, "scores")
        n = members.sum(axis=1, keepdims=True)
        if self.criterion == "petal":
            return score / n - (score.sum(axis=0) - score) / (n.sum() - n), likely
        return score / n, likely

    def _chosen(
        self, names: list[Any], words: list[str], score: FloatArray, likely: FloatArray
    ) -> tuple[dict[Any, list[str]], dict[Any, list[float]]]:
        """Give each class its best words; "Good" and "good" are one word, and no word serves two classes."""
        owner, best = score.argmax(axis=0), score.max(axis=0)
        allowed = np.ones(len(words), dtype=bool)
        if self.criterion == "petal":
            order = np.argsort(-likely, axis=1, kind="stable")
            allowed = np.argsort(order, axis=1)[owner, np.arange(len(words))] < self.n_candidates
        chosen: dict[Any, list[str]] = {name: [] for name in names}
        scores: dict[Any, list[float]] = {name: [] for name in names}
        taken: set[str] = set()
        for i in np.argsort(-best, kind="stable").tolist():
            name = names[owner[i]]
            if not allowed[i] or words[i].casefold() in taken:
                continue
            taken.add(words[i].casefold())
            if len(chosen[name]) < self.words_per_class:
                chosen[name].append(words[i])
                scores[name].append(float(best[i]))
        for name, found in chosen.items():
            if len(found) < self.words_per_class:
                raise InputError(
                    f"Only {len(found)} candidate words speak for the class {name!r} more than for any other, and "
                    f"{self.words_per_class} are wanted: lower words_per_class, raise n_candidates, or give more text."
                )
        return chosen, scores

    def table(self) -> str:
        """Return the words of each class with their scores, best first, as a printed table.

        Raises
        ------
        NotFittedError
            When no words have been learned yet.
        """
        if not hasattr(self, "words_"):
            raise NotFittedError("This AutomaticVerbalizer has no words yet: call learn, or fit the classifier.")
        rows: list[tuple[str, ...]] = []
        for name, words in self.words_.items():
            heads = [str(name)] + [""] * (len(words) - 1)
            rows += zip(heads, words, [f"{score:.3g}" for score in self.scores_[name]], strict=True)
        return as_text(["class", "word", "score"], rows)

    def __str__(self) -> str:
        return self.table() if hasattr(self, "words_") else repr(self)


def _names(X: Sequence[Row], y: Sequence[Any] | None, classes: Sequence[Any] | None) -> list[Any]:
    """The sorted classes, each of which has an example where there are labels."""
    if y is None and classes is None:
        raise InputError("Unlabelled text needs the names of the classes, and labelled text the labels. Got neither.")
    if y is not None and len(y) != len(X):
        raise InputError(f"X has {len(X)} rows and y has {len(y)}: they must be of one length.")
    seen = set() if y is None else set(y)
    names = sorted(seen if classes is None else set(classes))
    for name in seen.difference(names):
        raise InputError(f"y has the class {name!r}, and the classes are {names}: name it, or drop its rows.")
    for name in names if y is not None else ():
        if name not in seen:
            raise InputError(f"The class {name!r} has no examples to learn words from: give some, or name its words.")
    if len(names) < 2:
        raise InputError(f"Words are chosen between at least two classes. Got {names}.")
    return names


def _queries(
    model: Any, template: Template, X: Sequence[Row], candidates: tuple[str, ...], labels: Sequence[str]
) -> list[Query]:
    """Ask about every row, shortened to the model's window."""
    context = template.context((), labels)
    queries = []
    for i, row in enumerate(X):
        with at_row(i):
            prompt = template.prompt(row, labels)
            if is_window(model):
                prompt = fit_to_window(prompt, [context], candidates, model).prompt
        queries.append(prompt.query(candidates, context))
    return queries


def _whole_words(vocabulary: Sequence[str], wanted: Sequence[str] | None) -> dict[str, list[int]]:
    """Words of at least two letters, and the tokens of each, with and without the blank that may lead a word."""
    found: dict[str, list[int]] = {}
    for i, text in enumerate(vocabulary):
        word = text.removeprefix(" ")
        if len(word) > 1 and word.isalpha():
            found.setdefault(word, []).append(i)
    # where blanks lead words, as in byte-level vocabularies, a token that exists only without one is a piece ("tion");
    # a stray blank in a vocabulary of another making tells nothing
    led = {text[1:] for text in vocabulary if text[:1] == " "} & set(found)
    if 10 * len(led) > len(found):
        found = {word: tokens for word, tokens in found.items() if word in led}
    known = found if wanted is None else {word.strip() for word in wanted}
    return {word: tokens for word, tokens in found.items() if word in known}
