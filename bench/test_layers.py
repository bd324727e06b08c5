"""Single layers: the width and batch size from which on each precision is faster."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from bench.plan.inference_cases import layer_case, layer_rows

if TYPE_CHECKING:
    from bench.plan.plan import Plan, Requested


def parameters(plan: Plan) -> Iterator[dict[str, Any]]:
    return layer_rows(plan)


def requested(plan: Plan, **row: Any) -> Requested:
    return layer_case(plan, **row), None


def test_layers(measure: Any, plan: Plan, kind: str, width: int, precision: str, mode: str, batch_size: int) -> None:
    measure(*requested(plan, kind=kind, width=width, precision=precision, mode=mode, batch_size=batch_size))
