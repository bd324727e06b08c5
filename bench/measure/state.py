"""State of the device, read between samples: clocks, temperature, power, throttling and other work."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import torch

from bench.core.other_work import PROC, CpuTimes, cpu_times, foreign_cores
from bench.core.records import DeviceState
from bench.measure.machine import ask, handle_of

INTERVAL_SECONDS = 0.2
COMPETITION_SECONDS = 0.1
"""Shortest interval over which the kernel's ticks (mostly 10 ms) show how busy other processes are."""
CPU_INFO = Path("/proc/cpuinfo")


class Watch:
    """Readings of the device, at most one every ``INTERVAL_SECONDS`` however often it is called; kept in ``states``."""

    def __init__(self, device: torch.device) -> None:
        self.states: list[DeviceState] = []
        self.why_absent: str | None = None
        self._read: Callable[[float], DeviceState] | None = _cpu_reader() if device.type == "cpu" else None
        if device.type == "cuda":
            self._read, self.why_absent = _cuda_reader(device)
        self._begin = time.perf_counter()
        self._next = 0.0
        self._times = cpu_times()
        self._paused: CpuTimes | None = None

    def __call__(self) -> None:
        passed = time.perf_counter() - self._begin
        if passed >= self._next:
            self._next = passed + INTERVAL_SECONDS
            self._take(passed)

    def last(self) -> None:
        """Take one more reading, at the end of the samples, so that the readings cover nearly all of them."""
        passed = time.perf_counter() - self._begin
        if passed >= self._next - INTERVAL_SECONDS + COMPETITION_SECONDS:
            self._take(passed)

    def pause(self) -> None:
        """Stop counting the time of other processes, until ``resume``: routes of one set are not foreign."""
        self._paused = cpu_times()

    def resume(self) -> None:
        """Count on after ``pause``; without one, nothing happens."""
        now = cpu_times()
        if self._times and self._paused and now:
            self._times = CpuTimes(
                at=self._times.at + now.at - self._paused.at,
                busy=self._times.busy + now.busy - self._paused.busy,
                own=self._times.own + now.own - self._paused.own,
            )
        self._paused = None

    def _take(self, passed: float) -> None:
        if self._read is not None:
            self.states.append(dataclasses.replace(self._read(passed), foreign_cores=self._foreign_cores()))

    def _foreign_cores(self) -> float | None:
        before, now = self._times, cpu_times()
        if before is None or now is None or now.at - before.at < COMPETITION_SECONDS:
            return None
        self._times = now
        return foreign_cores(before, now)


def _cpu_reader() -> Callable[[float], DeviceState]:
    reference = reference_work(torch.get_num_threads())
    return lambda at: DeviceState(at=at, clock_hz=_cpu_clock_hz(), reference_seconds=reference.seconds())


def _cpu_clock_hz() -> float | None:
    """Mean clock of the cores now, as Linux reports it; virtual machines often report one fixed figure."""
    with suppress(OSError, ValueError):
        lines = CPU_INFO.read_text().splitlines()
        clocks = [float(line.split(":")[1]) * 1e6 for line in lines if line.startswith("cpu MHz")]
        if clocks:
            return sum(clocks) / len(clocks)
    return None


def _cuda_reader(device: torch.device) -> tuple[Callable[[float], DeviceState] | None, str | None]:
    """Function that reads the GPU, or None and the reason: a failed reading must not cost a measurement."""
    import pynvml

    try:
        handle = handle_of(device)
    except pynvml.NVMLError as error:
        return None, f"NVML does not know this GPU ({error})"

    reference = reference_work(1)  # what a CUDA row needs of the CPU is one thread that launches kernels

    def read(at: float) -> DeviceState:
        return DeviceState(
            at=at,
            reference_seconds=reference.seconds(),
            clock_hz=ask(lambda: pynvml.nvmlDeviceGetClockInfo(handle, pynvml.NVML_CLOCK_SM) * 1e6),
            memory_clock_hz=ask(lambda: pynvml.nvmlDeviceGetClockInfo(handle, pynvml.NVML_CLOCK_MEM) * 1e6),
            celsius=ask(lambda: float(pynvml.nvmlDeviceGetTemperature(handle, pynvml.NVML_TEMPERATURE_GPU))),
            watts=ask(lambda: pynvml.nvmlDeviceGetPowerUsage(handle) / 1000),
            throttle=_throttling(pynvml, handle),
            foreign_processes=ask(lambda: _others(pynvml.nvmlDeviceGetComputeRunningProcesses(handle))),
        )

    return read, None


