"""Auto's choice of a wording and a format: with labels, without, and what the classifier then says of itself."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
from scipy.special import log_softmax
from sklearn.model_selection import StratifiedKFold

from fewshot import Auto, CachedLM, Classifier, FakeLM, ModelLoadError, Prompting, Readout, Scores, gallery, load
from fewshot.models.base import formats_of
from fewshot.models.wrappers import RememberedLM
from fewshot.strategies import choosing
from fewshot.strategies.comparison import mutual_information
from fewshot.strategies.phrasings import phrasings_of
from fewshot.task.resolve import resolve
from tests.conftest import language_model, pair
from tests.contract import HashEncoder, keyword_lm

pytestmark = [
    pytest.mark.long,
    pytest.mark.filterwarnings("ignore::fewshot.errors.LabelMassWarning"),
]

X = ["a good day", "the food was cold", "we had a good time", "it rained all day", "a good friend", "so cold"] * 2
Y = ["good", "bad"] * 6
WORDS = {"bad": "bad", "good": "good"}
GENERIC = ["generic/causal", "generic/listed", "generic/unlisted"]


class Chatty:
    """A model that knows the answers in one wording and one format only, and else says the same of every text."""

    kind = "causal"

    def __init__(self, lists, chats, chat=True, asked=None):
        self.lists, self.chats, self.chat = lists, chats, chat
        self.asked = [] if asked is None else asked
        self.fingerprint = f"chatty:{lists}:{chats}:{chat}"

    def with_chat(self, chat):
        return Chatty(self.lists, self.chats, chat, self.asked)

    def loglikelihoods(self, queries):
        return [self._score(query) for query in queries]

    def _score(self, query):
        self.asked.append((self.chat, query))
        before = "".join(turn.text for turn in query.context) + query.prefix
        knows = ("bad" in before and "good" in before) == self.lists and self.chat == self.chats
        good = knows * (2.0 if "good" in query.prefix.partition("Category:")[0].partition("\n")[0] else -2.0)
        return Scores(np.array([good if word == "good" else 0.0 for word in query.candidates]), np.ones(2, int), 1.0)

    def __sklearn_clone__(self):
        return self


def asks(name, calibration="batch"):
    return Prompting(calibration=calibration, orders=2 if name == "generic/listed" else 1)


def plain_first(candidates, key):
    return sorted(candidates, key=lambda one: (not one.name.endswith("plain"), key(one)))


def fitted(lm, y=Y, **params):
    return Classifier(lm, verbalizer=WORDS, strategy=Auto(), random_state=0, **params).fit(X, y)


class TestWhatIsCompared:
    def names(self, model, **params):
        clf = Classifier(model, verbalizer=WORDS, **params)
        settled = resolve(clf, X, Y)
        return [one.name for one in phrasings_of(settled.task, settled.model)]

    def test_a_model_without_a_chat_has_three_wordings(self):
        assert self.names(keyword_lm()) == GENERIC

    def test_a_chat_model_has_two_formats_of_each(self):
        said = [f"{name}, {form}" for name in GENERIC for form in ("chat", "plain")]
        assert self.names(language_model("gpt2-chat")) == said

    def test_one_that_was_loaded_without_a_chat_has_one(self):
        assert self.names(load(pair("gpt2-chat"), chat=False)) == GENERIC

    def test_a_template_of_ones_own_stays(self):
        assert self.names(keyword_lm(), template="{{ text }} It was {{ label }}.") == ["own template"]
        chats = self.names(language_model("gpt2-chat"), template="sst2/it_was")
        assert chats == ["sst2/it_was, chat", "sst2/it_was, plain"]

    def test_so_do_several(self):
        several = ["generic/causal", "{{ text }} It was {{ label }}."]
        assert self.names(keyword_lm(), template=several) == ["2 templates"]

    @pytest.mark.parametrize("kind", ["masked", "entailment"])
    def test_other_kinds_have_one(self, kind):
        assert len(self.names(keyword_lm(kind))) == 1


@pytest.mark.parametrize("lists", [True, False])
@pytest.mark.parametrize("chats", [True, False])
def test_with_labels_the_one_that_knows_is_chosen(lists, chats):
    lm = Chatty(lists, chats)
    clf = fitted(lm)
    assert clf.template_.name in (GENERIC[:2] if lists else GENERIC[2:])
    assert clf.model_.chat == chats
    assert clf.strategy_.chosen_.task_.template == clf.template_
    said = f"{clf.template_.name}, {'chat' if chats else 'plain'}"
    best = sorted(clf.report_.candidates, key=lambda one: one.log_loss)[:3]
    assert best[0].name.endswith(said)
    assert len(clf.report_.candidates) == 12
    named = "; ".join(f"{one.name}, {one.log_loss:.3f}" for one in best)
    assert f"of 12 ways the 3 with the lowest log loss: {named} (12 held-out" in str(clf.report_)
    assert clf.predict(["so good", "so cold"]).tolist() == ["good", "bad"]
    lm.asked.clear()
    clf.predict(["so good"])
    chat, asked = lm.asked[0]  # the best of the three is asked first
    assert chat == chats
    before = "".join(turn.text for turn in asked.context) + asked.prefix
    assert ("bad" in before) == lists
    shown = str(clf.preview(["so good"]))
    assert all(line.strip() in shown for line in before.splitlines())


def test_zero_shot_losses_are_those_of_fits_that_did_not_see_the_row():
    lm = language_model("gpt2-chat")
    clf = fitted(lm)
    seed = int(np.random.RandomState(0).randint(2**31 - 1))
    tried = {one.name: one for one in clf.report_.candidates}
    for name in GENERIC:
        for form, model in (("chat", lm), ("plain", load(pair("gpt2-chat"), chat=False))):
            held = np.empty((len(X), 2))
            for train, test in StratifiedKFold(5, shuffle=True, random_state=seed).split(X, Y):
                alone = Classifier(model, name, WORDS, asks(name))
                alone.fit([X[i] for i in train], [Y[i] for i in train])
                held[test] = alone.predict_log_proba([X[i] for i in test])
            one = tried[f"prompting, {name}, {form}"]
            np.testing.assert_allclose(one.log_scores, held, atol=1e-4)
            losses = [-held[i, int(y == "good")] for i, y in enumerate(Y)]
            assert one.log_loss == pytest.approx(np.mean(losses), abs=1e-4)


def test_the_three_best_are_averaged():
    lm = language_model("gpt2-chat")
    clf = fitted(lm)
    models = {"chat": lm, "plain": load(pair("gpt2-chat"), chat=False)}
    scores = []
    for one in sorted(clf.report_.candidates, key=lambda one: one.log_loss)[:3]:
        way, name, form = one.name.split(", ")
        strategy = asks(name, "auto") if way == "prompting" else Readout()
        alone = Classifier(models[form], name, WORDS, strategy=strategy, random_state=0).fit(X, Y)
        scores.append(alone.predict_log_proba(["so good", "so cold", "it rained"]))
    wanted = log_softmax(np.mean(scores, axis=0), axis=1)
    np.testing.assert_allclose(clf.predict_log_proba(["so good", "so cold", "it rained"]), wanted, atol=1e-4)
    shown = {line.label: line.probability for line in clf.explain("so good").classes}
    assert [shown["bad"], shown["good"]] == pytest.approx(np.exp(wanted[0]).tolist(), abs=1e-4)


@pytest.mark.parametrize("n", [2, 3, 4])
def test_of_few_examples_readouts_are_averaged(n):
    texts, labels = [*X[:n], *X[-n:]], [*Y[:n], *Y[-n:]]
    assert len(set(labels)) == 2
    lm = language_model("gpt2-chat")
    clf = Classifier(lm, verbalizer=WORDS, strategy=Auto(), random_state=0).fit(texts, labels)
    ranked = sorted(clf.report_.candidates, key=lambda one: one.log_loss)
    assert len(ranked) == 12
    assert any(one.name.startswith("prompting") for one in ranked[:3])  # else nothing is shown
    chosen = [clf.strategy_.chosen_, *clf.strategy_.beside_]
    if n < 4:
        assert all(isinstance(one, Readout) for one in chosen)
        best = [one for one in ranked if one.name.startswith("readout")][:3]
        assert "readouts alone, which folds of so few rows underrate" in str(clf.report_)
    else:
        best = ranked[:3]
        assert "underrate" not in str(clf.report_)
    assert all(f"{one.name}, {one.log_loss:.3f}" in str(clf.report_) for one in best)


@pytest.mark.parametrize("y", [Y, None])
def test_nothing_is_asked_twice(y):
    lm = Chatty(lists=False, chats=False)
    clf = fitted(lm, y=y)
    assert len(lm.asked) == len(set(lm.asked))
    assert y is None or clf.report_.folds == 5
    chosen = [clf.strategy_.chosen_, *clf.strategy_.beside_]
    models = [one.model_ for one in chosen] + [asking.model for one in chosen for asking in one.askings_]
    assert not any(isinstance(model, RememberedLM) for model in models)


def test_the_report_says_what_without_labels():
    lm = Chatty(lists=False, chats=False)
    clf = fitted(lm, y=None)
    found = dict(clf.report_.information)
    for name in GENERIC:
        for form in (True, False):
            alone = Classifier(lm.with_chat(form), name, WORDS, asks(name)).fit(X)
            value = mutual_information(alone.predict_log_proba(X))
            assert found[f"prompting, {name}, {'chat' if form else 'plain'}"] == pytest.approx(value)
            assert f"{value:.3f}" in str(clf.report_)
    assert (clf.template_.name, clf.model_.chat) == ("generic/unlisted", False)
    assert "mutual information" in str(clf.report_)


def test_class_names_alone_say_nothing():
    clf = Classifier(Chatty(lists=False, chats=False)).fit(None, ["bad", "good"])
    assert (clf.template_.name, clf.model_.chat) == (GENERIC[0], True)
    assert not clf.report_.information


def test_an_encoder_is_what_was_given():
    encoder = HashEncoder()
    clf = Classifier(encoder, random_state=0).fit(X, Y)
    assert clf.model_ is encoder
    assert clf.template_ == gallery.get("generic/encoder")


class TestFormats:
    """A causal model with a chat template, asked without it."""

    def test_its_scores_are_those_of_the_model_loaded_so(self):
        lm, plain = language_model("gpt2-chat"), load(pair("gpt2-chat"), chat=False)
        twin = lm.with_chat(False)
        assert twin.model is lm.model
        assert (lm.chat, twin.chat) == (True, False)
        assert twin.fingerprint == plain.fingerprint != lm.fingerprint
        query = next(iter(Classifier(lm, "sst2/it_was").fit().strategy_.chosen_._ask(["Fun."])[0].queries))
        for one, other in ((twin, plain), (twin.with_chat(True), lm)):
            found, wanted = one.loglikelihoods([query])[0], other.loglikelihoods([query])[0]
            np.testing.assert_allclose(found.logprobs, wanted.logprobs, atol=1e-5)
        assert lm.with_chat(True) is lm

    def test_without_a_template_it_can_not_chat(self):
        lm = language_model("gpt2")
        assert formats_of(lm) == [lm]
        with pytest.raises(ModelLoadError, match="was asked to chat, and its tokenizer has no chat template"):
            lm.with_chat(True)

    def test_a_recipe_says_so(self, tmp_path):
        model, tokenizer = pair("gpt2-chat")
        model.save_pretrained(tmp_path)
        tokenizer.save_pretrained(tmp_path)
        lm = load(str(tmp_path))
        twin = lm.with_chat(False)
        assert twin.recipe.kwargs == {"chat": False}
        assert twin.recipe.again(twin.fingerprint).chat is False
        assert "chat" not in lm.recipe.kwargs
        assert copy.copy(twin.recipe) == replace(lm.recipe, kwargs={"chat": False})

    def test_a_cache_keeps_both(self, tmp_path):
        lm = Chatty(lists=True, chats=True)
        cached = CachedLM(lm, tmp_path / "scores.sqlite")
        formats = formats_of(cached)
        assert [type(one) for one in formats] == [CachedLM, CachedLM]
        for _ in range(2):
            fitted(cached)
        once = len(lm.asked)
        assert once == len(set(lm.asked))
        assert not hasattr(CachedLM(keyword_lm(), tmp_path / "other.sqlite"), "with_chat")
        assert formats_of(RememberedLM(keyword_lm()))[1:] == []


class TestKept:
    @pytest.mark.parametrize("averaged", [1, 3])
    def test_a_folder_has_the_weights_once(self, tmp_path, monkeypatch, averaged):
        lm = language_model("gpt2-chat")
        monkeypatch.setattr(choosing, "_TOGETHER", averaged)
        monkeypatch.setattr(choosing, "sorted", plain_first, raising=False)
        clf = Classifier(lm, "sst2/it_was", strategy=Auto(), random_state=0)
        clf.fit(X, ["negative", "positive"] * 6)
        assert clf.model_.chat is False
        folder = clf.save(tmp_path / "kept")
        assert [path.name for path in (folder / "models").iterdir()] == ["0"]
        again = Classifier.load(folder)
        assert (again.model.chat, again.model_.chat) == (True, False)
        assert again.model.model is again.model_.model
        np.testing.assert_allclose(again.predict_proba(X), clf.predict_proba(X), atol=1e-6)
        given = Classifier.load(folder, model=lm)
        assert given.model is lm
        assert given.model_.model is lm.model
        assert len(again.strategy_.beside_) == averaged - 1
        assert all(one.model_.model is again.model_.model for one in again.strategy_.beside_)

    def test_one_that_was_kept_before_averages_nothing(self, tmp_path):
        clf = fitted(Chatty(lists=False, chats=True))
        del clf.strategy_.beside_
        wanted = clf.strategy_.chosen_.log_scores(["so good"])
        np.testing.assert_array_equal(clf.strategy_.log_scores(["so good"]), wanted)
        assert clf.explain("so good").predicted == "good"

    @pytest.mark.parametrize("y", [Y, None], ids=["labels", "no labels"])
    def test_what_was_chosen_is_read_back(self, tmp_path, y):
        lm = FakeLM(lambda query: [float("good" in query.prefix), float("rained" in query.prefix)])
        clf = fitted(lm, y)
        again = Classifier.load(clf.save(tmp_path / "kept"), model=lm)
        assert again.template_ == clf.template_
        assert str(again.report_) == str(clf.report_)
        np.testing.assert_allclose(again.predict_proba(X), clf.predict_proba(X), atol=1e-9)
        assert clf.template_.source in (tmp_path / "kept" / "README.md").read_text()
