"""Precisions by torchao: int8 weights of all layers, and its own configurations of linear layers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn
from torchao.quantization import (
    Int4WeightOnlyConfig,
    Int8DynamicActivationInt8WeightConfig,
    Int8WeightOnlyConfig,
    IntxUnpackedToInt8Tensor,
    quantize_,
)

from bench.core.errors import Unsupported
from bench.precision.converted import WEIGHTED, Converted, Setting, layers_of

INT4_GROUP = 128
INT8_ROWS = 16
"""Largest number of rows that torch._int_mm refuses on CUDA."""
# torchao would set a dozen switches of the compiler for the whole process; rows must differ in precision alone.
CONFIGURATIONS: dict[str, Callable[[], Any]] = {
    "int8_weight_only": lambda: Int8WeightOnlyConfig(set_inductor_config=False),
    "int8_dynamic": lambda: Int8DynamicActivationInt8WeightConfig(set_inductor_config=False),
}


def configuration_of(kind: str, device: torch.device, group: int = INT4_GROUP) -> Any:
    """Configuration of torchao: ``int8_weight_only``, ``int8_dynamic``, or ``int4_weight_only`` in groups of ``group``.

    Raises:
        ImportError: this version of torchao has no int4 for CPUs.
    """
    if kind != "int4_weight_only":
        return CONFIGURATIONS[kind]()
    if device.type == "cpu":
        from torchao.prototype.quantization.int4.inference_workflow import PrototypeInt4WeightOnlyConfig

        return PrototypeInt4WeightOnlyConfig(group_size=group, set_inductor_config=False)
    # The default packing needs another package.
    return Int4WeightOnlyConfig(group_size=group, int4_packing_format="tile_packed_to_4d", set_inductor_config=False)


def int8_weights(network: nn.Module, setting: Setting) -> Converted:
    """Store weights of convolutions and linear layers in int8, symmetric, with one scale for each output channel.

    They are expanded to float32 at each call, which saves memory but no arithmetic. torchao's own
    ``IntxWeightOnlyConfig`` has one scale for each output channel *and kernel position* of a convolution. In a
    depthwise convolution that is a scale for each weight, which takes more bytes than float32.

    Raises:
        Unsupported: the network has neither convolutions nor linear layers.
    """
    network = network.to(setting.device)
    # A channel of one weight would have a scale for each weight, which torchao does not take.
    names = [name for name in layers_of(network, WEIGHTED) if _weights_a_channel(network, name) > 1]
    for name, twin in _twins(network, names).items():
        layer: Any = network.get_submodule(name)
        if twin is not None:
            layer.weight = network.get_submodule(twin).weight
            continue
        channel = (1, *layer.weight.shape[1:])
        stored = IntxUnpackedToInt8Tensor.from_hp(layer.weight.data, channel, torch.int8)
        layer.weight = nn.Parameter(stored, requires_grad=False)
    return Converted(network=network)


def linear(network: nn.Module, setting: Setting, *, kind: str) -> Converted:
    """Convert linear layers by torchao: ``int8_weight_only``, ``int8_dynamic`` or ``int4_weight_only``.

    Int4 computes in bfloat16, which the whole network is held in.

    Raises:
        Unsupported: the network has no linear layer that can be converted, or the packing needs another GPU.
    """
    names = layers_of(network, (nn.Linear,))
    if kind == "int8_dynamic" and setting.device.type == "cuda":
        names = _for_int8_tensor_cores(network, names, setting.batch_size)
    dtype = torch.float32
    if kind == "int4_weight_only":
        dtype = torch.bfloat16
        names = _in_whole_groups(network, names)
    network = network.to(setting.device, dtype)
    twins = _twins(network, names)
    first = {name for name, twin in twins.items() if twin is None}
    try:
        quantize_(network, configuration_of(kind, setting.device), filter_fn=lambda module, name: name in first)
    except (ImportError, NotImplementedError, AssertionError, ValueError) as error:
        raise Unsupported(f"torchao cannot do {kind} here: {' '.join(str(error).split())[:200]}") from error
    for name, twin in twins.items():
        if twin is not None:
            layer: Any = network.get_submodule(name)
            layer.weight = network.get_submodule(twin).weight
    return Converted(network=network, input_dtype=dtype)


def _weights_a_channel(network: nn.Module, name: str) -> int:
    layer: Any = network.get_submodule(name)
    return math.prod(layer.weight.shape[1:])


def _twins(network: nn.Module, names: Sequence[str]) -> dict[str, str | None]:
    """Each layer, and the one before it that has the same parameter for a weight, if there is one."""
    first: dict[int, str] = {}
    found: dict[str, str | None] = {}
    for name in names:
        owner = first.setdefault(id(network.get_submodule(name).weight), name)
        found[name] = None if owner == name else owner
    return found


def _for_int8_tensor_cores(network: nn.Module, names: list[str], rows: int) -> list[str]:
    """Names of the layers that torch._int_mm takes on CUDA; torchao silently multiplies the others in float32."""
    if rows <= INT8_ROWS:
        raise Unsupported(f"int8 products on CUDA need batches of more than {INT8_ROWS}; this one has {rows}")
    layers: dict[str, Any] = {name: network.get_submodule(name) for name in names}
    fitting = [name for name, layer in layers.items() if layer.in_features % 8 == 0 == layer.out_features % 8]
    if not fitting:
        raise Unsupported("no linear layer has inputs and outputs in multiples of 8, as int8 products on CUDA need")
    return fitting


def _in_whole_groups(network: nn.Module, names: list[str]) -> list[str]:
    layers: dict[str, Any] = {name: network.get_submodule(name) for name in names}
    fitting = [name for name, layer in layers.items() if layer.in_features % INT4_GROUP == 0]
    if not fitting:
        raise Unsupported(f"no linear layer has a multiple of {INT4_GROUP} inputs, as int4 weights in groups need")
    return fitting
