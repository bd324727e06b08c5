"""Layers are ranked by what each costs alone, and the fewest of the worst are spared."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch

import models
from bench.export.__main__ import main
from bench.export.mixed import Tried, find_mixed
from tests.processes import export_in_a_process

IMAGES = 100
COSTS = {"a": 3, "b": 40, "c": 10, "d": 0}
"""Layer -> images whose class changes where it is quantised; each changes other ones."""
BYTES = 100


def attempt(spared: tuple[str, ...]) -> Tried:
    """Two classes; the images that quantised layers change take the other one."""
    logits = np.tile(np.array([1.0, 0.0], np.float32), (IMAGES, 1))
    begin = 0
    for name, cost in COSTS.items():
        if name not in spared:
            logits[begin : begin + cost] = (0.0, 1.0)
        begin += cost
    return Tried(logits=logits, weight_bytes=4 * BYTES - 75 * (len(COSTS) - len(spared)))


EXPECTED = attempt(tuple(COSTS))


@pytest.mark.parametrize(
    ("most_drop", "spared", "drop"),
    [(1.0, (), 0.53), (0.2, ("b",), 0.13), (0.05, ("b", "c"), 0.03), (0.0, ("b", "c", "a"), 0.0)],
)
def test_the_fewest_worst_layers_are_spared(most_drop: float, spared: tuple[str, ...], drop: float) -> None:
    mixed = find_mixed(list(COSTS), attempt, EXPECTED, most_drop)
    assert [layer.name for layer in mixed.layers] == ["b", "c", "a", "d"]
    assert mixed.spared == spared
    assert (mixed.drop, mixed.drop_of_all) == (pytest.approx(drop), pytest.approx(0.53))
    assert mixed.weight_bytes == 4 * BYTES - 75 * (4 - len(spared))


def test_each_layer_alone_has_its_divergence_changes_and_bytes() -> None:
    worst, *_, harmless = find_mixed(list(COSTS), attempt, EXPECTED, 1.0).layers
    one = float(np.e / (1 + np.e) - 1 / (1 + np.e))  # sum(p log(p/q)) of logits (1, 0) and (0, 1)
    assert (worst.kl, worst.changed, worst.bytes_saved) == (pytest.approx(0.4 * one), pytest.approx(0.4), 75)
    assert (harmless.kl, harmless.changed) == (0.0, 0.0)


def test_no_layers_are_refused() -> None:
    with pytest.raises(ValueError, match="without layers"):
        find_mixed([], attempt, EXPECTED, 0.1)


NETWORK = """
import torch
from torch import nn

def outlier():
    conv, linear = nn.Conv2d(3, 8, 5, stride=4), nn.Linear(8 * 7 * 7, 10)
    with torch.no_grad():
        conv.weight[0] *= 1e5
        linear.weight[:, : 7 * 7] /= 1e5
    return nn.Sequential(conv, nn.ReLU(), nn.Flatten(), linear)
"""
"""One channel is so large that the others vanish where all share a scale: the linear layer cannot be quantised."""


@pytest.mark.slow
@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_a_runtime_leaves_out_the_layers_by_its_own_means(runtime: str, tmp_path: Path) -> None:
    torch.manual_seed(2)
    model = f"{tmp_path / 'own.py'}:outlier"
    (tmp_path / "own.py").write_text(NETWORK)
    torch.save(models.classifier(model).build(10).state_dict(), tmp_path / "weights.pt")
    asked = ["--models", model, "--weights", str(tmp_path / "weights.pt"), "--threads", "1"]
    data = ["--dataset", "mnist5k", "--data-dir", str(tmp_path / "data")]
    out = tmp_path / "out"
    export_in_a_process(f"{runtime}:int8_static", *asked, *data, "--out", out, "--max-drop", "5")
    with (out / "sensitivity.csv").open() as file:
        worst, other = csv.DictReader(file)
    assert worst["spared"] == "yes"
    assert float(worst["changed_share"]) > 0.05
    assert float(worst["kl_nats"]) > float(other["kl_nats"])
    assert int(worst["bytes_saved"]) > int(other["bytes_saved"]) > 0, "the linear layer is the larger one"
    notes = json.loads((out / "about.json").read_text())["notes"]
    spared = ", ".join(layer["layer"] for layer in (worst, other) if layer["spared"] == "yes")
    assert f"kept in floating point: {spared}" in notes


def test_a_route_that_quantises_no_layers_by_name_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save(models.classifier("cnn_small").build(10).state_dict(), tmp_path / "weights.pt")
    asked = ["--models", "cnn_small", "--weights", str(tmp_path / "weights.pt"), "--out", str(tmp_path / "out")]
    data = ["--dataset", "mnist5k", "--data-dir", str(tmp_path / "data")]
    assert main(["torch:fp32", *asked, *data, "--max-drop", "1"]) == 2
    assert "onnxruntime:int8_static" in capsys.readouterr().err
    assert main(["openvino:int8_static", *asked, *data, "--max-drop", "101"]) == 2
    assert "0 to 100" in capsys.readouterr().err
