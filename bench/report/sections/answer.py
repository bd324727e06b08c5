"""First screen: which route to run each model by on this machine."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace

from bench.core.records import Machine
from bench.report.choosing import Candidate, Choice
from bench.report.columns import (
    BATCH,
    CHANGE,
    IN_USE,
    P50,
    PERPLEXITY_CHANGE,
    RATE,
    RATIO,
    SAME_TOP,
    WEIGHTS,
    lifted,
    milliseconds,
    words,
)
from bench.report.content import Content
from bench.report.formats import counted, listing, number, per_cent, times
from bench.report.language import Speech
from bench.report.pairing import noise_ratios
from bench.report.parts import Commands, Part, Section, Table, Verdict, Warned, bullets, paragraph
from bench.report.results import NATIVE, TF32, TITLES, Result, Route, grouped
from bench.report.sections.ladder import ladder_verdicts
from bench.report.sections.pictures import answer_pictures

FEATURES = {"avx512f": "AVX-512", "avx512_vnni": "VNNI", "avx512_bf16": "BF16", "amx_int8": "AMX", "avx2": "AVX2"}
"""Features of a processor that decide which precisions pay, as people write them."""
MOST_RIVALS = 2
"""Routes of about the same speed that a verdict names."""
TITLE = "How to run it on this machine"
NOT_ON_GPUS = "This suite does not measure ONNX Runtime and TensorRT on CUDA yet: either may be faster."


@dataclass(frozen=True, kw_only=True, eq=False)
class Answer:
    """One line of a table of answers."""

    choice: Choice
    speech: Speech | None = None

    @property
    def pick(self) -> Candidate | None:
        return self.choice.pick

    @property
    def result(self) -> Result | None:
        return self.pick.result if self.pick else None


def answer(content: Content) -> Section:
    """Machine, verdicts, what not to do, and two tables."""
    shown = [] if content.smoke else verdicts(content)
    parts: list[Part] = []
    if content.smoke:
        parts.append(Warned(("SMOKE RUN: its figures mean nothing. It only proves that every path runs.",)))
    parts += [paragraph(_run_line(content, place)) for place in range(min(3, len(content.runs)))]
    discouraged = "" if content.smoke else _not_worth(content)
    lines = [*(verdict.line for verdict in shown), *([(discouraged,)] if discouraged else [])]
    parts += [bullets(lines)] if lines else []
    if content.refused:
        parts += [Warned(("Files that could not be used:",)), bullets(content.refused)]
    parts += [] if content.smoke else [*_classifiers(content), *_languages(content), *_pictures(content)]
    if not shown and not content.smoke:
        parts.append(paragraph("No route of a model was measured: see what was, below."))
    return Section(title=TITLE, parts=tuple(parts), menu="Answer")


def _pictures(content: Content) -> list[Part]:
    found = answer_pictures(content)
    return [Section(title="Speed against accuracy", parts=tuple(found))] if found else []


def verdicts(content: Content) -> list[Verdict]:
    """One a model."""
    apart = len({choices[0].first.network[1:] for choices in content.networks}) > 1
    found = [_classifier(choices, apart) for choices in content.networks]
    found += [_language(speech, choice) for speech, choice in content.languages]
    return [*found, *ladder_verdicts(content)]


def _classifier(choices: Sequence[Choice], apart: bool) -> Verdict:
    """For the smallest batch; the largest one's route where it is another one."""
    tried = [choice for choice in choices if not choice.only_reference]
    subject = choices[0].model + (_where(choices[0]) if apart else "")
    if not tried:
        return Verdict(subject=subject, route=None, facts=("Nothing but fp32 eager was tried",))
    main, last = tried[0], tried[-1]
    if main is not choices[0]:
        subject += f", batch {main.batch}"
    found = _verdict(subject, main)
    others = []
    if last is not main and last.pick and (main.pick is None or last.pick.route != main.pick.route):
        others = [f"At batch {last.batch}: {last.pick.route.name}{_speed(last.pick)}"]
    if main is not choices[0]:
        others.append(f"At batch {choices[0].batch} nothing but fp32 eager was tried")
    return Verdict(subject=subject, route=found.route, facts=found.facts, warnings=(*found.warnings, *others))


def _where(choice: Choice) -> str:
    case = choice.first.case
    return f" ({case.image_size} px, {choice.first.dataset}{f', seed {case.seed}' if case.seed else ''})"


