"""What needs two rows: each row beside fp32, in time, in size and image by image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bench.core.records import Measurement
from bench.report.load import Run
from bench.report.names import named_datasets
from bench.report.rows import BASELINES, IDENTITY, SPEED, Row, ends, throughput
from bench.report.statistics import (
    Difference,
    Estimate,
    Timing,
    binomial_error,
    mcnemar,
    paired_difference,
    quotient,
    speed_up,
)

Labels = npt.NDArray[np.int64]
Key = tuple[object, ...]

FP32, EAGER = BASELINES
SAME_NETWORK = tuple(name for name in IDENTITY if name not in ("precision", "mode", "batch size"))
"""What rows share whose weights may be compared: these depend on neither mode nor batch size."""
WRITING = ("training", "pretraining")
"""Experiments that leave a file of the weights that they judged."""
AGREEMENT = (
    "agreement with fp32 [1]",
    "agreement with fp32, standard error [1]",
    "accuracy less fp32's [1]",
    "accuracy less fp32's, standard error [1]",
    "McNemar p [1]",
    "images compared",
)
STEADY = ("steady peak, cuda allocated [B]", "steady peak, rss [B]")
"""Peaks that are compared, the first that both rows have."""


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """Two classifiers on the same images: the share that they label alike, and accuracy of the first less the other."""

    alike: float
    images: int
    change: Difference
    p: float
    """Of McNemar's test, exact and two-sided."""


def agreement(ours: Labels | None, theirs: Labels | None, truth: Labels | None) -> Agreement | None:
    """Predicted labels image by image; None where one of the three is missing, or the true labels are too few.

    Both judged the first test images, but perhaps not equally many, where a slow row ran out of time: those that both
    judged are compared.
    """
    if ours is None or theirs is None or truth is None or max(len(ours), len(theirs)) > len(truth):
        return None
    images = min(len(ours), len(theirs))
    ours, theirs, truth = ours[:images], theirs[:images], truth[:images]
    right, before = ours == truth, theirs == truth
    lost, gained = int((before & ~right).sum()), int((right & ~before).sum())
    return Agreement(
        alike=float((ours == theirs).mean()),
        images=images,
        change=paired_difference(lost, gained, images),
        p=mcnemar(lost, gained),
    )


def weights_of(row: Row) -> str | None:
    """What tells the weights that a row was judged with from all others: the digest of their file.

    In results of earlier versions the name of the file that was loaded, or the digest of the user's own. None where no
    file holds those weights: a ladder, a transfer, an ablation and a speedrun train anew each time and keep nothing.
    """
    first: Measurement = row["measurements"][0]
    if first.case.experiment in WRITING:
        return first.weights_sha256
    if first.case.experiment != "inference":
        return None
    given = first.case.option("weights_digest")
    return first.weights_sha256 or first.artefact or (str(given) if given else None)


def add_pairs(rows: Sequence[Row], runs: Sequence[Run]) -> None:
    """Add to every row what it is against fp32. What has no partner, or lacks what a comparison needs, is None."""
    _add_ratios(rows)
    _add_weights(rows)
    predictions = {digest: np.array(labels) for run in runs for digest, labels in run.predictions.items()}
    truths = _truths(runs)
    references = _references(rows)
    for row in rows:
        reference = references.get(judged(row))
        row.update(_agreement(row, reference, predictions, truths.get(row["dataset"])))


def _add_ratios(rows: Sequence[Row]) -> None:
    """Two speed-ups a row: over fp32 in the same mode (what precision does) and over fp32 eager (the whole gain)."""
    others = tuple(name for name in IDENTITY if name not in ("precision", "mode"))
    baselines = {(*_key(row, others), row["mode"]): row for row in rows if row["precision"] == FP32}
    for row in rows:
        same_mode = baselines.get((*_key(row, others), row["mode"]))
        eager = baselines.get((*_key(row, others), EAGER))
        _add(row, SPEED, _speed_up(row, same_mode), same_mode)
        _add(row, "speed-up over fp32 eager", _speed_up(row, eager), eager)
        _add(row, "throughput over fp32 same mode", _throughputs(row, same_mode), same_mode)
        row["steady peak over fp32 same mode [1]"] = _peaks(row, same_mode)


