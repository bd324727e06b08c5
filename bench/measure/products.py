"""Convolutions and matrix products that a step runs, with their FLOPs and number formats, read from a trace.

Annotations state the intention of a library. The operators that ran, with the shapes and types of their operands, show
the fact: a convolution counts as int8 only if an int8 kernel was called.
"""

from __future__ import annotations

import math
from ast import literal_eval
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch._subclasses import FakeTensorMode
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from bench.measure.trace import chrome_trace

BITS = {
    "double": 64,
    "float": 32,
    "c10::BFloat16": 16,
    "c10::Half": 16,
    "c10::Float8_e4m3fn": 8,
    "signed char": 8,
    "unsigned char": 8,
}
FORMATS = {
    "double": "float64",
    "float": "float32",
    "c10::BFloat16": "bfloat16",
    "c10::Half": "float16",
    "c10::Float8_e4m3fn": "float8",
    "signed char": "int8",
    "unsigned char": "int8",
}
"""Usual names of types, by the profiler's names."""

TOLERANCE = 0.01
"""Share by which the FLOPs counted of a network and those seen in a trace of it may differ."""

Event = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Product:
    """Convolution or matrix product that ran. FLOPs count two for each multiply-add."""

    operator: str
    flops: int
    format: str
    """Number format of the operand with more bits."""
    bits: int


@dataclass(frozen=True, kw_only=True)
class _Operands:
    """Positions of an operator's two operands, and the order of a convolution's lists of sides."""

    left: int
    right: int
    lists: tuple[str, ...] = ()
    transposed: bool = False
    """True if the right operand of a product is (outputs, inputs), as a linear layer's weight is."""
    may_add: bool = False
    """True if a tensor to be added may precede the right operand. A trace does not name the overload."""
    outputs: Callable[[Mapping[str, Any]], int] | None = None
    """Number of outputs of a right operand that is packed into bits and expanded inside, to the left one's format."""
    on_cpu: str | None = None
    """Format, by the profiler's name, that a CPU rounds the left operand to before it multiplies."""
    flops: Callable[[Sequence[Sequence[int]]], int] | None = None
    """FLOPs from the shapes of all arguments, of an operator that multiplies more than once inside."""


ATTENTION = (
    "aten::_scaled_dot_product_flash_attention_for_cpu",
    "aten::_scaled_dot_product_flash_attention",
    "aten::_scaled_dot_product_efficient_attention",
    "aten::_scaled_dot_product_cudnn_attention",
)
"""Operators that do both products of attention."""


def _attention_flops(shapes: Sequence[Sequence[int]]) -> int:
    """FLOPs of attention: queries (N, heads, T, d) with keys (N, heads, S, d), and the result with values."""
    queries, keys, values = shapes[:3]
    return 2 * math.prod(queries) * keys[-2] + 2 * math.prod(queries[:-1]) * keys[-2] * values[-1]


def _recurrent_flops(shapes: Sequence[Sequence[int]]) -> int:
    """FLOPs of one recurrent layer: each step and sequence of the input with its weights and those of the state."""
    steps, sequences, _ = shapes[0]
    return 2 * steps * sequences * (math.prod(shapes[1]) + math.prod(shapes[2]))


_ATEN_LISTS = ("stride", "padding", "dilation")
_MKLDNN_LISTS = ("padding", "stride", "dilation")
_PRODUCTS: dict[str, _Operands] = {
    "aten::convolution": _Operands(left=0, right=1, lists=_ATEN_LISTS),
    "aten::_convolution": _Operands(left=0, right=1, lists=_ATEN_LISTS),
    "mkldnn::_convolution_pointwise": _Operands(left=0, right=1, lists=_MKLDNN_LISTS, may_add=True),
    "mkldnn::_convolution_pointwise_": _Operands(left=1, right=2, lists=_MKLDNN_LISTS),
    "onednn::qconv_pointwise": _Operands(left=0, right=3, lists=_ATEN_LISTS),
    "onednn::qconv2d_pointwise": _Operands(left=0, right=3, lists=_ATEN_LISTS),
    "aten::mm": _Operands(left=0, right=1),
    "aten::bmm": _Operands(left=0, right=1),
    "aten::addmm": _Operands(left=1, right=2),
    "aten::baddbmm": _Operands(left=1, right=2),
    "aten::_addmm_activation": _Operands(left=1, right=2),
    **{name: _Operands(left=0, right=1, flops=_attention_flops) for name in ATTENTION},
    "aten::mkldnn_rnn_layer": _Operands(left=0, right=1, flops=_recurrent_flops),
    "aten::_int_mm": _Operands(left=0, right=1),
    "aten::_scaled_mm": _Operands(left=0, right=1),
    "aten::linear": _Operands(left=0, right=1, transposed=True),
    "aten::mkldnn_linear": _Operands(left=0, right=1, transposed=True),
    "mkldnn::_linear_pointwise": _Operands(left=0, right=1, transposed=True, may_add=True),
    "mkl::_mkl_linear": _Operands(left=0, right=2, transposed=True),
    "onednn::qlinear_pointwise": _Operands(left=0, right=3),
    "aten::_weight_int8pack_mm": _Operands(left=0, right=1, transposed=True),
    "bitsandbytes::int8_linear_matmul": _Operands(left=0, right=1, transposed=True),
    "bitsandbytes::gemv_4bit": _Operands(
        left=0, right=1, outputs=lambda args: _first_list(args)[0], on_cpu="c10::BFloat16"
    ),
    "bitsandbytes::gemm_4bit": _Operands(left=0, right=1, outputs=lambda args: _first_list(args)[0]),
    "aten::_weight_int4pack_mm_for_cpu": _Operands(left=0, right=1, outputs=lambda args: args["Input Dims"][1][0]),
    "aten::_weight_int4pack_mm": _Operands(left=0, right=1, outputs=lambda args: args["Input Dims"][3][1]),
}
"""Operators that multiply. Where one calls another of these, the inner one counts."""


