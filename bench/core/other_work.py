"""Work of other processes on the cores that this one may use: how much there is, and a wait until it pauses."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from bench.core.records import Case

PROC = Path("/proc")
OTHERS = 0.3
"""Cores that others keep busy, beyond those left idle, from which on their work disturbs. Over a round of a tenth of a
second the kernel's ticks leave a fifth of a core in doubt."""
BUSY = (0, 1, 2, 5, 6, 7)
"""Busy fields of a ``cpuN`` line: user, nice, system, irq, softirq, and steal (taken by the hypervisor)."""
OWN = (11, 12, 13, 14)
"""Fields of a process's ``stat`` after its name: user and system time, its own and of its ended children."""


@dataclass(frozen=True, kw_only=True)
class CpuTimes:
    """CPU seconds so far on the cores that this process may use."""

    at: float
    """Time of the reading, by ``time.perf_counter``."""
    busy: float
    """CPU seconds of all processes."""
    own: float
    """CPU seconds of this process, its threads and its descendants."""


def cpu_times() -> CpuTimes | None:
    """Total and own CPU seconds now; None if the system has no ``/proc``."""
    with suppress(OSError, ValueError):
        return CpuTimes(at=time.perf_counter(), busy=_busy_seconds(), own=_own_seconds())
    return None


def usable_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def needed_cores(case: Case) -> int:
    """Cores whose loss a case feels: on another device than the CPU that of the thread which drives it."""
    return case.threads if case.device == "cpu" else 1


def foreign_cores(before: CpuTimes, after: CpuTimes) -> float:
    """Average number of cores that other processes kept busy between two readings.

    The kernel counts in ticks of mostly 10 ms, so that over 0.2 s the result is good to a twentieth of a core.
    """
    others = (after.busy - before.busy) - (after.own - before.own)
    return max(0.0, others) / (after.at - before.at)


def disturbing_cores(before: CpuTimes | None, after: CpuTimes | None, needed: int) -> float:
    """Cores of the ``needed`` ones that others kept busy between two readings; 0 where so few disturb nothing."""
    if before is None or after is None:
        return 0.0
    lost = foreign_cores(before, after) - max(0, usable_cores() - needed)
    return lost if lost > OTHERS else 0.0


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
    """Process ids of living descendants: loader workers and compilers belong to the case."""
    for task in (PROC / pid / "task").iterdir():
        with suppress(OSError):  # the thread has ended meanwhile
            for child in (task / "children").read_text().split():
                yield child
                with suppress(OSError):
                    yield from _descendants(child)


def _ticks(pid: str) -> int:
    with suppress(OSError):  # it has ended meanwhile: its time is now its parent's
        fields = (PROC / pid / "stat").read_text().rpartition(")")[2].split()
        return sum(int(fields[place]) for place in OWN)
    return 0


PATIENCE_SECONDS = 15.0
"""Longest wait for others to pause."""
POLL_SECONDS = 0.2


class OtherWork:
    """Looks whether others use the cores, and waits until they pause.

    A wait in vain halves its patience, so that a machine that is never left alone costs half a minute in all. It is
    restored when nothing else is at work.
    """

    def __init__(self) -> None:
        self._patience = PATIENCE_SECONDS
        self._last = cpu_times()

    @property
    def patient(self) -> bool:
        """True if there is patience for another wait."""
        return self._patience >= POLL_SECONDS

    @property
    def due(self) -> bool:
        """True if the last look is long enough ago for the kernel's ticks to tell anything."""
        return self._last is not None and time.perf_counter() - self._last.at >= POLL_SECONDS

    def look(self, needed: int) -> bool:
        """True if others used cores of the ``needed`` ones since the last look."""
        before, self._last = self._last, cpu_times()
        if disturbing_cores(before, self._last, needed):
            return True
        self._patience = PATIENCE_SECONDS
        return False

    def wait(self, most: float, needed: int) -> float:
        """Wait until others leave ``needed`` cores, for ``most`` seconds or as long as there is patience.

        Returns:
            Seconds that it waited.
        """
        begin = time.perf_counter()
        limit = min(most, self._patience)
        while (passed := time.perf_counter() - begin) + POLL_SECONDS <= limit:
            time.sleep(POLL_SECONDS)
            if not self.look(needed):
                return time.perf_counter() - begin
        self._patience /= 2
        return passed
