"""The examples of docs/extending.md, run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from bench.core.recipes import Recipe
from bench.data.images import load_dataset
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
    assert set(BLOCKS) == run_here | {"a precision of language models"}


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
