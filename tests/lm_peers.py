"""Scripted servers of language models, with a tiny model behind them: every answer can be compared with that model.

The answers of "llama.cpp" have the form that llama-server of xllamacpp 2026.10 was seen to give. Those of "vllm" and
"sglang" were made from their documentation and source, and not recorded live.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch

from fewshot import Query, load
from tests.conftest import language_model
from tests.peers import Peer, _Handler, serving

DIALECTS = ["llama.cpp", "vllm", "sglang"]
CLASSES = ["billing", "bug report", "praise"]
TEXTS = ["I was charged twice.", "It crashes.", "I love it."]
QUERIES = [
    Query("I loved it. It was ", ("great", "terrible", "very good"), "."),
    Query("Is it 1 or 12? ", ("1", "12")),
    Query("naïve 漢字 <|im_end|> ", ("bug", "billing")),
    Query("", ("a", "b")),
]
OWNERS = {"llama.cpp": "llamacpp", "vllm": "vllm", "sglang": "sglang"}
SCORING = {"llama.cpp": "/v1/completions", "vllm": "/v1/completions", "sglang": "/generate"}


class LMPeer(Peer):
    """A server around the tiny model of that name (see tests.conftest)."""

    def __init__(self, dialect: str = "llama.cpp", name: str = "gpt2-chat") -> None:
        super().__init__()
        self.dialect, self.lm = dialect, language_model(name)
        self.model, self.build, self.limit = "tiny", "b1", 256
        self.forgets_ids = self.biased = False  # wrong ways to answer
        self.shift = 0.0  # of every log-probability but the first token's: other weights
        self.absent: set[str] = set()  # routes that it does not have
        self.tokens: Any = None  # of its own tokenizer, where that is another one
        self.paths: list[str] = []

    def logprobs(self, ids: list[int]) -> torch.Tensor:
        with torch.inference_mode(), self.lock:
            logits = self.lm.model(input_ids=torch.tensor([ids])).logits[0, -1].double()
        return logits.log_softmax(-1) - self.shift

    def greedy(self, ids: list[int], n: int, stop: list[str]) -> list[int]:
        new: list[int] = []
        while len(new) < n:
            new.append(int(self.logprobs([*ids, *new]).argmax()))
            text = self.lm.tokenizer.decode(new)
            if new[-1] == self.lm.tokenizer.eos_token_id or any(one in text for one in stop):
                break
        return new

    def body(self, asked: Any) -> dict[str, Any]:
        ids = asked.get("prompt", asked.get("input_ids"))
        return {"llama.cpp": self.llama_cpp, "vllm": self.vllm, "sglang": self.sglang}[self.dialect](ids, asked)

    def usage(self, ids: list[int], n: int) -> dict[str, int]:
        n_read = len(str(ids)) if self.forgets_ids else len(ids)
        return {"prompt_tokens": n_read, "completion_tokens": n, "total_tokens": n_read + n}

    def llama_cpp(self, ids: list[int], asked: Any) -> dict[str, Any]:
        if "n_predict" in asked:
            written = self.greedy(ids, asked["n_predict"], asked["stop"])
            text = self.lm.tokenizer.decode(written)
            said = {"tokens_evaluated": len(ids), "tokens_predicted": len(written)}
            return {"index": 0, "content": text, "tokens": written, "model": self.model, "stop": True, **said}
        ((token, bias),) = asked["logit_bias"]
        logprobs = self.logprobs(ids)
        best = int((logprobs + bias * torch.nn.functional.one_hot(torch.tensor(token), len(logprobs))).argmax())
        value = -1e-9 if self.biased else float(logprobs[best])
        one = {"id": best, "token": "?", "bytes": [], "logprob": value}
        logprobs_ = {"content": [{**one, "top_logprobs": [one]}]}
        choice = {"text": "?", "index": 0, "logprobs": logprobs_, "finish_reason": "length"}
        return {"choices": [choice], "model": self.model, "system_fingerprint": self.build, "usage": self.usage(ids, 1)}

    def vllm(self, ids: list[int], asked: Any) -> dict[str, Any]:
        if "logprob_token_ids" in asked:
            assert asked["logprobs"] is not None
            assert len(asked["logprob_token_ids"]) <= 128
            logprobs = self.logprobs(ids)
            best = int(logprobs.argmax())
            top = {f"token_id:{t}": max(float(logprobs[t]), -9999.0) for t in [best, *asked["logprob_token_ids"]]}
            named = {"text_offset": [0], "tokens": [f"token_id:{best}"], "token_logprobs": [float(logprobs[best])]}
            choice = {"logprobs": {**named, "top_logprobs": [top]}, "token_ids": [best]}
        else:
            choice = {"logprobs": None, "token_ids": self.greedy(ids, asked["max_tokens"], asked["stop"])}
        choice |= {"index": 0, "text": "?", "finish_reason": "length", "prompt_token_ids": ids}
        usage = self.usage(ids, len(choice["token_ids"]))
        return {"id": "cmpl-1", "object": "text_completion", "model": self.model, "choices": [choice], "usage": usage}

    def sglang(self, ids: list[int], asked: Any) -> dict[str, Any]:
        meta = {"id": "1", "weight_version": self.model, "finish_reason": {"type": "length", "length": 1}}
        if "token_ids_logprob" in asked:
            logprobs = self.logprobs(ids)
            new = [int(logprobs.argmax())]
            meta["output_token_ids_logprobs"] = [[[float(logprobs[t]), t, None] for t in asked["token_ids_logprob"]]]
        else:
            until = asked["sampling_params"]
            new = self.greedy(ids, until["max_new_tokens"], until["stop"])
        return {"text": "?", "output_ids": new, "meta_info": {**meta, **self.usage(ids, len(new))}}

    def says(self, path: str, asked: Any) -> Any:
        """What the other routes answer; None where there is none."""
        if path in self.absent:
            return None
        tokens = self.tokens or self.lm.tokenizer
        text = (asked or {}).get("content", (asked or {}).get("prompt"))
        model = {"id": self.model, "owned_by": OWNERS.get(self.dialect, self.dialect)}
        if self.dialect != "llama.cpp":
            model["max_model_len"] = self.limit
        known: dict[str, Any] = {
            "/v1/models": lambda: {"object": "list", "data": [model]},
            "/props": lambda: {"default_generation_settings": {"n_ctx": self.limit}, "build_info": self.build},
            "/version": lambda: {"version": self.build},
            "/get_server_info": lambda: {"version": self.build},
            "/tokenize": lambda: {"tokens": tokens(text, add_special_tokens=False).input_ids},
        }
        return known[path]() if path in known else None


class _LMHandler(_Handler):
    def do_POST(self) -> None:
        peer: Any = self.peer
        with peer.lock:
            peer.paths.append(self.path)
        if self.path in (SCORING.get(peer.dialect), "/completion"):
            super().do_POST()
            return
        data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        said = peer.says(self.path, json.loads(data) if data else None)
        self.send(404 if said is None else 200, {"error": {"message": "File Not Found"}} if said is None else said)

    do_GET = do_POST


def serving_lm(peer: LMPeer) -> AbstractContextManager[LMPeer]:
    """The peer on loopback."""
    return serving(peer, _LMHandler)


def asking(peer: LMPeer, **given: Any) -> Any:
    """The model behind a peer."""
    return load(peer.url, model="tiny", tokenizer=peer.lm.tokenizer, **given)


def scores(lm: Any, queries: Sequence[Query] = QUERIES) -> list[Any]:
    """The log-probabilities of queries."""
    return [one.logprobs for one in lm.loglikelihoods(queries)]


def agree(found: Sequence[Any], expected: Sequence[Any]) -> None:
    """Compare them."""
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)
