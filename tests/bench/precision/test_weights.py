"""Converted weights are those that the network computes with: seen from outside, and refused where they are others."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from bench.core.precisions import PRECISIONS
from bench.precision.converted import Setting, converter_of
from bench.precision.weights import WrongConversion, check_conversion, computed_with
from tests import check_fuzz

KINDS = ("bf16", "int8_dynamic", "int8_linear", "int4_linear", "int8_weights", "int8_bnb", "nf4", "nf4_double", "fp4")


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
