"""The device while it works: clocks, temperature, power, throttling and who else uses it, read between two samples."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch

from bench.core.records import DeviceState
from bench.measure.machine import ask, handle_of

INTERVAL_SECONDS = 0.2
COMPETITION_SECONDS = 0.1
"""Over less time the kernel's ticks say nothing of how busy others were."""
CPU_INFO = Path("/proc/cpuinfo")


class Watch:
    """Reads the device at most every ``INTERVAL_SECONDS`` when called; the readings are in ``states``."""

    def __init__(self, device: torch.device) -> None:
        self.states: list[DeviceState] = []
        self.why_absent: str | None = None
        self._read: Callable[[float], DeviceState] | None = _cpu_reader() if device.type == "cpu" else None
        if device.type == "cuda":
            self._read, self.why_absent = _cuda_reader(device)
        self._begin = time.perf_counter()
        self._next = 0.0
        self._times = cpu_times()

    def __call__(self) -> None:
        passed = time.perf_counter() - self._begin
        if passed >= self._next:
            self._next = passed + INTERVAL_SECONDS
            self._take(passed)

    def last(self) -> None:
        """One more reading, at the end of the samples: what is said of them then covers nearly all of them."""
        passed = time.perf_counter() - self._begin
        if passed >= self._next - INTERVAL_SECONDS + COMPETITION_SECONDS:
            self._take(passed)

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
    """Mean over the cores of what Linux says they run at now; virtual machines often show one fixed figure."""
    with suppress(OSError, ValueError):
        lines = CPU_INFO.read_text().splitlines()
        clocks = [float(line.split(":")[1]) * 1e6 for line in lines if line.startswith("cpu MHz")]
        if clocks:
            return sum(clocks) / len(clocks)
    return None


def _cuda_reader(device: torch.device) -> tuple[Callable[[float], DeviceState] | None, str | None]:
    """A function that reads the GPU, or None and why there is none: telemetry must not cost a measurement."""
    import pynvml

    try:
        handle = handle_of(device)
    except pynvml.NVMLError as error:
        return None, f"NVML does not know this GPU ({error})"

    def read(at: float) -> DeviceState:
        return DeviceState(
            at=at,
            clock_hz=ask(lambda: pynvml.nvmlDeviceGetClockInfo(handle, pynvml.NVML_CLOCK_SM) * 1e6),
            memory_clock_hz=ask(lambda: pynvml.nvmlDeviceGetClockInfo(handle, pynvml.NVML_CLOCK_MEM) * 1e6),
            celsius=ask(lambda: float(pynvml.nvmlDeviceGetTemperature(handle, pynvml.NVML_TEMPERATURE_GPU))),
            watts=ask(lambda: pynvml.nvmlDeviceGetPowerUsage(handle) / 1000),
            throttle=_throttling(pynvml, handle),
            foreign_processes=ask(lambda: _others(pynvml.nvmlDeviceGetComputeRunningProcesses(handle))),
        )

    return read, None


def _others(processes: list[Any]) -> int:
    """One of them is ours, by whichever number: inside a container NVML tells the numbers of the host."""
    return max(0, len(processes) - 1)


PREFIXES = ("nvmlClocksEventReason", "nvmlClocksThrottleReason")
"""Names of one and the same bits: NVML renamed some of them, and keeps the older names for now."""
NO_REASON = ("All", "None", "GpuIdle")


def _throttling(pynvml: Any, handle: Any) -> str | None:
    """Names of the reasons for which clocks are held down now, empty where there are none; None where NVML does not
    tell. An idle GPU is no reason. Drivers before 535 know the question by its older name only."""
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
"""Numbers for each thread: torch gives no thread fewer."""


class ReferenceWork:
    """An elementwise operation on all threads of the process, in place: they calculate for some microseconds, and wait
    for one another."""

    def __init__(self, threads: int) -> None:
        with torch.inference_mode(mode=False):  # what is made inside of it cannot be written to outside
            self._numbers = torch.ones(PER_THREAD * threads)

    def seconds(self) -> float:
        """Lower quartile of some calls, a fraction of a millisecond in all: stray slow ones tell of something else.

        The first calls find the numbers in no cache and the other threads asleep, and do not count.
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
    """One for the whole process: where its numbers lie decides where those of what is timed do."""
    return ReferenceWork(threads)


PROC = Path("/proc")
BUSY = (0, 1, 2, 5, 6, 7)
"""Of a ``cpuN`` line: user, nice, system, irq, softirq, and what the hypervisor gave to other machines (steal)."""
OWN = (11, 12, 13, 14)
"""Of a process's ``stat`` behind its name: user and system time, and those of its children that have ended."""


@dataclass(frozen=True, kw_only=True)
class CpuTimes:
    """CPU seconds so far on the cores that this process may use."""

    at: float
    """On the clock of all samples."""
    busy: float
    """Of everybody."""
    own: float
    """Of this process, its threads and its descendants."""


def cpu_times() -> CpuTimes | None:
    """Both books now; None where the system keeps no such ones."""
    with suppress(OSError, ValueError):
        return CpuTimes(at=time.perf_counter(), busy=_busy_seconds(), own=_own_seconds())
    return None


def foreign_cores(before: CpuTimes, after: CpuTimes) -> float:
    """Cores that others kept busy on average between two readings.

    The kernel's books run in ticks of mostly 10 ms: over 0.2 s a core is told to a twentieth.
    """
    others = (after.busy - before.busy) - (after.own - before.own)
    return max(0.0, others) / (after.at - before.at)


def _busy_seconds() -> float:
    lines = [line.split() for line in (PROC / "stat").read_text().splitlines()]
    usable = {f"cpu{core}" for core in os.sched_getaffinity(0)}
    ticks = sum(int(fields[1:][place]) for fields in lines if fields and fields[0] in usable for place in BUSY)
    return ticks / os.sysconf("SC_CLK_TCK")


def _own_seconds() -> float:
    ended = os.times()
    living = sum(_ticks(pid) for pid in _descendants("self")) / os.sysconf("SC_CLK_TCK")
    return time.process_time() + ended.children_user + ended.children_system + living


def _descendants(pid: str) -> Iterator[str]:
    """Living children and theirs: loader workers and compilers belong to the case."""
    for task in (PROC / pid / "task").iterdir():
        with suppress(OSError):  # a thread that has ended meanwhile
            for child in (task / "children").read_text().split():
                yield child
                with suppress(OSError):
                    yield from _descendants(child)


def _ticks(pid: str) -> int:
    with suppress(OSError):  # it has ended meanwhile: its time is now its parent's
        fields = (PROC / pid / "stat").read_text().rpartition(")")[2].split()
        return sum(int(fields[place]) for place in OWN)
    return 0
