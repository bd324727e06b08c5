"""Precisions by bitsandbytes: its linear layers, and 4-bit weights of convolutions as well.

Only the worker that converts imports this module, since importing bitsandbytes asks CUDA for its capability.
"""

from __future__ import annotations

import logging
import math
from typing import Any, Literal

import torch
from bitsandbytes.nn.modules import Int8Params, Linear4bit, Linear8bitLt, Params4bit
from bitsandbytes.nn.parametrize import replace_parameter_4bit
from torch import Tensor, nn
from torch.nn.utils import parametrize

from bench.precision.converted import WEIGHTED, Converted, Setting, layers_of, replace_layers
from bench.precision.native import held_in

# It logs at every call that inputs are rounded to float16, inside each timed sample.
logging.getLogger("bitsandbytes").setLevel(logging.ERROR)

FourBits = Literal["nf4", "fp4"]
BLOCK = 64
"""Number of weights that share a scale: bitsandbytes' default."""
COMPUTE = torch.float32
"""Type that 4-bit weights of linear layers are expanded to and multiplied in, like the rest of the network.

It is bitsandbytes' default, which users get without asking."""


def linear_eight_bits(network: nn.Module, setting: Setting, *, threshold: float) -> Converted:
    """Convert linear layers by LLM.int8(): int8 weights with a scale per output, int8 inputs with one per row.

    Columns of inputs with a value of ``threshold`` or more are multiplied in 16 bits; 0 means no such column.
    Source: Dettmers et al., LLM.int8(), 2022.

    Raises:
        Unsupported: the network has no linear layer.
    """

    def make(linear: Any, twin: Any) -> nn.Module:
        layer = Linear8bitLt(
            linear.in_features,
            linear.out_features,
            bias=linear.bias is not None,
            has_fp16_weights=False,
            threshold=threshold,
            device="meta",
        )
        if twin is not None:
            return _sharing(layer, linear, twin)
        layer.weight = Int8Params(linear.weight.data, requires_grad=False, has_fp16_weights=False)
        return _placed(layer, linear, setting)

    replace_layers(network, layers_of(network, (nn.Linear,)), make)
    return Converted(network=_evaluating(network.to(setting.device)))


def linear_four_bits(network: nn.Module, setting: Setting, *, quant_type: FourBits, nested: bool) -> Converted:
    """Convert linear layers to 4-bit weights in blocks of 64, with a float32 scale each, or an 8-bit one if ``nested``.

    Source: Dettmers et al., QLoRA, 2023 (NF4, double quantisation).

    Raises:
        Unsupported: the network has no linear layer.
    """

    def make(linear: Any, twin: Any) -> nn.Module:
        layer = Linear4bit(
            linear.in_features,
            linear.out_features,
            bias=linear.bias is not None,
            compute_dtype=COMPUTE,
            compress_statistics=nested,
            quant_type=quant_type,
            device="meta",
        )
        # On a processor with bfloat16 products, bitsandbytes would repack the weights at the first call with bfloat16
        # scales. That is another format, and only for outputs in multiples of 32, unlike most last layers.
        layer.support_avx512bf16_for_cpu = False
        if twin is not None:
            return _sharing(layer, linear, twin)
        layer.weight = Params4bit(
            linear.weight.data,
            requires_grad=False,
            blocksize=BLOCK,
            compress_statistics=nested,
            quant_type=quant_type,
            module=layer,
        )
        return _placed(layer, linear, setting)

    replace_layers(network, layers_of(network, (nn.Linear,)), make)
    return Converted(network=_evaluating(network.to(setting.device)))


def four_bit_weights(
    network: nn.Module, setting: Setting, *, quant_type: FourBits, dtype: str = "float32"
) -> Converted:
    """Store weights of convolutions and linear layers in NF4 or FP4, in blocks of 64 with a float32 scale each.

    They are expanded to ``dtype`` at each call, which saves memory but no arithmetic. Everything else is held in it.

    Raises:
        Unsupported: the network has neither convolutions nor linear layers, or the GPU no bfloat16.
    """
    network, chosen = held_in(network, setting, dtype)
    stored: dict[int, Any] = {}
    for name in layers_of(network, WEIGHTED):
        layer: Any = network.get_submodule(name)
        shape, whole = layer.weight.shape, layer.weight
        replace_parameter_4bit(layer, "weight", quant_type=quant_type, blocksize=BLOCK)
        # Rows of an odd length, as 3x3 kernels have, would be expanded by a fallback that compiles anew for each shape.
        # The stored bytes do not depend on the shape, so that it becomes one with rows of even length.
        layer.parametrizations.weight[0].quant_state.shape = even_rows(shape)
        parametrize.register_parametrization(layer, "weight", _Shaped(shape), unsafe=True)
        # Layers that shared a parameter share what it became.
        parametrizations = layer.parametrizations.weight
        parametrizations.original = stored.setdefault(id(whole), (parametrizations.original, whole))[0]
    return Converted(network=_evaluating(network), input_dtype=chosen)


def even_rows(shape: torch.Size) -> torch.Size:
    """Shape of a matrix of as many elements, with an even number of columns if possible; rows are channels or pairs."""
    rows, columns = shape[0], math.prod(shape[1:])
    if columns % 2 and rows % 2 == 0:
        rows, columns = rows // 2, columns * 2
    return torch.Size((rows, columns))


class _Shaped(nn.Module):
    """Reshape of expanded weights to the shape that their layer needs."""

    def __init__(self, shape: torch.Size) -> None:
        super().__init__()
        self.shape = shape

    def forward(self, expanded: Tensor) -> Tensor:
        return expanded.view(self.shape)


def _placed(layer: Any, linear: Any, setting: Setting) -> nn.Module:
    """``layer`` with the bias of ``linear``, quantised as it moves to its device: one layer after the other."""
    layer.bias = linear.bias
    return _evaluating(layer.to(setting.device))


def _sharing(layer: Any, linear: Any, twin: Any) -> nn.Module:
    """``layer`` with what ``twin`` stores for a weight: the two shared a parameter before."""
    layer.weight, layer.bias = twin.weight, linear.bias
    if isinstance(layer, Linear8bitLt):
        if twin.state.CB is None:
            twin.init_8bit_state()  # else done at its first call, which takes the scales away from the weight
        layer.state.CB, layer.state.SCB = twin.state.CB, twin.state.SCB
    return _evaluating(layer)


def _evaluating(network: nn.Module) -> nn.Module:
    network.eval()  # not in one line: a network's own `train` may return nothing
    return network
