"""Linear layers with int8 weights that torch multiplies as they are stored: no kept library offers these on a CPU.

The kernel (``aten::_weight_int8pack_mm``) is the one that Inductor puts in the place of torchao's int8 weights where it
recognises them; here it is called outright. It takes bfloat16 activations and widens weights in registers.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from bench.core.errors import Unsupported
from bench.precision.converted import layers_of, replace_module

LARGEST = 127


class PackedInt8Linear(nn.Module):
    """A linear layer of int8 weights (outputs, inputs), symmetric, with one bfloat16 scale for each output.

    Maps bfloat16 (..., inputs) to bfloat16 (..., outputs).
    """

    weight: Tensor
    scale: Tensor

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        exact = linear.weight.detach().float()
        scale = (exact.abs().amax(dim=1).clamp(min=torch.finfo(torch.bfloat16).tiny) / LARGEST).to(torch.bfloat16)
        # Rounded with the scale that it is multiplied by, which bfloat16 has rounded as well.
        rounded = (exact / scale.float()[:, None]).round().clamp(-LARGEST, LARGEST)
        self.register_buffer("weight", rounded.to(torch.int8))
        self.register_buffer("scale", scale)
        self.bias = linear.bias

    def forward(self, inputs: Tensor) -> Tensor:
        flat = inputs.reshape(-1, inputs.shape[-1])
        product = torch._weight_int8pack_mm(flat, self.weight, self.scale)
        product = product.view(*inputs.shape[:-1], -1)
        return product if self.bias is None else product + self.bias


def pack_linear_layers(network: nn.Module, keep: Any) -> None:
    """Replace every linear layer of ``network`` but ``keep`` (the output head, which other methods leave as well).

    Raises:
        Unsupported: there is none, or torch has no such kernel.
    """
    if not hasattr(torch, "_weight_int8pack_mm"):
        raise Unsupported(f"torch {torch.__version__} has no product of bfloat16 with packed int8 weights")
    for name in layers_of(network, (nn.Linear,)):
        linear: Any = network.get_submodule(name)
        if linear is not keep:
            replace_module(network, name, PackedInt8Linear(linear))
