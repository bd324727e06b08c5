"""The examples of docs/extending.md, run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from bench.core.budgets import BUDGETS
from bench.core.experiments import EXPERIMENTS, Experiment, group_of
from bench.core.recipes import Recipe
from bench.core.records import Measurement
from bench.core.workspace import Workspace
from bench.data.images import load_dataset
from bench.experiments.timing import timed
from bench.plan.command_line import make_plan
from bench.plan.plan import make_case
from bench.precision.converted import Converted, Setting, layers_of, replace_module
from bench.precision.language_loading import Loading
from models import ClassifierSpec, classifier

PAGE = Path(__file__).resolve().parents[1] / "docs" / "extending.md"
BLOCKS = {
    block.splitlines()[0].removeprefix("# "): block
    for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S)
}


def run(title: str, **known: Any) -> dict[str, Any]:
    names = dict(known)
    exec(compile(BLOCKS[title], f"{PAGE.name}: {title}", "exec"), names)
    return names


@pytest.fixture
def file(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    path = tmp_path / str(request.param)
    path.write_text(BLOCKS[path.name])
    return path


def test_every_block_is_run() -> None:
    run_here = {"mine.py", "data.py", "a row of CLASSIFIERS", "a recipe", "a precision of classifiers"}
    run_here |= {"a precision of language models"}
    assert set(BLOCKS) == run_here | {f"an experiment's {part}" for part in ("row", "cases", "module")}


@pytest.mark.parametrize("file", ["mine.py"], indirect=True)
def test_a_network_of_ones_own_gives_logits(file: Path) -> None:
    network = classifier(f"{file}:network").build(7)
    assert network(torch.zeros(2, 3, 32, 32)).shape == (2, 7)


@pytest.mark.parametrize("file", ["data.py"], indirect=True)
def test_data_of_ones_own_are_loaded(file: Path, tmp_path: Path) -> None:
    dataset = load_dataset(f"{file}:make", data_dir=tmp_path / "data", progress=lambda line: None)
    assert (len(dataset.train.labels), len(dataset.test.labels)) == (64, 16)
    assert np.unique(dataset.train.images[dataset.train.labels == 1]).tolist() == [180]


def test_a_row_of_the_table_builds_its_network() -> None:
    row = run("a row of CLASSIFIERS", ClassifierSpec=ClassifierSpec)["row"]
    assert [spec.name for spec in row.values()] == list(row)
    assert row["my_network"].build(10)(torch.zeros(2, 3, 32, 32)).shape == (2, 10)


def test_a_recipe_is_one() -> None:
    assert run("a recipe", Recipe=Recipe)["recipe"].model == "cnn_small"


def test_a_precision_converts_what_it_says() -> None:
    names = run(
        "a precision of classifiers",
        nn=nn,
        torch=torch,
        layers_of=layers_of,
        replace_module=replace_module,
        Converted=Converted,
    )
    network = classifier("cnn_small").build(10).eval()
    images = torch.randn(4, 3, 32, 32)
    setting = Setting(device=torch.device("cpu"), batch_size=4, image_shape=(3, 32, 32), calibration=lambda: iter(()))
    with torch.no_grad():
        expected = network(images)
        found = names["my_format"](network, setting).network(images)
    assert not torch.equal(found, expected)
    torch.testing.assert_close(found, expected, rtol=0.05, atol=0.05)


def test_a_precision_of_language_models_tells_how_to_load() -> None:
    loading = run("a precision of language models", Loading=Loading, torch=torch)["my_loading"](torch.device("cpu"))
    assert loading.arguments == {"dtype": torch.float16}


def test_an_experiment_is_planned_and_measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    row = run("an experiment's row", Experiment=Experiment)["row"]
    monkeypatch.setitem(EXPERIMENTS, row.name, row)
    cases = run("an experiment's cases", make_case=make_case)
    plan = make_plan({"device": "cpu", "dataset": "mnist5k", "budget": "smoke", "threads": 1}.get)
    planned = [cases["product_case"](plan, **values) for values in cases["product_rows"](plan)]
    assert [(case.option("side"), group_of(case)) for case in planned] == [(64, "products b1"), (128, "products b1")]
    module = run("an experiment's module", torch=torch, timed=timed, Measurement=Measurement)
    measured = module["run"](planned[0], Workspace(results=tmp_path, data_dir=tmp_path))
    rule = BUDGETS["smoke"].sampling
    assert len(measured.seconds) >= rule.min_samples or sum(measured.seconds) >= rule.max_seconds
