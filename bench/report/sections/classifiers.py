"""Classifiers: one narrow table a network for speed and quality, one of all for memory and first use."""

from __future__ import annotations

from collections.abc import Sequence

from bench.core.quality import layers_in
from bench.core.route_code import RouteName, lines_for
from bench.report.choosing import Candidate, Choice
from bench.report.columns import (
    ACCURACY,
    BATCH,
    CHANGE,
    COLD_TOTAL,
    CONVERTED,
    CONVERTED_FLOPS,
    ECE,
    ENERGY,
    FLIPS,
    IN_USE,
    KL,
    KL_P99,
    P50,
    P95,
    PEAKS,
    RATE,
    RATIO,
    RATIO_TF32,
    REACHED,
    SAME_LABEL,
    SAME_TOP,
    WEIGHTS,
    WORST,
    lifted,
    words,
)
from bench.report.content import MOST_ROWS, Content
from bench.report.formats import listing
from bench.report.limits import why_slower
from bench.report.parts import Column, Commands, Fold, Part, Section, Table, paragraph
from bench.report.results import Result, grouped

QUALITY = (ACCURACY, CHANGE, SAME_LABEL, FLIPS, WORST, ECE, KL, KL_P99)
WITHOUT_LABELS = (SAME_TOP, KL, KL_P99)
NOT_JUDGED = "not judged for accuracy: "
STORED = (
    P95,
    RATE,
    REACHED,
    PEAKS["steady", "torch_allocated"],
    PEAKS["load", "rss"],
    COLD_TOTAL,
    CONVERTED,
    CONVERTED_FLOPS,
    ENERGY,
)
TEXT = """\
Bold is the route to pick. × fp32 eager is against PyTorch's fp32 eager at the same batch size; where they took \
turns it compares undisturbed calls, so it is not the quotient of two p50. Changes of accuracy are against it on the \
same images and weights, ± 95 %."""


def classifiers_section(content: Content) -> Section | None:
    """Empty where no inference was measured."""
    if not content.networks:
        return None
    parts: list[Part] = [paragraph(TEXT)]
    shown = sum(len(choice.candidates) for choices in content.networks for choice in choices)
    if shown > MOST_ROWS:
        parts.append(paragraph(f"{shown:,} rows: the first {MOST_ROWS:,} are here, all are in measurements.csv."))
    left = MOST_ROWS
    for choices in content.networks:
        if left <= 0:
            break
        rows = sum(len(choice.candidates) for choice in choices)
        left -= rows
        parts.append(_network(content, choices))
    parts += _code(content)
    return Section(title="Classifiers", parts=tuple(parts), menu="Classifiers")


def _network(content: Content, choices: Sequence[Choice]) -> Section:
    """Speeds by batch size; then what does not depend on it, folded away."""
    picks = {id(choice.pick) for choice in choices}
    candidates = [one for choice in choices for one in choice.candidates]
    speeds = _table(
        candidates,
        (
            lifted(BATCH, _result),
            _route(),
            lifted(P50, _result),
            lifted(RATIO, _result),
            *([lifted(RATIO_TF32, _result)] if any(one.result.beside.tf32 for one in candidates) else []),
            lifted(CHANGE, _result),
            words("judged", lambda one: one.judgement.text),
            lifted(WEIGHTS, _result),
            lifted(IN_USE, _result),
            words("marks", lambda one: "; ".join(_short(one.result)) or None),
        ),
        picks,
    )
    once = _largest(candidates)
    folded: list[Part] = []
    labelled = any(one.result.beside.agreement for one in once)
    if labelled or any(_diverges(one.result) for one in once):
        quality = QUALITY if labelled else WITHOUT_LABELS
        folded.append(_table(once, (_route(), *(lifted(one, _result) for one in quality)), picks))
    folded.append(_table(once, (_route(), *(lifted(one, _result) for one in STORED)), picks))
    slower = [one for one in candidates if why_slower(one.result)]
    if slower:
        why: Column[Candidate] = words("its time goes to", lambda one: why_slower(one.result))
        folded.append(_table(slower, (lifted(BATCH, _result), _route(), lifted(RATIO, _result), why), picks))
    case = choices[0].first.case
    return Section(
        title=_title(content, choices[0]),
        parts=(
            paragraph(_about(choices)),
            speeds,
            Fold(title=f"{case.model} in detail: quality, and times at the largest batch", parts=tuple(folded)),
        ),
    )


