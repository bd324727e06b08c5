"""Trainings over seeds: results that differ in nothing else, and two of them compared seed by seed."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.core.records import Case
from bench.report.beside import Side, side_of
from bench.report.load import DatasetFacts
from bench.report.parts import Value
from bench.report.published import (
    CIFAR10_CLASSES,
    CIFAR10_IMAGE_SIZE,
    CIFAR10_TEST_IMAGES,
    CIFAR10_TRAIN_IMAGES,
    PUBLISHED,
    Published,
)
from bench.report.results import EAGER, FP32, Result, grouped, symmetric
from bench.report.statistics import (
    Accuracy,
    Estimate,
    Interval,
    Timing,
    binomial_error,
    over_seeds,
    per_second,
    quantile_interval,
    quotient,
    student,
    summarise,
)
from bench.report.turns import by_round

Figure = Callable[[Result], float | None]
FEW = 5
"""Seeds below which an interval over them is wide, and says little of the next one."""
DATA_OPTIONS = frozenset(
    (
        *("train_images", "test_images", "epoch_images", "classes", "normalize", "weights", "weights_digest", "half"),
        *("target", "min_samples", "max_seconds"),
    )
)
"""Options that say what is learnt, from how much, and how long it is timed. All others say how it is computed."""
LOADER = "the notes' loop"
WORDS = {
    "channels_last": "channels last",
    "products": "small maps as matrix products",
    "fused": "fused optimiser",
}
"""Options by what they do, in the order in which they are named; others follow by their own names."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Group:
    """The seeds of one training. ``first`` stands for what they share."""

    results: tuple[Result, ...]
    timing: Timing
    accuracy: Accuracy | None
    as_noted: Accuracy | None
    published: Published | None
    classes: int
    """Classes of the data set; 0 where the file does not say."""
    incomparable: str | None
    """Reason why our figure cannot be compared with the published one; None where it can."""

    @property
    def first(self) -> Result:
        return self.results[0]

    @property
    def shortened(self) -> bool:
        """True if a budget of images cut the recipe short."""
        return self.first.option("train_images") is not None

    @property
    def at_chance(self) -> bool:
        """True if the accuracy may be that of guessing."""
        if self.accuracy is None or not self.classes:
            return False
        return self.accuracy.mean - 3 * self.accuracy.standard_error < 1 / self.classes

    @property
    def held_out(self) -> bool:
        """True if a held-out split chose the epoch."""
        return self.first.figure("test_accuracy_chosen") is not None

    @property
    def test_images(self) -> int:
        quality = self.first.first.quality
        return quality.samples if quality else 0

    @property
    def rate(self) -> Estimate:
        """Images a second."""
        return per_second(self.timing, self.first.first.items_per_step)

    def mean(self, name: str) -> float | None:
        """Mean over the seeds of a figure."""
        values = [value for one in self.results if (value := one.figure(name)) is not None]
        return statistics.fmean(values) if values else None

    def accuracy_of(self, name: str) -> Accuracy | None:
        """An accuracy figure over the seeds; None unless every seed has it."""
        return _accuracy([one.figure(name) for one in self.results], self.test_images)

    def to_published(self) -> Estimate | None:
        """Accuracy measured as the note does, less the published figure of one seed and as many test images."""
        if not self.as_noted or not self.published or self.published.accuracy is None or self.incomparable:
            return None
        binomial = binomial_error(self.published.accuracy, CIFAR10_TEST_IMAGES)
        theirs = math.hypot(binomial, self.as_noted.deviation or 0.0)
        return symmetric(self.as_noted.mean - self.published.accuracy, math.hypot(self.as_noted.standard_error, theirs))

    @property
    def marks(self) -> list[str]:
        found = [f"unstable: {self.timing.unstable}"] if self.timing.unstable else []
        found += ["no better than guessing"] if self.at_chance else []
        return [*found, *dict.fromkeys(one.disturbed for one in self.results if one.disturbed)]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One training against another. ``neutral`` is 0 for a difference, 1 for a ratio."""

    estimate: Estimate
    neutral: float
    seeds: int
    """Pairs that gave the interval; with one it is that of its samples, if there is any."""

    @property
    def side(self) -> Side:
        """Side of the interval; of one pair only from 10 % on."""
        ends = self.estimate.interval
        return "unknown" if ends is None else side_of(ends.low, ends.high, self.neutral, 1.1 if self.seeds < 2 else 1.0)


def training_groups(results: Sequence[Result], datasets: Sequence[DatasetFacts]) -> list[Group]:
    """Trainings of ``results``, in their order."""
    classes = {item.name: frozenset(item.classes) for item in datasets}
    return [_group(some, classes.get(some[0].dataset, frozenset())) for some in grouped(results, _seedless).values()]


def difference(one: Group, other: Group, figure: Figure | None = None) -> Comparison | None:
    """``one`` less ``other`` in a share, paired by seed, with a t interval; None if no seed has both."""
    pairs = _pairs(one, other, figure or accuracy_of)
    if not pairs:
        return None
    return Comparison(estimate=student([ours - theirs for ours, theirs in pairs]), neutral=0.0, seeds=len(pairs))


def ratio(one: Group, other: Group, figure: Figure) -> Comparison | None:
    """``one`` over ``other`` in a quantity above 0, by seed: geometric mean, with the t interval of logarithms."""
    pairs = _pairs(one, other, figure)
    if not pairs:
        return None
    logarithm = student([math.log(ours / theirs) for ours, theirs in pairs])
    ends = logarithm.interval
    interval = Interval(low=math.exp(ends.low), high=math.exp(ends.high)) if ends else None
    return Comparison(
        estimate=Estimate(value=math.exp(logarithm.value), interval=interval), neutral=1.0, seeds=len(pairs)
    )


def faster(one: Group, other: Group) -> Comparison | None:
    """Images a second of ``one`` over those of ``other``. Turns are paired within rounds; one pair has the interval of
    its epochs."""
    found = ratio(one, other, by_turns) or ratio(one, other, _rate)
    if found is None or found.seeds > 1:
        return found
    return Comparison(estimate=_of_one_seed(one, other) or quotient(one.rate, other.rate), neutral=1.0, seeds=1)


def accuracy_of(result: Result) -> float | None:
    return result.accuracy.value if result.accuracy else None


def accuracy_value(found: Accuracy | None) -> Value:
    """With its 95 % interval."""
    return None if found is None else symmetric(found.mean, found.standard_error)


def comparison_value(found: Comparison | None) -> Value:
    """For a cell: of one pair of trainings without an interval."""
    if found is None:
        return None
    return found.estimate if found.seeds > 1 else found.estimate.value


def words_of(result: Result) -> tuple[str, ...]:
    """Words on how a training is fed and computed: the pipeline first, then what it was made faster with."""
    return words_of_case(result.case)


def words_of_case(case: Case) -> tuple[str, ...]:
    options = {name: value for name, value in case.options if name not in (*DATA_OPTIONS, "rung", "twin")}
    workers = options.pop("workers", None)
    known = [word for name, word in WORDS.items() if options.pop(name, False)]
    others = [name.replace("_", " ") if value is True else f"{name} {value}" for name, value in options.items()]
    mode = [] if case.mode == EAGER else [case.mode]
    precision = [] if case.precision == FP32 else [case.precision.replace("_", " ")]
    return (_pipeline(case.pipeline, workers), *known, *others, *mode, *precision)


def added(words: tuple[str, ...], before: tuple[str, ...] | None) -> str:
    """Name of a rung: its ``words`` beyond those of the rung before."""
    if before is None:
        return ", ".join(words)
    new = [word for word in words if word not in before]
    gone = [f"without {word}" for word in before[1:] if word not in words]
    start = [] if words[0] == before[0] else [words[0]]
    return ", ".join((*start, *(f"+ {word}" for word in new if word not in start), *gone)) or ", ".join(words)


def _pipeline(pipeline: str | None, workers: object) -> str:
    if pipeline != "dataloader":
        return f"{pipeline or 'unknown'} pipeline"
    if workers is None:
        return LOADER
    return f"{LOADER}, {'1 worker' if workers == 1 else f'{workers} workers'}"


def _seedless(result: Result) -> tuple[object, ...]:
    case = result.case
    learnt = (case.model, case.recipe, case.image_size, case.batch_size)
    return (*result.place, result.dataset, *learnt, result.route, case.pipeline, case.options)


def _group(results: list[Result], classes: frozenset[str]) -> Group:
    first = results[0]
    quality = first.first.quality
    samples = quality.samples if quality else 0
    published = PUBLISHED.get(first.case.recipe or "")
    return Group(
        results=tuple(results),
        timing=summarise([process.seconds for one in results for process in one.measurements]),
        accuracy=_accuracy([accuracy_of(one) for one in results], samples),
        as_noted=_accuracy([one.figure("test_accuracy_as_noted") for one in results], samples),
        published=published,
        classes=len(classes),
        incomparable=_incomparable(first, published, classes, samples) if published else None,
    )


def _accuracy(values: Sequence[float | None], samples: int) -> Accuracy | None:
    known = [value for value in values if value is not None]
    return over_seeds(known, samples) if samples and known and len(known) == len(values) else None


def _incomparable(first: Result, published: Published, classes: frozenset[str], samples: int) -> str | None:
    if classes != CIFAR10_CLASSES:
        return "other data"
    if first.option("normalize") or first.case.image_size != CIFAR10_IMAGE_SIZE:
        return "other settings"
    wanted = {
        "epochs": published.epochs,
        "images_per_epoch": CIFAR10_TRAIN_IMAGES,
        "training_images": CIFAR10_TRAIN_IMAGES,
    }
    if any(first.figure(name) != count for name, count in wanted.items()):
        return "shortened"
    return None if samples == CIFAR10_TEST_IMAGES else "fewer test images"


def _pairs(one: Group, other: Group, figure: Figure) -> list[tuple[float, float]]:
    theirs = {result.case.seed: figure(result) for result in other.results}
    pairs = [(figure(result), theirs.get(result.case.seed)) for result in one.results]
    return [(ours, their) for ours, their in pairs if ours is not None and their is not None]


def _of_one_seed(one: Group, other: Group) -> Estimate | None:
    """Ratio of the one seed that both have, by round: its median, and the interval of that. None without turns."""
    pairs = [(ours, their) for ours in one.results for their in other.results if ours.case.seed == their.case.seed]
    (ours, their), *_ = pairs
    rounds, theirs = by_round(ours.first), by_round(their.first)
    ratios = [rounds[place] / theirs[place] for place in rounds if place in theirs]
    if not ratios:
        return None
    return Estimate(value=statistics.median(ratios), interval=quantile_interval(ratios))


def by_turns(result: Result) -> float | None:
    """Speed as a multiple of the reference's in the same rounds; None without turns."""
    found = result.beside.ratio
    return found.value if found and found.rounds else None


def _rate(result: Result) -> float:
    """Images a second."""
    return result.first.items_per_step / result.timing.median
