"""The wrong rows of an evaluation, the classes that are confused, and evaluate for several labels a text."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_array
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import confusion_matrix, f1_score, hamming_loss, precision_recall_fscore_support
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import MultiOutputClassifier
from sklearn.pipeline import make_pipeline
from sklearn.svm import LinearSVC

from fewshot import Classifier, Embedding, InputError
from fewshot.evaluation import Evaluation, MultiLabelEvaluation, evaluate
from tests.contract import HashEncoder
from tests.recorded import LABELS, TEXTS, Plain, Recorded, simulated, written

METRICS = ["micro-F1", "macro-F1", "subset accuracy", "Hamming loss"]


class TestErrors:
    def test_they_are_the_wrong_rows_by_a_plain_loop(self):
        proba, labels = simulated(60)
        texts = written(proba)
        found = evaluate(Recorded(), texts, labels, n_bootstrap=5).errors()
        wanted = []
        for i, (row, label) in enumerate(zip(proba.tolist(), labels, strict=True)):
            said = "abc"[row.index(max(row))]
            if said != label:
                wanted.append((i, texts[i], label, said, max(row), row["abc".index(label)]))
        wanted.sort(key=lambda one: -one[4])
        assert 5 < len(wanted) < 55
        assert list(found.columns) == ["row", "text", "true", "predicted", "probability", "true probability"]
        assert [tuple(row) for row in found.itertuples(index=False)] == wanted

    def test_the_first(self):
        proba, labels = simulated(60)
        result = evaluate(Recorded(), written(proba), labels, n_bootstrap=5)
        pd.testing.assert_frame_equal(result.errors(3), result.errors().head(3))
        assert list(result.errors(0).columns) == list(result.errors().columns)
        assert len(result.errors(0)) == 0

    def test_without_probabilities_in_their_order(self):
        proba, labels = simulated(40)
        found = evaluate(Plain(), written(proba), labels, n_bootstrap=5).errors()
        assert list(found.columns) == ["row", "text", "true", "predicted"]
        assert found["row"].is_monotonic_increasing
        assert len(found) > 1

    def test_no_mistake(self):
        result = evaluate(Recorded(("a", "b")), ["1 0", "0 1"], ["a", "b"], n_bootstrap=5)
        assert len(result.errors()) == len(result.confused()) == 0
        assert result.confusion.to_numpy().tolist() == [[1, 0], [0, 1]]
        assert "true \\ predicted" in str(result)

    @pytest.mark.parametrize("strategy", [None, Embedding()], ids=["auto", "embedding"])
    def test_the_nearest_examples_are_those_of_explain(self, strategy):
        clf = Classifier(HashEncoder(), strategy=strategy, random_state=0).fit(TEXTS[:60], LABELS[:60])
        found = evaluate(clf, TEXTS[60:120], LABELS[60:120], n_bootstrap=5).errors(4)
        assert len(found) == 4
        for text, nearest in zip(found["text"], found["nearest"], strict=True):
            wanted = clf.explain(text).neighbors
            assert [(one.text, one.label) for one in nearest] == [(one.text, one.label) for one in wanted]
            assert [one.similarity for one in nearest] == pytest.approx([one.similarity for one in wanted])
            assert nearest[0].text in TEXTS[:60]

    def test_names_alone_have_no_examples(self):
        clf = Classifier(HashEncoder()).fit(None, sorted(set(LABELS)))
        assert "nearest" not in evaluate(clf, TEXTS[:30], LABELS[:30], n_bootstrap=5).errors()

    def test_rows_of_fields(self):
        class Fields(Recorded):
            def predict_proba(self, X):
                return super().predict_proba([row["text"] for row in X])

        rows = [{"text": "0.9 0.1", "title": "x"}, {"text": "0.2 0.8", "title": "y"}]
        found = evaluate(Fields(("a", "b")), rows, ["b", "b"], n_bootstrap=5).errors()
        assert found["text"].tolist() == [rows[0]]

    @pytest.mark.parametrize("n", [-1, 1.5, True])
    def test_a_bad_number(self, n):
        result = evaluate(Recorded(("a", "b")), ["1 0"], ["a"], n_bootstrap=5)
        with pytest.raises(InputError, match="n must be an integer of at least 0, or None"):
            result.errors(n)
        with pytest.raises(InputError, match="n must be an integer of at least 1"):
            result.confused(0)


class TestConfusion:
    @pytest.mark.parametrize("classes", [("a", "b", "c"), (10, 2, 3), (True, False)])
    def test_it_is_that_of_scikit_learn_also_from_json(self, classes):
        proba, labels = simulated(80, len(classes))
        named = [classes["abc".index(label)] for label in labels]
        result = evaluate(Recorded(classes), written(proba), named, n_bootstrap=5)
        said = np.array(classes)[proba.argmax(axis=1)]
        wanted = confusion_matrix(named, said, labels=np.array(classes))
        for one in (result, Evaluation.from_json(result.to_json())):
            assert one.confusion.to_numpy().tolist() == wanted.tolist()
            assert one.confusion.index.tolist() == one.confusion.columns.tolist() == list(classes)

    def test_the_most_confused_pairs(self):
        proba, labels = simulated(200, 4)
        result = evaluate(Recorded(tuple("abcd")), written(proba), labels, n_bootstrap=5)
        said = np.array(list("abcd"))[proba.argmax(axis=1)].tolist()
        counts = Counter(pair for pair in zip(labels, said, strict=True) if pair[0] != pair[1])
        found = result.confused(3)
        assert found["count"].tolist() == sorted(counts.values(), reverse=True)[:3]
        assert all(counts[a, b] == n for a, b, n in found.itertuples(index=False))

    def test_few_classes_print_a_table_and_many_their_pairs(self):
        proba, labels = simulated(60, 3)
        few = evaluate(Recorded(), written(proba), labels, n_bootstrap=5)
        assert str(few).splitlines()[-4].split() == ["true", "\\", "predicted", "a", "b", "c"]
        assert str(few).splitlines()[-3].split()[1:] == [str(n) for n in few.confusion.loc["a"]]
        assert "<th>predicted</th>" in few._repr_html_()
        many = tuple(f"class {i:02}" for i in range(12))
        wrong = evaluate(Recorded(many), written(np.eye(12)), [*many[1:], many[0]], n_bootstrap=5)
        assert str(wrong).splitlines()[-6].split() == ["most", "confused:", "true", "predicted", "rows"]
        assert str(wrong).splitlines()[-5].split() == ["class", "00", "class", "11", "1"]
        assert "<th>count</th>" in wrong._repr_html_()
        right = evaluate(Recorded(many), written(np.eye(12)), many, n_bootstrap=5)
        assert str(right).splitlines()[-1].startswith("class 11")

    def test_long_names_print_their_pairs(self):
        proba, labels = simulated(60, 3)
        names = {name: name * 50 for name in "abc"}
        result = evaluate(Recorded(tuple(names.values())), written(proba), [names[one] for one in labels])
        assert "most confused: true" in str(result)
        assert "true \\ predicted" not in str(result)

    def test_names_are_escaped(self):
        result = evaluate(Recorded(("<i>", "b")), ["1 0", "1 0"], ["b", "<i>"], n_bootstrap=5)
        assert "<i>" not in result._repr_html_()


class TestJson:
    def test_it_holds_no_rows(self):
        text = evaluate(Recorded(("a", "b")), ["0.75 0.25"], ["b"], n_bootstrap=5).to_json()
        assert "0.75 0.25" not in text
        with pytest.raises(InputError, match="comes from JSON, which holds no rows: call evaluate again"):
            Evaluation.from_json(text).errors()

    def test_that_of_an_earlier_version_is_read(self):
        result = evaluate(Recorded(("a", "b")), ["0.75 0.25"], ["b"], n_bootstrap=5)
        earlier = json.loads(result.to_json())
        del earlier["pairs"]
        again = Evaluation.from_json(json.dumps(earlier))
        pd.testing.assert_frame_equal(again.metrics, result.metrics)
        assert str(again) == str(result).rpartition("\n\n")[0]
        assert again._repr_html_()
        for ask in (again.confused, lambda: again.confusion):
            with pytest.raises(InputError, match="an earlier version wrote without pairs of classes"):
                ask()


class Several(Recorded):
    """Labels' own probabilities stand in the text; a label is predicted above a half."""

    def predict(self, X):
        return (self.predict_proba(X) > 0.5).astype(int)


