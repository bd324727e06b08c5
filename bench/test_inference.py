"""Inference: latency, throughput, memory and accuracy of every network, by precision, mode and batch size."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bench.core.records import Case
    from bench.plan.plan import Plan


def parameters(plan: Plan) -> Iterator[dict[str, Any]]:
    for model in plan.models:
        for image_size in plan.image_sizes(model):
            for mode, batch_size, precision in plan.rows_of(model):
                row = {
                    "model": model,
                    "image_size": image_size,
                    "precision": precision,
                    "mode": mode,
                    "batch_size": batch_size,
                }
                yield {**row, "twin": 0}
                if plan.has_twin(model, mode, precision):
                    yield {**row, "twin": 1}


def requested(plan: Plan, *, model: str, image_size: int, **row: Any) -> tuple[Case, Case | None]:
    case = plan.inference(model, image_size=image_size, **row)
    return case, plan.needed_training(model) if image_size == plan.image_size(model) else None


def test_inference(
    measure: Any, plan: Plan, model: str, image_size: int, precision: str, mode: str, batch_size: int, twin: int
) -> None:
    row = {"precision": precision, "mode": mode, "batch_size": batch_size, "twin": twin}
    measure(*requested(plan, model=model, image_size=image_size, **row))
