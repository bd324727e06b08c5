"""The lines of each route, run: they give what the route gives."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from bench.core.errors import InputError
from bench.core.precisions import MIXED, PRECISIONS
from bench.core.quality import Layer, layers_in
from bench.core.records import Case
from bench.core.route_code import NATIVE_CODE, TORCH_CODE, RouteName, code_for, lines_for
from bench.core.runtimes import RUNTIMES
from bench.core.workspace import Workspace
from bench.precision.converted import WEIGHTED, layers_of
from bench.runtimes.mixed import Mixed
from bench.runtimes.openvino_core import leave_signal_stack
from bench.runtimes.quiet import keep_quiet
from bench.runtimes.route import Order, Route, preparer_of

SIDE, BATCH, THREADS = 16, 4, 1


@pytest.fixture(autouse=True)
def _compiler_as_before() -> Iterator[None]:
    import torch._inductor.config

    keep_quiet()
    yield
    torch._dynamo.reset()
    torch._inductor.config.freezing = False
    gc.collect()  # the Cores that the lines made
    leave_signal_stack()


def network() -> nn.Module:
    """3x3 kernels of an odd number of weights; one linear layer wide enough for a group of 128, one not."""
    torch.manual_seed(5)
    layers = (nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(4), nn.Flatten())
    return nn.Sequential(*layers, nn.Linear(128, 144), nn.ReLU(), nn.Linear(144, 10)).eval()


def batches() -> list[torch.Tensor]:
    torch.manual_seed(6)
    return list(torch.split(torch.randn(64, 3, SIDE, SIDE), 32))


def case_of(route: RouteName) -> Case:
    return Case(
        experiment="inference",
        model="small",
        dataset="random",
        image_size=SIDE,
        device="cpu",
        threads=THREADS,
        budget="smoke",
        runtime=route.runtime,
        precision=route.precision,
        mode=route.mode,
        batch_size=BATCH,
    )


def measured(route: RouteName, folder: Path, images: torch.Tensor) -> tuple[np.ndarray[Any, Any], tuple[str, ...]]:
    """Outputs of the suite's own route, and its notes."""
    order = Order(
        case=case_of(route),
        workspace=Workspace(results=folder, data_dir=folder),
        network=network(),
        calibration=lambda: iter(batches()),
        held_out=lambda: iter(batches()),
    )
    prepared = preparer_of(order.case)(order)
    prepared.start()
    with torch.inference_mode():
        logits = prepared.run(images.to(prepared.input_dtype)).float().numpy().copy()
    return logits, prepared.notes


def run_lines(lines: tuple[str, ...], images: torch.Tensor, calibration: list[torch.Tensor]) -> np.ndarray[Any, Any]:
    torch._dynamo.reset()
    names: dict[str, Any] = {"network": network(), "calibration": calibration}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # OpenVINO traces by torch.jit, which is old
        exec("\n".join(lines), names)  # as a user's script would
    result: np.ndarray[Any, Any] = names["run"](images.numpy())
    return result


COMPILES = "int8_static"
"""Takes ten seconds of compiling."""


@pytest.mark.parametrize(
    "precision", [pytest.param(name, marks=[pytest.mark.slow] if name == COMPILES else []) for name in TORCH_CODE]
)
def test_lines_of_torch_give_what_its_route_gives(precision: str, tmp_path: Path) -> None:
    mode = PRECISIONS[precision].modes[0]
    route = RouteName(runtime="torch", precision=precision, mode=mode)
    images = batches()[0][:BATCH]
    expected, _ = measured(route, tmp_path, images)
    lines = lines_for(route, side=SIDE, batch_size=BATCH, threads=THREADS)
    np.testing.assert_array_equal(run_lines(lines, images, batches()), expected)
    if precision != "fp32":
        plain = network()(images).detach().numpy()
        assert not np.array_equal(expected, plain)


