"""Few- and zero-shot text classification with pretrained transformers, behind one scikit-learn estimator.

>>> from fewshot import Classifier
>>> clf = Classifier().fit(None, ["billing", "bug report", "praise"])
>>> clf.predict(["I was charged twice this month"]).tolist()
['billing']

Every public name is imported when it is first used: ``import fewshot`` needs the standard library only.
"""

from __future__ import annotations

from importlib import import_module

__version__ = "0.2.0"

_HOME = {
    "Adaptation": "fewshot.training.adapt",
    "Answer": "fewshot.task.extracts",
    "Auto": "fewshot.strategies.auto",
    "AutomaticVerbalizer": "fewshot.task.automatic",
    "CachedLM": "fewshot.models.wrappers",
    "CausalLM": "fewshot.models.causal",
    "Channel": "fewshot.strategies.channel",
    "ChatLM": "fewshot.models.remote.chat",
    "Choice": "fewshot.task.question",
    "Choices": "fewshot.task.choices",
    "CompletionsLM": "fewshot.models.remote.completions",
    "ConformalClassifier": "fewshot.conformal",
    "Contrastive": "fewshot.strategies.contrastive",
    "Classifier": "fewshot.classifier",
    "DecisionsLM": "fewshot.models.remote.decisions",
    "Distillation": "fewshot.strategies.distillation",
    "Embedding": "fewshot.strategies.embedding",
    "EntailmentLM": "fewshot.models.entailment",
    "Encoder": "fewshot.models.base",
    "ExtractiveModel": "fewshot.models.extractive",
    "Extractor": "fewshot.extractor",
    "FakeLM": "fewshot.models.fake",
    "FewshotError": "fewshot.errors",
    "FewshotWarning": "fewshot.errors",
    "FineTuning": "fewshot.strategies.finetuning",
    "InputError": "fewshot.errors",
    "LabelErrors": "fewshot.labelling.errors",
    "LabelMassWarning": "fewshot.errors",
    "LabelWidget": "fewshot.pages.widget",
    "LabelPriorLogisticRegression": "fewshot.heads.label_prior",
    "LanguageModel": "fewshot.models.base",
    "LoRA": "fewshot.training.lora",
    "LocalDecisionsLM": "fewshot.models.decision",
    "MaskedLM": "fewshot.models.masked",
    "ModelLoadError": "fewshot.errors",
    "NameComparison": "fewshot.labelling.names",
    "NoAnswerWarning": "fewshot.errors",
    "ParameterError": "fewshot.errors",
    "Pick": "fewshot.labelling.picking",
    "PromptTooLongError": "fewshot.errors",
    "Prompting": "fewshot.strategies.prompting",
    "Questionnaire": "fewshot.questionnaire",
    "Query": "fewshot.models.base",
    "Rating": "fewshot.task.question",
    "ReadAnswers": "fewshot.strategies.reading_answers",
    "Readout": "fewshot.strategies.readout",
    "Scores": "fewshot.models.base",
    "SpanHead": "fewshot.strategies.span_head",
    "SentenceEncoder": "fewshot.models.encoder",
    "Seq2SeqLM": "fewshot.models.seq2seq",
    "ServerError": "fewshot.errors",
    "ShortenedWarning": "fewshot.errors",
    "Span": "fewshot.task.spans",
    "Strategy": "fewshot.strategies.base",
    "Tagger": "fewshot.tagger",
    "Task": "fewshot.task.task",
    "Template": "fewshot.task.template",
    "TemplateError": "fewshot.errors",
    "TokenHead": "fewshot.strategies.token_head",
    "UnsupportedError": "fewshot.errors",
    "Verbalizer": "fewshot.task.verbalizer",
    "VerbalizerError": "fewshot.errors",
    "Windows": "fewshot.models.windows",
    "Writer": "fewshot.writer",
    "Written": "fewshot.task.written",
    "YesNo": "fewshot.task.question",
    "act": "fewshot.deciding",
    "adapt": "fewshot.training.adapt",
    "calibration_error": "fewshot.evaluation",
    "coherence": "fewshot.evaluation",
    "compare": "fewshot.evaluation",
    "compare_names": "fewshot.labelling.names",
    "estimate": "fewshot.estimating",
    "evaluate": "fewshot.evaluation",
    "export_decisions": "fewshot.exporting",
    "fit_threshold": "fewshot.conformal",
    "label_errors": "fewshot.labelling.errors",
    "learning_curve": "fewshot.evaluation",
    "lint": "fewshot.linting",
    "lint_answers": "fewshot.linting",
    "lint_spans": "fewshot.linting",
    "load": "fewshot.models.loading",
    "next_to_label": "fewshot.labelling.picking",
    "predict_or_none": "fewshot.conformal",
    "push_to_hub": "fewshot.persistence",
    "select_template": "fewshot.evaluation.templates",
}
_MODULES = {
    "calibration": "fewshot.calibration",
    "datasets": "fewshot.datasets",
    "demonstrations": "fewshot.demonstrations",
    "embedded": "fewshot.embedded",
    "evaluation": "fewshot.evaluation",
    "gallery": "fewshot.task.gallery",
    "plotting": "fewshot.plotting",
}

__all__ = sorted([*_HOME, *_MODULES])  # noqa: PLE0605 - the stub file lists them for type checkers


def __getattr__(name: str) -> object:
    if name in _HOME:
        value = getattr(import_module(_HOME[name]), name)
    elif name in _MODULES:
        value = import_module(_MODULES[name])
    else:
        raise AttributeError(f"module 'fewshot' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