def _code(content: Content) -> list[Part]:
    """Code of each route that was picked, once, for the first network that it was picked for."""
    picks = {choice.pick.route: choice.pick.result for choices in content.networks for choice in choices if choice.pick}
    folds: list[Part] = []
    for route, result in picks.items():
        case = result.case
        if route.is_reference or case.device != "cpu":  # the lines are for a CPU
            continue
        try:
            lines = lines_for(
                RouteName.of(case),
                side=case.image_size,
                batch_size=case.batch_size,
                threads=case.threads,
                corrected=bool(result.first.flags.get("runtime_bias_correction", True)),
                any_batch=bool(result.first.flags.get("runtime_any_batch", False)),
                spared=[layer.name for layer in layers_in(result.first.texts) if layer.spared],
            )
        except KeyError:
            continue
        where = f"{route.name}, as for {case.model} at {case.image_size} px, batch {case.batch_size}"
        folds.append(Fold(title=f"Code of {where}", parts=(Commands(lines),)))
    text = "From a trained network to calls, for each route that was picked; python -m bench.export writes its files."
    return [] if content.smoke or not folds else [Section(title="How to apply them", parts=(paragraph(text), *folds))]


def _title(content: Content, choice: Choice) -> str:
    case = choice.first.case
    same = [choices[0].first for choices in content.networks if choices[0].model == case.model]
    words = [case.model]
    words += [f"{case.image_size} px"] if len({one.case.image_size for one in same}) > 1 else []
    words += [choice.first.dataset] if len({one.dataset for one in same}) > 1 else []
    words += [f"seed {case.seed}"] if len({one.case.seed for one in same}) > 1 else []
    words += [choice.first.machine] if len({one.machine for one in same}) > 1 else []
    words += [f"code {choice.first.code}"] if len({one.code for one in same}) > 1 else []
    words += [case.device] if len({one.case.device for one in same}) > 1 else []
    return ", ".join(words)


def _about(choices: Sequence[Choice]) -> str:
    first = choices[0].first
    reference = next((choice.reference for choice in choices if choice.reference), None)
    known = (reference.result if reference else first).accuracy
    judged = (reference.result if reference else first).first.quality
    shown = f"fp32 accuracy {ACCURACY.quantity.text(known)} % on {judged.samples:,} images" if known and judged else ""
    missing = first.first.absent.get("quality", "")
    by = first.first.flags.get("normalize")
    normalised = ", not normalised" if by == "none" else f", normalised by {by}" if by else ""
    facts = [
        f"{first.dataset}, {first.case.image_size} px{normalised}",
        shown or (f"no accuracy: {missing.removeprefix(NOT_JUDGED)}" if missing else ""),
    ]
    hardly = sorted({one.route.name for choice in choices for one in choice.candidates if one.result.hardly_converted})
    facts += [f"hardly converted, so no answer of its kind: {listing(hardly)}"] if hardly else []
    return "; ".join(filter(None, facts)) + "."


def _table(rows: Sequence[Candidate], columns: Sequence[Column[Candidate]], picks: set[int]) -> Table[Candidate]:
    return Table(columns=tuple(columns), rows=tuple(rows[:MOST_ROWS]), strong=lambda one: id(one) in picks)


def _largest(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Each route once, at its largest batch."""
    found = grouped(sorted(candidates, key=lambda one: one.result.case.batch_size), lambda one: one.route)
    return [members[-1] for members in found.values()]


def _diverges(result: Result) -> bool:
    quality = result.first.quality
    return (quality.divergence if quality else result.first.divergence) is not None


def _route() -> Column[Candidate]:
    return words("route", lambda one: one.route.short)


def _short(result: Result) -> list[str]:
    """Marks without their figures, which stand in measurements.csv."""
    return [mark.split(":")[0] for mark in result.marks]


def _result(one: Candidate) -> Result:
    return one.result
