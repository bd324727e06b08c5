"""Precisions by torchao: int8 weights of all layers, and its own configurations of linear layers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn
from torchao.quantization import (
    Float8DynamicActivationFloat8WeightConfig,
    Float8WeightOnlyConfig,
    Int4WeightOnlyConfig,
    Int8DynamicActivationInt8WeightConfig,
    Int8WeightOnlyConfig,
    IntxUnpackedToInt8Tensor,
    PerRow,
    quantize_,
)

from bench.core.errors import Unsupported
from bench.measure.ceilings import FP8_CAPABILITY
from bench.precision.converted import WEIGHTED, Converted, Setting, layers_of
from bench.precision.native import held_in

INT4_GROUP = 128
FP8_MULTIPLE = 16
"""torch._scaled_mm takes inputs and outputs in multiples of it only."""
IN_BFLOAT16 = ("int4_weight_only", "fp8_dynamic", "fp8_weight_only")
"""Kinds that compute in bfloat16, in which the whole network is held."""
INT4_OUTPUTS = 16
"""Side by side in the packing of int4 weights for CPUs: layers of other numbers of outputs are left as they are."""
INT8_ROWS = 16
"""Largest number of rows that torch._int_mm refuses on CUDA."""
# torchao would set a dozen switches of the compiler for the whole process; rows must differ in precision alone.
CONFIGURATIONS: dict[str, Callable[[], Any]] = {
    "int8_weight_only": lambda: Int8WeightOnlyConfig(set_inductor_config=False),
    "int8_dynamic": lambda: Int8DynamicActivationInt8WeightConfig(set_inductor_config=False),
    "fp8_dynamic": lambda: Float8DynamicActivationFloat8WeightConfig(granularity=PerRow(), set_inductor_config=False),
    "fp8_weight_only": lambda: Float8WeightOnlyConfig(set_inductor_config=False),
}


def configuration_of(kind: str, device: torch.device, group: int = INT4_GROUP) -> Any:
    """Configuration of torchao: one of ``CONFIGURATIONS``, or ``int4_weight_only`` in groups of ``group``.

    Raises:
        ImportError: this version of torchao has no int4 for CPUs.
        Unsupported: the GPU has no float8.
    """
    if kind.startswith("fp8"):
        need_fp8(device)
    if kind != "int4_weight_only":
        return CONFIGURATIONS[kind]()
    if device.type == "cpu":
        from torchao.prototype.quantization.int4.inference_workflow import PrototypeInt4WeightOnlyConfig

        return PrototypeInt4WeightOnlyConfig(group_size=group, set_inductor_config=False)
    # The default packing needs another package.
    return Int4WeightOnlyConfig(group_size=group, int4_packing_format="tile_packed_to_4d", set_inductor_config=False)


def int8_weights(network: nn.Module, setting: Setting, *, dtype: str = "float32") -> Converted:
    """Store weights of convolutions and linear layers in int8, symmetric, with one scale for each output channel.

    They are expanded to ``dtype`` at each call, in which everything else is held: that saves memory but no arithmetic.
    torchao's own ``IntxWeightOnlyConfig`` has one scale for each output channel *and kernel position* of a
    convolution. In a depthwise convolution that is a scale for each weight, which takes more bytes than float32.

    Raises:
        Unsupported: the network has neither convolutions nor linear layers, or the GPU no bfloat16.
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
    network, chosen = held_in(network, setting, dtype)  # last: weights are rounded to int8 from float32
    return Converted(network=network, input_dtype=chosen)


def linear(network: nn.Module, setting: Setting, *, kind: str) -> Converted:
    """Convert linear layers by torchao: one of ``CONFIGURATIONS``, or ``int4_weight_only``.

    Raises:
        Unsupported: the network has no linear layer that can be converted, or the packing needs another GPU.
    """
    names = layers_of(network, (nn.Linear,))
    if kind == "int8_dynamic" and setting.device.type == "cuda":
        names = _for_int8_tensor_cores(network, names, setting.batch_size)
    dtype = torch.bfloat16 if kind in IN_BFLOAT16 else torch.float32
    if kind == "int4_weight_only":
        names = _in_whole_groups(network, names)
    if kind == "fp8_dynamic":
        names = _for_fp8_products(network, names)
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


def _for_fp8_products(network: nn.Module, names: list[str]) -> list[str]:
    layers: dict[str, Any] = {name: network.get_submodule(name) for name in names}
    fitting = [
        name
        for name, layer in layers.items()
        if layer.in_features % FP8_MULTIPLE == 0 == layer.out_features % FP8_MULTIPLE
    ]
    if not fitting:
        raise Unsupported(
            f"no linear layer has inputs and outputs in multiples of {FP8_MULTIPLE}, as fp8 products need"
        )
    return fitting


def need_fp8(device: torch.device) -> None:
    """Check that the GPU multiplies float8.

    Raises:
        Unsupported: it is older than Ada, or the device is no GPU.
    """
    if device.type != "cuda":
        raise Unsupported("fp8 needs a GPU of compute capability 8.9 or later")
    capability = torch.cuda.get_device_capability(device)
    if capability < FP8_CAPABILITY:
        found = ".".join(map(str, capability))
        raise Unsupported(f"fp8 needs a GPU of compute capability 8.9 or later; this one has {found}")


def _in_whole_groups(network: nn.Module, names: list[str]) -> list[str]:
    layers: dict[str, Any] = {name: network.get_submodule(name) for name in names}
    wholes = [name for name, layer in layers.items() if layer.in_features % INT4_GROUP == 0]
    fitting = [name for name in wholes if layers[name].out_features % INT4_OUTPUTS == 0]
    if not fitting:
        raise Unsupported(f"no linear layer has a multiple of {INT4_GROUP} inputs, as int4 weights in groups need")
    return fitting
