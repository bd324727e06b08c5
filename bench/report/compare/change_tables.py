"""Sections about what was measured: times, counts, peaks and quality, what became worse first."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Protocol, TypeVar

from bench.report.compare.case_tables import WORDS, named
from bench.report.compare.exact import ExactChange
from bench.report.compare.matching import Pair
from bench.report.compare.outcome import ORDER, Outcome
from bench.report.compare.peaks import PeakChange
from bench.report.compare.quality import QualityChange
from bench.report.compare.times import TimeChange
from bench.report.markdown import ABSENT, integer, listing, megabytes, number, points, probability, table

UNITS = {"throughput": ("items/s", 1.0), "energy": ("mJ/item", 1e3)}
MILLISECONDS = ("ms", 1e3)
LEFT = ("outcome", *WORDS, "metric", "quantity", "peak", "unit", "why", "remarks")


class Change(Protocol):
    """What every table here lists."""

    @property
    def pair(self) -> Pair: ...
    @property
    def outcome(self) -> Outcome: ...


Item = TypeVar("Item", bound=Change)


def times_section(found: Sequence[TimeChange]) -> str:
    if not found:
        return ""
    told = (
        "OLD and NEW are medians over processes, of each process's own median. p is that of the Mann-Whitney test "
        f"over processes, by Holm for the {sum(item.p is not None for item in found)} rows that were tested; the "
        "interval of 95 % is bootstrapped over processes. *Best quartile* is NEW / OLD of the process with a quarter "
        "of them before it. Processes that others disturbed, or a slow phase of the machine, do not count."
    )
    return _section("Times", told, [(item, _time(item)) for item in _ordered(found)])


def exact_section(found: Sequence[ExactChange]) -> str:
    if not found:
        return "## Counts\n\nBytes, parameters, FLOPs, tokens and the other counts are the same in both runs."
    told = "Counted, not sampled: any change is one. More bytes, parameters or FLOPs are worse."
    return _section("Counts", told, [(item, _exact(item)) for item in _ordered(found)])


def peaks_section(found: Sequence[PeakChange]) -> str:
    """The peaks beyond their thresholds; of the others the number."""
    shown = [item for item in _ordered(found) if item.outcome != "same"]
    if not found:
        return ""
    told = f"{len(found) - len(shown)} of {len(found)} peaks within their thresholds."
    return _section("Peaks of memory", told, [(item, _peak(item)) for item in shown])


def quality_section(found: Sequence[QualityChange]) -> str:
    if not found:
        return ""
    told = (
        "Image by image (McNemar's test, exact) or window by window (Student's t), p by Holm for the "
        f"{sum(item.p is not None for item in found)} rows that were tested. ± is one paired standard error. Batch "
        "sizes that share their predictions are one row. *Trained anew* are weights that each run trained for itself: "
        "p is of these weights, not of the code that trained them."
    )
    return _section("Quality", told, [(item, _quality(item)) for item in _ordered(found)])


def _section(title: str, told: str, items: Sequence[tuple[Change, dict[str, str]]]) -> str:
    cases = named([item.pair for item, _ in items])
    rows = [{"outcome": item.outcome, **case, **cells} for (item, cells), case in zip(items, cases, strict=True)]
    return "\n\n".join((f"## {title}", told, *([table(rows, left=LEFT)] if rows else [])))


def _ordered(found: Sequence[Item]) -> list[Item]:
    return sorted(found, key=lambda item: ORDER.index(item.outcome))


def _time(item: TimeChange) -> dict[str, str]:
    unit, scale = UNITS.get(item.metric, MILLISECONDS)
    old, new = (number(statistics.median(values) * scale) if values else ABSENT for values in (item.old, item.new))
    return {
        "metric": item.metric,
        "unit": unit,
        "OLD": old,
        "NEW": new,
        "NEW / OLD": number(item.ratio, 4),
        "from": number(item.interval.low if item.interval else None, 4),
        "to": number(item.interval.high if item.interval else None, 4),
        "best quartile": number(item.ratio_of_best, 4),
        "p": probability(item.p),
        "processes": ", ".join(map(_processes, (item.old, item.new), item.disturbed)),
        "why": item.obstacle or ABSENT,
    }


def _processes(values: Sequence[float], disturbed: int) -> str:
    """How many count, and of how many, where some were disturbed."""
    return f"{len(values)} of {len(values) + disturbed}" if disturbed else str(len(values))


def _exact(item: ExactChange) -> dict[str, str]:
    old, new = (listing([_count(value) for value in values]) or ABSENT for values in (item.old, item.new))
    return {"quantity": item.name, "unit": item.unit, "OLD": old, "NEW": new}


def _count(value: float) -> str:
    return integer(value) if value == round(value) else repr(value)


def _peak(item: PeakChange) -> dict[str, str]:
    return {
        "peak": item.name,
        "OLD [MB]": megabytes(item.old),
        "NEW [MB]": megabytes(item.new),
        "NEW / OLD": number(item.new / item.old if item.old else None, 4),
    }


def _quality(item: QualityChange) -> dict[str, str]:
    accuracy = item.metric == "accuracy"
    old, new = (_value(value, accuracy) for value in (item.old, item.new))
    change = ABSENT
    if item.change is not None:
        change = points(item.change, item.standard_error) + (" points" if accuracy else " %")
    return {
        "metric": item.metric,
        "unit": "%" if accuracy else "1",
        "OLD": old,
        "NEW": new,
        "change": change,
        "images or windows": integer(item.samples),
        "p": probability(item.p),
        "remarks": item.obstacle or item.remark or ABSENT,
    }


def _value(value: float | None, accuracy: bool) -> str:
    return number(100 * value, 4) if accuracy and value is not None else number(value, 4)
