"""Conversions cover what they claim, take odd networks, and give the reason if they cannot."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

import models
from bench.core.errors import Unsupported
from bench.core.precisions import CLASSIFIER_PRECISIONS, PRECISIONS
from bench.measure.memory import bytes_of
from bench.measure.products import flops_in, products_of
from bench.precision.bitsandbytes_layers import even_rows
from bench.precision.converted import tensors_as_stored, weights_in

LINEAR_ONLY = [name for name in CLASSIFIER_PRECISIONS if PRECISIONS[name].layers == "linear layers"]
EAGER_HERE = [
    name for name in CLASSIFIER_PRECISIONS if "cpu" in PRECISIONS[name].devices and "eager" in PRECISIONS[name].modes
]
QUANTISED_HERE = [name for name in EAGER_HERE if PRECISIONS[name].weight_bits <= 8]
INT4_KEY = 64
"""Bytes of a code book of 16 float32 numbers."""


def small() -> nn.Module:
    return models.classifier("cnn_small").build(10).eval()


def weighted(network: nn.Module) -> list[Any]:
    return [module for module in network.modules() if isinstance(module, nn.Conv2d | nn.Linear)]


def stored_bytes(network: nn.Module) -> int:
    return bytes_of(tensors_as_stored(network))


@pytest.mark.parametrize("name", EAGER_HERE)
def test_converted_networks_still_say_nearly_the_same(convert: Any, name: str) -> None:
    torch.manual_seed(0)
    network, images = small(), torch.randn(4, 3, 32, 32)
    with torch.inference_mode():
        exact = network(images)
        converted = convert(name, network, images)
        found = converted.network(images.to(converted.input_dtype)).float()
    error = ((found - exact).norm() / exact.norm()).item()
    assert error < (0.2 if PRECISIONS[name].weight_bits == 4 else 0.02)
    assert (error > 0) == (name != "fp32")


@pytest.mark.parametrize("name", QUANTISED_HERE)
def test_coverage_is_what_was_stored(convert: Any, name: str) -> None:
    network = small()
    kinds = (nn.Linear,) if name in LINEAR_ONLY else (nn.Linear, nn.Conv2d)
    layers = [module for module in weighted(network) if isinstance(module, kinds)]
    if name == "int4_linear":
        layers = [module for module in layers if module.in_features % 128 == 0]  # in whole groups
    claimed = sum(module.weight.numel() for module in layers)
    converted = convert(name, network, torch.randn(2, 3, 32, 32))
    assert weights_in(converted.network, 8) == claimed


@pytest.mark.parametrize("name", ["int8_weights", "nf4_weights", "fp4_weights", "nf4"])
def test_expanded_weights_multiply_in_float32(convert: Any, name: str) -> None:
    images = torch.randn(2, 3, 32, 32)
    converted = convert(name, small(), images)
    with torch.inference_mode():
        ran = products_of(lambda: converted.network(images))
    assert flops_in(ran, 16) == 0
    assert {product.format for product in ran} == {"float32"}


def test_weight_bytes_of_int8_weights_to_the_byte(convert: Any) -> None:
    network = small()
    layers = weighted(network)
    kept = stored_bytes(network) - sum(4 * layer.weight.numel() for layer in layers)
    channels = sum(len(layer.weight) for layer in layers)
    expected = kept + sum(layer.weight.numel() for layer in layers) + channels * (4 + 1)  # a scale and a zero point
    assert stored_bytes(convert("int8_weights", network, torch.zeros(1, 1)).network) == expected


@pytest.mark.parametrize(("name", "kinds"), [("nf4_weights", (nn.Conv2d, nn.Linear)), ("nf4", (nn.Linear,))])
def test_weight_bytes_of_four_bits_to_the_byte(convert: Any, name: str, kinds: tuple[type, ...]) -> None:
    network = small()
    sizes = [layer.weight.numel() for layer in weighted(network) if isinstance(layer, kinds)]
    kept = stored_bytes(network) - 4 * sum(sizes)
    found = stored_bytes(convert(name, network, torch.zeros(1, 3, 32, 32)).network)
    blocks = sum(math.ceil(size / 2) + 4 * math.ceil(size / 64) for size in sizes)
    assert found - kept - blocks in (INT4_KEY, INT4_KEY * len(sizes))  # one code book for all, or one each


def test_weight_bytes_of_llm_int8_to_the_byte(convert: Any) -> None:
    network = small()
    layers = [layer for layer in weighted(network) if isinstance(layer, nn.Linear)]
    kept = stored_bytes(network) - sum(4 * layer.weight.numel() for layer in layers)
    expected = kept + sum(layer.weight.numel() + 4 * layer.out_features for layer in layers)
    images = torch.zeros(2, 3, 32, 32)
    converted = convert("int8_bnb", network, images).network
    assert stored_bytes(converted) == expected
    with torch.inference_mode():
        converted(images)
    assert stored_bytes(converted) == expected  # the scales move from the weight to the layer: not twice


def test_double_quantisation_stores_scales_in_a_byte(convert: Any) -> None:
    size = 1024 * 512
    before = {
        name: stored_bytes(convert(name, nn.Sequential(nn.Linear(1024, 512, bias=False)), torch.zeros(1, 1024)).network)
        for name in ("nf4", "nf4_double")
    }
    blocks = size // 64
    assert before["nf4"] == size // 2 + 4 * blocks + INT4_KEY
    # 8-bit scales, a float32 scale for each 256 of them, their code book of 256, and their mean.
    assert before["nf4_double"] == size // 2 + blocks + 4 * (blocks // 256) + INT4_KEY + 4 * 256 + 4


@pytest.mark.parametrize("name", [name for name in LINEAR_ONLY if name in EAGER_HERE])
def test_a_network_without_linear_layers_is_unsupported(convert: Any, name: str) -> None:
    with pytest.raises(Unsupported, match="the network has no Linear: nothing to convert"):
        convert(name, nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten()), torch.zeros(1, 3, 8, 8))


@pytest.mark.parametrize("name", ["int8_weights", "nf4_weights", "int8_static"])
def test_a_network_without_weights_is_unsupported(convert: Any, name: str) -> None:
    with pytest.raises(Unsupported, match="no Conv2d or Linear"):
        convert(name, nn.Sequential(nn.Flatten()), torch.zeros(1, 3, 8, 8))


def test_int4_needs_whole_groups(convert: Any) -> None:
    with pytest.raises(Unsupported, match="no linear layer has a multiple of 128 inputs"):
        convert("int4_linear", nn.Sequential(nn.Linear(9, 3)), torch.zeros(1, 9))


def test_what_is_for_language_models_is_unsupported(convert: Any) -> None:
    with pytest.raises(Unsupported, match="int8_packed is for language models only"):
        convert("int8_packed", nn.Sequential(nn.Linear(9, 3)), torch.zeros(1, 9))


@pytest.mark.parametrize("name", [name for name in EAGER_HERE if name != "int4_linear"])
def test_odd_shapes_and_a_batch_of_one(convert: Any, name: str) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 5, 3), nn.ReLU(), nn.Flatten(), nn.Linear(5 * 25, 9), nn.Linear(9, 3))
    image = torch.randn(1, 3, 7, 7)
    with torch.inference_mode():
        exact = network(image)
        converted = convert(name, network, image)
        found = converted.network(image.to(converted.input_dtype)).float()
    assert found.shape == (1, 3)
    assert ((found - exact).norm() / exact.norm()).item() < (0.5 if PRECISIONS[name].weight_bits == 4 else 0.05)


def test_a_subclass_of_a_layer_is_left_alone(convert: Any) -> None:
    class Doubled(nn.Linear):
        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            return 2 * super().forward(inputs)

    network = nn.Sequential(Doubled(8, 8), nn.Linear(8, 4))
    converted = convert("nf4_weights", network, torch.zeros(1, 8))
    assert weights_in(converted.network, 8) == 32
    assert type(converted.network[0]) is Doubled


def test_four_bits_are_the_same_where_the_processor_multiplies_bfloat16(
    convert: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There bitsandbytes would repack the weights at the first call, and refuse ten outputs."""
    monkeypatch.setattr("bitsandbytes.nn.modules.has_avx512bf16", lambda: True)
    images = torch.randn(2, 3, 32, 32)
    converted = convert("nf4", small(), images).network
    before = stored_bytes(converted)
    with torch.inference_mode():
        assert converted(images).dtype == torch.float32
    assert stored_bytes(converted) == before


