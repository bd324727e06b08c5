"""The hardware's limits, once a run: bandwidth, and matrix products by number format."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from bench.plan.inference_cases import ceilings_case

if TYPE_CHECKING:
    from bench.plan.plan import Plan


def parameters(plan: Plan) -> Iterator[dict[str, Any]]:
    yield {"device": plan.device}


def test_ceilings(measure: Any, plan: Plan, device: str) -> None:
    measure(ceilings_case(plan))
