"""EntailmentLM: candidates as hypotheses, under a model trained on natural language inference."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch

from fewshot.errors import ModelLoadError, UnsupportedError
from fewshot.models.base import FloatArray, Query, Scores
from fewshot.models.engine.trial import draw_samples, try_forward
from fewshot.models.kinds import entailment_index
from fewshot.models.local import LocalModel
from fewshot.models.pairs import PairModel
from fewshot.models.recipe import Recipe
from fewshot.models.text.tokens import Typed

__all__ = ["EntailmentLM"]


class EntailmentLM(PairModel, LocalModel):
    r"""An entailment (NLI) model, which says whether a hypothesis follows from a premise.

    The premise is the fields part of the template. The hypothesis is its frame with the candidate in the hole. The
    score of a candidate is :math:`\log P(\text{entailment} \mid \text{premise, hypothesis})` over the model's own
    classes (Yin et al. 2019, "Benchmarking Zero-shot Text Classification").

    Parameters
    ----------
    model : PreTrainedModel
        A ``...ForSequenceClassification`` of transformers with an entailment label.
    tokenizer : PreTrainedTokenizerBase
    recipe : Recipe, optional
        How `load` made it.

    Raises
    ------
    ModelLoadError
        When the model has no label with the name entailment.

    Examples
    --------
    >>> from fewshot import Classifier
    >>> clf = Classifier("facebook/bart-large-mnli")  # doctest: +SKIP
    >>> clf.fit(None, ["billing", "bug report"]).predict(["Charged twice!"])  # doctest: +SKIP
    array(['billing'], dtype=object)
    """

    kind = "entailment"

    def __init__(self, model: Any, tokenizer: Any, *, recipe: Recipe | None = None) -> None:
        super().__init__(model, tokenizer, recipe=recipe)
        index = entailment_index(model.config)
        if index is None:
            raise ModelLoadError(
                f"{self!r} has no label named entailment; its labels are {list(model.config.label2id)}. Set "
                "model.config.label2id if one of them means it."
            )
        self._entails = index
        pair = self.frame.join(*draw_samples(self.model, tokenizer).tolist())
        logits = try_forward(repr(self), partial(self.run_pairs, [pair]))
        if logits.shape != (1, len(self.model.config.id2label)):
            raise ModelLoadError(
                f"{self!r} can't be used: it gives logits of shape {tuple(logits.shape)} for one pair, and not one "
                f"number for each of its {len(self.model.config.id2label)} labels."
            )

    def _pairs(self, queries: Sequence[Query]) -> list[list[Typed]]:
        """Each candidate's pair; a premise is tokenised once for all of them."""
        found = [[turn.text for turn in query.context if turn.role == "premise"] for query in queries]
        if not all(found):
            raise UnsupportedError(
                f"{self!r} needs a premise: a query for an entailment model has a turn of that role "
                "(template.query(..., kind='entailment') makes it)."
            )
        premises = ["".join(own) for own in found]  # without content where a calibration asks so
        asked = [[query.prefix + word + query.suffix for word in query.candidates] for query in queries]
        distinct = list(dict.fromkeys(itertools.chain(*asked)))  # the same for every text, unless a field is beside it
        ids = dict(zip(distinct, self.plain.ids(distinct), strict=True))
        return [
            [self.frame.join(premise, ids[hypothesis]) for hypothesis in own]
            for premise, own in zip(self.plain.ids(premises), asked, strict=True)
        ]

    def _score(self, queries: Sequence[Query]) -> list[Scores]:
        nested = self._pairs(queries)
        values = self.within_memory(partial(self._run, [row for own in nested for row in own]))
        bounds = itertools.pairwise(np.cumsum([0, *map(len, nested)]))
        return [
            Scores(values[start:stop], np.array([len(ids) for ids, _ in own], dtype=np.int64))
            for (start, stop), own in zip(bounds, nested, strict=True)
        ]

    @torch.inference_mode()
    def _run(self, rows: Sequence[Typed], budget: int) -> FloatArray:
        values = np.empty(len(rows), dtype=np.float64)

        def compute(batch: list[int]) -> list[torch.Tensor]:
            return list(self.run_pairs([rows[i] for i in batch]).logits)

        def receive(batch: list[int], found: list[torch.Tensor]) -> None:
            logprobs = torch.stack(found).float().log_softmax(-1)[:, self._entails]
            values[batch] = logprobs.cpu().double().numpy()

        lengths = [len(ids) for ids, _ in rows]
        self.padding.run(lengths, budget, compute, receive, lambda logits: logits.float().log_softmax(-1))
        return values

    def _sizes(self, queries: Sequence[Query]) -> list[int]:
        return [max(len(ids) for ids, _ in own) for own in self._pairs(queries)]
