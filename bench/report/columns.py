"""Every figure of a result, declared once: tables choose from these columns, measurements.csv has them all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from bench.core.records import Better
from bench.report.parts import Column, Quantity, Value
from bench.report.results import Result
from bench.report.statistics import Estimate, Interval

Row = TypeVar("Row")
PHASES = ("steady", "load")
KINDS = {"rss": "resident", "cuda_allocated": "CUDA allocated", "cuda_reserved": "CUDA reserved"}
KINDS |= {"device_process": "process on the device", "torch_allocated": "torch's allocator"}
KINDS |= {"model_resident": "process of its own"}


def lifted(column: Column[Result], result: Callable[[Row], Result | None], name: str | None = None) -> Column[Row]:
    """Column with the same figure, of rows that hold a result."""
    quantity = column.quantity if name is None else _renamed(column.quantity, name)

    def value(row: Row) -> Value:
        found = result(row)
        return None if found is None else column.value(found)

    return Column(quantity=quantity, value=value, rank=column.rank)


def words(name: str, value: Callable[[Row], Value], rank: int = 1, key: str = "", note: str = "") -> Column[Row]:
    """A column of text."""
    return Column(quantity=Quantity(name=name, key=key, words=True, note=note), value=value, rank=rank)


def _renamed(quantity: Quantity, name: str) -> Quantity:
    from dataclasses import replace

    return replace(quantity, name=name)


def number_column(
    key: str,
    name: str,
    value: Callable[[Result], Value],
    unit: str = "",
    better: Better | None = None,
    note: str = "",
    **form: Any,
) -> Column[Result]:
    rank = form.pop("rank", 1)
    return Column(
        quantity=Quantity(name=name, key=key, unit=unit, better=better, note=note, **form), value=value, rank=rank
    )


def quality_of(name: str, of: str = "quality") -> Callable[[Result], Value]:
    def value(result: Result) -> Value:
        quality = result.first.quality
        # A pretrained network whose classes are not the data set's is compared, not judged.
        holder: Any = quality if of == "quality" else quality.divergence if quality else result.first.divergence
        return getattr(holder, name) if holder is not None else None

    return value


def agreement_of(value: Callable[[Any], Value]) -> Callable[[Result], Value]:
    return lambda result: value(result.beside.agreement) if result.beside.agreement else None


def _cold(name: str) -> Callable[[Result], Value]:
    return lambda one: getattr(one.first.cold, name)


def _peak(phase: str, kind: str) -> Callable[[Result], Value]:
    return lambda one: one.peak(phase, kind)


def _median(result: Result) -> Value:
    return Estimate(value=result.timing.median, interval=result.timing.interval)


def _p95(result: Result) -> Value:
    timing = result.timing
    return None if timing.p95 is None else Estimate(value=timing.p95, interval=timing.p95_interval)


def _mb(key: str, name: str, value: Callable[[Result], Value], note: str = "") -> Column[Result]:
    return number_column(key, name, value, "MB", "lower", note, scale=1e-6)


def percent_column(
    key: str, name: str, value: Callable[[Result], Value], better: Better | None = None, note: str = "", **form: Any
) -> Column[Result]:
    return number_column(key, name, value, "%", better, note, scale=100, **form)


MODEL: Column[Result] = words(
    "network", lambda one: one.case.model, key="model", note="name of the network or language model"
)
RUNTIME: Column[Result] = words(
    "runtime", lambda one: one.case.runtime, key="runtime", note="library that ran it, as `--runtimes` takes it"
)
PRECISION: Column[Result] = words(
    "precision", lambda one: one.case.precision, key="precision", note="as `--precisions` takes it"
)
MODE: Column[Result] = words("mode", lambda one: one.case.mode, key="mode", note="as `--modes` takes it")
ROUTE: Column[Result] = words("route", lambda one: one.route.name)
BATCH = number_column("batch_size", "batch", lambda one: one.case.batch_size, note="items of a call", digits=1)
P50 = number_column(
    "median_seconds",
    "p50",
    _median,
    "ms",
    "lower",
    "median of a call, an epoch, a load or a token",
    scale=1e3,
    ends=("median_from", "median_to"),
)


def milliseconds(name: str, seconds: Callable[[Row], Value]) -> Column[Row]:
    """A time like the p50 of a result, which is none's."""
    return Column(quantity=_renamed(P50.quantity, name), value=seconds, rank=P50.rank)


