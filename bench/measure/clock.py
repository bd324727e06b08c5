"""Samples of time: synchronised at both ends, warm-up apart, taken until a criterion is met."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache

import torch

from bench.core.amounts import Sampling
from bench.core.turns import TURN_CALLS, TURN_SAMPLES, TURN_SECONDS, Taken

WARM_UP_CALLS = 10
WARM_UP_SECONDS = 0.025
CUDA_WARM_UP_SECONDS = 0.5
"""A GPU raises its clocks over hundreds of milliseconds (triton#2306: 11.2 against 8.8 ms from a short warm-up)."""
BLOCK_SECONDS = 0.1
"""Length of a block of calls, so that the two readings of the clock around it are negligible."""
BLOCKS = 6
"""Smallest number whose median has an interval of 95 %."""
BLOCKS_SECONDS = 12.0
"""Longest time for all blocks. If six calls take longer, there are fewer blocks and the throughput has no interval."""

MOST_SAMPLES = 2_000
"""Most samples of a row that are kept; a call of 25 us has 80,000 in two seconds."""

Step = Callable[[], object]


@dataclass(frozen=True, kw_only=True)
class Latencies:
    """One synchronised call a sample: wall seconds, and on CUDA the seconds between two device events."""

    seconds: tuple[float, ...]
    device_seconds: tuple[float, ...] | None
    criterion_met: bool


@dataclass(frozen=True, kw_only=True)
class Blocks:
    """Seconds of blocks of ``steps`` calls with no synchronisation inside, from which throughput is derived."""

    seconds: tuple[float, ...]
    steps: int


def synchronize(device: torch.device) -> None:
    """Wait until the device has finished all queued work. A CPU queues none."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def now(device: torch.device) -> float:
    """Seconds by ``time.perf_counter``, read after the device has finished all queued work."""
    synchronize(device)
    return time.perf_counter()


def warm_up(step: Step, device: torch.device) -> None:
    """Call ``step`` at least 10 times and for 0.025 s (CUDA: 0.5 s). After 1 s in all, three calls are enough."""
    least = CUDA_WARM_UP_SECONDS if device.type == "cuda" else WARM_UP_SECONDS
    begin = time.perf_counter()
    for call in range(1, 1_000_000):
        step()
        synchronize(device)
        passed = time.perf_counter() - begin
        if (call >= WARM_UP_CALLS and passed >= least) or (call >= 3 and passed >= 1.0):
            return


def latencies(step: Step, device: torch.device, rule: Sampling, between: Callable[[], None]) -> Latencies:
    """Time single calls of ``step`` until ``rule`` is met or its seconds have passed.

    ``between`` is called after each sample and outside of it: the state of the device is read there, during the
    work but not inside a sample. Python's garbage collection waits until the end.
    """
    devices: list[float] = []

    def one() -> float:
        if device.type != "cuda":
            return _time_on_cpu(step)
        wall, on_device = _time_on_cuda(step, device)
        devices.append(on_device)
        return wall

    found = until(one, rule, between)
    on_device = tuple(thinned(devices, MOST_SAMPLES)) or None
    return Latencies(seconds=found.seconds, device_seconds=on_device, criterion_met=found.criterion_met)


def turn(step: Step, device: torch.device) -> Taken:
    """Samples of one turn: an untimed call, or two short ones, then calls for about ``TURN_SECONDS``.

    Other processes have used the caches and the device meanwhile, and the untimed calls fill them again. There are at
    least ``TURN_CALLS`` samples, or one where a call takes longer than a turn. Garbage collection is the caller's.
    """
    if seconds_of(step, device) < TURN_SECONDS / 2:
        seconds_of(step, device)
    walls: list[float] = []
    devices: list[float] = []
    spent = 0.0
    while not walls or (walls[-1] < TURN_SECONDS and (len(walls) < TURN_CALLS or spent < TURN_SECONDS)):
        if device.type == "cuda":
            wall, on_device = _time_on_cuda(step, device)
            devices.append(on_device)
        else:
            wall = _time_on_cpu(step)
        walls.append(wall)
        spent += wall
    kept = tuple(thinned(walls, TURN_SAMPLES))
    return Taken(seconds=kept, device_seconds=tuple(thinned(devices, TURN_SAMPLES)) or None)


def thinned(values: Sequence[float], most: int) -> Sequence[float]:
    """At most ``most`` of ``values``, evenly spread. Sequences of one length keep the same places."""
    if len(values) <= most:
        return values
    return [values[place * len(values) // most] for place in range(most)]


def seconds_of(step: Step, device: torch.device) -> float:
    """Seconds of one call, until the device has done it."""
    begin = now(device)
    step()
    return now(device) - begin


@dataclass(frozen=True, kw_only=True)
class Samples:
    """Seconds of steps that time themselves."""

    seconds: tuple[float, ...]
    criterion_met: bool


def until(step: Callable[[], float], rule: Sampling, between: Callable[[], None]) -> Samples:
    """Samples of a ``step`` that returns its own seconds, until ``rule`` is met or its seconds have passed."""
    return several_until(lambda: (step(),), rule, between)


def several_until(step: Callable[[], Sequence[float]], rule: Sampling, between: Callable[[], None]) -> Samples:
    """Take samples as `until` does, from a ``step`` that returns several; keep at most ``MOST_SAMPLES``."""
    seconds, spread = list[float](), Spread()
    with no_collection():
        begin = time.perf_counter()
        while True:
            samples = step()
            seconds += samples
            for sample in samples:
                spread.add(sample)
            between()
            passed = time.perf_counter() - begin
            met = spread.meets(rule, passed)
            if met or passed >= rule.max_seconds:
                return Samples(seconds=tuple(thinned(seconds, MOST_SAMPLES)), criterion_met=met)


class Spread:
    """Mean and standard error of samples so far, each added in constant time (Welford's algorithm)."""

    def __init__(self) -> None:
        self.count = 0
        self.mean = 0.0
        self._squares = 0.0

    def add(self, sample: float) -> None:
        self.count += 1
        difference = sample - self.mean
        self.mean += difference / self.count
        self._squares += difference * (sample - self.mean)

    @property
    def standard_error(self) -> float:
        """Standard error of the mean; needs two samples."""
        return math.sqrt(self._squares / (self.count - 1) / self.count)

    def meets(self, rule: Sampling, passed: float) -> bool:
        """True if there are enough samples, seconds and certainty to stop."""
        if self.count < max(rule.min_samples, 2) or passed < rule.min_seconds:
            return False
        return self.standard_error <= rule.relative_error * self.mean


@contextmanager
def no_collection() -> Iterator[None]:
    """Run Python's garbage collection now, then keep it off until the end. A nested use does nothing."""
    if not gc.isenabled():
        yield
        return
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def blocks(step: Step, device: torch.device, expected_seconds: float) -> Blocks:
    """Time blocks of calls, each of ``BLOCK_SECONDS`` or one call, synchronised at its ends only."""
    steps = max(1, math.ceil(BLOCK_SECONDS / expected_seconds))
    count = min(BLOCKS, max(1, int(BLOCKS_SECONDS / expected_seconds)))
    seconds = []
    with no_collection():
        for _ in range(count):
            synchronize(device)
            begin = time.perf_counter()
            for _ in range(steps):
                step()
            synchronize(device)
            seconds.append(time.perf_counter() - begin)
    return Blocks(seconds=tuple(seconds), steps=steps)


def _time_on_cpu(step: Step) -> float:
    begin = time.perf_counter()
    step()
    return time.perf_counter() - begin


@cache
def _events(device: torch.device) -> tuple[torch.cuda.Event, torch.cuda.Event]:
    """The two events of all samples. CUDA makes an event when it is first recorded, which takes microseconds."""
    pair = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
    for event in pair:
        event.record()
    torch.cuda.synchronize(device)
    return pair


def _time_on_cuda(step: Step, device: torch.device) -> tuple[float, float]:
    start, end = _events(device)
    torch.cuda.synchronize(device)
    begin = time.perf_counter()
    start.record()
    step()
    end.record()
    torch.cuda.synchronize(device)
    wall = time.perf_counter() - begin
    return wall, start.elapsed_time(end) / 1000
