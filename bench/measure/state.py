"""The device while it works: clocks, temperature, power and throttling, read between two samples."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from bench.records import DeviceState

INTERVAL_SECONDS = 0.2
CPU_INFO = Path("/proc/cpuinfo")


class Watch:
    """Reads the device at most every ``INTERVAL_SECONDS`` when called; the readings are in ``states``."""

    def __init__(self, device: torch.device) -> None:
        self.states: list[DeviceState] = []
        self.why_absent: str | None = None
        self._read: Callable[[float], DeviceState] | None = _read_cpu
        if device.type == "cuda":
            self._read, self.why_absent = _cuda_reader(device)
        self._begin = time.perf_counter()
        self._next = 0.0

    def __call__(self) -> None:
        passed = time.perf_counter() - self._begin
        if self._read is None or passed < self._next:
            return
        self._next = passed + INTERVAL_SECONDS
        self.states.append(self._read(passed))


def _read_cpu(at: float) -> DeviceState:
    return DeviceState(at=at, clock_hz=_cpu_clock_hz())


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
        pynvml.nvmlInit()
        handle = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{torch.cuda.get_device_properties(device).uuid}")
    except pynvml.NVMLError as error:
        return None, f"NVML does not know this GPU ({error})"

    def read(at: float) -> DeviceState:
        return DeviceState(
            at=at,
            clock_hz=_ask(lambda: pynvml.nvmlDeviceGetClockInfo(handle, pynvml.NVML_CLOCK_SM) * 1e6),
            memory_clock_hz=_ask(lambda: pynvml.nvmlDeviceGetClockInfo(handle, pynvml.NVML_CLOCK_MEM) * 1e6),
            celsius=_ask(lambda: float(pynvml.nvmlDeviceGetTemperature(handle, pynvml.NVML_TEMPERATURE_GPU))),
            watts=_ask(lambda: pynvml.nvmlDeviceGetPowerUsage(handle) / 1000),
            throttle=_ask(lambda: _reasons(pynvml, pynvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle))),
        )

    return read, None


def _ask(question: Callable[[], Any]) -> Any:
    """The answer, or None where this device does not tell."""
    import pynvml

    try:
        return question()
    except pynvml.NVMLError:
        return None


def _reasons(pynvml: Any, bits: int) -> str | None:
    """Names of the throttle reasons set in ``bits``; an idle GPU or one at its ordinary limits has none."""
    prefix = "nvmlClocksThrottleReason"
    names = [
        name.removeprefix(prefix)
        for name in dir(pynvml)
        if name.startswith(prefix) and name not in (f"{prefix}All", f"{prefix}None", f"{prefix}GpuIdle")
    ]
    found = [name for name in names if bits & getattr(pynvml, prefix + name)]
    return ", ".join(found) or None
