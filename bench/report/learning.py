"""Transfers, ablations and loaders: trainings that answer a question, compared seed by seed."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.report.load import DatasetFacts
from bench.report.results import Result, grouped
from bench.report.seeds import Comparison, Group, accuracy_of, difference, ratio, training_groups
from bench.report.statistics import per_second, quotient

SCRATCH, HEAD, ALL = "scratch", "head", "all"
SCOPES = {SCRATCH: "from scratch", HEAD: "new head alone", ALL: "all layers"}
"""Scopes of a transfer, in the order in which they are shown."""
VARIANTS = ("none", "before activation", "after activation", "xavier", "he", "without", "with", "vgg", "resnet")
"""In the order in which they are shown: the first of a question is what the others are compared with."""
WORKERS = "workers"


@dataclass(frozen=True, kw_only=True, eq=False)
class Question:
    """Groups that differ in one thing, by its name; the first is what the others are compared with."""

    title: str
    groups: dict[str, Group]

    @property
    def first(self) -> Group:
        return next(iter(self.groups.values()))

    @property
    def base(self) -> str:
        return next(iter(self.groups))

    @property
    def models(self) -> list[str]:
        return list(dict.fromkeys(group.first.case.model for group in self.groups.values()))

    def change(self, name: str, other: str) -> Comparison | None:
        """Accuracy of one less that of another, by seed; None where one of them was not measured."""
        if name == other or not {name, other} <= self.groups.keys():
            return None
        return difference(self.groups[name], self.groups[other], accuracy_of)

    def gap_change(self, name: str, other: str) -> Comparison | None:
        """Change of the gap between training and test accuracy."""
        if name == other or not {name, other} <= self.groups.keys():
            return None
        return difference(self.groups[name], self.groups[other], gap_of)

    def time_over(self, name: str, other: str = SCRATCH) -> Comparison | None:
        """Seconds of training of one over those of another."""
        if name == other or not {name, other} <= self.groups.keys():
            return None
        return ratio(self.groups[name], self.groups[other], training_seconds)


def transfers(results: Sequence[Result], datasets: Sequence[DatasetFacts]) -> list[Question]:
    """One for each network and source of weights."""
    return _questions(results, datasets, "scope", lambda group: str(group.first.option("source")), list(SCOPES))


def ablations(results: Sequence[Result], datasets: Sequence[DatasetFacts]) -> list[Question]:
    """One for each question. Variants of one may be networks of different names."""
    return _questions(results, datasets, "variant", lambda group: str(group.first.option("question")), VARIANTS)


def gap_of(result: Result) -> float | None:
    """Accuracy on the training images in the last epoch, as it ran, less that on the test images."""
    curve = result.first.series.get("train_accuracy", ())
    trained, tested = result.figure("train_accuracy"), accuracy_of(result)
    if trained is None and curve:
        trained = curve[-1]
    return None if trained is None or tested is None else trained - tested


def training_seconds(result: Result) -> float:
    """Seconds of all epochs together."""
    recorded = result.figure("training_seconds")
    return math.fsum(result.first.seconds) if recorded is None else recorded


def loadings(results: Sequence[Result]) -> list[list[Result]]:
    """Ways to load one thing, by number of workers, then without a loader."""
    found = grouped(results, _loaded).values()
    return [
        sorted(members, key=lambda one: (one.option(WORKERS) is None, one.option(WORKERS) or 0)) for members in found
    ]


def loading_title(results: Sequence[Result]) -> str:
    """Source, size, and what follows each batch."""
    first = results[0]
    step = "loading alone" if first.case.model == "none" else f"with a step of {first.case.model}"
    source = "random data" if first.option("source") == "random" else first.dataset
    items = first.option("items") or first.first.items_per_step
    return f"{source}, {items:,} items, {step}"


def worker_pairs(results: Sequence[Result]) -> list[tuple[int, int, Comparison]]:
    """Every smaller and larger number of workers, with the speed of the larger over that of the smaller."""
    workers = [(int(one.option(WORKERS) or 0), one) for one in results if one.option(WORKERS) is not None]
    ordered = sorted(workers, key=lambda pair: pair[0])
    return [(fewer, more, over(many, few)) for (fewer, few), (more, many) in itertools.combinations(ordered, 2)]


def over(result: Result, other: Result) -> Comparison:
    """Items a second of ``result`` over those of ``other``."""
    ours, theirs = (per_second(one.timing, one.first.items_per_step) for one in (result, other))
    return Comparison(estimate=quotient(ours, theirs), neutral=1.0, seeds=min(result.processes, other.processes))


def _questions(
    results: Sequence[Result],
    datasets: Sequence[DatasetFacts],
    option: str,
    title: Callable[[Group], str],
    names: Sequence[str],
) -> list[Question]:
    groups = training_groups(results, datasets)
    found = []
    for members in grouped(groups, lambda group: _key(group, option)).values():
        named = {str(group.first.option(option)): group for group in members}
        ordered = sorted(named.items(), key=lambda pair: _place(pair[0], names))
        found.append(Question(title=title(members[0]), groups=dict(ordered)))
    return found


def _key(group: Group, option: str) -> tuple[object, ...]:
    case = group.first.case
    options = tuple(pair for pair in case.options if pair[0] != option)
    model = case.model if option == "scope" else None
    return (*group.first.place, group.first.dataset, model, case.image_size, case.batch_size, case.recipe, options)


def _place(name: str, names: Sequence[str]) -> tuple[int, str]:
    return (names.index(name) if name in names else len(names)), name


def _loaded(result: Result) -> tuple[object, ...]:
    case = result.case
    options = tuple(pair for pair in case.options if pair[0] != WORKERS)
    return (*result.place, result.dataset, case.model, case.image_size, case.batch_size, options)
