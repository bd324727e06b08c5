"""Images of the shape of CIFAR-10 that need no download: noise with a bright patch, whose place is the class."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

CLASSES = 10
SIDE = 32
PATCH = 6

Item = tuple[NDArray[np.uint8], int]


def images() -> tuple[list[Item], list[Item]]:
    """50,000 training and 10,000 test images."""
    return drawn(50_000, seed=1), drawn(10_000, seed=2)


def drawn(count: int, *, seed: int) -> list[Item]:
    """``count`` images (32, 32, 3) with labels from 0 to 9, as many of each."""
    random = np.random.default_rng(seed)
    pixels = random.integers(0, 160, (count, SIDE, SIDE, 3), dtype=np.uint8)
    labels = np.arange(count) % CLASSES
    for image, label in zip(pixels, labels, strict=True):
        row, column = divmod(int(label), 5)
        image[8 + 10 * row :, 1 + PATCH * column :][:PATCH, :PATCH] += 95
    return list(zip(pixels, labels.tolist(), strict=True))
