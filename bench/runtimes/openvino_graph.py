"""What OpenVINO's graphs hold and multiply: constants of a model, products of a compiled one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from bench.measure.products import Product
from bench.runtimes.quiet import keep_quiet

keep_quiet()

import openvino  # noqa: E402  (telemetry is switched off before)

FORMATS = {
    "f32": ("float32", 32),
    "bf16": ("bfloat16", 16),
    "f16": ("float16", 16),
    "u8": ("int8", 8),
    "i8": ("int8", 8),
}
"""OpenVINO's names of types -> format and bits."""
MATMUL = "MatMul"
ATTENTION = "ScaledDotProductAttention"
FUSED = ("Subgraph", ATTENTION)
"""Layers whose products follow from the names of the operators that they are made of."""
PRODUCTS = ("Convolution", "FullyConnected", MATMUL, ATTENTION)


def products_of(compiled: openvino.CompiledModel, model: openvino.Model) -> Iterator[Product]:
    """Convolutions and matrix products of the graph that the plugin runs, and the format that each computes in.

    Small products, and attention, are parts of a "Subgraph": their shapes are those of ``model``, which was compiled.
    """
    named = {node.get_friendly_name(): node for node in model.get_ops() if node.get_type_name() in (MATMUL, ATTENTION)}
    for node in compiled.get_runtime_model().get_ordered_ops():
        facts = node.get_rt_info()
        layer, kind = facts["layerType"].astype(str), facts["runtimePrecision"].astype(str)
        flops = _flops(layer, node)
        if layer in FUSED:
            parts = facts["originalLayersNames"].astype(str).split(",")
            flops = sum(_flops(named[part].get_type_name(), named[part]) for part in parts if part in named)
        if flops:
            name, bits = FORMATS.get(kind, (kind, 64))
            yield Product(operator=layer, flops=flops, format=name, bits=bits)


def _flops(layer: str, node: openvino.Node) -> int:
    """Two FLOPs for each multiply-add of one node; 0 for what is no product."""
    if layer not in PRODUCTS:
        return 0
    output = np.prod(node.get_output_shape(0))
    left, right = (list(node.get_input_shape(at)) for at in (0, 1))
    if layer == "Convolution":
        # Groups stand in front of a grouped convolution's weights: channels of an output are the last three sides.
        return int(2 * output * np.prod(right[-3:]))
    if layer == ATTENTION:  # queries with keys, then weights with values, of shapes (batch, heads, tokens, width)
        return int(2 * (np.prod(left) + output) * right[-2])
    return int(2 * output * left[-1])


def constants_of(model: openvino.Model) -> Iterator[Any]:
    """Weights: constants of more than one dimension, which scales of single channels have as well."""
    for node in model.get_ops():
        if node.get_type_name() == "Constant" and len(node.get_output_shape(0)) > 1:
            yield node


def size_of(node: openvino.Node) -> int:
    return int(np.prod(node.get_output_shape(0)))


def bits_of(node: openvino.Node) -> int:
    bits: int = node.get_output_element_type(0).bitwidth
    return bits
