"""FineTuning: gradients against brute force, own copies only, and what each objective and each parameter set learns."""

from __future__ import annotations

import copy
import itertools
import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV

from fewshot import (
    Classifier,
    FewshotWarning,
    FineTuning,
    InputError,
    LabelMassWarning,
    LoRA,
    Prompting,
    ShortenedWarning,
    UnsupportedError,
    load,
)
from fewshot.models.base import Query
from fewshot.models.randomness import seeded
from fewshot.training import finetune as module
from fewshot.training import loop as training
from fewshot.training.copies import own_copy
from fewshot.training.examples import Examples, n_steps, set_examples_apart
from fewshot.training.new_layer import SequenceClassifier
from tests.conftest import language_model, pair, sentence_model
from tests.contract import HashEncoder, keyword_lm

pytestmark = pytest.mark.long

SOURCE = "{{ text }} It was {{ label }}."
WORDS = {"bad": "bad", "good": "good"}
X = [
    "a good day, all was fine",
    "the food was cold",
    "we had a good time",
    "it rained all day",
    "what a good story",
    "the room was cold and small",
    "a good friend came",
    "the train was late",
]
Y = ["good", "bad"] * 4
TRAINED = ["gpt2", "llama", "bert", "roberta", "t5"]
QUERIES = [
    Query("I loved it. It was ", ("great", "terrible", "so so"), "."),
    Query("So bad, and much longer than the other text. It was ", ("great", "terrible", "so so"), "."),
]


def tuned(name="bert", **params):
    params = {"steps": 6, "learning_rate": 1e-2, "calibration": None, **params}
    model = load(sentence_model()) if name == "encoder" else language_model(name)
    return Classifier(model, SOURCE, WORDS, FineTuning(**params), random_state=0)


class TestGradients:
    @pytest.mark.parametrize("name", TRAINED)
    def test_the_scores_are_those_of_the_engine(self, name):
        lm = language_model(name)
        found, n_tokens = lm.differentiable(QUERIES)
        expected = lm.loglikelihoods(QUERIES)
        np.testing.assert_allclose(found.detach(), [one.logprobs for one in expected], atol=1e-4)
        np.testing.assert_array_equal(n_tokens, [one.n_tokens for one in expected])

    @pytest.mark.parametrize("name", ["gpt2", "bert"])
    def test_the_gradients_are_those_of_the_definition(self, name):
        """One forward pass a candidate, one sequence at a time, with the whole model."""
        lm = language_model(name)
        model, _ = own_copy(lm.model, "all")
        own = lm.around(model, None)
        own.differentiable(QUERIES)[0][0, 0].backward()
        got = [p.grad.clone() for p in model.parameters() if p.grad is not None]
        model.zero_grad()
        before = QUERIES[0].prefix
        if name == "gpt2":
            known, whole = (lm.plain.ids([text])[0] for text in (before.rstrip(), before + "great."))
            logits = model(input_ids=torch.tensor([whole])).logits[0].log_softmax(-1)
            score = sum(logits[i - 1, whole[i]] for i in range(len(known), len(whole)))
        else:
            special = lm.plain.special()
            lead, word, rest = (lm.plain.ids([text])[0] for text in (before, "great", "."))
            score = 0
            for i, token in enumerate(word):
                hole = [*word[:i], *[lm.tokenizer.mask_token_id] * (len(word) - i)]
                row = [*special.before, *lead, *hole, *rest, *special.after]
                at = len(special.before) + len(lead) + i
                score = score + model(input_ids=torch.tensor([row])).logits[0, at].log_softmax(-1)[token]
        score.backward()
        expected = [p.grad for p in model.parameters() if p.grad is not None]
        assert len(got) == len(expected) > 10
        for one, other in zip(got, expected, strict=True):
            torch.testing.assert_close(one, other, atol=2e-4, rtol=2e-3)

    def test_parts_of_a_step_sum_to_the_step(self, monkeypatch):
        whole = tuned(steps=2).fit(X, Y)
        monkeypatch.setattr(training, "PART_TOKENS", 40)
        parts = tuned(steps=2).fit(X, Y)
        np.testing.assert_allclose(parts.predict_proba(X), whole.predict_proba(X), atol=1e-4)

    def test_prediction_uses_the_scores_that_were_trained(self):
        clf = tuned().fit(X, Y)
        strategy = clf.strategy_
        logprobs, n_tokens = strategy.model_.differentiable(strategy.asking_.ask(X).queries)
        scores = clf.verbalizer_.aggregate(logprobs, n_tokens).log_softmax(-1)
        np.testing.assert_allclose(clf.predict_log_proba(X), scores.detach(), atol=1e-4)


