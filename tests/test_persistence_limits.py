"""A stranger's folder is measured before it is read: nothing hangs, eats memory or fails later."""

from __future__ import annotations

import json
import shutil
import time

import numpy as np
import pytest

from fewshot import Classifier, ConformalClassifier, Embedding, FewshotError, InputError, ModelLoadError
from fewshot.errors import printable
from fewshot.persistence import folder as folders
from fewshot.persistence.chats import check_chat_source
from fewshot.persistence.limits import read_json
from fewshot.persistence.patterns import check_tokenizer, is_linear
from fewshot.persistence.safety import check_model_folder
from fewshot.persistence.typed import check_types
from tests.contract import data, keyword_lm
from tests.kept import EVERY, edited


@pytest.fixture(scope="module")
def encoder_folder(tmp_path_factory):
    from tests.conftest import sentence_model

    clf = Classifier(sentence_model(), strategy=Embedding(), random_state=0).fit(*data(3))
    return clf.save(tmp_path_factory.mktemp("original") / "kept")


@pytest.fixture
def folder(encoder_folder, tmp_path):
    return shutil.copytree(encoder_folder, tmp_path / "kept")


def rewritten(path, change):
    found = json.loads(path.read_text())
    change(found)
    path.write_text(json.dumps(found))
    folders._seal(next(one for one in path.parents if (one / "checksums.json").is_file()))


def refused(folder, match, error=InputError, **options):
    start = time.process_time()
    with pytest.raises(error, match=match) as caught:
        Classifier.load(folder, **options)
    assert str(folder) in str(caught.value)
    assert time.process_time() - start < 3


# JSON and nodes


def bomb(kind):
    """A tuple of tuples of tuples, as a key."""

    def change(config):
        start = len(config["nodes"])
        config["nodes"].append({"tuple": [1, 1]})
        for i in range(kind[1]):
            config["nodes"].append({"tuple": [{"ref": start + i}] * 2})
        last = {"ref": len(config["nodes"]) - 1}
        config["nodes"].append({"dict": [[last, 1]]} if kind[0] == "dict" else {kind[0]: [last]})

    return change


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (bomb(("dict", 15)), "a key or a member of a set stands for more than"),
        (bomb(("frozenset", 15)), "a key or a member of a set stands for more than"),
        (bomb(("list", 60)), "stands for more than 50000000 values"),
        (lambda c: c["nodes"].extend({"list": [{"ref": len(c["nodes"]) - 1}]} for _ in range(1)), None),
        (
            lambda c: c["nodes"].append({"items": ["a"], "dtype": "<U500000000", "shape": [1]}),
            "500000000 characters each",
        ),
        (lambda c: c["nodes"].append({"items": ["a"] * 9, "dtype": "U9" * 99, "shape": [9]}), "it has the type"),
        (lambda c: c["nodes"].append({"list": [10**4000]}), None),
        (lambda c: c["versions"].update(more="[" * 10**5), None),
    ],
)
def test_bombs_of_nodes(light, change, match):
    edited(light, change)
    if match is None:
        Classifier.load(light, model=keyword_lm())
    else:
        refused(light, match, model=keyword_lm())


def test_a_chain_of_nodes_is_too_deep(light):
    def change(config):
        start = len(config["nodes"])
        config["nodes"].append({"list": []})
        config["nodes"].extend({"list": [{"ref": start + i}]} for i in range(50_000))

    edited(light, change)
    refused(light, "nested more than 100 deep", model=keyword_lm())


@pytest.mark.parametrize(
    ("said", "match"),
    [
        (b"[" * 10**6, "about 1000000 values|nested too deep"),
        (b"[" + b"[]," * 9_000_000 + b"[]]", "about 18000002 values, and at most"),
        (b"NaN", "NaN is no number of JSON"),
        (b'{"a": ' + b"9" * 5000 + b"}", "not JSON that can be read"),
        (b"\xff", "not JSON that can be read"),
    ],
)
def test_json_is_bounded(said, match):
    with pytest.raises(InputError, match=match):
        read_json(said, "config.json")


def test_a_random_state_is_within_its_numbers(tmp_path):
    case = EVERY["numpy's names"]
    folder = case.fitted().save(tmp_path / "random")

    def change(config):
        for node in config["nodes"]:
            for pair in node.get("dict", ()):
                if pair[0] == "pos":
                    pair[1] = 10**6

    edited(folder, change)
    refused(folder, "a random state at place 1000000", model=case.given())


def test_a_template_from_a_folder_has_its_limits(light):
    (light / "template-1.jinja").write_text("{{ text }} {{ label }}" + " " * 2**21)
    folders._seal(light)
    refused(light, r"template-1\.jinja in .* is larger than any template", model=keyword_lm())


# arrays


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0])
def test_arrays_that_lead_nowhere(folder, value):
    from safetensors.numpy import load_file, save_file

    path = folder / "arrays.safetensors"
    arrays = load_file(path)
    filled = {name: np.full_like(a, value) if a.dtype.kind == "f" else a for name, a in arrays.items()}
    save_file(filled, path)
    folders._seal(folder)
    if value == 0:  # the numbers of a classifier that knows nothing
        assert np.isfinite(Classifier.load(folder).predict_proba(["a refund"])).all()
    else:
        refused(folder, r"arrays\.safetensors in .* holds NaN|do not fit together|lead to NaN")


