"""Precisions by torch alone: float32, TF32, 16-bit formats (stored or by autocast), and packed int8 linear layers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from bench.core.errors import Unsupported
from bench.measure.ceilings import TF32_CAPABILITY
from bench.measure.machine import set_tf32
from bench.precision.converted import Converted, Setting, layers_of, replace_module


def as_is(network: nn.Module, setting: Setting) -> Converted:
    """Convert nothing: the network as it was trained."""
    return Converted(network=network.to(setting.device), may_freeze=True)


def as_tf32(network: nn.Module, setting: Setting) -> Converted:
    """Keep float32 weights; let matrix products and cuDNN's convolutions round their operands to TF32.

    Raises:
        Unsupported: the GPU has no TF32.
    """
    allow_tf32(setting.device)
    return as_is(network, setting)


def allow_tf32(device: torch.device) -> None:
    """Let this process round the operands of float32 products to TF32.

    Raises:
        Unsupported: the GPU has no TF32.
    """
    need_capability(device, "TF32")
    set_tf32(on=True)


def as_type(network: nn.Module, setting: Setting, *, dtype: str) -> Converted:
    """Convert all floating-point weights and buffers to ``dtype`` (``bfloat16``, ``float16``); inputs need it too.

    Raises:
        Unsupported: the GPU has no bfloat16.
    """
    network, chosen = held_in(network, setting, dtype)
    return Converted(network=network, input_dtype=chosen, may_freeze=True)


def held_in(network: nn.Module, setting: Setting, dtype: str) -> tuple[nn.Module, torch.dtype]:
    """``network`` on its device, with weights and buffers of floating point in ``dtype``; and that type.

    Raises:
        Unsupported: the GPU has no bfloat16.
    """
    if dtype == "bfloat16":
        need_capability(setting.device, "bfloat16")
    chosen: torch.dtype = getattr(torch, dtype)
    return network.to(setting.device, chosen), chosen


def autocast(network: nn.Module, setting: Setting, *, dtype: str) -> Converted:
    """Keep float32 weights; torch.autocast rounds the operands of products to ``dtype`` at each call.

    Raises:
        Unsupported: the GPU has no bfloat16.
    """
    if dtype == "bfloat16":
        need_capability(setting.device, "bfloat16")
    wrapped = Autocast(network.to(setting.device), setting.device.type, getattr(torch, dtype))
    return Converted(network=wrapped.eval(), may_freeze=True)


class Autocast(nn.Module):
    """Network that runs under ``torch.autocast``: same inputs and outputs, with logits in ``dtype``."""

    def __init__(self, network: nn.Module, device: str, dtype: torch.dtype) -> None:
        super().__init__()
        self.network = network
        self.device = device
        self.dtype = dtype

    def forward(self, images: Tensor) -> Tensor:
        # The cache serves training; in inference it would keep a 16-bit copy of every weight.
        with torch.autocast(self.device, self.dtype, cache_enabled=False):
            logits: Tensor = self.network(images)
        return logits


def need_capability(device: torch.device, what: str) -> None:
    """Check that the device supports the format ``what``. A CPU supports all, some of them slowly.

    Raises:
        Unsupported: the GPU is older than Ampere.
    """
    if device.type == "cuda" and torch.cuda.get_device_capability(device) < TF32_CAPABILITY:
        found = ".".join(map(str, torch.cuda.get_device_capability(device)))
        raise Unsupported(f"{what} needs a GPU of compute capability 8.0 or later; this one has {found}")


LARGEST = 127


class PackedInt8Linear(nn.Module):
    """Linear layer of int8 weights (outputs, inputs), symmetric, with one bfloat16 scale for each output.

    Maps bfloat16 (..., inputs) to bfloat16 (..., outputs). torch multiplies the weights as they are stored, by
    ``aten::_weight_int8pack_mm``, which widens them in registers. On CUDA that kernel computes in float32, a thread an
    output, which is slow for more than a few rows. Inductor replaces torchao's int8 weights by the same
    kernel where it recognises them; no well-kept library calls it outright on a CPU.
    """

    weight: Tensor
    scale: Tensor

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        exact = linear.weight.detach().float()
        scale = (exact.abs().amax(dim=1).clamp(min=torch.finfo(torch.bfloat16).tiny) / LARGEST).to(torch.bfloat16)
        # The scale is rounded to bfloat16 first, since that scale is the one in the product.
        rounded = (exact / scale.float()[:, None]).round().clamp(-LARGEST, LARGEST)
        self.register_buffer("weight", rounded.to(torch.int8))
        self.register_buffer("scale", scale)
        self.bias = linear.bias

    def forward(self, inputs: Tensor) -> Tensor:
        flat = inputs.reshape(-1, inputs.shape[-1])
        product = torch._weight_int8pack_mm(flat, self.weight, self.scale)
        product = product.view(*inputs.shape[:-1], -1).to(inputs.dtype)  # some versions give float32 on CUDA
        return product if self.bias is None else product + self.bias


def pack_linear_layers(network: nn.Module, keep: Any) -> None:
    """Replace every linear layer of ``network`` except ``keep`` (the output head, which other methods leave as well).

    Raises:
        Unsupported: there is no linear layer, or torch has no such kernel.
    """
    if not hasattr(torch, "_weight_int8pack_mm"):
        raise Unsupported(f"torch {torch.__version__} has no product of bfloat16 with packed int8 weights")
    names = layers_of(network, (nn.Linear,))
    _try_packed_product(next(network.parameters()).device)
    for name in names:
        linear: Any = network.get_submodule(name)
        if linear is not keep:
            replace_module(network, name, PackedInt8Linear(linear))


def _try_packed_product(device: torch.device) -> None:
    inputs = torch.zeros(1, 32, dtype=torch.bfloat16, device=device)
    weight = torch.zeros(32, 32, dtype=torch.int8, device=device)
    try:
        torch._weight_int8pack_mm(inputs, weight, torch.ones(32, dtype=torch.bfloat16, device=device))
    except NotImplementedError:
        reason = f"torch {torch.__version__} has no product of bfloat16 with packed int8 weights on {device.type}"
        raise Unsupported(reason) from None