class TestLearning:
    @pytest.mark.parametrize("parameters", ["all", "bias", LoRA(4)], ids=str)
    @pytest.mark.parametrize(
        ("name", "objective"), [*itertools.product(TRAINED, ["prompt", "head"]), ("encoder", "head")]
    )
    def test_it_learns_its_examples_in_a_copy(self, name, objective, parameters):
        if parameters == "bias" and name in ("llama", "t5"):
            with pytest.raises(UnsupportedError, match="no parameters named bias"):
                tuned(name, objective=objective, parameters=parameters).fit(X, Y)
            return
        # biases alone move a random model of width 32 but little, and a new layer's are trained with dropout
        pace = {"steps": 30, "learning_rate": 1e-2}
        if parameters == "bias":
            pace = {"steps": 60, "learning_rate": 1e-2 if objective == "head" else 3e-2}
        clf = tuned(name, objective=objective, parameters=parameters, **pace)
        model = clf.model
        before = model.fingerprint
        begun = clone(clf).set_params(strategy__steps=1, strategy__learning_rate=1e-30).fit(X, Y)
        clf.fit(X, Y)
        # without dropout, which the losses of a new layer are measured with
        begin, end = (log_loss(Y, one.predict_proba(X), labels=one.classes_) for one in (begun, clf))
        assert end < (0.7 if parameters == "all" else 1.0) * begin
        if parameters == "all":  # the others can do little to a random model of width 32
            assert (clf.predict(X) == Y).mean() >= 0.75
        assert model.fingerprint == before
        np.testing.assert_allclose(clf.predict_proba(X).sum(axis=1), 1)
        if objective == "prompt":
            assert clf.strategy_.model_.fingerprint != before
            names = [name for name, _ in clf.strategy_.model_.model.named_parameters()]
            assert names == [name for name, _ in model.model.named_parameters()]  # an ordinary model again

    @pytest.mark.parametrize("objective", ["prompt", "head"])
    @pytest.mark.parametrize("parameters", ["all", LoRA(4)], ids=str)
    def test_fitting_is_deterministic(self, objective, parameters):
        clf = tuned(objective=objective, parameters=parameters, batch_size=3).fit(X, Y)
        state = torch.random.get_rng_state()
        again = clone(clf).fit(X, Y)
        np.testing.assert_array_equal(again.predict_proba(X), clf.predict_proba(X))
        assert torch.equal(torch.random.get_rng_state(), state)
        other = clone(clf).set_params(random_state=1).fit(X, Y)
        assert not np.allclose(other.predict_proba(X), clf.predict_proba(X))

    def test_what_is_not_trained_is_shared_and_what_is_trained_is_few(self):
        lm = language_model("bert")
        copied, finish = own_copy(lm.model, LoRA(2))
        theirs = {p.data_ptr() for p in lm.model.parameters()}
        trained = [p for p in copied.parameters() if p.requires_grad]
        frozen = [p for p in copied.parameters() if not p.requires_grad]
        assert all(p.data_ptr() in theirs for p in frozen)
        assert not any(p.data_ptr() in theirs for p in trained)
        assert sum(p.numel() for p in trained) < 0.3 * sum(p.numel() for p in frozen)
        assert all(p.requires_grad for p in finish().parameters())

    def test_an_untrained_lora_changes_nothing(self):
        lm = language_model("bert")
        _, finish = own_copy(lm.model, LoRA(2))
        same = lm.around(finish(), None)
        np.testing.assert_allclose(
            same.loglikelihoods(QUERIES)[0].logprobs, lm.loglikelihoods(QUERIES)[0].logprobs, atol=1e-5
        )

    def test_a_repeated_row_is_a_row_of_more_weight(self):
        repeated = tuned().fit([*X, *X[:3]], [*Y, *Y[:3]])
        weighted = tuned().fit(X, Y, sample_weight=[2, 2, 2, 1, 1, 1, 1, 1])
        np.testing.assert_allclose(repeated.predict_proba(X), weighted.predict_proba(X), atol=1e-5)
        ignored = tuned().fit([*X, "nonsense"], [*Y, "bad"], sample_weight=[1] * 8 + [0])
        np.testing.assert_allclose(ignored.predict_proba(X), tuned().fit(X, Y).predict_proba(X), atol=1e-6)

    def test_class_weights_move_the_answers(self):
        few, labels = X[:6], ["good", "bad", "bad", "bad", "bad", "good"]
        plain = tuned(steps=3).fit(few, labels).predict_proba(X)[:, 1].mean()
        for weight in ("balanced", {"good": 30.0, "bad": 1.0}):
            assert tuned(steps=3, class_weight=weight).fit(few, labels).predict_proba(X)[:, 1].mean() > plain
        with pytest.raises(InputError, match=r"class_weight must be 'balanced' or None, or a mapping .* Got 'even'"):
            tuned(steps=3, class_weight="even").fit(few, labels)
        with pytest.raises(InputError, match=r"the classes \['bad', 'good'\] only\. Got a weight for 'goood'"):
            tuned(steps=3, class_weight={"goood": 30.0}).fit(few, labels)

    def test_training_begins_at_the_calibrated_prompt(self):
        strategy = FineTuning(steps=1, learning_rate=1e-12, calibration="batch")
        clf = Classifier(language_model("bert"), SOURCE, WORDS, strategy, random_state=0).fit(X, Y)
        prompt = Classifier(language_model("bert"), SOURCE, WORDS, Prompting(calibration="batch")).fit(X, Y)
        with pytest.warns(LabelMassWarning):
            np.testing.assert_allclose(clf.predict_proba(X), prompt.predict_proba(X), atol=1e-4)

    @pytest.mark.parametrize("objective", ["prompt", "head"])
    def test_a_prediction_does_not_depend_on_its_neighbours(self, objective):
        clf = tuned(objective=objective).fit(X, Y)
        alone = np.vstack([clf.predict_proba([text]) for text in X])
        np.testing.assert_allclose(clf.predict_proba(X), alone, atol=1e-5)

    def test_it_explains_a_row_by_its_tuned_model(self):
        clf = tuned(calibration="batch").fit(X, Y)
        shown = clf.explain(X[0])
        assert "It was" in str(shown)
        np.testing.assert_allclose([one.probability for one in shown.classes], clf.predict_proba(X[:1])[0])

    def test_demonstrations_stand_in_every_prompt_and_are_not_trained_on(self, monkeypatch):
        asked = []
        grouped = module.group_equal  # type: ignore[attr-defined]
        monkeypatch.setattr(
            module, "group_equal", lambda queries, *rest: asked.extend(queries) or grouped(queries, *rest)
        )
        clf = tuned(shots=2).fit(X, Y)
        assert len(asked) == 6
        shown = [text for text in X if all(text in "".join(turn.text for turn in q.context) for q in asked)]
        assert len(shown) == 2
        assert clf.preview(X[:1]).rows[0].n_demonstrations == 2

    def test_it_is_searched_cloned_and_pickled_like_any_other(self):
        grid = {"strategy__learning_rate": [1e-3, 1e-2], "strategy__parameters": ["all", LoRA(2)]}
        search = GridSearchCV(tuned(steps=2), grid, cv=2, error_score="raise").fit(X, Y)
        again = pickle.loads(pickle.dumps(search.best_estimator_))
        np.testing.assert_allclose(again.predict_proba(X), search.predict_proba(X), atol=1e-6)
        head = tuned(objective="head", steps=2).fit(X, Y)
        np.testing.assert_allclose(pickle.loads(pickle.dumps(head)).predict_proba(X), head.predict_proba(X), atol=1e-6)


