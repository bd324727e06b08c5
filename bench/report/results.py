"""One result: everything that was measured of one case on one machine, its repeats joined."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeVar

from bench.core.records import Case, Failure, Measurement, Scalar, digest_of, to_json
from bench.core.runtimes import RUNTIMES
from bench.core.turns import TWIN, is_twin
from bench.report.beside import Beside, Limits
from bench.report.disturbance import disturbances
from bench.report.load import Run
from bench.report.names import Names, names_of
from bench.report.pace import Paces, paces_of
from bench.report.statistics import Estimate, Interval, Timing, per_second, quantile_interval, summarise

FP32, EAGER, COMPILED, NATIVE = "fp32", "eager", "compiled", "native"
GRAPHS = "reduce-overhead"
"""Mode of torch.compile that replays CUDA graphs and searches for no other kernels."""
TITLES = {name: runtime.title for name, runtime in RUNTIMES.items()}
"""Runtimes as their makers write them."""
HARDLY = 0.05
"""Shares of parameters and of FLOPs below which a precision has converted hardly anything of a network."""
LANGUAGE = ("load", "prefill", "decode", "perplexity", "chat")
OF_MACHINE = ("ceilings", "noise")
Item = TypeVar("Item")


@dataclass(frozen=True, order=True)
class Route:
    """One way to run a model."""

    runtime: str
    precision: str
    mode: str

    @property
    def name(self) -> str:
        """For people: ``OpenVINO int8_static``, ``PyTorch bf16 compiled``."""
        mode = "" if self.mode == NATIVE else self.mode
        return " ".join(filter(None, (TITLES.get(self.runtime, self.runtime), self.precision, mode)))

    @property
    def short(self) -> str:
        """Without the runtime where it is PyTorch's."""
        return self.name if self.runtime != "torch" else f"{self.precision} {self.mode}"

    @property
    def is_reference(self) -> bool:
        return (self.runtime, self.precision, self.mode) == ("torch", FP32, EAGER)


