"""CompletionsLM against a real llama-server on loopback: as exact as the same weights here."""

from __future__ import annotations

import numpy as np
import pytest

from fewshot import (
    CachedLM,
    CausalLM,
    Classifier,
    FakeLM,
    Prompting,
    Query,
    ServerError,
    Verbalizer,
    estimate,
    load,
)
from tests import ggufs
from tests.conftest import tokenizer
from tests.llama_servers import WHY_NOT, start

pytest.importorskip("xllamacpp", reason=WHY_NOT)
pytest.importorskip("gguf", reason="the gguf extra is not installed")
pytestmark = pytest.mark.filterwarnings("ignore::fewshot.errors.LabelMassWarning", "ignore:.*name no class")

NATS = 0.01
CLASSES = ["billing", "bug report", "praise"]
TEXTS = ["I was charged twice.", "It crashes.", "I love it.", "Naïve 漢字 <|im_end|> 😀"]
QUERIES = [
    Query("I loved it. It was ", ("great", "terrible", "very good"), "."),
    Query("I loved it. It was ", ("great", "terrible", "greatest")),
    Query("Is it 1 or 12? ", ("1", "12")),
    Query("naïve 漢字 <|im_end|> 😀 ", ("bug", "billing")),
    Query("", ("a", "b")),
]
TOKENS = ["byte-level BPE, chat", "SentencePiece BPE"]


@pytest.fixture(scope="module", params=TOKENS)
def both(request, tmp_path_factory):
    """The same weights on a server and here."""
    file = ggufs.write(tmp_path_factory.mktemp("gguf") / "tiny.gguf", tokens=request.param)
    server = start(file)
    there = load(f"{server.listening_address}/v1", model="tiny", tokenizer=file)
    yield there, CausalLM(ggufs.tiny("llama", request.param), tokenizer(request.param))
    del server


def alike(found, expected):
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one.logprobs, other.logprobs, atol=NATS)
        assert one.n_tokens.tolist() == other.n_tokens.tolist()
        assert one.mass == pytest.approx(other.mass, abs=NATS)


def test_scores_are_those_of_the_same_weights_here(both):
    there, here = both
    alike(there.loglikelihoods([*QUERIES, *QUERIES]), here.loglikelihoods([*QUERIES, *QUERIES]))
    assert there.lengths(QUERIES).tolist() == here.lengths(QUERIES).tolist()
    assert there.limit == here.limit == 256
    assert there.dialect.name == "llama.cpp"


def test_chat_and_plain(both):
    there, here = both
    assert there.chat == here.chat
    alike(there.with_chat(False).loglikelihoods(QUERIES), here.with_chat(False).loglikelihoods(QUERIES))


def test_texts_are_written_alike(both):
    there, here = both
    assert there.generate(QUERIES, 8) == here.generate(QUERIES, 8)


def test_the_server_writes_no_further_than_a_stop_text(both):
    lm, here = both
    whole = here.generate(QUERIES, 12)
    stop = next(
        text[i] for text in whole for i in range(1, 9) if text[i : i + 1].isascii() and text[i : i + 1].isalpha()
    )
    written = lm.usage.output_tokens
    assert lm.generate(QUERIES, 12) == whole
    of_whole = lm.usage.output_tokens - written
    assert lm.generate(QUERIES, 12, stop=[stop]) == here.generate(QUERIES, 12, stop=[stop]) != whole
    assert lm.usage.output_tokens - written - of_whole < of_whole


@pytest.mark.parametrize(
    "strategy",
    [
        Prompting(),
        Prompting(shots=2),
        Prompting(shots=1, calibration="contextual"),
        Prompting(read="generate", max_new_tokens=4),
    ],
    ids=["zero-shot", "few-shot", "calibrated", "generated"],
)
def test_a_classifier_end_to_end(both, strategy):
    here, there = (
        Classifier(model, strategy=strategy, random_state=0).fit(TEXTS[:3], CLASSES).predict_proba(TEXTS)
        for model in both
    )
    np.testing.assert_allclose(there, here, atol=NATS)


def test_labels_that_are_letters(both):
    here, there = (
        Classifier(m, "generic/letters", strategy=Prompting(shots=1, orders=2), random_state=0).fit(TEXTS[:3], CLASSES)
        for m in both
    )
    np.testing.assert_allclose(there.predict_proba(TEXTS), here.predict_proba(TEXTS), atol=NATS)


