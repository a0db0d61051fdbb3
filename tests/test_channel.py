"""Channel: the probability of the text given the label, against sums over the text's tokens in plain loops."""

from __future__ import annotations

import re
import zlib

import numpy as np
import pytest
from sklearn.base import clone

from fewshot import (
    Classifier,
    FakeLM,
    InputError,
    PromptTooLongError,
    ShortenedWarning,
    Template,
    TemplateError,
    UnsupportedError,
    Verbalizer,
)
from fewshot.strategies.channel import Channel
from tests.conftest import language_model, pair
from tests.contract import HashEncoder

SOURCE = "A {{ label }} review: {{ text }}"
WORDS = {"neg": "awful", "pos": "lovely"}
SUITS = {"awful": ("dull", "sad", "grey"), "bad": ("rain", "sad"), "lovely": ("fun", "joy", "sun"), "good": ("sun",)}
TEXTS = ["so much fun and joy", "dull and grey", "a sad dull day", "joy in the sun"]
MOODS = ["pos", "neg", "neg", "pos"]


def reading(query):
    """Reads word by word: a word is likelier where it suits the last label named, and where it was read before."""
    before = "".join(turn.text for turn in query.context) + query.prefix
    label = re.findall(rf"\b({'|'.join(SUITS)})\b", before)[-1]
    return [sum(_step(word, label, before) for word in text.split()) for text in query.candidates]


def _step(word, label, before):
    return -3.0 + (word in SUITS[label]) + 0.1 * before.count(word) - zlib.crc32(f"{word}{label}".encode()) / 2**32


class Recording(FakeLM):
    """Keeps every call."""

    def __init__(self, f=reading, **params):
        super().__init__(f, **params)
        self.calls = []

    def loglikelihoods(self, queries):
        self.calls.append(list(queries))
        return super().loglikelihoods(queries)


def classifier(lm=None, source=SOURCE, words=WORDS, **params):
    return Classifier(lm or FakeLM(reading), source, words, Channel(**params), random_state=0)


def softmax(scores):
    shares = np.exp(scores - np.max(scores, axis=-1, keepdims=True))
    return shares / shares.sum(axis=-1, keepdims=True)


class TestFormula:
    def test_zero_shot(self):
        wanted = []
        for text in TEXTS:
            steps = [[_step(word, label, f"A {label} review: ") for word in text.split()] for label in WORDS.values()]
            wanted.append([sum(one) for one in steps])
        clf = classifier().fit()
        assert np.allclose(clf.predict_proba(TEXTS), softmax(wanted), atol=1e-12)
        assert clf.predict(TEXTS).tolist() == MOODS

    def test_demonstrations(self):
        clf = classifier(shots=2).fit(TEXTS, MOODS)
        shown = clf.strategy_.demonstrations_
        assert len(shown) == 2
        context = "".join(f"A {WORDS[MOODS[i]]} review: {TEXTS[i]}\n\n" for i in shown)
        text = "sad fun, joy"
        wanted = [
            sum(_step(word, label, f"{context}A {label} review: ") for word in text.split()) for label in WORDS.values()
        ]
        assert np.allclose(clf.predict_proba([text]), softmax([wanted]), atol=1e-12)

    @pytest.mark.parametrize("how", ["mean", "max", "logsumexp"])
    @pytest.mark.parametrize("tokens", ["sum", "mean"])
    def test_several_words_a_class(self, how, tokens):
        words = {"neg": ["awful", "bad"], "pos": ["lovely", "good"]}
        verbalizer = Verbalizer(words, word_aggregation=how, token_aggregation=tokens)
        combine = {"mean": np.mean, "max": np.max, "logsumexp": np.logaddexp.reduce}[how]
        wanted = []
        for text in TEXTS:
            n = len(text.split()) if tokens == "mean" else 1
            score = {
                word: sum(_step(w, word, f"A {word} review: ") for w in text.split()) / n
                for group in words.values()
                for word in group
            }
            wanted.append([combine([score[word] for word in group]) for group in words.values()])
        clf = classifier(words=verbalizer).fit()
        assert np.allclose(clf.predict_proba(TEXTS), softmax(wanted), atol=1e-12)

    def test_tokens_of_a_real_model(self):
        torch = pytest.importorskip("torch")
        model, tokenizer = pair("gpt2")
        texts = ["I was charged twice", "The app will crash"]
        clf = classifier(language_model("gpt2"), words={"a": "great", "b": "terrible"}).fit()
        wanted = np.empty((2, 2))
        for i, text in enumerate(texts):
            for j, word in enumerate(("great", "terrible")):
                before = f"A {word} review:"  # the blank belongs to the text's first token
                start = len(tokenizer(before).input_ids)
                ids = tokenizer(f"{before} {text}", return_tensors="pt").input_ids
                with torch.no_grad():
                    logs = model(ids).logits[0].log_softmax(-1)
                wanted[i, j] = sum(float(logs[t - 1, ids[0, t]]) for t in range(start, ids.shape[1]))
        assert np.allclose(clf.predict_proba(texts), softmax(wanted), atol=1e-5)


