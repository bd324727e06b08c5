"""FLOPs of a network by one account: every layer taken apart into convolutions and matrix products, which are counted.

Fused operators (attention, encoder layers, recurrent cells) hide what they multiply. While counting they are switched
off, so that the same arithmetic is done by plain products. Nothing of this is timed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager

import torch
from torch import nn
from torch._subclasses import FakeTensorMode
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from bench.measure import products

TOLERANCE = 0.01
"""Share by which the account and a trace may differ."""


def flops_of(step: Callable[[], object]) -> Mapping[str, int]:
    """FLOPs of one call of ``step`` by operator (``mm``, ``bmm``, ``convolution``), two for each multiply-add."""
    with torch.no_grad(), taken_apart(), FlopCounterMode(display=False) as counter:
        step()
    counts = counter.get_flop_counts().get("Global", {})
    return {str(operator).rpartition(".")[2]: int(count) for operator, count in counts.items()}


def flops_of_network(build: Callable[[], nn.Module], image_shape: tuple[int, ...]) -> int:
    """FLOPs of one image of ``image_shape``, by tensors without content where the network lets itself be run on them.

    The networks that ``build`` makes are spoilt by that.
    """
    network = build().eval()
    try:
        with FakeTensorMode(allow_non_fake_inputs=True):
            return sum(flops_of(lambda: network(torch.zeros(1, *image_shape))).values())
    except Exception:  # it looks at its numbers: on real ones then, with a network that kept nothing of the first try
        again = build().eval()
        return sum(flops_of(lambda: again(torch.zeros(1, *image_shape))).values())


def disagreement(network: nn.Module, image_shape: tuple[int, ...], flops: int) -> str | None:
    """Why ``flops`` cannot be said of ``network``: what a trace of one black image names differs; None if it agrees."""
    device = next((parameter.device for parameter in network.parameters()), torch.device("cpu"))
    image = torch.zeros(1, *image_shape, device=device)
    with torch.no_grad():
        network(image)  # one that compiles itself is traced when that is done
        ran = products.products_of(lambda: network(image), device.type)
    seen = sum(product.flops for product in ran)
    if abs(seen - flops) <= TOLERANCE * flops:
        return None
    return f"counted {flops:,} and seen in a trace {seen:,}: neither can be relied on"


@contextmanager
def taken_apart() -> Iterator[None]:
    """Attention, encoder layers and recurrent cells run as plain products meanwhile."""
    fast = torch.backends.mha.get_fastpath_enabled()
    with ExitStack() as switches:
        switches.callback(torch.backends.mha.set_fastpath_enabled, fast)
        torch.backends.mha.set_fastpath_enabled(False)
        # Not by torch.backends.mkldnn.flags, which sets a switch of Intel's GPUs as well and warns where there is none.
        switches.callback(torch._C._set_mkldnn_enabled, torch._C._get_mkldnn_enabled())
        torch._C._set_mkldnn_enabled(False)
        switches.enter_context(sdpa_kernel(SDPBackend.MATH))
        yield