def _key(row: Row, names: Sequence[str]) -> Key:
    return tuple(row[name] for name in names)


def _add(row: Row, name: str, ratio: Estimate | None, baseline: Row | None) -> None:
    row["fewest processes"][name] = min(row["repeats"], baseline["repeats"]) if baseline else row["repeats"]
    row[f"{name} [1]"] = ratio.value if ratio else None
    row.update(ends(name, ratio.interval if ratio else None, "1"))


def _speed_up(row: Row, baseline: Row | None) -> Estimate | None:
    if baseline is None or baseline is row:
        return Estimate(value=1.0, interval=None) if baseline else None
    before: Timing = baseline["timing"]
    return speed_up(before, row["timing"])


def _throughputs(row: Row, baseline: Row | None) -> Estimate | None:
    ours, theirs = throughput(row), throughput(baseline) if baseline else None
    if ours is None or theirs is None:
        return None
    return Estimate(value=1.0, interval=None) if baseline is row else quotient(ours, theirs)


def _peaks(row: Row, baseline: Row | None) -> float | None:
    for column in STEADY if baseline else ():
        ours, theirs = _in_use(row, column), baseline and _in_use(baseline, column)
        if ours is not None and theirs:
            return ours / theirs
    return None


def in_use(row: Row) -> int | None:
    """Bytes in use during a step, weights included: on CUDA the peak has them, on a CPU they are added."""
    return next((found for column in STEADY if (found := _in_use(row, column)) is not None), None)


def _in_use(row: Row, column: str) -> int | None:
    peak, weights = row[column], row["weights [B]"]
    if column != STEADY[1]:
        return None if peak is None else int(peak)
    return None if peak is None or weights is None else int(peak + weights)


def _add_weights(rows: Sequence[Row]) -> None:
    """Weights are the same in every mode and at every batch size."""
    stored = {
        _key(row, SAME_NETWORK): int(row["weights [B]"])
        for row in rows
        if row["precision"] == FP32 and row["weights [B]"]
    }
    for row in rows:
        ours, theirs = row["weights [B]"], stored.get(_key(row, SAME_NETWORK))
        row["weights over fp32 [1]"] = None if ours is None or theirs is None else ours / theirs


def _truths(runs: Sequence[Run]) -> dict[str, Labels]:
    """Classes of the test images by the name of the data set, from whichever file carries them."""
    facts = [item for run in runs for item in named_datasets(runs, run)]
    return {item.name: np.array(item.test_labels) for item in facts if item.test_labels is not None}


def _references(rows: Sequence[Row]) -> dict[Key, Row]:
    """The fp32 row for each weights: eager, or compiled where there is no eager one; of several the longest judged."""
    candidates = [row for row in rows if row["precision"] == FP32 and row["predictions sha256"] is not None]
    found: dict[Key, Row] = {}
    for row in sorted(candidates, key=lambda row: (row["mode"] != EAGER, -int(row["quality samples"]))):
        found.setdefault(judged(row), row)
    return found


def judged(row: Row) -> Key:
    """What rows share whose predictions may be compared: the same trained weights, judged on the first test images."""
    return (*_key(row, SAME_NETWORK), weights_of(row))


def _agreement(
    row: Row, reference: Row | None, predictions: Mapping[str, Labels], truth: Labels | None
) -> dict[str, float | None]:
    """The columns of ``AGREEMENT``."""
    nothing = dict.fromkeys(AGREEMENT)
    if reference is None or (row["precision"], row["mode"]) == (FP32, reference["mode"]):
        return nothing
    ours, theirs = (predictions.get(one["predictions sha256"] or "") for one in (row, reference))
    found = agreement(ours, theirs, truth)
    if found is None:
        return nothing
    values = (
        found.alike,
        binomial_error(found.alike, found.images),
        found.change.value,
        found.change.standard_error,
        found.p,
        found.images,
    )
    return dict(zip(AGREEMENT, values, strict=True))
