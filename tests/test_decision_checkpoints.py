"""Checkpoints that are asked decisions give the probabilities of transformers' own pipeline."""

from __future__ import annotations

import copy
import json
import pickle
import warnings

import numpy as np
import pytest
import torch

from fewshot import (
    Classifier,
    FewshotWarning,
    InputError,
    LocalDecisionsLM,
    ModelLoadError,
    Prompting,
    PromptTooLongError,
    Query,
    ShortenedWarning,
    UnsupportedError,
    load,
)
from fewshot.models.base import Turn, kind_of
from fewshot.models.remote.planning import plan
from fewshot.models.remote.systemone import SYSTEM_ONE
from fewshot.persistence.safety import check_model_folder
from tests.conftest import SMALL, pair, spread

transformers = pytest.importorskip("transformers")
decision = pytest.importorskip("transformers.decision")

pytestmark = pytest.mark.filterwarnings("ignore::fewshot.errors.LabelMassWarning")  # the models are random
TOLERANCE = 1e-5
STATES = ("I was charged twice.", "It crashes on start, and <|im_end|> is in the log.", "  Thank you!\nLovely. ")
TEMPLATE = (
    "<|im_start|>system\nDecide.<|im_end|>\n<|im_start|>user\n{{ question.type }}: {{ question.instructions }}\n"
    "{% for o in question.options %}{{ question.labels[loop.index0] }}) {{ o }}"
    "{% if question.descriptions[loop.index0] %} is {{ question.descriptions[loop.index0] }}{% endif %}\n{% endfor %}"
    "Text: {{ state }}<|im_end|>\n<|im_start|>assistant\n<|mark|>"
)
SETTINGS = {
    "labels": {"noul": ["T", "F"], "choice": list("KLMNOP")},
    "temperature": {"noul": 0.5, "choice": 2.5},
    "noul_options": ["false", "true"],
}


def about(state, instructions, *candidates):
    return Query(instructions, candidates, "", (Turn("premise", state),))


QUERIES = [
    *(about(state, "Which team? ", "billing", "bugs: something is broken", "praise") for state in STATES),
    *(about(state, "Is the writer angry? ", "Yes", "No") for state in STATES),
    *(about(state, "Is the writer angry? ", "no: calm", "yes: shouting") for state in STATES),
    about(STATES[0], "Which letter? ", *"abcdef"),
    Query("It is ", ("good", "bad"), " as it is.", (Turn("system", "Judge."), Turn("premise", STATES[0]))),
]


@pytest.fixture(scope="module")
def chats(tmp_path_factory):
    """Folders of one chat model: as it is, and with settings and a template beside its weights."""
    model, tokens = pair("gpt2-decides")
    folders = {}
    for name in ("plain", "settings"):
        folders[name] = tmp_path_factory.mktemp(name)
        model.save_pretrained(folders[name])
        tokens.save_pretrained(folders[name])
    (folders["settings"] / "decision.json").write_text(json.dumps(SETTINGS))
    (folders["settings"] / "decision_template.jinja").write_text(TEMPLATE)
    return folders


def jev(**options):
    """A tiny model with a head for decisions, its logits spread so that an error shows."""
    torch.manual_seed(0)
    tokens = pair("gpt2-decides")[1]
    inner = transformers.LlamaConfig(
        vocab_size=len(tokens), max_position_embeddings=256, num_key_value_heads=2, **SMALL
    )
    model = transformers.JevForDecision(transformers.JevConfig(hidden_size=32, text_config=inner, **options))
    spread(model)
    from transformers.models.jev.configuration_jev import JEV_TEMPLATE

    model.decision_config = decision.DecisionConfig(
        temperature={"choice": 1.7, "noul": 0.6}, chat_template=JEV_TEMPLATE
    )
    return model.float().eval()


@pytest.fixture(scope="module")
def head(tmp_path_factory):
    folder = tmp_path_factory.mktemp("jev")
    jev(softcap=15.0).save_pretrained(folder)
    pair("gpt2-decides")[1].save_pretrained(folder)
    return folder


