"""Named reason for where a step's time goes, from its trace and counters: why a route is not faster.

The reason comes from the operators that ran, never from the name of a precision. What can be seen: weights that are
converted at each call, kernels without a fast form, rounding between operators, conversions of layout, time outside of
all operators, operators too short to fill the machine, and weights read as fast as memory gives them.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch._C._autograd import DeviceType
from torch.profiler import ProfilerActivity, profile, record_function

from bench.core.runtimes import Cause, Reason
from bench.measure.ceilings import summing
from bench.measure.clock import synchronize
from bench.measure.trace import ATTRIBUTED

CALLS = 3
SECONDS = 1.0
"""Time after which no further call is traced."""
LEAST_SHARE = 0.1
"""Share of the step's time below which a cause is no reason."""
SHORT_SECONDS = 15e-6
"""An operator this short does no more than torch needs to find and start its kernel (5 to 15 us were seen)."""
MEMORY_SHARE = 0.5
"""Share of the memory's rate, by a sum over memory, from which reading weights is the limit."""
MEMORY_BYTES, MEMORY_ROUNDS = {"cpu": 2**28, "cuda": 2**30}, 5
"""Larger than caches, and on a GPU so many that starting and awaiting the sum is nothing beside it."""
OUTSIDE = "outside of operators"
FIRST = "first token"
"""Mark in a trace, after which a generation decodes."""

MULTIPLYING = re.compile(r"conv|linear|mm|matmul|gemm|gemv|embedding|attention|fullyconnected|fused", re.IGNORECASE)
FALLBACK = re.compile(r"slow_conv|thnn|\bref\b|_ref|ref_|naive", re.IGNORECASE)
ROUNDING = re.compile(
    r"\b_?(de|fake_?|dynamic_?)?quantize|_quant\b|qparams|^aten::(round|clamp|clamp_|aminmax|amax|amin)$", re.IGNORECASE
)
"""Not products that are called quantised, like OpenVINO's FullyConnectedQuantizedLegacy."""
CONVERTING = re.compile(
    r"^aten::(copy_|clone|contiguous|_to_copy|to|to_dense|to_mkldnn)$|reorder|^transpose$|^cast$|^convert$",
    re.IGNORECASE,
)


@dataclass(frozen=True, kw_only=True)
class Part:
    """One operator of a step, over one call."""

    name: str
    """Operator, and its kernel where the runtime tells it."""
    seconds: float
    """Without the operators that it calls."""
    calls: float = 1.0
    on_weights: bool = False
    """True if an operand is a weight, or has the shape of one."""

    @property
    def kind(self) -> Cause | None:
        """Cause that the operator is an instance of; None where it does the network's own work."""
        if FALLBACK.search(self.name):
            return "fallback kernel"
        if ROUNDING.search(self.name):
            return "weights converted at each call" if self.on_weights else "rounding between operators"
        if MULTIPLYING.search(self.name):
            return None
        if self.on_weights:
            return "weights converted at each call"
        return "conversion of layout or format" if CONVERTING.search(self.name) else None


def reason_of(
    parts: Sequence[Part], step_seconds: float, *, weight_bytes: int, bytes_per_second: float | None = None
) -> Reason:
    """Reason from the operators of a call and what the call takes where nothing is traced.

    Args:
        parts: operators of one call. Tracing lengthens each a little, so that the time outside is a little too small.
        step_seconds: median seconds of an untraced call.
        weight_bytes: weights as stored, of which each is read once a call.
        bytes_per_second: rate at which this machine reads memory; None: not measured.

    Raises:
        ValueError: there is no operator.
    """
    if not parts:
        raise ValueError("a step without operators has no reason")
    parts = _by_name(parts)
    inside = sum(part.seconds for part in parts)
    whole = max(inside, step_seconds)
    shares: dict[Cause, list[Part]] = {}
    for part in parts:
        kind = part.kind or ("too small a batch" if part.seconds / part.calls < SHORT_SECONDS else None)
        if kind:
            shares.setdefault(kind, []).append(part)
    found = [_reason(kind, chosen, whole) for kind, chosen in shares.items()]
    calls = sum(part.calls for part in parts)
    outside = f"{OUTSIDE}, {calls:.0f} operators a call"
    found.append(Reason(kind="host-bound", operator=outside, share=1 - inside / whole))
    top = max(parts, key=lambda part: part.seconds)
    if bytes_per_second:
        share = weight_bytes / step_seconds / bytes_per_second
        if share >= MEMORY_SHARE:
            found.append(Reason(kind="memory-bound", operator=top.name, share=min(share, 1.0)))
    largest = max(found, key=lambda reason: reason.share)
    if largest.share >= LEAST_SHARE:
        return largest
    return Reason(kind="arithmetic", operator=top.name, share=top.seconds / whole)


