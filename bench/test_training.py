"""Training: every recipe of the run, once a seed. Inference is judged with the weights that these leave behind."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bench.plan.plan import Plan


def parameters(plan: Plan) -> Iterator[dict[str, Any]]:
    for seed in plan.seeds:
        for model in plan.trained:
            for recipe in plan.recipes(model):
                yield {"model": model, "recipe": recipe, "seed": seed}


def test_training(measure: Any, plan: Plan, model: str, recipe: str, seed: int) -> None:
    measure(plan.training(model, recipe=recipe, seed=seed))
