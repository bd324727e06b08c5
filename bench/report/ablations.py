"""Ablations: trainings with something that the notes say helps, and without it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.report.groups import Group, training_groups
from bench.report.load import DatasetFacts
from bench.report.rows import IDENTITY, Row, figure, one_accuracy
from bench.report.seeds import Comparison, difference

VARIANTS = ("none", "before activation", "after activation", "xavier", "he", "without", "with", "vgg", "resnet")
"""In the order in which they are shown: the first of a question is what the others are compared with."""


@dataclass(frozen=True, kw_only=True)
class Ablation:
    """One question: the seeds of each variant, the one that others are compared with first."""

    question: str
    variants: dict[str, Group]

    @property
    def first(self) -> Row:
        return next(iter(self.variants.values())).first

    @property
    def base(self) -> str:
        return next(iter(self.variants))

    @property
    def models(self) -> list[str]:
        """More than one where networks are compared."""
        return list(dict.fromkeys(group.first["model"] for group in self.variants.values()))

    def change(self, variant: str, other: str) -> Comparison | None:
        """Accuracy of one variant less that of another, by seed; None where one of them was not measured."""
        return self._difference(variant, other, gap=False)

    def gap_change(self, variant: str, other: str) -> Comparison | None:
        """The same of the gap between training and test accuracy."""
        return self._difference(variant, other, gap=True)

    def _difference(self, variant: str, other: str, *, gap: bool) -> Comparison | None:
        if variant == other or not {variant, other} <= self.variants.keys():
            return None
        return difference(self.variants[variant], self.variants[other], gap_of if gap else one_accuracy)


def gap_of(row: Row) -> float | None:
    """Accuracy on the training images in the last epoch, as it ran, less that on the test images."""
    curve = row["series"].get("train_accuracy", ())
    trained, tested = figure(row, "train_accuracy"), one_accuracy(row)
    if trained is None and curve:
        trained = curve[-1]
    return None if trained is None or tested is None else trained - tested


def ablations(rows: Sequence[Row], datasets: Sequence[DatasetFacts]) -> list[Ablation]:
    """The questions of ``rows``, in their order. Variants of one question may be networks of different names."""
    keyed: dict[tuple[object, ...], list[Group]] = {}
    for group in training_groups(rows, datasets):
        keyed.setdefault(_key(group.first), []).append(group)
    return [_ablation(groups) for groups in keyed.values()]


def _ablation(groups: Sequence[Group]) -> Ablation:
    named = {str(group.first["settings"].get("variant")): group for group in groups}
    return Ablation(
        question=str(groups[0].first["settings"].get("question")),
        variants=dict(sorted(named.items(), key=lambda pair: _order(pair[0]))),
    )


def _key(row: Row) -> tuple[object, ...]:
    """All but what may differ: where a question compares networks, their names."""
    options = tuple(sorted((name, str(value)) for name, value in row["settings"].items() if name != "variant"))
    return (*(row[name] for name in IDENTITY if name not in ("model", "seed", "options")), options)


def _order(variant: str) -> tuple[int, str]:
    return (VARIANTS.index(variant) if variant in VARIANTS else len(VARIANTS)), variant
