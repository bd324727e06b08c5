"""Experiments about the machine: ceilings and noise (A/A)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench.core.records import Case, Measurement, from_json, to_json
from bench.core.workspace import Workspace
from bench.experiments import machine


@pytest.fixture
def space(tmp_path: Path) -> Workspace:
    return Workspace(results=tmp_path, data_dir=tmp_path)


def case(experiment: str, **changes: Any) -> Case:
    facts = {"model": "cnn_small", "dataset": "random", "image_size": 32, "device": "cpu", "threads": 1}
    return Case(experiment=experiment, budget="smoke", **{**facts, **changes})


def test_ceilings_hold_raw_samples_of_all_that_was_timed(space: Workspace) -> None:
    found = machine.run_ceilings(case("ceilings"), space)
    copy, summed = found.series["copy_seconds"], found.series["sum_seconds"]
    size = 2**24
    assert found.seconds == copy
    assert found.figures["bandwidth"].value == pytest.approx(max(2 * size / min(copy), size / min(summed)))
    for name in ("float32", "bfloat16", "float16", "int8"):
        work, seconds = found.figures[f"product_{name}_work"].value, found.series[f"product_{name}_seconds"]
        assert work == 2 * 128**3
        assert found.figures[f"product_{name}"].value == pytest.approx(work / min(seconds))
    assert "figures.product_tf32" in found.absent
    assert from_json(Measurement, to_json(found)) == found


def test_a_product_that_torch_does_not_have_is_absent_with_its_reason(
    space: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = machine.ceilings.products

    def products(name: str, side: int, device: Any) -> Any:
        if name == "float16":
            raise RuntimeError("not implemented for 'Half'\nat some line")
        return real(name, side, device)

    monkeypatch.setattr(machine.ceilings, "products", products)
    found = machine.run_ceilings(case("ceilings"), space)
    assert "product_float16" not in found.figures
    told = "torch has no such product here: not implemented for 'Half' at some line"
    assert found.absent["figures.product_float16"] == told
