"""Cache folders of compiled networks, and coverage counted from what is stored and what ran."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from bench.core.precisions import PRECISIONS
from bench.core.records import Case
from bench.core.workspace import Workspace
from bench.experiments import modes
from bench.experiments.modes import bits_of, whats_converted
from bench.measure.products import Product

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


def step_of(network: nn.Module, images: torch.Tensor) -> Any:
    return lambda: network(images)


def test_half_precision_stores_and_multiplies_everything_low() -> None:
    network = nn.Linear(8, 4, bias=False).bfloat16()
    images = torch.ones(3, 8, dtype=torch.bfloat16)
    ran = whats_converted(step_of(network, images), PRECISIONS["bf16"], network, parameters=32, flops=2 * 3 * 32)
    assert ran.coverage is not None
    assert (ran.coverage.quantized_parameters, ran.coverage.total_parameters) == (32, 32)
    assert (ran.coverage.quantized_flops, ran.coverage.total_flops) == (192, 192)
    assert ran.compute == "bfloat16"
    assert not ran.absent


def test_a_name_converts_nothing_by_itself() -> None:
    """A network that stayed as it was, whatever its row is called."""
    network = nn.Linear(8, 4)
    ran = whats_converted(
        step_of(network, torch.ones(1, 8)), PRECISIONS["int8_static"], network, parameters=36, flops=64
    )
    assert ran.coverage is not None
    assert (ran.coverage.quantized_parameters, ran.coverage.quantized_flops) == (0, 0)
    assert ran.compute == "float32"


def test_flops_that_the_trace_does_not_account_for_are_absent() -> None:
    network = nn.Linear(8, 4, bias=False).bfloat16()
    ran = whats_converted(
        step_of(network, torch.ones(1, 8).bfloat16()), PRECISIONS["bf16"], network, parameters=32, flops=1000
    )
    assert ran.coverage is not None
    assert (ran.coverage.quantized_parameters, ran.coverage.quantized_flops) == (32, None)
    assert list(ran.absent) == ["coverage FLOPs"]
    assert "6.4%" in ran.absent["coverage FLOPs"]
    assert ran.compute is None


def test_padded_int4_products_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 512 inputs torchao's kernel for CUDA multiplies 1024."""
    network = nn.Linear(512, 8, bias=False)
    product = Product(operator="aten::_weight_int4pack_mm", flops=2 * 1024 * 8, format="bfloat16", bits=16)
    monkeypatch.setattr("bench.experiments.modes.products.products_of", lambda step, device: [product])
    ran = whats_converted(lambda: None, PRECISIONS["int4_linear"], network, parameters=4096, flops=2 * 512 * 8)
    assert ran.coverage is not None
    assert ran.coverage.quantized_flops is None
    assert "200.0% of the network's FLOPs: torchao pads the inputs of int4 layers" in ran.absent["coverage FLOPs"]


def test_tf32_has_no_coverage() -> None:
    def never() -> None:
        raise AssertionError("nothing to trace")

    ran = whats_converted(never, PRECISIONS["tf32"], nn.Linear(8, 4), parameters=36, flops=64)
    assert (ran.coverage, ran.compute) == (None, "tf32")
    assert "coverage" in ran.absent


@pytest.mark.parametrize(("dtype", "compute"), [(torch.float32, "float32"), (torch.bfloat16, "bfloat16")])
def test_the_baseline_computes_in_what_ran(dtype: torch.dtype, compute: str) -> None:
    layer = nn.Linear(8, 4).to(dtype)
    inputs = torch.zeros(1, 8, dtype=dtype)
    ran = whats_converted(lambda: layer(inputs), PRECISIONS["fp32"], layer, parameters=36, flops=64)
    assert (ran.coverage, ran.compute) == (None, compute)
    unseen = whats_converted(lambda: inputs + 1, PRECISIONS["fp32"], layer, parameters=36, flops=64)
    assert unseen.compute is None
    assert "compute" in unseen.absent


def test_bits_are_figures() -> None:
    found = bits_of(PRECISIONS["nf4_weights"])
    assert {name: (figure.value, figure.exact) for name, figure in found.items()} == {
        "weight_bits": (4, True),
        "activation_bits": (32, True),
    }
