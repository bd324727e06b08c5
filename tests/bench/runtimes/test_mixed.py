"""Layers are ranked by what each costs alone, and the fewest of the worst are spared."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import models
from bench.core.errors import Unsupported
from bench.core.precisions import MIXED
from bench.core.quality import layers_in
from bench.export.__main__ import main
from bench.runtimes.mixed import Mixed, Tried, find_mixed, in_batches
from bench.runtimes.route import CORRECTION, Order, preparer_of

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
    assert mixed.images == IMAGES
    assert layers_in(mixed.texts) == mixed.layers


def test_with_labels_a_changed_class_is_a_loss_only_where_it_was_right() -> None:
    """Of 100 images ``b`` turns 40 to class 1, which is right for half of them: nothing is lost, but for chance."""
    labels = np.zeros(IMAGES, np.int64)
    labels[attempt(("a", "c", "d")).logits.argmax(axis=1).nonzero()[0][::2]] = 1
    chance = np.sqrt(0.4 / IMAGES)
    mixed = find_mixed(["b"], lambda spared: attempt((*spared, "a", "c", "d")), EXPECTED, 0.07, labels)
    assert (mixed.spared, mixed.labelled) == ((), True)
    assert mixed.drop == pytest.approx(chance)
    assert find_mixed(["b"], lambda spared: attempt((*spared, "a", "c", "d")), EXPECTED, 0.06, labels).spared == ("b",)


def test_a_search_is_read_as_it_was_written(tmp_path: Path) -> None:
    mixed = find_mixed(list(COSTS), attempt, EXPECTED, 0.05)
    assert Mixed.read(tmp_path) is None
    mixed.write(tmp_path)
    assert Mixed.read(tmp_path) == mixed


def test_batches_have_one_size() -> None:
    batches = in_batches(iter(torch.arange(70.0).split(32)), 30)
    assert [len(batch) for batch in batches] == [30, 30]
    assert torch.equal(torch.cat(batches), torch.arange(60.0))
    assert [len(batch) for batch in in_batches(iter([torch.zeros(7)]), 30)] == [7]


def test_each_layer_alone_has_its_divergence_changes_and_bytes() -> None:
    worst, *_, harmless = find_mixed(list(COSTS), attempt, EXPECTED, 1.0).layers
    one = float(np.e / (1 + np.e) - 1 / (1 + np.e))  # sum(p log(p/q)) of logits (1, 0) and (0, 1)
    assert (worst.kl, worst.changed, worst.bytes_saved) == (pytest.approx(0.4 * one), pytest.approx(0.4), 75)
    assert (harmless.kl, harmless.changed) == (0.0, 0.0)


def test_no_layers_are_refused() -> None:
    with pytest.raises(Unsupported, match="no convolution or linear layer"):
        find_mixed([], attempt, EXPECTED, 0.1)


@pytest.fixture
def outlier() -> nn.Module:
    """One channel is so large that the others vanish where all share a scale: the linear layer cannot be quantised."""
    torch.manual_seed(2)
    conv, linear = nn.Conv2d(3, 8, 5, stride=4), nn.Linear(8 * 7 * 7, 10)
    with torch.no_grad():
        conv.weight[0] *= 1e5
        linear.weight[:, : 7 * 7] /= 1e5
    return nn.Sequential(conv, nn.ReLU(), nn.Flatten(), linear).eval()


@pytest.mark.parametrize("runtime", ["torch", "onnxruntime", "openvino"])
def test_a_runtime_leaves_out_the_layers_by_its_own_means(
    runtime: str, outlier: nn.Module, order: Callable[..., Order]
) -> None:
    images = torch.randn(64, 3, 32, 32)
    asked = order(outlier, runtime, MIXED, options=(("max_drop", 0.05),))
    asked = replace(asked, calibration=lambda: iter(images.split(32)), held_out=lambda: iter(images.flip(0).split(32)))
    route = preparer_of(asked.case)(asked)
    worst, other = layers_in(route.texts())
    assert worst.spared
    assert worst.changed > 0.05
    assert worst.kl > other.kl
    assert worst.bytes_saved > other.bytes_saved > 0, "the linear layer is the larger one"
    with torch.inference_mode():
        expected = outlier(images[:4])
        found = route.network(images[:4]) if runtime == "torch" else route.run(images[:4])
    assert torch.equal(expected.argmax(1), found.argmax(1))
    plain = replace(asked, case=replace(asked.case, precision="int8_static", options=()))
    small = preparer_of(plain.case)(plain)
    assert route.weight_bytes() - small.weight_bytes() >= worst.bytes_saved * 0.9
    again = replace(asked, workspace=replace(asked.workspace, set_number=1), held_out=lambda: iter(()))
    assert layers_in(preparer_of(again.case)(again).texts()) == (worst, other), "a later process reads the search"


def test_forced_bias_correction_is_kept(outlier: nn.Module, order: Callable[..., Order]) -> None:
    for forced in (True, False):
        asked = order(outlier, "openvino", "int8_static", options=((CORRECTION, forced),))
        route = preparer_of(asked.case)(asked)
        assert route.flags()["runtime_bias_correction"] is forced
        assert "as it was asked for" in route.notes[0]


def test_a_route_that_quantises_no_layers_by_name_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save(models.classifier("cnn_small").build(10).state_dict(), tmp_path / "weights.pt")
    asked = ["--models", "cnn_small", "--weights", str(tmp_path / "weights.pt"), "--out", str(tmp_path / "out")]
    data = ["--dataset", "mnist5k", "--data-dir", str(tmp_path / "data")]
    assert main(["torch:fp32", *asked, *data, "--max-drop", "1"]) == 2
    assert "onnxruntime:int8_mixed" in capsys.readouterr().err
    assert main(["openvino:int8_static", *asked, *data, "--max-drop", "101"]) == 2
    assert "0 to 100" in capsys.readouterr().err
