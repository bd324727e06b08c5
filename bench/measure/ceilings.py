"""What the hardware could do at most: bytes a second between its memory and its arithmetic."""

from __future__ import annotations

from collections.abc import Callable

import torch

from bench.measure.clock import now

CPU_BYTES = 2**28
"""More than the caches of most processors hold."""
CUDA_BYTES = 2**30
ROUNDS = 5


def bandwidth(device: torch.device) -> float:
    """Bytes a second that a large copy (read and written) or a large sum (read) moves, whichever is more.

    The fastest of ``ROUNDS``: a ceiling is what was reached, not what is usual.
    """
    size = CUDA_BYTES if device.type == "cuda" else CPU_BYTES
    copying, summing = _seconds(size, device)
    if device.type == "cuda":
        torch.cuda.empty_cache()  # what follows has to fit into the rest
    return max(2 * size / copying, size / summing)


def _seconds(size: int, device: torch.device) -> tuple[float, float]:
    """Of copying and of summing ``size`` bytes."""
    source = torch.ones(size // 4, device=device)
    target = torch.empty_like(source)
    return _fastest(lambda: target.copy_(source), device), _fastest(lambda: source.sum(), device)


def _fastest(step: Callable[[], object], device: torch.device) -> float:
    step()
    seconds = []
    for _ in range(ROUNDS):
        begin = now(device)
        step()
        seconds.append(now(device) - begin)
    return min(seconds)
