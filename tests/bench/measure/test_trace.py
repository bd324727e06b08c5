"""Traces: only on request, never at the cost of a measurement, in a file that other programs read."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch._C._autograd import DeviceType

from bench.core.records import Case, Measurement
from bench.core.workspace import Workspace
from bench.measure import trace
from bench.measure.trace import most_expensive, traced

CASE = Case(
    experiment="layers",
    model="linear",
    dataset="mnist5k",
    image_size=1,
    device="cpu",
    threads=1,
    budget="smoke",
    batch_size=4,
    options=(("width", 64),),
)
MEASURED = Measurement(case=CASE, seconds=(0.1,), texts={"before": "kept"}, notes=("before",))


@dataclass(frozen=True, kw_only=True)
class FakeRow:
    key: str
    count: int = 1
    self_cpu_time_total: float = 0.0
    self_device_time_total: float = 0.0
    device_type: DeviceType = DeviceType.CPU
    is_user_annotation: bool = False


def kernel(key: str, microseconds: float, **given: Any) -> FakeRow:
    return FakeRow(key=key, self_device_time_total=microseconds, device_type=DeviceType.CUDA, **given)


class Step:
    """Counts its calls; each is a product and a few smaller things."""

    def __init__(self) -> None:
        self.calls = 0
        self.layer = nn.Linear(64, 64)

    def __call__(self) -> object:
        self.calls += 1
        return self.layer(torch.ones(4, 64)).relu()


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """However busy the machine is, no call is left out."""
    monkeypatch.setattr(trace, "SECONDS", math.inf)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(results=tmp_path, data_dir=tmp_path, profile=True)


def trace_file(workspace: Workspace) -> Path:
    return workspace.profiles / "layers-linear-1px-fp32-eager-b4-width_64" / f"{CASE.id}.pt.trace.json"


def test_nothing_is_traced_unasked(workspace: Workspace) -> None:
    step = Step()
    assert traced(MEASURED, replace(workspace, profile=False), step) is MEASURED
    assert step.calls == 0
    assert not workspace.profiles.exists()


def test_the_file_holds_the_operators_that_are_named(workspace: Workspace) -> None:
    step = Step()
    found = traced(MEASURED, workspace, step)
    content = json.loads(trace_file(workspace).read_text())
    ran = [event["name"] for event in content["traceEvents"] if event.get("cat") == "cpu_op"]
    named = [text.split(" | ") for name, text in found.texts.items() if name.startswith("operator")]
    assert "aten::addmm" in [fields[0] for fields in named]
    for name, calls, seconds, share in named:
        assert ran.count(name) == int(calls)
        assert float(seconds) >= 0
        assert 0 <= float(share) <= 1
    assert [float(fields[2]) for fields in named] == sorted((float(fields[2]) for fields in named), reverse=True)
    assert list(found.texts) == ["before", *(f"operator {place}" for place in range(1, len(named) + 1))]
    assert step.calls == 3
    steps = [event["name"] for event in content["traceEvents"] if event.get("cat") == "user_annotation"]
    assert steps == ["ProfilerStep#0", "ProfilerStep#1", "ProfilerStep#2"]


def test_a_note_names_the_file_and_no_file_names_the_machine(workspace: Workspace) -> None:
    found = traced(MEASURED, workspace, Step())
    path = trace_file(workspace).relative_to(workspace.results).as_posix()
    assert found.notes == ("before", f"trace: {path} (3 calls, after all that was timed)")
    content = json.loads(trace_file(workspace).read_text())
    assert not {"host_name", "traceName"} & set(content)
    assert [file.name for file in trace_file(workspace).parent.iterdir()] == [f"{CASE.id}.pt.trace.json"]


def test_a_slow_step_is_traced_once(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trace, "SECONDS", 0.0)
    step = Step()
    traced(MEASURED, workspace, step)
    assert step.calls == 1


def test_what_was_measured_outlives_a_trace_that_cannot_be_made(workspace: Workspace) -> None:
    def fails() -> None:
        raise RuntimeError("out of\nmemory")

    found = traced(MEASURED, workspace, fails)
    assert found == replace(MEASURED, notes=("before", "trace: none, RuntimeError: out of memory"))
    workspace.profiles.write_text("a file where the folder should be")
    found = traced(MEASURED, workspace, Step())
    assert found.seconds == MEASURED.seconds
    assert found.notes[1].startswith("trace: none, ")


def test_time_between_operators_is_no_operator() -> None:
    rows = [
        FakeRow(key="ProfilerStep*", self_cpu_time_total=900, is_user_annotation=True),
        FakeRow(key="aten::relu", count=2, self_cpu_time_total=25),
        FakeRow(key="aten::mm", count=3, self_cpu_time_total=75),
        FakeRow(key="aten::view"),
    ]
    assert [str(operator) for operator in most_expensive(rows, on_gpu=False)] == [
        "aten::mm | 3 | 0.000075000 | 0.750000",
        "aten::relu | 2 | 0.000025000 | 0.250000",
    ]


def test_shares_are_of_all_operators_not_of_those_listed() -> None:
    rows = [FakeRow(key=f"op{number}", self_cpu_time_total=1) for number in range(20)]
    found = most_expensive(rows, on_gpu=False)
    assert len(found) == 10
    assert {operator.share for operator in found} == {0.05}


def test_a_name_cannot_break_its_line() -> None:
    [found] = most_expensive([FakeRow(key="a || b |\n c", self_cpu_time_total=1)], on_gpu=False)
    assert str(found).split(" | ")[0] == "a // b / c"


def test_on_a_gpu_its_time_counts() -> None:
    rows = [
        FakeRow(key="ProfilerStep*", self_device_time_total=500, is_user_annotation=True),
        FakeRow(key="aten::mm", count=4, self_cpu_time_total=1, self_device_time_total=60),
        FakeRow(key="aten::add", self_cpu_time_total=900, self_device_time_total=40),
        kernel("gemm", 60),
        kernel("elementwise", 40),
        kernel("a range", 100, is_user_annotation=True),
    ]
    found = most_expensive(rows, on_gpu=True)
    assert [(operator.name, operator.share) for operator in found] == [("aten::mm", 0.6), ("aten::add", 0.4)]


def test_kernels_of_a_graph_stand_for_themselves() -> None:
    rows = [
        FakeRow(key="aten::mm", self_device_time_total=10),
        kernel("gemm", 70),
        kernel("triton_fused", 30),
    ]
    assert [operator.name for operator in most_expensive(rows, on_gpu=True)] == ["gemm", "triton_fused"]


def test_tensorboards_profiler_reads_the_folder(workspace: Workspace) -> None:
    """By the plugin's own loader, which takes one folder for a run."""
    loader = pytest.importorskip("torch_tb_profiler.profiler.loader", reason="torch-tb-profiler is not installed")
    from torch_tb_profiler.io import Cache

    traced(MEASURED, workspace, Step())
    run = loader.RunLoader("a run", str(trace_file(workspace).parent), Cache()).load()
    assert run.workers == [CASE.id]
    [profile] = run.profiles.values()
    assert {view.name for view in profile.views} >= {"overall", "operator", "trace"}
    rows = profile.operation_table_by_name["data"]
    assert {"aten::addmm": 3}.items() <= {row["name"]: row["calls"] for row in rows}.items()
