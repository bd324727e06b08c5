"""Packed int8 weights: close to float32, one byte a weight, and the output head unchanged."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from bench.core.errors import Unsupported
from bench.measure.memory import bytes_of
from bench.precision.converted import tensors_as_stored, weights_in
from bench.precision.native import PackedInt8Linear, pack_linear_layers


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(1, 64), (2, 3, 64)])
def test_it_is_near_the_layer_that_it_stands_for(shape: tuple[int, ...], bias: bool) -> None:
    torch.manual_seed(0)
    linear = nn.Linear(64, 96, bias=bias)
    inputs = torch.randn(shape)
    with torch.inference_mode():
        expected, found = linear(inputs), PackedInt8Linear(linear)(inputs.bfloat16()).float()
    assert found.shape == expected.shape
    assert float((found - expected).norm() / expected.norm()) < 0.01


def test_a_row_of_zeros_stays_one() -> None:
    linear = nn.Linear(32, 32, bias=False)
    nn.init.zeros_(linear.weight)
    assert not PackedInt8Linear(linear)(torch.ones(1, 32, dtype=torch.bfloat16)).any()


def test_bytes_are_one_a_weight_and_a_scale_a_row() -> None:
    network: Any = nn.Sequential(nn.Linear(64, 96, bias=False), nn.Linear(96, 32, bias=False)).bfloat16()
    head = network[1]
    pack_linear_layers(network, keep=head)
    assert network[1] is head
    assert bytes_of(tensors_as_stored(network)) == 64 * 96 + 2 * 96 + 2 * 96 * 32
    assert weights_in(network, 8) == 64 * 96


def test_without_a_linear_layer_there_is_nothing_to_pack() -> None:
    with pytest.raises(Unsupported, match="nothing to convert"):
        pack_linear_layers(nn.Sequential(nn.ReLU()), keep=None)
