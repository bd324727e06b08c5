"""The registry of experiments, and the lists that are derived from it."""

from __future__ import annotations

import ast
import importlib.util
from pathlib import Path

import pytest

from bench.core.budgets import BUDGETS
from bench.core.experiments import CASE_MODULES, EXPERIMENTS, TABLE, TRAININGS, Experiment, group_of, sampling_of
from bench.core.records import Case

CASES = Path(__file__).resolve().parents[3] / "bench"


def case(experiment: str, **fields: object) -> Case:
    machine = {"dataset": "mnist5k", "image_size": 32, "device": "cpu", "threads": 1, "budget": "quick"}
    return Case(**{"experiment": experiment, "model": "cnn_small", "batch_size": 8, **machine, **fields})  # type: ignore[arg-type]


def test_names_are_unique() -> None:
    assert len(EXPERIMENTS) == len(TABLE)


@pytest.mark.parametrize("experiment", TABLE, ids=lambda experiment: experiment.name)
def test_entries_are_functions_of_modules(experiment: Experiment) -> None:
    module, _, function = experiment.entry.partition(":")
    source = importlib.util.find_spec(f"bench.experiments.{module}")
    assert source is not None
    assert source.origin is not None
    defined = ast.parse(Path(source.origin).read_text()).body
    assert function in {node.name for node in defined if isinstance(node, ast.FunctionDef)}


def test_every_case_module_belongs_to_an_experiment() -> None:
    assert set(CASE_MODULES) == {path.stem for path in CASES.glob("test_*.py")}


def test_trainings_are_what_may_take_as_long_as_a_training() -> None:
    assert TRAININGS == ("training", "ladder", "pretraining", "transfer", "ablation", "speedrun")


def test_groups_do_not_mix_units_or_networks() -> None:
    names = {
        "ceilings": "ceilings",
        "training": "training cnn_small",
        "inference": "inference b8",
        "layers": "cnn_small b8",
    }
    assert {name: group_of(case(name)) for name in names} == names
    assert group_of(case("layers")) == "cnn_small b8"
    assert group_of(case("decode")) == "decode cnn_small b8"


def test_stopping_rules_are_the_budgets_with_what_was_asked_for() -> None:
    quick = BUDGETS["quick"]
    assert sampling_of(case("inference")) == quick.sampling
    assert sampling_of(case("layers")) == quick.layers.sampling
    assert sampling_of(case("loading", options=(("min_samples", 9),))).min_samples == 9
    with pytest.raises(ValueError, match="training has no stopping rule"):
        sampling_of(case("training"))
