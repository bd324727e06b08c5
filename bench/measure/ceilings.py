"""Ceilings of the hardware: bytes per second to and from memory, FLOPs per second by number format."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from bench.measure import clock, memory

FORMATS = ("float32", "tf32", "bfloat16", "float16", "float8", "int8")
"""Number formats of the operands, by the names that rows use."""
FEWEST = 3
SIDE_SECONDS = 0.5
"""After this time no more than ``FEWEST`` samples are taken of one size."""
LONG_SECONDS = 0.05
"""A product of this length reaches the ceiling: no larger one is tried."""
ELEMENT_BYTES = 20
"""Bytes per element of a matrix, for drawn numbers, both operands, packed weights and product; float32 takes 18."""
TF32_CAPABILITY = (8, 0)
"""Compute capability of Ampere, the first GPUs with TF32 and bfloat16 in their tensor cores."""
FP8_CAPABILITY = (8, 9)
"""That of Ada, the first GPUs whose tensor cores multiply float8, by torch._scaled_mm."""
NEEDS = {"tf32": ("TF32", TF32_CAPABILITY), "float8": ("float8", FP8_CAPABILITY)}
"""Formats of GPUs alone, with their usual names and the compute capability that they need."""

Step = Callable[[], object]
Between = Callable[[], None]


@dataclass(frozen=True, kw_only=True)
class Rate:
    """Samples of one piece of ``work``, in bytes or FLOPs."""

    work: int
    seconds: tuple[float, ...]

    @property
    def best(self) -> float:
        """Work per second in the fastest sample: a ceiling is the most that was reached, not the usual."""
        return self.work / min(self.seconds)


def copying(size: int, rounds: int, device: torch.device, between: Between) -> Rate:
    """Rate of a copy of ``size`` bytes, which reads and writes each of them."""
    source = torch.ones(size // 4, device=device)
    target = torch.empty_like(source)
    return _rate(2 * size, lambda: target.copy_(source), rounds, device, between)


def summing(size: int, rounds: int, device: torch.device, between: Between) -> Rate:
    """Rate of a sum over ``size`` bytes, which only reads; on some machines it is faster than a copy."""
    source = torch.ones(size // 4, device=device)
    return _rate(size, lambda: source.sum(), rounds, device, between)


def multiplying(name: str, sides: Sequence[int], rounds: int, device: torch.device, between: Between) -> Rate:
    """Rate of the product of two square matrices, by the fastest kernel at the fastest side.

    A multiply-add is two FLOPs.

    Args:
        name: one of ``FORMATS`` for which `why_not` is None.
        sides: in rising order; the larger ones are left out once a product takes long, or would not fit in memory.

    Raises:
        RuntimeError: torch has no such product on this device.
    """
    found: list[Rate] = []
    with _tf32(name == "tf32"):
        for side in sides:
            free = memory.available_bytes(device)
            if found and free is not None and side**2 * ELEMENT_BYTES > free:
                break
            tried = [_rate(2 * side**3, step, rounds, device, between) for step in products(name, side, device)]
            found.append(max(tried, key=lambda rate: rate.best))
            if min(found[-1].seconds) > LONG_SECONDS:
                break
    return max(found, key=lambda rate: rate.best)


def why_not(name: str, device: torch.device) -> str | None:
    """Reason why ``device`` has no product in the format ``name``; None if it has one.

    A format without a fast path of its own still has a product, as its rows do.
    """
    title, needed = NEEDS.get(name, ("", (0, 0)))
    if not title:
        return None
    if device.type != "cuda":
        return f"{title} is a format of CUDA GPUs"
    capable = torch.cuda.get_device_capability(device) >= needed
    return None if capable else f"{title} needs a GPU of compute capability {needed[0]}.{needed[1]} or later"


def products(name: str, side: int, device: torch.device) -> tuple[Step, ...]:
    """Steps that multiply two square matrices of whole numbers as a linear layer does, each by a kernel of its own.

    Inputs are (rows, features), weights (outputs, features).
    """
    draw = torch.Generator(device).manual_seed(0)
    shape, dtype = (side, side), torch.int8
    left, right = (torch.randint(0, 64, shape, generator=draw, dtype=dtype, device=device) for _ in range(2))
    if name == "int8":
        return (_qlinear_product(left, right) if device.type == "cpu" else _int_product(left, right),)
    if name == "float8":
        return (_float8_product(left, right),)
    dtype = torch.float32 if name == "tf32" else getattr(torch, name)
    inputs, weights = left.to(dtype), right.to(dtype)
    packs = name == "float32" and device.type == "cpu" and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return (lambda: functional.linear(inputs, weights), *(_onednn_product(inputs, weights) if packs else ()))


def _float8_product(left: Tensor, right: Tensor) -> Step:
    """Product of e4m3 with one scale of 1 for each operand, in bfloat16. Numbers above 16 are rounded."""
    inputs, weights = (matrix.to(torch.float32).to(torch.float8_e4m3fn) for matrix in (left, right))
    scale = torch.ones((), device=left.device)
    return lambda: torch._scaled_mm(inputs, weights.t(), scale_a=scale, scale_b=scale, out_dtype=torch.bfloat16)


def _int_product(left: Tensor, right: Tensor) -> Callable[[], Tensor]:
    return lambda: torch._int_mm(left, right.t())


def _onednn_product(inputs: Tensor, weights: Tensor) -> tuple[Step, ...]:
    """Product by oneDNN, whose kernels convolutions run on; none in a build of torch without it.

    Linear layers call the BLAS library, which on some processors does not use the widest instructions (MKL on AMD's
    with AVX-512 reaches less than half).
    """
    try:
        packed = torch.ops.mkldnn._reorder_linear_weight(weights, len(inputs))
    except (AttributeError, RuntimeError):  # the BLAS library's product remains
        return ()
    return (lambda: torch.ops.mkldnn._linear_pointwise(inputs, packed, None, "none", [], ""),)


def _qlinear_product(left: Tensor, right: Tensor) -> Callable[[], Tensor]:
    """Product by oneDNN, which static int8 rows run on; ``_int_mm`` is a plain loop on processors without VNNI."""
    side = len(left)
    inputs, scales, zeros = left.to(torch.uint8), torch.ones(side), torch.zeros(side, dtype=torch.int64)
    weights = torch.ops.onednn.qlinear_prepack(right, inputs.shape)
    sums: tuple[Any, ...] = (
        None,
        1.0,
        0,
        torch.float32,
        "none",
        [],
        "",
    )  # no bias, no further operation, float32 results
    return lambda: torch.ops.onednn.qlinear_pointwise(inputs, 1.0, 0, weights, scales, zeros, *sums)


@contextmanager
def _tf32(on: bool) -> Iterator[None]:
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = on
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


def _rate(work: int, step: Step, rounds: int, device: torch.device, between: Between) -> Rate:
    step()
    seconds: list[float] = []
    with clock.no_collection():
        begin = time.perf_counter()
        while len(seconds) < FEWEST or (len(seconds) < rounds and time.perf_counter() - begin < SIDE_SECONDS):
            started = clock.now(device)
            step()
            seconds.append(clock.now(device) - started)
            between()
    return Rate(work=work, seconds=tuple(seconds))
