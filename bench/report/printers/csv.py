"""measurements.csv: one row a case, measured or not, in SI units; docs/measurements.md has the columns."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pandas as pd

from bench.core.records import Case, Failure, to_json
from bench.report.columns import (
    ACCURACY,
    BATCH,
    CHANGE,
    COLD,
    CONVERTED,
    CONVERTED_FLOPS,
    ECE,
    ENERGY,
    GAINED,
    IN_USE,
    KL,
    KL_P99,
    LOST,
    MARKS,
    MODE,
    MODEL,
    OF_MEMORY,
    OF_WEIGHTS,
    P50,
    P95,
    PEAKS,
    PERPLEXITY,
    PERPLEXITY_CHANGE,
    PRECISION,
    PROCESSES,
    RATE,
    RATIO,
    REACHED,
    RUNTIME,
    SAME_LABEL,
    SAME_MODE,
    SAME_TOP,
    SERIALIZED,
    WEIGHTS,
    WORST,
    agreement_of,
    number_column,
    percent_column,
    quality_of,
    words,
)
from bench.report.parts import Column, Value
from bench.report.results import Result
from bench.report.statistics import Estimate

OUTCOME, MESSAGE = "outcome", "message"
_FORMULA = re.compile(r"[=+\-@\t＝＋－＠]")
"""First signs by which a spreadsheet takes a text for a formula, if it comes first (wide forms too)."""
_BREAK = re.compile(r"\r\n?")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


def _text(value: Callable[[Result], Any]) -> Callable[[Result], Value]:
    return lambda one: json.dumps(to_json(value(one)), sort_keys=True)


IDENTITY: tuple[Column[Result], ...] = (
    words(
        "machine",
        lambda one: one.machine,
        key="machine",
        note="M1, M2, …: machine with its versions, in the order of the files",
    ),
    words(
        "code",
        lambda one: one.code,
        key="code",
        note="first digits of the fingerprint of the code, where one machine measured with several",
    ),
    words("experiment", lambda one: one.case.experiment, key="experiment", note="what was measured"),
    MODEL,
    words("recipe", lambda one: one.case.recipe, key="recipe", note="how the weights were trained"),
    words("data set", lambda one: one.dataset, key="dataset", note="images, or the text of a language model"),
    number_column("image_size", "image", lambda one: one.case.image_size or None, "px", note="side of an input image"),
    RUNTIME,
    PRECISION,
    MODE,
    BATCH,
    words("device", lambda one: one.case.device, key="device", note="as `--device` takes it"),
    number_column("threads", "threads", lambda one: one.case.threads, note="of the CPU"),
    number_column("seed", "seed", lambda one: one.case.seed, note="of the training"),
    words("budget", lambda one: one.case.budget, key="budget", note="as `--budget` takes it"),
    words("pipeline", lambda one: one.case.pipeline, key="pipeline", note="how a training is fed"),
    words(
        "options",
        lambda one: " ".join(f"{name}={value}" for name, value in one.case.options) or None,
        key="options",
        note="other settings of the case, `name=value` each",
    ),
)
MEASURED: tuple[Column[Result], ...] = (
    PROCESSES,
    number_column(
        "rounds",
        "rounds",
        lambda one: one.beside.ratio.rounds or None if one.beside.ratio else None,
        note="in which it took a turn beside the reference",
    ),
    number_column("samples", "samples", lambda one: one.timing.samples, note="of all processes"),
    P50,
    P95,
    number_column("mean_seconds", "mean", lambda one: one.timing.mean, "ms", "lower", "of the samples", scale=1e3),
    number_column(
        "deviation_seconds",
        "deviation",
        lambda one: one.timing.deviation,
        "ms",
        "lower",
        "standard deviation of the samples",
        scale=1e3,
    ),
    number_column("items_per_step", "items", lambda one: one.first.items_per_step, note="of one sample"),
    RATE,
    RATIO,
    SAME_MODE,
    *COLD.values(),
    WEIGHTS,
    SERIALIZED,
    IN_USE,
    OF_WEIGHTS,
    OF_MEMORY,
    *PEAKS.values(),
    CONVERTED,
    CONVERTED_FLOPS,
    number_column("quality_samples", "judged on", quality_of("samples"), note="test images or tokens"),
    ACCURACY,
    CHANGE,
    SAME_LABEL,
    GAINED,
    LOST,
    number_column("mcnemar_p", "McNemar p", agreement_of(lambda found: found.p), note="exact, two-sided"),
    WORST,
    ECE,
    PERPLEXITY,
    PERPLEXITY_CHANGE,
    KL,
    KL_P99,
    SAME_TOP,
    ENERGY,
    number_column(
        "bandwidth",
        "bandwidth",
        lambda one: one.limits.bandwidth,
        "GB/s",
        "higher",
        "of the memory, as its run measured it",
        scale=1e-9,
    ),
    percent_column(
        "bandwidth_share",
        "of bandwidth",
        lambda one: one.limits.of_bandwidth,
        "higher",
        "of it, by the fewest bytes of a step",
    ),
    percent_column(
        "arithmetic_share",
        "of arithmetic",
        lambda one: one.limits.of_arithmetic,
        "higher",
        "of the ceiling of its number format",
    ),
    REACHED,
    percent_column(
        "noise_floor",
        "noise",
        lambda one: one.floor,
        "lower",
        "how far two processes of one thing came apart in its run",
    ),
    number_column(
        "worker_seconds", "worker", lambda one: one.worker_seconds, "s", "lower", "of all its processes, start to end"
    ),
    MARKS,
    words("weights", lambda one: one.first.artefact, key="artefact", note="file of the trained weights"),
    words(
        "absent", _text(lambda one: one.first.absent), key="absent", note="reasons of what was not measured, as JSON"
    ),
    words("flags", _text(lambda one: one.first.flags), key="flags", note="settings of the worker, as JSON"),
    words("notes", _text(lambda one: one.notes), key="notes", note="as JSON"),
)
"""Columns of measurements.csv after those that say which case it is."""


def csv_of(results: Sequence[Result], failures: Sequence[Failure]) -> str:
    """CSV that a spreadsheet takes for text and numbers only, and whose numbers read back exactly."""
    table = measurements(results, failures)
    cells = {name: _cells(list(table[name])) for name in table.columns}
    return str(pd.DataFrame(cells, dtype=object).to_csv(index=False, lineterminator="\n"))


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


def _cells(values: list[object]) -> list[object]:
    """A column is of text as a whole, or not at all."""
    first = next((value for value in values if value is not None), None)
    return [_cell(value) for value in values] if isinstance(first, str) else values


def _cell(value: object) -> object:
    if not isinstance(value, str):
        return value
    plain = _CONTROL.sub("\N{REPLACEMENT CHARACTER}", _BREAK.sub("\n", value))
    return f"'{plain}" if _FORMULA.match(plain) else plain
