"""The probe: which server answers, and whether it gives the model's own log-probabilities of the local token ids.

A status of 200 proves nothing: servers ignore what they do not know. So the server is asked what can be checked.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fewshot.errors import ServerError
from fewshot.models.remote.completion_wire import DIALECTS, Dialect
from fewshot.models.remote.contents import WireError
from fewshot.models.remote.endpoint import AbsentError, Endpoint
from fewshot.models.remote.wire import Usage
from fewshot.models.text.tokens import PlainTokenizer

__all__ = ["Probed", "probe"]

_TEXT = "It's 12.5 %  naïve\n漢字 😀. The answer is"
_TRIED = 4  # tokens whose probabilities after one prompt are compared
_CONTROLS = 8  # control tokens whose ids are compared
_OWNERS = {"llamacpp": "llama.cpp", "vllm": "vllm", "sglang": "sglang"}
#: Where each kind of server says of which build it is, and as what.
_BUILDS = {
    "llama.cpp": ("/props", "build_info"),
    "vllm": ("/version", "version"),
    "sglang": ("/get_server_info", "version"),
}
_CURE = (
    "Log-probabilities of named tokens come from llama-server, vLLM and SGLang. If it is one of them behind a proxy,"
    " name it: api='llama.cpp', 'vllm' or 'sglang'."
)

At = Callable[[str], Endpoint]


@dataclass(frozen=True)
class Probed:
    """What the probe found.

    ``limit`` is the most tokens that the server reads at once, None where it does not say; ``version`` what it calls
    the model that answers, and ``build`` the program that computes.
    """

    dialect: Dialect
    limit: int | None
    version: str
    build: str
    usage: tuple[Usage, ...]  # of each request that took tokens


def probe(at: At, model: str, api: str, plain: PlainTokenizer, shown: str) -> Probed:
    """Ask a server what can be checked.

    Parameters
    ----------
    at : callable
        The endpoint of a path after the server's root.
    model : str
    api : str
        A dialect by its name, or "completions": the one of the server that says who it is.
    plain : PlainTokenizer
        The local tokenizer.
    shown : str
        What messages call the model.

    Raises
    ------
    ServerError
        When the server is none of those that are known, does not take ids as they are, gives log-probabilities that
        are not the model's own, or has another tokenizer. The message says which, and what would help.
    """
    models = _models(at)
    dialect = DIALECTS[_api(models, shown) if api == "completions" else api]
    _check_tokenizer(at, dialect, model, plain, shown)
    ids = tuple(plain.ids([_TEXT])[0])
    tokens = tuple(dict.fromkeys(ids))[:_TRIED]
    logprobs: dict[int, float] = {}
    version, usage = "", []
    for start in range(0, len(tokens), dialect.most_tokens):
        part = tokens[start : start + dialect.most_tokens]
        try:
            body = at(dialect.path).post(dialect.ask(model, ids, part), threading.Event())
            said = dialect.read(body, ids, part)
        except WireError as error:
            raise ServerError(
                f"{shown} is asked as {dialect.name!r} is, and the server does not answer so: {error} {_CURE}"
            ) from None
        logprobs |= said.logprobs
        version = said.version
        usage.append(said.usage)
    total = sum(map(math.exp, logprobs.values()))
    if total > 1.01:
        raise ServerError(
            f"{shown}: the server says that {len(tokens)} different tokens have a probability of {total:.3g} together "
            "after one prompt. So these are not the model's own log-probabilities, but those after the bias or the "
            "sampler: start the server without such settings (llama-server: post_sampling_probs; vLLM: "
            "--logprobs-mode raw_logprobs)."
        )
    path, name = _BUILDS[dialect.name]
    says = _read(at, path)
    return Probed(dialect, _limit(says, models, model), version, str(says.get(name)), tuple(usage))


def _models(at: At) -> list[Mapping[str, Any]]:
    """What the server says of its models; none where it has no such route."""
    data = _read(at, "/v1/models").get("data")
    return [one for one in data if isinstance(one, Mapping)] if isinstance(data, list) else []


def _read(at: At, path: str) -> Mapping[str, Any]:
    """What stands at a path; nothing where the server has no such route."""
    try:
        said = at(path).get()
    except AbsentError:
        return {}
    return said if isinstance(said, Mapping) else {}


def _api(models: Sequence[Mapping[str, Any]], shown: str) -> str:
    owners = {str(one.get("owned_by")) for one in models}
    known = {_OWNERS[owner] for owner in owners if owner in _OWNERS}
    if len(known) != 1:
        said = ", ".join(sorted(owners)) or "nothing"
        raise ServerError(f"{shown}: /v1/models of the server says {said} of who owns its models. {_CURE}")
    return known.pop()


def _limit(said: Mapping[str, Any], models: Sequence[Mapping[str, Any]], model: str) -> int | None:
    """The context length, as far as the server says."""
    settings = said.get("default_generation_settings")
    own = [one for one in models if one.get("id") == model] or list(models[:1])
    found = settings.get("n_ctx") if isinstance(settings, Mapping) else own[0].get("max_model_len") if own else None
    return found if isinstance(found, int) and found > 0 else None


def _check_tokenizer(at: At, dialect: Dialect, model: str, plain: PlainTokenizer, shown: str) -> None:
    """Refuse a server whose ids mean other tokens than the local ones."""
    ids = plain.ids([_TEXT])[0]
    theirs = _tokenize(at, dialect, model, _TEXT)
    if theirs is None:  # it has no such route, and what it reads is seen by the number of tokens alone
        return
    if theirs != ids and _decoded(plain, theirs) != _TEXT:  # llama.cpp splits some texts otherwise
        raise ServerError(
            f"{shown}: the server's tokenizer is another one than {plain.tokenizer.name_or_path!r}: of {_TEXT!r} it "
            f"makes the ids {theirs[:8]}, and the local one {ids[:8]}. Give tokenizer= the tokenizer of the model that "
            "is served: its folder, its name on the hub, or its GGUF file."
        )
    for control, own in list(plain.controls.items())[:_CONTROLS]:
        found = _tokenize(at, dialect, model, control)
        if found is not None and own not in found:
            raise ServerError(
                f"{shown}: {control!r} is token {own} in the local tokenizer, and {found} on the server. Give "
                "tokenizer= the tokenizer of the model that is served."
            )


def _tokenize(at: At, dialect: Dialect, model: str, text: str) -> list[int] | None:
    """The server's ids of a text; None where it does not tell."""
    asked = {"model": model, "prompt": text, "add_special_tokens": False}
    if dialect.name == "llama.cpp":
        asked = {"content": text, "add_special": False, "parse_special": True}
    said = _asked(at, "/tokenize", asked)
    ids = said.get("tokens") if isinstance(said, Mapping) else None
    return ids if isinstance(ids, list) and all(type(one) is int for one in ids) else None


def _decoded(plain: PlainTokenizer, ids: list[int]) -> str:
    """The local text of the server's ids, without the blank that some tokenizers put first."""
    text = plain.tokenizer.decode(ids, clean_up_tokenization_spaces=False)
    return str(text).removeprefix(" ")


def _asked(at: At, path: str, body: dict[str, Any]) -> Any:
    try:
        return at(path).post(body, threading.Event())
    except AbsentError:
        return None
