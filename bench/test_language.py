"""Language models: loading, time to first token, tokens per second, perplexity and a conversation, by precision."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from bench.plan.inference_cases import language_case, language_rows

if TYPE_CHECKING:
    from bench.plan.plan import Plan, Requested


def parameters(plan: Plan) -> Iterator[dict[str, Any]]:
    return language_rows(plan)


def requested(plan: Plan, **row: Any) -> Requested:
    return language_case(plan, **row), None


def test_language(
    measure: Any,
    plan: Plan,
    experiment: str,
    model: str,
    runtime: str,
    precision: str,
    mode: str,
    batch_size: int,
    prompt: int,
    repeat: int,
) -> None:
    measure(
        *requested(
            plan,
            experiment=experiment,
            model=model,
            runtime=runtime,
            precision=precision,
            mode=mode,
            batch_size=batch_size,
            prompt=prompt,
            repeat=repeat,
        )
    )