def test_several_labels_of_a_text(both):
    words = Verbalizer({"billing": "billing", "praise": "praise"}, multi_label=True)
    here, there = (Classifier(model, verbalizer=words).fit().predict_proba(TEXTS) for model in both)
    np.testing.assert_allclose(there, here, atol=NATS)


def test_prompts_are_cut_to_the_servers_window(both):
    there, here = both
    long = ["I was charged twice. " * 60, "It crashes. " * 80]
    template = "{{ text | shorten }}\nIt is about {{ label }}."
    with pytest.warns(UserWarning, match="rows were cut"):
        found, expected = (Classifier(m, template).fit(None, CLASSES).predict_proba(long) for m in (there, here))
    np.testing.assert_allclose(found, expected, atol=NATS)
    with pytest.raises(ServerError, match=r"refuses: 400 request .* exceeds the available context size"):
        there.loglikelihoods([Query(long[0], ("a", "b"))])


def test_an_estimate_is_what_is_asked(both):
    there, _ = both
    clf = Classifier(there, strategy=Prompting()).fit(None, CLASSES)
    said, before = estimate(clf, TEXTS), there.usage
    clf.predict(TEXTS)
    now = there.usage
    asked = (said.requests, said.input_tokens, said.output_tokens)
    assert asked == (
        now.requests - before.requests,
        now.input_tokens - before.input_tokens,
        now.output_tokens - before.output_tokens,
    )


def test_a_cache_asks_nothing_twice(both, tmp_path):
    there, here = both
    alike(CachedLM(there, tmp_path / "scores").loglikelihoods(QUERIES), here.loglikelihoods(QUERIES))
    lm = CachedLM(there, tmp_path / "scores", strict=True)
    n = there.usage.requests
    alike(lm.loglikelihoods(QUERIES), here.loglikelihoods(QUERIES))
    assert there.usage.requests == n


def test_the_probe_sees_another_tokenizer(both):
    there, _ = both
    others = [
        tokenizer(name) for name in TOKENS if tokenizer(name)("naïve").input_ids != there.tokenizer("naïve").input_ids
    ]
    lm = load(there.connection.root, model="tiny", tokenizer=others[0])
    with pytest.raises(ServerError, match="the server's tokenizer is another one"):
        lm.loglikelihoods(QUERIES)


def test_several_slots_and_threads_give_the_same(tmp_path):
    file = ggufs.write(tmp_path / "tiny.gguf", tokens=TOKENS[0])
    server = start(file, slots=4)
    lm = load(server.listening_address, model="tiny", tokenizer=file, concurrency=8)
    queries = [Query(f"Text {i}: it is ", ("great", "terrible", "very good")) for i in range(20)]
    here = CausalLM(ggufs.tiny("llama", TOKENS[0]), tokenizer(TOKENS[0]))
    alike(lm.loglikelihoods(queries), here.loglikelihoods(queries))
    assert lm.limit == 256


def test_a_float16_cache_explains_what_differs(tmp_path):
    """With keys and values in float16, as llama-server has them unless told, scores are still near."""
    file = ggufs.write(tmp_path / "tiny.gguf", tokens=TOKENS[0])
    server = start(file, kv="F16", flash=True)
    lm = load(server.listening_address, model="tiny", tokenizer=file)
    here = CausalLM(ggufs.tiny("llama", TOKENS[0]), tokenizer(TOKENS[0]))
    for one, other in zip(lm.loglikelihoods(QUERIES), here.loglikelihoods(QUERIES), strict=True):
        np.testing.assert_allclose(one.logprobs, other.logprobs, atol=0.1)


@pytest.mark.long
def test_a_real_language_model_agrees_but_for_its_activations(smol):
    """llama.cpp multiplies 4-bit weights by activations of 8 bits, so that scores differ more; choices do not."""
    from fewshot.models.embedded import find_causal

    file = find_causal()
    server = start(file, n_ctx=512)
    lm = load(server.listening_address, model="smollm2", tokenizer="embedded:causal")
    query = Query("The capital of France is", (" Paris", " London", " Rome"))
    [found], [expected] = (m.with_chat(False).loglikelihoods([query]) for m in (lm, smol))
    np.testing.assert_allclose(found.logprobs, expected.logprobs, atol=0.6)
    assert found.logprobs.argmax() == expected.logprobs.argmax() == 0


def test_other_models_have_no_estimate():
    from fewshot import UnsupportedError

    clf = Classifier(FakeLM(lambda query: [0.0 for _ in query.candidates])).fit(None, CLASSES)
    with pytest.raises(UnsupportedError, match=r"There is no cost to estimate: .* asks no server"):
        estimate(clf, TEXTS)
