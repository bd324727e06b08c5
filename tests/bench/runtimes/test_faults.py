"""Routes of each runtime resumed, refused by their operator, on a full disk and killed, in whole runs and in part."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bench.core.runtimes import why_not
from bench.runtimes.route import Order, converted_into, faults_named, preparer_of
from tests.runs import INFERENCE, run

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]
RUNTIMES = ("onnxruntime", "openvino")
NETWORKS = """
import torch
from torch import nn

class Eigen(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(32, 10)
    def forward(self, images):
        return self.layer(torch.linalg.eigvals(images[:, 0]).real)

def sound():
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 10))
def eigen():
    return Eigen()
"""


@pytest.fixture(params=RUNTIMES)
def runtime(request: pytest.FixtureRequest) -> str:
    reason = why_not(request.param, "fp32", "native", "cpu")
    if reason:
        pytest.skip(reason)
    return str(request.param)


def options_of(folder: Path, network: str, weights: dict[str, Tensor], runtime: str) -> list[str]:
    file = folder / "networks_of_faults.py"
    file.write_text(NETWORKS)
    torch.save(weights, folder / "weights.pt")
    route = ["--runtimes", runtime, "--precisions", "fp32", "--batch-sizes", "8"]
    return ["--models", f"{file}:{network}", "--weights", str(folder / "weights.pt"), *route]


def test_a_finished_route_is_resumed(command: Any, tmp_path: Path, runtime: str) -> None:
    weights = {"1.weight": torch.zeros(10, 3 * 32 * 32), "1.bias": torch.zeros(10)}
    inference = command(*options_of(tmp_path, "sound", weights, runtime), cases=INFERENCE)
    done = run(inference)
    assert done.returncode == 0, done.stdout
    (row,) = json.loads((tmp_path / "results" / "run.json").read_text())["benchmarks"]
    assert row["extra_info"]["case"]["runtime"] == runtime
    assert row["extra_info"]["quality"]["divergence"]["kl_mean"] == pytest.approx(0, abs=1e-9)
    again = run([*inference, "--resume"])
    assert "resumed: took 1 of 1 measurements" in again.stdout, again.stdout


def test_an_operator_that_is_lacking_skips_the_case_in_one_line(command: Any, tmp_path: Path, runtime: str) -> None:
    weights = {"layer.weight": torch.zeros(10, 32), "layer.bias": torch.zeros(10)}
    done = run(command(*options_of(tmp_path, "eigen", weights, runtime), "-rs", cases=INFERENCE))
    assert done.returncode == 0, done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    (reason,) = [line for line in done.stdout.splitlines() if line.startswith("SKIPPED")]
    assert "linalg_eig" in reason


def test_what_a_killed_process_left_is_converted_again(
    order: Callable[..., Order], network: nn.Module, images: Tensor, runtime: str
) -> None:
    later = order(network, runtime, "fp32", repeat=1)
    partial = later.folder.with_name(f"{later.folder.name}.partial")
    partial.mkdir(parents=True)
    (partial / "model.onnx").write_bytes(b"half")
    route = preparer_of(later.case)(later)
    assert route.convert_seconds is not None
    assert not partial.exists()
    assert torch.allclose(route.run(images), network(images), atol=1e-5)


def test_a_full_disk_is_no_fault_of_the_network(tmp_path: Path) -> None:
    def fails(folder: Path) -> None:
        (folder / "model").write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space left"), faults_named("ONNX Runtime"):
        converted_into(tmp_path / "route", fresh=True, convert=fails)
    assert list(tmp_path.iterdir()) == []
