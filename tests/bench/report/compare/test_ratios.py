"""Ratios to the reference of the same sets decide where both runs took turns; absolute times do not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bench.report.compare.document import document

SETS = ((3.99, 4.0, 4.01), (4.0, 4.02, 3.98), (4.01, 4.0, 3.99))


def scaled(factor: float) -> list[list[float]]:
    return [[factor * ratio for ratio in rounds] for rounds in SETS]


def run(make: Any, factor: float = 1.0, reference: float = 0.001) -> list[Any]:
    rows = [make.in_turns(SETS, reference, precision="bf16"), make.in_turns(scaled(factor), reference, precision="nf4")]
    return [make.in_turns([[1.0] * 3] * 3, reference), *rows]


@pytest.mark.parametrize(("factor", "outcome", "status"), [(0.9, "worse", 1), (1.0, "same", 0), (1.12, "better", 0)])
def test_a_change_of_one_route_names_that_route(
    make: Any, compared: Any, factor: float, outcome: str, status: int
) -> None:
    comparison = compared(run(make), run(make, factor))
    assert {item.pair.case.precision: item.outcome for item in comparison.ratios} == {"bf16": "same", "nf4": outcome}
    assert comparison.status == status


def test_a_slower_machine_is_no_regression(make: Any, compared: Any) -> None:
    comparison = compared(run(make), run(make, reference=0.002))
    assert [item.outcome for item in comparison.ratios] == ["same", "same"]
    assert (comparison.status, comparison.judged_times) == (0, [])


def test_the_table_has_the_ratios_of_both_runs(make: Any, compared: Any) -> None:
    table = make.table(document(compared(run(make), run(make, 0.9))), "NEW / OLD")
    assert [(row["route"], row["OLD, ×"], row["NEW, ×"], row["NEW / OLD"]) for row in table] == [
        ("PyTorch nf4 eager", "4.009 ± 0.013", "3.608 ± 0.012", "0.9000 ± 0.0042"),
        ("PyTorch bf16 eager", "4.009 ± 0.013", "4.009 ± 0.013", "1.0000 ± 0.0047"),
    ]


def test_one_set_cannot_tell(make: Any, compared: Any) -> None:
    old, new = ([make.in_turns(sets, precision="nf4")] for sets in ([[4.0, 4.0, 4.0]], [[2.0, 2.0, 2.0]]))
    (item,) = compared(old, new).ratios
    assert (item.outcome, item.p, item.change) == ("cannot tell", None, 0.5)


def test_the_reference_and_its_twin_are_not_judged(make: Any, compared: Any) -> None:
    def side(ratio: float) -> list[Any]:
        return [make.in_turns([[1.0]] * 3), make.in_turns([[ratio]] * 3, options=(("twin", True),))]

    assert compared(side(1.0), side(0.5)).ratios == ()


def test_of_trainings_the_loop_without_workers_is_the_reference(make: Any, compared: Any) -> None:
    """All rungs of eager float32 have the reference's route."""

    def side(ratio: float) -> list[Any]:
        loop = make.in_turns([[1.0] * 3] * 3, pipeline="dataloader", options=(("workers", 0),))
        fused = make.in_turns(scaled(ratio), pipeline="tensor", options=(("fused", True),))
        return [replace(row, case=replace(row.case, experiment="training_step")) for row in (loop, fused)]

    (item,) = compared(side(1.0), side(0.8)).ratios
    assert (item.pair.case.pipeline, item.outcome) == ("tensor", "worse")
