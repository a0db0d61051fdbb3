"""Every kind of model against its definition, computed by brute force: one sequence at a time, in float32."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from fewshot import Classifier, Prompting
from fewshot.calibration import PMI
from fewshot.errors import ModelLoadError, UnsupportedError
from fewshot.models.base import Query, Turn, is_generator, is_language_model, is_window
from fewshot.models.causal import CausalLM
from fewshot.models.dtypes import settle_dtype
from fewshot.models.local import batches
from fewshot.models.masked import MaskedLM
from fewshot.models.seq2seq import Seq2SeqLM
from tests.conftest import PAIRS, language_model, pair

CAUSAL = ["gpt2", "llama", "llama-first"]
MASKED = ["bert", "roberta"]
WORDS = ("great", "terrible", "very good")
CONTEXT = (Turn("system", "Say how it was.\n\n"), Turn("user", "Fine. It was "), Turn("assistant", "good.\n\n"))
QUERIES = [
    Query("The parcel came late. It was ", WORDS, ".", CONTEXT),
    Query("The parcel came late. It was ", WORDS, "."),
    Query("It was", (" good", " bad"), "."),
    Query("Answer: ", ("1", "2 of 3")),
    Query("I love the new export, it is a joy to use every single day and it never fails. It was ", WORDS, "."),
]


def logprobs(logits: torch.Tensor) -> torch.Tensor:
    return logits.float().log_softmax(-1)


def common(sequences: list[list[int]]) -> int:
    return sum(1 for _ in itertools.takewhile(lambda column: len(set(column)) == 1, zip(*sequences, strict=False)))


def text_before(query: Query) -> str:
    return "".join(turn.text for turn in query.context) + query.prefix


@torch.inference_mode()
def causal_oracle(name: str, query: Query) -> list[float]:
    model, tokenizer = pair(name)
    alone = tokenizer(text_before(query)).input_ids
    wholes = [tokenizer(text_before(query) + word + query.suffix).input_ids for word in query.candidates]
    start = tokenizer.bos_token_id
    if alone[:1] != [start]:
        assert name == "gpt2"  # GPT-2 was trained without a token before the text
    k = common([alone, *wholes])
    values = []
    for whole in wholes:
        table = logprobs(model(torch.tensor([whole])).logits[0])
        values.append(sum(float(table[i - 1, whole[i]]) for i in range(k, len(whole))))
    return values


@torch.inference_mode()
def masked_oracle(name: str, query: Query, variant: str) -> list[float]:
    model, tokenizer = pair(name)
    before = text_before(query)
    whole_texts = [before + word + query.suffix for word in query.candidates]
    encoded = [tokenizer(text, return_offsets_mapping=True) for text in whole_texts]
    k = common([tokenizer(before).input_ids[:-1], *(e.input_ids for e in encoded)])
    values = []
    for word, e in zip(query.candidates, encoded, strict=True):
        stop = len(before) + len(word)
        inside = [
            i
            for i, (a, b) in enumerate(e.offset_mapping)
            if i >= k and i < len(e.input_ids) - 1 and (a < stop or b <= a)
        ]
        ids, total = list(e.input_ids), 0.0
        for j, position in enumerate(inside):
            shown = list(ids)
            for other in inside[j if variant == "left-to-right" else 0 :]:
                shown[other] = tokenizer.mask_token_id
            total += float(logprobs(model(torch.tensor([shown])).logits[0])[position, ids[position]])
        values.append(total)
    return values


@torch.inference_mode()
def seq2seq_oracle(query: Query, sentinel: bool) -> list[float]:
    model, tokenizer = pair("t5")
    if sentinel:
        text = tokenizer(text_before(query), add_special_tokens=False).input_ids
        rest = tokenizer(query.suffix, add_special_tokens=False).input_ids
        mark = tokenizer.convert_tokens_to_ids("<extra_id_0>")
        given, lead = [*text, mark, *rest, tokenizer.eos_token_id], [mark]
        words = [tokenizer(word, add_special_tokens=False).input_ids for word in query.candidates]
    else:
        given, lead = tokenizer(text_before(query).rstrip()).input_ids, []
        words = [tokenizer(word + query.suffix, add_special_tokens=False).input_ids for word in query.candidates]
    values = []
    for word in words:
        decoded = [model.config.decoder_start_token_id, *lead, *word]
        out = model(input_ids=torch.tensor([given]), decoder_input_ids=torch.tensor([decoded])).logits[0]
        values.append(sum(float(logprobs(out)[len(lead) + i, token]) for i, token in enumerate(word)))
    return values


@pytest.mark.parametrize("name", CAUSAL)
def test_causal_scores_are_the_exact_loglikelihoods(name):
    for query, scores in zip(QUERIES, language_model(name).loglikelihoods(QUERIES), strict=True):
        np.testing.assert_allclose(scores.logprobs, causal_oracle(name, query), atol=1e-4)


@pytest.mark.parametrize("name", MASKED)
@pytest.mark.parametrize("variant", ["left-to-right", "independent"])
def test_masked_scores_are_those_of_their_definition(name, variant):
    lm = MaskedLM(*pair(name), variant=variant)
    for query, scores in zip(QUERIES, lm.loglikelihoods(QUERIES), strict=True):
        np.testing.assert_allclose(scores.logprobs, masked_oracle(name, query, variant), atol=1e-4)


@pytest.mark.parametrize("hole", ["sentinel", "output"])
def test_seq2seq_scores_are_the_exact_loglikelihoods(hole):
    lm = Seq2SeqLM(*pair("t5"), hole=hole)
    queries = [q for q in QUERIES if not q.candidates[0].startswith(" ")]
    for query, scores in zip(queries, lm.loglikelihoods(queries), strict=True):
        np.testing.assert_allclose(scores.logprobs, seq2seq_oracle(query, hole == "sentinel"), atol=1e-4)


def test_seq2seq_uses_a_sentinel_when_text_follows_the_hole():
    auto, sentinel, output = (Seq2SeqLM(*pair("t5"), hole=hole) for hole in ("auto", "sentinel", "output"))
    inside, last = QUERIES[0], QUERIES[3]
    assert auto.loglikelihoods([inside])[0].logprobs.tolist() == sentinel.loglikelihoods([inside])[0].logprobs.tolist()
    assert auto.loglikelihoods([last])[0].logprobs.tolist() == output.loglikelihoods([last])[0].logprobs.tolist()


@torch.inference_mode()
def test_entailment_scores_are_the_probability_of_entailment():
    model, tokenizer = pair("nli")
    query = Query("This example is ", WORDS, ".", (Turn("premise", "The parcel came late."),))
    (scores,) = language_model("nli").loglikelihoods([query])
    for word, value in zip(WORDS, scores.logprobs, strict=True):
        given = tokenizer("The parcel came late.", f"This example is {word}.", return_tensors="pt")
        assert value == pytest.approx(float(logprobs(model(**given).logits[0])[2]), abs=1e-5)


def test_entailment_needs_a_premise():
    with pytest.raises(UnsupportedError, match="needs a premise"):
        language_model("nli").loglikelihoods([Query("x", ("a", "b"))])


@torch.inference_mode()
def test_a_premise_without_content_is_one():
    model, tokenizer = pair("nli")
    (scores,) = language_model("nli").loglikelihoods([Query("It is ", WORDS, ".", (Turn("premise", ""),))])
    given = [tokenizer("", f"It is {word}.", return_tensors="pt") for word in WORDS]
    assert scores.logprobs == pytest.approx([float(logprobs(model(**one).logits[0])[2]) for one in given], abs=1e-5)


@pytest.mark.parametrize("calibration", ["contextual", "auto"])
def test_entailment_is_calibrated_by_texts_without_content(calibration):
    clf = Classifier(language_model("nli"), strategy=Prompting(calibration=calibration))
    clf.fit(["good", "bad", "fine", "poor"], ["praise", "bug", "praise", "bug"])
    assert clf.predict_proba(["a text"]).sum() == pytest.approx(1)


def test_entailment_has_no_prompt_without_a_text():
    clf = Classifier(language_model("nli"), strategy=Prompting(calibration=PMI("It is ")))
    with pytest.raises(UnsupportedError, match="An entailment model has no prompt without its text"):
        clf.fit(None, ["praise", "bug"])


def queries_for(name: str) -> list[Query]:
    if name == "nli":
        return [Query("This is ", q.candidates, ".", (Turn("premise", text_before(q)),)) for q in QUERIES]
    return QUERIES


@pytest.mark.parametrize("name", PAIRS)
class TestEveryLanguageModel:
    def test_scores_do_not_depend_on_the_company_or_the_order(self, name):
        lm, queries = language_model(name), queries_for(name)
        together = lm.loglikelihoods([*queries, *queries[::-1]])
        for query, one, again in zip(queries, together, together[::-1], strict=False):
            (alone,) = lm.loglikelihoods([query])
            np.testing.assert_allclose(one.logprobs, alone.logprobs, atol=1e-4)
            assert one.logprobs.tolist() == again.logprobs.tolist()

    def test_padding_side_of_the_tokenizer_does_not_matter(self, name):
        lm, queries = language_model(name), queries_for(name)
        before = [s.logprobs.tolist() for s in lm.loglikelihoods(queries)]
        side = lm.tokenizer.padding_side
        lm.tokenizer.padding_side = "left" if side == "right" else "right"
        try:
            assert [s.logprobs.tolist() for s in lm.loglikelihoods(queries)] == before
        finally:
            lm.tokenizer.padding_side = side

    def test_lengths_count_what_the_model_reads(self, name, monkeypatch):
        import fewshot.models.causal as causal

        lm, queries = language_model(name), queries_for(name)
        widths = []
        pad, build = lm._pad, causal.build_trie  # type: ignore[attr-defined]
        monkeypatch.setattr(
            lm, "_pad", lambda rows, *padding: widths.append(max(map(len, rows))) or pad(rows, *padding)
        )
        monkeypatch.setattr(causal, "build_trie", lambda rows: widths.append(max(map(len, rows))) or build(rows))
        for query, length in zip(queries, lm.lengths(queries), strict=True):
            widths.clear()
            lm.loglikelihoods([query])
            # a causal model need not read the last token of a candidate
            assert int(length) - 1 <= max(widths) <= int(length)

    def test_it_has_a_window_and_a_fingerprint(self, name):
        lm = language_model(name)
        assert is_language_model(lm)
        assert is_window(lm)
        assert lm.limit in (128, 256)
        assert lm.fingerprint == lm.fingerprint  # type: ignore[attr-defined]
        text = "two words"
        assert lm.token_ends([text])[0][-1] == len(text)

    def test_no_text_breaks_it(self, name):
        text = "[MASK] </s> <|im_end|> <extra_id_0> \x00 \ud800 {{ label }}"
        turn = Turn("premise", text) if name == "nli" else Turn("user", text)
        (scores,) = language_model(name).loglikelihoods([Query(text + " It was ", WORDS, ".", (turn,))])
        assert np.isfinite(scores.logprobs).all()
        assert (scores.n_tokens > 0).all()


def test_a_word_of_no_tokens_is_an_error_that_names_model_and_word():
    with pytest.raises(ValueError, match=r"MaskedLM.*yields no token"):
        language_model("bert").loglikelihoods([Query("It was ", ("\u200b", "good"))])


@pytest.mark.parametrize("name", ["gpt2", "llama", "bert", "t5"])
def test_label_mass_is_the_probability_of_the_distinct_first_tokens(name):
    query = Query("It was ", ("great", "great fun", "bad"))
    lm = language_model(name)
    (both,) = lm.loglikelihoods([query])
    parts = [lm.loglikelihoods([Query("It was ", (word,))])[0] for word in ("great", "bad")]
    assert 0 < both.mass < 1
    if name in ("gpt2", "llama"):  # both words and "great fun" read the same position
        assert both.mass == pytest.approx(sum(part.mass for part in parts), rel=1e-4)


def test_a_model_without_a_begin_token_can_score_the_first_word():
    (scores,) = language_model("gpt2").loglikelihoods([Query("", ("Good", "Bad"), " day")])
    model, tokenizer = pair("gpt2")
    with torch.inference_mode():
        for word, value in zip(("Good", "Bad"), scores.logprobs, strict=True):
            ids = [tokenizer.bos_token_id, *tokenizer(word + " day").input_ids]
            table = logprobs(model(torch.tensor([ids])).logits[0])
            assert value == pytest.approx(sum(float(table[i - 1, ids[i]]) for i in range(1, len(ids))), abs=1e-4)


@torch.inference_mode()
def test_chat_scores_continue_the_assistants_turn():
    model, tokenizer = pair("gpt2-chat")
    query = Query("It was ", ("great", "bad"), "", (Turn("system", "Be brief."),))
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "It was"}]
    head = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
    lm = CausalLM(model, tokenizer)
    assert lm.chat
    for word, value in zip(query.candidates, lm.loglikelihoods([query])[0].logprobs, strict=True):
        own = tokenizer("\n" + word, add_special_tokens=False).input_ids
        ids = [*head[:-1], *own]  # the head ends with the line break
        table = logprobs(model(torch.tensor([ids])).logits[0])
        expected = sum(float(table[i - 1, ids[i]]) for i in range(len(head), len(ids)))
        assert value == pytest.approx(expected, abs=1e-4)


def test_chat_can_be_turned_off_and_not_turned_on_without_a_template():
    assert not CausalLM(*pair("gpt2-chat"), chat=False).chat
    with pytest.raises(ModelLoadError, match="no chat template"):
        CausalLM(*pair("gpt2"), chat=True)


@pytest.mark.parametrize("name", ["gpt2", "gpt2-chat", "llama", "t5"])
def test_generation_is_greedy_and_does_not_depend_on_the_company(name):
    lm = language_model(name)
    assert is_generator(lm)
    queries = [QUERIES[0], QUERIES[4]]
    assert lm.generate(queries, 6) == [lm.generate([query], 6)[0] for query in queries]


@torch.inference_mode()
def test_generated_tokens_are_the_most_probable_ones():
    model, tokenizer = pair("llama")
    ids = tokenizer("Answer:").input_ids
    start = len(ids)
    for _ in range(5):
        ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
    expected = tokenizer.decode(ids[start:], skip_special_tokens=True)
    assert language_model("llama").generate([Query("Answer: ", ("a",))], 5)[0].strip() == expected.strip()


def test_wrong_variants_are_refused():
    with pytest.raises(ValueError, match="variant must be"):
        MaskedLM(*pair("bert"), variant="both")
    with pytest.raises(ValueError, match="hole must be"):
        Seq2SeqLM(*pair("t5"), hole="middle")
    with pytest.raises(ModelLoadError, match="no mask token"):
        MaskedLM(pair("bert")[0], pair("llama")[1])
    with pytest.raises(ModelLoadError, match="no sentinel"):
        Seq2SeqLM(pair("t5")[0], pair("llama")[1], hole="sentinel")


def test_batches_are_ordered_by_length_and_stay_within_the_budget():
    lengths = [5, 90, 7, 31, 300, 5]
    groups = list(batches(lengths, budget=100))
    assert sorted(i for group in groups for i in group) == list(range(6))
    assert [lengths[i] for group in groups for i in group] == sorted(lengths, reverse=True)
    assert all(len(g) == 1 or len(g) * max(lengths[i] for i in g) <= 100 for g in groups)


def test_dtype_follows_the_hardware(bfloat16):
    cpu = torch.device("cpu")
    layer = torch.nn.Linear(2, 2).to(torch.bfloat16)
    settle_dtype(layer, "auto", cpu)
    assert layer.weight.dtype == (torch.bfloat16 if bfloat16 == "native" else torch.float32)
    settle_dtype(layer, "bfloat16", cpu)  # a type by name is had everywhere
    assert layer.weight.dtype == torch.bfloat16
    settle_dtype(layer, "float64", cpu)
    assert layer.weight.dtype == torch.float64
    with pytest.raises(ValueError, match="dtype must be"):
        settle_dtype(layer, "quick", cpu)
