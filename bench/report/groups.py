"""Trainings over seeds: the rows that differ in nothing else, taken together."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from bench.report.load import DatasetFacts
from bench.report.published import (
    CIFAR10_CLASSES,
    CIFAR10_IMAGE_SIZE,
    CIFAR10_TEST_IMAGES,
    CIFAR10_TRAIN_IMAGES,
    PUBLISHED,
    Published,
)
from bench.report.rows import IDENTITY, Row, figure, one_accuracy
from bench.report.statistics import Accuracy, Difference, Timing, binomial_error, over_seeds, summarise


@dataclass(frozen=True, kw_only=True)
class Group:
    """The seeds of one training. ``first`` stands for what they share."""

    rows: tuple[Row, ...]
    timing: Timing
    accuracy: Accuracy | None
    as_noted: Accuracy | None
    published: Published | None
    classes: int
    """Classes of the data set; 0 where the file does not tell."""
    incomparable: str | None
    """Why a difference to the published figure would mean nothing; None where it does mean something."""

    @property
    def first(self) -> Row:
        return self.rows[0]

    @property
    def shortened(self) -> bool:
        """Whether a budget of images cut the recipe short."""
        return "train_images=" in (self.first["options"] or "")

    @property
    def at_chance(self) -> bool:
        """Whether the accuracy cannot be told from guessing one of the classes."""
        if self.accuracy is None or not self.classes:
            return False
        return self.accuracy.mean - 3 * self.accuracy.standard_error < 1 / self.classes

    @property
    def held_out(self) -> bool:
        """Whether a held-out split chose the epoch."""
        return figure(self.first, "test_accuracy_chosen") is not None

    @property
    def test_images(self) -> int:
        return int(self.first["quality samples"] or 0)

    def mean(self, name: str) -> float | None:
        """Mean over the seeds of a figure."""
        values = [value for row in self.rows if (value := figure(row, name)) is not None]
        return statistics.fmean(values) if values else None

    def accuracy_of(self, name: str) -> Accuracy | None:
        """An accuracy figure over the seeds; None unless every seed has it."""
        return _accuracy([figure(row, name) for row in self.rows], self.test_images)

    def to_published(self) -> Difference | None:
        """As the note measured, less the published figure, which is of one seed and of test images like ours."""
        if not self.as_noted or not self.published or self.published.accuracy is None or self.incomparable:
            return None
        theirs = math.hypot(
            binomial_error(self.published.accuracy, CIFAR10_TEST_IMAGES), self.as_noted.deviation or 0.0
        )
        return Difference(
            value=self.as_noted.mean - self.published.accuracy,
            standard_error=math.hypot(self.as_noted.standard_error, theirs),
        )


def training_groups(rows: Sequence[Row], datasets: Sequence[DatasetFacts]) -> list[Group]:
    """The trainings of ``rows``, in their order."""
    keyed: dict[tuple[object, ...], list[Row]] = {}
    for row in rows:
        keyed.setdefault(tuple(row[name] for name in IDENTITY if name != "seed"), []).append(row)
    classes = {item.name: frozenset(item.classes) for item in datasets}
    return [_group(rows, classes.get(rows[0]["dataset"], frozenset())) for rows in keyed.values()]


def apart(one: Accuracy, other: Accuracy) -> Difference:
    """``one`` less ``other`` as if each had test images of its own: rather too wide for those that share them."""
    return Difference(value=one.mean - other.mean, standard_error=math.hypot(one.standard_error, other.standard_error))


def _group(rows: list[Row], classes: frozenset[str]) -> Group:
    first, samples = rows[0], int(rows[0]["quality samples"] or 0)
    published = PUBLISHED.get(first["recipe"] or "")
    return Group(
        rows=tuple(rows),
        timing=summarise([process for row in rows for process in row["processes"]]),
        accuracy=_accuracy([one_accuracy(row) for row in rows], samples),
        as_noted=_accuracy([figure(row, "test_accuracy_as_noted") for row in rows], samples),
        published=published,
        classes=len(classes),
        incomparable=_incomparable(first, published, classes) if published else None,
    )


def _accuracy(values: Sequence[float | None], samples: int) -> Accuracy | None:
    known = [value for value in values if value is not None]
    return over_seeds(known, samples) if samples and known and len(known) == len(values) else None


def _incomparable(row: Row, published: Published, classes: frozenset[str]) -> str | None:
    if classes != CIFAR10_CLASSES:
        return "other data"
    if "normalize=" in (row["options"] or "") or row["image size [px]"] != CIFAR10_IMAGE_SIZE:
        return "other settings"
    wanted = {
        "epochs": published.epochs,
        "images_per_epoch": CIFAR10_TRAIN_IMAGES,
        "training_images": CIFAR10_TRAIN_IMAGES,
    }
    if any(figure(row, name) != count for name, count in wanted.items()):
        return "shortened"
    return None if row["quality samples"] == CIFAR10_TEST_IMAGES else "fewer test images"