class TestStopping:
    def test_held_out_examples_say_when_to_stop(self):
        clf = tuned(early_stopping=True, validation_fraction=0.25, steps=60, learning_rate=5e-2).fit(X, Y)
        held = [one.held_out_loss for one in clf.strategy_.history_]
        assert len(held) < 10  # it would have been ten
        best = int(np.argmin(held))
        assert len(held) == best + 1 + training.Pace(1, 1, 1.0).patience

    def test_it_ends_with_the_weights_that_were_best(self, monkeypatch):
        seen = {}
        train = module.train  # type: ignore[attr-defined]

        def spy(model, scores, examples, pace, *, held_out, **options):
            history = train(model, scores, examples, pace, held_out=held_out, **options)
            with torch.no_grad():
                seen["loss"] = training._loss(scores, examples, held_out, 1024, backward=False)
            seen["held"] = held_out
            return history

        monkeypatch.setattr(module, "train", spy)
        clf = tuned(early_stopping=True, validation_fraction=0.25, steps=40, learning_rate=5e-2).fit(X, Y)
        assert len(seen["held"]) == 2
        assert seen["loss"] == pytest.approx(min(one.held_out_loss for one in clf.strategy_.history_), abs=1e-4)

    @pytest.mark.parametrize(("objective", "drops"), [("head", True), ("prompt", False)])
    def test_only_a_new_layer_is_trained_with_dropout_and_never_judged_with_it(self, objective, drops, monkeypatch):
        trained, seen = [], set()
        copied, loss = module.own_copy, training._loss  # type: ignore[attr-defined]

        def copy_of(*args, **kwargs):
            made = copied(*args, **kwargs)
            trained.append(made[0])
            return made

        def watched(*args, backward):
            seen.add((backward, trained[-1].training))
            return loss(*args, backward=backward)

        monkeypatch.setattr(module, "own_copy", copy_of)
        monkeypatch.setattr(training, "_loss", watched)
        before = torch.get_rng_state()
        clf = tuned(objective=objective, early_stopping=True, validation_fraction=0.25).fit(X, Y)
        assert seen == {(True, drops), (False, False)}
        assert not clf.strategy_.model_.model.training
        assert torch.equal(torch.get_rng_state(), before)

    def test_few_examples_are_all_trained_on(self):
        clf = tuned().fit(X, Y)
        assert all(np.isnan(one.held_out_loss) for one in clf.strategy_.history_)

    def test_many_examples_hold_some_out(self):
        many = [f"{text}, {i}" for i in range(15) for text in X]
        clf = tuned(steps=2).fit(many, Y * 15)
        assert np.isfinite(clf.strategy_.history_[-1].held_out_loss)
        for early, held in (("auto", False), (True, True)):  # a new layer only where it is asked for
            clf = tuned(objective="head", steps=2, early_stopping=early).fit(many, Y * 15)
            assert np.isfinite(clf.strategy_.history_[-1].held_out_loss) == held

    def test_a_single_example_a_class_trains_and_warns(self):
        with pytest.warns(FewshotWarning, match="single example"):
            clf = tuned(steps=20).fit(X[:2], Y[:2])
        assert clf.predict(X[:2]).tolist() == Y[:2]

    def test_soft_labels_in_which_no_class_is_alone_warn_of_nothing(self, recwarn):
        soft = Examples(np.ones(8), np.array([[0.7, 0.3]] * 7 + [[0.4, 0.6]]), np.ones(8))
        assert set_examples_apart(soft, "auto", 0.2, np.random.RandomState(0)).size == 0
        assert not recwarn.list
        hard = Examples(np.ones(8), np.array([[1.0, 0.0]] * 7 + [[0.0, 1.0]]), np.ones(8))
        with pytest.warns(FewshotWarning, match="single example"):
            set_examples_apart(hard, "auto", 0.2, np.random.RandomState(0))

    @pytest.mark.parametrize(("n", "steps"), [(4, 8), (32, 8), (96, 8), (20_000, 8)])
    def test_steps_grow_with_the_examples_but_more_slowly(self, n, steps):
        assert n_steps(n, 16) >= steps
        assert n_steps(2 * n, 16) * 16 / (2 * n) <= n_steps(n, 16) * 16 / n