def _others(processes: list[Any]) -> int | None:
    """Number of processes on the GPU that are not of this run; None where that cannot be told.

    The routes of a set wait on the GPU together: children of one fork server. Inside a container NVML lists processes
    by their numbers on the host, where ours cannot be found: a single one is ours, several are unknown.
    """
    numbers = [process.pid for process in processes]
    if os.getpid() not in numbers:
        return 0 if len(numbers) <= 1 else None
    return sum(_parent(pid) != os.getppid() for pid in numbers if pid != os.getpid())


def _parent(pid: int) -> int | None:
    """Process id of the parent of ``pid``; None where the system does not tell."""
    with suppress(OSError, ValueError):
        return int((PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()[1])
    return None


PREFIXES = ("nvmlClocksEventReason", "nvmlClocksThrottleReason")
"""Beginnings of NVML's names for the same bits; it renamed some and keeps the older names for now."""
NO_REASON = ("All", "None", "GpuIdle")


def _throttling(pynvml: Any, handle: Any) -> str | None:
    """Names of the reasons for reduced clocks, empty if there is none; None if NVML does not answer.

    An idle GPU is no reason. Drivers before 535 know only the older name of the query.
    """
    bits = ask(lambda: pynvml.nvmlDeviceGetCurrentClocksEventReasons(handle))
    if bits is None:
        bits = ask(lambda: pynvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle))
    return None if bits is None else ", ".join(_reasons(pynvml, bits))


def _reasons(pynvml: Any, bits: int) -> list[str]:
    found: dict[int, str] = {}
    for prefix in PREFIXES:
        for name in (name for name in dir(pynvml) if name.startswith(prefix)):
            if name.removeprefix(prefix) not in NO_REASON:
                found.setdefault(getattr(pynvml, name), name.removeprefix(prefix))
    return [name for bit, name in sorted(found.items()) if bits & bit]


WARM_UP, CALLS = 20, 41
PER_THREAD = 2**15
"""Numbers for each thread: torch splits no work more finely."""


class ReferenceWork:
    """A fixed small piece of work, timed between samples: where it takes longer, the machine has become slower.

    It is an elementwise product in place, on all threads of the process, of some microseconds. The cores of a virtual
    machine may share one real core, or caches, with others. No counter inside the machine shows that.
    """

    def __init__(self, threads: int) -> None:
        with torch.inference_mode(mode=False):  # tensors made in inference mode cannot be written to outside of it
            self._numbers = torch.ones(PER_THREAD * threads)

    def seconds(self) -> float:
        """Lower quartile of ``CALLS`` calls, a fraction of a millisecond in all; stray slow calls do not count.

        The first ``WARM_UP`` calls find cold caches and sleeping threads, and do not count either.
        """
        taken: list[float] = []
        with torch.no_grad():
            for _ in range(WARM_UP + CALLS):
                begin = time.perf_counter()
                self._numbers.mul_(1.0)
                taken.append(time.perf_counter() - begin)
        return sorted(taken[WARM_UP:])[CALLS // 4]


@cache
def reference_work(threads: int) -> ReferenceWork:
    """The one `ReferenceWork` of the process: a second one would move the memory of the timed code."""
    return ReferenceWork(threads)
