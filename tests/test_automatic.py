"""Automatic label words: each criterion against its formula in plain loops, and what may become a word."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from fewshot import Classifier, FakeLM, InputError, Prompting, Template, UnsupportedError, VerbalizerError
from fewshot.task import automatic
from fewshot.task.automatic import AutomaticVerbalizer
from tests.conftest import language_model
from tests.contract import HashEncoder

TEMPLATE = Template("{{ text }} It was {{ label }}.")
HINTS = {
    "neg": ("awful", "dull", "weak", "boring"),
    "pos": ("great", "lovely", "superb", "joyful"),
    "mid": ("fair", "usual", "plain", "common"),
}
WORDS = [word for group in HINTS.values() for word in group] + ["the", "thing"]
TEXTS = [f"{mood} {i}" for i in range(6) for mood in ("sad", "happy", "calm", "happy")]
LABELS = [{"sad": "neg", "happy": "pos", "calm": "mid"}[text.split()[0]] for text in TEXTS]
FEELS = {"sad": "neg", "happy": "pos", "calm": "mid"}


def noise(*key):
    return zlib.crc32("|".join(key).encode()) / 2**32


def moods(query):
    """Prefers the words that suit the text; each word and each text has noise of its own."""
    own = next((FEELS[word] for word in query.prefix.split() if word in FEELS), None)
    return [
        2.0 * (word.strip().lower() in HINTS.get(own, ()) or word == own) + noise(query.prefix, word) + noise(word)
        for word in query.candidates
    ]


def model(f=moods, vocabulary=WORDS, **params):
    return FakeLM(f, vocabulary=vocabulary, **params)


def probabilities(texts=TEXTS, lm=None):
    lm = lm or model()
    return np.exp(lm.read([TEMPLATE.query(text, ["x"]) for text in texts], "vocabulary").astype(np.float64))


def ranked(scores, words, k, allowed=lambda name, word: True):
    """Each word to the class where it scores highest, and the k best of each class."""
    owner = {word: max(sorted(scores), key=lambda name: scores[name][word]) for word in words}
    return {
        name: sorted(
            (word for word in words if owner[word] == name and allowed(name, word)),
            key=lambda word: -scores[name][word],
        )[:k]
        for name in sorted(scores)
    }


def test_amulap_is_the_mean_probability_over_a_class():
    learner = AutomaticVerbalizer(3, "amulap")
    learner.learn(model(), TEMPLATE, TEXTS, LABELS)
    p = probabilities()
    scores = {
        name: {
            word: np.mean([p[i, j] for i, label in enumerate(LABELS) if label == name]) for j, word in enumerate(WORDS)
        }
        for name in HINTS
    }
    assert learner.words_ == ranked(scores, WORDS, 3)
    for name, words in learner.words_.items():
        assert learner.scores_[name] == pytest.approx([scores[name][word] for word in words], rel=1e-6)
        assert set(words) <= set(HINTS[name])


@pytest.mark.parametrize("n_candidates", [1000, 8, 4])
def test_petal_is_the_balanced_likelihood_ratio(n_candidates):
    learner = AutomaticVerbalizer(2, "petal", n_candidates=n_candidates)
    learner.learn(model(), TEMPLATE, TEXTS, LABELS)
    p = probabilities()
    ratio, likely = {}, {}
    for name in HINTS:
        inside = [label == name for label in LABELS]
        n_in, n_out = sum(inside), len(inside) - sum(inside)
        ratio[name], likely[name] = {}, {}
        for j, word in enumerate(WORDS):
            yes = sum(np.log(p[i, j]) - np.log(1 - p[i, j]) for i, own in enumerate(inside) if own)
            no = sum(np.log(1 - p[i, j]) - np.log(p[i, j]) for i, own in enumerate(inside) if not own)
            ratio[name][word] = (n_out / n_in * yes + no) / n_out  # the paper's, as a mean
            likely[name][word] = sum(np.log(p[i, j]) for i, own in enumerate(inside) if own)
    top = {name: sorted(WORDS, key=lambda word: -likely[name][word])[:n_candidates] for name in HINTS}
    assert learner.words_ == ranked(ratio, WORDS, 2, lambda name, word: word in top[name])
    for name, words in learner.words_.items():
        assert learner.scores_[name] == pytest.approx([ratio[name][word] for word in words], rel=1e-5)


def test_petal_passes_over_a_word_that_is_likely_after_every_text():
    def lm(query):
        return [4.0 + 0.1 * ("sad" in query.prefix) if word == "the" else score for word, score in asked(query)]

    def asked(query):
        return zip(query.candidates, moods(query), strict=True)

    texts, labels = TEXTS[:2], LABELS[:2]
    assert AutomaticVerbalizer(1, "amulap").learn(model(lm), TEMPLATE, texts, labels).words[0] == ("the",)
    assert "the" not in AutomaticVerbalizer(3, "petal").learn(model(lm), TEMPLATE, texts, labels).candidates


def test_a_large_class_does_not_take_the_words_of_a_small_one():
    texts, labels = ["sad 1", *[f"happy {i}" for i in range(30)]], ["neg", *["pos"] * 30]
    learned = AutomaticVerbalizer(4, "amulap").learn(model(), TEMPLATE, texts, labels)
    assert set(learned.words[0]) == set(HINTS["neg"])


@pytest.mark.parametrize(("criterion", "aggregation"), [("amulap", "logsumexp"), ("petal", "mean")])
def test_the_verbalizer_serves_a_classifier(criterion, aggregation):
    learned = AutomaticVerbalizer(3, criterion).learn(model(), TEMPLATE, TEXTS, LABELS)
    assert learned.word_aggregation == aggregation
    assert learned.classes == ("mid", "neg", "pos")
    clf = Classifier(model(), TEMPLATE, learned, Prompting()).fit()
    assert clf.predict(["a sad tale", "happy days"]).tolist() == ["neg", "pos"]


class TestCandidates:
    def learn(self, vocabulary, k=1, f=moods, **params):
        learner = AutomaticVerbalizer(k, **{"criterion": "amulap", **params})
        learner.learn(model(f, vocabulary), TEMPLATE, TEXTS[:2], LABELS[:2])
        return learner

    def test_only_words_of_letters(self):
        odd = ["", "a", "x1", "!!", " ", "##ing", "<s>", "it's", "\n", "é", "ok go"]
        assert self.learn([*odd, "great", "awful"]).words_ == {"neg": ["awful"], "pos": ["great"]}

    def test_the_forms_of_a_word_are_one_candidate_with_the_probability_of_both(self):
        learner = self.learn([" great", "great", " awful", "awful"])
        p = probabilities(TEXTS[:2], model(vocabulary=[" great", "great", " awful", "awful"]))
        assert learner.words_ == {"neg": ["awful"], "pos": ["great"]}
        assert learner.scores_["pos"] == pytest.approx([p[1, 0] + p[1, 1]])
        assert learner.scores_["neg"] == pytest.approx([p[0, 2] + p[0, 3]])

    def test_where_blanks_lead_words_a_token_without_one_is_a_piece(self):
        def lm(query):
            return [
                9.0 if word == "tion" else score for word, score in zip(query.candidates, moods(query), strict=True)
            ]

        assert self.learn([" great", " awful", "tion"], f=lm).words_ == {"neg": ["awful"], "pos": ["great"]}
        assert "tion" in str(self.learn(["great", "awful", "tion"], f=lm))

    def test_a_stray_blank_says_nothing(self):
        learner = self.learn([" added", *WORDS], 2)
        assert set(learner.words_["pos"]) < set(HINTS["pos"])

    def test_the_case_of_a_word_makes_no_second_one(self):
        learner = self.learn(["great", "Great", "GREAT", "lovely", "awful", "Awful", "dull"], 2)
        assert {word.lower() for word in learner.words_["pos"]} == {"great", "lovely"}
        assert {word.lower() for word in learner.words_["neg"]} == {"awful", "dull"}

    def test_a_word_in_two_cases_does_not_serve_two_classes(self):
        def lm(query):
            likes = {"great": 3.0, "lovely": 1.0} if "happy" in query.prefix else {"Great": 2.0, "awful": 1.0}
            return [likes.get(word, 0.0) for word in query.candidates]

        assert self.learn(["great", "Great", "lovely", "awful"], f=lm).words_ == {"neg": ["awful"], "pos": ["great"]}

    def test_a_choice_of_ones_own(self):
        learner = self.learn(WORDS, candidates=["dull", " lovely", "two words", "unknown"])
        assert learner.words_ == {"neg": ["dull"], "pos": ["lovely"]}


def test_the_vocabulary_is_read_in_blocks(monkeypatch):
    sizes = []

    class Counting(FakeLM):
        def read(self, queries, what):
            sizes.append(len(queries))
            return super().read(queries, what)

    whole = AutomaticVerbalizer(2, "petal").learn(Counting(moods, vocabulary=WORDS), TEMPLATE, TEXTS, LABELS)
    assert sizes == [len(TEXTS)]
    sizes.clear()
    monkeypatch.setattr(automatic, "BLOCK_BYTES", 8 * len(WORDS) * 5)
    assert AutomaticVerbalizer(2, "petal").learn(Counting(moods, vocabulary=WORDS), TEMPLATE, TEXTS, LABELS) == whole
    assert sizes == [5, 5, 5, 5, 4]


def test_the_prompt_is_the_template_with_its_instruction_and_class_names():
    seen = []

    def lm(query):
        seen.append(query)
        return moods(query)

    template = Template("{{ text }} It was {{ label }}.", instruction="One of {{ labels | join('|') }}.")
    AutomaticVerbalizer(1, "amulap").learn(model(lm), template, TEXTS[:2], ["not_good", "good"])
    assert seen[0].context[0].text == "One of good|not good.\n\n"
    assert (seen[0].prefix, seen[0].suffix) == ("sad 0 It was ", ".")
    seen.clear()
    learner = AutomaticVerbalizer(1, "amulap")
    learner.learn(model(lm), template, TEXTS[:2], [0, 1])  # "0" is no answer to suggest
    assert seen[0].context[0].text == "One of .\n\n"
    assert learner.words_[1][0] in HINTS["pos"]


def test_a_long_text_is_shortened_to_the_window():
    seen = []

    def lm(query):
        seen.append(query.prefix)
        return moods(query)

    AutomaticVerbalizer(1, "amulap").learn(
        model(lm, limit=10), TEMPLATE, ["happy" + " happy" * 50, "sad"], ["pos", "neg"]
    )
    assert seen[0] == "happy " * 7 + "It was "


@pytest.mark.parametrize("criterion", ["amulap", "petal"])
def test_a_model_that_is_certain(criterion):
    def lm(query):
        return [0.0 if word == ("great" if "happy" in query.prefix else "awful") else -1e6 for word in query.candidates]

    learner = AutomaticVerbalizer(1, criterion)
    learner.learn(model(lm), TEMPLATE, TEXTS[:2], LABELS[:2])
    assert learner.words_ == {"neg": ["awful"], "pos": ["great"]}
    assert np.isfinite(list(learner.scores_.values())).all()


class TestUnlabelled:
    def test_the_surest_calibrated_answers_stand_in_for_labels(self):
        names = sorted(HINTS)
        learner = AutomaticVerbalizer(2, "amulap", share=0.5)
        learner.learn(model(), TEMPLATE, TEXTS, classes=names)
        scores = np.array([moods(TEMPLATE.query(text, names)) for text in TEXTS])
        scores -= scores.mean(axis=0)
        log_p = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
        size = int(0.5 * len(TEXTS) / len(names))
        assert min(np.bincount(log_p.argmax(axis=1))) >= size == 4
        members = []
        for k in range(len(names)):
            own = [i for i in range(len(TEXTS)) if log_p[i].argmax() == k]
            members.append(sorted(own, key=lambda i: -log_p[i, k])[:size])
        rows = sorted(i for own in members for i in own)
        labels = [names[next(k for k, own in enumerate(members) if i in own)] for i in rows]
        wanted = AutomaticVerbalizer(2, "amulap")
        wanted.learn(model(), TEMPLATE, [TEXTS[i] for i in rows], labels)
        assert (learner.words_, learner.scores_) == (wanted.words_, wanted.scores_)
        assert all(set(words) <= set(HINTS[name]) for name, words in learner.words_.items())

    def test_a_bias_for_one_name_is_taken_out(self):
        def lm(query):
            return [score + 9 * (word == "pos") for word, score in zip(query.candidates, moods(query), strict=True)]

        learner = AutomaticVerbalizer(2, "amulap")
        learner.learn(model(lm), TEMPLATE, TEXTS, classes=["pos", "neg", "mid"])
        assert set(learner.words_["neg"]) <= set(HINTS["neg"])

    def test_the_share_is_of_each_class(self):
        read = []

        class Counting(FakeLM):
            def read(self, queries, what):
                read.extend(queries)
                return super().read(queries, what)

        lm = Counting(moods, vocabulary=WORDS)
        AutomaticVerbalizer(1, "amulap", share=1.0).learn(lm, TEMPLATE, TEXTS, classes=sorted(HINTS))
        feels = [FEELS[query.prefix.split()[0]] for query in read]
        assert {feels.count(name) for name in HINTS} == {6}  # as many as the smallest class has, not the 12 of "pos"
        read.clear()
        AutomaticVerbalizer(1, "amulap", share=1e-9).learn(lm, TEMPLATE, TEXTS, classes=sorted(HINTS))
        assert len(read) == 3

    def test_an_answer_that_the_model_never_gives(self):
        lm = model(lambda query: [float(word != "mid") for word in query.candidates])
        with pytest.raises(InputError, match=r"takes none of the 24 unlabelled texts for 'neg': give more texts"):
            AutomaticVerbalizer(1, "amulap").learn(lm, TEMPLATE, TEXTS, classes=["mid", "neg"])

    def test_classes_that_are_no_names(self):
        with pytest.raises(VerbalizerError, match=r"The class 0 \(int\) is not a name"):
            AutomaticVerbalizer(1, "amulap").learn(model(), TEMPLATE, TEXTS, classes=[0, 1])

    def test_no_names_at_all(self):
        with pytest.raises(InputError, match="Unlabelled text needs the names of the classes"):
            AutomaticVerbalizer(3, "amulap").learn(model(), TEMPLATE, TEXTS)


class TestManners:
    def test_clone_and_determinism(self):
        learner = AutomaticVerbalizer(2, "petal", candidates=WORDS, n_candidates=9, share=0.3)
        twin = clone(learner)
        assert twin.get_params() == learner.get_params()
        assert learner.learn(model(), TEMPLATE, TEXTS, LABELS) == twin.learn(model(), TEMPLATE, TEXTS, LABELS)
        assert learner.scores_ == twin.scores_
        assert not hasattr(clone(learner), "words_")

    def test_the_order_of_the_rows_does_not_matter(self):
        order = np.random.RandomState(0).permutation(len(TEXTS))
        shuffled = [TEXTS[i] for i in order], [LABELS[i] for i in order]
        first = AutomaticVerbalizer(3, "amulap").learn(model(), TEMPLATE, TEXTS, LABELS)
        assert AutomaticVerbalizer(3, "amulap").learn(model(), TEMPLATE, *shuffled) == first

    def test_a_table(self):
        learner = AutomaticVerbalizer(1, "amulap")
        assert str(learner) == repr(learner) == "AutomaticVerbalizer(criterion='amulap', words_per_class=1)"
        with pytest.raises(NotFittedError, match="call learn"):
            learner.table()
        learner.learn(model(), TEMPLATE, TEXTS, LABELS)
        head, *lines = str(learner).splitlines()
        assert head.split() == ["class", "word", "score"]
        shown = [[name, words[0], f"{learner.scores_[name][0]:.3g}"] for name, words in learner.words_.items()]
        assert [line.split() for line in lines] == shown

    def test_a_failed_learn_leaves_the_previous_words(self):
        learner = AutomaticVerbalizer(1, "amulap")
        learner.learn(model(), TEMPLATE, TEXTS, LABELS)
        before = dict(learner.words_)
        with pytest.raises(InputError):
            learner.learn(model(), TEMPLATE, TEXTS[:1], LABELS[:1])
        assert learner.words_ == before


class TestBadInput:
    def fails(self, kind, match, lm=None, X=TEXTS, y=LABELS, classes=None, **params):
        with pytest.raises(kind, match=match):
            AutomaticVerbalizer(**{"words_per_class": 3, "criterion": "amulap", **params}).learn(
                lm or model(), TEMPLATE, X, y, classes
            )

    @pytest.mark.parametrize("X", [None, []])
    def test_no_text(self, X):
        self.fails(InputError, r"learns from texts: call fit\(X, y\)", X=X, y=None, classes=["neg", "pos"])

    def test_a_class_without_examples(self):
        self.fails(InputError, "The class 'odd' has no examples", classes=["mid", "neg", "odd", "pos"])

    def test_a_label_that_is_no_class(self):
        self.fails(InputError, "y has the class 'mid', and the classes are", classes=["neg", "pos"])

    def test_one_class(self):
        self.fails(InputError, r"between at least two classes. Got \['neg'\]", X=["a"], y=["neg"])

    def test_lengths(self):
        self.fails(InputError, "X has 24 rows and y has 3", y=LABELS[:3])

    def test_too_few_candidates(self):
        lm = model(vocabulary=["great", "awful", "a", "!"])
        self.fails(InputError, r"3 classes need 9 label words, and .* has 2 candidates", lm)

    def test_too_few_words_speak_for_a_class(self):
        lm = model(lambda query: [0.0 for _ in query.candidates])  # no word tells the classes apart
        self.fails(InputError, r"Only 0 candidate words speak for the class 'neg'.*lower words_per_class", lm)

    def test_nan(self):
        class Broken(FakeLM):
            def read(self, queries, what):
                return np.full((len(queries), len(WORDS)), np.nan, dtype=np.float32)

        self.fails(UnsupportedError, "gave NaN or infinite scores", Broken(moods, vocabulary=WORDS))
        lm = model(lambda query: [np.nan for _ in query.candidates])
        self.fails(UnsupportedError, "gave NaN or infinite scores", lm, y=None, classes=["neg", "pos"])

    @pytest.mark.parametrize("lm", [HashEncoder(), FakeLM(moods, kind="entailment", vocabulary=WORDS)], ids=repr)
    def test_a_model_of_another_kind(self, lm):
        self.fails(UnsupportedError, r"\((encoder|entailment)\) does not show it: use a causal or masked model", lm)

    def test_a_model_that_is_no_reader(self):
        class Scorer:
            fingerprint = "scorer"

            def loglikelihoods(self, queries):
                raise AssertionError

            def __repr__(self):
                return "Scorer()"

        self.fails(UnsupportedError, r"and Scorer\(\) \(causal\) does not show it", Scorer())

    @pytest.mark.parametrize(
        ("params", "match"),
        [
            ({"criterion": "best"}, "criterion must be 'amulap' or 'petal'. Got 'best'"),
            ({"words_per_class": 0}, "words_per_class must be an integer of at least 1. Got 0"),
            ({"n_candidates": 2.5}, "n_candidates must be an integer of at least 1. Got 2.5"),
            ({"share": 0}, "share must be above 0 and at most 1. Got 0"),
        ],
    )
    def test_parameters(self, params, match):
        self.fails(ValueError, match, **params)

    def test_a_row_that_does_not_fill_the_template(self):
        self.fails(
            InputError,
            "Row 1: .*the field 'text' is None",
            X=[{"text": "a"}, {"text": None}],
            y=["a", "b"],
            words_per_class=1,
        )


class TestInAClassifier:
    def test_the_words_are_found_in_fit(self):
        clf = Classifier(model(), TEMPLATE, AutomaticVerbalizer(2, "amulap"), Prompting()).fit(TEXTS, LABELS)
        assert clf.verbalizer_.classes == ("mid", "neg", "pos")
        assert set(clf.verbalizer_.words[2]) <= set(HINTS["pos"])
        assert "pos" in str(clf.learned_words_)
        assert not hasattr(clf.verbalizer, "words_")  # the parameter stays as it was given
        assert clf.predict(["a sad tale", "happy days"]).tolist() == ["neg", "pos"]

    def test_each_template_has_its_own_words(self):
        other = "---\nwords: {mid: mid, neg: neg, pos: pos}\n---\n{{ text }} It was {{ label }}."
        clf = Classifier(model(), [TEMPLATE, other], AutomaticVerbalizer(1), Prompting()).fit(TEXTS, LABELS)
        first, second = (asking.task.verbalizer for asking in clf.strategy_.askings_)
        assert first.classes == second.classes == ("mid", "neg", "pos")

    def test_unlabelled_text_takes_the_classes_of_the_template(self):
        source = "---\nwords: {neg: sad, pos: happy}\n---\n" + TEMPLATE.source
        clf = Classifier(model(), source, AutomaticVerbalizer(1, "amulap"), Prompting())
        texts = [text for text, label in zip(TEXTS, LABELS, strict=True) if label != "mid"]
        assert clf.fit(texts).classes_.tolist() == ["neg", "pos"]

    def test_without_text(self):
        with pytest.raises(InputError, match="learns from texts"):
            Classifier(model(), TEMPLATE, AutomaticVerbalizer(1)).fit(None, ["neg", "pos"])

    @pytest.mark.filterwarnings("ignore::fewshot.errors.LabelMassWarning")
    @pytest.mark.parametrize("name", ["gpt2", "llama", "bert", "roberta", "t5"])
    def test_real_vocabularies(self, name):
        clf = Classifier(language_model(name), TEMPLATE, AutomaticVerbalizer(1), Prompting()).fit(TEXTS, LABELS)
        assert all(word.isalpha() for group in clf.verbalizer_.words for word in group)
        assert np.isfinite(clf.decision_function(TEXTS)).all()

    def test_ten_words_a_class_of_the_embedded_model_tell_moods_apart(self):
        texts = ["I loved every minute.", "A joy from start to end.", "So dull I fell asleep.", "A waste of time."]
        clf = Classifier("embedded:masked", "sst2/it_was", AutomaticVerbalizer(), Prompting(calibration="batch"))
        clf.fit(texts, ["positive", "positive", "negative", "negative"])
        assert clf.predict(["It was a wonderful film.", "The plot is boring."]).tolist() == ["positive", "negative"]
