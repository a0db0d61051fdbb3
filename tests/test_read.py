"""What models show at the hole: against brute force, one sequence at a time, in float32."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fewshot import FakeLM, UnsupportedError
from fewshot.models.base import Query, Turn, is_reader
from fewshot.models.causal import CausalLM
from fewshot.models.wrappers import RememberedLM
from tests.conftest import language_model, pair

CONTEXT = (Turn("system", "Say how it was.\n\n"), Turn("user", "Fine. It was "), Turn("assistant", "good.\n\n"))
QUERIES = [
    Query("The parcel came late. It was ", ("great", "terrible"), ".", CONTEXT),
    Query("The parcel came late. It was ", ("great", "terrible"), "."),
    Query("It was", (" good", " bad"), "."),
    Query("I love the new export, it is a joy to use every single day. It was ", ("great", "bad"), "."),
]
READERS = ["gpt2", "gpt2-chat", "llama", "bert", "roberta", "t5"]


@torch.inference_mode()
def oracle(name: str, query: Query) -> np.ndarray:
    """Log-probabilities of the vocabulary at the hole's first token."""
    model, tokenizer = pair(name)
    before = "".join(turn.text for turn in query.context) + query.prefix
    if name == "t5":
        given = tokenizer(before, add_special_tokens=False).input_ids
        rest = tokenizer(query.suffix, add_special_tokens=False).input_ids
        mark = tokenizer.convert_tokens_to_ids("<extra_id_0>")
        ids = torch.tensor([[*given, mark, *rest, tokenizer.eos_token_id]])
        logits = model(input_ids=ids, decoder_input_ids=torch.tensor([[0, mark]])).logits[0, -1]
    elif name in ("bert", "roberta"):
        text = (before if name == "bert" else before.removesuffix(" ")) + tokenizer.mask_token + query.suffix
        ids = tokenizer(text).input_ids
        logits = model(torch.tensor([ids])).logits[0, ids.index(tokenizer.mask_token_id)]
    else:
        alone = tokenizer(before).input_ids
        whole = [tokenizer(before + word + query.suffix).input_ids for word in query.candidates]
        k = 0
        while k < len(alone) and all(ids[k] == alone[k] for ids in whole):
            k += 1
        logits = model(torch.tensor([alone[:k]])).logits[0, -1]
    return logits.float().log_softmax(-1).numpy()


@pytest.mark.parametrize("name", [name for name in READERS if name != "gpt2-chat"])
def test_the_vocabulary_is_read_at_the_first_token_of_the_hole(name):
    found = language_model(name).read(QUERIES, "vocabulary")
    assert found.dtype == np.float32
    assert found.shape == (len(QUERIES), len(language_model(name).vocabulary))
    for row, query in zip(found, QUERIES, strict=True):
        np.testing.assert_allclose(row, oracle(name, query), atol=1e-4)


@pytest.mark.parametrize("name", READERS)
@torch.inference_mode()
def test_hidden_states_are_what_the_head_turns_into_the_vocabulary(name):
    lm = language_model(name)
    model, _ = pair(name)
    hidden = torch.from_numpy(lm.read(QUERIES, "hidden"))
    head = {"bert": "cls", "roberta": "lm_head", "t5": "lm_head"}.get(name, "lm_head")
    scale = model.model_dim**-0.5 if name == "t5" and model.config.tie_word_embeddings else 1.0
    logits = getattr(model, head)(hidden * scale)
    np.testing.assert_allclose(logits.log_softmax(-1).numpy(), lm.read(QUERIES, "vocabulary"), atol=1e-4)


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_models_that_cannot_share_prefixes_read_the_same(name):
    lm = language_model(name)
    plain = CausalLM(lm.model, lm.tokenizer, chat=False)
    plain.__dict__["_packed"] = None
    for what in ("vocabulary", "hidden"):
        np.testing.assert_allclose(plain.read(QUERIES, what), lm.read(QUERIES, what), atol=1e-4)


@pytest.mark.parametrize("name", READERS)
def test_order_batches_and_repetition_change_nothing(name):
    lm = language_model(name)
    alone = np.concatenate([lm.read([query], "vocabulary") for query in QUERIES])
    np.testing.assert_allclose(
        lm.read([*QUERIES[::-1], QUERIES[0]], "vocabulary")[[3, 2, 1, 0, 4]], alone[[0, 1, 2, 3, 0]], atol=1e-4
    )


@pytest.mark.parametrize("name", READERS)
def test_the_vocabulary_has_the_text_of_each_token(name):
    lm = language_model(name)
    words = {word.strip() for word in lm.vocabulary}
    assert {"great", "the"} & words
    assert not any(word.startswith("##") for word in lm.vocabulary)
    special = set(lm.tokenizer.all_special_tokens)
    assert not special & words


def test_a_one_token_word_scores_what_the_vocabulary_says():
    lm = language_model("bert")
    word = next(w for w in ("great", "the", "it") if w in lm.vocabulary)
    query = Query("It was ", (word,), ".")
    said = lm.read([query], "vocabulary")[0, lm.vocabulary.index(word)]
    assert said == pytest.approx(lm.loglikelihoods([query])[0].logprobs[0], abs=1e-5)


def test_which_models_are_readers():
    assert all(is_reader(language_model(name)) for name in READERS)
    assert not is_reader(language_model("nli"))
    with pytest.raises(ValueError, match=r"what must be 'vocabulary' or 'hidden'\. Got 'attention'"):
        language_model("bert").read(QUERIES, "attention")


def test_a_fake_reads_what_its_functions_say():
    lm = FakeLM(
        lambda query: [float(len(word)) for word in query.candidates],
        vocabulary=["a", "bbb"],
        hidden=lambda query: [1.0, len(query.prefix)],
    )
    np.testing.assert_allclose(np.exp(lm.read(QUERIES[:1], "vocabulary")).sum(), 1, atol=1e-6)
    assert lm.read(QUERIES[2:3], "hidden").tolist() == [[1.0, 6.0]]
    bare = FakeLM(lambda query: [0.0 for _ in query.candidates])
    with pytest.raises(UnsupportedError, match="has no hidden states"):
        bare.read(QUERIES, "hidden")
    with pytest.raises(UnsupportedError, match="has no vocabulary"):
        bare.read(QUERIES, "vocabulary")


def test_a_remembered_model_is_asked_nothing_twice():
    asked = []
    lm = FakeLM(
        lambda query: asked.append(query) or [0.0 for _ in query.candidates],
        hidden=lambda query: asked.append(query) or [1.0],
    )
    remembered = RememberedLM(lm)
    for _ in range(2):
        scores = remembered.loglikelihoods([*QUERIES, QUERIES[0]])
        states = remembered.read(QUERIES, "hidden")
    assert len(scores) == len(QUERIES) + 1
    assert states.shape == (len(QUERIES), 1)
    assert len(asked) == 2 * len(QUERIES)
    assert remembered.fingerprint == lm.fingerprint
    assert remembered.kind == "causal"