def _language(speech: Speech, choice: Choice) -> Verdict:
    if choice.only_reference:
        return Verdict(subject=choice.model, route=None, facts=("Nothing but fp32 eager was tried",))
    found = _verdict(choice.model, choice)
    caveats = [text.partition(", ")[0] for text in speech.caveats]
    return replace(found, warnings=(*found.warnings, *(text[:1].upper() + text[1:] for text in caveats)))


def _verdict(subject: str, choice: Choice) -> Verdict:
    pick = choice.pick
    if pick is None:
        return Verdict(subject=subject, route=None, facts=("No route is as accurate as asked for",))
    facts = [_rank(choice, pick)]
    if pick.route.is_reference:
        others = len(choice.candidates) - 1
        facts = [f"{'The other route is not' if others == 1 else f'None of {others} others is'} faster and as accurate"]
    else:
        known = pick.result.beside.ratio is not None
        facts += [f"{times(_ratio(pick))} fp32 eager{_doubt(pick)}" if known else "fp32 eager not measured"]
        tf32 = pick.result.beside.tf32
        facts += [f"{times(tf32)} TF32 eager"] if tf32 is not None and pick.route != TF32 else []
        facts += _bytes(pick)
    if not pick.route.is_reference:
        facts += _quality(pick) if choice.judged else _likeness(pick)
    return Verdict(subject=subject, route=pick.route.name, facts=tuple(facts), warnings=tuple(_warnings(choice)))


def _rank(choice: Choice, pick: Candidate) -> str:
    if not choice.judged:
        return f"Fastest of {len(choice.candidates)} tried, {pick.judgement.text}"
    worse = [one for one in choice.candidates if not one.judgement.accurate]
    return f"Fastest {'as accurate ' if worse else ''}of {len(choice.candidates)} tried"


def _doubt(candidate: Candidate) -> str:
    """Remark on a gain that is not clear."""
    return "" if candidate.result.beside.side == "above" else " (no clear difference)"


def _ratio(candidate: Candidate) -> float:
    ratio = candidate.result.beside.ratio
    return ratio.value if ratio else 1.0


def _speed(candidate: Candidate) -> str:
    ratio = candidate.result.beside.ratio
    return f", {times(ratio.value)}" if ratio and not candidate.route.is_reference else ""


def _bytes(candidate: Candidate) -> list[str]:
    share = candidate.result.beside.weights
    return [f"{per_cent(share)} of its bytes"] if share is not None and share < 0.995 else []


def _quality(candidate: Candidate) -> list[str]:
    if candidate.quality is not None:
        change = PERPLEXITY_CHANGE.value(candidate.quality)
        return [f"perplexity {PERPLEXITY_CHANGE.quantity.text(change)} %"] if change is not None else []
    change = CHANGE.value(candidate.result)
    return [f"accuracy {CHANGE.quantity.text(change)} points"] if change is not None else []


def _likeness(candidate: Candidate) -> list[str]:
    """Share of labels that stay the same, where nobody knows the right ones."""
    share = SAME_TOP.value(candidate.quality or candidate.result)
    return [f"same label in {SAME_TOP.quantity.text(share)} %"] if share is not None else []


WORTH_SAYING = 5e6
"""Bytes more than the reference's from which on a verdict says so. A runtime's own few MB are in what it holds."""


def _warnings(choice: Choice) -> list[str]:
    pick = choice.pick
    assert pick is not None
    found = []
    memory, taken = pick.result.beside.memory, pick.result.in_use
    if memory is not None and taken is not None and memory > 1.05 and taken * (1 - 1 / memory) >= WORTH_SAYING:
        found.append(f"A step takes {times(memory)} fp32's memory")
    ratio, marks = pick.result.beside.ratio, choice.reference.result.disturbed if choice.reference else None
    if marks and ratio and ratio.interval is None and not pick.route.is_reference:
        found.append(f"Measured once, with fp32 eager marked ({marks}): measure it again")
    rivals = [one.route.name for one in choice.level if not one.route.is_reference]
    if rivals and choice.judged and not pick.route.is_reference:
        named = [*rivals[:MOST_RIVALS], *([f"{len(rivals) - MOST_RIVALS} more"] if len(rivals) > MOST_RIVALS else [])]
        found.append(f"No clear difference in speed from {listing(named)}")
    if choice.faster:
        best = choice.faster[0]
        found.append(f"{best.route.name} is faster ({times(_ratio(best))}), but {_unit(best)}")
    return found


