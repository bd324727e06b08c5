"""One row of the frame: what says which case it is, and what it tells by itself."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any, Literal

from bench.core.records import Case, Measurement
from bench.report.load import Run
from bench.report.names import Names
from bench.report.statistics import Estimate, Interval, per_second, quantile_interval, summarise

Row = dict[str, Any]
Side = Literal["above", "below", "across", "unknown"]

IDENTITY = (
    "machine",
    "code",
    "experiment",
    "model",
    "recipe",
    "dataset",
    "image size [px]",
    "precision",
    "mode",
    "batch size",
    "device",
    "threads",
    "seed",
    "budget",
    "pipeline",
    "options",
)
PLACE = ("machine", "code", "device", "threads", "budget")
"""What rows share that a general statement may count together."""
BASELINES = ("fp32", "eager")
"""What the others of their kind are compared with, and stand behind."""
PEAKS = tuple(
    (phase, kind, f"{phase} peak, {kind.replace('_', ' ')} [B]")
    for phase in ("steady", "load")
    for kind in ("rss", "cuda_allocated", "cuda_reserved", "device_process")
)
SPEED = "speed-up over fp32 same mode"
"""The ratio that verdicts go by: what the precision does, without what compiling does."""
HARDLY = 0.05
"""Shares of parameters and of FLOPs below which a precision has converted hardly anything of a network."""


def one_accuracy(row: Row) -> float | None:
    """The row's accuracy, a fraction of 1; None where its quality is absent or another one."""
    return row["quality [1]"] if row["quality metric"] == "accuracy" else None


def figure(row: Row, name: str) -> float | None:
    """The value of a figure particular to an experiment; None if the row has none of that name."""
    found = row["figures"].get(name)
    return found.value if found is not None else None


def throughput(row: Row) -> Estimate | None:
    """Items a second over all processes, see `rate_of`; None where the row has none."""
    found: Estimate | None = row["rate"]
    return found


def rate_of(repeats: Sequence[Measurement]) -> Estimate | None:
    """Items a second: of one process its median block, as the experiment counted it, with the interval of its blocks.

    Over several processes median and interval are those of `summarise`, of seconds an item: blocks of two processes may
    hold different numbers of steps.
    """
    figures = [(repeat.figures.get("throughput"), repeat.series.get("block_seconds", ())) for repeat in repeats]
    told = [(found.value, blocks) for found, blocks in figures if found is not None]
    if len(told) > 1:
        return per_second(summarise([_seconds_an_item(value, blocks) for value, blocks in told]), 1)
    return _rate_of_one(*told[0]) if told else None


def _seconds_an_item(rate: float, blocks: Sequence[float]) -> list[float]:
    items = rate * statistics.median(blocks) if blocks else 1.0
    return [second / items for second in blocks or (1 / rate,)]


def _rate_of_one(value: float, blocks: Sequence[float]) -> Estimate:
    interval = quantile_interval(blocks)
    if interval is None:
        return Estimate(value=value, interval=None)
    scale = value * statistics.median(blocks)
    return Estimate(value=value, interval=Interval(low=scale / interval.high, high=scale / interval.low))


ONE_PROCESS = 1.1
"""Two processes of the same case were seen to differ by so much: less than that tells nothing of rows measured once."""


def is_meaningless(row: Row) -> bool:
    """Whether the row comes from the smoke budget, which only proves that everything runs."""
    return bool(row["budget"] == "smoke")


def hardly_converted(row: Row) -> bool:
    """Whether the row bears the name of a precision that has converted next to nothing of the network.

    Such a row says nothing of its precision: it is marked, and no general statement counts it.
    """
    parameters, flops = row["converted parameters [1]"], row["converted FLOPs [1]"]
    if row["precision"] == BASELINES[0] or parameters is None or parameters >= HARDLY:
        return False
    if flops is None:  # the trace did not account for them: a precision that means to store low is judged by that
        return (figure(row, "weight_bits") or 32) < 32
    return bool(flops < HARDLY)


def side_of_one(row: Row, ratio: str, one_process: float = ONE_PROCESS) -> Side:
    """Where the interval of a ratio of two rows lies: on one side of 1 only if their own intervals do not overlap.

    Where one process measured either row they have to be further apart besides, by the factor ``one_process`` and by
    the noise floor of their run: such an interval knows nothing of the next process.
    """
    low, high = row[f"{ratio} from [1]"], row[f"{ratio} to [1]"]
    interval = None if low is None or high is None else Interval(low=low, high=high)
    beyond = max(one_process, 1 + (row.get("noise floor [1]") or 0.0))
    return side_of(interval, 1.0, row["fewest processes"][ratio], beyond)


def side_of(interval: Interval | None, neutral: float, processes: int, one_process: float = ONE_PROCESS) -> Side:
    """Where an interval lies beside ``neutral``: 0 for differences, 1 for ratios (see `side_of_one`)."""
    if interval is None:
        return "unknown"
    margin = one_process if processes < 2 else 1.0
    return "above" if interval.low > neutral * margin else "below" if interval.high < neutral / margin else "across"


def grouped(rows: Sequence[Row], names: Sequence[str]) -> dict[tuple[object, ...], list[Row]]:
    """The rows that are alike in ``names``, together, in their order."""
    groups: dict[tuple[object, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row[name] for name in names), []).append(row)
    return groups


def identity(case: Case, run: Run, names: Names) -> Row:
    """What says which case a row is: everything but the repeat. Language models have no image size."""
    values = (
        names.machine(run),
        names.code(run, case.dataset),
        case.experiment,
        case.model,
        case.recipe,
        names.dataset(run, case.dataset),
        case.image_size or None,
        case.precision,
        case.mode,
        case.batch_size,
        case.device,
        case.threads,
        case.seed,
        case.budget,
        case.pipeline,
        " ".join(f"{name}={value}" for name, value in case.options) or None,
    )
    return dict(zip(IDENTITY, values, strict=True))


def sort_key(row: Row) -> tuple[tuple[int, int | float, str], ...]:
    """Numbers by size, words by letter, absent ones and baselines first."""
    order = ("experiment", "machine", "dataset", "model", "recipe", "image size [px]", "batch size", "precision")
    values = (row[name] for name in (*order, *(name for name in IDENTITY if name not in order)))
    return tuple(
        (0, 0, "")
        if value is None
        else (1, value, "")
        if isinstance(value, int)
        else (2, value not in BASELINES, value)
        for value in values
    )


def ends(name: str, interval: Interval | None, unit: str = "s") -> Row:
    return {
        f"{name} from [{unit}]": interval.low if interval else None,
        f"{name} to [{unit}]": interval.high if interval else None,
    }
