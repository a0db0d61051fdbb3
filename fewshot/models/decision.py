"""LocalDecisionsLM: a checkpoint that is asked typed decisions, as ``pipeline("decision")`` of transformers asks it."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fewshot.errors import ModelLoadError, UnsupportedError
from fewshot.models.base import FloatArray, Query, Scores
from fewshot.models.causal import CausalLM
from fewshot.models.decision_files import decisions_of_transformers, read_settings
from fewshot.models.local import LocalModel
from fewshot.models.locks import lock_of
from fewshot.models.recipe import Recipe
from fewshot.models.remote.planning import Batch, as_scores, plan
from fewshot.models.remote.systemone import SYSTEM_ONE
from fewshot.models.remote.wire import Answered, Usage
from fewshot.models.text.tokens import Joined

__all__ = ["LocalDecisionsLM"]

_KEPT_PROMPTS = 512  # queries whose prompts are kept for a second look


@dataclass(frozen=True, eq=False)
class _Prompt:
    """One question about one state, as transformers has written it."""

    batch: Batch
    inputs: dict[str, Any]  # without marks
    marks: Any  # how many tokens stand before each place that is read
    question: Any

    @property
    def ids(self) -> list[int]:
        found: list[int] = self.inputs["input_ids"][0].tolist()
        return found


class LocalDecisionsLM(LocalModel):
    """A local checkpoint that answers typed questions about a state: an ``...ForDecision`` model, or a chat model.

    As in `DecisionsLM`, the fields of a row are the state; the instruction and the frame around the hole are the
    instructions; the label words are the options. transformers renders the question with the checkpoint's
    ``decision.json`` and ``decision_template.jinja``, or with its own default. An ``...ForDecision`` model scores the
    options with its output layer. For a chat model, the probabilities of the next token are read, among the labels of
    the options. The score of a candidate is the logarithm of its probability in ``pipeline("decision")``.

    Parameters
    ----------
    model : PreTrainedModel
        An ``...ForDecision`` or ``...ForCausalLM`` of transformers.
    tokenizer : PreTrainedTokenizerBase
        It is copied before transformers adds its special tokens to it. The tokenizer of a chat model must have a chat
        template.
    config : transformers.decision.DecisionConfig, optional
        The labels and the temperature of each type of question, and the chat template. None: the configuration of the
        model, or of the folder that it came from.
    decision : bool, optional
        True or None, as given to `load`.
    recipe : Recipe, optional
        How `load` made it.

    Raises
    ------
    ModelLoadError
        When the checkpoint can't answer typed questions, or needs a LoRA adapter that is not loaded.

    Notes
    -----
    Each question has its own prompt, even if the template could ask several questions in one. A chat model computes the
    shared beginning of prompts once; an ``...ForDecision`` model reads each prompt separately, as in transformers. The
    label words no and yes are asked as a yes/no question (type "noul"), all other label words as a choice. A control
    token in a text stays plain text.

    Examples
    --------
    >>> from fewshot import Classifier, load
    >>> lm = load("embedded:causal", decision=True)
    >>> clf = Classifier(lm).fit(None, ["billing", "bug report"])
    >>> clf.predict_proba(["Charged twice!"]).shape
    (1, 2)
    """

    kind = "decision"

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        config: Any = None,
        *,
        decision: bool | None = None,
        recipe: Recipe | None = None,
    ) -> None:
        super().__init__(model, tokenizer, recipe=recipe)
        if decision is False:
            raise ModelLoadError(f"{self!r} can only be asked decisions: leave decision=False out.")
        self.decision = True
        self.config = config or getattr(model, "decision_config", None) or _config_beside(model)
        self.variant = json.dumps(asdict(self.config), sort_keys=True)
        if self.config.adapter and not _has_adapter(model):
            raise ModelLoadError(
                f"{self!r} decides with the LoRA in {self.config.adapter!r} of its folder, which is not loaded. Load "
                "the folder by its name."
            )
        if self._labels is not None and not (tokenizer.chat_template or self.config.chat_template):
            raise ModelLoadError(f"{self!r} was asked to decide, and its tokenizer has no chat template.")

    @property
    def limit(self) -> int:
        """The most tokens that the model reads at once."""
        stated = getattr(self.model.config.get_text_config(), "max_position_embeddings", None)
        return min(super().limit, stated) if isinstance(stated, int) else super().limit

    @cached_property
    def _labels(self) -> _Labels | None:
        """What reads the labels of a chat model; a head needs nothing of the kind."""
        return None if hasattr(self.model, "decide") else _Labels(self)

    @cached_property
    def _asking(self) -> Any:
        """A copy of the tokenizer, since transformers adds its marks to the one that it is given."""
        with lock_of(self.tokenizer):
            own = copy.deepcopy(self.tokenizer)
        own.model_max_length = int(1e30)  # too long a prompt is refused elsewhere, by its name
        # none of them is read in a text: transformers alone would spare those that its template does not write
        own.chat_control_tokens = [token for token in self.plain.controls if not token.isspace()]
        return own

    @cached_property
    def _prompts(self) -> dict[Query, _Prompt]:
        """The prompts of the queries that were seen last."""
        return {}

    def _prepared(self, queries: Sequence[Query]) -> list[_Prompt]:
        known = self._prompts  # never changed, only replaced: any thread may look while another writes prompts
        found = {query: known.get(query) or self._prepare(query) for query in queries}
        others = {query: one for query, one in known.items() if query not in found}
        self._prompts = dict(list({**others, **found}.items())[-max(_KEPT_PROMPTS, len(found)) :])
        return [found[query] for query in queries]

    def _prepare(self, query: Query) -> _Prompt:
        (batch,) = plan([query], self.name, SYSTEM_ONE, repr(self))
        try:
            request = SYSTEM_ONE.write_request(batch.request)
            with lock_of(self._asking):
                ((inputs, (question,)),) = self.config.prepare_inputs(request, self._asking)
        except Exception as error:  # templates raise what they like
            raise UnsupportedError(f"{self!r} can't be asked this. {error}") from error
        self._check_rows(question)
        return _Prompt(batch, inputs, inputs.pop("marks"), question)

    def _check_rows(self, question: Any) -> None:
        """Refuse more options than the head has rows for a type of question."""
        own = self.model.config
        n_rows, offsets = getattr(own, "num_verbalizers", None), getattr(own, "offsets", None)
        if n_rows is None or offsets is None:
            return
        start = offsets[question.type]
        most = min([at for at in offsets.values() if at > start], default=n_rows) - start
        if len(question.options) > most:
            raise UnsupportedError(
                f"{self!r} reads at most {most} options of a {question.type} question. Got {len(question.options)}."
            )

    def _score(self, queries: Sequence[Query]) -> list[Scores]:
        prompts = self._prepared(queries)
        if self._labels is None:
            return [_scores(query, one, self._decide(one)) for query, one in zip(queries, prompts, strict=True)]
        read = self._labels.loglikelihoods(queries)
        return [
            _scores(query, one, found.logprobs / self.config.temperature.get(one.question.type, 1.0), found.mass)
            for query, one, found in zip(queries, prompts, read, strict=True)
        ]

    @torch.inference_mode()
    def _decide(self, prompt: _Prompt) -> FloatArray:
        """The head's scores of the options, after the temperature."""
        (found,) = self.model.decide(
            **prompt.inputs, marks=prompt.marks, decision_questions=[prompt.question], decision_config=self.config
        )
        scores: FloatArray = found.double().cpu().numpy()
        return scores

    def joined(self, queries: Sequence[Query]) -> list[Joined]:
        """Return the tokens before the place that is read, and the one token that is the label of each option.

        Raises
        ------
        UnsupportedError
            When the labels are not distinct tokens.
        """
        return [
            Joined(tuple(one.ids[: int(one.marks[0])]), tuple((token,) for token in self._label_ids(one.question)))
            for one in self._prepared(queries)
        ]

    def _label_ids(self, question: Any) -> list[int]:
        try:
            with lock_of(self._asking):
                return list(decisions_of_transformers().label_token_ids(self._asking, tuple(question.labels)))
        except ValueError as error:
            raise UnsupportedError(f"{self!r} can't be asked a {question.type} question. {error}") from error

    def _sizes(self, queries: Sequence[Query]) -> list[int]:
        return [len(one.ids) for one in self._prepared(queries)]

    def save_pretrained(self, folder: str) -> None:
        """Write weights, tokenizer and settings into a folder that `load` and transformers can read.

        Raises
        ------
        UnsupportedError
            When a LoRA adapter is loaded on the weights.
        """
        if _has_adapter(self.model):
            raise UnsupportedError(f"{self!r} has an adapter, and would be kept without it.")
        for part in (self.model, self.tokenizer, self.config):
            part.save_pretrained(folder)