def several(n=60, n_labels=3, seed=0):
    rng = np.random.default_rng(seed)
    proba = rng.random((n, n_labels)).round(3)
    return proba, (rng.random((n, n_labels)) < proba).astype(int)


class TestMultiLabel:
    @pytest.mark.parametrize("form", [np.array, csr_array, lambda y: pd.DataFrame(y, columns=["a", "b", "c"]), list])
    def test_the_metrics_are_those_of_scikit_learn(self, form):
        proba, true = several()
        y = [row.tolist() for row in true] if form is list else form(true)
        result = evaluate(Several(), written(proba), y, n_bootstrap=5)
        said = proba > 0.5
        wanted = [f1_score(true, said, average="micro"), f1_score(true, said, average="macro")]
        wanted += [(true == said).all(axis=1).mean(), hamming_loss(true, said)]
        assert result.metrics.index.tolist() == METRICS
        assert result.metrics["value"].tolist() == pytest.approx(wanted, abs=1e-12)
        table = precision_recall_fscore_support(true, said, zero_division=0)
        for column, values in zip(["precision", "recall", "f1", "support"], table, strict=True):
            np.testing.assert_allclose(result.labels[column], values, atol=1e-12)
        np.testing.assert_allclose(result.labels["mean probability"], proba.mean(axis=0))
        assert result.labels.index.tolist() == ["a", "b", "c"]

    def test_the_intervals_are_percentiles_of_a_plain_loop(self):
        proba, true = several(15)
        result = evaluate(Several(), written(proba), true, n_bootstrap=40, level=0.8, random_state=5).metrics
        rng, said = np.random.RandomState(5), proba > 0.5
        draws = [rng.randint(15, size=15) for _ in range(40)]
        micro = [f1_score(true[rows], said[rows], average="micro") for rows in draws]
        whole = [(true[rows] == said[rows]).all(axis=1).mean() for rows in draws]
        for name, values in (("micro-F1", micro), ("subset accuracy", whole)):
            assert result.loc[name, ["low", "high"]].tolist() == pytest.approx(np.quantile(values, [0.1, 0.9]))

    def test_the_errors(self):
        texts = ["0.9 0.1 0.8", "0.9 0.1 0.2", "0.6 0.7 0.1", "0.2 0.3 0.1"]
        result = evaluate(Several(), texts, [[1, 0, 0], [1, 0, 0], [0, 0, 0], [0, 0, 1]], n_bootstrap=5)
        found = result.errors()
        assert found["row"].tolist() == [3, 0, 2]
        assert found["true"].tolist() == [("c",), ("a",), ()]
        assert found["predicted"].tolist() == [(), ("a", "c"), ("a", "b")]
        assert found["probability"].tolist() == pytest.approx([0.9, 0.8, 0.7])
        assert len(result.confused()) == 0  # no label was missed where another was added

    def test_confused_labels_are_missed_and_added(self):
        texts = ["0.9 0.1 0.1", "0.9 0.1 0.1", "0.1 0.1 0.9"]
        result = evaluate(Several(), texts, [[0, 1, 0], [0, 1, 0], [1, 1, 0]], n_bootstrap=5)
        assert result.confused().to_numpy().tolist() == [["b", "a", 2], ["a", "c", 1], ["b", "c", 1]]

    def test_it_prints_and_goes_through_json(self):
        proba, true = several()
        result = evaluate(Several(("a", "<b>", "c")), written(proba), true, n_bootstrap=5)
        lines = str(result).splitlines()
        assert lines[0] == "60 rows, 95 % intervals of 5 resamples"
        assert lines[8].split()[:2] == ["label", "precision"]
        assert "&lt;b&gt;" in result._repr_html_()
        again = MultiLabelEvaluation.from_json(result.to_json())
        assert again.to_json() == result.to_json()
        pd.testing.assert_frame_equal(again.labels, result.labels)

    def test_ours_takes_named_columns_in_any_order(self):
        classes = sorted(set(LABELS))
        matrix = np.eye(6, dtype=int)[[classes.index(label) for label in LABELS]]
        matrix[::3, 0] = 1
        frame = pd.DataFrame(matrix, columns=classes)
        clf = Classifier(HashEncoder(), strategy=Embedding()).fit(TEXTS, frame)
        wanted = evaluate(clf, TEXTS, frame, n_bootstrap=5)
        turned = evaluate(clf, TEXTS, frame[classes[::-1]], n_bootstrap=5)
        assert turned.to_json() == wanted.to_json()
        assert wanted.metrics.loc["subset accuracy", "value"] == clf.score(TEXTS, frame)
        nearest = wanted.errors(1)["nearest"] if len(wanted.errors()) else [[None]]
        assert len(nearest[0])
        with pytest.raises(InputError, match=r"The columns of y are .*'odd'.* and the labels of the classifier"):
            evaluate(clf, TEXTS, frame.rename(columns={"praise": "odd"}))

    @pytest.mark.parametrize("make", [OneVsRestClassifier, MultiOutputClassifier])
    def test_those_of_scikit_learn(self, make):
        classes = sorted(set(LABELS))
        matrix = np.eye(6, dtype=int)[[classes.index(label) for label in LABELS]]
        theirs = make_pipeline(TfidfVectorizer(), make(LogisticRegression())).fit(TEXTS, matrix)
        result = evaluate(theirs, TEXTS, pd.DataFrame(matrix, columns=classes), n_bootstrap=5)
        said = theirs.predict(TEXTS)
        assert result.metrics.loc["micro-F1", "value"] == pytest.approx(f1_score(matrix, said, average="micro"))
        assert result.labels.index.tolist() == classes
        proba = theirs.predict_proba(TEXTS)
        proba = np.stack([one[:, 1] for one in proba], axis=1) if isinstance(proba, list) else proba
        np.testing.assert_allclose(result.labels["mean probability"], proba.mean(axis=0))
        plain = make_pipeline(TfidfVectorizer(), OneVsRestClassifier(LinearSVC())).fit(TEXTS, matrix)
        result = evaluate(plain, TEXTS, matrix, n_bootstrap=5)
        assert result.labels.index.tolist() == list(range(6))
        assert "mean probability" not in result.labels

    def test_a_classifier_of_one_class_a_text(self):
        clf = Classifier(HashEncoder()).fit(None, ["a", "b", "c"])
        for one in (clf, Recorded()):
            with pytest.raises(InputError, match="gives a text one class: pass the class of each row"):
                evaluate(one, ["0.5 0.2 0.3"], np.array([[1, 0, 1]]))

    def test_another_number_of_labels(self):
        with pytest.raises(InputError, match="y has 2 columns, and Several predicts 3 labels"):
            evaluate(Several(), ["0.5 0.2 0.3"], np.array([[1, 0]]))
