"""Models that were trained to find answers, against one forward pass a window, and the strategy that reads them."""

from __future__ import annotations

import copy
import functools
import inspect
import itertools
import pickle

import numpy as np
import pytest
import torch
import transformers

from fewshot import (
    Classifier,
    FakeLM,
    InputError,
    ModelLoadError,
    Tagger,
    UnsupportedError,
    adapt,
    gallery,
    load,
    select_template,
)
from fewshot.errors import ParameterError
from fewshot.models.answering import AnswerScores
from fewshot.models.base import is_encoder, is_language_model, kind_of
from fewshot.persistence.classes import rebuild, take_state
from fewshot.persistence.folder import Kept, write_folder
from fewshot.persistence.models import Found, Models, Reach, as_loadable
from fewshot.persistence.weights import Weights
from fewshot.strategies.reading_answers import ReadAnswers
from fewshot.task.extracts import Asked, ExtractTask
from fewshot.task.words import split_words
from tests import architectures
from tests.conftest import SMALL, tokenizer

TEXTS = [
    "The invoice of May 5 was paid twice by Ada's bank; the refund is 40% of $12.50.",
    "Who wrote the app? The Team Lovelace, in 東京, did (naïvely).  It   crashes 😀 often.",
    "Refund.",
]
LONG = " ".join(
    f"Parcel {i} was sent to {name} by card, and the log of error {i} is on page {i}."
    for i, name in enumerate(["Ada", "Bob", "the team", "nobody", "Grace Hopper", "a bank", "us", "you", "them"])
)
QUESTIONS = ["Who paid the invoice?", "Where?", "What is on page 7 of the log?"]


@functools.cache
def with_pairs(name: str):
    """A tokenizer with the special tokens around a pair that such models have."""
    from tokenizers import processors

    if name in ("WordPiece", "RoBERTa", "byte-level BPE"):
        return tokenizer(name)
    made = copy.deepcopy(tokenizer("Unigram"))
    cls, sep = "<extra_id_0>", "</s>"
    made.cls_token, made.sep_token = cls, sep
    single, pair = {
        "Unigram, DeBERTa": (f"{cls} $A {sep}", f"{cls} $A {sep} $B:1 {sep}:1"),
        "Unigram, XLM-R": (f"{cls} $A {sep}", f"{cls} $A {sep} {sep} $B {sep}"),
        "Unigram, XLNet": (f"$A {sep} {cls}:2", f"$A {sep} $B:1 {sep}:1 {cls}:2"),
        "Unigram, T5": (f"$A {sep}", f"$A {sep} $B {sep}"),
    }[name]
    special = [(token, made.convert_tokens_to_ids(token)) for token in (cls, sep)]
    made.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=single, pair=pair, special_tokens=special
    )
    if name.endswith("T5"):
        made.cls_token = None
    if name.endswith("XLNet"):
        made.padding_side = "left"
    made.model_input_names = ["input_ids", "token_type_ids", "attention_mask"]
    made.model_max_length = 64
    return made


ARCHITECTURES = {
    "bert": "WordPiece",
    "distilbert": "WordPiece",
    "electra": "WordPiece",
    "mpnet": "WordPiece",
    "roberta": "RoBERTa",
    "longformer": "RoBERTa",
    "bart": "RoBERTa",
    "gpt2": "byte-level BPE",
    "albert": "Unigram, DeBERTa",
    "deberta-v2": "Unigram, DeBERTa",
    "xlm-roberta": "Unigram, XLM-R",
    "xlnet": "Unigram, XLNet",
    "t5": "Unigram, T5",
}


@functools.cache
def model(name: str):
    tokens = with_pairs(ARCHITECTURES[name])
    config = architectures.config(name, tokens)
    if name in ("roberta", "longformer", "xlm-roberta"):  # their positions begin after the padding token
        config.pad_token_id, config.max_position_embeddings = 1, 130
    torch.manual_seed(0)
    made = architectures.spread(transformers.AutoModelForQuestionAnswering.from_config(config))
    return load((made, tokens))


