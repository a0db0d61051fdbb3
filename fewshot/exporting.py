"""Exporting: a fitted classifier as a decision model of transformers, where its settings can say the same."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

from sklearn.utils.validation import check_is_fitted

from fewshot.calibration import BestOf, Temperature
from fewshot.errors import UnsupportedError
from fewshot.models.remote.planning import plan
from fewshot.models.remote.systemone import SYSTEM_ONE
from fewshot.persistence.folder import write_model_folder
from fewshot.strategies.auto import Auto
from fewshot.strategies.prompting import Prompting

__all__ = ["export_decisions"]

_PROBES = ("A text.", "Another one")


def export_decisions(clf: Any, folder: str | Path) -> dict[str, Any]:
    """Write a fitted classifier as a folder for ``pipeline("decision")`` of transformers.

    The pipeline gives the same answers as the classifier. The folder has the weights, the tokenizer, ``decision.json``
    and, if the model has one, its ``decision_template.jinja``. These files can store one temperature for each type of
    question, and nothing else that is learnt. Anything else that changes the classifier's answers is an error.

    Parameters
    ----------
    clf : Classifier
        Fitted with a decision model (``load(name, decision=True)``), by `Prompting` without demonstrations and with
        ``calibration`` None or "temperature", or by an `Auto` that chose this.
    folder : str or Path
        A new folder. It is written whole or not at all.

    Returns
    -------
    dict
        The question of the classifier, in the format of System One. Its options are the label words, in the order of
        ``classes_``; its state is the text.

    Raises
    ------
    InputError
        When the folder exists, or can't be written.
    UnsupportedError
        When the files of a decision model can't store what the classifier does; the message names it.

    Examples
    --------
    >>> from tempfile import mkdtemp
    >>> from fewshot import Classifier, Prompting, export_decisions, load
    >>> lm = load("embedded:causal", decision=True)
    >>> clf = Classifier(lm, strategy=Prompting(calibration="temperature"))
    >>> clf = clf.fit(["Charged twice!", "It crashes."], ["billing", "bug"])
    >>> question = export_decisions(clf, f"{mkdtemp()}/team")
    >>> question["instructions"], list(question["criteria"])
    ('Which of the options fits this text best?', ['billing', 'bug'])
    """
    check_is_fitted(clf)
    asking = _asking(clf)
    lm, calibration = clf.model_, asking.calibration
    question = _question(asking, lm)
    config, kind = copy.deepcopy(lm.config), question["type"]
    if isinstance(calibration, Temperature):
        config.temperature[kind] = config.temperature.get(kind, 1.0) * calibration.temperature_
    with write_model_folder(folder) as part:
        lm.save_pretrained(str(part))
        config.save_pretrained(part)
    return question


def _asking(clf: Any) -> Any:
    """What asks the classifier's question, once it has been seen that the settings can say all that it does."""
    from fewshot.models.decision import LocalDecisionsLM

    strategy = getattr(clf, "strategy_", None)
    if isinstance(strategy, Auto):
        if getattr(strategy, "beside_", ()):
            raise _refusal("averages several ways to ask")
        strategy = strategy.chosen_
    if not isinstance(strategy, Prompting):
        raise _refusal(f"has learnt what {type(strategy or clf).__name__} learns")
    if not isinstance(clf.model_, LocalDecisionsLM):
        raise _refusal(f"asks {clf.model_!r}, which is no decision model: load it with decision=True")
    task = strategy.task_
    if task.multi_label:
        raise _refusal("gives a text several labels")
    if task.others:
        raise _refusal("averages several templates")
    if strategy.demonstrations_.size or strategy.selector_ is not None:
        raise _refusal("shows demonstrations")
    if strategy.read == "generate":
        raise _refusal("reads a generated answer")
    if task.verbalizer.per_row or any(len(words) > 1 for words in task.verbalizer.words):
        raise _refusal("has other options than one label word a class")
    (asking,) = strategy.askings_
    calibration = asking.calibration.chosen_ if isinstance(asking.calibration, BestOf) else asking.calibration
    if calibration is not None and not isinstance(calibration, Temperature):
        raise _refusal(f"is calibrated by {type(calibration).__name__}, and not by calibration='temperature' or None")
    return asking


def _question(asking: Any, lm: Any) -> dict[str, Any]:
    """The question about every text, as the wire spells it."""
    template = asking.task.template
    if len(template.fields) > 1:
        raise _refusal(f"writes the fields {', '.join(template.fields)} into one state")
    found = []
    for text in _PROBES:
        (queries,) = asking.ask([text]).forms
        if len(queries) > 1:
            raise _refusal(f"asks about a text in {len(queries)} orders of the options")
        (batch,) = plan(queries, lm.name, SYSTEM_ONE, repr(lm))
        if batch.request.state != text:
            raise _refusal(f"writes {batch.request.state!r} where the text is {text!r}")
        named = replace(batch.request, questions=(replace(batch.request.questions[0], name="q"),))
        found.append(SYSTEM_ONE.write_request(named)["questions"]["q"])
    if found[0] != found[1]:
        raise _refusal("asks another question about another text")
    question: dict[str, Any] = found[0]
    return question


def _refusal(why: str) -> UnsupportedError:
    return UnsupportedError(
        f"The classifier can't be exported: it {why}, and the settings of a decision model can't express that."
    )