class TestBadInput:
    def test_a_loss_that_is_no_number_stops_with_step_rate_and_cure(self):
        lm = language_model("bert")
        broken = copy.deepcopy(lm.model)
        broken.bert.embeddings.word_embeddings.weight.data[lm.plain.ids(["good"])[0][0]] = float("nan")
        clf = Classifier(lm.around(broken, None), SOURCE, WORDS, FineTuning(calibration=None))
        with pytest.raises(UnsupportedError, match=r"loss became nan in step 1 of .* rate .*Lower learning_rate"):
            clf.fit(X, Y)

    def test_an_interrupt_leaves_the_previous_state(self, monkeypatch):
        clf = tuned(steps=2).fit(X, Y)
        before = clf.predict_proba(X)

        def interrupt(*args, **kwargs):
            raise KeyboardInterrupt

        monkeypatch.setattr(training, "_loss", interrupt)
        with pytest.raises(KeyboardInterrupt):
            clf.fit(X, Y[::-1])
        np.testing.assert_array_equal(clf.predict_proba(X), before)

    def test_out_of_memory_trains_on_with_smaller_parts(self, monkeypatch, caplog):
        expected = tuned().fit(X, Y).predict_proba(X)
        loss, parts = training._loss, []

        def tight(scores, examples, rows, part_tokens, *, backward):
            parts.append(part_tokens)
            if part_tokens > 40:  # after some gradients are there
                loss(scores, examples, rows[:2], part_tokens, backward=backward)
                raise RuntimeError("CUDA out of memory. Tried to allocate 9 bytes")
            return loss(scores, examples, rows, part_tokens, backward=backward)

        monkeypatch.setattr(training, "_loss", tight)
        np.testing.assert_allclose(tuned().fit(X, Y).predict_proba(X), expected, atol=1e-4)
        assert parts == [1024, 512, 256, 128, 64, *[32] * 6]
        assert "Training ran out of memory: going on with batches of 32 tokens" in caplog.text

    def test_without_peft_lora_names_the_pip_line(self, monkeypatch):
        monkeypatch.setattr("fewshot.training.copies.find_spec", lambda name: None)
        with pytest.raises(UnsupportedError, match=r"pip install 'fewshot\[lora\]'"):
            tuned(parameters=LoRA()).fit(X, Y)

    def test_targets_that_the_model_lacks_are_named(self):
        with pytest.raises(UnsupportedError, match="'no_such_layer'"):
            tuned(parameters=LoRA(targets=("no_such_layer",))).fit(X, Y)

    @pytest.mark.parametrize("model", [keyword_lm(), HashEncoder()], ids=["language model", "encoder"])
    @pytest.mark.parametrize("objective", ["prompt", "head"])
    def test_a_model_without_weights_is_refused(self, model, objective):
        with pytest.raises(UnsupportedError, match="trains local"):
            Classifier(model, SOURCE, WORDS, FineTuning(objective)).fit(X, Y)

    def test_an_entailment_model_and_an_encoder_have_no_prompt_to_train(self):
        for model in (language_model("nli"), load(sentence_model())):
            with pytest.raises(UnsupportedError, match="trains local masked, causal"):
                Classifier(model, SOURCE, WORDS, FineTuning()).fit(X, Y)

    def test_more_label_words_than_memory_allows(self, monkeypatch):
        monkeypatch.setattr(module, "available_memory", lambda device: 1000)
        with pytest.raises(InputError, match=r"2 label words puts \d+ tokens .* FineTuning\('head'\)"):
            tuned().fit(X, Y)

    def test_labels_are_needed_and_of_two_classes(self):
        with pytest.raises(InputError, match="learns from labelled rows"):
            tuned().fit(X)
        with pytest.raises(InputError, match=r"two classes. Got those of \['good'\]"):
            tuned().fit(X[:2], ["good", "good"])

    def test_a_calibration_of_class_scores_is_refused(self):
        with pytest.raises(UnsupportedError, match="learnt on class scores"):
            tuned(calibration="learned").fit(X, Y)

    def test_several_templates_and_several_labels_are_refused(self):
        clf = Classifier(language_model("bert"), [SOURCE, "{{ text }} {{ label }}"], WORDS, FineTuning(steps=1))
        with pytest.raises(UnsupportedError, match="one wording"):
            clf.fit(X, Y)
        with pytest.raises(UnsupportedError, match="one class"):
            tuned().fit(X, np.eye(2, dtype=int)[[0, 1] * 4])

    @pytest.mark.parametrize(
        "params",
        [
            {"objective": "both"},
            {"parameters": "some"},
            {"steps": 0},
            {"learning_rate": 0.0},
            {"batch_size": 0},
            {"early_stopping": "maybe"},
            {"validation_fraction": 1.0},
        ],
        ids=str,
    )
    def test_parameters_out_of_range_are_named(self, params):
        with pytest.raises(ValueError, match=f"{next(iter(params))} must be"):
            tuned(**params).fit(X, Y)

    @pytest.mark.parametrize("params", [{"rank": 0}, {"alpha": 0}], ids=str)
    def test_lora_checks_its_numbers(self, params):
        with pytest.raises(ValueError, match=next(iter(params))):
            LoRA(**params)

    def test_a_head_takes_no_shots_and_shows_no_prompt(self):
        with pytest.raises(UnsupportedError, match="leave shots at 0"):
            tuned(objective="head", shots=2).fit(X, Y)
        clf = tuned(objective="head", steps=1).fit(X, Y)
        for method, given in ((clf.preview, X), (clf.label_mass, X), (clf.explain, X[0])):
            with pytest.raises(UnsupportedError, match="asks no prompt"):
                method(given)

    def test_long_texts_are_cut_with_a_warning(self):
        long = ["so good " * 200, *X[1:]]
        with pytest.warns(ShortenedWarning, match="1 of 8 texts exceed"):
            tuned(objective="head", steps=1).fit(long, Y)
        with pytest.warns(ShortenedWarning, match="1 of 8 rows were cut"):
            tuned(steps=1).fit(long, Y)


