"""Rows that bring their own choices, templates that show them, and a model whose scores depend on all of a prompt."""

from __future__ import annotations

import zlib

from fewshot import Classifier, FakeLM, Prompting

NAMED = (
    "---\nchoices: [choice1, choice2]\nchoice: '{{ choice[:1] | lower }}{{ choice[1:] }}'\n"
    "domain_premise: \"{{ 'because ' if question == 'cause' else 'so ' }}\"\n---\n"
    "{{ premise }} {{ 'because' if question == 'cause' else 'so' }} {{ label }}."
)
LISTED = (
    "---\nchoices: options\n---\n{{ q }}\n{% for choice in labels %}- {{ choice }}\n{% endfor %}Answer: {{ label }}"
)
COPA = [
    {"premise": "The app was slow", "question": "cause", "choice1": "The update failed", "choice2": "I love it"},
    {"premise": "I was charged twice", "question": "effect", "choice1": "It was great", "choice2": "I asked for money"},
    {"premise": "The parcel came late", "question": "cause", "choice1": "It rained", "choice2": "The sun was out"},
    {"premise": "My card expired", "question": "effect", "choice1": "The payment failed", "choice2": "I slept"},
]
RIGHT = [0, 1, 0, 0]
QUIZ = [
    {"q": "Which is a colour?", "options": ["red", "a dog", "seven of them"]},
    {"q": "Which flies?", "options": ["a stone", "a bird"]},
    {"q": "Which is wet?", "options": ["the wide sea", "fire", "sand"]},
    {"q": "Who barks?", "options": ["a dog", "a cat"]},
    {"q": "Which is a fruit?", "options": ["a chair", "an apple", "a nail"]},
    {"q": "Which is a tool?", "options": ["a cloud", "the rain", "a nail"]},
]
ANSWERS = [0, 1, 0, 0, 1, 2]


def said(prefix, word, suffix=""):
    """A log-probability that depends on all of the text."""
    return -1.0 - zlib.crc32(f"{prefix}|{word}|{suffix}".encode()) / 2**30 - 0.1 * len(word)


def score(query):
    before = "".join(turn.text for turn in query.context) + query.prefix
    return [said(before, word, query.suffix) for word in query.candidates]


def lm(**params):
    return FakeLM(score, **params)


def classifier(template=NAMED, verbalizer=None, strategy=None, model=None):
    return Classifier(model or lm(), template, verbalizer, strategy or Prompting(), random_state=0)
