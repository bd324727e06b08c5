"""Static int8 with convolutions on x86: exported, observed on training images, rounded, compiled to int8 kernels.

The flow is PyTorch's PT2E quantisation with torchao's x86 Inductor quantizer. It yields a graph that rounds between
operations. Inductor, with its weights frozen, replaces each rounded convolution and product by oneDNN's int8 kernel.
Without that step the graph computes in float32.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.export import Dim, export
from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
from torchao.quantization.pt2e.quantizer import x86_inductor_quantizer as x86

from bench.core.errors import Unsupported
from bench.measure.machine import cpu_features
from bench.precision.converted import WEIGHTED, Converted, Setting, layers_of
from bench.precision.weights import check_exported

TRACED_BATCH = 2
"""Batch size for the export, which treats sizes of 0 and 1 as constants."""

LAYERS: dict[Any, type[nn.Module]] = {
    torch.ops.aten.conv2d.default: nn.Conv2d,
    torch.ops.aten.linear.default: nn.Linear,
}
"""Operators with weights, and the layer that the quantizer expects each in."""


def convert(network: nn.Module, setting: Setting) -> Converted:
    """Convert weights to int8 with a scale for each output channel, activations to uint8 with one for each tensor.

    Raises:
        Unsupported: the network cannot be exported, or the quantizer does not take it.
    """
    graph = exported(network, setting)
    with _faults_named():
        observed = prepare_pt2e(graph, _quantizer(setting.spared))
        for images in setting.calibration():
            observed(images)
        quantised = convert_pt2e(observed)
    _forget_what_is_unused(quantised)
    return Converted(network=quantised, may_freeze=True)


def exported(network: nn.Module, setting: Setting) -> Any:
    """Graph of the network for batches of any size, before anything is observed or rounded; of a graph, a copy.

    Raises:
        Unsupported: the network cannot be exported, or has no layer to quantise.
    """
    if isinstance(network, torch.fx.GraphModule):
        return copy.deepcopy(network)
    layers_of(network, WEIGHTED)
    with _faults_named():
        graph = _export(network, setting)
        check_exported("PT2E", network, graph, setting.image_shape)
    _give_each_call_its_own_path(graph)
    _give_each_product_its_layer(graph)
    return graph


@contextmanager
def _faults_named() -> Iterator[None]:
    """Raise any fault inside as ``Unsupported``: exporting and observing run the network's own code, which may fail."""
    try:
        yield
    except (MemoryError, torch.OutOfMemoryError, Unsupported):
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise Unsupported(f"PT2E cannot take this network ({type(error).__name__}: {reason})") from error


def reduces_range() -> bool:
    """True if activations have 7 bits: without VNNI, sums of two 8-bit products overflow their 16 bits."""
    return not {"avx512_vnni", "avx_vnni"} & set(cpu_features())


def _quantizer(spared: Sequence[str]) -> Any:
    config = x86.get_default_x86_inductor_quantization_config(reduce_range=reduces_range())
    quantizer = x86.X86InductorQuantizer().set_global(config)
    for name in spared:
        quantizer.set_module_name_qconfig(name, None)
    return quantizer


def _export(network: nn.Module, setting: Setting) -> Any:
    """Graph of the network for batches of any size."""
    images = torch.zeros(TRACED_BATCH, *setting.image_shape)
    return export(network, (images,), dynamic_shapes=({0: Dim.DYNAMIC},)).module(check_guards=False)


def _give_each_call_its_own_path(exported: Any) -> None:
    """Give each call of a module its own path, since torchvision's ResNets call one ReLU several times.

    The quantizer groups operations by the path of their module, and refuses a group with two outputs (torchao issue
    4478). The keys of the stack, unlike the paths, differ between calls.
    """
    first: dict[str, str] = {}
    for node in exported.graph.nodes:
        stack = node.meta.get("nn_module_stack")
        if node.op == "call_function" and stack:
            key, (path, kind) = list(stack.items())[-1]
            if first.setdefault(path, key) != key:
                node.meta["nn_module_stack"] = {**stack, key: (key, kind)}


def _give_each_product_its_layer(exported: Any) -> None:
    """Put each convolution and product with a weight into a layer of its own, where it is in none.

    The quantizer knows them by the innermost module, which has to be exactly a ``Conv2d`` or ``Linear``. The four
    projections of ``nn.MultiheadAttention`` are functions called by another module, so that they stayed in float32.
    """
    for node in exported.graph.nodes:
        layer = LAYERS.get(node.target)
        if layer is None or node.args[1].op != "get_attr":
            continue
        stack = node.meta.get("nn_module_stack") or {}
        kind = f"{layer.__module__}.{layer.__qualname__}"
        if not stack or list(stack.values())[-1][1] != kind:
            node.meta["nn_module_stack"] = {**stack, node.name: (node.name, kind)}


def _forget_what_is_unused(quantised: Any) -> None:
    """Delete the float32 weights that were rounded: the graph no longer reads them, but they would be stored."""
    read = {node.target for node in quantised.graph.nodes if node.op == "get_attr"}
    tensors = [name for name, _ in [*quantised.named_parameters(), *quantised.named_buffers()]]
    for name in tensors:
        if name not in read:
            parent, _, child = name.rpartition(".")
            delattr(quantised.get_submodule(parent), child)