P95 = number_column(
    "p95_seconds",
    "p95",
    _p95,
    "ms",
    "lower",
    "95th percentile, with samples enough for it",
    scale=1e3,
    ends=("p95_from", "p95_to"),
)
RATE = number_column(
    "items_per_second",
    "items/s",
    lambda one: one.rate,
    "",
    "higher",
    "images or new tokens a second, from blocks of calls",
    ends=("items_per_second_from", "items_per_second_to"),
)
RATIO = number_column(
    "ratio_to_reference",
    "× fp32 eager",
    lambda one: one.beside.ratio.estimate if one.beside.ratio else None,
    "",
    "higher",
    "times as fast as the reference (PyTorch, fp32, eager) at the same batch size; one process has no interval",
    ends=("ratio_from", "ratio_to"),
)
SAME_MODE = number_column(
    "ratio_same_mode",
    "× fp32 same mode",
    lambda one: one.beside.same_mode,
    "",
    "higher",
    "times as fast as PyTorch's fp32 in the same mode, by medians: effect of the precision alone",
)
RATIO_TF32 = number_column(
    "ratio_to_tf32",
    "× TF32",
    lambda one: one.beside.tf32,
    "",
    "higher",
    "times as fast as PyTorch's TF32, eager, by medians: what most people mean by float32 on a GPU",
)
ACCURACY = percent_column(
    "accuracy",
    "accuracy",
    lambda one: one.accuracy,
    "higher",
    "share of test images labelled rightly",
    ends=("accuracy_from", "accuracy_to"),
)
CHANGE = number_column(
    "accuracy_change",
    "accuracy",
    agreement_of(lambda found: found.change),
    "points",
    "higher",
    "accuracy less the reference's on the same images and weights",
    scale=100,
    signed=True,
    decimals=2,
    ends=("accuracy_change_from", "accuracy_change_to"),
)
SAME_LABEL = percent_column(
    "same_label",
    "same label",
    agreement_of(lambda found: found.alike),
    "higher",
    "images that the reference labels the same",
    decimals=1,
)
GAINED = number_column(
    "gained",
    "gained",
    agreement_of(lambda found: found.gained),
    "",
    None,
    "images that only this route labels rightly",
    digits=1,
)
LOST = number_column(
    "lost",
    "lost",
    agreement_of(lambda found: found.lost),
    "",
    "lower",
    "images that only the reference labels rightly",
    digits=1,
)
FLIPS: Column[Result] = words(
    "flips +/−",
    agreement_of(lambda found: f"{found.gained} / {found.lost}"),
    note="images that only this route, and only the reference, labels rightly",
)
WORST = number_column(
    "worst_class_change",
    "worst class",
    agreement_of(lambda found: found.worst_class[1] if found.worst_class else 0.0),
    "points",
    "higher",
    "change of accuracy of the class that loses most",
    scale=100,
    signed=True,
    decimals=1,
)
KL = number_column(
    "kl_mean",
    "KL",
    quality_of("kl_mean", "divergence"),
    "nat",
    "lower",
    "mean divergence of the outputs from the reference's",
    digits=2,
)
KL_P99 = number_column(
    "kl_p99", "KL p99", quality_of("kl_p99", "divergence"), "nat", "lower", "its 99th percentile", digits=2
)
SAME_TOP = percent_column(
    "same_top",
    "same top",
    quality_of("same_top", "divergence"),
    "higher",
    "inputs whose most probable class or token is the reference's",
    decimals=1,
)
ECE = percent_column(
    "calibration_error",
    "ECE",
    quality_of("calibration_error"),
    "lower",
    "expected calibration error over 15 bins",
    decimals=1,
)
PERPLEXITY = number_column(
    "perplexity",
    "perplexity",
    lambda one: one.perplexity,
    "",
    "lower",
    "of the text, by tokens",
    ends=("perplexity_from", "perplexity_to"),
)


def perplexity_change(result: Result) -> Value:
    """Rise of perplexity over the reference's, a fraction of 1."""
    ratio = result.beside.perplexity
    if ratio is None or result.route.is_reference:
        return None
    low_high = ratio.interval
    interval = Interval(low=low_high.low - 1, high=low_high.high - 1) if low_high else None
    return Estimate(value=ratio.value - 1, interval=interval)


PERPLEXITY_CHANGE = percent_column(
    "perplexity_change",
    "perplexity",
    perplexity_change,
    "lower",
    "rise over the reference's on the same text",
    signed=True,
    decimals=1,
    ends=("perplexity_change_from", "perplexity_change_to"),
)
WEIGHTS = _mb("weight_bytes", "weights", lambda one: one.weight_bytes, "as stored; MB are 10^6 bytes")
SERIALIZED = _mb("serialized_bytes", "file", lambda one: one.first.serialized_bytes, "file of the weights")
WHOLE = "weights and what a step adds; of a runtime that keeps its buffers, what a process of its own holds of memory"
IN_USE = _mb("in_use_bytes", "in use", lambda one: one.in_use, WHOLE)
OF_WEIGHTS = percent_column(
    "weight_ratio",
    "weights of fp32's",
    lambda one: one.beside.weights,
    "lower",
    "bytes of the weights over the reference's",
)
OF_MEMORY = percent_column(
    "in_use_ratio", "in use of fp32's", lambda one: one.beside.memory, "lower", "bytes in use over the reference's"
)
CONVERTED = percent_column(
    "converted_parameters",
    "parameters converted",
    lambda one: one.converted_parameters,
    None,
    "stored in the low precision",
)
CONVERTED_FLOPS = percent_column(
    "converted_flops", "FLOPs converted", lambda one: one.converted_flops, None, "multiplied in the low precision"
)
COLD = {
    name: number_column(
        f"cold_{name}_seconds",
        title,
        _cold(name),
        "s",
        "lower",
        "once, in the first process",
    )
    for name, title in (("load", "load"), ("convert", "convert"), ("compile", "compile"), ("first_step", "first step"))
}
COLD_TOTAL = number_column(
    "",
    "first result after",
    lambda one: one.cold_seconds,
    "s",
    "lower",
    "load, conversion, compilation and first step",
    digits=2,
)
REACHED = percent_column(
    "limit_share",
    "of limit",
    lambda one: one.limits.reached,
    "higher",
    "larger share of the two ceilings of the machine",
    digits=2,
)
ENERGY = number_column(
    "joules_per_item", "energy", lambda one: one.energy, "mJ/item", "lower", "of the device", scale=1e3
)
MARKS: Column[Result] = words(
    "marks", lambda one: "; ".join(one.marks) or None, key="marks", note="what to know before trusting the row"
)
PROCESSES = number_column(
    "processes", "processes", lambda one: one.processes, note="fresh processes that measured it", digits=1
)
PEAKS = {
    (phase, kind): _mb(
        f"{phase}_{kind}_bytes",
        f"{phase} peak, {title}",
        _peak(phase, kind),
        "median over processes",
    )
    for phase in PHASES
    for kind, title in KINDS.items()
    if phase == "steady" or kind not in ("torch_allocated", "model_resident")  # taken of steps alone
}
