"""Times, throughputs and energy: tested over fresh processes, and measured against a threshold."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from bench.core.records import Better, Measurement
from bench.report.compare.changes import Outcome, other_work
from bench.report.compare.matching import Pair, cell
from bench.report.compare.significance import holm, processes_needed, rank_test, ratio_interval, smallest_p
from bench.report.compare.thresholds import ALPHA, OTHER_TIMES, PROCESSES, TIMES
from bench.report.disturbance import undisturbed
from bench.report.pace import Paces, paces_of
from bench.report.results import OF_MACHINE
from bench.report.statistics import Interval


@dataclass(frozen=True, kw_only=True)
class TimeChange:
    """One timed quantity in both runs: one value a process, in seconds, items per second or joules per item."""

    pair: Pair
    """The first of them where seeds were joined."""
    metric: str
    threshold: float
    old: tuple[float, ...]
    new: tuple[float, ...]
    disturbed: tuple[int, int] = (0, 0)
    """Processes of each side that are left out of ``old`` and ``new``."""
    obstacle: str | None = None
    """Reason why nothing can be told; None where it was tested and could have shown."""
    p: float | None = None
    """p of the Mann-Whitney test over processes, corrected by Holm for all tested rows of the comparison."""

    @property
    def of_the_machine(self) -> bool:
        """True if no code of ours is timed: what changed then is the machine, and no regression."""
        return self.pair.case.experiment in OF_MACHINE

    @property
    def better(self) -> Better:
        return "higher" if self.metric == "throughput" else "lower"

    @property
    def ratio(self) -> float | None:
        """Median over processes, new over old."""
        return statistics.median(self.new) / statistics.median(self.old) if self.old and self.new else None

    @property
    def ratio_of_best(self) -> float | None:
        """Ratio of the best quartiles of processes, new over old: what else goes on in a machine only ever slows."""
        return _best(self.new, self.better) / _best(self.old, self.better) if self.old and self.new else None

    @cached_property
    def interval(self) -> Interval | None:
        """95 % interval of `ratio`, bootstrapped over processes; None where nothing was tested."""
        return None if self.p is None else ratio_interval(self.old, self.new)

    @property
    def shown(self) -> Outcome | None:
        """``worse`` and ``better`` take all of these: a significant p, and both ratios beyond the threshold, on the
        same side; else None."""
        if self.p is None or self.ratio is None or self.ratio_of_best is None or self.p > ALPHA:
            return None
        if any(map(self._within, (self.ratio, self.ratio_of_best))) or (self.ratio > 1) != (self.ratio_of_best > 1):
            return None
        return "worse" if (self.ratio > 1) == (self.better == "lower") else "better"

    @property
    def outcome(self) -> Outcome:
        if self.obstacle is not None or self.interval is None:
            return "cannot tell"
        bounds = self.interval.low, self.interval.high
        return self.shown or ("same" if all(map(self._within, bounds)) else "no clear difference")

    def _within(self, ratio: float) -> bool:
        return 1 / (1 + self.threshold) <= ratio <= 1 + self.threshold


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Facts by which a process of one run counts as disturbed."""

    cores: int
    paces: Paces


def time_changes(pairs: Sequence[Pair], *, cores: tuple[int, int], one_machine: bool) -> tuple[TimeChange, ...]:
    """Timed quantities that either run has of the cases that both measured.

    Processes that others disturbed, or a slow phase of the machine, do not count: they tell of neither run's code. What
    is slow is judged by both runs together, unless they are of two machines.

    Args:
        cores: of the machine of each run.
        one_machine: whether both have one, with the same versions.
    """
    both = [pair.both for pair in pairs if pair.both]
    runs = [[one for entries in both for one in entries[side].measurements] for side in (0, 1)]
    paces = [paces_of([*runs[0], *runs[1]])] * 2 if one_machine else [paces_of(run) for run in runs]
    machines = [Machine(cores=count, paces=pace) for count, pace in zip(cores, paces, strict=True)]
    return tested([change for group in _groups(pairs) for change in _of(group, machines)])