@pytest.mark.parametrize(("runtime", "precision"), NATIVE_CODE)
def test_lines_of_other_runtimes_give_what_their_routes_give(
    runtime: str, precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    route = RouteName(runtime=runtime, precision=precision, mode="native")
    images = batches()[0][:BATCH]
    expected, notes = measured(route, tmp_path / "results", images)
    monkeypatch.chdir(tmp_path)
    calibration = batches()
    if (runtime, precision) == ("openvino", "int8_static"):  # a fourth of the images only judges
        every = torch.cat(calibration)
        calibration = [every[[at for at in range(len(every)) if at % 4]]]
    corrected = "without" not in "".join(notes)
    lines = lines_for(route, side=SIDE, batch_size=BATCH, threads=THREADS, corrected=corrected)
    np.testing.assert_allclose(run_lines(lines, images, calibration), expected, rtol=0, atol=1e-6)


def test_every_classifier_route_on_a_cpu_has_its_lines() -> None:
    """Mixed precision has those of static int8, with the layers that it spares."""
    on_cpu = {name for name in RUNTIMES["torch"].classifiers if "cpu" in PRECISIONS[name].devices}
    assert set(TORCH_CODE) == on_cpu - {MIXED}
    others = {(name, at) for name, runtime in RUNTIMES.items() if name != "torch" for at in runtime.classifiers}
    assert set(NATIVE_CODE) == {(name, at) for name, at in others if at != MIXED}


def test_a_compiled_route_is_compiled_and_frozen() -> None:
    compiled = RouteName(runtime="torch", precision="fp32", mode="compiled")
    lines = code_for(compiled, side=SIDE, batch_size=1, threads=2).load
    assert "network = torch.compile(network, dynamic=False)" in lines
    assert any(line.startswith("torch._inductor.config.freezing = True") for line in lines)


def test_a_route_is_read_from_text() -> None:
    assert RouteName.parse("torch:bf16:compiled", "classifiers") == RouteName(
        runtime="torch", precision="bf16", mode="compiled"
    )
    assert str(RouteName.parse("openvino:int8_static", "classifiers")) == "openvino:int8_static:native"


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("openvin:fp32", "openvino"),
        ("openvino", "runtime:precision"),
        ("openvino:int8", "int8_static"),
        ("torch:fp32:native", "eager"),
        ("llama_cpp:q8_0", "image classifiers"),
        ("a:b:c:d", "onnxruntime"),
    ],
)
def test_a_wrong_route_is_refused_with_what_is_allowed(text: str, part: str) -> None:
    with pytest.raises(InputError, match=part):
        RouteName.parse(text, "classifiers")


@pytest.mark.parametrize(
    ("runtime", "spared", "said"),
    [
        ("torch", ["layer1.0"], "set_module_name_qconfig"),
        ("onnxruntime", ["node_conv2d"], "nodes_to_exclude=['node_conv2d']"),
        ("openvino", ["MatMul 3"], "ignored_scope"),
    ],
)
def test_lines_of_mixed_precision_name_what_is_spared(runtime: str, spared: list[str], said: str) -> None:
    mode = "compiled" if runtime == "torch" else "native"
    mixed, plain = (
        RouteName(runtime=runtime, precision=precision, mode=mode) for precision in ("int8_mixed", "int8_static")
    )
    sizes = {"side": SIDE, "batch_size": BATCH, "threads": THREADS}
    lines = "\n".join(lines_for(mixed, **sizes, spared=spared))
    assert said in lines
    assert spared[0] in lines
    assert "<" not in lines.replace("<module", "")
    assert lines_for(mixed, **sizes) == lines_for(plain, **sizes)


@pytest.mark.parametrize("runtime", ["torch", "openvino"])
def test_lines_of_mixed_precision_give_what_the_route_gives(
    runtime: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mode = "compiled" if runtime == "torch" else "native"
    route = RouteName(runtime=runtime, precision="int8_mixed", mode=mode)
    images = batches()[0][:BATCH]
    prepared, expected = measured_mixed(route, tmp_path / "results", images)
    spared = [layer.name for layer in layers_in(prepared.texts()) if layer.spared]
    assert spared
    corrected = bool(prepared.flags().get("runtime_bias_correction", True))
    monkeypatch.chdir(tmp_path)
    lines = lines_for(route, side=SIDE, batch_size=BATCH, threads=THREADS, corrected=corrected, spared=spared)
    found = run_lines(lines, images, batches())
    np.testing.assert_allclose(found, expected, atol=0.02 * float(np.abs(expected).max()))


def measured_mixed(route: RouteName, folder: Path, images: torch.Tensor) -> tuple[Route, np.ndarray[Any, Any]]:
    """A route that may change no label of noise, and its outputs."""
    order = Order(
        case=replace(case_of(route), options=(("max_drop", 0.0),)),
        workspace=Workspace(results=folder, data_dir=folder),
        network=network(),
        calibration=lambda: iter(batches()),
        held_out=lambda: iter(batches()),
    )
    if (
        route.runtime == "torch"
    ):  # whose rounding changes no label here: as if an earlier process had found these layers
        named = layers_of(order.network, WEIGHTED)
        layers = [
            Layer(name=name, kl=0.0, changed=0.0, bytes_saved=0, spared=place < 2) for place, name in enumerate(named)
        ]
        order.folder.mkdir(parents=True)
        Mixed(layers=tuple(layers), drop=0.0, drop_of_all=0.0, images=1, labelled=False).write(order.folder)
        order = replace(order, workspace=replace(order.workspace, set_number=1))
    prepared = preparer_of(order.case)(order)
    prepared.start()
    with torch.inference_mode():
        return prepared, prepared.run(images).float().numpy().copy()
