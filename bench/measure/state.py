"""The device while it works: clocks, temperature, power, throttling and who else uses it, read between two samples."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from bench.core.records import DeviceState
from bench.measure.competition import cpu_times, foreign_cores
from bench.measure.nvml import ask, handle_of
from bench.measure.reference import reference_work

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
