"""measurements.csv: one row a case, measured or not, in SI units; docs/measurements.md has the columns."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Sequence

import pandas as pd

from bench.core.records import Case, Failure
from bench.report.columns import IDENTITY, MEASURED
from bench.report.parts import Column, Value
from bench.report.results import Result
from bench.report.statistics import Estimate

OUTCOME, MESSAGE = "outcome", "message"
_FORMULA = re.compile(r"[=+\-@\t＝＋－＠]")
"""What makes a spreadsheet take a text for a formula, if it comes first (also as East Asian input methods write it)."""
_BREAK = re.compile(r"\r\n?")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


def csv_of(results: Sequence[Result], failures: Sequence[Failure]) -> str:
    """CSV that a spreadsheet takes for text and numbers only, and whose numbers read back exactly."""
    return str(measurements(results, failures).map(_cell).to_csv(index=False, lineterminator="\n"))


def measurements(results: Sequence[Result], failures: Sequence[Failure]) -> pd.DataFrame:
    """Results, then the cases that gave none: outcome and message instead of numbers. Figures of an experiment are
    columns of their own, ``figure: name [unit]``."""
    columns: dict[str, list[object]] = {}
    for column in IDENTITY:
        columns[column.quantity.key] = [column.value(one) for one in results]
    columns[OUTCOME] = ["measured"] * len(results)
    columns[MESSAGE] = [None] * len(results)
    for column in MEASURED:
        columns |= dict(_expanded(column, results))
    units = {f"figure: {name} [{item.unit}]": name for one in results for name, item in one.first.figures.items()}
    for title in sorted(units):
        columns[title] = [one.figure(units[title]) if _has(one, title, units[title]) else None for one in results]
    measured = pd.DataFrame(columns, dtype=object)
    failed = pd.DataFrame(list(_failed(failures)), columns=list(columns), dtype=object)
    return pd.concat([measured, failed], ignore_index=True) if len(failed) else measured


def header() -> list[tuple[str, str]]:
    """Name and meaning of each column but the figures of experiments."""
    names = [(column.quantity.key, column.quantity.note) for column in IDENTITY]
    names += [(OUTCOME, "`measured`, or why not"), (MESSAGE, "the reason, where nothing was measured")]
    for column in MEASURED:
        names.append((column.quantity.key, column.quantity.note))
        names += [(end, f"end of the 95 % interval of `{column.quantity.key}`") for end in column.quantity.ends or ()]
    return names


def _expanded(column: Column[Result], results: Sequence[Result]) -> Iterator[tuple[str, list[object]]]:
    """A column, and those of the ends of its interval."""
    values = [column.value(one) for one in results]
    yield column.quantity.key, [value.value if isinstance(value, Estimate) else value for value in values]
    for place, name in enumerate(column.quantity.ends or ()):
        yield name, [_end(value, place) for value in values]


def _end(value: Value, place: int) -> float | None:
    if not isinstance(value, Estimate) or value.interval is None:
        return None
    return (value.interval.low, value.interval.high)[place]


def _has(result: Result, title: str, name: str) -> bool:
    figure = result.first.figures.get(name)
    return figure is not None and title == f"figure: {name} [{figure.unit}]"


def _failed(failures: Sequence[Failure]) -> Iterator[dict[str, object]]:
    """Cases that ended alike in several processes are one row, which counts them."""
    counts: dict[tuple[Case, str, str], int] = {}
    for failure in failures:
        key = (dataclasses.replace(failure.case, repeat=0), failure.kind, failure.message)
        counts[key] = counts.get(key, 0) + 1
    for (case, kind, message), count in counts.items():
        own = {name: getattr(case, name) for name in vars(case) if name not in ("options", "repeat")}
        options = " ".join(f"{name}={value}" for name, value in case.options) or None
        yield {**own, "options": options, OUTCOME: kind, MESSAGE: message, "processes": count}


def _cell(value: object) -> object:
    if not isinstance(value, str):
        return value
    plain = _CONTROL.sub("\N{REPLACEMENT CHARACTER}", _BREAK.sub("\n", value))
    return f"'{plain}" if _FORMULA.match(plain) else plain
