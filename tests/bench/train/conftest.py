"""A data set and a network small enough to train in a blink."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from bench.data.images import ImageDataset, Split

SIDE = 8
CLASSES = 3


def _split(count: int, seed: int) -> Split:
    """Noise with one bright stripe, whose place is the class: learnable, and not the same when mirrored."""
    random = np.random.default_rng(seed)
    labels = np.arange(count, dtype=np.int64) % CLASSES
    images = random.integers(0, 90, (count, SIDE, SIDE, 3), dtype=np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[:, 2 * label : 2 * label + 2] += 120
    return Split(images=images, labels=labels)


@pytest.fixture
def tiny_dataset() -> ImageDataset:
    return ImageDataset(
        name="stripes",
        spec="stripes.py:make",
        classes=("left", "middle", "right"),
        train=_split(60, seed=1),
        test=_split(33, seed=2),
        held_out=12,
        flip=True,
        mean=(0.3, 0.3, 0.3),
        std=(0.2, 0.2, 0.2),
        digest="0123456789abcdef",
    )


@pytest.fixture
def tiny_network() -> nn.Sequential:
    """With batch norm and dropout, as the faults and the random generators need them."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Flatten(),
        nn.Dropout(0.3),
        nn.Linear(4 * SIDE * SIDE, CLASSES),
    )