def oracle(folder, queries):
    """What the pipeline says of each query's candidates."""
    pipeline = transformers.pipeline("decision", model=str(folder), device="cpu")
    found = []
    for query in queries:
        (batch,) = plan([query], "m", SYSTEM_ONE, "m")
        body = SYSTEM_ONE.write_request(batch.request)
        (answer,) = pipeline({"state": body["state"], "questions": body["questions"]}).values()
        if answer["type"] == "noul":
            yes = [word.casefold().startswith("yes") for word in query.candidates]
            found.append([answer["noul"] if is_yes else 1 - answer["noul"] for is_yes in yes])
        else:
            found.append([answer["probabilities"][word.partition(": ")[0]] for word in query.candidates])
    return [np.array(one) for one in found]


def difference(lm, folder):
    expected = oracle(folder, QUERIES)
    assert max(np.ptp(p) for p in expected) > 0.1  # else an error would not show
    scores = lm.loglikelihoods(QUERIES)
    assert all((one.n_tokens == 1).all() for one in scores)
    return max(np.abs(np.exp(one.logprobs) - p).max() for one, p in zip(scores, expected, strict=True))


def test_a_chat_model_with_settings_decides_as_the_pipeline_does(chats):
    lm = load(chats["settings"])
    assert (type(lm), lm.kind, lm.limit) == (LocalDecisionsLM, "decision", 256)
    assert difference(lm, chats["settings"]) <= TOLERANCE


def test_a_chat_model_without_settings_decides_where_it_is_asked_to(chats):
    assert load(chats["plain"]).kind == "causal"
    lm = load(chats["plain"], decision=True)
    assert difference(lm, chats["plain"]) <= TOLERANCE
    assert all(0 < one.mass < 1 for one in lm.loglikelihoods(QUERIES))


def test_the_settings_change_the_answers_and_the_fingerprint(chats):
    with_, without = load(chats["settings"]), load(chats["plain"], decision=True)
    assert with_.fingerprint != without.fingerprint
    a, b = (lm.loglikelihoods(QUERIES[:1])[0].logprobs for lm in (with_, without))
    assert np.abs(a - b).max() > 0.01
    assert load(chats["settings"], decision=False).kind == "causal"


def test_a_head_decides_as_the_pipeline_does(head):
    lm = load(head)
    assert (type(lm), kind_of(lm).name, lm.limit) == (LocalDecisionsLM, "decision", 256)
    assert difference(lm, head) <= TOLERANCE
    assert all(np.isnan(one.mass) for one in lm.loglikelihoods(QUERIES))


def test_a_head_beside_the_weights_of_a_model_is_found(tmp_path):
    tokens = pair("gpt2-decides")[1]
    torch.manual_seed(0)
    config = transformers.Qwen2Config(
        vocab_size=len(tokens), max_position_embeddings=256, num_key_value_heads=2, **SMALL
    )
    base = transformers.Qwen2ForCausalLM(config)
    spread(base)
    base.save_pretrained(tmp_path)
    tokens.save_pretrained(tmp_path)
    from safetensors.torch import save_file

    save_file(
        {"proj.weight": torch.randn(12, 32), "proj.bias": torch.randn(12)},
        tmp_path / "head.safetensors",
        {"format": "pt"},
    )
    said = {"codes": list("ABCDEFGHIJKL"), "temperature": 1.3, "prompt": "d3"}
    (tmp_path / "decision_config.json").write_text(json.dumps(said))
    lm = load(tmp_path)
    assert lm.kind == "decision"
    assert difference(lm, tmp_path) <= TOLERANCE
    assert load(tmp_path, decision=False).kind == "causal"


