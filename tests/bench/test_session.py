"""Whole pytest runs of benchmark cases, as a user starts them: what they write, and what they say to bad input."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import nn

from bench.engine.journal import Journal
from tests.processes import alive, descendants, wait_for

ROOT = Path(__file__).resolve().parents[2]
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
FP32_EAGER = ("--modes", "eager", "--precisions", "fp32", "--batch-sizes", "2")
"""One row of inference."""
INFERENCE = "bench/test_inference.py"
USAGE_ERROR = 4
NETWORKS = """
import time
from torch import nn

class Sleeps(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3 * 32 * 32, 10)
    def forward(self, images):
        if len(images) == 7:
            time.sleep(600)
        return self.layer(images.flatten(1))

def sound():
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 10))
def sleeps():
    return Sleeps()
def raises():
    raise RuntimeError("no network today")
def wrong_shape():
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 7))
"""


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture
def networks(tmp_path: Path) -> Path:
    file = tmp_path / "networks.py"
    file.write_text(NETWORKS)
    return file


@pytest.fixture
def command(tmp_path: Path, data_dir: Path) -> Any:
    def command(*options: str, cases: str = "bench") -> list[str]:
        default = ["--budget", "smoke", "--device", "cpu", "--threads", "1", "--data-dir", str(data_dir)]
        results = ["--benchmark-json", str(tmp_path / "results" / "run.json"), "-p", "no:cacheprovider"]
        given = [] if "--dataset" in options else ["--dataset", "mnist5k"]
        return [sys.executable, "-m", "pytest", cases, *default, *given, *results, *options]

    return command


def run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)


def refused(command: list[str]) -> str:
    """The one line with which ``command`` is refused."""
    done = run(command)
    output = done.stdout + done.stderr
    assert done.returncode == USAGE_ERROR, output
    errors = [line for line in output.splitlines() if line.startswith("ERROR: ")]
    assert len(errors) == 1, output
    assert "Traceback" not in output
    return errors[0]


def image_folder(root: Path, classes: dict[str, tuple[str, ...]]) -> Path:
    for part, names in classes.items():
        for name in names:
            (root / part / name).mkdir(parents=True)
            for number in range(2):
                Image.new("RGB", (32, 32), (40 * number, 90, 10)).save(root / part / name / f"{number}.png")
    return root


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--models", "resnet19"], "unknown model 'resnet19'. Did you mean resnet18"),
        (["--precisions", "int3"], "unknown precision 'int3'.*Known: fp32"),
        (["--device", "tpu"], "unknown device 'tpu'"),
        (["--budget", "tiny"], "unknown budget 'tiny'.*Known: smoke, quick, full"),
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


def test_a_network_must_work(command: Any, networks: Path) -> None:
    assert "no network today" in refused(command("--models", f"{networks}:raises"))
    assert "returns shape (2, 7)" in refused(command("--models", f"{networks}:wrong_shape"))
    assert re.search("nothing.*networks.py|networks.py.*nothing", refused(command("--models", f"{networks}:nothing")))


def test_weights_must_be_whole_and_fit(command: Any, networks: Path, tmp_path: Path) -> None:
    weights = tmp_path / "weights.pt"
    options = ["--models", f"{networks}:sound", "--weights", str(weights)]
    torch.save(nn.Linear(3, 3).state_dict(), weights)
    assert "do not fit the network" in refused(command(*options))
    weights.write_bytes(weights.read_bytes()[:100])
    assert str(weights) in refused(command(*options))
    weights.write_text("not made by torch")
    assert str(weights) in refused(command(*options))


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


def test_failures_are_rows_and_failed_tests(command: Any, tmp_path: Path) -> None:
    options = ["--models", "cnn_small", *FP32_EAGER, "--case-timeout", "0.01"]
    done = run(command(*options, cases=INFERENCE))
    assert done.returncode == 1
    stored = json.loads((tmp_path / "results" / "run.json").read_text())
    assert stored["benchmarks"] == []
    failed = [(failure["case"]["experiment"], failure["kind"]) for failure in stored["halfbyte"]["failures"]]
    assert failed == [("training", "timed_out"), ("inference", "timed_out")]
    assert stored["halfbyte"]["machine"]["device"] == "cpu"


def test_a_network_that_keeps_what_it_makes_is_measured_as_it_is(command: Any, tmp_path: Path) -> None:
    """Counting its FLOPs on tensors without content must not leave one in the network that is timed."""
    (tmp_path / "lazy.py").write_text(LAZY)
    done = run(command("--models", f"{tmp_path / 'lazy.py'}:network", *FP32_EAGER, "--train-images", "64"))
    assert done.returncode == 0, done.stdout
    rows = json.loads((tmp_path / "results" / "run.json").read_text())["benchmarks"]
    [row] = [row["extra_info"] for row in rows if row["extra_info"]["case"]["experiment"] == "inference"]
    assert row["quality"]["samples"] == 100
    assert row["figures"]["flops_per_image"]["value"] == 2 * 3 * 32 * 32 * 10


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


def test_an_earlier_result_is_kept_aside(command: Any, tmp_path: Path, networks: Path) -> None:
    results = tmp_path / "results"
    results.mkdir()
    (results / "run.json").write_text("earlier")
    refused(command("--models", f"{networks}:raises"))
    assert not (results / "run.json").exists()
    assert (results / "run.previous.json").read_text() == "earlier"


def test_interrupt_keeps_what_is_done_and_leaves_no_process(command: Any, networks: Path, tmp_path: Path) -> None:
    """Ctrl-C while a case hangs: the finished one is in the JSON, and --resume takes it."""
    options = ["--models", f"{networks}:sleeps", *FP32_EAGER, "--batch-sizes", "8,7"]
    inference = command(*options, cases=INFERENCE)
    process = subprocess.Popen(inference, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    journal = tmp_path / "results" / "journal.jsonl"
    wait_for(lambda: len(Journal(journal).read().entries) == 2)  # the training, the batch of 8
    wait_for(lambda: len(descendants(process.pid)) >= 3)  # the fork server, the resource tracker, the worker
    family = descendants(process.pid)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 2, output
    rows = json.loads((tmp_path / "results" / "run.json").read_text())["benchmarks"]
    assert [row["params"]["batch_size"] for row in rows] == [8]
    assert rebuilt(tmp_path / "results") == comparable(tmp_path / "results" / "run.json")
    wait_for(lambda: not any(alive(pid) for pid in family))

    done = run([*command(*options, cases=INFERENCE), "-k", "b8", "--resume"])
    assert done.returncode == 0, done.stdout
    assert "resuming: 2 measurements" in done.stdout
    assert "resumed: took 2 of 2 measurements" in done.stdout
    stored = json.loads((tmp_path / "results" / "run.json").read_text())
    assert stored["halfbyte"]["deselected"] == 1  # the batch of 7
    assert rebuilt(tmp_path / "results") == comparable(tmp_path / "results" / "run.json")
    again = stored["benchmarks"]
    assert [row["extra_info"]["seconds"] for row in again] == [row["extra_info"]["seconds"] for row in rows]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 400 kB at ``results``."""
    disk = tmp_path / "results"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(disk)], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {mounted.stderr.decode().strip()}")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def test_a_disk_that_fills_up_costs_no_measurement(
    command: Any, networks: Path, tmp_path: Path, small_disk: Path
) -> None:
    """From the second of three cases on nothing can be written; what was measured is there once there is room."""
    ballast = small_disk / "ballast"
    fault = f"""
    with open({str(ballast)!r}, "ab", buffering=0) as file:
        while True:
            try:
                file.write(bytes(1024))
            except OSError:
                break
"""
    networks.write_text(NETWORKS.replace("time.sleep(600)", "fills()") + "def fills():" + fault)
    torch.save({"layer.weight": torch.zeros(10, 3 * 32 * 32), "layer.bias": torch.zeros(10)}, tmp_path / "weights.pt")
    own = ["--models", f"{networks}:sleeps", "--weights", str(tmp_path / "weights.pt"), *FP32_EAGER]
    inference = command(*own, "--batch-sizes", "8,7,6", cases="bench/test_inference.py")
    done = run(inference)
    assert done.returncode == pytest.ExitCode.INTERNAL_ERROR, done.stdout
    assert "3 passed" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    assert re.search(r"run\.json could not be written \(No space left on device\).*bench\.engine\.rebuild", done.stdout)
    rescued = Path(re.search(r"journal\.jsonl lacks its last \d lines .*: they are in (\S+)\. ", done.stdout)[1])  # type: ignore[index]
    assert sorted(path.name for path in small_disk.glob("*.json*")) == ["journal.jsonl"]

    ballast.unlink()
    with (small_disk / "journal.jsonl").open("ab") as journal:
        journal.write(rescued.read_bytes())
    rescued.unlink()
    rows, suite, _ = rebuilt(small_disk)
    assert [row["params"]["batch_size"] for row in rows] == [8, 7, 6]
    assert suite["failures"] == []
    assert "No space left" in rows[1]["extra_info"]["absent"]["predictions"]
    assert rows[1]["extra_info"]["quality"]["samples"] == 100
    again = run([*inference, "--resume"])
    assert "resumed: took 3 of 3 measurements" in again.stdout, again.stdout


