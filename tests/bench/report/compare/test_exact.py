from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bench.core.records import Better, Figure, Measurement


def outcomes(comparison: Any) -> dict[str, str]:
    return {item.name: item.outcome for item in comparison.exact}


def counted(measurement: Measurement, value: float, unit: str, better: Better | None = None) -> Measurement:
    return replace(measurement, figures={"count": Figure(value=value, unit=unit, better=better, exact=True)})


def test_one_byte_is_found(make: Any, compared: Any) -> None:
    old, new = make.inference(weight_bytes=174_504), make.inference(weight_bytes=174_505)
    comparison = compared([old], [replace(new, serialized_bytes=old.serialized_bytes)])
    assert outcomes(comparison) == {"weights": "worse"}
    assert (comparison.exact[0].old, comparison.exact[0].new) == ((174_504,), (174_505,))
    assert comparison.status == 1
    back = compared([new], [replace(old, serialized_bytes=new.serialized_bytes - 1)])
    assert outcomes(back) == {"weights": "better", "serialised": "better"}
    assert back.status == 0
    assert compared([old], [old]).exact == ()


@pytest.mark.parametrize(
    ("unit", "better", "more"),
    [
        ("parameters", None, "worse"),
        ("FLOP", None, "worse"),
        ("B", None, "worse"),
        ("breaks", "lower", "worse"),
        ("parameters", "higher", "better"),
        ("tokens", None, "changed"),
        ("bit", None, "changed"),
    ],
)
def test_figures_that_are_exact_are_compared_exactly(
    make: Any, compared: Any, unit: str, better: Better | None, more: str
) -> None:
    old, new = (counted(make.inference(), value, unit, better) for value in (1e12, 1e12 + 1))
    comparison = compared([old], [new])
    assert outcomes(comparison) == {"count": more}
    assert comparison.status == (more == "worse")
    less = {"worse": "better", "better": "worse", "changed": "changed"}[more]
    assert outcomes(compared([new], [old])) == {"count": less}


def test_other_figures_are_no_counts(make: Any, compared: Any) -> None:
    old, new = (make.inference(figures={"steps_per_block": steps}) for steps in (10, 11))
    assert compared([old], [new]).exact == ()


def test_losing_coverage_is_worse(make: Any, compared: Any) -> None:
    old, new = (make.inference(shares=shares, precision="int8") for shares in ((0.9, 0.8), (0.1, 0.8)))
    assert outcomes(compared([old], [new])) == {"converted parameters": "worse"}


def test_what_only_one_run_has_is_named_and_no_regression(make: Any, compared: Any) -> None:
    old, new = make.inference(), make.inference(weight_bytes=None)
    comparison = compared([old], [new])
    assert outcomes(comparison) == {"weights": "changed", "serialised": "changed"}
    assert comparison.exact[0].new == ()
    assert comparison.status == 0


def test_of_processes_that_disagree_the_worst_counts(make: Any, compared: Any) -> None:
    old = [counted(make.inference(repeat=repeat), 100, "B") for repeat in range(3)]
    new = [counted(make.inference(repeat=repeat), 100 + (repeat == 2), "B") for repeat in range(3)]
    comparison = compared(old, new)
    assert outcomes(comparison) == {"count": "worse"}
    assert comparison.exact[0].new == (100, 101)
    assert outcomes(compared(new, new)) == {}
