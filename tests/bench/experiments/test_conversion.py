"""Coverage of a row, counted from stored tensors and products that ran, or absent with the reason."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from bench.core.precisions import PRECISIONS
from bench.experiments.conversion import bits_of, whats_converted
from bench.measure.products import Product


def step_of(network: nn.Module, images: torch.Tensor) -> Any:
    return lambda: network(images)


def test_half_precision_stores_and_multiplies_everything_low() -> None:
    network = nn.Linear(8, 4, bias=False).bfloat16()
    images = torch.ones(3, 8, dtype=torch.bfloat16)
    ran = whats_converted(step_of(network, images), PRECISIONS["bf16"], network, parameters=32, flops=2 * 3 * 32)
    assert ran.coverage is not None
    assert (ran.coverage.quantized_parameters, ran.coverage.total_parameters) == (32, 32)
    assert (ran.coverage.quantized_flops, ran.coverage.total_flops) == (192, 192)
    assert ran.compute == "bfloat16"
    assert not ran.absent


def test_a_name_converts_nothing_by_itself() -> None:
    """A network that stayed as it was, whatever its row is called."""
    network = nn.Linear(8, 4)
    ran = whats_converted(
        step_of(network, torch.ones(1, 8)), PRECISIONS["int8_static"], network, parameters=36, flops=64
    )
    assert ran.coverage is not None
    assert (ran.coverage.quantized_parameters, ran.coverage.quantized_flops) == (0, 0)
    assert ran.compute == "float32"


def test_flops_that_the_trace_does_not_account_for_are_absent() -> None:
    network = nn.Linear(8, 4, bias=False).bfloat16()
    ran = whats_converted(
        step_of(network, torch.ones(1, 8).bfloat16()), PRECISIONS["bf16"], network, parameters=32, flops=1000
    )
    assert ran.coverage is not None
    assert (ran.coverage.quantized_parameters, ran.coverage.quantized_flops) == (32, None)
    assert list(ran.absent) == ["coverage FLOPs"]
    assert "6.4%" in ran.absent["coverage FLOPs"]
    assert ran.compute is None


def test_padded_int4_products_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 512 inputs torchao's kernel for CUDA multiplies 1024."""
    network = nn.Linear(512, 8, bias=False)
    product = Product(operator="aten::_weight_int4pack_mm", flops=2 * 1024 * 8, format="bfloat16", bits=16)
    monkeypatch.setattr("bench.experiments.conversion.products.products_of", lambda step, device: [product])
    ran = whats_converted(lambda: None, PRECISIONS["int4_linear"], network, parameters=4096, flops=2 * 512 * 8)
    assert ran.coverage is not None
    assert ran.coverage.quantized_flops is None
    assert "200.0% of the network's FLOPs: torchao pads the inputs of int4 layers" in ran.absent["coverage FLOPs"]


def test_tf32_has_no_coverage() -> None:
    def never() -> None:
        raise AssertionError("nothing to trace")

    ran = whats_converted(never, PRECISIONS["tf32"], nn.Linear(8, 4), parameters=36, flops=64)
    assert (ran.coverage, ran.compute) == (None, "tf32")
    assert "coverage" in ran.absent


@pytest.mark.parametrize(("dtype", "compute"), [(torch.float32, "float32"), (torch.bfloat16, "bfloat16")])
def test_the_baseline_computes_in_what_ran(dtype: torch.dtype, compute: str) -> None:
    layer = nn.Linear(8, 4).to(dtype)
    inputs = torch.zeros(1, 8, dtype=dtype)
    ran = whats_converted(lambda: layer(inputs), PRECISIONS["fp32"], layer, parameters=36, flops=64)
    assert (ran.coverage, ran.compute) == (None, compute)
    unseen = whats_converted(lambda: inputs + 1, PRECISIONS["fp32"], layer, parameters=36, flops=64)
    assert unseen.compute is None
    assert "compute" in unseen.absent


def test_bits_are_figures() -> None:
    found = bits_of(PRECISIONS["nf4_weights"])
    assert {name: (figure.value, figure.exact) for name, figure in found.items()} == {
        "weight_bits": (4, True),
        "activation_bits": (32, True),
    }