def test_a_disk_that_is_full_is_refused_before_anything_runs(command: Any, small_disk: Path) -> None:
    (small_disk / "ballast").write_bytes(bytes(390 * 1024))
    assert "cannot be written to (No space left on device)" in refused(command())


def test_data_that_vanish_while_it_runs_fail_what_needs_them(command: Any, networks: Path, tmp_path: Path) -> None:
    """The case under way has read them; the next fails with one line; what was measured is in the JSON."""
    data = tmp_path / "data"
    networks.write_text(NETWORKS.replace("time.sleep(600)", f"shutil.rmtree({str(data)!r})") + "import shutil\n")
    torch.save({"layer.weight": torch.zeros(10, 3 * 32 * 32), "layer.bias": torch.zeros(10)}, tmp_path / "weights.pt")
    own = ["--models", f"{networks}:sleeps", "--weights", str(tmp_path / "weights.pt"), *FP32_EAGER]
    inference = command(*own, "--batch-sizes", "8,7,6", "--data-dir", str(data), cases="bench/test_inference.py")
    done = run(inference)
    assert done.returncode == 1, done.stdout
    stored = json.loads((tmp_path / "results" / "run.json").read_text())
    assert 8 in [row["params"]["batch_size"] for row in stored["benchmarks"]]
    *_, failure = stored["halfbyte"]["failures"]
    assert failure["case"]["batch_size"] == 6
    assert re.fullmatch(
        r"the decoded data set in .* is gone or not whole: run again, it is decoded anew", failure["message"]
    )


