"""Timing one step: its first call, its samples, its blocks and its peak of memory, each in a pass of its own."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.budgets import BUDGETS, Sampling
from bench.measure import clock, memory
from bench.measure.state import Watch
from bench.records import Case, Figure, Peak

TIMING_OPTIONS = ("max_seconds", "min_samples")
"""Options of a case that change how long it is timed, and nothing of what it computes."""


@dataclass(frozen=True, kw_only=True)
class Timed:
    """What came of one step, timed."""

    output: Tensor
    """Of the first call."""
    first_seconds: float
    latencies: clock.Latencies
    blocks: clock.Blocks | None
    """None where no throughput was asked for."""
    peaks: tuple[Peak, ...]
    watch: Watch

    @property
    def typical(self) -> float:
        return statistics.median(self.latencies.seconds)

    def figures(self, items_per_step: int) -> dict[str, Figure]:
        """Throughput, and how it and the latencies were come by."""
        found = {"criterion_met": Figure(value=float(self.latencies.criterion_met), unit="yes=1")}
        if self.blocks:
            per_second = self.blocks.steps * items_per_step / statistics.median(self.blocks.seconds)
            found["throughput"] = Figure(value=per_second, unit="images/s", better="higher")
            found["steps_per_block"] = Figure(value=self.blocks.steps, unit="steps")
        return found

    @property
    def series(self) -> dict[str, tuple[float, ...]]:
        return {"block_seconds": self.blocks.seconds} if self.blocks else {}

    def absent(self, device: torch.device) -> dict[str, str]:
        """Why there are no device times, peaks, clocks or energy."""
        reasons = {
            "device_seconds": None if device.type == "cuda" else "on a CPU the wall time is the device time",
            "peaks": memory.why_absent(device),
            "device_state": self.watch.why_absent,
            "energy_joules_per_item": "no energy counter is read yet",
        }
        return {name: reason for name, reason in reasons.items() if reason}


def timed(
    step: Callable[[], Tensor], case: Case, *, check: Callable[[Tensor], None] | None = None, throughput: bool
) -> Timed:
    """Call ``step`` for the first time, let ``check`` look at what it gives, warm up, and take samples.

    Blocks of calls, which give a throughput, are timed on demand.
    """
    device = torch.device(case.device)
    begin = clock.now(device)
    output = step()
    first_seconds = clock.now(device) - begin
    if check:
        check(output)
    clock.warm_up(step, device)
    watch = Watch(device)
    watch()
    latencies = clock.latencies(step, device, sampling(case), watch)
    return Timed(
        output=output,
        first_seconds=first_seconds,
        latencies=latencies,
        blocks=clock.blocks(step, device, statistics.median(latencies.seconds)) if throughput else None,
        peaks=tuple(memory.steady_peaks(step, device)),
        watch=watch,
    )


def sampling(case: Case) -> Sampling:
    """The stopping rule of ``case``: the budget's for its experiment, with what the command line changed of it."""
    budget = BUDGETS[case.budget]
    own = {
        "layers": budget.layers.sampling,
        "prefill": budget.language.sampling,
        "decode": budget.language.sampling,
    }
    rule = own.get(case.experiment, budget.sampling)
    changed = {name: case.option(name) for name in TIMING_OPTIONS if case.option(name) is not None}
    return dataclasses.replace(rule, **changed)  # type: ignore[arg-type]  # checked by pytest-benchmark's own options
