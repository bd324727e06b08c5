"""Timing of one step: first call, samples, blocks and peak of memory, each in a pass of its own."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.core.experiments import sampling_of
from bench.core.precisions import GRAPH_MODES
from bench.core.records import Case, Figure, Peak
from bench.core.turns import TURN_SECONDS, Taken, Turns
from bench.measure import clock, memory
from bench.measure.energy import STOOD_STILL, Meter, meter_of, metered, seconds_of
from bench.measure.state import Watch

NO_BLOCKS = "measured over blocks of calls, which this experiment does not take"


@dataclass(frozen=True, kw_only=True)
class Timed:
    """Result of timing one step."""

    output: Tensor
    """Output of the first call."""
    first_seconds: float
    latencies: clock.Latencies
    blocks: clock.Blocks | None
    """Blocks of calls; None if no throughput is measured."""
    peaks: tuple[Peak, ...]
    watch: Watch
    joules: float | None
    """Joules of one call; None with the reason in ``why_no_energy``."""
    why_no_energy: str | None
    replayed: bool = False
    """True if a step replays CUDA graphs."""

    @property
    def typical(self) -> float:
        return statistics.median(self.latencies.seconds)

    def figures(self, items_per_step: int) -> dict[str, Figure]:
        """Throughput, and the facts behind it and the latencies."""
        found = {"criterion_met": Figure(value=float(self.latencies.criterion_met), unit="yes=1")}
        if self.blocks:
            per_second = self.blocks.steps * items_per_step / statistics.median(self.blocks.seconds)
            found["throughput"] = Figure(value=per_second, unit="images/s", better="higher")
            found["steps_per_block"] = Figure(value=self.blocks.steps, unit="steps")
        return found

    @property
    def series(self) -> dict[str, tuple[float, ...]]:
        return {"block_seconds": self.blocks.seconds} if self.blocks else {}

    def energy(self, items_per_step: int) -> float | None:
        """Joules for each item of a call."""
        return None if self.joules is None else self.joules / items_per_step

    def absent(self, device: torch.device) -> dict[str, str]:
        """Reasons for missing device times, peaks, clocks or energy."""
        reasons = {
            "device_seconds": None if device.type == "cuda" else "on a CPU the wall time is the device time",
            "device_state": self.watch.why_absent,
            "energy_joules_per_item": self.why_no_energy,
            "peaks.cuda_allocated": memory.REPLAYED if self.replayed else None,
        }
        return {**memory.absent_peaks(device), **{name: reason for name, reason in reasons.items() if reason}}


def timed(
    step: Callable[[], Tensor],
    case: Case,
    *,
    check: Callable[[Tensor], None] | None = None,
    throughput: bool,
    turns: Turns | None = None,
    apart: Callable[[], Sequence[Peak]] = tuple,
) -> Timed:
    """Call ``step`` for the first time, ``check`` its output, warm up, and take samples.

    Blocks of calls, for throughput and energy, are timed only if ``throughput`` is set.

    Args:
        turns: the set that this worker belongs to, ``workspace.turns``; None takes all samples in one stretch.
        apart: gives peaks that another process takes.
    """
    device = torch.device(case.device)

    def peaks() -> tuple[Peak, ...]:
        return (*peaks_of(step, case, device), *apart())

    begin = clock.now(device)
    output = step()
    first_seconds = clock.now(device) - begin
    if check:
        check(output)
    if replays(case):
        output = output.clone()  # the next replay writes over it
    clock.warm_up(step, device)
    watch = Watch(device)
    watch()
    if turns:
        latencies = _in_turns(step, case, turns, watch, peaks)
    else:
        latencies = clock.latencies(step, device, sampling_of(case), watch)
    watch.last()
    blocks = clock.blocks(step, device, statistics.median(latencies.seconds)) if throughput else None
    watch.last()
    joules, reason = _energy(step, device, case.budget, blocks.steps) if blocks else (None, NO_BLOCKS)
    return Timed(
        output=output,
        first_seconds=first_seconds,
        latencies=latencies,
        blocks=blocks,
        peaks=peaks(),
        watch=watch,
        joules=joules,
        why_no_energy=reason,
        replayed=replays(case),
    )


def _energy(
    step: Callable[[], Tensor], device: torch.device, budget: str, steps: int
) -> tuple[float | None, str | None]:
    """Joules of one call, or the reason why unknown, from calls that are not timed.

    Args:
        steps: calls in a block, of which a tenth is done between two looks at the counter.
    """
    meter = meter_of(device)
    if not meter.counters:
        return None, meter.why_absent
    few = max(1, steps // 10)

    def work() -> int:
        for _ in range(few):
            step()
        clock.synchronize(device)
        return few

    with clock.no_collection():
        joules, calls = metered(meter, work, seconds_of(device, budget))
    return None if joules is None else joules / calls, why_no_energy(meter, joules)


def why_no_energy(meter: Meter, joules: float | None) -> str | None:
    """Reason why ``meter`` has no ``joules``; None if it has."""
    return None if joules is not None else meter.why_absent or STOOD_STILL


def peaks_of(step: Callable[[], object], case: Case, device: torch.device) -> tuple[Peak, ...]:
    """Peaks of one warm step; on a CPU those of torch's allocator as well, if torch runs the step."""
    peaks = memory.steady_peaks(step, device, replayed=replays(case))
    if device.type == "cpu" and case.runtime == "torch":
        peaks.append(memory.allocated_peak(step))
    return tuple(peaks)


def _in_turns(
    step: Callable[[], object], case: Case, turns: Turns, watch: Watch, peaks: Callable[[], Sequence[Peak]]
) -> clock.Latencies:
    """Samples of the turns that the set of this worker gives it."""
    device = torch.device(case.device)
    taken: list[Taken] = []

    def take() -> Taken:
        watch.resume()
        taken.append(clock.turn(step, device))
        watch()
        watch.pause()
        return taken[-1]

    with clock.no_collection():
        watch.pause()
        met = turns.serve(take, peaks, memory.held_bytes(device))
        watch.resume()
    on_device = [second for turn in taken for second in turn.device_seconds or ()]
    return clock.Latencies(
        seconds=tuple(second for turn in taken for second in turn.seconds),
        device_seconds=tuple(on_device) or None,
        criterion_met=met,
    )


def samples_of(
    step: Callable[[], Sequence[float]], case: Case, turns: Turns | None, watch: Watch, device: torch.device
) -> clock.Samples:
    """Seconds of a ``step`` that times itself and gives a sample or several, in turns if the worker belongs to a set.

    A first call that is shorter than a turn finds the caches of others, and does not count.
    """
    if turns is None:
        return clock.several_until(step, sampling_of(case), watch)
    found: list[float] = []

    def take() -> Taken:
        watch.resume()
        first = tuple(step())
        own = list(first) if sum(first) >= TURN_SECONDS else []
        while sum(own) < TURN_SECONDS:
            own += step()
        found.extend(own)
        watch()
        watch.pause()
        return Taken(seconds=tuple(own))

    with clock.no_collection():
        watch.pause()
        met = turns.serve(take, lambda: peaks_of(step, case, device), memory.held_bytes(device))
        watch.resume()
    return clock.Samples(seconds=tuple(found), criterion_met=met)


def replays(case: Case) -> bool:
    """True if a step of ``case`` replays CUDA graphs."""
    return case.mode in GRAPH_MODES


def fewest_bytes(weights: int, inputs: Tensor, output: Tensor) -> Figure:
    """Bytes that a step has to move at least: ``weights`` bytes as stored and inputs read, outputs written."""
    return Figure(value=weights + inputs.nbytes + output.nbytes, unit="B", exact=True)