def test_kill_leaves_no_process(command: Any, networks: Path, tmp_path: Path) -> None:
    options = ["--models", f"{networks}:sleeps", *FP32_EAGER, "--batch-sizes", "7"]
    process = subprocess.Popen(
        command(*options, cases=INFERENCE),
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    journal = tmp_path / "results" / "journal.jsonl"
    wait_for(lambda: len(Journal(journal).read().entries) == 1)
    wait_for(lambda: len(descendants(process.pid)) >= 3)
    family = descendants(process.pid)
    process.kill()
    process.wait()
    wait_for(lambda: not any(alive(pid) for pid in family))


def rebuilt(results: Path) -> Any:
    """What the journal says of the last run, as a JSON file that a report is then written from."""
    out = results / "rebuilt.json"
    out.unlink(missing_ok=True)
    done = run([sys.executable, "-m", "bench.engine.rebuild", str(results / "journal.jsonl"), "--out", str(out)])
    assert done.returncode == 0, done.stderr
    rendered = run([sys.executable, "-m", "bench.report", "render", str(out), "--out", str(results / "report")])
    assert rendered.returncode == 0, rendered.stderr
    return comparable(out)


def comparable(path: Path) -> Any:
    """All that a run's JSON says but what differs by nature: how long it took, and pytest-benchmark of itself."""
    content = json.loads(path.read_text())
    assert content["halfbyte"].pop("seconds") > 0
    rows = [{name: value for name, value in row.items() if name != "options"} for row in content["benchmarks"]]
    return rows, content["halfbyte"], content["commit_info"]
