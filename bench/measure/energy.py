"""Energy of a piece of work, by the device's own counter before and after it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from bench.measure.machine import handle_of

POWERCAP = Path("/sys/class/powercap")
"""Folder of RAPL's counters on Linux; those of AMD's processors are named after Intel as well."""
ZONES = "intel-rapl:*"
COUNTED = ("package", "dram")
"""Beginnings of the names of zones that are summed; cores are part of their package, ``psys`` repeats everything."""
ENERGY_SECONDS = {"cpu": 1.0, "cuda": 5.0}
"""Least length of a metered pass by kind of device. Counters move in steps of up to a tenth of a second, and the power
sensors of an A100 or H100 see a quarter of the time (Yang et al. 2023, arXiv 2312.02741)."""
SMOKE_SECONDS = 0.2
"""The same in budget ``smoke``, which only sees whether the counters are read."""
STEP_SECONDS = 1.0
"""Longest wait for a step of the counter, at the begin and at the end of a metered pass."""
STOOD_STILL = "the energy counter did not move"


@dataclass(frozen=True, kw_only=True)
class Counter:
    """Counter that grows until ``span`` and then starts again at 0; ``span`` is None if it never does.

    ``joules`` raises OSError if the counter cannot be read.
    """

    joules: Callable[[], float]
    span: float | None = None


Reading = tuple[float, ...] | None
"""Joules of each counter; None if one failed."""


@dataclass(kw_only=True)
class Meter:
    """Counters whose sum is the energy of a device; ``why_absent`` is the reason if there are none or one failed."""

    counters: tuple[Counter, ...] = ()
    why_absent: str | None = None

    def read(self) -> Reading:
        """Read each counter, in joules. One that fails later on must not cost a measurement."""
        try:
            return tuple(counter.joules() for counter in self.counters)
        except OSError as error:
            self.why_absent = f"the energy counter cannot be read any more ({error.strerror or error})"
            return None

    def used(self, before: Reading, after: Reading) -> float | None:
        """Joules between two readings; None if there is no counter, none moved or one failed.

        A counter that reads less than before has started again once. RAPL's do so after minutes at full power, which is
        longer than any metered pass.
        """
        if before is None or after is None:
            return None
        total = 0.0
        for counter, begin, end in zip(self.counters, before, after, strict=True):
            total += end - begin + (counter.span or 0.0 if end < begin else 0.0)
        return total if total > 0 else None


def metered(meter: Meter, work: Callable[[], int], seconds: float) -> tuple[float | None, int]:
    """Joules of ``work`` over ``seconds`` at least, from one step of the counter to another one.

    Args:
        work: does some finished calls, in a small part of ``seconds``, and returns their number.

    Returns:
        joules, None if no counter moved or one failed, and the calls that they are of.
    """
    before, _ = _next_step(meter, work)
    calls, begin = 0, time.perf_counter()
    while time.perf_counter() - begin < seconds:
        calls += work()
    after, further = _next_step(meter, work)
    return meter.used(before, after), calls + further


def _next_step(meter: Meter, work: Callable[[], int]) -> tuple[Reading, int]:
    """Work until the counter moves. Returns what it then reads, and the calls up to there."""
    first, calls, begin = meter.read(), 0, time.perf_counter()
    while time.perf_counter() - begin < STEP_SECONDS:
        calls += work()
        reading = meter.read()
        if reading is None or reading != first:
            return reading, calls
    return meter.read(), calls


def seconds_of(device: torch.device, budget: str) -> float:
    """Least length of a metered pass."""
    return SMOKE_SECONDS if budget == "smoke" else ENERGY_SECONDS[device.type]


def meter_of(device: torch.device) -> Meter:
    """The energy counters of ``device``: the GPU's total, or those of the processor's packages and memory."""
    return _nvml(device) if device.type == "cuda" else _rapl(POWERCAP)


def _nvml(device: torch.device) -> Meter:
    import pynvml

    try:
        handle = handle_of(device)
        pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)
    except pynvml.NVMLError as error:
        return Meter(why_absent=f"NVML has no energy counter of this GPU ({error})")

    def joules() -> float:
        try:
            return float(pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)) / 1e3
        except pynvml.NVMLError as error:
            raise OSError(str(error)) from error

    return Meter(counters=(Counter(joules=joules),))


def _rapl(folder: Path) -> Meter:
    zones = [zone for zone in sorted(folder.glob(ZONES)) if _is_counted(zone)]
    if not zones:
        return Meter(
            why_absent=f"{folder} has no RAPL zone: the energy counter of the processor is not readable, as on most "
            "virtual machines"
        )
    try:
        counters = tuple(_zone(zone) for zone in zones)
        for counter in counters:
            counter.joules()
    except OSError as error:
        reason = error.strerror or str(error)
        return Meter(why_absent=f"the energy counter {error.filename or folder} cannot be read ({reason})")
    return Meter(counters=counters)


def _is_counted(zone: Path) -> bool:
    try:
        return (zone / "name").read_text().startswith(COUNTED)
    except OSError:
        return False


def _zone(zone: Path) -> Counter:
    """Counter of one RAPL zone, whose files are in microjoules."""
    span = int((zone / "max_energy_range_uj").read_text()) / 1e6
    return Counter(joules=lambda: int((zone / "energy_uj").read_text()) / 1e6, span=span)