def test_a_pair_decides_as_the_folder_does(chats, head):
    expected = load(chats["settings"]).loglikelihoods(QUERIES)
    model = transformers.AutoModelForCausalLM.from_pretrained(chats["settings"])
    tokens = transformers.AutoTokenizer.from_pretrained(chats["settings"])
    found = load((model, tokens), decision=True).loglikelihoods(QUERIES)
    for a, b in zip(expected, found, strict=True):
        np.testing.assert_allclose(a.logprobs, b.logprobs, atol=1e-6)
    model = transformers.AutoModelForDecision.from_pretrained(head)
    assert load((model, tokens)).loglikelihoods(QUERIES)[0].logprobs.shape == (3,)


def test_the_callers_tokenizer_is_left_as_it_is(chats):
    model, tokens = pair("gpt2-decides")
    before = len(tokens), tokens.backend_tokenizer.to_str()
    load((model, tokens), decision=True).loglikelihoods(QUERIES)
    assert (len(tokens), tokens.backend_tokenizer.to_str()) == before


def test_no_token_of_a_text_steers_the_model(chats):
    """The pipeline takes an added token that its template does not write for what it is."""
    lm = load(chats["settings"])
    (ids,) = (lm._prepared([about("a <think> b <|mark|> c", "Which? ", "x", "y")])[0].ids,)
    assert not {lm.plain.controls[token] for token in ("<think>", "</think>")} & set(ids)
    assert "a <think> b <|mark|> c" in lm.tokenizer.decode(ids)


def test_the_order_of_queries_and_their_neighbours_change_nothing(chats):
    lm = load(chats["settings"])
    together = lm.loglikelihoods(QUERIES)
    for query, scores in zip(reversed(QUERIES), reversed(together), strict=True):
        np.testing.assert_allclose(lm.loglikelihoods([query])[0].logprobs, scores.logprobs, atol=1e-5)


def test_more_options_than_there_are_labels_are_refused_by_name(chats, head):
    words = [f"w{i}" for i in range(27)]
    with pytest.raises(UnsupportedError, match=r"LocalDecisionsLM\(.*at most 26 options for a choice question, got 27"):
        load(chats["plain"], decision=True).loglikelihoods([about("A text.", "Which? ", *words)])
    with pytest.raises(UnsupportedError, match=r"reads at most 16 options of a choice question. Got 17"):
        load(head).loglikelihoods([about("A text.", "Which? ", *words[:17])])
    with pytest.raises(UnsupportedError, match="about a state"):
        load(head).loglikelihoods([Query("Which? ", ("x", "y"))])


def test_labels_that_are_no_single_tokens_are_refused_by_name(chats, tmp_path):
    with pytest.warns(FewshotWarning):  # that it is not single tokens shows only in what it is asked
        lm = load(_with_settings(chats, tmp_path, {"labels": {"choice": ["A long label", "B"]}, "odd": 1}))
    with pytest.raises(UnsupportedError, match=r"choice question\. The labels .* are not distinct single tokens"):
        lm.loglikelihoods([about("A text.", "Which? ", "x", "y")])


def _with_settings(chats, folder, said):
    model, tokens = pair("gpt2-decides")
    model.save_pretrained(folder)
    tokens.save_pretrained(folder)
    (folder / "decision.json").write_text(said if isinstance(said, str) else json.dumps(said))
    return folder


def test_settings_that_transformers_leaves_out_are_named(chats, tmp_path):
    said = {**SETTINGS, "class_prior": [0.5, 0.5], "temperature": {"chioce": 2.0}}
    with pytest.warns(FewshotWarning, match=r"sets class_prior, temperature.chioce, which transformers does not know"):
        load(_with_settings(chats, tmp_path, said))


@pytest.mark.parametrize(
    "said",
    [
        {"temperature": {"choice": 0}},
        {"temperature": {"choice": "warm"}},
        {"labels": ["A", "B"]},
        {"noul_options": ["yes", "no"]},
        [1],
    ],
    ids=str,
)
def test_settings_that_cannot_be_followed_are_refused(chats, tmp_path, said):
    with pytest.raises(ModelLoadError, match=r"decision\.json of"):
        load(_with_settings(chats, tmp_path, said))