class TestQuestions:
    def ask(self, source=SOURCE, X=TEXTS, **params):
        lm = Recording()
        clf = classifier(lm, source, **params)
        clf.fit(*((TEXTS, MOODS) if params.get("shots") else ()))
        assert not lm.calls  # fit asks nothing
        clf.predict(X)
        (queries,) = lm.calls  # and prediction asks once
        return clf, queries

    def test_one_for_every_row_and_word_and_those_of_a_word_side_by_side(self):
        _, queries = self.ask()
        assert len(queries) == len(TEXTS) * 2
        assert [query.prefix for query in queries] == ["A awful review: "] * 4 + ["A lovely review: "] * 4
        assert {query.candidates for query in queries} == {(text,) for text in TEXTS}
        assert not any(query.suffix or query.context for query in queries)

    def test_the_same_text_is_asked_about_once(self):
        assert len(self.ask(X=TEXTS[:1] * 5)[1]) == 2

    def test_the_text_goes_from_the_first_field_to_the_end(self):
        source = "{{ label }} news.\nTitle: {{ title }}\nBody: {{ body }} END"
        _, queries = self.ask(source, [{"title": "sun", "body": "fun {{ label }}"}])
        assert queries[0].prefix == "awful news.\nTitle: "
        assert queries[0].candidates == ("sun\nBody: fun {{ label }} END",)

    def test_an_instruction_that_lists_the_words_stands_before_all(self):
        template = Template(SOURCE, instruction="Of {{ labels | join(', ') }}:")
        _, queries = self.ask(template)
        assert {query.context[0].text for query in queries} == {"Of awful, lovely:\n\n"}

    def test_a_demonstration_reads_as_its_template_and_its_turns_are_cut_like_the_question(self):
        clf, queries = self.ask(shots=4, X=["so so"])
        shown = [(TEXTS[i], WORDS[MOODS[i]]) for i in clf.strategy_.demonstrations_]
        (context,) = {query.context for query in queries}
        assert "".join(turn.text for turn in context) == "".join(t.text for t in Template(SOURCE).context(shown))
        assert [turn.text for turn in context if turn.role == "user"] == [f"A {word} review: " for _, word in shown]
        assert [turn.text for turn in context if turn.role == "assistant"] == [f"{text}\n\n" for text, _ in shown]

    def test_a_chat_model(self):
        lm = language_model("gpt2-chat")
        clf = classifier(lm, words={"a": "great", "b": "terrible"}, shots=1).fit(["fun", "dull"], ["a", "b"])
        assert np.isfinite(clf.predict_log_proba(["The app will crash"])).all()

    def test_a_row_does_not_depend_on_its_neighbours(self):
        clf = classifier(shots=2).fit(TEXTS, MOODS)
        alone = np.vstack([clf.predict_proba([text]) for text in TEXTS])
        assert np.array_equal(alone, clf.predict_proba(TEXTS))

    def test_preview(self):
        shown = str(classifier().fit().preview(["so much fun"]))
        assert "A ___ review: so much fun" in shown
        assert "candidates: awful, lovely" in shown


class TestWindow:
    def test_demonstrations_go_first_and_then_the_text_alike_for_all_words(self):
        lm = Recording(limit=10)
        clf = classifier(lm, shots=2).fit(TEXTS, MOODS)
        with pytest.warns(ShortenedWarning, match="1 of 1 rows were cut, by 13 tokens"):
            clf.predict(["fun " * 19 + "joy"])
        assert {query.candidates for query in lm.calls[0]} == {("fun fun fun fun fun fun fun",)}
        assert not any(query.context for query in lm.calls[0])

    @pytest.mark.filterwarnings("ignore:To fit the model")
    @pytest.mark.parametrize(("limit", "match"), [(3, "The prompt has 4 tokens"), (4, "what stands before the text")])
    def test_no_room_for_the_text(self, limit, match):
        clf = classifier(FakeLM(reading, limit=limit), SOURCE + " END").fit()
        with pytest.raises(PromptTooLongError, match=f"Row 0: {match}"):
            clf.predict(["fun fun fun"])

    def test_a_model_without_a_window_is_asked_as_it_is(self):
        class Bare:
            fingerprint = "bare"
            loglikelihoods = FakeLM(reading).loglikelihoods

        assert classifier(Bare()).fit().predict(TEXTS).tolist() == MOODS