class _Labels(CausalLM):
    """A chat model that goes on with prompts whose tokens are known."""

    def __init__(self, asked: LocalDecisionsLM) -> None:
        self._asked = asked
        super().__init__(asked.model, asked.tokenizer, chat=False)

    def _joined(self, queries: Sequence[Query]) -> list[Joined]:
        return self._asked.joined(queries)

    def __repr__(self) -> str:
        return repr(self._asked)


def _scores(query: Query, prompt: _Prompt, scores: FloatArray, mass: float = float("nan")) -> Scores:
    """The candidates' scores, from those of the options in the order of transformers."""
    shares = np.exp(scores - scores.max())
    (asked,) = prompt.batch.request.questions
    names = [str(option.value).lower() if asked.type == "yes_no" else option.value for option in asked.options]
    p = shares[[prompt.question.options.index(name) for name in names]] / shares.sum()
    answered = Answered((p,), prompt.batch.request.model, Usage(), (0.0,), (mass,))
    return as_scores(prompt.batch, answered)[query]


def _config_beside(model: Any) -> Any:
    """The settings in the folder that a model came from, where there is one; else those of transformers."""
    folder = str(getattr(model, "name_or_path", ""))
    return read_settings(folder if folder and Path(folder).is_dir() else "")


def _has_adapter(model: Any) -> bool:
    return bool(getattr(model, "_hf_peft_config_loaded", False))
