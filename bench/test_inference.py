"""Inference: latency, throughput, memory and accuracy of every network, by runtime, precision, mode and batch size."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from bench.plan.inference_cases import inference_case, inference_rows
from bench.plan.training_cases import needed_training

if TYPE_CHECKING:
    from bench.plan.plan import Plan, Requested


def parameters(plan: Plan) -> Iterator[dict[str, Any]]:
    return inference_rows(plan)


def requested(plan: Plan, *, model: str, image_size: int, **row: Any) -> Requested:
    case = inference_case(plan, model=model, image_size=image_size, **row)
    return case, needed_training(plan, model, image_size)


def test_inference(
    measure: Any,
    plan: Plan,
    model: str,
    image_size: int,
    runtime: str,
    precision: str,
    mode: str,
    batch_size: int,
    twin: int,
) -> None:
    row = {"runtime": runtime, "precision": precision, "mode": mode, "batch_size": batch_size, "twin": twin}
    measure(*requested(plan, model=model, image_size=image_size, **row))
