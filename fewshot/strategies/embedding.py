"""Embedding: sentence vectors, compared with the class prompts or given to a scikit-learn classifier."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from scipy.special import log_softmax
from sklearn.base import clone
from sklearn.preprocessing import normalize

from fewshot.checks import at_least
from fewshot.display.explanation import Explanation, Neighbor, Question
from fewshot.display.preview import Part, Preview, PreviewRow, cut_after, split_premise
from fewshot.errors import InputError, ParameterError, ShortenedWarning, broken, warn
from fewshot.heads.any import fitted_head, head_log_scores, head_odds
from fewshot.heads.counting import FLOOR, constant_odds, varying
from fewshot.heads.label_prior import LabelPriorLogisticRegression
from fewshot.inputs import Row
from fewshot.labels import warn_of_names_read_alike
from fewshot.models.base import FloatArray, IntArray, Query, is_window
from fewshot.prompts.explaining import class_lines
from fewshot.strategies.base import Rows, Strategy, fitted_texts, one_label
from fewshot.task.prompt import Fitted
from fewshot.task.task import Task

__all__ = ["Embedding"]

#: Inverse temperature of the cosine similarities. Of 5, 10, 20 and 40 it has the lowest log loss, on training rows of
#: eight public data sets with the default encoder.
_SCALE = 10.0
#: Tau after tuning, where C is the number of classes. Of 1.25 to 5 it has a low log loss with 2, 8 and 64 examples a
#: class, on training rows of eight sets (seeds 10 to 13). No constant C from 0.1 to 100 was as good with both 8 and 64.
_TUNED_TAU = 3.5

#: Examples that an explanation shows.
_NEIGHBORS = 5


class Embedding(Strategy):
    """Classify texts by their sentence vectors.

    Without examples, a text gets the class whose prompt has the highest cosine similarity. A class prompt is the
    template's frame, filled with the class's label words and with its description. With examples, a classifier is
    fitted on the vectors. By default it is a logistic regression whose prior is this same similarity, so that the label
    names still count while there are few examples. Classes without names, such as 0 and 1, are learnt from the examples
    alone, as with ``label_prior=0``.

    If a text may have several labels (y is an indicator matrix), every label has a classifier of its own. Without
    examples, the log-odds of a label grow with the similarity of its prompt less that of the most similar other prompt.
    So the nearest label is predicted, and the others are ranked.

    The encoder computes in the dtype that it was loaded in, and everything after the vectors is float64. `Contrastive`
    describes the dtypes of tuning.

    Parameters
    ----------
    head : scikit-learn classifier, optional
        None: `LabelPriorLogisticRegression`. A `LabelPriorLogisticRegression` of your own also gets unit vectors and
        the label names. Any other classifier gets the vectors as they are.
    label_prior : float or "auto"
        Weight of the label names in the default head; 0 is plain logistic regression. "auto" averages over several
        weights and penalties by cross-validation on the examples. After tuning, the examples can't be held out from the
        encoder any more. Then the weight is 3.5, or less if the names have less than their usual weight on the frozen
        vectors, and C is the number of classes. A head of your own ignores this parameter.
    tuning : Contrastive, optional
        How to tune an own copy of the encoder on the labelled rows first. With ``label_prior="auto"``, the class
        prompts count as much as the label names do on the frozen vectors. None: the encoder stays as it is.

    Attributes
    ----------
    encoder_ : Encoder
        The model, or its tuned copy; `SentenceEncoder.save` writes it as an ordinary folder.
    head_ : classifier or None
        The fitted head; None in zero-shot.
    prototypes_ : ndarray of shape (n_classes, dim) or None
        Unit vectors of the class prompts, averaged over the label words and the description of each class; None if the
        classes have no names.
    names_weight_ : float
        The weight of the label names before tuning, as in `LabelPriorLogisticRegression`; 1 without tuning.
    examples_ : list of (text, label)
        The labelled rows; `explain` shows the nearest of them. Empty in zero-shot. A pickle contains them.

    Examples
    --------
    >>> from fewshot import Classifier, Embedding
    >>> clf = Classifier(strategy=Embedding()).fit(None, ["billing", "bug report", "praise"])
    >>> clf.predict(["I was charged twice this month"]).tolist()
    ['billing']
    """

    takes_multi_label = takes_wordings = takes_weights = True
    needs_encoder = True

    def __init__(self, head: Any = None, label_prior: float | Literal["auto"] = "auto", *, tuning: Any = None) -> None:
        self.head = head
        self.label_prior = label_prior
        self.tuning = tuning

    def _check(self) -> None:
        if self.label_prior != "auto":
            at_least("label_prior", self.label_prior, 0, more=", or 'auto'")
        if self.tuning is not None and (isinstance(self.tuning, type) or not hasattr(self.tuning, "tune")):
            raise ParameterError(f"tuning must be Contrastive(...) or None. Got {self.tuning!r:.80}.")

    def _fit(
        self, task: Task, model: Any, X: Rows | None, y: Any, *, sample_weight: FloatArray | None, random_state: Any
    ) -> None:
        """Encode the class prompts, and fit the head when there are labelled rows."""
        self._check()
        self.task_, self.encoder_ = task, model
        frames = self._frames()
        prompts = [frame for group in frames for frame in group]
        self.names_weight_ = 1.0
        if self.tuning is not None and y is not None:
            one_label(self.tuning, task)
            texts, targets = self._texts(X or []), task.index(y)
            if self.label_prior == "auto" and prompts and len(set(targets.tolist())) > 1:
                self.names_weight_ = self._weigh_names(texts, targets, frames, sample_weight)
            self.encoder_ = clone(self.tuning).tune(
                model,
                texts,
                targets,
                prompts,
                np.repeat(np.arange(len(frames)), [len(group) for group in frames]),
                names_weight=self.names_weight_,
                sample_weight=sample_weight,
                random_state=random_state,
            )
        self.prototypes_: Any = self._prototypes(frames) if prompts else None
        self.head_: Any = None
        self.examples_: list[tuple[str, Any]] = []
        if X is not None and y is not None:
            self._fit_head(X, y, sample_weight, random_state)
        elif not task.verbalizer.named:
            raise InputError("Without labelled rows the classes need names: call fit(X, y), or give a verbalizer.")
        elif sample_weight is not None:
            raise InputError("sample_weight needs labelled rows: call fit(X, y, sample_weight=...).")
        elif self.prototypes_ is not None:
            warn_of_names_read_alike(task.classes.tolist(), self.prototypes_)

    def kept(self) -> dict[str, Any]:
        """Return the attributes that prediction needs: all but the labelled texts."""
        return {name: value for name, value in vars(self).items() if name != "examples_"}

    def _prototypes(self, frames: list[list[str]]) -> FloatArray:
        vectors = normalize(_encoded(self.encoder_, [frame for group in frames for frame in group]))
        bounds = np.cumsum([0, *map(len, frames)])
        return normalize(np.stack([vectors[a:b].mean(0) for a, b in itertools.pairwise(bounds)]))

    def _weigh_names(
        self, texts: list[str], targets: IntArray, frames: list[list[str]], sample_weight: FloatArray | None
    ) -> float:
        """What the label names count for in the head on the frozen vectors."""
        vectors, prior = normalize(_encoded(self.encoder_, texts)), self._prototypes(frames)
        head = LabelPriorLogisticRegression().fit(vectors, targets, prior, sample_weight, classes=np.arange(len(prior)))
        return head.names_weight_

    def _frames(self) -> list[list[str]]:
        """The prompts of each class: in every wording that names it, for each label word and for what it means."""
        frames: list[list[str]] = [[] for _ in self.task_.classes]
        for one in self.task_.wordings if self.task_.verbalizer.named else ():
            labels = one.verbalizer.labels
            for own, group in zip(frames, one.verbalizer.words, strict=True):
                own.extend(one.template.class_prompts(group, labels))
        return frames

    def _fit_head(self, X: Sequence[Row], y: Any, sample_weight: FloatArray | None, random_state: Any) -> None:
        task = self.task_
        targets = np.asarray(y) if task.multi_label else task.index(y)
        self.seen_ = varying(targets if task.multi_label else np.eye(len(task.classes))[targets])
        if not self.seen_.size:
            raise InputError(
                "No label is on some rows and off others: there is nothing to learn."
                if task.multi_label
                else f"Every labelled row is of the class {y[0]!r}: a classifier needs examples of two classes."
            )
        vectors = self._encode(X)
        names = task.classes
        labels = [tuple(names[row > 0].tolist()) for row in targets] if task.multi_label else names[targets].tolist()
        self.examples_ = list(zip(self._texts(X), labels, strict=True))
        if self._knows_names:
            head = self._default() if self.head is None else clone(self.head)
            none = np.zeros((len(task.classes), vectors.shape[1]))
            prior = none if self.prototypes_ is None else self.prototypes_
            self.head_ = head.fit(normalize(vectors), targets, prior, sample_weight, classes=np.arange(len(prior)))
            return
        if task.multi_label:
            self.constant_odds_ = constant_odds(targets)
            targets = targets[:, self.seen_]
        self.head_ = fitted_head(
            self.head,
            vectors,
            targets,
            multi_label=task.multi_label,
            sample_weight=sample_weight,
            random_state=random_state,
        )

    @property
    def _knows_names(self) -> bool:
        """Whether the head starts from the label names."""
        return self.head is None or isinstance(self.head, LabelPriorLogisticRegression)

    def _default(self) -> LabelPriorLogisticRegression:
        head = LabelPriorLogisticRegression(tau=self.label_prior)
        if self.tuning is not None:  # the examples can't be held out from the encoder any more
            tau = _TUNED_TAU * min(1.0, self.names_weight_) if self.label_prior == "auto" else self.label_prior
            head.set_params(tau=tau, C=float(len(self.seen_)))
        return head if self.task_.verbalizer.named else head.set_params(tau=0.0)

    def log_scores(self, X: Sequence[Row]) -> FloatArray:
        """Return log-probabilities of the classes, of shape (n_texts, n_classes); when multi-label, log-odds."""
        vectors, multi_label = self._encode(X), self.task_.multi_label
        if self.head_ is None:
            similar = _SCALE * normalize(vectors) @ self.prototypes_.T
            return similar - _best_other(similar) if multi_label else log_softmax(similar, axis=1)
        if self._knows_names:
            unit = normalize(vectors)
            return self.head_.decision_function(unit) if multi_label else self.head_.predict_log_proba(unit)
        if not multi_label:
            return head_log_scores(self.head_, vectors, len(self.task_.classes))
        unseen = np.full(len(self.task_.classes), FLOOR)  # what is kept by an older version has no more
        return head_odds(self.head_, vectors, self.seen_, getattr(self, "constant_odds_", unseen))

    def explain(self, row: Row) -> Explanation:
        """Show how similar a text is to the prompt of each class, and to the labelled examples."""
        task, (vector,) = self.task_, normalize(self._encode([row]))
        similar = None if self.prototypes_ is None else (self.prototypes_ @ vector).tolist()
        prompts = None if similar is None else [" | ".join(group) for group in self._frames()]
        lines = class_lines(task, self.log_scores([row]), similarities=similar, prompts=prompts)
        asked = Question(self.preview([row])[0], task.verbalizer.candidates)
        return Explanation(lines, (asked,), self.nearest([row])[0], multi_label=task.multi_label)

    def nearest(self, X: Sequence[Row]) -> list[tuple[Neighbor, ...]]:
        """Return the five labelled examples with the highest cosine similarity to each row."""
        examples = getattr(self, "examples_", ())  # a model may be kept without the texts that it learnt from
        if not examples:
            return [()] * len(X)
        known = normalize(_encoded(self.encoder_, [text for text, _ in examples]))
        found = []
        for own in normalize(_encoded(self.encoder_, self._texts(X))) @ known.T:
            first = np.argsort(-own, kind="stable")[:_NEIGHBORS]
            found.append(tuple(Neighbor(examples[i][0], examples[i][1], float(own[i])) for i in first))
        return found

    def preview(self, X: Sequence[Row]) -> Preview:
        """Show the texts as the encoder would read them, and the frame of the class prompts."""
        before, _, after = self.task_.template.frame("___").partition("___")
        named = self.task_.verbalizer.named
        frame = (Part("text", f"\n\n~ {before}"), Part("hole", ""), Part("text", after)) if named else ()
        fitted, room = self._fitted(X), self._room
        texts = [text for text, _ in fitted]
        ends: Any = self.encoder_.token_ends(texts) if is_window(self.encoder_) else [()] * len(texts)
        rows = []
        for (text, fit), own in zip(fitted, ends, strict=True):
            parts = (Part("field", text),) if fit is None else split_premise(fit)
            dropped = 0
            if room is not None and len(own) > room:
                dropped = len(own) - room
                parts = cut_after(parts, int(own[room - 1]))
            n_cut = dropped + (0 if fit is None else fit.n_cut)
            rows.append(PreviewRow((), (*parts, *frame), len(own) - dropped, n_cut=n_cut))
        return Preview(rows, self.task_.verbalizer.candidates, getattr(self.encoder_, "limit", None))

    def _texts(self, X: Sequence[Row]) -> list[str]:
        return [text for text, _ in self._fitted(X)]

    def _fitted(self, X: Sequence[Row]) -> list[tuple[str, Fitted | None]]:
        return fitted_texts(self.task_, X, self.encoder_)

    def _encode(self, X: Sequence[Row]) -> FloatArray:
        fitted = self._fitted(X)
        self._warn_of_cuts(fitted)
        return _encoded(self.encoder_, [text for text, _ in fitted])

    @property
    def _room(self) -> int | None:
        """The most tokens of a text that the encoder reads, besides its own; None where it reads all of it."""
        if not is_window(self.encoder_) or getattr(self.encoder_, "windows", None) is not None:
            return None
        return self.encoder_.limit - int(self.encoder_.lengths([Query("", ())])[0])

    def _warn_of_cuts(self, fitted: Sequence[tuple[str, Fitted | None]]) -> None:
        """The encoder reads no more than its window: say what was cut, once and with numbers."""
        room = self._room
        if room is None:
            return
        cut = [fit.n_cut for _, fit in fitted if fit is not None and fit.n_cut]
        # a token has at least one byte
        long = [text for text, _ in fitted if len(text.encode("utf-8", "replace")) > room]
        cut += [len(ends) - room for ends in self.encoder_.token_ends(long) if len(ends) > room]
        if cut:
            warn(
                f"To fit the model's window of {self.encoder_.limit} tokens, {len(cut)} of {len(fitted)} rows were "
                f"cut, by {int(np.median(cut))} tokens in the median.",
                ShortenedWarning,
            )


def _encoded(model: Any, texts: list[str]) -> FloatArray:
    vectors: FloatArray = model.encode(texts)
    bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if bad.size:
        raise broken(model, f"numbers for {texts[bad[0]]!r:.60}")
    return vectors


def _best_other(scores: FloatArray) -> FloatArray:
    """For each class the best score among the other classes."""
    second, first = np.partition(scores, -2, axis=1)[:, -2:].T
    return np.where(scores == first[:, None], second[:, None], first[:, None])
