"""Loading: are more workers faster? The notes' loader with some numbers of them, and tensors on the device."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from bench.plan.training_cases import loading_case, loading_rows

if TYPE_CHECKING:
    from bench.plan.plan import Plan


def parameters(plan: Plan) -> Iterator[dict[str, Any]]:
    return loading_rows(plan)


def test_loading(measure: Any, plan: Plan, source: str, items: int, model: str, feeder: str, repeat: int) -> None:
    measure(loading_case(plan, source=source, items=items, model=model, feeder=feeder, repeat=repeat))
