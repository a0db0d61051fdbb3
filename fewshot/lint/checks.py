"""The checks of a template: its fields, the text around the hole, its label words, and the tokens of rows."""

from __future__ import annotations

import difflib
import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from fewshot.errors import FewshotError, PromptTooLongError, TemplateError, VerbalizerError
from fewshot.lint.report import LEVELS, NEUTRAL, Finding, Level, LintReport, TokenCounts, WordLine
from fewshot.models.base import Query, Turn, is_language_model, is_window, kind_of
from fewshot.task.choices import Choices
from fewshot.task.prompt import Prompt, fit_to_window
from fewshot.task.template import Row, Template
from fewshot.task.verbalizer import Verbalizer

__all__ = ["Linter"]

_CANDIDATE = "candidate"  # the field that the label in question fills where a template has answers
_MASS_FLOOR = 0.01  # below it, Prompting warns as well
_LONG = 2000  # characters: about 500 tokens, which is all that many encoders and masked models read
_UNEVEN = 2  # how many times as long as another a choice must be to be called longer
_FAR = 10.0  # how many times more probable than every other class a class must be to be called a favourite


class Linter:
    """One look at one template: the checks share its rendered rows, and each adds what it finds."""

    def __init__(self, template: Template, model: Any, rows: list[Row], verbalizer: Any) -> None:
        self.template, self.model, self.rows = template, model, rows
        self.kind = kind_of(model) if model is not None else None
        self.findings: list[Finding] = []
        self.answers = template.metadata.get("answers")
        self.verbalizer = self._verbalizer(template.words if verbalizer is None else verbalizer)
        self.labels = self.verbalizer.labels if self.verbalizer else ()
        self.by_length = isinstance(verbalizer, Choices) and verbalizer.token_aggregation != "sum"
        self.own: list[tuple[str, ...]] = []  # of the rows that fill the template, where they bring their choices
        if self.answers:  # the label words stand in the prompt, and yes or no in the hole
            self.asked: Verbalizer | None = Verbalizer({str(key): word for key, word in self.answers.items()})
        else:
            self.asked = self.verbalizer
        self.context: tuple[Turn, ...] = ()

    def found(self, level: Level, message: str, cure: str) -> None:
        """Add a finding."""
        self.findings.append(Finding(level, message, cure))

    def report(self) -> LintReport:
        """Run every check that applies."""
        try:
            self.context = self.template.context((), self.labels or self._neutral_choices())
        except TemplateError as error:
            self.found("error", str(error), "An instruction may use {{ labels }} only: no field of a row.")
        so_far = len(self.findings)
        missing, unused = self._columns()
        prompts = self._rendered(explained=any(one.level == "error" for one in self.findings[so_far:]))
        blank = self._neutral()
        sample = blank or (prompts[0] if prompts else None)
        if sample is not None:
            self._around(sample)
        self._spellings()
        self._choices()
        self._marks(prompts)
        tokens, lines, mass = None, self._lines(), None
        try:
            if self.kind == "encoder":
                tokens, lines = self._encoded(), self._frames()
            elif self.kind is not None:
                tokens = self._counted(prompts, blank)
                if blank is not None and (tokens is None or (tokens.overhead or 0) <= tokens.limit):
                    lines, mass = self._scored(blank)
        except (FewshotError, ValueError) as error:
            self.found("error", str(error), "Change what the message names; words go into verbalizer={class: word}.")
        hole = None if sample is None else (_tail(sample.prefix), _head(sample.suffix))
        return LintReport(
            template=self.template.name or repr(self.template),
            model=None if self.model is None else repr(self.model),
            fields=self.template.fields,
            missing=missing,
            unused=unused,
            n_rows=len(self.rows),
            hole=hole,
            tokens=tokens,
            words=tuple(lines),
            mass=mass,
            findings=tuple(sorted(self.findings, key=lambda one: LEVELS.index(one.level))),
        )

    # fields

    def _columns(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The fields that no row has, and the columns that the template does not use."""
        fields = [name for name in self.template.fields if not (self.answers and name == _CANDIDATE)]
        if not self.rows:
            return (), ()
        if isinstance(self.rows[0], str):
            if len(fields) > 1:
                cure = "Pass a DataFrame, or mappings, with one column a field."
                self.found("error", f"The template uses the fields {fields}, and the rows are plain texts.", cure)
            return (), ()
        columns = list(dict.fromkeys(str(key) for row in self.rows for key in row))
        missing = tuple(name for name in fields if name not in columns)
        unused = tuple(name for name in columns if name not in fields)
        for name in missing:
            near = difflib.get_close_matches(name, unused, n=1, cutoff=0.5) or list(unused if len(unused) == 1 else ())
            cure = f'Write {{{{ {near[0]} }}}}, or use template.rename({name}="{near[0]}").' if near else ""
            optional = self._fills(self.rows[0])  # a field behind "is defined" may be missing
            self.found(
                "hint" if optional else "error",
                f"The template uses the field {name!r}, and no row has it. The columns are {columns}.",
                cure or f"Rename the field or the column, or guard it: {{% if {name} is defined %}}.",
            )
        return missing, unused

    def _fills(self, row: Row) -> bool:
        try:
            self._prompt(row)
        except FewshotError:
            return False
        return True

    def _prompt(self, row: Row) -> Prompt:
        if self.answers and _CANDIDATE in self.template.fields:
            own = [name for name in self.template.fields if name != _CANDIDATE]
            given = row if isinstance(row, Mapping) else dict.fromkeys(own, row)
            row = {**given, _CANDIDATE: max(self.labels, key=len, default=NEUTRAL)}
        return self.template.prompt(row, self.labels)

    def _rendered(self, explained: bool) -> list[Prompt]:
        """The prompts of the rows that fill the template; why others do not may be explained already."""
        prompts, failed = [], []
        for i, row in enumerate(self.rows):
            try:
                prompts.append(self._prompt(row))
                if self.template.choices is not None:
                    self.own.append(self.template.choices_of(row))
            except FewshotError as error:
                failed.append(f"the first, row {i}: {str(error).rstrip('.')}.")
        if failed and not explained:
            message = f"{len(failed)} of {len(self.rows)} rows can't fill the template; {failed[0]}"
            self.found("error", message, "Fill or drop these rows, or make the template allow them.")
        return prompts

    def _neutral(self) -> Prompt | None:
        row: dict[str, Any] = dict.fromkeys(self.template.fields, NEUTRAL)
        if isinstance(self.template.choices, str):
            row[self.template.choices] = list(self._neutral_choices())
        return self._prompt(row) if self._fills(row) else None

    def _neutral_choices(self) -> tuple[str, ...]:
        return (NEUTRAL,) * (2 if isinstance(self.template.choices, str) else len(self.template.choice_fields))

    # blanks

    def _around(self, prompt: Prompt) -> None:
        """Blanks before the hole and after it, and words that would run into the text."""
        before, after = prompt.prefix, prompt.suffix
        gap = before[len(before.rstrip()) :]
        on_line = gap.rpartition("\n")[2]
        words = self.asked.candidates if self.asked else ()
        if len(on_line) > 1 or "\t" in on_line:
            self.found(
                "warning",
                f"{on_line!r} stands before the hole, and the model reads every one of these blanks.",
                "Keep one blank. It need not go: it is tokenised together with the word, as the tokenizer wants it.",
            )
        elif not gap and self._glued(before[-1:], words):
            self.found(
                "warning" if before[-1].isalnum() else "hint",
                f"Nothing separates the hole from {_tail(before)!r}, so a word would read "
                f"{_tail(before, 8) + (words[0] if words else 'word')!r}.",
                "Write a blank before {{ label }}. It is safe here: the model tokenises it together with the word.",
            )
        if after[:1].isascii() and after[:1].isalnum():
            cure = "Write a blank or a punctuation mark after {{ label }}."
            self.found("warning", f"The text after the hole, {_head(after)!r}, runs into the word.", cure)
        if after != after.rstrip():
            self.found(
                "warning",
                f"The template ends with {after[len(after.rstrip()) :]!r}. A causal model scores it with every label "
                "word, and every demonstration ends with it before the separator.",
                "Remove it. The one line break that ends a file is taken off already.",
            )
        odd = [word for word in words if word != word.strip()]
        if odd:
            doubled = "" if not gap else " Before the hole stands a blank already."
            cure = "Write blanks into the template, and the bare word into the verbalizer."
            self.found("warning" if gap else "hint", f"Blanks are part of label words: {_listed(odd)}.{doubled}", cure)
        rest = itertools.dropwhile(lambda piece: piece.place.kind != "hole", prompt.pieces)
        if self.kind == "causal" and any(piece.place.kind == "field" for piece in rest):
            self.found(
                "hint",
                "A field stands after the hole. A causal model can't read it before it answers: it scores that text "
                "again after every label word.",
                "Move {{ label }} to the end, or use a masked model, or strategy=Channel() where that is meant.",
            )

    def _glued(self, last: str, words: Sequence[str]) -> bool:
        """Whether a word would touch the text before it; in a chat it begins a turn, and some words bring a blank."""
        brings_its_own = bool(words) and all(word[:1].isspace() for word in words)
        starts = getattr(self.model, "chat", False) or last in ("", *"([{<\"'")
        return last.isascii() and not brings_its_own and not starts

    # words

    def _verbalizer(self, words: Any) -> Verbalizer | None:
        if self.template.choices is not None:
            if words is not None and not isinstance(words, Choices):
                message = f"The template takes its choices from each row, and there are label words: {words!r}."
                self.found("error", message, "Leave the verbalizer out, or pass Choices(token_aggregation='mean').")
            return None
        if words is None:
            if self.kind is not None and not self.answers:
                cure = "Pass verbalizer={class: word}, or write 'words' into the front matter."
                self.found(
                    "hint", "No label words are known, so none are looked at; a short one stands for them.", cure
                )
            return None
        try:
            made = words if isinstance(words, Verbalizer) else Verbalizer(words)
        except VerbalizerError as error:
            self.found("error", str(error), "Give every class a word of its own: verbalizer={class: word}.")
            return None
        if len(made.words) < 2:
            cure = "Name at least two classes."
            self.found("error", f"There is one class, {made.labels[0]!r}, and nothing to choose between.", cure)
        return made

    def _spellings(self) -> None:
        """Words that differ only by case, or of which one begins another."""
        words = self.asked.candidates if self.asked else ()
        spelt: dict[str, list[str]] = {}
        for word in words:
            spelt.setdefault(word.strip().casefold(), []).append(word)
        for same in spelt.values():
            if len(same) > 1:
                self.found(
                    "warning",
                    f"The label words {_listed(same)} differ only by case or blanks: an uncased model refuses them, "
                    "and free answers are matched without case.",
                    "Keep one of them, or choose another word for one class.",
                )
        if is_window(self.model):  # then first tokens are compared
            return
        for short in spelt:
            longer = [spelt[word][0] for word in spelt if word != short and word.startswith(short)]
            if longer:
                self.found(
                    "hint",
                    f"The label word {spelt[short][0]!r} begins {_listed(longer)}, so they may share their first "
                    "tokens; all words are then scored with what would end an answer.",
                    "Choose words that begin differently, or lint with a model to see their tokens.",
                )

    def _choices(self) -> None:
        """Whether a model can choose among what rows bring, and whether length would decide."""
        if self.template.choices is not None and self.kind == "encoder":
            cure = "Use a language model, such as 'embedded:masked' or 'embedded:causal'."
            self.found("error", "The template takes its choices from each row, and an encoder compares no such.", cure)
        fair = self.by_length or self.template.metadata.get("domain_premise") is not None
        uneven = sum(len(max(own, key=len)) > _UNEVEN * len(min(own, key=len)) for own in self.own)
        if uneven > len(self.own) / 4 and not fair:
            self.found(
                "hint",
                f"In {uneven} of {len(self.own)} rows one choice is more than {_UNEVEN} times as long as another, and "
                "a longer text is less probable for that alone.",
                "Use verbalizer=Choices(token_aggregation='mean'), or a domain_premise with calibration='pmi'.",
            )

    def _lines(self) -> list[WordLine]:
        if self.asked is None:
            return []
        names = self.asked.classes or self.asked.labels
        pairs = zip(names, self.asked.words, strict=True)
        return [WordLine(str(name), word) for name, group in pairs for word in group]

    def _frames(self) -> list[WordLine]:
        """An encoder compares texts with the frame of each class."""
        return [replace(line, frame=self.template.frame(line.word, self.labels)) for line in self._lines()]

    def _scored(self, blank: Prompt) -> tuple[list[WordLine], float | None]:
        """Score the words once, after a text without content."""
        lines = self._lines()
        if self.asked is None or not is_language_model(self.model) or self.kind is None:
            return lines, None
        query = blank.query(self.asked.candidates, self.context, self.kind)
        scores = self.model.loglikelihoods([query])[0]
        if not np.isfinite(scores.logprobs.max()):
            raise ValueError(f"{self.model!r} gave NaN or infinite scores: its weights or number type are broken.")
        shares = np.exp(scores.logprobs - np.logaddexp.reduce(scores.logprobs))
        entails = self.kind == "entailment"  # it reads whole sentences, and its words have no tokens of their own
        firsts = [None] * len(lines) if entails else self._firsts(query)
        made = [
            replace(line, n_tokens=None if entails else int(n), first=first, probability=float(p), share=float(share))
            for line, n, first, p, share in zip(
                lines, scores.n_tokens, firsts, np.exp(scores.logprobs), shares, strict=True
            )
        ]
        mass = None if np.isnan(scores.mass) else float(scores.mass)
        self._judge(made, mass)
        self._told(query, made)
        return made, mass

    def _firsts(self, query: Query) -> list[str | None]:
        """The characters of each word that lie in its first token, where the model shows its tokens."""
        if not is_window(self.model):
            return [None] * len(query.candidates)
        text = "".join(turn.text for turn in query.context) + query.prefix
        ends = self.model.token_ends([text + word for word in query.candidates])
        return [
            word[: next((int(end) for end in own if end > len(text)), len(text)) - len(text)]
            for word, own in zip(query.candidates, ends, strict=True)
        ]

    def _judge(self, lines: list[WordLine], mass: float | None) -> None:
        groups: dict[str, list[WordLine]] = {}
        for line in lines:
            if line.first is not None:
                groups.setdefault(line.first, []).append(line)
        for first, group in groups.items():
            if len({line.label for line in group}) > 1:
                words = [line.word for line in group]
                self.found(
                    "warning",
                    f"The label words {_listed(words)} share their first token {first!r}: at the hole the model can't "
                    "tell them apart, and the label mass counts them once.",
                    "Give each class a word that begins differently: verbalizer={class: word}.",
                )
        counts = sorted({line.n_tokens for line in lines if line.n_tokens is not None})
        if len(counts) > 1 and self.asked is not None and self.asked.token_aggregation == "sum":
            self.found(
                "hint",
                f"The label words have {counts[0]} to {counts[-1]} tokens, and a word of more tokens is less probable "
                "for that alone.",
                "Use words of one length, calibration='contextual', or Verbalizer(..., token_aggregation='mean').",
            )
        best: dict[str, float] = {}
        for line in lines:
            best[line.label] = max(best.get(line.label, 0.0), line.share or 0.0)
        ranked = sorted(best, key=lambda name: -best[name])
        if len(ranked) > 1 and best[ranked[0]] >= _FAR * best[ranked[1]]:
            self.found(
                "hint",
                f"After {NEUTRAL!r} the model expects the class {ranked[0]!r} {_FAR:.0f} times or more as much as "
                "any other: it will lean to it whatever it reads.",
                "Use Prompting(calibration='contextual'), or calibration='batch' where there are unlabelled texts.",
            )
        if mass is not None and mass < _MASS_FLOOR:
            self.found(
                "warning",
                f"The model hardly expects any label word: after {NEUTRAL!r} their total probability is {mass:.2g}.",
                "Choose words that would really follow in the template, or list them in an instruction: "
                "\"One of: {{ labels | join(', ') }}.\"",
            )

    def _told(self, query: Query, lines: list[WordLine]) -> None:
        said = "".join(turn.text for turn in query.context) + query.prefix
        if getattr(self.model, "chat", False) and not all(line.word in said for line in lines):
            self.found(
                "hint",
                "The model chats, and nothing tells it which label words there are.",
                "List them in an instruction: \"Answer with one of: {{ labels | join(', ') }}.\"",
            )

    # tokens

    def _marks(self, prompts: Sequence[Prompt]) -> None:
        """Long texts in fields that are not marked to be shortened; their weight is 0 only where others are marked."""
        own = [p for prompt in prompts for p in prompt.pieces if p.place.kind == "field"]
        fixed = max((len(piece.text) for piece in own if not piece.place.weight), default=0)
        if fixed > _LONG:
            self.found(
                "warning",
                f"A field without 'shorten' is up to {fixed:,} characters long. It is never cut, since another field "
                "is marked.",
                "Mark it as well; weight= is its share of the cut: {{ field | shorten(weight=2) }}.",
            )
        longest = max((len(piece.text) for piece in own), default=0)
        if self.model is None and longest > _LONG and not self._marked:
            self.found(
                "hint",
                f"A field is up to {longest:,} characters long, and none is marked 'shorten': where a prompt exceeds "
                "the window, all fields are cut alike, from the right.",
                "Mark what may be cut: {{ field | shorten }}, or shorten(side='left') to keep the end.",
            )

    @property
    def _marked(self) -> bool:
        return re.search(r"\|\s*shorten\b", self.template.source) is not None

    def _counted(self, prompts: Sequence[Prompt], blank: Prompt | None) -> TokenCounts | None:
        """Count a language model's tokens, and cut what exceeds its window, as a strategy would."""
        model, kind = self.model, self.kind
        shared = self.asked.candidates if self.asked else ("x",)
        if not is_window(model) or kind is None:
            return None
        counted = [*prompts, *([] if blank is None else [blank])]
        words = [*(tuple(dict.fromkeys(own)) for own in self.own), *[shared] * (len(counted) - len(self.own))]
        sizes = model.lengths(
            [prompt.query(own, self.context, kind) for prompt, own in zip(counted, words, strict=True)]
        )
        overhead = None if blank is None else int(sizes[-1])
        sizes = sizes[: len(prompts)]
        over, cuts, stuck = np.flatnonzero(sizes > model.limit), [], 0
        if overhead is not None and overhead > model.limit / 2:
            self.found(
                "error" if overhead > model.limit else "warning",
                f"The instruction, the template and the longest label word take {overhead} of the {model.limit} tokens "
                "that the model reads, before any text.",
                "Shorten the instruction or the label words, or use a model that reads more.",
            )
        if overhead is None or overhead <= model.limit:
            for i in over.tolist():
                try:
                    size = int(sizes[i])
                    fit = fit_to_window(prompts[i], [self.context], words[i], model, kind=kind, n_tokens=size)
                    cuts.append(fit.n_cut)
                except PromptTooLongError:
                    stuck += 1
        if stuck:
            self.found(
                "error",
                f"{stuck} of {len(prompts)} rows exceed the window of {model.limit} tokens even when everything that "
                "may be cut is cut; predict would refuse them.",
                "Mark the long fields as well: {{ field | shorten }}.",
            )
        if cuts and not self._marked:
            self.found(
                "warning",
                f"{len(cuts)} of {len(prompts)} rows exceed the window of {model.limit} tokens, and no field is marked "
                "'shorten': all fields are cut alike, from the right.",
                "Mark what may be cut: {{ field | shorten }}, or shorten(side='left') to keep the end; or use a model "
                "that reads more.",
            )
        return _counts(model.limit, overhead, sizes, cuts)

    def _encoded(self) -> TokenCounts | None:
        """Count the tokens of what an encoder reads: the fields without the frame."""
        if not is_window(self.model):
            return None
        texts = []
        for row in self.rows:
            if self._fills(row):
                texts.append(self.template.text(row))
        sizes = self.model.lengths([Query(text, ()) for text in texts]) if texts else np.empty(0, dtype=np.int64)
        windows = getattr(self.model, "windows", None)  # reads a long text window by window
        cuts = (
            [] if windows is not None else [int(size) - self.model.limit for size in sizes if size > self.model.limit]
        )
        if cuts:
            self.found(
                "warning",
                f"{len(cuts)} of {len(texts)} texts exceed the encoder's window of {self.model.limit} tokens: it does "
                "not read the rest.",
                "Read long texts in windows: load(model, windows=Windows()).",
            )
        return _counts(self.model.limit, None, sizes, cuts, cut=windows is None)


def _counts(limit: int, overhead: int | None, sizes: Any, cuts: Sequence[int], cut: bool = True) -> TokenCounts:
    if not len(sizes):
        return TokenCounts(limit, overhead)
    median, p95 = round(float(np.median(sizes))), int(np.percentile(sizes, 95, method="higher"))
    share = float(np.mean(sizes > limit)) if cut else 0.0
    return TokenCounts(limit, overhead, median, p95, int(sizes.max()), share, int(np.median(cuts)) if cuts else 0)


def _listed(words: Sequence[str]) -> str:
    shown = ", ".join(repr(word) for word in words[:5])
    return shown if len(words) <= 5 else f"{shown} and {len(words) - 5} more"


def _tail(text: str, n: int = 24) -> str:
    return text if len(text) <= n else "…" + text[-n:]


def _head(text: str, n: int = 24) -> str:
    return text if len(text) <= n else text[:n] + "…"
