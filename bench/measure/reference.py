"""A fixed small piece of work, timed between samples: where it takes longer, the machine has become slower.

The cores of a virtual machine may be two halves of one real core for a minute, or share their caches with others: no
counter inside tells, and calls of a network were seen to take 1.4 times as long.
"""

from __future__ import annotations

import statistics
import time

import torch

CALLS = 21
PER_THREAD = 2**15
"""Numbers for each thread: torch gives no thread fewer."""


class ReferenceWork:
    """An elementwise operation on all threads of the process, in place: they calculate for some microseconds, and wait
    for one another."""

    def __init__(self) -> None:
        self._numbers = torch.ones(PER_THREAD * torch.get_num_threads())

    def seconds(self) -> float:
        """Median over some calls, a fraction of a millisecond in all."""
        taken: list[float] = []
        for _ in range(CALLS):
            begin = time.perf_counter()
            self._numbers.mul_(1.0)
            taken.append(time.perf_counter() - begin)
        return statistics.median(taken)
