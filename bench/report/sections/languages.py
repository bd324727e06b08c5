"""Language models: speed and quality a route, memory, and what they answered."""

from __future__ import annotations

from collections.abc import Sequence

from bench.core.route_code import RouteName
from bench.report.choosing import Candidate, Choice
from bench.report.columns import (
    COLD,
    IN_USE,
    KL,
    KL_P99,
    P50,
    P95,
    PEAKS,
    PERPLEXITY,
    PERPLEXITY_CHANGE,
    RATE,
    RATIO,
    REACHED,
    SAME_TOP,
    WEIGHTS,
    lifted,
    milliseconds,
    words,
)
from bench.report.content import Content
from bench.report.formats import counted, number
from bench.report.language import Line, Parting, Speech, parting, setting
from bench.report.limits import why_slower
from bench.report.load import LanguageModelFacts
from bench.report.parts import Column, Commands, Fold, Part, Quantity, Section, Table, paragraph
from bench.report.results import REFERENCE, Result

OPERATOR = "operator "
"""Start of the name of a text that is an operator of a trace, and nothing that was said."""
TEXT = """\
Tokens/s are new tokens of one sequence of a forced length, first token apart. Perplexity is the rise over fp32's on \
the same text, ± 95 %. A compiled route shows the eager one's perplexity, whose weights are the same, and its first \
token where prompts were timed alone: they are not compiled. Bold is the route to pick."""


def languages_section(content: Content) -> Section | None:
    """Empty where no language model was asked for."""
    facts = list(dict.fromkeys(item for run in content.runs for item in run.language_models))
    lost = [item for item in facts if item.problem and item.name not in {one.model for one in content.speeches}]
    if not content.speeches and not lost:
        return None
    parts: list[Part] = [paragraph(TEXT)] if content.speeches else []
    choices = {id(speech): choice for speech, choice in content.languages}
    for speech in content.speeches:
        parts.append(_model(content, speech, choices.get(id(speech)), facts))
    parts += [paragraph(f"{item.name} could not be had: {item.problem}.") for item in lost]
    return Section(title="Language models", parts=tuple(parts), menu="Language models")


def _model(content: Content, speech: Speech, choice: Choice | None, facts: Sequence[LanguageModelFacts]) -> Section:
    parts: list[Part] = [paragraph(line) for line in _about(content, speech, facts)]
    if choice is not None:
        parts.append(_speeds(choice))
    folded: list[Part] = [_quality(speech)] if any(line.one("perplexity") for line in speech.lines) else []
    folded += [_memory(speech), *_settings(speech), *_slower(speech)]
    parts.append(Fold(title=f"Quality, memory and other lengths of {speech.model} in detail", parts=tuple(folded)))
    parts += _conversations(speech, choice)
    parts += _export(choice, facts)
    same = [one for one in content.speeches if one.model == speech.model]
    title = speech.model if len(same) == 1 else f"{speech.model}, {speech.first.machine}, {' '.join(speech.text or ())}"
    return Section(title=title, parts=tuple(parts))


def _export(choice: Choice | None, facts: Sequence[LanguageModelFacts]) -> list[Part]:
    """Command that writes the picked route's files; none for torch's, which transformers loads by itself."""
    pick = choice.pick if choice else None
    if pick is None or pick.route.runtime == REFERENCE.runtime:
        return []
    case = pick.result.case
    if not any(item.name == case.model and "package" in (item.source or "") for item in facts):
        return []  # others are not exported
    command = f"nox -s export -- {RouteName.of(case)} --models {case.model} --out {case.model}"
    return [
        paragraph(f"{pick.route.name} as files, with a load.py that runs without this suite:"),
        Commands((command,)),
    ]


def _about(content: Content, speech: Speech, facts: Sequence[LanguageModelFacts]) -> list[str]:
    known = [item for item in facts if item.name == speech.model]
    lines = []
    for item in known:
        origins = [
            f"from {item.source}" if item.source else "",
            _parameters(item),
            "random weights" if item.random else "",
        ]
        lines.append(f"{item.name}: {', '.join(filter(None, origins)) or 'its source was not recorded'}.")
    lines += [f"Read every figure with this: {note}." for note in speech.caveats]
    if speech.text is not None:
        texts = [item for run in content.runs for item in run.texts if item.name == speech.text[0]]
        size = f", {texts[0].characters:,} characters" if texts and texts[0].characters else ""
        lines.append(f"Text: {speech.text[0]}{size}{_scored(speech)}.")
    return lines


def _parameters(item: LanguageModelFacts) -> str:
    return f"{item.parameters:,} parameters" if item.parameters else ""


def _scored(speech: Speech) -> str:
    found = next((one for line in speech.lines for one in line.of("perplexity")), None)
    if found is None or found.first.quality is None:
        return ""
    windows = len(found.first.series.get("window_tokens", ()))
    return f"; perplexity of {found.first.quality.samples:,} tokens in {counted(windows, 'window')}"


