"""The noise floor: the same short case in fresh processes, called A and B in turn."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bench.plan.plan import Plan


def parameters(plan: Plan) -> Iterator[dict[str, Any]]:
    noise = plan.budget.noise
    for repeat, batch_size, side in itertools.product(range(noise.processes), noise.batch_sizes, "AB"):
        yield {"model": noise.model, "batch_size": batch_size, "side": side, "repeat": repeat}


def test_noise(measure: Any, plan: Plan, model: str, batch_size: int, side: str, repeat: int) -> None:
    measure(plan.noise(model, batch_size=batch_size, side=side, repeat=repeat))
