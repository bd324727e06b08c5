"""Operators of a runtime's call, with their seconds: what a row's reason is made of."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from torch import Tensor, nn

from bench.runtimes.route import Order, preparer_of

PRODUCTS = {"onnxruntime": "Conv", "openvino": "Convolution"}


@pytest.mark.parametrize("runtime", PRODUCTS)
@pytest.mark.parametrize("precision", ["fp32", "int8_static"])
def test_a_call_is_the_sum_of_its_operators(
    runtime: str, precision: str, network: nn.Module, images: Tensor, order: Callable[..., Order]
) -> None:
    asked = order(network, runtime, precision)
    route = preparer_of(asked.case)(asked)
    before = route.run(images).clone()
    parts = route.parts(images)
    assert sum(PRODUCTS[runtime] in part.name for part in parts) >= 4, [part.name for part in parts]
    assert all(0 < part.seconds < 1 for part in parts)
    assert route.run(images).equal(before)