def test_arrays_that_do_not_fit(folder):
    from safetensors.numpy import load_file, save_file

    path, config = folder / "arrays.safetensors", json.loads((folder / "config.json").read_text())
    arrays = load_file(path)
    wide = {node["array"]: node["shape"] for node in config["nodes"] if node.get("shape", [0])[-1] == 32}
    save_file(arrays | {name: np.zeros((*shape[:-1], 31)) for name, shape in wide.items()}, path)
    edited(folder, lambda c: [node["shape"].__setitem__(-1, 31) for node in c["nodes"] if node.get("array") in wide])
    refused(folder, "do not fit together")
    save_file(arrays, path)
    edited(
        folder, lambda c: [node["shape"].__setitem__(-1, 10**12) for node in c["nodes"] if node.get("array") in wide]
    )
    refused(folder, "not of shape")


def test_a_set_of_no_certainty(tmp_path):
    case = EVERY["conformal"]
    folder = case.fitted().save(tmp_path / "conformal")
    edited(
        folder,
        lambda c: [
            node["attributes"].update(quantile_={"float": "nan"})
            for node in c["nodes"]
            if "Conformal" in str(node.get("object"))
        ],
    )
    with pytest.raises(InputError, match=r"ConformalClassifier has the attribute quantile_=nan"):
        ConformalClassifier.load(folder, model=case.given())


# models


@pytest.mark.parametrize(
    ("key", "value", "match"),
    [
        ("num_hidden_layers", 1_000_000, "asks for more than there is"),
        ("num_hidden_layers", 10**12, "sets 'num_hidden_layers' to 1000000000000"),
        ("hidden_size", 10**6, "asks for more than there is|makes no model"),
        ("hidden_size", 36, "is not the one that was kept|makes no model that works"),
        ("hidden_size", "x", "makes no model: (StrictDataclassField|Type)"),
        ("vocab_size", 10**6, "asks for more than there is"),
        ("max_position_embeddings", 10**9, "asks for more than there is"),
        ("num_labels", 10**7, "sets 'num_labels' to 10000000"),
        ("activation_function", "os.getcwd", r"names the function 'os\.getcwd'"),
        ("hidden_act", "none", "makes no model: KeyError"),
        ("num_attention_heads", 0, "makes no model: ZeroDivisionError"),
        ("model_type", "none", "makes no model"),
        ("num_hidden_layers", 1, "is not the one that was kept"),
        ("pad_token_id", 10**6, "makes no model"),
        ("architectures", ["Trainer", "\x1b[2J"], "control characters"),
    ],
)
def test_a_config_beyond_its_weights(folder, key, value, match):
    rewritten(folder / "models/0/config.json", lambda c: c.update({key: value}))
    refused(folder, match, FewshotError)


@pytest.mark.parametrize("size", [0, 7, 100, -5])
def test_weights_that_are_cut_short(folder, size):
    path = folder / "models/0/model.safetensors"
    path.write_bytes(path.read_bytes()[:size])
    folders._seal(folder)
    refused(folder, r"0/model\.safetensors is not a whole safetensors file")


def test_weights_of_nan(folder):
    from safetensors.numpy import load_file, save_file

    path = folder / "models/0/model.safetensors"
    save_file({name: np.full_like(array, np.nan) for name, array in load_file(path).items()}, path, {"format": "pt"})
    folders._seal(folder)
    refused(folder, r"models/0 in .* makes no model that works: .*NaN", ModelLoadError)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"cache_bytes": "x"}, "loads a model with cache_bytes='x', which is no such option"),
        ({"cache_bytes": -1}, "no such option"),
        ({"windows": {"stride": 3}}, "no such option"),
        ({"windows": {"stride": "x", "reduce": "mean"}}, "not what save writes|TypeError"),
        ({"chat": "yes"}, "no such option"),
    ],
)
def test_options_of_a_model(folder, options, match):
    edited(folder, lambda c: c["models"][0]["options"].update(options))
    refused(folder, match, FewshotError)


def test_a_device_that_is_none(light):
    said = {"kept": "name", "name": "embedded:masked", "revision": None, "asked_dtype": "auto", "dtype": "float32"}
    edited(light, lambda c: c["models"][0].update(**said, device="foo", options={}))
    refused(light, "a model on the device 'foo', and there is no such kind of device")


def test_types_of_parameters():
    from fewshot import Contrastive, Prompting

    good = Prompting().get_params()
    check_types(Prompting, {**good, "shots": np.int64(3), "max_shot_tokens": 4})
    for name, value in [("shots", "x"), ("shots", True), ("read", "aloud"), ("max_shot_tokens", 1.5), ("order", 3)]:
        with pytest.raises(InputError, match=f"Prompting has the attribute {name} of .* Got {value!r}"):
            check_types(Prompting, {**good, name: value})
    with pytest.raises(InputError, match="learning_rate=nan"):
        check_types(Contrastive, {"learning_rate": float("nan")})