def _unit(candidate: Candidate) -> str:
    text = candidate.judgement.text
    return text if candidate.quality is None else text.replace("images", "tokens")


def _not_worth(content: Content) -> str:
    """Routes that were tried and that nobody should take, in one line."""
    slower = _counts(content.of("inference"), "slower than fp32 eager")
    spoken = [one for speech, _ in content.languages for one in speech.decoding()]
    slower += _counts(spoken, "slower than fp32 eager", of="decoding")
    lost: dict[str, list[bool]] = {}
    for _, choice in content.languages:
        for one in choice.candidates:
            if not one.route.is_reference and one.judgement.word != "not judged":
                name = f"{TITLES.get(one.route.runtime, one.route.runtime)} {one.route.precision}"
                lost.setdefault(name, []).append(one.judgement.word == "less accurate")
    worse = [name for name, found in lost.items() if all(found)]
    losers = [*slower, *([f"{listing(worse)} of language models (less accurate)"] if worse else [])]
    return f"Not worth it here: {'; '.join(losers)}." if losers else ""


def _counts(results: Sequence[Result], why: str, of: str = "classifiers") -> list[str]:
    """Precisions all of whose results are clearly slower than the reference, counted together."""
    chosen = [one for one in results if not one.route.is_reference and one.beside.ratio and not one.hardly_converted]
    bad: list[str] = []
    rows = total = 0
    for members in grouped(chosen, lambda one: (one.case.runtime, one.case.precision)).values():
        runtime, precision = members[0].case.runtime, members[0].case.precision
        clear = [one for one in members if one.beside.side == "below"]
        faster = [one for one in members if one.beside.ratio and one.beside.ratio.value > 1]
        if not faster and 2 * len(clear) >= len(members):
            bad.append(precision if runtime == "torch" else f"{TITLES.get(runtime, runtime)} {precision}")
            rows, total = rows + len(clear), total + len(members)
    return [f"{listing(bad)} of {of} ({why} in {rows} of {total} rows)"] if bad else []


def _run_line(content: Content, place: int) -> str:
    """Machine, budget, day, counts and noise in one line."""
    run = content.runs[place]
    failed = sum(failure.kind != "unsupported" for failure in run.failures)
    unsupported = len(run.failures) - failed
    facts = [
        machine_name(run.machine),
        counted(run.machine.cores, "core"),
        *_features(run.machine),
        "·",
        *([run.label, "·"] if len(content.runs) > 1 else []),
        run.budget,
        "·",
        run.started[:10] or "no date",
        "·",
        f"{len(run.measurements)} measured",
        f"{failed} failed",
        *([f"{unsupported} unsupported"] if unsupported else []),
        *(["·", noise_words(content)] if place == 0 and not content.smoke else []),
    ]
    return ", ".join(facts).replace(", ·,", " ·")


def machine_name(machine: Machine) -> str:
    """The device, and the CPU beside it where that is another one."""
    return machine.cpu if machine.device == "cpu" else f"{machine.device_name} ({machine.cpu})"


def _features(machine: Machine) -> list[str]:
    known = [name for feature, name in FEATURES.items() if feature in machine.cpu_features]
    return [name for name in known if name != "AVX2" or "AVX-512" not in known]


def noise_words(content: Content) -> str:
    """Error of ratios in this run, in words."""
    errors = [_twin_error(one) for one in content.twins if one.beside.ratio]
    if errors:
        return f"ratios are good to ±{per_cent(max(errors), 1)}"
    pairs = noise_ratios(content.results)
    if pairs:
        most = max(apart for _, apart in pairs)
        shown = per_cent(most) if most < 1 else f"a factor of {number(1 + most, 2)}"
        return f"one process a row: two of one thing came {shown} apart"
    return "noise not measured"


def _twin_error(twin: Result) -> float:
    ratio = twin.beside.ratio
    assert ratio is not None
    return ratio.interval.error(1.0) if ratio.interval else abs(ratio.value - 1)