class TestSequenceClassifier:
    @pytest.mark.parametrize("name", TRAINED)
    def test_it_has_the_body_of_the_language_model(self, name):
        lm = language_model(name)
        with seeded(0):
            classifier = SequenceClassifier(lm, 3)
        body = dict(lm.model.base_model.named_parameters())
        own = dict(classifier.model.base_model.named_parameters())
        shared = own.keys() & body.keys()
        assert len(shared) > 10
        assert all(torch.equal(own[key], body[key]) for key in shared)
        assert classifier.fresh
        rows, cut = classifier.rows(X)
        assert not cut.any()
        alone = np.concatenate([classifier.scores([row]) for row in rows])
        np.testing.assert_allclose(classifier.scores(rows), alone, atol=1e-4)

    def test_an_architecture_without_such_a_class_is_named(self, monkeypatch):
        import transformers

        def none(config, **kwargs):
            raise ValueError("Unrecognized configuration class")

        monkeypatch.setattr(transformers.AutoModelForSequenceClassification, "from_config", none)
        with pytest.raises(UnsupportedError, match="no classification layer for BertModel"):
            SequenceClassifier(language_model("bert"), 2)

    def test_a_tokenizer_without_any_filling_token_is_named(self):
        from types import SimpleNamespace

        from fewshot import ModelLoadError
        from fewshot.training.new_layer import _padding

        tokenizer = SimpleNamespace(pad_token_id=None, eos_token_id=None, bos_token_id=None)
        with pytest.raises(ModelLoadError, match=r"set tokenizer\.pad_token"):
            _padding(tokenizer)


def test_the_shared_pair_is_as_it_was():
    model, _ = pair("bert")
    assert model.config._attn_implementation == "sdpa"
    assert not model.training