# tokenizers and chat templates


GOOD = [
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    r"(?i:'s|'t|'re|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{M}]*[\p{Ll}\p{Lm}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}",
    r" ?[^(\s|[.,!?…。，、।۔،])]+",
    r"(?=(\d{3})+(?!\d))| ?\p{L}+",
]
BAD = [
    r"(a+)+$",
    r"(a|a)*b",
    r"(.*)*",
    r"(a?){20}",
    r"(?:\s*x*)+",
    r"(a)\1+",
    r"a**",
    r"(?>(a+)+)",
    r"a*a*a*a*a*b",
    "a" * 20_000,
]


def test_regular_expressions_that_end():
    assert [is_linear(one) for one in GOOD] == [True] * len(GOOD)
    assert [is_linear(one) for one in BAD] == [False] * len(BAD)


@pytest.mark.parametrize(
    ("rules", "match"),
    [
        ({"pre_tokenizer": {"type": "Split", "pattern": {"Regex": "(a+)+$"}}}, "repeats what repeats"),
        ({"normalizer": {"type": "Replace", "pattern": {"Regex": "(a|a)*b"}, "content": ""}}, "repeats what repeats"),
        (
            {
                "normalizer": {
                    "type": "Sequence",
                    "normalizers": [{"type": "Replace", "pattern": {"String": "a"}, "content": "aa"}] * 30,
                }
            },
            "times as long",
        ),
        ({"normalizer": {"type": "Prepend", "prepend": "a" * 10**6}}, "puts 1000000 characters"),
        ({"padding": {"strategy": {"Fixed": 10**9}}}, "has the number 1000000000"),
        ({"pre_tokenizer": {"type": "FixedLength", "length": 0}}, "pieces of length 0"),
        ({"post_processor": {"type": "T", "single": [{"Sequence": {}}] * 99, "pair": []}}, "repeats a text 98 times"),
        ({"model": {"vocab": {"a": 10**9}}}, "a token of the number 1000000000"),
        ({"added_tokens": [{"id": -1}]}, "a token of the number -1"),
        ([], "holds no rules"),
    ],
)
def test_rules_of_a_tokenizer(rules, match):
    with pytest.raises(InputError, match=match):
        check_tokenizer(rules, "tokenizer.json")


def test_a_tokenizer_that_breaks_is_no_panic(folder):
    """An expression that Rust's library refuses ends in a panic there, which is no Exception."""
    rewritten(
        folder / "models/0/tokenizer.json",
        lambda c: c.update(
            pre_tokenizer={"type": "Split", "pattern": {"Regex": "[a"}, "behavior": "Isolated", "invert": False}
        ),
    )
    refused(folder, "makes no model that works|repeats", FewshotError)


CHATS = [
    "{{ 'a' * 10**9 }}",
    "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}",
    "{% set x = 'a' %}{% for m in messages %}{% set x = x ~ x %}{% endfor %}",
    "{% set ns = namespace(x='a') %}{% for m in messages %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
    "{{ 'a'.center(10) }}",
    "{{ '%99999999d' % 3 }}",
    "{{ 'x' | center(100000000) }}",
    "".join(f"{{% macro m{i}() %}}{{{{ m{i + 1}() }}}}{{{{ m{i + 1}() }}}}{{% endmacro %}}" for i in range(30)),
    "{% for",
]


def test_chat_templates_that_end():
    for one in CHATS:
        with pytest.raises(InputError, match="the chat template"):
            check_chat_source(one, "chat_template.jinja")
    check_chat_source(
        "{% set ns = namespace(system='') %}{% for m in messages if m['role'] == 'system' %}"
        "{% set ns.system = ns.system + m.content %}{% endfor %}{% for m in messages %}"
        "{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] | trim + '<|im_end|>' }}{% endfor %}"
        "{% generation %}{{ loop }}{% endgeneration %}",
        "chat_template.jinja",
    )


# messages


def test_no_message_moves_a_terminal(light):
    evil = "\x1b[2J\x07\x9b31m\u202e"
    assert printable(f"a\n\t{evil}") == "a\n\t\\x1b[2J\\x07\\x9b31m\\u202e"
    edited(light, lambda c: c["models"][0].update(shown=evil, because=evil))
    with pytest.raises(FewshotError) as caught:
        Classifier.load(light)
    assert "\\x1b[2J" in str(caught.value)
    assert printable(str(caught.value)) == str(caught.value) == caught.value.args[0]


def test_only_small_folders_of_models_are_checked_fast(encoder_folder):
    """The check builds the model without its numbers: it takes no longer than a fraction of loading it."""
    model = encoder_folder / "models/0"
    files = [path.relative_to(model).as_posix() for path in model.rglob("*") if path.is_file()]
    check_model_folder(model, files)
    start = time.process_time()
    check_model_folder(model, files)
    assert time.process_time() - start < 2
