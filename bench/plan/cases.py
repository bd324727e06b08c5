"""The one maker of cases, and what every case has of its plan. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import models
from bench.core.experiments import EXPERIMENTS, TRAININGS
from bench.core.precisions import MIXED
from bench.core.recipes import HELD_OUT, recipe_for
from bench.core.records import Case, Scalar
from bench.plan.plan import Plan, file_digest

Requested = tuple[Case, Case | None]
"""A case that a test asks for, and the training whose weights it reads."""
SEARCHES = 5
"""Time limit of a case of mixed precision over that of others: it quantises once for each layer."""
NO_DATA = "random"
"""Stands for a data set where numbers are drawn."""


def make_case(
    plan: Plan,
    experiment: str,
    *,
    model: str,
    image_size: int,
    dataset: str | None = None,
    options: Mapping[str, Scalar] | None = None,
    **fields: Any,
) -> Case:
    """A case of ``plan``. Options that are None are left out; a network of the user's own brings its code's hash.

    Args:
        dataset: name of the data; the plan's by default.
        fields: further fields of ``Case``, by name.

    Raises:
        KeyError: there is no such experiment.
    """
    source = models.classifier(model).source if model in plan.models else None
    digest = {"source": plan.sources.get(model) or file_digest(source)} if source else {}
    named = {**(options or {}), **digest}
    return Case(
        experiment=EXPERIMENTS[experiment].name,
        model=model,
        dataset=plan.dataset if dataset is None else dataset,
        image_size=image_size,
        device=plan.device,
        threads=plan.threads,
        budget=plan.budget.name,
        options=tuple(sorted((name, value) for name, value in named.items() if value is not None)),
        **fields,
    )


def recipes_of(plan: Plan, model: str) -> tuple[str, ...]:
    """The recipes that train ``model``: the one that reproduces, and its held-out twin where the budget has it."""
    name = plan.budget.recipes.get(model, recipe_for(model).name)
    return (name, name + HELD_OUT) if model in plan.budget.held_out else (name,)


def time_limit(plan: Plan, case: Case) -> float:
    """Seconds after which ``case`` is ended."""
    if plan.case_timeout is not None:
        return plan.case_timeout
    if case.precision == MIXED:
        return SEARCHES * plan.budget.case_timeout
    return plan.budget.training_timeout if case.experiment in TRAININGS else plan.budget.case_timeout
