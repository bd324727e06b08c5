"""The experiments: one literal table, in the order in which they run. Every list of experiments is derived from it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from bench.core.amounts import Budget, Sampling
from bench.core.budgets import BUDGETS
from bench.core.records import Case

Kind = Literal["machine", "training", "inference", "language"]

SAMPLING_OPTIONS = ("max_seconds", "min_samples")
"""Options of a case that change how long it is timed, and nothing of what it computes."""


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """One kind of case: the code that runs it, and how its rows are grouped, timed and reported."""

    name: str
    entry: str
    """``module:function`` under ``bench.experiments``; the worker imports it and calls it with case and workspace."""
    kind: Kind
    cases: str
    """Module ``bench/<cases>.py`` whose test function names these cases."""
    section: str
    """Name of its rows' section in the report."""
    group: str
    """Table of pytest-benchmark's for its rows: fields of the case fill the braces."""
    sampling: Callable[[Budget], Sampling] | None = None
    """Its stopping rule in a budget. None: its work is fixed, so are its samples."""
    takes_turns: bool = False
    """True if its routes are measured in sets of processes that take turns: see ``bench.run.turns``. Without a stopping
    rule there is one set, and its rounds end with the work."""
    shrinks: bool = False
    """True if half the batch is tried when memory is short. False if the batch size changes the result."""
    answers: bool = False
    """True if it measures the text of a language model, which is undefined for random weights."""


TABLE: tuple[Experiment, ...] = (
    Experiment(
        name="ceilings",
        entry="machine:run_ceilings",
        kind="machine",
        cases="test_ceilings",
        section="ceilings",
        group="{experiment}",
    ),
    Experiment(
        name="training",
        entry="training:run",
        kind="training",
        cases="test_training",
        section="training",
        group="{experiment} {model}",
    ),
    Experiment(
        name="ladder",
        entry="training:run",
        kind="training",
        cases="test_ladder",
        section="ladder",
        group="{experiment} {model}",
        takes_turns=True,
    ),
    Experiment(
        name="training_step",
        entry="training_step:run",
        kind="training",
        cases="test_training_step",
        section="training_step",
        group="{experiment} {model}",
        sampling=lambda budget: budget.sampling,
        takes_turns=True,
    ),
    Experiment(
        name="loading",
        entry="training_step:run_loading",
        kind="training",
        cases="test_loading",
        section="loading",
        group="{experiment} {model}",
        sampling=lambda budget: budget.loading,
    ),
    Experiment(
        name="pretraining",
        entry="training:run",
        kind="training",
        cases="test_transfer",
        section="transfer",
        group="{experiment} {model}",
    ),
    Experiment(
        name="transfer",
        entry="comparisons:run_transfer",
        kind="training",
        cases="test_transfer",
        section="transfer",
        group="{experiment} {model}",
    ),
    Experiment(
        name="ablation",
        entry="comparisons:run_ablation",
        kind="training",
        cases="test_ablations",
        section="ablations",
        group="{experiment} {model}",
    ),
    Experiment(
        name="speedrun",
        entry="comparisons:run_speedrun",
        kind="training",
        cases="test_speedrun",
        section="speedrun",
        group="{experiment} {model}",
    ),
    Experiment(
        name="scaling",
        entry="scaling:run",
        kind="training",
        cases="test_scaling",
        section="scaling",
        group="{experiment} {model}",
        sampling=lambda budget: budget.sampling,
    ),
    Experiment(
        name="inference",
        entry="inference:run",
        kind="inference",
        cases="test_inference",
        section="inference",
        group="{experiment} b{batch_size}",
        sampling=lambda budget: budget.sampling,
        takes_turns=True,
        shrinks=True,
    ),
    Experiment(
        name="layers",
        entry="layers:run",
        kind="inference",
        cases="test_layers",
        section="layers",
        group="{model} b{batch_size}",
        sampling=lambda budget: budget.layers.sampling,
        takes_turns=True,
        shrinks=True,
    ),
    Experiment(
        name="load",
        entry="language.checkpoint:run_load",
        kind="language",
        cases="test_language",
        section="language",
        group="{experiment} {model} b{batch_size}",
    ),
    Experiment(
        name="prefill",
        entry="language.generation:run_prefill",
        kind="language",
        cases="test_language",
        section="language",
        group="{experiment} {model} b{batch_size}",
        sampling=lambda budget: budget.language.sampling,
        takes_turns=True,
        shrinks=True,
    ),
    Experiment(
        name="decode",
        entry="language.decode:run",
        kind="language",
        cases="test_language",
        section="language",
        group="{experiment} {model} b{batch_size}",
        sampling=lambda budget: budget.language.sampling,
        takes_turns=True,
        shrinks=True,
    ),
    Experiment(
        name="perplexity",
        entry="language.quality:run_perplexity",
        kind="language",
        cases="test_language",
        section="language",
        group="{experiment} {model} b{batch_size}",
        answers=True,
    ),
    Experiment(
        name="chat",
        entry="language.quality:run_chat",
        kind="language",
        cases="test_language",
        section="language",
        group="{experiment} {model} b{batch_size}",
        answers=True,
    ),
)
"""Every experiment, in the order in which a run takes them within one repeat."""

EXPERIMENTS: dict[str, Experiment] = {experiment.name: experiment for experiment in TABLE}
CASE_MODULES: tuple[str, ...] = tuple(dict.fromkeys(experiment.cases for experiment in TABLE))
"""Case modules under ``bench/``, in the order in which they run."""
TRAININGS: tuple[str, ...] = tuple(
    experiment.name for experiment in TABLE if experiment.kind == "training" and experiment.sampling is None
)
"""Experiments that train to the end, and may take as long as that."""
LANGUAGE_EXPERIMENTS: tuple[str, ...] = tuple(experiment.name for experiment in TABLE if experiment.kind == "language")
MACHINE_EXPERIMENTS: tuple[str, ...] = tuple(experiment.name for experiment in TABLE if experiment.kind == "machine")


def group_of(case: Case) -> str:
    """Table of pytest-benchmark's for ``case``: seconds of an epoch and milliseconds of a call do not share one."""
    return EXPERIMENTS[case.experiment].group.format_map(vars(case))


def sampling_of(case: Case) -> Sampling:
    """The stopping rule of ``case``: the budget's for its experiment, with what the command line changed of it.

    Raises:
        ValueError: the experiment has no stopping rule.
    """
    rule = EXPERIMENTS[case.experiment].sampling
    if rule is None:
        raise ValueError(f"{case.experiment} has no stopping rule: its samples are fixed")
    changed = {name: case.option(name) for name in SAMPLING_OPTIONS if case.option(name) is not None}
    return dataclasses.replace(rule(BUDGETS[case.budget]), **changed)  # type: ignore[arg-type]  # checked by options
