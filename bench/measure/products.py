"""Convolutions and matrix products that a step runs, with their FLOPs and number formats, read from a trace.

Annotations state the intention of a library. The operators that ran, with the shapes and types of their operands, show
the fact: a convolution counts as int8 only if an int8 kernel was called.
"""

from __future__ import annotations

import math
from ast import literal_eval
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch._ops import OpOverload
from torch._subclasses import FakeTensorMode
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode, flop_registry

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

SHOWN = 3
NAMESPACES = ("aten", "prim", "prims", "profiler", "torchvision")
"""Operators of others may do anything."""
MULTIPLIES = (
    *("_cslt_", "_cudnn_rnn", "_dyn_quant_", "_fft_", "_linalg_", "_lu_", "_mixed_dtypes_", "_native_multi_head_"),
    *("_scaled_", "_sparse_", "_thnn_", "_transformer_", "_trilinear", "_triton_", "_weight_int", "_wrapped_"),
    *("cholesky", "conv_tbc", "deform_conv2d", "fbgemm_", "geqrf", "linalg_", "lu_", "miopen_", "mkldnn_", "mps_"),
    *("ormqr", "quantized_", "slow_conv", "sparse_", "sspaddmm", "triangular_solve"),
)
"""Beginnings of the names of operators that may multiply, and that torch has no formula for."""
MULTIPLIES_NOT = ("_linalg_check_errors", "linalg_cross", "linalg_vector_norm")
OUTSIDE = (Tensor.numpy, Tensor.__array__)
"""Ways out of torch, where nothing is counted."""

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


@dataclass(frozen=True, kw_only=True)
class Flops:
    """FLOPs of one call, two for each multiply-add of a convolution or a product."""

    by_operator: Mapping[str, int] = field(default_factory=dict)
    """By operator of ``aten``: ``mm``, ``bmm``, ``convolution``."""
    uncounted: tuple[str, ...] = ()
    """What else ran and may multiply."""

    @property
    def total(self) -> int:
        return sum(self.by_operator.values())

    @property
    def why_doubtful(self) -> str | None:
        """Reason why ``total`` may lack something; None where all that multiplies is counted."""
        if not self.uncounted:
            return None
        return f"{', '.join(self.uncounted[:SHOWN])} ran as well, of which nothing tells how much it multiplies"


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


TRANSPOSED = 6
"""Position of the argument of aten's convolutions that says so."""
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
    "aten::addmv": _Operands(left=1, right=2),
    "aten::mv": _Operands(left=0, right=1),
    "aten::dot": _Operands(left=0, right=1),
    "aten::vdot": _Operands(left=0, right=1),
    "aten::_grouped_mm": _Operands(left=0, right=1),
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
"""Operators that multiply, also those that write over an argument (``addmm_``). Where one calls another of these, the
inner one counts."""


def products_of(step: Callable[[], object], device: str = "cpu") -> list[Product]:
    """Products of one call of ``step`` on a ``device`` of this type, from a trace, which is never a timed pass."""
    with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as traced:
        step()
    events = chrome_trace(traced)["traceEvents"]
    operators = [event for event in events if event.get("cat") == "cpu_op" and _operands_of(event["name"])]
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


def _operands_of(operator: str) -> _Operands | None:
    return _PRODUCTS.get(operator) or _PRODUCTS.get(operator.removesuffix("_"))


def _product(event: Event, device: str = "cpu") -> Product:
    operands = _operands_of(event["name"])
    if operands is None:
        raise ValueError(f"{event['name']} is no product")
    shapes, types = event["args"]["Input Dims"], event["args"]["Input type"]
    at = operands.right
    if operands.may_add and len(shapes[at + 1]) == len(shapes[at]):  # a bias has one side only
        at += 1
    left, right = shapes[operands.left], shapes[at]
    formats = [types[operands.left], types[at]]
    if operands.flops:
        flops = operands.flops(shapes)
    elif operands.lists and _is_transposed(event):
        flops = 2 * math.prod(left) * math.prod(right[1:])
    elif operands.lists:
        flops = convolution_flops(left, right, **dict(zip(operands.lists, _lists(event["args"]), strict=False)))
    elif operands.outputs:
        flops = 2 * math.prod(left) * operands.outputs(event["args"])
        formats = [operands.on_cpu] if operands.on_cpu and device == "cpu" else formats[:1]
    else:
        flops = _product_flops(left, [*right[:-2], right[-1], right[-2]] if operands.transposed else right)
    widest = max(formats, key=lambda name: BITS.get(name, 64))
    return Product(operator=event["name"], flops=flops, format=FORMATS.get(widest, widest), bits=BITS.get(widest, 64))


