"""The kinds of models. Each is one row of data, which all other code reads.

A new kind of model is one file in `fewshot/models/` and one row of `KINDS`. There is no other table of kinds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Literal

from fewshot.checks import one_of
from fewshot.errors import ModelLoadError

__all__ = [
    "KINDS",
    "OPTIONS",
    "Kind",
    "entailment_index",
    "is_remote",
    "kind_named",
    "kind_of_config",
    "kind_of_own",
    "trains",
]

Trained = Literal["prompt", "head", "vectors", "tokens"]


@dataclass(frozen=True)
class Kind:
    """What a kind of model is."""

    name: str  # what a model of this kind has as its attribute ``kind``
    home: str  # our class, as "module:class"
    auto: str | None  # the class of transformers that reads a checkpoint; None: none of them does
    endings: tuple[str, ...]  # how names of architectures end, as a config has them
    supported: str  # what a message calls these checkpoints
    generic: str  # the template for a task that brings none; "": it takes no template
    spans: str  # the same for a `Tagger`, which asks about a span of a text
    generic_labels: str | None = None  # the template where a text may have several labels; None: ``generic``
    #: Whether an architecture of such an ending is of this kind, given the config.
    fits: Callable[[str, Any], bool] = lambda architecture, config: True
    #: What the model gets of a row in a template: the whole prompt after its context; its fields as the premise and its
    #: frame as the hypothesis; its fields as the state, and the rest as what is asked of it; its fields alone; or no
    #: template, but a question and the text that holds the answer.
    reads: Literal["prompt", "premise", "state", "fields", "question"] = "prompt"
    remote: tuple[str, ...] = ()  # our classes for such models behind an address, whose weights are not here
    demonstrations: bool = True  # whether a prompt has a place for them
    descriptions: bool = True  # whether it is told what classes mean, where the template leaves that to the library
    vocabulary: bool = True  # whether it has a distribution over tokens at the hole, for label words and priors
    #: What the model was pretrained to predict, and `adapt` goes on with: masked tokens, or the next token. None: it
    #: can't learn from unlabelled text.
    pretraining: Literal["masked", "causal"] | None = None
    #: What of our class has gradients: its scores at the hole, a new classification layer on its body, its vectors of
    #: texts, those of tokens.
    trains: tuple[Trained, ...] = ()
    #: The keyword arguments of our class, each with a check of a value that was read from a kept folder.
    options: Mapping[str, Callable[[Any], bool]] = field(default_factory=dict)

    @property
    def class_name(self) -> str:
        """The name of our class."""
        return self.home.partition(":")[2]

    def load_class(self) -> Any:
        """Our class; only here is its module, and torch with it, imported."""
        return getattr(import_module(self.home.partition(":")[0]), self.class_name)

    def __str__(self) -> str:
        return self.name


def entailment_index(config: Any) -> int | None:
    """Which output of a classifier says that the premise entails the hypothesis; None when none does."""
    for name, index in (getattr(config, "label2id", None) or {}).items():
        if str(name).casefold().startswith("entail"):
            return int(index)
    return None


def _fills_masks(architecture: str, config: Any) -> bool:
    """Whether a ``...WithLMHeadModel`` is a masked model, as those of XLM and Flaubert are."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES

    return architecture.endswith("ForMaskedLM") or architecture in MODEL_FOR_MASKED_LM_MAPPING_NAMES.values()


def _marks_answers(architecture: str, config: Any) -> bool:
    """Whether transformers reads a model that says at each token whether an answer begins and ends there.

    The one of XLNet that looks for its answers itself gives no such numbers.
    """
    from transformers.models.auto.modeling_auto import MODEL_FOR_QUESTION_ANSWERING_MAPPING_NAMES

    return architecture in MODEL_FOR_QUESTION_ANSWERING_MAPPING_NAMES.values()


def _is_encoder_decoder(architecture: str, config: Any) -> bool:
    return bool(getattr(config, "is_encoder_decoder", False))


