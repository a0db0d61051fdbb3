"""Label sets: the types as the public data sets spell them, names that a verbalizer takes, and Tagger by their name."""

from __future__ import annotations

import pytest

from fewshot import Tagger, Verbalizer, VerbalizerError, gallery, load
from tests.conftest import sentence_model

#: As src/dataloader.py of CrossNER, the README of WNUT-17, and the guidelines of the other two have them.
SIZES = {
    "conll2003": 4,
    "crossner_ai": 14,
    "crossner_literature": 12,
    "crossner_music": 13,
    "crossner_politics": 9,
    "crossner_science": 17,
    "ontonotes5": 18,
    "wnut17": 6,
}


def test_they_are_listed():
    assert gallery.list_label_sets() == list(SIZES)
    assert not any("label_sets" in name for name in gallery.names())


@pytest.mark.parametrize("name", SIZES)
def test_each_has_its_types_and_names_that_tell_them_apart(name):
    found = gallery.get_label_set(name)
    assert len(found.words) == SIZES[name]
    assert set(Verbalizer(found.words).classes) == set(found.words)
    assert found.description
    assert "(20" in found.source


def test_types_are_found_however_they_are_spelt():
    wnut = gallery.get_label_set("wnut17")
    assert wnut.take(["creative_work", "PERSON"]) == {"creative_work": ["film", "song", "book"], "PERSON": "person"}
    assert gallery.get_label_set("ontonotes5").take(["work of art"])["work of art"] == ["book", "song", "film"]


def test_what_there_is_not():
    with pytest.raises(VerbalizerError, match=r"no label set 'conll2004'; there are: conll2003"):
        gallery.get_label_set("conll2004")
    with pytest.raises(VerbalizerError, match=r"no label set '\.\./sst2'"):
        gallery.get_label_set("../sst2")
    with pytest.raises(VerbalizerError, match=r"'conll2003' has no type 'VESSEL': it has PER, ORG, LOC, MISC"):
        gallery.get_label_set("conll2003").take(["PER", "VESSEL"])


def test_a_tagger_takes_the_names_of_the_types_that_are_annotated(tmp_path):
    X, y = [["Ada", "left", "Rome"], ["It", "rained"]], [["B-PER", "O", "B-LOC"], ["O", "O"]]
    encoder = load(sentence_model())
    tagger = Tagger(encoder, verbalizer="conll2003").fit(X, y)
    assert tagger.classes_.tolist() == ["LOC", "PER"]
    assert tagger.verbalizer_.words == (("place",), ("person",))
    by_hand = Tagger(encoder, verbalizer={"LOC": "place", "PER": "person"}).fit(X, y)
    assert tagger.predict_spans(X) == by_hand.predict_spans(X)
    again = Tagger.load(tagger.save(tmp_path / "kept"))
    assert again.verbalizer == "conll2003"
    assert again.predict_spans(X) == tagger.predict_spans(X)
