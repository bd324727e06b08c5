"""Products in a trace: FLOPs as torch counts them, each once, in the format of the operands."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import models
from bench.measure.products import Product, _product, flops_in, main_format, products_of


def counted(network: nn.Module, images: torch.Tensor) -> int:
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        network(images)
    return int(counter.get_total_flops())


def traced(network: nn.Module, images: torch.Tensor) -> list[Product]:
    with torch.inference_mode():
        return products_of(lambda: network(images))


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(4, 8, 3),
        nn.Conv2d(4, 8, 3, stride=2, padding=1, bias=False),
        nn.Conv2d(4, 8, (1, 5), padding=(0, 2), dilation=(1, 2)),
        nn.Conv2d(4, 8, 3, groups=4),
        nn.Conv2d(4, 8, 1),
    ],
    ids=["plain", "strided", "dilated", "grouped", "1x1"],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_convolutions(layer: nn.Module, dtype: torch.dtype) -> None:
    images = torch.randn(3, 4, 11, 13)
    expected = counted(layer.float(), images)
    found = traced(layer.to(dtype), images.to(dtype))
    assert [product.flops for product in found] == [expected]
    assert found[0].format == str(dtype).removeprefix("torch.")


@pytest.mark.parametrize("name", ["cnn_small", "resnet14_cifar", "mobilenet_v2"])
def test_whole_networks(name: str) -> None:
    network = models.classifier(name).build(10).eval()
    images = torch.randn(2, 3, 32, 32)
    found = traced(network, images)
    assert sum(product.flops for product in found) == counted(network, images)
    assert main_format(found) == "float32"
    assert flops_in(found, 16) == 0
    assert flops_in(found, 32) == counted(network, images)


def test_an_operator_that_calls_another_counts_once() -> None:
    layer = nn.Linear(8, 16)
    found = traced(layer, torch.randn(5, 8))
    assert [(product.operator, product.flops) for product in found] == [("aten::addmm", 2 * 5 * 8 * 16)]


def test_int8_counts_as_int8_only_where_both_sides_are() -> None:
    left, right = torch.ones(32, 16, dtype=torch.int8), torch.ones(16, 8, dtype=torch.int8)
    found = products_of(lambda: torch._int_mm(left, right))
    assert [(product.bits, product.format, product.flops) for product in found] == [(8, "int8", 2 * 32 * 16 * 8)]
    mixed = products_of(lambda: left.float() @ right.float())
    assert [product.bits for product in mixed] == [32]


@pytest.mark.parametrize(
    ("name", "dims", "types", "values", "flops"),
    [
        (
            "bitsandbytes::gemv_4bit",
            [[1, 3, 128], [4096, 1], [], [128], [16], []],
            ["c10::BFloat16", "unsigned char", "ScalarList", "float", "float", "Scalar"],
            ["", "", "[64, 128]", "", "", "64"],
            2 * 3 * 128 * 64,
        ),
        (
            "aten::_weight_int4pack_mm",
            [[3, 1024], [8, 8, 32, 4], [], [8, 64, 2]],
            ["c10::BFloat16", "int", "Scalar", "c10::BFloat16"],
            ["", "", "128", ""],
            2 * 3 * 1024 * 64,  # inputs are padded to whole tiles
        ),
    ],
)
def test_packed_weights_multiply_in_the_format_of_the_activations(
    name: str, dims: list[Any], types: list[str], values: list[str], flops: int
) -> None:
    """As CUDA's operators are traced, which no CPU has."""
    event = {"name": name, "args": {"Input Dims": dims, "Input type": types, "Concrete Inputs": values}}
    assert _product(event, "cuda") == Product(operator=name, flops=flops, format="bfloat16", bits=16)


@pytest.mark.parametrize(("device", "expected"), [("cpu", "bfloat16"), ("cuda", "float32")])
def test_a_cpu_rounds_to_bfloat16_before_4_bit_products(device: str, expected: str) -> None:
    """Whatever the layer's compute dtype is: bitsandbytes' kernel for AVX512-BF16 has no other."""
    dims, types = [[1, 128], [64, 64], [], [2, 64], [16], []], ["float", "unsigned char", "ScalarList", "float"]
    arguments = {"Input Dims": dims, "Input type": types, "Concrete Inputs": ["", "", "[64, 128]", ""]}
    found = _product({"name": "bitsandbytes::gemv_4bit", "args": arguments}, device)
    assert (found.format, found.flops) == (expected, 2 * 128 * 64)


def test_nothing_that_multiplies() -> None:
    found: list[Any] = products_of(lambda: torch.ones(3) + 1)
    assert found == []
    assert main_format(found) is None