def _classifiers(content: Content) -> list[Part]:
    rows = [
        Answer(choice=choice)
        for choices in content.networks
        for choice in dict.fromkeys((choices[0], choices[-1]))
        if choice.pick and not (choice.only_reference and choice is not choices[-1])
    ]
    if not rows:
        return []
    table: Table[Answer] = Table(
        columns=(
            words("network", lambda row: row.choice.model),
            lifted(BATCH, _result),
            words("route", _route),
            lifted(P50, _result),
            lifted(RATIO, _result),
            lifted(CHANGE, _result),
            lifted(WEIGHTS, _result),
            lifted(IN_USE, _result),
            words("not tested", lambda row: routes_words(row.choice.untested) or "–"),
        ),
        rows=tuple(rows[:40]),
    )
    command = command_for([choice for choices in content.networks for choice in choices], "inference")
    parts: list[Part] = [table, *_one_process([row.result for row in rows])]
    parts += [paragraph("What was not tested, tested by:"), Commands((command,))] if command else []
    on_gpu = any(row.choice.first.case.device != "cpu" for row in rows)
    parts += [paragraph(NOT_ON_GPUS)] if on_gpu else []
    return [Section(title="Which route for each classifier?", parts=tuple(parts))]


def _languages(content: Content) -> list[Part]:
    rows = [Answer(choice=choice, speech=speech) for speech, choice in content.languages if choice.pick]
    if not rows:
        return []
    table: Table[Answer] = Table(
        columns=(
            words("model", lambda row: row.choice.model),
            words("route", _route),
            lifted(RATE, _result, "tokens/s"),
            lifted(RATIO, _result),
            milliseconds("first token", lambda row: row.pick.first_token if row.pick else None),
            lifted(WEIGHTS, _result),
            lifted(PERPLEXITY_CHANGE, _quality_of),
            lifted(SAME_TOP, _quality_of),
            words("not tested", lambda row: routes_words(row.choice.untested) or "–"),
        ),
        rows=tuple(rows),
    )
    command = command_for([row.choice for row in rows], "language")
    parts: list[Part] = [table, *_one_process([row.result for row in rows])]
    parts += [paragraph("What was not tested, tested by:"), Commands((command,))] if command else []
    return [Section(title="Which route for each language model?", parts=tuple(parts))]


def _result(row: Answer) -> Result | None:
    return row.result


def _quality_of(row: Answer) -> Result | None:
    return row.pick.quality if row.pick else None


def _route(row: Answer) -> str:
    return row.pick.route.name if row.pick else ""


def _one_process(results: Sequence[Result | None]) -> list[Part]:
    """Remark on ratios without ±."""
    bare = [one for one in results if one and one.beside.ratio and one.beside.ratio.interval is None]
    bare = [one for one in bare if not one.route.is_reference]
    if not bare:
        return []
    which = "Ratios" if len(bare) == len(results) else "Ratios without ±"
    return [paragraph(f"{which} are of one process: how far another one would differ is not known.")]


def routes_words(routes: Sequence[Route]) -> str:
    """``OpenVINO bf16, int8_static; PyTorch bf16 compiled``."""
    runtimes = []
    for runtime, members in grouped(routes, lambda route: route.runtime).items():
        shown = [route.precision + (f" {route.mode}" if route.mode != NATIVE else "") for route in members]
        runtimes.append(f"{TITLES.get(str(runtime), str(runtime))} {', '.join(shown)}")
    return "; ".join(runtimes)


def command_for(choices: Sequence[Choice], keyword: str) -> str | None:
    """Command that measures every route that was not tested; None where all were."""
    routes = list(dict.fromkeys(route for choice in choices for route in choice.untested))
    if not routes:
        return None
    lacking = [choice for choice in choices if choice.untested]
    models = shlex.quote(",".join(dict.fromkeys(choice.model for choice in lacking)))
    runtimes = list(dict.fromkeys(route.runtime for route in routes))
    precisions = list(dict.fromkeys(("fp32", *(route.precision for route in routes))))
    modes = sorted({route.mode for route in routes if route.runtime == "torch"})
    batches = sorted({choice.batch for choice in lacking})
    parts = [f"nox -s bench -- -k {keyword} {'--models' if keyword == 'inference' else '--llm'} {models}"]
    parts += [f"--runtimes {','.join(dict.fromkeys(('torch', *runtimes)))} --precisions {','.join(precisions)}"]
    parts += [f"--modes {','.join(dict.fromkeys(('eager', *modes)))}"] if modes else []
    parts += [f"--batch-sizes {','.join(map(str, batches))}"] if keyword == "inference" else []
    return " ".join(parts)
