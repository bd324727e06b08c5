"""Trainings over seeds, compared seed by seed; ladders from the notes' loop up."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest

from bench.core.records import Turn
from bench.report.pairing import compared
from bench.report.sections.ladder import ladder_verdicts, ladders
from bench.report.seeds import added, difference, faster, ratio, training_groups

LOOP, TENSOR = "dataloader", "tensor"


def rung(make: Any, place: int, seed: int, seconds: float, accuracy: float = 0.6, **case: Any) -> Any:
    options = tuple(sorted((("rung", place), *case.pop("options", ()))))
    facts = {"experiment": "ladder", "pipeline": TENSOR if place else LOOP, "options": options, **case}
    base = make.training(accuracy, seconds=(seconds,) * 3, seed=seed)
    return dataclasses.replace(base, case=dataclasses.replace(base.case, **facts))


def groups(run: Any, experiment: str = "training") -> Any:
    return training_groups([one for one in compared([run]) if one.case.experiment == experiment], run.datasets)


def test_seeds_of_one_training_are_a_group(make: Any, run_of: Any) -> None:
    rows = [make.training(value, seed=seed) for seed, value in enumerate((0.64, 0.65, 0.66))]
    (group,) = groups(run_of(*rows))
    assert (len(group.results), group.accuracy.mean) == (3, pytest.approx(0.65))
    # sqrt(0.65 * 0.35 / 10000 + 0.01^2 / 3)
    assert group.accuracy.standard_error == pytest.approx(math.sqrt(0.65 * 0.35 / 1e4 + 1e-4 / 3))


def test_the_published_figure_is_compared_only_with_the_same_training(make: Any, run_of: Any) -> None:
    (whole,) = groups(run_of(make.training(0.65, 0.64)))
    assert whole.to_published().value == pytest.approx(0.64 - 0.6486)
    (short,) = groups(run_of(make.training(0.65, 0.64, images=2_000)))
    assert (short.to_published(), short.incomparable) == (None, "shortened")
    (other,) = groups(run_of(make.training(0.65, 0.64), datasets=[make.dataset(classes=list("0123456789"))]))
    assert other.incomparable == "other data"


def test_differences_are_paired_by_seed(make: Any, run_of: Any) -> None:
    """The spread between seeds is large, that of the differences small."""
    one = [make.training(value + 0.01, seed=seed) for seed, value in enumerate((0.5, 0.6, 0.7))]
    other = [make.training(value, seed=seed, model="other") for seed, value in enumerate((0.501, 0.6, 0.699))]
    first, second = groups(run_of(*one, *other))
    found = difference(first, second)
    assert (found.seeds, found.side) == (3, "above")
    assert found.estimate.value == pytest.approx(0.01)
    assert found.estimate.interval.error(0.01) == pytest.approx(4.303 * 0.001 / math.sqrt(3), rel=1e-3)
    assert ratio(first, second, lambda one: one.case.seed + 1.0).estimate.value == pytest.approx(1.0)


def test_one_seed_is_faster_from_a_tenth_on(make: Any, run_of: Any) -> None:
    for seconds, side in ((9.5, "across"), (8.0, "above")):
        rows = [make.training(seconds=(10.0,) * 6), make.training(seconds=(seconds,) * 6, model="other")]
        first, second = groups(run_of(*rows))
        found = faster(second, first)
        assert (found.seeds, found.side) == (1, side)


def test_a_ladder_names_its_fastest_rung_and_what_each_adds(make: Any, run_of: Any, content_of: Any) -> None:
    rows = []
    for seed in range(3):
        rows += [rung(make, 0, seed, 10.0 + seed), rung(make, 1, seed, 5.0 + 0.51 * seed)]
        rows.append(rung(make, 2, seed, 5.2 + 0.51 * seed, options=(("channels_last", True),)))
    run = run_of(*rows)
    (ladder,) = ladders(compared([run]), run.failures, run.datasets)
    assert [ladder.name(one) for one in ladder.rungs] == ["the notes' loop", "tensor pipeline", "+ channels last"]
    assert ladder.best is ladder.rungs[1]
    assert ladder.over_start(ladder.rungs[1]).estimate.value == pytest.approx(2.0, rel=0.01)
    (verdict,) = ladder_verdicts(content_of(*rows))
    assert (verdict.subject, verdict.route) == ("Training cnn_small", "tensor pipeline")


FAST = (("channels_last", True), ("fused", True))


def test_a_rung_goes_on_from_the_fastest_that_has_the_rest(make: Any, run_of: Any, content_of: Any) -> None:
    rows = [
        rung(make, 0, 0, 10.0),
        rung(make, 1, 0, 5.0, options=FAST),
        rung(make, 2, 0, 4.0, options=FAST, precision="bf16_autocast"),
        rung(make, 3, 0, 8.0, options=FAST, mode="compiled"),
        rung(make, 4, 0, 6.0, options=FAST, mode="compiled", precision="bf16_autocast"),
    ]
    rows = [dataclasses.replace(row, seconds=row.seconds * 2) for row in rows]  # six have an interval
    run = run_of(*rows)
    (ladder,) = ladders(compared([run]), run.failures, run.datasets)
    start, fast, rounded, compiled, both = ladder.rungs
    under = [ladder.before(one, measured=True) for one in ladder.rungs]
    assert under == [None, start, fast, fast, rounded]
    assert ladder.path == [rounded, fast]
    assert ladder.name(both) == "+ compiled"
    assert ladder.over_before(compiled).estimate.value == pytest.approx(5 / 8)
    (verdict,) = ladder_verdicts(content_of(*rows))
    assert verdict.facts[0].startswith("2.5")


def test_rungs_that_took_turns_are_compared_within_rounds(make: Any, run_of: Any) -> None:
    """The machine was slower in every second round: epochs differ by half, their ratio does not."""
    references = [10.0, 15.0] * 4
    rows = []
    for place, factor in ((0, 1.0), (1, 2.0), (2, 2.5)):
        made = rung(make, place, 0, 1.0, options=FAST[:place])
        turns = tuple(
            Turn(set=0, round=number, samples=1, reference_seconds=seconds) for number, seconds in enumerate(references)
        )
        rows.append(dataclasses.replace(made, seconds=tuple(one / factor for one in references), turns=turns))
    run = run_of(*rows)
    (ladder,) = ladders(compared([run]), run.failures, run.datasets)
    found = ladder.over_before(ladder.rungs[2])
    assert found is not None
    assert found.estimate.value == pytest.approx(1.25)
    assert found.estimate.interval is not None
    assert (found.estimate.interval.low, found.estimate.interval.high) == pytest.approx((1.25, 1.25))
    assert [one.speed for one in ladder.rungs] == pytest.approx([1.0, 2.0, 2.5])


def test_a_rung_that_failed_stays_in_its_ladder(make: Any, run_of: Any) -> None:
    failed = make.failure(
        "unsupported", "no compiler", "ladder", recipe="note4_cnn_small", batch_size=64, pipeline=TENSOR
    )
    failed = dataclasses.replace(failed, case=dataclasses.replace(failed.case, options=(("rung", 1),)))
    run = run_of(rung(make, 0, 0, 10.0), failed)
    (ladder,) = ladders(compared([run]), run.failures, run.datasets)
    assert [bool(one.group) for one in ladder.rungs] == [True, False]
    assert ladder.rungs[1].failures == (failed,)


def test_names_of_rungs() -> None:
    assert added(("a pipeline", "x", "y"), ("a pipeline", "x")) == "+ y"
    assert added(("b pipeline", "y"), ("a pipeline", "x")) == "b pipeline, + y, without x"
    assert added(("a",), None) == "a"