def tested(changes: Sequence[TimeChange]) -> tuple[TimeChange, ...]:
    """``changes``, in their order, with p where there is no obstacle: corrected for all of them together."""
    testable = [change for change in changes if change.obstacle is None]
    values = iter(holm([rank_test(change.old, change.new) for change in testable]))
    return tuple(
        change if change.obstacle is not None else _with_p(change, next(values), len(testable)) for change in changes
    )


def _groups(pairs: Sequence[Pair]) -> list[list[Pair]]:
    """Cases that differ in their seed alone, together: a training has seeds instead of repeats."""
    groups: dict[tuple[object, ...], list[Pair]] = {}
    for pair in (pair for pair in pairs if pair.results is not None):
        alike = (*cell(pair, without=("seed",)), *pair.entry.place, pair.case.options)
        groups.setdefault(alike, []).append(pair)
    return list(groups.values())


def _of(group: Sequence[Pair], machines: Sequence[Machine]) -> list[TimeChange]:
    first = group[0]
    sides = [[one for pair in group if pair.both for one in pair.both[side].measurements] for side in (0, 1)]
    calm = [_calm(first, side, machine) for side, machine in zip(sides, machines, strict=True)]
    found = []
    for metric, threshold in TIMES.get(first.case.experiment, OTHER_TIMES).items():
        every, counted = ([_values(side, metric) for side in chosen] for chosen in (sides, calm))
        if any(every):
            old, new = counted
            disturbed = len(every[0]) - len(old), len(every[1]) - len(new)
            found.append(
                TimeChange(
                    pair=first,
                    metric=metric,
                    threshold=threshold,
                    old=old,
                    new=new,
                    disturbed=disturbed,
                    obstacle=_obstacle(group, every) or too_few(old, new, disturbed),
                )
            )
    return found


def _calm(pair: Pair, measurements: Sequence[Measurement], machine: Machine) -> list[Measurement]:
    """Measurements that count. Where the machine itself is timed, what slows it is what is looked for."""
    if pair.case.experiment in OF_MACHINE:
        return list(measurements)
    return [one for one in measurements if undisturbed(one, machine.cores, machine.paces)]


def _values(measurements: Sequence[Measurement], metric: str) -> tuple[float, ...]:
    """One a process that has such a value."""
    return tuple(value for one in measurements if (value := _value(one, metric)) is not None)


def _value(measurement: Measurement, metric: str) -> float | None:
    """Value of one process; None where it has none above 0, which a ratio needs."""
    if metric == "throughput":
        figure = measurement.figures.get("throughput")
        value = figure.value if figure else None
    elif metric == "energy":
        value = measurement.energy_joules_per_item
    else:
        value = statistics.median(measurement.seconds)
    return value if value is not None and value > 0 else None


def _best(values: Sequence[float], better: Better) -> float:
    """The value with a quarter of the processes before it: of five the second best, of eight the third."""
    return sorted(values, reverse=better == "higher")[len(values) // 4]


def _obstacle(group: Sequence[Pair], every: Sequence[Sequence[float]]) -> str | None:
    """``every``: the values of each side, disturbed ones too."""
    old, new = every
    if not old or not new:
        return f"not measured in {'NEW' if old else 'OLD'}"
    if any(result.meaningless for pair in group for result in pair.results or ()):
        return "smoke run"
    return next((work for pair in group if (work := other_work(pair)) is not None), None)


def too_few(old: Sequence[float], new: Sequence[float], disturbed: tuple[int, int]) -> str | None:
    """Reason why nothing can be told of so few processes a side; None where there are enough."""
    if min(len(old), len(new)) >= PROCESSES:
        return None
    besides = " that were not disturbed" if any(disturbed) else ""
    return f"fewer than {PROCESSES} processes a side{besides}"


def _with_p(change: TimeChange, p: float, rows: int) -> TimeChange:
    """Change with its p; few processes that could not have shown it have an obstacle."""
    counts = len(change.old), len(change.new)
    hopeless = p > ALPHA and rows * smallest_p(*counts) > ALPHA
    obstacle = f"{rows} rows need {processes_needed(rows, ALPHA)} processes a side" if hopeless else None
    return replace(change, p=p, obstacle=obstacle)
