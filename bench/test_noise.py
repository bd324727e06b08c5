"""The noise floor: the same short case in fresh processes, called A and B in turn."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from bench.plan.inference_cases import noise_case, noise_rows

if TYPE_CHECKING:
    from bench.plan.plan import Plan


def parameters(plan: Plan) -> Iterator[dict[str, Any]]:
    return noise_rows(plan)


def test_noise(measure: Any, plan: Plan, model: str, batch_size: int, side: str, repeat: int) -> None:
    measure(noise_case(plan, model=model, batch_size=batch_size, side=side, repeat=repeat))
