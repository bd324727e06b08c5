"""What others take of the CPU: the kernel's book of all processes, less that of our own."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

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
