"""Trace of a step, after all that is timed: a file for people, and its most expensive operators for the report.

The file is in Chrome's trace format. Perfetto opens it, and TensorBoard with the plugin ``torch-tb-profiler``, which
shows each folder as a run and each ``….pt.trace.json`` in it as a worker.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import torch
from torch._C._autograd import DeviceType
from torch.profiler import ProfilerActivity, profile, record_function

from bench.core.records import TRACE, Measurement
from bench.core.workspace import Workspace
from bench.measure.clock import synchronize

CALLS = 3
SECONDS = 2.0
"""Time after which no further call is traced: a slow case must not reach its time limit here."""
OPERATORS = 10
STEP = "ProfilerStep"
"""Name of a step in ``torch.profiler``, which the plugin looks for."""
ATTRIBUTED = 0.9
"""Share of a GPU's time below which kernels are listed instead of operators."""
PRIVATE = ("host_name", "traceName")
"""Fields of the profiler that name the machine, or a file that no longer exists."""


class Row(Protocol):
    """One operator or kernel of ``profile.key_averages()``. Times are microseconds."""

    key: str
    count: int
    self_cpu_time_total: float
    self_device_time_total: float
    device_type: DeviceType
    is_user_annotation: bool


@dataclass(frozen=True, kw_only=True)
class Operator:
    """One operator, or kernel, over all traced calls."""

    name: str
    calls: int
    self_seconds: float
    """Seconds without the operators that it calls; on CUDA of the device's time."""
    share: float
    """Share of the self time of all operators, as a fraction of 1."""

    def __str__(self) -> str:
        name = " ".join(self.name.replace("|", "/").split())
        return f"{name} | {self.calls} | {self.self_seconds:.9f} | {self.share:.6f}"


def traced(measurement: Measurement, workspace: Workspace, step: Callable[[], object]) -> Measurement:
    """Trace ``step``, which was timed before, into a file of its own, if ``workspace.profile`` is set.

    Returns:
        ``measurement`` with texts ``operator 1`` to ``operator 10`` (fewer if fewer ran), each
        ``name | calls | self seconds | share``, most expensive first, and a note that names the file. If no trace could
        be made, a note gives the reason: that must not cost the measurement.
    """
    if not workspace.profile:
        return measurement
    case = measurement.case
    path = workspace.profiles / case.name / f"{case.id}.pt.trace.json"
    try:
        calls, recorded = _record(step, torch.device(case.device))
        _write(path, chrome_trace(recorded))
    except (OSError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        return replace(measurement, notes=(*measurement.notes, f"{TRACE}none, {type(error).__name__}: {reason}"))
    found = most_expensive(recorded.key_averages(), on_gpu=case.device != "cpu")
    texts = {f"operator {place}": str(operator) for place, operator in enumerate(found, start=1)}
    note = f"{TRACE}{path.relative_to(workspace.results).as_posix()} ({calls} calls, after all that was timed)"
    return replace(measurement, texts={**measurement.texts, **texts}, notes=(*measurement.notes, note))


def chrome_trace(recorded: profile) -> dict[str, Any]:
    """Recorded trace in Chrome's format: ``traceEvents``, and facts about the device."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "trace.json")
        recorded.export_chrome_trace(str(path))
        content = json.loads(path.read_text(encoding="utf-8"))
    return {name: value for name, value in content.items() if name not in PRIVATE}


def most_expensive(rows: Iterable[Row], *, on_gpu: bool, count: int = OPERATORS) -> list[Operator]:
    """The operators with the most self time, of the GPU's time if ``on_gpu``.

    The annotations around each call are left out: their own time is Python's. Kernels that a CUDA graph launches belong
    to no operator; where they take more than a tenth of the time, kernels are listed.
    """
    kept = [row for row in rows if not row.key.startswith(STEP)]
    if not on_gpu:
        return _ranked([(row, row.self_cpu_time_total) for row in kept], count)
    own = [(row, row.self_device_time_total) for row in kept if not row.is_user_annotation]
    operators = [pair for pair in own if pair[0].device_type == DeviceType.CPU]
    kernels = [pair for pair in own if pair[0].device_type != DeviceType.CPU]
    attributed = _total(operators) >= ATTRIBUTED * _total(kernels)
    return _ranked(operators if attributed else kernels, count)


def _ranked(timed: list[tuple[Row, float]], count: int) -> list[Operator]:
    total = _total(timed)
    ordered = sorted((pair for pair in timed if pair[1] > 0), key=lambda pair: -pair[1])
    return [
        Operator(name=row.key, calls=row.count, self_seconds=microseconds / 1e6, share=microseconds / total)
        for row, microseconds in ordered[:count]
    ]


def _total(timed: Iterable[tuple[Row, float]]) -> float:
    return sum(microseconds for _, microseconds in timed)


def _record(step: Callable[[], object], device: torch.device) -> tuple[int, profile]:
    """Up to ``CALLS`` calls of ``step``, each marked as a step and with all of its work on the device inside."""
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device.type == "cuda" else [])]
    calls = 0
    with profile(activities=activities, record_shapes=True) as recorded:
        begin = time.perf_counter()  # not before: the first start of a profiler can take seconds of its own
        while calls < CALLS and (calls == 0 or time.perf_counter() - begin < SECONDS):
            with record_function(f"{STEP}#{calls}"):
                step()
                synchronize(device)
            calls += 1
    return calls, recorded


def _write(path: Path, content: dict[str, Any]) -> None:
    """Write a file beside ``path``, then rename it, since TensorBoard may be reading."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(json.dumps(content, separators=(",", ":")), encoding="utf-8")
    os.replace(partial, path)
