"""Energy: what the device's own counter says before and after a piece of work."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from bench.measure.machine import handle_of

POWERCAP = Path("/sys/class/powercap")
"""Where Linux shows the counters of RAPL; those of AMD's processors bear Intel's name as well."""
ZONES = "intel-rapl:*"
COUNTED = ("package", "dram")
"""Beginnings of the names of zones that add up: cores are a part of their package, ``psys`` holds everything again."""
ENERGY_SECONDS = 1.0
"""Counters move in steps of up to a tenth of a second: what is metered lasts about so long at least."""
STOOD_STILL = "the energy counter stood still meanwhile"


@dataclass(frozen=True, kw_only=True)
class Counter:
    """A counter that only grows, until it starts again at 0 from ``span`` on; None where it never does.

    ``joules`` raises OSError where the counter cannot be read.
    """

    joules: Callable[[], float]
    span: float | None = None


Reading = tuple[float, ...] | None
"""None where a counter failed."""


@dataclass(kw_only=True)
class Meter:
    """The counters that together tell what a device used; ``why_absent`` says why there are none, or why one failed."""

    counters: tuple[Counter, ...] = ()
    why_absent: str | None = None

    def read(self) -> Reading:
        """Each counter, in joules. One that fails, after it has been read before, must not cost a measurement."""
        try:
            return tuple(counter.joules() for counter in self.counters)
        except OSError as error:
            self.why_absent = f"the energy counter could not be read any more ({error.strerror or error})"
            return None

    def used(self, before: Reading, after: Reading) -> float | None:
        """Joules between two readings; None where there is no counter, none that moved or one that failed.

        A counter that reads less than before started again once: RAPL's do after minutes at full power, which is
        longer than anything that is metered here.
        """
        if before is None or after is None:
            return None
        total = 0.0
        for counter, begin, end in zip(self.counters, before, after, strict=True):
            total += end - begin + (counter.span or 0.0 if end < begin else 0.0)
        return total if total > 0 else None


def meter_of(device: torch.device) -> Meter:
    """The energy counters of ``device``: the GPU's total, or those of the processor's packages and memory."""
    return _nvml(device) if device.type == "cuda" else _rapl(POWERCAP)


def _nvml(device: torch.device) -> Meter:
    import pynvml

    try:
        handle = handle_of(device)
        pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)
    except pynvml.NVMLError as error:
        return Meter(why_absent=f"NVML tells no total energy of this GPU ({error})")

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
            why_absent=f"{folder} has no RAPL zone: this system does not show the processor's energy counter, as most "
            "virtual machines do not"
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
    """The files are in microjoules."""
    span = int((zone / "max_energy_range_uj").read_text()) / 1e6
    return Counter(joules=lambda: int((zone / "energy_uj").read_text()) / 1e6, span=span)
