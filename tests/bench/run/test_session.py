"""Whole pytest runs of benchmark cases, as a user starts them: what they write, and what they say to bad input."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image
from torch import nn

from bench.core.errors import InputError
from bench.core.other_work import usable_cores
from bench.run import session
from bench.run.result import ResultFile
from tests.runs import FP32_EAGER, INFERENCE, NETWORKS, ROOT, USAGE_ERROR, refused, run

LAZY = """
import torch
from torch import nn

class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer, self.ramp = nn.Linear(3 * 32 * 32, 10), None
    def forward(self, images):
        if self.ramp is None:
            self.ramp = torch.arange(10.0, device=images.device)
        return self.layer(images.flatten(1)) + self.ramp

network = Network
"""


def image_folder(root: Path, classes: dict[str, tuple[str, ...]]) -> Path:
    for part, names in classes.items():
        for name in names:
            (root / part / name).mkdir(parents=True)
            for number in range(2):
                Image.new("RGB", (32, 32), (40 * number, 90, 10)).save(root / part / name / f"{number}.png")
    return root


@contextmanager
def at_work(count: int) -> Iterator[None]:
    """So many processes that keep a core busy each."""
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for process in busy:
            process.kill()
            process.wait()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--models", "resnet19"], "unknown model 'resnet19'. Did you mean resnet18"),
        (["--precisions", "int3"], "unknown precision 'int3'.*Known: fp32"),
        (["--device", "tpu"], "unknown device 'tpu'"),
        (["--budget", "tiny"], "unknown budget 'tiny'.*Known: smoke, quick, gpu, full"),
        (["--dataset", "./no/such/folder"], "no/such/folder' does not exist"),
        (["--models", "nothing_here.py:network"], "nothing_here.py"),
        (["--case-timeout", "nan"], "--case-timeout nan is no time limit"),
        (["--track", "tensorbord"], "unknown tracker 'tensorbord'"),
    ],
    ids=lambda value: value[1] if isinstance(value, list) else "",
)
def test_a_name_that_is_unknown_is_refused(command: Any, options: list[str], message: str) -> None:
    assert re.search(message, refused(command(*options)))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA GPU")
def test_cuda_that_is_not_there_is_refused(command: Any) -> None:
    assert "use --device cpu" in refused(command("--device", "cuda"))


@pytest.mark.slow
def test_a_data_folder_must_be_whole(command: Any, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "has no folder 'train'" in refused(command("--dataset", str(empty)))
    differing = image_folder(tmp_path / "differing", {"train": ("cat", "dog"), "test": ("cat", "fox")})
    assert "only in train: dog; only in test: fox" in refused(command("--dataset", str(differing)))
    broken = image_folder(tmp_path / "broken", {"train": ("cat", "dog"), "test": ("cat", "dog")})
    (broken / "train" / "cat" / "0.png").write_bytes(b"no image")
    assert re.search(r"cat/0\.png", refused(command("--dataset", str(broken))))


def test_a_results_folder_must_be_writable(command: Any, tmp_path: Path) -> None:
    (tmp_path / "results").write_text("a file")
    assert "cannot be written to" in refused(command())
    assert (tmp_path / "results").read_text() == "a file"
    done = run([*command(), "--benchmark-json", "/proc/results/run.json"])
    assert done.returncode == USAGE_ERROR
    assert "cannot be written to" in done.stderr


@pytest.mark.slow
def test_a_network_must_work(command: Any, networks: Path) -> None:
    assert "no network today" in refused(command("--models", f"{networks}:raises"))
    assert "returns shape (2, 7)" in refused(command("--models", f"{networks}:wrong_shape"))
    assert re.search("nothing.*networks.py|networks.py.*nothing", refused(command("--models", f"{networks}:nothing")))


@pytest.mark.slow
def test_weights_must_be_whole_and_fit(command: Any, networks: Path, tmp_path: Path) -> None:
    weights = tmp_path / "weights.pt"
    options = ["--models", f"{networks}:sound", "--weights", str(weights)]
    torch.save(nn.Linear(3, 3).state_dict(), weights)
    assert "do not fit the network" in refused(command(*options))
    weights.write_bytes(weights.read_bytes()[:100])
    assert str(weights) in refused(command(*options))
    weights.write_text("not made by torch")
    assert str(weights) in refused(command(*options))


@pytest.mark.slow
def test_own_network_with_own_weights(command: Any, networks: Path, tmp_path: Path) -> None:
    """Weights that answer class 3 to everything are right for a tenth of the test images."""
    state = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 10)).state_dict()
    state["1.weight"].zero_()
    state["1.bias"] = torch.eye(10)[3]
    torch.save({"state_dict": state}, tmp_path / "weights.pt")
    options = ["--models", f"{networks}:sound", "--weights", str(tmp_path / "weights.pt")]
    done = run(command(*options, *FP32_EAGER, "--normalize", "0.5,0.5,0.5/0.5,0.5,0.5", cases=INFERENCE))
    assert done.returncode == 0, done.stdout
    [row] = json.loads((tmp_path / "results" / "run.json").read_text())["benchmarks"]
    assert row["extra_info"]["quality"]["value"] == pytest.approx(0.1)
    assert row["extra_info"]["seconds"] == row["stats"]["data"]
    assert row["extra_info"]["case"]["model"].endswith("networks.py:sound")


@pytest.mark.slow
def test_other_normalisation_is_another_prediction(command: Any, tmp_path: Path) -> None:
    """Labels predicted under one normalisation are not read again for another one."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 10))
    torch.save(network.state_dict(), tmp_path / "weights.pt")
    (tmp_path / "networks.py").write_text(NETWORKS)
    model = ["--models", f"{tmp_path / 'networks.py'}:sound", "--weights", str(tmp_path / "weights.pt")]
    digests = set()
    for normalize in ("0,0,0/1,1,1", "5,5,5/0.1,0.2,0.3"):
        done = run(command(*model, *FP32_EAGER, "--normalize", normalize, cases=INFERENCE))
        assert done.returncode == 0, done.stdout
        [row] = json.loads((tmp_path / "results" / "run.json").read_text())["benchmarks"]
        digests.add(row["extra_info"]["quality"]["predictions"]["sha256"])
    assert len(digests) == 2


