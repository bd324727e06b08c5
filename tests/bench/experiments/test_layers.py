"""Single layers: the right one is timed, and its error is relative to float32."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from bench.core.errors import Unsupported
from bench.core.records import Case, Measurement, from_json, to_json
from bench.core.workspace import Workspace
from bench.experiments import layers


@pytest.fixture
def run(tmp_path: Path) -> Any:
    def run(kind: str, precision: str, *, width: int = 16, batch_size: int = 2, mode: str = "eager") -> Measurement:
        case = Case(
            experiment="layers",
            model=kind,
            dataset="mnist5k",
            image_size=1 if kind == "linear" else 8,
            device="cpu",
            threads=1,
            budget="smoke",
            precision=precision,
            mode=mode,
            batch_size=batch_size,
            options=(("width", width),),
        )
        return layers.run(case, Workspace(results=tmp_path, data_dir=tmp_path))

    return run


@pytest.mark.parametrize(
    ("kind", "flops", "weights"),
    [("linear", 2 * 16 * 16, 4 * (16 * 16 + 16)), ("conv3x3", 2 * 16 * 16 * 9 * 64, 4 * (16 * 16 * 9 + 16))],
)
def test_a_layer_at_fp32(run: Any, kind: str, flops: int, weights: int) -> None:
    found = run(kind, "fp32")
    assert found.figures["flops_per_input"].value == flops
    assert found.weight_bytes == weights
    assert "relative_error" not in found.figures
    assert found.items_per_step == 2
    assert from_json(Measurement, to_json(found)) == found


@pytest.mark.parametrize(("kind", "precision"), [("linear", "nf4"), ("conv3x3", "nf4_weights"), ("linear", "int8_bnb")])
def test_a_layer_at_another_precision(run: Any, kind: str, precision: str) -> None:
    found = run(kind, precision)
    assert 0 < found.figures["relative_error"].value < 0.2
    assert found.coverage is not None
    assert found.coverage.quantized_parameters == (256 if kind == "linear" else 256 * 9)


def test_outliers_are_there_where_they_are_looked_for(run: Any) -> None:
    """The column of 8 is multiplied apart: the rest is rounded as finely as without it."""
    kept = run("linear", "int8_bnb_outliers", width=64).figures["relative_error"].value
    assert kept < 1.5 * run("linear", "int8_bnb", width=64).figures["relative_error"].value


def test_both_sides_of_a_comparison_are_given_the_same_layer(run: Any) -> None:
    """An error above all rounding would mean that the layer or the inputs were drawn anew."""
    assert run("linear", "bf16").figures["relative_error"].value < 0.01
    assert torch.initial_seed() == 0


def test_a_precision_that_has_no_such_layer_is_unsupported(run: Any) -> None:
    with pytest.raises(Unsupported, match="has no Linear"):
        run("conv3x3", "nf4")
    with pytest.raises(Unsupported, match="tf32 runs on cuda only"):
        run("linear", "tf32")