def products_of(step: Callable[[], object], device: str = "cpu") -> list[Product]:
    """Products of one call of ``step`` on a ``device`` of this type, from a trace, which is never a timed pass."""
    with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as traced:
        step()
    events = chrome_trace(traced)["traceEvents"]
    operators = [event for event in events if event.get("cat") == "cpu_op" and event["name"] in _PRODUCTS]
    return [_product(event, device) for event in _innermost(operators)]


def flops_in(products: Iterable[Product], bits: int) -> int:
    """FLOPs of the products whose operands both have ``bits`` bits or fewer."""
    return sum(product.flops for product in products if product.bits <= bits)


def main_format(products: Sequence[Product]) -> str | None:
    """Number format of most FLOPs; None if nothing was multiplied."""
    totals: dict[str, int] = {}
    for product in products:
        totals[product.format] = totals.get(product.format, 0) + product.flops
    return max(totals, key=lambda name: totals[name]) if totals else None


def _innermost(events: Sequence[Event]) -> Iterator[Event]:
    """Events that contain none of the others. A trace lists the calls of one thread from the outside in."""
    by_thread: dict[object, list[Event]] = {}
    for event in sorted(events, key=lambda one: (one["ts"], -one["dur"])):
        by_thread.setdefault(event["tid"], []).append(event)
    for ordered in by_thread.values():
        for event, following in zip(ordered, [*ordered[1:], None], strict=True):
            if following is None or following["ts"] >= event["ts"] + event["dur"]:
                yield event


def _product(event: Event, device: str = "cpu") -> Product:
    operands = _PRODUCTS[event["name"]]
    shapes, types = event["args"]["Input Dims"], event["args"]["Input type"]
    at = operands.right
    if operands.may_add and len(shapes[at + 1]) == len(shapes[at]):  # a bias has one side only
        at += 1
    left, right = shapes[operands.left], shapes[at]
    formats = [types[operands.left], types[at]]
    if operands.flops:
        flops = operands.flops(shapes)
    elif operands.lists:
        flops = convolution_flops(left, right, **dict(zip(operands.lists, _lists(event["args"]), strict=False)))
    elif operands.outputs:
        flops = 2 * math.prod(left) * operands.outputs(event["args"])
        formats = [operands.on_cpu] if operands.on_cpu and device == "cpu" else formats[:1]
    else:
        flops = 2 * math.prod(left) * right[-2 if operands.transposed else -1]
    widest = max(formats, key=lambda name: BITS.get(name, 64))
    return Product(operator=event["name"], flops=flops, format=FORMATS.get(widest, widest), bits=BITS.get(widest, 64))


def _lists(arguments: Mapping[str, Any]) -> Iterator[list[int]]:
    """Lists of whole numbers among an operator's arguments, in order."""
    for value, kind in zip(arguments["Concrete Inputs"], arguments["Input type"], strict=True):
        if "List" in kind:
            yield literal_eval(value)


def _first_list(arguments: Mapping[str, Any]) -> list[int]:
    return next(_lists(arguments))


def convolution_flops(
    images: Sequence[int], weight: Sequence[int], stride: Sequence[int], padding: Sequence[int], dilation: Sequence[int]
) -> int:
    """FLOPs of a convolution of ``images`` (N, C, H, W) with ``weight`` (O, C / groups, kH, kW)."""
    kernel = weight[2:]
    places = [
        (size + 2 * pad - reach * (side - 1) - 1) // step + 1
        for size, side, step, pad, reach in zip(
            images[2:], kernel, _each(stride, kernel), _each(padding, kernel), _each(dilation, kernel), strict=True
        )
    ]
    return 2 * images[0] * weight[0] * weight[1] * math.prod(kernel) * math.prod(places)


def _each(values: Sequence[int], kernel: Sequence[int]) -> Sequence[int]:
    """One value for each side; torch accepts a single one for all of them."""
    return values if len(values) == len(kernel) else [values[0]] * len(kernel)


def flops_of(step: Callable[[], object]) -> Mapping[str, int]:
    """FLOPs of one call of ``step`` by operator (``mm``, ``bmm``, ``convolution``), two for each multiply-add.

    One account for every network: fused operators, which hide what they multiply, are taken apart meanwhile.
    """
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
    """Reason why ``flops`` is doubtful: a trace of one black image counts otherwise. None if it agrees."""
    device = next((parameter.device for parameter in network.parameters()), torch.device("cpu"))
    image = torch.zeros(1, *image_shape, device=device)
    with torch.no_grad():
        network(image)  # one that compiles itself is traced when that is done
        ran = products_of(lambda: network(image), device.type)
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