@pytest.mark.slow
def test_failures_are_rows_and_failed_tests(command: Any, tmp_path: Path) -> None:
    options = ["--models", "cnn_small", *FP32_EAGER, "--case-timeout", "0.01"]
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "run.json").write_text("earlier")
    done = run(command(*options, cases=INFERENCE))
    assert done.returncode == 1
    stored = json.loads((tmp_path / "results" / "run.json").read_text())
    assert stored["benchmarks"] == []
    failed = [(failure["case"]["experiment"], failure["kind"]) for failure in stored["halfbyte"]["failures"]]
    route_and_twin = [("inference", "timed_out")] * 2
    assert failed == [("training", "timed_out"), *route_and_twin]
    assert stored["halfbyte"]["machine"]["device"] == "cpu"
    assert (tmp_path / "results" / "run.previous.json").read_text() == "earlier"


@pytest.mark.slow
def test_a_network_that_keeps_what_it_makes_is_measured_as_it_is(command: Any, tmp_path: Path) -> None:
    """Counting its FLOPs on tensors without content must not leave one in the network that is timed."""
    (tmp_path / "lazy.py").write_text(LAZY)
    done = run(command("--models", f"{tmp_path / 'lazy.py'}:network", *FP32_EAGER, "--train-images", "64"))
    assert done.returncode == 0, done.stdout
    rows = json.loads((tmp_path / "results" / "run.json").read_text())["benchmarks"]
    [row] = [row["extra_info"] for row in rows if row["extra_info"]["case"]["experiment"] == "inference"]
    assert row["quality"]["samples"] == 100
    assert row["figures"]["flops_per_image"]["value"] == 2 * 3 * 32 * 32 * 10


@pytest.mark.slow
def test_a_traced_run_leaves_traces_and_curves(command: Any, networks: Path, tmp_path: Path) -> None:
    options = ["--models", f"{networks}:sound", *FP32_EAGER, "--train-images", "64", "--profile"]
    selected = [*command(*options), "-k", "test_training or test_inference"]
    done = run(selected)
    assert done.returncode == 0, done.stdout
    rows = json.loads((tmp_path / "results" / "run.json").read_text())["benchmarks"]
    assert sorted(row["extra_info"]["case"]["experiment"] for row in rows) == ["inference", "training"]
    traces = {path.relative_to(tmp_path / "results").as_posix() for path in tmp_path.rglob("*.pt.trace.json")}
    assert {note.split()[1] for row in rows for note in row["extra_info"]["notes"] if "trace: " in note} == traces
    assert len(traces) == 2
    for row in rows:
        assert re.fullmatch(r"[^|]+ \| \d+ \| [\d.]+ \| 0\.\d+", row["extra_info"]["texts"]["operator 1"])
    [curves] = tmp_path.rglob("*tfevents*")
    assert all(name in curves.read_bytes() for name in (b"loss/train", b"accuracy/validation", b"accuracy/test"))
    again = run([*selected, "--resume", "--track", "none"])
    assert "resuming: 2 measurements" in again.stdout
    assert "--profile traces what runs now, not what is taken" in again.stdout