@pytest.mark.parametrize("shape", [(16, 3, 3, 3), (5, 3, 3, 3), (8, 1, 3, 3), (10, 64), (5, 7)])
def test_rows_are_made_even_where_that_can_be(shape: tuple[int, ...]) -> None:
    found = even_rows(torch.Size(shape))
    assert math.prod(found) == math.prod(shape)
    assert found[1] % 2 == 0 or math.prod(shape) % 2 == 1


class TestStaticInt8:
    @pytest.mark.slow
    def test_compiled_it_runs_in_int8_and_agrees(self, convert: Any) -> None:
        import torch._inductor.config

        torch.manual_seed(0)
        network, images = small(), torch.randn(64, 3, 32, 32)
        with torch.inference_mode():
            exact = network(images)
        converted = convert("int8_static", network, images)
        torch._inductor.config.freezing = converted.may_freeze
        compiled = torch.compile(converted.network, dynamic=False)
        with torch.inference_mode():
            found = compiled(images)
            ran = products_of(lambda: compiled(images))
        assert ((found - exact).norm() / exact.norm()).item() < 0.03
        assert len(ran) == len(weighted(network))
        assert {product.format for product in ran} == {"int8"}

    def test_it_stores_no_float32_weight(self, convert: Any) -> None:
        network = small()
        full = stored_bytes(network)
        converted = convert("int8_static", network, torch.randn(32, 3, 32, 32)).network
        floats = [item for item in (*converted.parameters(), *converted.buffers()) if item.dtype == torch.float32]
        assert max(item.ndim for item in floats) == 1  # biases and scales
        assert stored_bytes(converted) < 0.28 * full

    def test_any_batch_size_can_be_run_after_calibration(self, convert: Any) -> None:
        converted = convert("int8_static", small(), torch.randn(32, 3, 32, 32)).network
        with torch.inference_mode():
            assert converted(torch.randn(1, 3, 32, 32)).shape == (1, 10)
            assert converted(torch.randn(7, 3, 32, 32)).shape == (7, 10)

    def test_a_module_that_is_called_twice(self, convert: Any) -> None:
        """As torchvision's residual blocks call their one ReLU after each convolution."""

        class Twice(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.first, self.second = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
                self.relu = nn.ReLU(inplace=True)

            def forward(self, images: torch.Tensor) -> torch.Tensor:
                first = self.relu(self.first(images))
                return self.relu(self.second(first) + first).flatten(1)

        images = torch.randn(32, 3, 8, 8)
        network = Twice()
        with torch.inference_mode():
            exact = network(images)
            found = convert("int8_static", network, images).network(images)
        assert ((found - exact).norm() / exact.norm()).item() < 0.03

    @pytest.mark.slow
    def test_projections_of_attention_are_converted(self, convert: Any) -> None:
        """``nn.MultiheadAttention`` calls functions with its weights, and one of its two layers is no ``nn.Linear``."""
        import torch._inductor.config

        class Attending(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.attention = nn.MultiheadAttention(64, 2, batch_first=True)
                self.head = nn.Linear(64, 10)

            def forward(self, images: torch.Tensor) -> torch.Tensor:
                tokens = images.flatten(2)
                return self.head(self.attention(tokens, tokens, tokens, need_weights=False)[0].mean(1))

        torch.manual_seed(0)
        network, images = Attending().eval(), torch.randn(8, 3, 8, 8)
        with torch.inference_mode():
            exact = network(images)
        converted = convert("int8_static", network, images)
        assert weights_in(converted.network, 8) == 64 * 64 * 4 + 64 * 10
        torch._inductor.config.freezing = converted.may_freeze
        compiled = torch.compile(converted.network, dynamic=False)
        with torch.inference_mode():
            found = compiled(images)
            ran = [product.format for product in products_of(lambda: compiled(images))]
        assert ((found - exact).norm() / exact.norm()).item() < 0.05
        assert ran.count("int8") == 3
        assert len(ran) == 4  # the products of activations stay in floating point

    def test_what_cannot_be_exported_is_unsupported_with_the_reason(self, convert: Any) -> None:
        class Branching(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.layer = nn.Linear(8, 4)

            def forward(self, inputs: torch.Tensor) -> torch.Tensor:
                return self.layer(inputs) if inputs.sum() > 0 else -self.layer(inputs)

        with pytest.raises(Unsupported, match="PT2E cannot take this network"):
            convert("int8_static", Branching(), torch.zeros(1, 8))
