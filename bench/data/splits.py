"""Setting images aside."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def hold_out(labels: NDArray[np.int64], count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Indices of the images to keep and of ``count`` to set aside, both ascending.

    Each class gives in proportion to its size (largest remainders make up the number) and at even distances, so that
    an order within a class, by writer or by day, does not end up on one side. Nothing is random.

    Raises:
        ValueError: ``count`` is negative or exceeds the number of labels.
    """
    if not 0 <= count <= len(labels):
        raise ValueError(f"cannot set {count} of {len(labels)} images aside")
    _, members, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    places = [np.flatnonzero(members == index) for index in range(len(sizes))]
    taken = [place[_evenly(len(place), share)] for place, share in zip(places, _shares(sizes, count), strict=True)]
    held_out = np.sort(np.concatenate(taken)) if taken else np.empty(0, np.int64)
    return np.setdiff1d(np.arange(len(labels)), held_out), held_out


def _shares(sizes: NDArray[np.int64], count: int) -> list[int]:
    """``count`` divided in proportion to ``sizes``, in whole numbers."""
    total = max(int(sizes.sum()), 1)
    shares = sizes * count // total
    remainders = sizes * count % total
    for index in np.argsort(-remainders, kind="stable")[: count - int(shares.sum())]:
        shares[index] += 1
    return [int(share) for share in shares]


def _evenly(size: int, count: int) -> NDArray[np.int64]:
    """``count`` different places from 0 to ``size`` - 1, the middles of ``count`` equal stretches."""
    return (2 * np.arange(count) + 1) * size // (2 * max(count, 1))
