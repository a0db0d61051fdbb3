"""TokenReader: the hidden states of every token of a text, at one layer of a transformer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch

from fewshot.errors import InputError, ParameterError, UnsupportedError
from fewshot.models.base import Float32Array, IntArray
from fewshot.models.engine.layers import find_layers, states_before, with_hidden_states
from fewshot.models.engine.padding import Padding, padded, scale_vectors
from fewshot.models.engine.rounding import same_logprobs
from fewshot.models.engine.trial import draw_samples
from fewshot.models.local import in_eval_mode, padding_token_of
from fewshot.models.pairs import knows_types
from fewshot.models.progress import show_progress
from fewshot.models.text.bounds import find_bounds
from fewshot.models.text.tokens import PairFrame, PlainTokenizer, Typed
from fewshot.models.tokens import TokenVectors
from fewshot.models.windows import cover_tokens

__all__ = ["TokenReader", "TokenRows"]

_CURE = "Choose another encoder, or a masked language model."
#: What stands before a text, the type of its tokens, and what stands after it.
_Frame = tuple[Typed, int, Typed]


@dataclass(frozen=True)
class TokenRows:
    """What a transformer reads of some texts."""

    rows: list[Typed]  # tokens, special ones included, and their types: a text each, or a window of one
    owns: list[slice]  # the tokens of each row that it hands out
    of_texts: list[slice]  # the rows of each text
    bounds: list[tuple[IntArray, IntArray]]  # where the tokens of each text begin and end


class TokenReader:
    """Reads texts with a transformer, and shows the hidden states of their tokens.

    The layers after the one that is asked for are not computed, where a pass that ends there gives the numbers of a
    whole one on a sample.

    Parameters
    ----------
    name : str
        What messages call the model.
    body : Module
        A transformer that takes ``input_ids`` and ``attention_mask``.
    plain : PlainTokenizer
    room : int
        The most tokens of a batch, whatever memory there is.

    Raises
    ------
    UnsupportedError
        When the transformer does not show its hidden states, one a token.

    Attributes
    ----------
    body : Module
    dims : list of int
        The dimension of each layer's hidden states; the first are the embeddings.
    """

    def __init__(self, name: str, body: Any, plain: PlainTokenizer, room: int = 2**31) -> None:
        self._name, self.body, self._plain, self._room = name, body, plain, room
        self._ends: dict[int, bool] = {}  # for each layer, whether a pass may end there
        self.dims = self._try_layers()

    def read(
        self,
        texts: Sequence[str],
        layer: int | None,
        limit: int,
        within_memory: Callable[[Callable[[int], None]], object],
        questions: Sequence[str] | None = None,
    ) -> list[TokenVectors]:
        """The tokens of each text with their hidden states; one thread at a time.

        Parameters
        ----------
        texts : sequence of str
        layer : int, optional
            After how many layers. None is half of them.
        limit : int
            The most tokens that the model reads at once, special tokens included.
        within_memory : callable
            Calls what it is given with a number of tokens, and again with a smaller one when memory runs out.
        questions : sequence of str, optional
            What stands before each text, as the first of a pair.

        Raises
        ------
        ParameterError
            When the model has no such layer.
        """
        layer = self.check_layer(layer)
        asked = list(zip(texts, [None] * len(texts) if questions is None else questions, strict=True))
        distinct = list(dict.fromkeys(asked))
        planned = self.plan([text for text, _ in distinct], limit, questions and [str(own) for _, own in distinct])
        vectors = self._vectors(planned, layer, within_memory)
        none = np.empty((0, self.dims[layer]), dtype=np.float32)
        found = {
            one: TokenVectors(*bounds, np.concatenate([none, *vectors[own]]))
            for one, bounds, own in zip(distinct, planned.bounds, planned.of_texts, strict=True)
        }
        return [found[one] for one in asked]

    def plan(self, texts: Sequence[str], limit: int, questions: Sequence[str] | None = None) -> TokenRows:
        """The rows in which texts are read, of at most so many tokens, special ones included.

        Raises
        ------
        UnsupportedError
            When special tokens fill a row.
        InputError
            When a question leaves less than half of a row for the text; the message has the question.
        """
        frames = [self._special] * len(texts) if questions is None else self._frames(questions, limit)
        planned = TokenRows([], [], [], [])
        for text, encoding, (before, kind, after) in zip(texts, self._plain.encodings(texts), frames, strict=True):
            size = limit - len(before[0]) - len(after[0])
            if size < 1:
                raise UnsupportedError(f"{self._name} reads {limit} tokens at once, which its special tokens fill.")
            windows = cover_tokens(len(encoding.ids), size) if encoding.ids else []
            planned.of_texts.append(slice(len(planned.rows), len(planned.rows) + len(windows)))
            planned.bounds.append(find_bounds(text, encoding))
            for window, own in windows:
                ids = encoding.ids[window]
                types = (*before[1], *(kind,) * len(ids), *after[1])
                planned.rows.append(((*before[0], *ids, *after[0]), types))
                planned.owns.append(slice(len(before[0]) + own.start, len(before[0]) + own.stop))
        return planned

    def _frames(self, questions: Sequence[str], limit: int) -> list[_Frame]:
        """What stands around the text of each question: the question comes first."""
        found = []
        frame = self._pair_frame
        for question, ids in zip(questions, self._plain.ids(questions), strict=True):
            types = (*frame.before[1], *(frame.types[0],) * len(ids), *frame.between[1])
            before = ((*frame.before[0], *ids, *frame.between[0]), types)
            if 2 * (len(types) + len(frame.after[0])) > limit:
                raise InputError(
                    f"A question has {len(ids)} tokens, and {self._name} reads {limit} at once: less than half of them "
                    f"are left for the text. Shorten the question. Got {question!r:.80}."
                )
            found.append((before, frame.types[1], frame.after))
        return found

    def states(self, body: Any, planned: TokenRows, batch: Sequence[int], layer: int) -> list[torch.Tensor]:
        """The hidden states of the own tokens of some rows, padded together; with gradient where one is asked for."""
        device = next(body.parameters()).device
        rows = [planned.rows[i] for i in batch]
        ids, mask = padded([ids for ids, _ in rows], padding_token_of(body, self._plain.tokenizer), device)
        inputs = {"input_ids": ids, "attention_mask": mask}
        if any(map(any, (types for _, types in rows))) and self._has_types:  # of texts alone they are 0, as is left out
            inputs["token_type_ids"], _ = padded([types for _, types in rows], 0, device)
        states = (_early if self._ends_early(layer) else _whole)(body, layer, **inputs)
        return [states[place, planned.owns[i]] for place, i in enumerate(batch)]

    def check_layer(self, layer: int | None) -> int:
        """The layer that is meant, where the model has it; -1 is the last, and None is the middle one.

        Raises
        ------
        ParameterError
            When the model has no such layer.
        """
        n_layers = len(self.dims) - 1
        if layer is None:
            return n_layers // 2
        if isinstance(layer, bool) or not isinstance(layer, int | np.integer) or not -1 <= layer <= n_layers:
            raise ParameterError(
                f"layer must be an integer from 0, the embeddings, to {n_layers}, the number of layers of "
                f"{self._name}, -1 for the last, or None for {n_layers // 2}. Got {layer!r}."
            )
        return n_layers if layer == -1 else int(layer)

    @torch.no_grad()
    def _vectors(
        self, planned: TokenRows, layer: int, within_memory: Callable[[Callable[[int], None]], object]
    ) -> list[Float32Array]:
        """The hidden states of each row's own tokens."""
        body = in_eval_mode(self.body)
        padding = Padding(body)  # of this call: one layer does not show what another makes of its neighbours
        vectors: dict[int, Float32Array] = {}

        def run(budget: int) -> None:
            left = [i for i in range(len(planned.rows)) if i not in vectors]  # what an earlier attempt has not done

            def compute(batch: list[int]) -> list[torch.Tensor]:
                return self.states(body, planned, [left[i] for i in batch], layer)

            def receive(batch: list[int], found: list[torch.Tensor]) -> None:
                vectors.update({left[i]: states.float().cpu().numpy() for i, states in zip(batch, found, strict=True)})
                bar.update(len(batch))

            lengths, budget = [len(planned.rows[i][0]) for i in left], min(budget, self._room)
            padding.run(lengths, budget, compute, receive, scale_vectors)

        with show_progress(len(planned.rows), "Reading tokens") as bar:
            within_memory(run)
        return [vectors[i] for i in range(len(planned.rows))]

    @torch.no_grad()
    def _ends_early(self, layer: int) -> bool:
        """Whether a pass that ends at a layer gives what a whole one gives."""
        if layer not in self._ends:
            body = in_eval_mode(self.body)
            found, expected = _early(body, layer, **self._sample), _whole(body, layer, **self._sample)
            self._ends[layer] = isinstance(found, torch.Tensor) and _is_same(found, expected)
        return self._ends[layer]

    @torch.no_grad()
    def _try_layers(self) -> list[int]:
        """The dimension of each layer's hidden states."""
        n_tokens = self._sample["input_ids"].shape[1]
        try:
            shapes = [tuple(states.shape) for states in _every_layer(self.body, **self._sample)]
        except Exception as error:  # whatever it is, it would be raised for every text
            said = (str(error).strip() or repr(error)).splitlines()[0]
            raise UnsupportedError(
                f"{self._name} does not show the hidden states of its tokens ({type(error).__name__}: {said}). {_CURE}"
            ) from error
        if any(shape[:-1] != (1, n_tokens) for shape in shapes):
            raise UnsupportedError(
                f"{self._name} has no hidden state of each token: for {n_tokens} tokens its layers give states of "
                f"shapes {sorted(set(shapes))}. {_CURE}"
            )
        return [dim for _, _, dim in shapes]

    @cached_property
    def _sample(self) -> dict[str, torch.Tensor]:
        ids = draw_samples(self.body, self._plain.tokenizer)[:1]
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}

    @cached_property
    def _special(self) -> _Frame:
        """What stands around a text alone. Its types are left out, as they are where a model has none."""
        special = self._plain.special()
        return (special.before, (0,) * len(special.before)), 0, (special.after, (0,) * len(special.after))

    @cached_property
    def _pair_frame(self) -> PairFrame:
        return self._plain.pair_frame()

    @cached_property
    def _has_types(self) -> bool:
        return knows_types(self.body, self._plain.tokenizer, self._pair_frame)


def _early(body: Any, layer: int, **inputs: torch.Tensor) -> Any:
    """The hidden states of a layer from a pass that ends there; None where no layer is found that comes after it."""
    _, _, layers = find_layers(body)
    if layers is None or layer >= len(layers):
        return None
    return states_before(layers[layer], partial(body, **inputs))


def _whole(body: Any, layer: int, **inputs: torch.Tensor) -> torch.Tensor:
    """The hidden states of a layer from a whole pass."""
    return _every_layer(body, **inputs)[layer]


def _every_layer(body: Any, **inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Hidden states of every layer; the first are the embeddings."""
    return tuple(with_hidden_states(body, **inputs).hidden_states)


def _is_same(states: torch.Tensor, expected: torch.Tensor) -> bool:
    return states.shape == expected.shape and same_logprobs(
        scale_vectors(states), scale_vectors(expected), expected.dtype
    )
