"""Arithmetic of each format, compared with a reference in a few plain lines."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bench.precision.converted import parameters_as_stored
from bench.precision.static_int8 import reduces_range

# Dettmers et al., QLoRA, 2023, appendix E: quantiles of the normal distribution, with a zero, scaled to [-1, 1].
NF4 = (
    *(-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453),
    *(-0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0.0),
    *(0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224),
    *(0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0),
)
# Sign, two bits of exponent and one of mantissa, scaled so that the largest is 1.
FP4_HALF = (0.0, 0.0625 / 12, 8 / 12, 12 / 12, 4 / 12, 6 / 12, 2 / 12, 3 / 12)
FP4 = (*FP4_HALF, *(-value for value in FP4_HALF))


def rounded_to(code: tuple[float, ...], weight: Tensor) -> Tensor:
    """Blocks of 64 numbers in the order of memory, each over its largest magnitude, to the nearest of ``code``."""
    blocks = []
    for block in weight.flatten().split(64):
        scale = block.abs().max()
        nearest = (block[:, None] / scale - torch.tensor(code)).abs().argmin(1)
        blocks.append(torch.tensor(code)[nearest] * scale)
    return torch.cat(blocks).view(weight.shape)


@pytest.mark.parametrize(
    "layer",
    [nn.Linear(64, 10), nn.Linear(7, 5), nn.Conv2d(3, 16, 3), nn.Conv2d(3, 5, 3), nn.Conv2d(8, 8, 3, groups=8)],
    ids=["linear", "odd linear", "odd rows", "odd convolution", "depthwise"],
)
@pytest.mark.parametrize(("name", "code"), [("nf4_weights", NF4), ("fp4_weights", FP4)])
def test_four_bit_weights(convert: Any, name: str, code: tuple[float, ...], layer: nn.Module) -> None:
    torch.manual_seed(0)
    layer = type(layer)(*_arguments(layer))
    expected = rounded_to(code, layer.weight.detach())  # type: ignore[operator]
    network = convert(name, nn.Sequential(layer), torch.zeros(1, 1)).network
    assert torch.allclose(network[0].weight, expected, atol=1e-6)


def _arguments(layer: Any) -> tuple[Any, ...]:
    """A layer of the same form with new weights: converting changes what it is given."""
    if isinstance(layer, nn.Linear):
        return layer.in_features, layer.out_features
    return layer.in_channels, layer.out_channels, 3, 1, 0, 1, layer.groups


@pytest.mark.parametrize("name", ["nf4", "fp4", "nf4_double"])
def test_four_bit_linear_layers(convert: Any, name: str) -> None:
    torch.manual_seed(0)
    layer = nn.Linear(128, 32)
    expected = nn.functional.linear(
        inputs := torch.randn(4, 128), rounded_to(FP4 if name == "fp4" else NF4, layer.weight.detach()), layer.bias
    )
    found = convert(name, nn.Sequential(layer), inputs).network(inputs)
    # Scales of 8 bits are off by up to half a step of 1/127 of the largest.
    assert torch.allclose(found, expected, atol=0.05 if name == "nf4_double" else 1e-4)
    assert (found - expected).abs().max() > 0 or name != "nf4_double"


@pytest.mark.parametrize("layer", [nn.Linear(64, 10), nn.Conv2d(4, 6, 3)], ids=["linear", "convolution"])
def test_int8_weights_have_a_scale_for_each_channel(convert: Any, layer: Any) -> None:
    weight = layer.weight.detach().clone()
    rows = weight.flatten(1)
    scale = rows.abs().amax(1, keepdim=True) / 127.5  # torchao spreads [-128, 127] symmetrically
    expected = (rows / scale).round().clamp(-128, 127)
    stored = convert("int8_weights", nn.Sequential(layer), torch.zeros(1, 1)).network[0].weight
    assert stored.qdata.dtype == torch.int8
    assert stored.scale.numel() == len(weight)
    found = stored.qdata.flatten(1).float()
    # The largest weight of a channel lies halfway between 127 and 128: it alone may go either way.
    assert ((found - expected).abs() <= (rows.abs() == rows.abs().amax(1, keepdim=True))).all()
    assert torch.allclose(stored.dequantize(), (found * scale).view(weight.shape), atol=1e-6)


@pytest.mark.parametrize(
    ("name", "step", "tolerance"),
    # bitsandbytes rounds inputs to float16 first, which moves some of them to the next whole number.
    [("int8_bnb", 127.0, 4e-3), ("int8_bnb_outliers", 127.0, 4e-3), ("int8_dynamic", 127.5, 2e-3)],
)
def test_int8_products_round_both_sides(convert: Any, name: str, step: float, tolerance: float) -> None:
    """Rows of inputs and of weights, each over its largest magnitude, as whole numbers, multiplied and scaled back."""
    torch.manual_seed(0)
    layer = nn.Linear(128, 32)
    inputs = torch.randn(8, 128)
    sides = []
    for matrix in (inputs, layer.weight.detach()):
        scale = matrix.abs().amax(1, keepdim=True) / step
        sides.append((matrix / scale).round().clamp(-128, 127) * scale)
    expected = sides[0] @ sides[1].T + layer.bias
    exact = layer(inputs)
    with torch.inference_mode():
        found = convert(name, nn.Sequential(layer), inputs).network(inputs)
    assert ((found - expected).norm() / expected.norm()).item() < tolerance
    assert ((expected - exact).norm() / exact.norm()).item() > tolerance  # else rounding would not be seen at all


def test_outliers_are_kept_out_of_int8(convert: Any) -> None:
    """One huge input leaves the others no steps, unless its column is multiplied apart."""
    torch.manual_seed(0)
    weight = torch.randn(32, 128)
    inputs = torch.randn(8, 128)
    inputs[:, 3] = 500.0
    errors = {}
    for name in ("int8_bnb", "int8_bnb_outliers"):
        layer = nn.Linear(128, 32, bias=False)
        layer.weight = nn.Parameter(weight.clone())
        rest = inputs.clone()
        with torch.inference_mode():
            found = convert(name, nn.Sequential(layer), inputs).network(inputs)
        exact = rest @ weight.T
        errors[name] = ((found - exact).norm() / exact.norm()).item()
    assert errors["int8_bnb_outliers"] < errors["int8_bnb"] / 1.5


def test_static_int8_maps_a_range_affinely(convert: Any) -> None:
    """The notes' example: -10..30 onto the whole numbers from 0 to 255 (to 127 where a bit is given up)."""
    images = torch.linspace(-10, 30, 64 * 3 * 8 * 8).view(64, 3, 8, 8)
    network = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False))
    graph = convert("int8_static", network, images).network.graph
    node = next(node for node in graph.nodes if "quantize_per_tensor" in str(node.target))
    scale, zero_point, low, high, dtype = node.args[1:]
    assert (low, high, dtype) == (0, 127 if reduces_range() else 255, torch.uint8)
    assert scale == pytest.approx(40 / high, rel=0.05)
    assert zero_point == round(10 / scale)
    found = node.target(images, *node.args[1:])
    expected = (images / scale + zero_point).round().clamp(low, high)
    assert (found.float() - expected).abs().max() <= 1  # halves may go either way
    assert (found.float() != expected).float().mean() < 0.001


def test_bfloat16_keeps_eight_bits_of_each_weight(convert: Any) -> None:
    weight = torch.tensor([[1.0, 1 + 2**-8, 1 + 2**-7, 3e38]])
    layer = nn.Linear(4, 1)
    layer.weight = nn.Parameter(weight)
    converted = convert("bf16", nn.Sequential(layer), torch.zeros(1, 4))
    assert converted.input_dtype == torch.bfloat16
    stored = [item for item in parameters_as_stored(converted.network) if item.elements == 4]
    assert [item.bits for item in stored] == [16]
    assert converted.network[0].weight.tolist()[0][:3] == [1.0, 1.0, 1 + 2**-7]


def test_autocast_keeps_float32_weights_and_multiplies_in_bfloat16(convert: Any) -> None:
    converted = convert("bf16_autocast", nn.Sequential(nn.Linear(8, 4)), torch.zeros(1, 8))
    assert {parameter.dtype for parameter in converted.network.parameters()} == {torch.float32}
    assert converted.network(torch.randn(2, 8)).dtype == torch.bfloat16