def _is_transposed(event: Event) -> bool:
    """True of a transposed convolution, whose weight is (inputs, outputs / groups, sides)."""
    return event["name"] in ("aten::convolution", "aten::_convolution") and (
        event["args"]["Concrete Inputs"][TRANSPOSED] == "True"
    )


def _product_flops(left: Sequence[int], right: Sequence[int], *rest: Any, **named: Any) -> int:
    """FLOPs of (..., k) times (..., k, n), or times a vector (k)."""
    return 2 * math.prod(left) * (right[-1] if len(right) > 1 else 1)


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


def flops_of(step: Callable[[], object]) -> Flops:
    """FLOPs of one call of ``step``.

    One account for every network: fused operators, which hide what they multiply, are taken apart meanwhile, and
    networks that compile themselves run as they are written.
    """
    seen, left = _Uncounted(), _Outside()
    counter = FlopCounterMode(display=False, custom_mapping=_FORMULAS)
    with taken_apart(), torch.compiler.set_stance("force_eager"), left, seen, counter:
        step()
    counts = counter.get_flop_counts().get("Global", {})
    found = {str(operator).rpartition(".")[2]: int(count) for operator, count in counts.items()}
    return Flops(by_operator=found, uncounted=tuple(sorted(seen.names | left.names)))


def flops_of_network(build: Callable[[], nn.Module], image_shape: tuple[int, ...]) -> Flops:
    """FLOPs of one image of ``image_shape``, by tensors without content where the network lets itself be run on them.

    The networks that ``build`` makes are spoilt by that.
    """
    network = build().eval()
    with torch.no_grad():
        try:
            with FakeTensorMode(allow_non_fake_inputs=True):
                return flops_of(lambda: network(torch.zeros(1, *image_shape)))
        except Exception:  # it looks at its numbers: on real ones then, with a network that kept nothing of the first
            again = build().eval()
            return flops_of(lambda: again(torch.zeros(1, *image_shape)))


class _Uncounted(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Names of the operators that ran, may multiply, and have no formula."""

    supports_higher_order_operators = True

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.names: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        sparse = any(isinstance(each, Tensor) and each.layout != torch.strided for each in args)
        if sparse or _may_multiply(func):
            self.names.add(func._schema.name if isinstance(func, OpOverload) else str(func))
        return func(*args, **(kwargs or {}))


class _Outside(TorchFunctionMode):
    """Ways that were taken out of torch."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in OUTSIDE:
            self.names.add("numpy")
        return func(*args, **(kwargs or {}))


def _may_multiply(operator: Any) -> bool:
    if not isinstance(operator, OpOverload):
        return operator not in flop_registry
    if operator.overloadpacket in flop_registry or operator.overloadpacket in _FORMULAS:
        return False
    space, _, name = operator._schema.name.partition("::")
    return space not in NAMESPACES or (name.startswith(MULTIPLIES) and name not in MULTIPLIES_NOT)


def _added_flops(added: Any, left: Sequence[int], right: Sequence[int], *rest: Any, **named: Any) -> int:
    return _product_flops(left, right)


def _fused_attention_flops(*shapes: Any, **named: Any) -> int:
    return _attention_flops(shapes)


def _distance_flops(left: Sequence[int], right: Sequence[int], **named: Any) -> int:
    """FLOPs of Euclidean distances by a product, for which each point gets two more numbers."""
    return 2 * math.prod(left[:-1]) * (left[-1] + 2) * right[-2]


_ATEN: Any = torch.ops.aten
_FORMULAS: dict[Any, Callable[..., int]] = {
    _ATEN.mv: _product_flops,
    _ATEN.dot: _product_flops,
    _ATEN.vdot: _product_flops,
    _ATEN._int_mm: _product_flops,
    _ATEN._grouped_mm: _product_flops,
    _ATEN._euclidean_dist: _distance_flops,
    **dict.fromkeys((_ATEN.addmv, _ATEN.addmv_, _ATEN.addmm_, _ATEN._addmm_activation), _added_flops),
    **dict.fromkeys((_ATEN.baddbmm_, _ATEN.addbmm, _ATEN.addbmm_), _added_flops),
    _ATEN._scaled_dot_product_flash_attention_for_cpu: _fused_attention_flops,
}
"""Formulas that torch's own table lacks, by operator. They take the shapes of its tensors."""


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