@pytest.mark.slow
def test_a_language_model_that_cannot_be_had_fails_alone(command: Any, tmp_path: Path) -> None:
    """One line in each of its cases, and the others are measured."""
    empty = tmp_path / "empty"
    empty.mkdir()
    options = ["--llm", f"{empty},smollm2-2-layers", *FP32_EAGER]
    done = run([*command(*options, cases="bench/test_language.py"), "-k", "load"])
    assert done.returncode == 1, done.stdout
    stored = json.loads((tmp_path / "results" / "run.json").read_text())
    assert [row["params"]["model"] for row in stored["benchmarks"]] == ["smollm2-2-layers"]
    [failure] = stored["halfbyte"]["failures"]
    assert failure["kind"] == "error"
    assert re.search(r"language model '.*empty': .*has no config\.json", failure["message"])
    told = {model["name"]: model for model in stored["halfbyte"]["language_models"]}
    assert told[str(empty)]["problem"] == failure["message"]
    assert told["smollm2-2-layers"]["problem"] is None
    assert "4-bit already" in told["smollm2-2-layers"]["caveat"]


@pytest.mark.slow
def test_a_run_that_is_refused_leaves_the_results_as_they_are(command: Any, tmp_path: Path, networks: Path) -> None:
    results = tmp_path / "results"
    results.mkdir()
    (results / "run.json").write_text("earlier")
    refused(command("--models", f"{networks}:raises"))
    ours = ResultFile(results / "run.json", results)
    ours.lock()
    assert "is in use by another run" in refused(command())
    ours.release()
    assert [path.name for path in results.glob("*.json*")] == ["run.json"]
    assert (results / "run.json").read_text() == "earlier"


@pytest.mark.parametrize("asked", [{"numprocesses": 2}, {"numprocesses": "auto"}, {"tx": ["2*popen"]}])
def test_parallel_cases_are_refused(asked: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"cases are not run in parallel.*leave out -n"):
        session._refuse_parallel(SimpleNamespace(option=SimpleNamespace(**asked)))  # type: ignore[arg-type]
    session._refuse_parallel(SimpleNamespace(option=SimpleNamespace(numprocesses=0)))  # type: ignore[arg-type]


@pytest.mark.slow
def test_a_disabled_benchmark_leaves_the_json_and_says_so(command: Any, networks: Path, tmp_path: Path) -> None:
    """Beside one that keeps all cores busy, which the run says as well."""
    file = tmp_path / "results" / "run.json"
    file.parent.mkdir()
    file.write_text("an earlier run")
    cores = usable_cores()
    options = ["--models", f"{networks}:sound", *FP32_EAGER, "--threads", str(cores), "--benchmark-disable"]
    with at_work(cores):
        done = run(command(*options, cases=INFERENCE))
    assert re.search(r"other processes keep \d\.\d of the cores busy", done.stdout), done.stdout
    assert done.returncode == 0, done.stdout
    assert session.NOTHING_WRITTEN in done.stdout
    assert "1 passed" in done.stdout
    assert file.read_text() == "an earlier run"
    assert not file.with_suffix(".previous.json").exists()


@pytest.mark.slow
def test_a_checkout_behind_a_link_is_measured_from_anywhere(command: Any, networks: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(ROOT)
    (tmp_path / "elsewhere").mkdir()
    one = command("--models", f"{networks}:sound", *FP32_EAGER, cases=str(tmp_path / "link" / INFERENCE))
    done = subprocess.run(one, cwd=tmp_path / "elsewhere", capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout
    assert len(json.loads((tmp_path / "results" / "run.json").read_text())["benchmarks"]) == 1
    left = {path.name for path in (tmp_path / "elsewhere").iterdir()}
    assert left <= {".benchmarks"}, "pytest-benchmark's own folder aside, nothing is written where pytest was started"
