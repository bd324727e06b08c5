"""A fixed small piece of work, timed between samples: where it takes longer, the machine has become slower.

The cores of a virtual machine may be two halves of one real core for a minute, or share their caches with others: no
counter inside tells, and calls of a network were seen to take 1.4 times as long.
"""

from __future__ import annotations

import time
from functools import cache

import torch

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
