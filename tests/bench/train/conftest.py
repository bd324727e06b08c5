"""A data set and a network small enough to train in a blink."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from bench.core.recipes import RECIPES, Recipe
from bench.data.images import ImageDataset, Split
from bench.train.loop import train
from bench.train.training import Schedule, Training

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


class Killed(BaseException):
    """As if the process were gone."""


@pytest.fixture
def make(tiny_network: nn.Sequential, tiny_dataset: ImageDataset, tmp_path: Path) -> Callable[..., Training]:
    """A new training of a fresh copy of the tiny network, with fields changed."""

    def training(**changed: Any) -> Training:
        whole = Training(
            name="tiny",
            network=copy.deepcopy(tiny_network),
            recipe=replace(
                RECIPES["user"],
                select="last",
                batch_size=8,
                crop_padding=1,
                learning_rate=0.01,
                normalize="half",
            ),
            schedule=Schedule(epochs=4, images_per_epoch=60, milestones=(2,)),
            dataset=tiny_dataset,
            image_size=8,
            device=torch.device("cpu"),
            seed=0,
            checkpoint=tmp_path / "tiny.partial.pt",
            identity={"model": "tiny"},
            progress=lambda line: None,
        )
        return replace(whole, **changed)

    return training


@pytest.fixture
def sgd(make: Callable[..., Training]) -> Recipe:
    return replace(make().recipe, optimizer="sgd", momentum=0.9, weight_decay=0.01, learning_rate=0.05)


@pytest.fixture
def kill_after() -> Callable[[Training, int], None]:
    """Train until the line that reports an epoch, which comes before its checkpoint is written."""

    def run(training: Training, epoch: int) -> None:
        def progress(line: str) -> None:
            if line.startswith(f"tiny: epoch {epoch + 1}/") and "took" in line:
                raise Killed

        with pytest.raises(Killed):
            train(replace(training, progress=progress))

    return run


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
