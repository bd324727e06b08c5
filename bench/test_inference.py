"""Inference: latency, throughput, memory and accuracy of every network, by precision, mode and batch size."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bench.plan.plan import Plan


def parameters(plan: Plan) -> Iterator[dict[str, Any]]:
    for repeat in range(plan.repeats):
        for model in plan.models:
            for image_size in plan.image_sizes(model):
                for mode, batch_size, precision in plan.rows_of(model):
                    yield {
                        "model": model,
                        "image_size": image_size,
                        "precision": precision,
                        "mode": mode,
                        "batch_size": batch_size,
                        "repeat": repeat,
                    }


def test_inference(
    measure: Any, plan: Plan, model: str, image_size: int, precision: str, mode: str, batch_size: int, repeat: int
) -> None:
    case = plan.inference(
        model, image_size=image_size, precision=precision, mode=mode, batch_size=batch_size, repeat=repeat
    )
    measure(case, needs=plan.needed_training(model) if image_size == plan.image_size(model) else None)