def _by_name(parts: Sequence[Part]) -> list[Part]:
    """One part for all nodes of an operator: runtimes tell each node on its own."""
    alike: dict[tuple[str, bool], list[Part]] = {}
    for part in parts:
        alike.setdefault((part.name, part.on_weights), []).append(part)
    return [
        replace(one[0], seconds=sum(part.seconds for part in one), calls=sum(part.calls for part in one))
        for one in alike.values()
    ]


def _reason(kind: Cause, parts: Sequence[Part], whole: float) -> Reason:
    top = max(parts, key=lambda part: part.seconds)
    return Reason(kind=kind, operator=top.name, share=sum(part.seconds for part in parts) / whole)


def memory_rate(device: torch.device) -> float:
    """Bytes per second that a sum reads from memory, from a pass of a few tens of milliseconds."""
    return summing(MEMORY_BYTES[device.type], MEMORY_ROUNDS, device, lambda: None).best


def parts_of(step: Callable[[], object], device: torch.device, weights: Iterable[Sequence[int]]) -> list[Part]:
    """Operators of one call of a step of torch, as averages of up to three traced calls.

    On CUDA they are the device's seconds of each operator: the rest of the step is the host's.

    Args:
        weights: shapes of the network's weights of two sides and more.
    """
    calls, begin = 0, time.perf_counter()
    with _recording(device) as recorded:
        while calls < CALLS and (calls == 0 or time.perf_counter() - begin < SECONDS):
            step()
            synchronize(device)
            calls += 1
    return _parts(recorded.events() or (), calls, device, weights)


def parts_after_first(
    generate: Callable[[Callable[[], None]], int], device: torch.device, weights: Iterable[Sequence[int]]
) -> list[Part]:
    """Operators of one step of a generation, from those after its first token.

    Args:
        generate: makes a generation, calls its argument at the first token, and returns the number of steps after it.
        weights: shapes of the model's weights of two sides and more.
    """

    def mark() -> None:
        with record_function(FIRST):
            pass

    with _recording(device) as recorded:
        steps = generate(mark)
        synchronize(device)
    events = recorded.events() or ()
    first = next(event.time_range.start for event in events if event.name == FIRST)
    return _parts([event for event in events if event.time_range.start > first], steps, device, weights)


def _recording(device: torch.device) -> profile:
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device.type == "cuda" else [])]
    return profile(activities=activities, record_shapes=True)


def _parts(events: Iterable[Any], calls: int, device: torch.device, weights: Iterable[Sequence[int]]) -> list[Part]:
    shapes = {tuple(shape) for shape in weights if len(shape) > 1}
    totals: dict[tuple[str, bool], list[float]] = {}
    kept = [event for event in events if event.name != FIRST]
    for event, seconds in timed_events(kept, on_gpu=device.type == "cuda"):
        key = (str(event.name), _meets(event, shapes))
        totals.setdefault(key, []).append(seconds)
    return [
        Part(name=name, seconds=sum(each) / calls, calls=len(each) / calls, on_weights=on_weights)
        for (name, on_weights), each in totals.items()
    ]


def timed_events(events: Iterable[Any], *, on_gpu: bool) -> list[tuple[Any, float]]:
    """Events of a profiler with their own seconds, each piece of work once, annotations left out.

    A GPU's time stands twice in a trace: at each kernel, and at the operator that launched it. Operators are taken,
    whose inputs have shapes; kernels where those of a CUDA graph belong to no operator.
    """
    own = [event for event in events if not event.is_user_annotation]
    if not on_gpu:
        return [pair for event in own if (pair := (event, float(event.self_cpu_time_total) / 1e6))[1] > 0]
    timed = [pair for event in own if (pair := (event, float(event.self_device_time_total) / 1e6))[1] > 0]
    operators = [pair for pair in timed if pair[0].device_type == DeviceType.CPU]
    kernels = [pair for pair in timed if pair[0].device_type != DeviceType.CPU]
    attributed = sum(seconds for _, seconds in operators) >= ATTRIBUTED * sum(seconds for _, seconds in kernels)
    return operators if attributed else kernels


def _meets(event: Any, shapes: set[tuple[int, ...]]) -> bool:
    """True if an input of ``event`` has a weight's shape."""
    return any(isinstance(shape, list) and tuple(shape) in shapes for shape in event.input_shapes or ())