class TestManners:
    def test_clone_and_determinism(self):
        strategy = Channel(3, "random")
        assert clone(strategy).get_params() == {"shots": 3, "selection": "random"}
        first, second = (classifier(shots=3).fit(TEXTS, MOODS) for _ in range(2))
        assert first.strategy_.demonstrations_.tolist() == second.strategy_.demonstrations_.tolist()
        assert np.array_equal(first.predict_proba(TEXTS), second.predict_proba(TEXTS))

    def test_labelled_rows_are_no_demonstrations_without_shots(self):
        clf = classifier().fit(TEXTS, MOODS)
        assert clf.strategy_.demonstrations_.size == 0
        assert np.array_equal(clf.predict_proba(TEXTS), classifier().fit().predict_proba(TEXTS))


class TestBadInput:
    @pytest.mark.parametrize("source", ["{{ text }} It was {{ label }}.", "{{ a }} is {{ label }}: {{ b }}"])
    def test_the_label_after_the_text(self, source):
        with pytest.raises(TemplateError, match=r"has a field before the hole: write the label first, such as 'A \{\{"):
            classifier(source=source).fit()

    def test_the_generic_template(self):
        with pytest.raises(TemplateError, match="write the label first"):
            classifier(source=None).fit()

    def test_a_template_that_only_some_rows_put_in_the_wrong_order(self):
        clf = classifier(source="{% if a == 'x' %}{{ a }}{% endif %} {{ label }}: {{ b }}").fit()
        clf.predict([{"a": "y", "b": "fun"}])
        with pytest.raises(TemplateError, match=r"Row 1: .*a field before the hole"):
            clf.predict([{"a": "y", "b": "fun"}, {"a": "x", "b": "fun"}])

    def test_a_template_that_needs_a_number_is_checked_row_by_row(self):
        clf = classifier(source="A {{ label }} one: {{ '%.1f' | format(size) }}").fit()
        assert clf.predict_proba([{"size": 2}]).shape == (1, 2)

    @pytest.mark.parametrize("blank", ["", "  \n"])
    def test_a_blank_text(self, blank):
        with pytest.raises(InputError, match="Row 1: the text is blank, so there is nothing to score"):
            classifier().fit().predict(["fun", blank])

    def test_a_blank_demonstration(self):
        with pytest.raises(InputError, match="Row 0: the text is blank"):
            classifier(shots=2, selection="first").fit(["", "fun"], ["neg", "pos"])

    @pytest.mark.parametrize("kind", ["masked", "seq2seq", "entailment"])
    def test_another_kind_of_model(self, kind):
        with pytest.raises(UnsupportedError, match=rf"takes a causal language model. Got .*\({kind}\): use Prompting"):
            classifier(FakeLM(reading, kind=kind)).fit()

    def test_an_encoder(self):
        with pytest.raises(UnsupportedError, match=r"\(encoder\)"):
            classifier(HashEncoder()).fit()

    def test_shots_without_labelled_rows(self):
        with pytest.raises(InputError, match="shots=2 needs labelled rows"):
            classifier(shots=2).fit()
        with pytest.raises(InputError, match="there are 4 labelled rows"):
            classifier(shots=5).fit(TEXTS, MOODS)
        with pytest.raises(ValueError, match=r"shots must be an integer of at least 0\. Got -1"):
            classifier(shots=-1).fit(TEXTS, MOODS)

    def test_sample_weight(self):
        with pytest.raises(UnsupportedError, match="Channel can't use sample_weight"):
            classifier().fit(TEXTS, MOODS, sample_weight=[1, 1, 1, 1])

    def test_several_labels_a_text(self):
        with pytest.raises(UnsupportedError, match="Channel gives each text one class"):
            classifier().fit(TEXTS, np.eye(2, dtype=int)[[0, 1, 0, 1]])

    def test_several_templates(self):
        with pytest.raises(UnsupportedError, match="Channel asks in one wording, and there are 2 templates"):
            classifier(source=[SOURCE, "{{ label }}: {{ text }}"]).fit()

    def test_scores_per_byte_of_the_label_word(self):
        with pytest.raises(UnsupportedError, match="use 'sum' or 'mean'"):
            classifier(words=Verbalizer(WORDS, token_aggregation="per-byte")).fit()

    @pytest.mark.parametrize("bad", [np.nan, -np.inf])
    def test_broken_scores(self, bad):
        lm = FakeLM(lambda query: [bad if "dull" in text else -1.0 for text in query.candidates])
        with pytest.raises(UnsupportedError, match=r"Row 1: .* gave NaN or infinite scores"):
            classifier(lm).fit().predict(TEXTS)

    def test_a_failed_fit_leaves_the_previous_state(self):
        clf = classifier().fit()
        before = clf.predict_proba(TEXTS)
        with pytest.raises(UnsupportedError):
            clf.set_params(model=HashEncoder()).fit()
        assert np.array_equal(clf.predict_proba(TEXTS), before)