def brute_force(lm, question, context, max_words, dtype=torch.float32):
    """Spans and scores by the model's own forward pass over each window alone, tokenised by transformers."""
    net = lm.model if dtype == torch.float32 else copy.deepcopy(lm.model).to(dtype)
    tokens, first = lm.tokenizer, lm.tokenizer.padding_side == "right"
    pair = (question, context) if first else (context, question)
    encoding = tokens(*pair, return_offsets_mapping=True, return_token_type_ids=True, truncation=False)
    own = [i for i, which in enumerate(encoding.sequence_ids()) if which == int(first)]
    before, after = slice(own[0]), slice(own[-1] + 1, None)
    size = lm.limit - (len(encoding.input_ids) - len(own))
    last = max(0, len(own) - size)
    takes = set(inspect.signature(lm.model.forward).parameters) & set(tokens.model_input_names)
    if getattr(lm.model.config, "type_vocab_size", 9) < 2:
        takes -= {"token_type_ids"}
    word_starts = {start: i for i, (start, _) in enumerate(split_words(context))}
    word_ends = {end: i for i, (_, end) in enumerate(split_words(context))}
    spans, none = {}, np.inf
    for begin in sorted({*range(0, last, max(1, size // 2)), last}):
        part = own[begin : begin + size]
        rows = {
            key: torch.tensor([values[before] + [values[i] for i in part] + values[after]])
            for key, values in encoding.items()
            if key in takes
        }
        with torch.inference_mode():
            out = net(**rows)
        starts, ends = out.start_logits[0].double().numpy(), out.end_logits[0].double().numpy()
        ids = rows["input_ids"][0].tolist()
        at = next((ids.index(one) for one in (tokens.cls_token_id, tokens.bos_token_id) if one in ids), 0)
        none = min(none, starts[at] + ends[at])
        first, last = [], []
        for place, i in enumerate(part):
            start, end = encoding.offset_mapping[i]
            start += len(context[start:end]) - len(context[start:end].lstrip())
            if start < end:  # no blank
                first += [(word_starts[start], start, place)] if start in word_starts else []
                last += [(word_ends[end], end, place)] if end in word_ends else []
        for (from_word, start, i), (to_word, end, j) in itertools.product(first, last):
            if 0 <= to_word - from_word < max_words:
                score = starts[before.stop + i] + ends[before.stop + j]
                spans[start, end] = max(spans.get((start, end), -np.inf), score)
    return spans, none


def every_span(context, max_words):
    words = split_words(context)
    return [(words[i][0], words[j][1]) for i in range(len(words)) for j in range(i, min(len(words), i + max_words))]


def same(found: AnswerScores, context, max_words, expected, atol):
    spans, none = expected
    assert found.scores == pytest.approx([spans.get(one, -np.inf) for one in every_span(context, max_words)], abs=atol)
    assert found.none == pytest.approx(none, abs=atol)
    assert np.isfinite(found.scores).mean() > 0.5


def rounding(single, exact):
    """How far one window at a time in float32 is from float64."""
    return max(abs(single[1] - exact[1]), *(abs(single[0][span] - score) for span, score in exact[0].items()))


def scores(lm, questions, contexts, max_words=4):
    return lm.answer_scores(questions, contexts, [every_span(one, max_words) for one in contexts])


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_scores_are_those_of_one_window_at_a_time(name):
    lm = model(name)
    questions, contexts = zip(*[(QUESTIONS[i % 3], one) for i, one in enumerate([*TEXTS, LONG, TEXTS[0]])], strict=True)
    together = scores(lm, questions, contexts, 4)
    for question, context, found in zip(questions, contexts, together, strict=True):
        single, exact = (brute_force(lm, question, context, 4, dtype) for dtype in (torch.float32, torch.float64))
        # T5's own rounding is a thousand times that of the others
        same(found, context, 4, exact, atol=1e-6 + 2 * rounding(single, exact))


def test_a_span_that_no_token_spells_has_no_score():
    lm = model("bert")
    (found,) = lm.answer_scores(["Who?"], ["The refunds"], [[(0, 3), (1, 3), (0, 2), (3, 11), (0, 11)]])
    assert np.isfinite(found.scores).tolist() == [True, False, False, False, True]
    (found,) = lm.answer_scores(["Who?"], [LONG], [[(0, 6), (0, len(LONG))]])  # no window holds it whole
    assert np.isfinite(found.scores).tolist() == [True, False]
    (found,) = lm.answer_scores(["Who?"], ["The refunds"], [[]])
    assert found.scores.shape == (0,)


def test_windows_are_those_of_transformers():
    lm, question = model("roberta"), QUESTIONS[0]
    size = lm.limit - len(lm.tokenizer(question, "a").input_ids) + 1
    ends = lm.token_ends([LONG])[0]
    context = LONG[: ends[size + 2 * (size // 2) - 1]]  # the last window is as wide as the others
    (plan,) = lm._plan(0, [question], [context])
    theirs = lm.tokenizer(
        question, context, truncation="only_second", max_length=lm.limit, stride=size - size // 2,
        return_overflowing_tokens=True,
    )  # fmt: skip
    assert [list(ids) for ids, _ in plan.rows] == theirs.input_ids
    assert len(plan.rows) == 3


def test_a_folder_a_pair_and_a_pickle_are_the_same_model(tmp_path):
    lm = model("bert")
    lm.model.save_pretrained(tmp_path)
    lm.tokenizer.save_pretrained(tmp_path)
    read = load(tmp_path)
    assert type(read).__name__ == "ExtractiveModel"
    assert kind_of(read).name == read.kind == "extractive"
    assert not is_language_model(read)
    assert not is_encoder(read)
    assert load(lm) is lm
    expected = scores(lm, QUESTIONS, TEXTS, 3)
    for other in (
        read,
        pickle.loads(pickle.dumps(lm)),
        pickle.loads(pickle.dumps(read)),
        load(tmp_path, dtype="float32"),
    ):
        assert other.fingerprint == lm.fingerprint
        for one, two in zip(scores(other, QUESTIONS, TEXTS, 3), expected, strict=True):
            assert one.scores == pytest.approx(two.scores, abs=1e-5)
    load.cache_clear()


def test_other_weights_have_another_fingerprint():
    lm = model("bert")
    other = lm.around(architectures.spread(copy.deepcopy(lm.model)), None)
    assert other.fingerprint != lm.fingerprint


def test_a_model_without_two_logits_a_token_is_refused(monkeypatch):
    lm = model("bert")
    wrong = copy.deepcopy(lm.model)
    forward = wrong.forward
    monkeypatch.setattr(wrong, "forward", lambda **given: cut(forward(**given)))
    with pytest.raises(ModelLoadError, match=r"logits of shape \(1, 2, 3\), and not two a token"):
        load((wrong, lm.tokenizer))


def cut(out):
    out.start_logits, out.end_logits = out.start_logits[:, :3], out.end_logits[:, :3]
    return out


def test_weights_that_give_nan_are_named():
    lm = model("bert")
    broken = copy.deepcopy(lm.model)
    made = load((broken, lm.tokenizer))
    broken.qa_outputs.bias.data[:] = float("nan")
    with pytest.raises(UnsupportedError, match="NaN or infinite logits"):
        scores(made, QUESTIONS[:1], TEXTS[:1])


def test_an_architecture_that_looks_for_its_answers_itself_is_none_of_these():
    tokens = with_pairs("Unigram, XLNet")
    net = transformers.XLNetForQuestionAnswering(architectures.config("xlnet", tokens))
    with pytest.raises(ModelLoadError, match="'XLNetForQuestionAnswering' can't be used"):
        load((net, tokens))


@pytest.mark.parametrize(
    ("question", "context", "message"),
    [
        ("", "A text.", "Row 1: The question has no token"),
        ("Who?", " \n", "Row 1: The context has no token"),
        (
            "Who paid? " * 40,
            "A text.",
            r"Row 1: The question has \d+ tokens, and Ex.* reads 128 at once: less than half",
        ),
    ],
)
def test_what_can_not_be_read_is_named_with_its_row(question, context, message):
    with pytest.raises(InputError, match=message):
        scores(model("bert"), ["Who?", question], ["A text.", context])


@pytest.mark.parametrize("door", [Classifier, Tagger])
def test_doors_of_classes_refuse_it_and_name_the_extractor(door):
    message = rf"{door.__name__} needs a language model or an encoder. ExtractiveModel\(.*use Extractor"
    with pytest.raises(UnsupportedError, match=message):
        door(model("bert")).fit(None, ["person", "place"])


def test_what_takes_a_template_refuses_it():
    with pytest.raises(UnsupportedError, match=r"lint needs a language model .* use Extractor"):
        gallery.get("generic/causal").lint(model("bert"), ["A text."], ["good", "bad"])
    with pytest.raises(UnsupportedError, match=r"select_template needs a language model .* use Extractor"):
        select_template(["generic/causal"], ["A text."], model=model("bert"), verbalizer=["good", "bad"])
    with pytest.raises(UnsupportedError, match="Only masked and causal language models learn"):
        adapt(model("bert"), ["A text."])


def test_a_kept_folder_holds_it_and_gives_it_back(tmp_path):
    lm = model("bert")
    with write_folder(tmp_path / "kept", overwrite=False) as folder:
        models = Models(Weights(folder))
        places = [models.add(as_loadable(one), "Extractor.model_") for one in (lm, (lm.model, lm.tokenizer))]
    assert places == [0, 0]
    (entry,) = models.entries
    assert (entry["class"], entry["kept"]) == ("ExtractiveModel", "folder")
    found = Found(Kept(tmp_path / "kept"), models.entries, (), transformers.__version__, Reach()).get(0)
    assert found.fingerprint == lm.fingerprint
    for one, two in zip(scores(found, QUESTIONS, TEXTS, 3), scores(lm, QUESTIONS, TEXTS, 3), strict=True):
        assert np.allclose(one.scores, two.scores, atol=1e-5)


# the strategy


class Said:
    """A model that gives what it was told."""

    fingerprint = "said"

    def __init__(self, found):
        self.found = found

    def answer_scores(self, questions, contexts, places):
        return [self.scores(*asked) for asked in zip(questions, places, strict=True)]

    def scores(self, question, places):
        known, none = self.found[question]
        return AnswerScores(np.array([known.get(place, -np.inf) for place in places]), none)


def said(places, numbers, none):
    return dict(zip(places, numbers, strict=True)), none


def fitted(lm, asked=(), golds=(), **parameters):
    return ReadAnswers(**parameters).fit_answers(ExtractTask(asked, golds, max_words=3), lm)


def ask(question, context="Ada met Bob, and Ada left."):
    return Asked(question, context, {})


def test_probabilities_are_shares_and_equal_texts_are_one_answer_at_the_better_place():
    lm = Said({"q": said([(0, 3), (8, 11), (17, 20)], [1.0, 2.0, 3.0], 0.5)})
    (found,) = fitted(lm).answer_readings([ask("q")])
    weights = np.exp([1.0, 2.0, 3.0, 0.5])
    assert found.places == [(8, 11), (17, 20)]
    assert np.exp(found.log_probabilities) == pytest.approx([weights[1], weights[0] + weights[2]] / weights.sum())
    assert np.exp(found.none) == pytest.approx(weights[3] / weights.sum())
    assert found.rest == -np.inf


def test_of_equally_probable_places_of_a_text_the_first_is_taken():
    lm = Said({"q": said([(0, 3), (17, 20)], [1.0, 1.0], 0.5)})
    assert fitted(lm).answer_readings([ask("q")])[0].places == [(0, 3)]


def test_no_answer_is_asked_for_unless_every_example_has_one():
    lm = Said({"q": said([(0, 3)], [1.0], 1.0)})
    assert fitted(lm).none_
    assert fitted(lm, [ask("q")], [[]]).none_
    assert not fitted(lm, [ask("q")], [[(0, 3)]]).none_
    assert fitted(lm, [ask("q")], [[(0, 3)]], none=True).none_
    without = fitted(lm, none=False)
    (found,) = without.answer_readings([ask("q")])
    assert (found.none, found.log_probabilities.tolist()) == (-np.inf, [0.0])


def test_the_offset_makes_as_many_without_an_answer_as_there_are():
    rng = np.random.RandomState(0)
    odds = rng.normal(4.0, 2.0, 30)
    lm = Said({str(i): said([(0, 3), (8, 11)], [0.0, 1.0], odd) for i, odd in enumerate(odds)})
    asked = [ask(str(i)) for i in range(30)]
    golds = [[] if i % 3 else [(0, 3)] for i in range(30)]
    strategy = fitted(lm, asked, golds)
    none = [np.exp(one.none) for one in strategy.answer_readings(asked)]
    # one more of either kind, which is as probable as not before the offset
    pseudo = 2 / (1 + np.exp(-strategy.offset_))
    assert sum(none) + pseudo == pytest.approx(20 + 1)
    assert fitted(lm, asked, [[]] * 30).offset_ == 0.0


def test_a_text_without_a_span_has_no_answer():
    lm = Said({"q": said([], [], 1.0), "r": said([(0, 3)], [1.0], 0.0), "s": said([(0, 3)], [1.0], 3.0)})
    strategy = fitted(lm, [ask("q"), ask("r"), ask("s")], [[], [(0, 3)], []])
    assert np.isfinite(strategy.offset_)
    (found,) = strategy.answer_readings([ask("q")])
    assert found.find() == (None, 1.0)
    (found,) = fitted(lm, none=False).answer_readings([ask("q")])
    assert found.top(2) == []


def test_another_model_is_refused():
    lm = FakeLM(lambda query: [0.0])
    with pytest.raises(UnsupportedError, match=r"ReadAnswers needs a model .* FakeLM\(.*\) \(causal\) was not"):
        fitted(lm)
    with pytest.raises(ParameterError, match="none must be 'auto', True or False"):
        fitted(model("bert"), none="yes")


def test_it_is_kept_and_what_no_fit_leaves_is_refused():
    strategy = fitted(model("bert"))
    state = take_state(strategy)
    again = rebuild("ReadAnswers", state)
    asked = [ask(QUESTIONS[0], TEXTS[0])]
    assert again.answer_readings(asked)[0].top(5) == strategy.answer_readings(asked)[0].top(5)
    for name, value in {"offset_": float("inf"), "none_": "yes", "max_words_": 0}.items():
        with pytest.raises(InputError, match="ReadAnswers"):
            rebuild("ReadAnswers", {**state, name: value})
    rebuild("ReadAnswers", {"none": True})


def test_what_a_model_was_trained_to_find_is_found_where_it_stands():
    """A tiny model learns eight answers by heart, one of them in windows, and gives their very places."""
    tokens, names = tokenizer("WordPiece"), ["Ada", "Bob Page", "the team", "", "Grace", "a bank", "us", "you"]
    contexts = [f"{TEXTS[i % 2]} Case {i} is of {name}, as the log says." for i, name in enumerate(names)]
    contexts[1] += LONG
    firsts = [context.index(" is of ") + 7 for context in contexts]
    golds = [(start, start + len(name)) if name else None for start, name in zip(firsts, names, strict=True)]
    torch.manual_seed(0)
    config = transformers.BertConfig(vocab_size=len(tokens), max_position_embeddings=128, **SMALL)
    net = transformers.BertForQuestionAnswering(config).eval()
    lm = load((net, tokens))
    rows, targets = [], []
    for plan, gold in zip(lm._plan(0, ["Whose?"] * 8, contexts), golds, strict=True):
        edges = gold and tuple(bound.tolist().index(place) for bound, place in zip(plan.bounds, gold, strict=True))
        for window, row in zip(plan.windows, plan.rows, strict=True):
            inside = edges and window.start <= edges[0] and edges[1] < window.stop
            targets.append([token - window.start + plan.start for token in edges] if inside else [0, 0])
            rows.append(row)
    assert len(rows) > 9
    optimizer = torch.optim.AdamW(net.parameters(), lr=5e-3)
    for _ in range(60):
        loss = torch.nn.functional.cross_entropy(lm._logits(rows).transpose(1, 2), torch.tensor(targets))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1
    readings = fitted(lm).answer_readings([ask("Whose?", context) for context in contexts])
    assert [one.find()[0] for one in readings] == golds