def _speeds(choice: Choice) -> Table[Candidate]:
    return Table(
        columns=(
            words("route", lambda one: one.route.short),
            lifted(RATE, _result, "tokens/s"),
            lifted(RATIO, _result),
            milliseconds("first token", lambda one: one.first_token),
            lifted(WEIGHTS, _result),
            lifted(PERPLEXITY_CHANGE, _perplexity),
            lifted(KL, _perplexity),
            lifted(SAME_TOP, _perplexity),
            words("judged", lambda one: one.judgement.text.replace("images", "tokens")),
        ),
        rows=choice.candidates,
        strong=lambda one: one is choice.pick,
    )


def _quality(speech: Speech) -> Table[Line]:
    def of(line: Line) -> Result | None:
        return line.one("perplexity")

    reference = next((line for line in speech.lines if line.route == REFERENCE), None)

    def parted(line: Line) -> str | None:
        ours, theirs = line.one("chat"), reference.one("chat") if reference else None
        if ours is None or theirs is None or ours is theirs:
            return None
        found: Parting | None = parting(ours, theirs)
        return found.text if found else None

    return Table(
        columns=(
            words("route", lambda line: line.route.short),
            lifted(PERPLEXITY, of),
            lifted(PERPLEXITY_CHANGE, of, "change"),
            lifted(KL_P99, of),
            words("parts from fp32 after", parted),
        ),
        rows=tuple(line for line in speech.lines if line.one("perplexity") or line.one("chat")),
    )


def _memory(speech: Speech) -> Table[Line]:
    def load(line: Line) -> Result:
        return line.one("load") or line.first

    def decode(line: Line) -> Result | None:
        return line.one("decode")

    stays = Quantity(name="stays after loading", unit="MB", better="lower", scale=1e-6)
    return Table(
        columns=(
            words("route", lambda line: line.route.short),
            lifted(WEIGHTS, lambda line: line.first),
            Column(quantity=stays, value=lambda line: load(line).figure("resident_bytes")),
            lifted(PEAKS["load", "rss"], load),
            lifted(IN_USE, decode),
            lifted(COLD["load"], load),
            lifted(COLD["first_step"], decode),
            lifted(REACHED, decode),
        ),
        rows=speech.lines,
    )


def _settings(speech: Speech) -> list[Part]:
    """Every prompt length and batch size; nothing where there is one of each."""
    rows = [one for one in speech.results if one.case.experiment in ("prefill", "decode") and not one.is_twin]
    if len({setting(one) for one in rows}) < 3:
        return []
    table: Table[Result] = Table(
        columns=(
            words("experiment", lambda one: one.case.experiment),
            words("route", lambda one: one.route.short),
            Column(quantity=Quantity(name="batch", digits=1), value=lambda one: setting(one)[0], rank=2),
            Column(quantity=Quantity(name="prompt", digits=1), value=lambda one: setting(one)[1], rank=2),
            Column(quantity=Quantity(name="new", digits=1), value=lambda one: setting(one)[2] or None, rank=2),
            P50,
            P95,
            RATIO,
            RATE,
        ),
        rows=tuple(rows[:1000]),
    )
    return [table]


def _slower(speech: Speech) -> list[Part]:
    """Named reasons of decoding and prefill that are slower than the reference's; nothing where none is."""
    rows = [one for one in speech.results if one.case.experiment in ("prefill", "decode") and why_slower(one)]
    table: Table[Result] = Table(
        columns=(
            words("experiment", lambda one: one.case.experiment),
            words("route", lambda one: one.route.short),
            P50,
            RATIO,
            words("its time goes to", why_slower),
        ),
        rows=tuple(rows),
    )
    return [table] if rows else []


def _conversations(speech: Speech, choice: Choice | None) -> list[Part]:
    """Answers to the same questions, of the reference and of the route to pick; the JSON has them all."""
    pick = choice.pick.route if choice and choice.pick else None
    shown = [line for line in speech.lines if line.route in (REFERENCE, pick)] or speech.lines[:1]
    spoken = [(line, one) for line in shown for one in line.of("chat") if one.first.texts]
    if not spoken:
        return []
    intro = "Answers, greedily, to the same questions; one good answer measures nothing."
    folds: list[Part] = []
    for line, one in spoken:
        turns = [
            paragraph(f"{speaker}: {text}")
            for speaker, text in one.first.texts.items()
            if not speaker.startswith(OPERATOR)
        ]
        folds.append(Fold(title=f"{line.route.name}{_parted(speech, one)}", parts=tuple(turns)))
    return [Fold(title=f"Conversations with {speech.model}", parts=(paragraph(intro), *folds))]


def _parted(speech: Speech, result: Result) -> str:
    reference = next((line.one("chat") for line in speech.lines if line.route == REFERENCE), None)
    if reference is None or reference is result:
        return ""
    found = parting(result, reference)
    if found is None:
        return ""
    if found.turn is None:
        return f": as fp32 in all {found.tokens} tokens"
    return f": parts from fp32 after {number(found.tokens)} tokens"


def _result(one: Candidate) -> Result:
    return one.result


def _perplexity(one: Candidate) -> Result | None:
    return one.quality