def test_other_models_and_broken_folders_are_refused_by_name(chats, head, tmp_path):
    model = transformers.AutoModelForDecision.from_pretrained(head)
    model.decision_config.adapter = "lora"
    with pytest.raises(ModelLoadError, match="decides with the LoRA in 'lora'"):
        load((model, pair("gpt2-decides")[1]))
    with pytest.raises(ModelLoadError, match="leave decision=False out"):
        load(head, decision=False)
    with pytest.raises(ModelLoadError, match="MaskedLM takes no option 'decision'"):
        load(pair("bert"), decision=True)
    with pytest.raises(ModelLoadError, match="no chat template"):
        load(pair("gpt2"), decision=True)
    model, tokens = pair("bert")
    model.save_pretrained(tmp_path)
    tokens.save_pretrained(tmp_path)
    with pytest.raises(ModelLoadError, match="is a model of kind masked"):
        load(tmp_path, decision=True)
    assert load(pair("bert"), decision=False).kind == "masked"


def test_a_classifier_decides_and_is_kept(chats, head, tmp_path):
    for name, folder in (("settings", chats["settings"]), ("head", head)):
        clf = Classifier(load(folder)).fit(None, ["billing", "bugs", "praise"])
        expected = clf.predict_proba(STATES)
        np.testing.assert_allclose(expected.sum(axis=1), 1)
        clf.save(tmp_path / name)
        again = Classifier.load(tmp_path / name, follow_paths=True)
        np.testing.assert_array_equal(again.predict_proba(STATES), expected)
        np.testing.assert_array_equal(pickle.loads(pickle.dumps(clf)).predict_proba(STATES), expected)


def test_a_model_in_memory_is_kept_with_its_settings(chats, head, tmp_path):
    tokens = pair("gpt2-decides")[1]
    config = decision.DecisionConfig(temperature={"choice": 3.0})
    for name, lm in (
        ("chat", LocalDecisionsLM(copy.deepcopy(pair("gpt2-decides")[0]), tokens, config)),
        ("head", LocalDecisionsLM(jev(), tokens)),
    ):
        clf = Classifier(lm).fit(None, ["billing", "bugs", "praise"])
        clf.save(tmp_path / name)
        again = Classifier.load(tmp_path / name)
        np.testing.assert_allclose(again.predict_proba(STATES), clf.predict_proba(STATES), atol=1e-7)
        assert again.model_.config == lm.config


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"adapter": "../elsewhere"}, "names the LoRA '../elsewhere'"),
        ({"chat_template": "{{ state * 10**9 }}"}, "the chat template multiplies"),
    ],
)
def test_settings_of_a_strangers_folder_reach_nowhere(tmp_path, said, why):
    lm = LocalDecisionsLM(*pair("gpt2-decides"))
    lm.save_pretrained(str(tmp_path))
    files = [path.name for path in tmp_path.iterdir()]
    check_model_folder(tmp_path, files)
    file = tmp_path / "decision.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | said))
    with pytest.raises(InputError, match=why):
        check_model_folder(tmp_path, files)


def test_a_long_state_is_shortened_and_said_so(chats, head):
    for folder in (chats["settings"], head):
        clf = Classifier(load(folder)).fit(None, ["billing", "bugs"])
        with pytest.warns(ShortenedWarning):
            clf.predict(["word " * 500])
        asked = "{{ text }}\n" + "Which of them? " * 300 + "{{ label }}"  # what is asked is never cut
        with pytest.raises(PromptTooLongError):
            Classifier(load(folder), asked).fit(None, ["billing", "bugs"]).predict(["A text."])


def test_what_a_decision_model_cannot_do_is_refused(head):
    with pytest.raises(UnsupportedError, match="no place for shots=2"):
        Classifier(load(head), strategy=Prompting(shots=2)).fit(["a", "b"], ["x", "y"])
    with pytest.raises(UnsupportedError, match="generate"):
        Classifier(load(head), strategy=Prompting(read="generate")).fit(None, ["x", "y"])


def test_nothing_is_warned_of_where_all_is_well(chats):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load.cache_clear()
        load(chats["settings"]).loglikelihoods(QUERIES)