REFERENCE = Route("torch", FP32, EAGER)
TF32 = Route("torch", "tf32", EAGER)
"""What most people mean by float32 on a GPU: its products by tensor cores."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Result:
    """Rows of the report. Absent values are None, never 0."""

    machine: str
    code: str | None
    dataset: str
    case: Case
    """Case of repeat 0."""
    measurements: tuple[Measurement, ...]
    """One a process."""
    timing: Timing
    rate: Estimate | None
    """Items a second."""
    disturbed: str | None
    differing: str | None
    """Fields that repeats ought to agree in and do not."""
    worker_seconds: float | None
    floor: float | None = None
    """Largest distance between two processes of one thing in its run, over 1; None where that was not measured."""
    beside: Beside = field(default_factory=Beside)
    limits: Limits = field(default_factory=Limits)

    @property
    def first(self) -> Measurement:
        return self.measurements[0]

    @cached_property
    def route(self) -> Route:
        return Route(self.case.runtime, self.case.precision, self.case.mode)

    @property
    def place(self) -> tuple[object, ...]:
        """Key that results share if a general statement may count them together."""
        return (self.machine, self.code, self.case.device, self.case.threads, self.case.budget)

    @cached_property
    def network(self) -> tuple[object, ...]:
        """Key that routes share if they are alternatives at some batch size."""
        case = self.case
        return (case.model, self.dataset, case.image_size, case.seed, *self.place)

    @cached_property
    def scene(self) -> tuple[object, ...]:
        """All of the identity but the route; repeated measurements of the reference are the same scene."""
        case = self.case
        beyond = (TWIN, "text_tokens") if case.experiment == "perplexity" else (TWIN,)
        options = tuple(pair for pair in case.options if pair[0] not in beyond)
        return (case.experiment, *self.network, case.recipe, case.batch_size, case.pipeline, options)

    @property
    def processes(self) -> int:
        """Fresh processes that measured it: repeats, or sets of turns."""
        sets = {turn.set for turn in self.first.turns}
        return max(len(self.measurements), len(sets))

    @property
    def is_twin(self) -> bool:
        return is_twin(self.case)

    @property
    def meaningless(self) -> bool:
        """True if it comes from the smoke budget, which only proves that everything runs."""
        return self.case.budget == "smoke"

    @property
    def accuracy(self) -> Estimate | None:
        """A fraction of 1, with its 95 % interval."""
        return self._quality("accuracy")

    @property
    def perplexity(self) -> Estimate | None:
        return self._quality("perplexity")

    def _quality(self, metric: str) -> Estimate | None:
        quality = self.first.quality
        if quality is None or quality.metric != metric:
            return None
        return symmetric(quality.value, quality.standard_error)

    @property
    def weight_bytes(self) -> int | None:
        return self.first.weight_bytes

    def peak(self, phase: str, kind: str) -> float | None:
        """Bytes: the median over processes."""
        found = [
            peak.bytes for one in self.measurements for peak in one.peaks if (peak.phase, peak.kind) == (phase, kind)
        ]
        return statistics.median(found) if found else None

    @property
    def in_use(self) -> float | None:
        """Bytes during a step, weights included: on CUDA the peak has them, on a CPU they are added.

        A runtime that keeps its buffers from one call to the next shows none of them in a step: there it is what a
        process of its own holds.
        """
        if self.case.runtime != REFERENCE.runtime:
            return self.peak("steady", "model_resident")
        allocated, resident = self.peak("steady", "cuda_allocated"), self.peak("steady", "rss")
        if allocated is not None:
            return allocated
        return None if resident is None or self.weight_bytes is None else resident + self.weight_bytes

    @property
    def converted_parameters(self) -> float | None:
        covered = self.first.coverage
        return _share(covered.quantized_parameters, covered.total_parameters) if covered else None

    @property
    def converted_flops(self) -> float | None:
        covered = self.first.coverage
        return _share(covered.quantized_flops, covered.total_flops) if covered else None

    @property
    def hardly_converted(self) -> bool:
        """True if it bears the name of a precision that has converted next to nothing of the network."""
        parameters, flops = self.converted_parameters, self.converted_flops
        if self.case.precision == FP32 or parameters is None or parameters >= HARDLY:
            return False
        if flops is None:  # a precision that means to store low is judged by that
            return (self.figure("weight_bits") or 32) < 32
        return flops < HARDLY

    def figure(self, name: str) -> float | None:
        """A figure of the experiment; of several processes the median, of the criterion the lowest."""
        values = [one.figures[name].value for one in self.measurements if name in one.figures]
        if not values:
            return None
        if name == "throughput" and self.rate is not None:
            return self.rate.value
        return min(values) if name == "criterion_met" else values[0]

    @property
    def energy(self) -> float | None:
        """Joules an item, the median over processes."""
        values = [one.energy_joules_per_item for one in self.measurements if one.energy_joules_per_item is not None]
        return statistics.median(values) if values else None

    @property
    def cold_seconds(self) -> float | None:
        """From files to the first result: load, conversion, compilation and the first step together."""
        values = [value for value in vars(self.first.cold).values() if value is not None]
        return sum(values) if values else None

    @property
    def library(self) -> str | None:
        value = self.first.flags.get("library")
        return None if value is None else str(value)

    def option(self, name: str) -> Scalar:
        return self.case.option(name)

    @property
    def notes(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(note for one in self.measurements for note in one.notes))

    @property
    def _expands(self) -> bool:
        """True if weights stored in few bits, not just a few of them, are multiplied in floating point."""
        bits, compute = self.figure("weight_bits"), str(self.first.flags.get("compute"))
        few = bits is not None and bits < 16 and not self.hardly_converted
        return few and compute.startswith(("float", "bfloat"))

    @property
    def marks(self) -> list[str]:
        """Warnings to read before trusting it."""
        found = ["hardly converted"] if self.hardly_converted else []
        found += [f"unstable: {self.timing.unstable}"] if self.timing.unstable else []
        found += [self.disturbed] if self.disturbed else []
        found += ["host-bound"] if self.limits.bound == "neither" and not self._expands else []
        found += ["weights are expanded"] if self.limits.bound == "neither" and self._expands else []
        found += ["criterion not met"] if self.figure("criterion_met") == 0 else []
        found += [f"repeats differ in {self.differing}"] if self.differing else []
        return found


def results_of(runs: Sequence[Run]) -> list[Result]:
    """One result for each case that was measured, sorted. Nothing is joined across machines, versions, code or data."""
    names = names_of(runs)
    joined: dict[tuple[str, str, str, Case], list[tuple[Run, Measurement]]] = {}
    for run in runs:
        for measurement in run.measurements:
            case = measurement.case
            alone = case if case.repeat == 0 else dataclasses.replace(case, repeat=0)
            key = (names.machine(run), run.code or "", names.dataset(run, case.dataset), alone)
            joined.setdefault(key, []).append((run, measurement))
    paces = _paces(names, runs)
    found = [_result(names, key[3], _distinct(group), paces[key[0]]) for key, group in joined.items()]
    return sorted(found, key=order)


def order(result: Result) -> tuple[object, ...]:
    """Sort key: by experiment and model, the reference first among its routes."""
    case = result.case
    return (
        case.experiment,
        result.machine,
        result.dataset,
        case.model,
        case.recipe or "",
        case.image_size,
        case.batch_size,
        *route_order(result.route),
        case.device,
        case.threads,
        case.seed,
        str(case.options),
        result.code or "",
        case.budget,
        case.pipeline or "",
    )


def route_order(route: Route) -> tuple[object, ...]:
    return (route.runtime != "torch", route.runtime, route.precision != FP32, route.precision, route.mode != EAGER)


def failures_of(runs: Sequence[Run]) -> list[Failure]:
    """Every failure once, sorted."""
    found = dict.fromkeys(failure for run in runs for failure in run.failures)
    return sorted(found, key=lambda failure: (failure.case.experiment, failure.case.model, str(failure.case)))


def grouped(items: Iterable[Item], key: Callable[[Item], Hashable]) -> dict[Hashable, list[Item]]:
    """Items that are alike in ``key``, together, in their order."""
    groups: dict[Hashable, list[Item]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return groups


def symmetric(value: float, standard_error: float) -> Estimate:
    """95 % interval of a normal estimate."""
    error = 1.96 * standard_error
    return Estimate(value=value, interval=Interval(low=value - error, high=value + error))


def _distinct(group: Iterable[tuple[Run, Measurement]]) -> list[tuple[Run, Measurement]]:
    """Without copies: a resumed run, or the same file under two names, holds the same samples twice."""
    seen = {(measurement.case.repeat, measurement.seconds): (run, measurement) for run, measurement in group}
    return sorted(seen.values(), key=lambda pair: pair[1].case.repeat)


def _paces(names: Names, runs: Sequence[Run]) -> dict[str, Paces]:
    """By machine."""
    measured: dict[str, list[Measurement]] = {}
    for run in runs:
        measured.setdefault(names.machine(run), []).extend(run.measurements)
    return {machine: paces_of(measurements) for machine, measurements in measured.items()}


def _result(names: Names, case: Case, group: Sequence[tuple[Run, Measurement]], paces: Paces) -> Result:
    run = group[0][0]
    repeats = tuple(measurement for _, measurement in group)
    return Result(
        machine=names.machine(run),
        code=names.code(run, case.dataset),
        dataset=names.dataset(run, case.dataset),
        case=case,
        measurements=repeats,
        timing=summarise([repeat.seconds for repeat in repeats]),
        rate=rate_of(repeats),
        disturbed=disturbances(repeats, run.machine.cores, paces),
        differing=", ".join(_differences(repeats)) or None,
        worker_seconds=_worker_seconds(case, group),
    )


def rate_of(repeats: Sequence[Measurement]) -> Estimate | None:
    """Items a second: of one process its median block, with the interval of its blocks.

    Over several processes median and interval are those of `summarise`, of seconds an item: blocks of two processes may
    hold different numbers of steps.
    """
    figures = [(repeat.figures.get("throughput"), repeat.series.get("block_seconds", ())) for repeat in repeats]
    known = [(figure.value, blocks) for figure, blocks in figures if figure is not None]
    if len(known) > 1:
        return per_second(summarise([_seconds_an_item(value, blocks) for value, blocks in known]), 1)
    return _rate_of_one(*known[0]) if known else None


def _seconds_an_item(rate: float, blocks: Sequence[float]) -> list[float]:
    items = rate * statistics.median(blocks) if blocks else 1.0
    return [second / items for second in blocks or (1 / rate,)]


def _rate_of_one(value: float, blocks: Sequence[float]) -> Estimate:
    interval = quantile_interval(blocks)
    if interval is None:
        return Estimate(value=value, interval=None)
    scale = value * statistics.median(blocks)
    return Estimate(value=value, interval=Interval(low=scale / interval.high, high=scale / interval.low))


def _worker_seconds(case: Case, group: Sequence[tuple[Run, Measurement]]) -> float | None:
    known = [
        seconds for run, one in group if run.case_seconds and (seconds := run.case_seconds.get(one.case.id)) is not None
    ]
    return sum(known) if known else None


def _differences(repeats: Sequence[Measurement]) -> list[str]:
    """Fields that repeats of one case ought to agree in, and do not."""
    if len(repeats) == 1:
        return []
    facts = [_exact(repeat) for repeat in repeats]
    return [name for name in facts[0] if len({fact.get(name) for fact in facts}) > 1]


def _exact(measurement: Measurement) -> dict[str, Scalar]:
    return {
        "weights": measurement.weight_bytes,
        "serialised size": measurement.serialized_bytes,
        "quality": measurement.quality.value if measurement.quality else None,
        "flags": digest_of(to_json(measurement.flags)),
        **{name: figure.value for name, figure in measurement.figures.items() if figure.exact},
    }


def _share(part: int | None, whole: int) -> float | None:
    return part / whole if part is not None and whole else None
