"""Each result beside the reference: speed, bytes, labels and perplexity on the same data."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from bench.core.turns import reference_of
from bench.report.beside import Agreement, Beside, Ratio, Side, side_of
from bench.report.limits import limits_of
from bench.report.load import Run
from bench.report.names import named_datasets
from bench.report.results import EAGER, FP32, OF_MACHINE, TF32, Result, grouped, results_of
from bench.report.statistics import Estimate, Interval, mcnemar, student_factor
from bench.report.turns import PairedRatio, among_others, paired_ratio

Labels = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
ONE_PROCESS = 1.1
"""Factor by which two processes of one case were seen to differ: less says nothing of results measured once."""
ONE_DECODING = 2.0
"""Factor of decoding on a CPU: some hundred short kernels a token, each waited for by all threads."""
ONE_SET = 1.05
"""Factor of results that took turns with the reference in one set."""


def compared(runs: Sequence[Run]) -> list[Result]:
    """The results of ``runs`` with everything that needs a second result."""
    found = results_of(runs)
    floors = _floors(found)
    limits = limits_of(found)
    predictions = {digest: np.array(labels) for run in runs for digest, labels in run.predictions.items()}
    truths = _truths(runs)
    scenes = grouped(found, lambda result: result.scene)
    judges = _judges(found)
    ratios = _ratios(found)
    complete = []
    for place, (result, limit) in enumerate(zip(found, limits, strict=True)):
        result = dataclasses.replace(result, floor=floors.get(result.place), limits=limit)
        peers = scenes[result.scene]
        reference = _baseline(peers, EAGER)
        tf32 = next((one for one in peers if one.route == TF32), None)
        beside = dataclasses.replace(
            _speeds(result, reference, _baseline(peers, result.case.mode), ratios.get(place)),
            tf32=tf32.timing.median / result.timing.median if tf32 else None,
            weights=_share(result.weight_bytes, reference.weight_bytes if reference else None),
            memory=_share(result.in_use, reference.in_use if reference else None),
            agreement=_agreement(result, judges.get(_weights(result)), predictions, truths.get(result.dataset)),
            perplexity=perplexity_change(result, reference) if reference is not None else None,
        )
        complete.append(dataclasses.replace(result, beside=beside))
    return complete


def clearly_slower(one: Result, other: Result) -> bool:
    """True if ``other`` takes longer than ``one``: by the ratios of their turns, else by intervals and margins."""
    ours, theirs = one.beside.ratio, other.beside.ratio
    if ours and theirs and ours.rounds and theirs.rounds:
        if ours.interval and theirs.interval:
            return theirs.interval.high < ours.interval.low
        return theirs.value * ONE_SET < ours.value
    return _side_of_two(other, one) == "below"


def agreement(ours: Labels | None, theirs: Labels | None, truth: Labels | None) -> Agreement | None:
    """Predicted labels image by image; None where one of the three is missing, or the true labels are too few.

    Both judged the first test images, but perhaps not equally many: those that both judged are compared. The interval
    of the change is Wald's with one image added to each of the two discordant counts, so that no flips in few images
    are not taken for none at all. Source: Bonett and Price, British Journal of Mathematical and Statistical Psychology
    65 (2012), 479-492.
    """
    if ours is None or theirs is None or truth is None or max(len(ours), len(theirs)) > len(truth):
        return None
    images = min(len(ours), len(theirs))
    ours, theirs, truth = ours[:images], theirs[:images], truth[:images]
    right, before = ours == truth, theirs == truth
    lost, gained = int((before & ~right).sum()), int((right & ~before).sum())
    change = (gained - lost) / images
    one, other = (lost + 1) / (images + 2), (gained + 1) / (images + 2)
    error = 1.96 * math.sqrt((one + other - (one - other) ** 2) / (images + 2))
    return Agreement(
        images=images,
        alike=float((ours == theirs).mean()),
        lost=lost,
        gained=gained,
        change=Estimate(value=change, interval=Interval(low=change - error, high=change + error)),
        p=mcnemar(lost, gained),
        worst_class=_worst(right, before, truth),
    )


def perplexity_change(result: Result, reference: Result) -> Estimate | None:
    """Perplexity over the reference's; None unless both scored the same tokens.

    The ratio is exp(d), d the difference of the nats per token. Where the nats of each token are known they are paired
    by token, else by window of text: sqrt(n / (n - 1) sum (x - d t)^2) / sum t for windows of t tokens that differ by x
    nats (Cochran, Sampling Techniques, 3rd edition, 2.11), with Student's t over windows.
    """
    found = _differences(result, reference)
    if found is None:
        return None
    differences, tokens = found
    count, total = len(tokens), float(tokens.sum())
    mean = float(differences.sum()) / total
    if count < 2:
        return Estimate(value=math.exp(mean), interval=None)
    spread = float(((differences - mean * tokens) ** 2).sum())
    error = student_factor(count) * math.sqrt(count / (count - 1) * spread) / total
    return Estimate(value=math.exp(mean), interval=Interval(low=math.exp(mean - error), high=math.exp(mean + error)))


def noise_ratios(results: Sequence[Result]) -> list[tuple[Result, float]]:
    """Each pair of one thing measured twice, with the largest relative difference between two processes of it."""
    pairs = grouped([one for one in results if one.case.experiment == "noise"], _without_options)
    return [(pair[0], _apart(pair)) for pair in pairs.values() if len(pair) == 2]


def _floors(results: Sequence[Result]) -> dict[tuple[object, ...], float]:
    floors: dict[tuple[object, ...], float] = {}
    for first, apart in noise_ratios(results):
        floors[first.place] = max(apart, floors.get(first.place, 0.0))
    return floors


def _without_options(result: Result) -> tuple[object, ...]:
    return (*result.network, result.case.batch_size, result.route)


def _apart(pair: Sequence[Result]) -> float:
    ours, theirs = ([statistics.median(one.seconds) for one in result.measurements] for result in pair)
    return max(max(one / other, other / one) for one in ours for other in theirs) - 1


def _baseline(peers: Sequence[Result], mode: str) -> Result | None:
    found = [one for one in peers if (one.case.runtime, one.case.precision, one.case.mode) == ("torch", FP32, mode)]
    return next((one for one in found if not one.is_twin), next(iter(found), None))


def _speeds(result: Result, reference: Result | None, same: Result | None, turns: PairedRatio | None) -> Beside:
    if result.case.experiment in OF_MACHINE:
        return Beside()
    ratio = _paired(turns) if turns else _ratio(result, reference)
    return Beside(
        ratio=ratio,
        side=_side(result, reference, ratio),
        same_mode=same.timing.median / result.timing.median if same else None,
        same_mode_side="unknown" if same is None else _side_of_two(result, same),
    )


def _ratios(results: Sequence[Result]) -> dict[int, PairedRatio]:
    """Ratio of each result that took turns, by its place in ``results``."""
    found = {place: ratio for place, result in enumerate(results) if (ratio := paired_ratio(result.first))}
    complete = among_others(list(found.values()), [results[place].case.experiment for place in found])
    return dict(zip(found, complete, strict=True))


def _paired(found: PairedRatio) -> Ratio:
    return Ratio(value=found.value, interval=found.interval, sets=found.sets, rounds=found.rounds)


def _ratio(result: Result, reference: Result | None) -> Ratio | None:
    """By medians of processes that did not take turns."""
    if reference is None:
        return None
    if reference.route == result.route and not result.is_twin:
        return Ratio(value=1.0)
    processes = min(result.processes, reference.processes)
    value = reference.timing.median / result.timing.median
    ours, theirs = result.timing.interval, reference.timing.interval
    if processes < 2 or ours is None or theirs is None:
        return Ratio(value=value)
    return Ratio(
        value=value, interval=Interval(low=theirs.low / ours.high, high=theirs.high / ours.low), sets=processes
    )


def _side(result: Result, reference: Result | None, ratio: Ratio | None) -> Side:
    if ratio is None or reference_of(result.case) == result.case:
        return "unknown"
    if ratio.interval is not None:
        return side_of(ratio.interval.low, ratio.interval.high, 1.0)
    if ratio.rounds:
        return side_of(ratio.value, ratio.value, 1.0, ONE_SET)
    return "unknown" if reference is None else _side_of_two(result, reference)


def _side_of_two(result: Result, other: Result) -> Side:
    """True if ``result`` is faster than ``other`` (above), by intervals; of one process beyond a margin as well."""
    ours, theirs = result.timing.interval, other.timing.interval
    if ours is None or theirs is None:
        return "unknown"
    if min(result.processes, other.processes) > 1:
        return side_of(theirs.low / ours.high, theirs.high / ours.low, 1.0)
    decoding = result.case.experiment in ("decode", "prefill") and result.case.device == "cpu"
    margin = max(ONE_DECODING if decoding else ONE_PROCESS, 1 + (result.floor or other.floor or 0.0))
    return side_of(theirs.low / ours.high, theirs.high / ours.low, 1.0, margin)


def _share(ours: float | None, theirs: float | None) -> float | None:
    return ours / theirs if ours is not None and theirs else None


def _truths(runs: Sequence[Run]) -> dict[str, Labels]:
    """Classes of the test images by the name of the data set, from whichever file carries them."""
    facts = [item for run in runs for item in named_datasets(runs, run)]
    return {item.name: np.array(item.test_labels) for item in facts if item.test_labels is not None}


def _judges(results: Sequence[Result]) -> dict[tuple[object, ...], Result]:
    """The reference for each weights: torch's fp32, eager before compiled; of several the longest judged."""
    known = [
        one
        for one in results
        if one.case.runtime == "torch" and one.case.precision == FP32 and not one.is_twin and _digest(one)
    ]
    found: dict[tuple[object, ...], Result] = {}
    for one in sorted(known, key=lambda one: (one.case.mode != EAGER, -(one.first.quality.samples))):  # type: ignore[union-attr]
        found.setdefault(_weights(one), one)
    return found


