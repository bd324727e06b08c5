"""Cache folders of compiled networks: cold once, then used again."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.core.precisions import PRECISIONS
from bench.core.records import Case
from bench.core.workspace import Workspace
from bench.experiments import modes

CASE = Case(
    experiment="inference",
    model="cnn_small",
    dataset="mnist5k",
    image_size=32,
    device="cpu",
    threads=1,
    budget="smoke",
    mode="compiled",
)


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    """A results folder whose probed instructions are there already, so that nothing is compiled."""
    monkeypatch.setattr(modes, "why_not_compiled", lambda device: None)
    for name in ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR"):
        monkeypatch.setenv(name, os.environ.get(name, ""))
    (tmp_path / "compiled" / "instructions").mkdir(parents=True)
    yield Workspace(results=tmp_path, data_dir=tmp_path)
    modes.torch._inductor.config.freezing = False


def kept(workspace: Workspace, case: Case, number: int) -> bool:
    """Whether what lay in the folder of ``case`` is still there for the set ``number``."""
    file = workspace.results / "compiled" / case.row / "kernel"
    file.parent.mkdir(exist_ok=True)
    file.touch()
    modes.prepare_compiler(case, dataclasses.replace(workspace, set_number=number), may_freeze=False)
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(file.parent)
    return file.exists()


def test_the_first_set_compiles_cold_and_later_ones_use_what_it_left(workspace: Workspace) -> None:
    assert not kept(workspace, CASE, 0)
    assert kept(workspace, CASE, 1)
    assert kept(workspace, dataclasses.replace(CASE, repeat=1), 0)


def test_no_test_program_of_the_processor_is_compiled_for_a_gpu(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    probed: list[str] = []
    monkeypatch.setattr("torch._inductor.cpu_vec_isa.pick_vec_isa", lambda: probed.append("compiled"))
    (workspace.results / "compiled" / "instructions").rmdir()
    modes.prepare_compiler(dataclasses.replace(CASE, device="cuda"), workspace, may_freeze=True)
    assert not probed
    assert not (workspace.results / "compiled" / "instructions").exists()
    assert not modes.torch._inductor.config.freezing
    modes.prepare_compiler(CASE, workspace, may_freeze=False)
    assert probed == ["compiled"]


def test_graphs_that_were_not_recorded_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    counted = {"cudagraph_skips": 2, "cudagraph_recorded_non_static_inputs": 1}
    monkeypatch.setitem(modes.torch._dynamo.utils.counters, "inductor", counted)
    values = {name: figure.value for name, figure in modes.graph_figures().items()}
    assert values == {"cudagraph_skips": 2, "cudagraph_copied_inputs": 1}


def test_convolutions_are_channels_last_on_a_gpu_but_in_the_reference() -> None:
    cpu, cuda = modes.torch.device("cpu"), modes.torch.device("cuda")
    last = {name for name, one in PRECISIONS.items() if modes.layout_of(one, cuda) == modes.torch.channels_last}
    assert {"tf32", "bf16", "fp16"} <= last
    assert not {"fp32", "int8_weights", "nf4_weights"} & last
    assert all(modes.layout_of(one, cpu) == modes.torch.contiguous_format for one in PRECISIONS.values())
