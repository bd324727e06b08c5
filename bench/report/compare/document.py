"""A comparison as sections: the verdict first, then what it rests on."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from bench.report.columns import words
from bench.report.compare.changes import ORDER, ExactChange, Outcome, PeakChange, StateChange
from bench.report.compare.comparison import Comparison
from bench.report.compare.conditions import Difference
from bench.report.compare.matching import Entry, Pair
from bench.report.compare.quality import QualityChange
from bench.report.compare.ratios import RatioChange, took_turns
from bench.report.compare.thresholds import (
    ACCURACY_TRAINED_ANEW,
    ALPHA,
    OTHER_TIMES,
    PEAK_GRAIN,
    PEAKS,
    PROCESSES,
    RATIO,
    TIMES,
)
from bench.report.compare.times import TimeChange
from bench.report.formats import counted, listing, number, per_cent, shortened
from bench.report.load import Run
from bench.report.parts import Column, Fold, Part, Quantity, Section, Strong, Table, Value, paragraph
from bench.report.printers.markdown import document as markdown
from bench.report.printers.markdown import line_of
from bench.report.statistics import Estimate

UNITS = {"throughput": ("items/s", 1.0), "energy": ("mJ/item", 1e3)}
MILLISECONDS = ("ms", 1e3)


class Change(Protocol):
    @property
    def pair(self) -> Pair: ...
    @property
    def outcome(self) -> Outcome: ...


Item = TypeVar("Item")
Changed = TypeVar("Changed", bound=Change)


def document(comparison: Comparison) -> str:
    """Markdown of the whole comparison, or why there is none."""
    return f"{line_of((Strong(comparison.verdict),))}\n\n{markdown([section_of(comparison)])}"


def section_of(comparison: Comparison) -> Section:
    parts: list[Part] = [_files(comparison), *_conditions(comparison)]
    if not comparison.refused:
        parts += [*_transitions(comparison.transitions), *_settings(comparison.pairs)]
        parts += [*_ratios(comparison.ratios), *_times(comparison.times), *_exact(comparison.exact)]
        parts += [*_peaks(comparison.peaks), *_quality(comparison.quality), _rules()]
    return Section(title="Comparison of two runs", parts=tuple(parts))


def figure(name: str, value: Callable[[Item], Value], **form: object) -> Column[Item]:
    return Column(quantity=Quantity(name=name, **form), value=value)  # type: ignore[arg-type]


def case_columns(pair: Callable[[Item], Pair]) -> tuple[Column[Item], ...]:
    """Columns that identify the case of a row, as far as the rows differ in them."""
    return (
        words("experiment", lambda item: pair(item).case.experiment, rank=2),
        words("model", lambda item: pair(item).case.model),
        words("route", lambda item: pair(item).route.name),
        figure("batch", lambda item: pair(item).case.batch_size, digits=1),
    )


def _ordered(items: Sequence[Changed]) -> tuple[Changed, ...]:
    return tuple(sorted(items, key=lambda item: ORDER.index(item.outcome)))


def _files(comparison: Comparison) -> Table[tuple[str, Run]]:
    return Table(
        columns=(
            words("", lambda row: row[0]),
            words("file", lambda row: row[1].label),
            words("budget", lambda row: row[1].budget),
            words("started", lambda row: row[1].started),
            words("commit", lambda row: row[1].commit),
            words("fingerprint", lambda row: row[1].code[:8] if row[1].code else None),
            figure("measured", lambda row: len(row[1].measurements), digits=1),
            figure("not measured", lambda row: len(row[1].failures), digits=1),
        ),
        rows=(("OLD", comparison.old), ("NEW", comparison.new)),
    )


def _conditions(comparison: Comparison) -> list[Part]:
    if not comparison.differences:
        return [paragraph("Device, driver, versions, number formats, threads and data are the same in both runs.")]
    table: Table[Difference] = Table(
        columns=(
            words("condition", lambda item: item.name),
            words("OLD", lambda item: item.old or "–"),
            words("NEW", lambda item: item.new or "–"),
            words("cases", lambda item: "all" if item.cases is None else str(item.cases)),
        ),
        rows=comparison.differences,
    )
    warning = [paragraph("Every figure below has to be read with that.")] if comparison.anyway else []
    return [Section(title="Not comparable", parts=(*warning, table))]


def _transitions(found: Sequence[StateChange]) -> list[Part]:
    if not found:
        return [paragraph("Both runs have the same cases, and the same of them failed.")]
    table: Table[StateChange] = Table(
        columns=(
            words("what", lambda item: item.change),
            *case_columns(lambda item: item.pair),
            words("OLD", lambda item: _state(item.pair.old)),
            words("NEW", lambda item: _state(item.pair.new)),
        ),
        rows=tuple(found),
    )
    text = "Newly failing is a regression. Vanished and new are not: cases may have been left out on purpose."
    return [Section(title="Cases", parts=(paragraph(text), table))]


def _state(entry: Entry | None) -> str:
    if entry is None:
        return "–"
    measured = [f"{len(entry.measurements)} measured"] if entry.measurements else []
    reasons = dict.fromkeys(f"{item.kind.replace('_', ' ')}: {shortened(item.message)}" for item in entry.failures)
    return "; ".join((*measured, *reasons))


def _settings(pairs: Sequence[Pair]) -> list[Part]:
    """Options that two matched cases do not share; empty where there are none."""
    found = [pair for pair in pairs if pair.both and pair.both[0].settings != pair.both[1].settings]
    if not found:
        return []
    table: Table[Pair] = Table(
        columns=(
            *case_columns(lambda pair: pair),
            words("OLD", lambda pair: _only(*pair.both) if pair.both else None),
            words("NEW", lambda pair: _only(*reversed(pair.both)) if pair.both else None),
        ),
        rows=tuple(found),
    )
    text = "Taken for the same cases all the same, since there was no other candidate."
    return [Section(title="Settings that differ", parts=(paragraph(text), table))]


def _only(one: Entry, other: Entry) -> str:
    own = one.settings.items() - other.settings.items()
    return " ".join(f"{name}={value}" for name, value in sorted(own)) or "–"


def _ratios(found: Sequence[RatioChange]) -> list[Part]:
    if not found:
        return []
    table: Table[RatioChange] = Table(
        columns=(
            words("outcome", lambda item: item.outcome),
            *case_columns(lambda item: item.pair),
            figure("OLD", lambda item: item.old.estimate, unit="×"),
            figure("NEW", lambda item: item.new.estimate, unit="×"),
            figure("NEW / OLD", lambda item: Estimate(value=item.change, interval=item.interval), digits=4),
            figure("p", lambda item: item.p, digits=2),
        ),
        rows=_ordered(found),
    )
    text = "Times as fast as the reference of the same sets; above 1 in NEW / OLD is better."
    return [Section(title="Ratios", parts=(paragraph(text), table))]


def _times(found: Sequence[TimeChange]) -> list[Part]:
    """Times that decide; those of rows that took turns, folded away as information."""
    deciding = [item for item in found if not took_turns(item.pair)]
    others = [item for item in found if took_turns(item.pair)]
    parts: list[Part] = []
    if deciding:
        text = (
            "Medians over processes. p is that of the Mann-Whitney test over processes, by Holm for the "
            f"{sum(item.p is not None for item in deciding)} tested rows; best quartile is NEW / OLD of the process "
            "with a quarter of them before it. Disturbed processes do not count."
        )
        untold = [item for item in deciding if item.outcome == "cannot tell"]
        known = [item for item in deciding if item.outcome != "cannot tell"]
        inside: list[Part] = [paragraph(text), _times_table(known)]
        inside += [Fold(title=f"Nothing can be told of {len(untold)}", parts=(_times_table(untold),))] if untold else []
        parts.append(Section(title="Times", parts=tuple(inside)))
    if others:
        title = f"Absolute times of {counted(len(others), 'row')} that took turns: information alone"
        parts.append(Fold(title=title, parts=(_times_table(others),)))
    return parts


def _times_table(found: Sequence[TimeChange]) -> Table[TimeChange]:
    return Table(
        columns=(
            words("outcome", lambda item: item.outcome if not took_turns(item.pair) else "information"),
            words("model", lambda item: item.pair.case.model),
            words("what", lambda item: f"{item.pair.route.name}, batch {item.pair.case.batch_size}, {item.metric}"),
            words("OLD", lambda item: _time(item, item.old)),
            words("NEW", lambda item: _time(item, item.new)),
            figure("NEW / OLD", lambda item: _ratio(item), digits=4),
            figure("best quartile", lambda item: item.ratio_of_best, digits=4),
            figure("p", lambda item: item.p, digits=2),
            words("why", lambda item: item.obstacle),
        ),
        rows=_ordered(found),
    )


def _ratio(item: TimeChange) -> Value:
    return Estimate(value=item.ratio, interval=item.interval) if item.ratio is not None else None


def _time(item: TimeChange, values: Sequence[float]) -> str | None:
    unit, scale = UNITS.get(item.metric, MILLISECONDS)
    side = 0 if values is item.old else 1
    every = len(values) + item.disturbed[side]
    processes = f"{len(values)} of {every}" if item.disturbed[side] else str(len(values))
    return f"{number(statistics.median(values) * scale)} {unit} ({processes})" if values else None


def _exact(found: Sequence[ExactChange]) -> list[Part]:
    if not found:
        return [paragraph("Bytes, parameters, FLOPs, tokens and the other counts are the same in both runs.")]
    table: Table[ExactChange] = Table(
        columns=(
            words("outcome", lambda item: item.outcome),
            *case_columns(lambda item: item.pair),
            words("quantity", lambda item: item.name),
            words("unit", lambda item: item.unit),
            words("OLD", lambda item: listing([_count(value) for value in item.old]) or "–"),
            words("NEW", lambda item: listing([_count(value) for value in item.new]) or "–"),
        ),
        rows=_ordered(found),
    )
    text = "Counted, not sampled: any change is one. More bytes, parameters or FLOPs are worse."
    return [Section(title="Counts", parts=(paragraph(text), table))]


def _count(value: float) -> str:
    return f"{value:,.0f}" if value == round(value) else repr(value)


def _peaks(found: Sequence[PeakChange]) -> list[Part]:
    """Peaks that are not the same; of the others the number."""
    shown = [item for item in _ordered(found) if item.outcome not in ("same", "cannot tell")]
    if not found:
        return []
    form = {"unit": "MB", "scale": 1e-6}
    table: Table[PeakChange] = Table(
        columns=(
            words("outcome", lambda item: item.outcome),
            *case_columns(lambda item: item.pair),
            words("peak", lambda item: item.name),
            figure("OLD", lambda item: item.medians[0], **form),
            figure("NEW", lambda item: item.medians[1], **form),
            figure("spread", lambda item: item.spread, **form),
        ),
        rows=tuple(shown),
    )
    same = sum(item.outcome == "same" for item in found)
    untold = sum(item.outcome == "cannot tell" for item in found)
    text = f"{same} of {len(found)} peaks are within their thresholds"
    text += f"; of {untold} more one process a run cannot tell." if untold else "."
    return [Section(title="Peaks of memory", parts=(paragraph(text), table))]


def _quality(found: Sequence[QualityChange]) -> list[Part]:
    if not found:
        return []
    table: Table[QualityChange] = Table(
        columns=(
            words("outcome", lambda item: item.outcome),
            *case_columns(lambda item: item.pair),
            words("OLD → NEW", lambda item: f"{_value(item, item.old)} → {_value(item, item.new)}"),
            words("change", lambda item: _quality_change(item)),
            figure("p", lambda item: item.p, digits=2),
            words("remarks", lambda item: item.obstacle or item.remark),
        ),
        rows=_ordered(found),
    )
    text = (
        "Image by image (McNemar's test, exact) or token by token (Student's t), p by Holm. Trained anew are weights "
        "that each run trained for itself: p is of these weights, not of the code that trained them."
    )
    return [Section(title="Quality", parts=(paragraph(text), table))]


def _value(item: QualityChange, value: float | None) -> str:
    if value is None:
        return "–"
    return f"{number(100 * value, 4)} %" if item.metric == "accuracy" else number(value, 4)


def _quality_change(item: QualityChange) -> str | None:
    if item.change is None:
        return None
    error = f" ± {196 * item.standard_error:.2f}" if item.standard_error is not None else ""
    return f"{100 * item.change:+.2f}{error} {'points' if item.metric == 'accuracy' else '%'}"


def _rules() -> Section:
    timed = {**TIMES, "any other experiment": OTHER_TIMES}
    rows = [(experiment, metric, share) for experiment, metrics in timed.items() for metric, share in metrics.items()]
    rows += [("memory", f"peak, {kind}", share) for kind, share in PEAKS.items()]
    rows += [("quality", "accuracy, trained anew", ACCURACY_TRAINED_ANEW), ("turns", "ratio", RATIO)]
    table: Table[tuple[str, str, float]] = Table(
        columns=(
            words("of", lambda row: row[0]),
            words("what", lambda row: row[1]),
            figure("threshold", lambda row: row[2], unit="%", scale=100),
        ),
        rows=tuple(rows),
    )
    text = (
        f"A ratio is worse or better if p, corrected, is at most {ALPHA} and the change beyond {per_cent(RATIO)}. "
        "Where no turns were taken, times go by processes: p at most as large, medians and best quartiles beyond the "
        f"threshold on the same side, {PROCESSES} undisturbed processes a side at least. A peak has to change by more "
        f"than its threshold, {number(PEAK_GRAIN / 1e6)} MB and its spread between processes. Counts have no threshold."
    )
    return Section(title="Rules", parts=(paragraph(text), table))
