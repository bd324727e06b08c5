"""Converted weights are those that the network computes with: seen from outside, and refused where they are others."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from bench.core.precisions import PRECISIONS
from bench.precision import torchao_layers
from bench.precision.converted import Setting, converter_of, weights_in
from bench.precision.weights import WrongConversion, check_conversion, computed_with
from tests import check_fuzz

KINDS = (
    "bf16",
    "int8_dynamic",
    "int8_linear",
    "int4_linear",
    "int8_weights",
    "int8_weights_bf16",
    "int8_bnb",
    "nf4",
    "nf4_double",
    "nf4_weights_bf16",
    "fp4",
)


def network(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Flatten(), nn.Linear(256, 128), nn.Linear(128, 5)).eval()


@pytest.mark.parametrize("precision", KINDS)
def test_a_conversion_of_other_weights_is_no_row(precision: str) -> None:
    chosen = PRECISIONS[precision]
    setting = Setting(
        device=torch.device("cpu"),
        batch_size=2,
        image_shape=(3, 8, 8),
        calibration=lambda: iter([torch.rand(2, 3, 8, 8)]),
    )
    converted = converter_of(chosen)(network(0), setting).network
    images = torch.rand(2, 3, 8, 8)
    assert check_conversion(converted, computed_with(network(0), images), chosen) == 3
    with pytest.raises(WrongConversion, match="did not start from the weights"):
        check_conversion(converted, computed_with(network(1), images), chosen)


@pytest.mark.parametrize("seed", range(12))
def test_a_random_network_is_right_or_unsupported(seed: int) -> None:
    for precision in ("bf16", "int8_weights", "int8_bnb", "nf4_weights"):
        assert check_fuzz.outcome(seed, precision) in ("right", "unsupported"), precision


def test_float8_is_compared_by_its_own_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torchao_layers, "need_fp8", lambda device: None)  # no GPU is needed to round
    chosen, plain = PRECISIONS["fp8_weights"], nn.Sequential(nn.Linear(256, 128)).eval()
    setting = Setting(device=torch.device("cpu"), batch_size=2, image_shape=(256,), calibration=lambda: iter(()))
    images = torch.rand(2, 256)
    expected = computed_with(plain, images)
    converted = converter_of(chosen)(plain, setting).network
    assert check_conversion(converted, expected, chosen) == 1
    assert weights_in(converted, 8) == 256 * 128
    with pytest.raises(WrongConversion, match="did not start from the weights"):
        check_conversion(converted, {"0": expected["0"] * 1.2}, chosen)
