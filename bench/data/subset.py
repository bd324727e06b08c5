"""Part of a data set as a data set of its own."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bench.core.errors import Unsupported
from bench.data.images import ImageDataset, Split

FEWEST_CLASSES = 4
"""Of a data set that is halved: two in each half, or there is nothing to tell apart."""


def half_of(dataset: ImageDataset, *, second: bool) -> ImageDataset:
    """The images of the first half of the classes, or of the second, labelled from 0 on.

    Pixel statistics and digest stay those of the whole set. Of an odd number of classes the second half has one more.

    Raises:
        Unsupported: there are too few classes.
    """
    count = len(dataset.classes)
    if count < FEWEST_CLASSES:
        raise Unsupported(f"{dataset.name} has {count} classes: halves of them need {FEWEST_CLASSES} or more")
    middle = count // 2
    first, last = (middle, count) if second else (0, middle)
    train, test = (_between(split, first, last) for split in (dataset.train, dataset.test))
    return replace(
        dataset,
        name=f"{dataset.name}, classes {first + 1} to {last} of {count}",
        classes=dataset.classes[first:last],
        train=train,
        test=test,
        held_out=round(dataset.held_out * len(train.labels) / len(dataset.train.labels)),
    )


def _between(split: Split, first: int, last: int) -> Split:
    rows = np.flatnonzero((split.labels >= first) & (split.labels < last))
    return Split(images=split.images[rows], labels=split.labels[rows] - first)