#: Every kind. The first one that fits a config is its kind: the order counts, since "LMHeadModel" ends with "Model".
KINDS = (
    Kind(
        name="masked",
        home="fewshot.models.masked:MaskedLM",
        auto="AutoModelForMaskedLM",
        endings=("ForMaskedLM", "WithLMHeadModel"),
        fits=_fills_masks,
        supported="...ForMaskedLM",
        generic="generic/masked",
        spans="entity_typing/in_this_sentence",
        generic_labels="generic/yes_no_masked",
        descriptions=False,  # it answers worse after a list of them: docs/decisions/0005-descriptions.md
        pretraining="masked",
        trains=("prompt", "head", "tokens"),
        options={"variant": lambda said: isinstance(said, str)},
    ),
    Kind(
        name="causal",
        home="fewshot.models.causal:CausalLM",
        auto="AutoModelForCausalLM",
        endings=("ForCausalLM", "LMHeadModel"),
        supported="...ForCausalLM",
        generic="generic/causal",
        spans="entity_typing/name_of",
        generic_labels="generic/yes_no",
        pretraining="causal",
        remote=("fewshot.models.remote.completions:CompletionsLM", "fewshot.models.remote.chat:ChatLM"),
        trains=("prompt", "head"),
        options={
            "chat": lambda said: said is None or type(said) is bool,
            "chat_template_kwargs": lambda said: said is None or isinstance(said, dict),
        },
    ),
    Kind(
        name="seq2seq",
        home="fewshot.models.seq2seq:Seq2SeqLM",
        auto="AutoModelForSeq2SeqLM",
        endings=("ForConditionalGeneration", "MTModel", "EncoderDecoderModel"),
        fits=_is_encoder_decoder,
        supported="encoder-decoders ...ForConditionalGeneration",
        generic="generic/causal",
        spans="entity_typing/name_of",
        generic_labels="generic/yes_no",
        trains=("prompt", "head"),
        options={"hole": lambda said: said in ("auto", "output", "sentinel")},
    ),
    Kind(
        name="entailment",
        home="fewshot.models.entailment:EntailmentLM",
        auto="AutoModelForSequenceClassification",
        endings=("ForSequenceClassification",),
        fits=lambda architecture, config: entailment_index(config) is not None,
        supported="...ForSequenceClassification with an entailment label",
        generic="generic/entailment",
        spans="entity_typing/named",
        reads="premise",
        demonstrations=False,
        vocabulary=False,
    ),
    Kind(
        name="encoder",
        home="fewshot.models.encoder:SentenceEncoder",
        auto=None,
        endings=("Model",),
        fits=lambda architecture, config: not _is_encoder_decoder(architecture, config),
        supported="sentence-transformers folders, bare encoders ...Model",
        generic="generic/encoder",
        spans="entity_typing/span",
        reads="fields",
        demonstrations=False,
        vocabulary=False,
        trains=("head", "vectors", "tokens"),
        options={
            "cache_bytes": lambda said: type(said) is int and 0 <= said < 2**50,
            "windows": lambda said: said is None or (isinstance(said, dict) and set(said) == {"stride", "reduce"}),
        },
    ),
    Kind(
        name="decision",
        home="fewshot.models.decision:LocalDecisionsLM",
        auto="AutoModelForDecision",
        endings=("ForDecision",),
        supported="...ForDecision",
        generic="generic/decision",
        spans="entity_typing/kind",
        generic_labels="generic/yes_no_decision",
        reads="state",
        remote=("fewshot.models.remote.decisions:DecisionsLM",),
        demonstrations=False,
        vocabulary=False,
        options={"decision": lambda said: said is None or type(said) is bool},
    ),
    Kind(
        name="extractive",
        home="fewshot.models.extractive:ExtractiveModel",
        auto="AutoModelForQuestionAnswering",
        endings=("ForQuestionAnswering", "ForQuestionAnsweringSimple"),
        fits=_marks_answers,
        supported="...ForQuestionAnswering",
        generic="",
        spans="",
        reads="question",
        demonstrations=False,
        descriptions=False,
        vocabulary=False,
    ),
)

#: The options of all kinds, with their checks. `load` hands every other keyword argument to ``from_pretrained``.
OPTIONS: dict[str, Callable[[Any], bool]] = {name: check for kind in KINDS for name, check in kind.options.items()}


def kind_named(name: Any, what: str = "kind") -> Kind:
    """The kind of that name.

    Raises
    ------
    ParameterError
        When there is none; ``what`` is what the message says must be one.
    """
    rows = {kind.name: kind for kind in KINDS}
    one_of(what, name, tuple(rows))
    return rows[name]


def kind_of_own(model: object) -> Kind | None:
    """The kind that a model is a class of; None of what is no model of this library, and of wrappers around one."""
    homes = {f"{base.__module__}:{base.__qualname__}" for base in type(model).__mro__}
    return next((kind for kind in KINDS if kind.home in homes), None)


def is_remote(model: object) -> bool:
    """Whether a model is of this library and computes behind an address: its weights are not here."""
    own = f"{type(model).__module__}:{type(model).__qualname__}"
    return any(own in kind.remote for kind in KINDS)


def trains(model: object, what: Trained) -> bool:
    """Whether this can be trained of a model (see `Kind`); of other models than this library's nothing can."""
    kind = kind_of_own(model)
    return kind is not None and what in kind.trains


def kind_of_config(config: Any) -> Kind:
    """Read the kind of a checkpoint from its config.

    Raises
    ------
    ModelLoadError
        When no class of this library is for such a model.
    """
    architecture = next(iter(getattr(config, "architectures", None) or []), "")
    for kind in KINDS:
        if architecture.endswith(kind.endings) and kind.fits(architecture, config):
            return kind
    raise ModelLoadError(
        f"A model of kind {architecture or type(config).__name__!r} can't be used. Supported: "
        f"{', '.join(kind.supported for kind in KINDS)}, and PEFT adapters of these."
    )