def _digest(result: Result) -> str | None:
    quality = result.first.quality
    return quality.predictions.sha256 if quality and quality.predictions else None


def weights_of(result: Result) -> str | None:
    """Digest or name of the weights that a result was judged with; None where no file holds them."""
    first = result.first
    if first.case.experiment in ("training", "pretraining"):
        return first.weights_sha256
    if first.case.experiment != "inference":
        return None
    given = first.case.option("weights_digest")
    return first.weights_sha256 or first.artefact or (str(given) if given else None)


def _weights(result: Result) -> tuple[object, ...]:
    case = result.case
    options = tuple(pair for pair in case.options if pair[0] not in ("twin", "test_images", "judging_seconds"))
    return (case.experiment, *result.network, case.recipe, case.pipeline, options, weights_of(result))


def _agreement(
    result: Result, judge: Result | None, predictions: Mapping[str, Labels], truth: Labels | None
) -> Agreement | None:
    if judge is None or judge is result or result.route == judge.route:
        return None
    ours, theirs = (predictions.get(_digest(one) or "") for one in (result, judge))
    return agreement(ours, theirs, truth)


def _worst(right: npt.NDArray[np.bool_], before: npt.NDArray[np.bool_], truth: Labels) -> tuple[int, float] | None:
    """Class whose accuracy falls most, and by how much; None where none falls."""
    totals = np.bincount(truth)
    change = np.bincount(truth, weights=right.astype(float) - before.astype(float), minlength=len(totals))
    shares = np.divide(change, totals, out=np.zeros(len(totals)), where=totals > 0)
    worst = int(np.argmin(shares)) if len(shares) else 0
    return (worst, float(shares[worst])) if len(shares) and shares[worst] < 0 else None


def _differences(result: Result, reference: Result) -> tuple[Floats, Floats] | None:
    """Nats of ``result`` less the reference's and tokens: of each token that both scored, else of each window.

    A route that scores few tokens scores the first ones.
    """
    series = [one.first.series for one in (result, reference)]
    if None in (one.option("text_digest") for one in (result, reference)):
        return None
    ours, theirs = (np.array(one.get("token_nats", ())) for one in series)
    count = min(len(ours), len(theirs))
    if count:
        return ours[:count] - theirs[:count], np.ones(count)
    nats, tokens = ([np.array(one.get(name, ())) for one in series] for name in ("window_nats", "window_tokens"))
    if not len(nats[0]) or len(nats[0]) != len(tokens[0]) or not np.array_equal(tokens[0], tokens[1]):
        return None
    return nats[0] - nats[1], tokens[0]
