"""What a case does to its process stays there: crashes, hangs and exceptions become failures, and the run goes on.

The faults are real: networks of a user's file that raise, crash, hang or exit, measured like any other.
"""

from __future__ import annotations

import dataclasses
import os
import re
import time
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.core.errors import InputError
from bench.core.records import Case, Failure, Measurement
from bench.core.workspace import Workspace, sha256_of
from bench.run import worker
from bench.run.engine import Engine
from bench.run.journal import Entry, Journal
from bench.run.process import ProcessRunner
from bench.run.requests import InlineRunner, Runner
from tests.processes import alive

pytestmark = pytest.mark.slow

NETWORKS = '''
import os, signal, subprocess, sys, time, ctypes
import torch
from torch import nn

class Network(nn.Module):
    """Works for the two images that are tried first, then does what its name says."""
    def __init__(self, fault):
        super().__init__()
        self.layer = nn.Linear(3 * 32 * 32, 10)
        self.fault = fault
    def forward(self, images):
        if len(images) != 2:
            self.fault()
        return self.layer(images.flatten(1))

def sound(): return Network(lambda: None)
def raises(): return Network(lambda: 1 / 0)
def segfaults(): return Network(lambda: ctypes.string_at(0))
def exits(): return Network(lambda: os._exit(3))
def killed(): return Network(lambda: os.kill(os.getpid(), signal.SIGKILL))
def hangs(): return Network(lambda: time.sleep(600))
def lacks_memory(): return Network(lambda: torch.empty(2**46))
def kills_server():
    def fault():
        parent = os.getppid()
        if b"forkserver" in open(f"/proc/{parent}/cmdline", "rb").read():
            os.kill(parent, signal.SIGKILL)
    return Network(fault)
class Large(nn.Module):
    """Takes more memory than there is for more than three images."""
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3 * 32 * 32, 10)
    def forward(self, images):
        torch.empty(2**46 if len(images) > 3 else 1)
        return self.layer(images.flatten(1))
def leaves_child():
    def fault():
        if not hasattr(leaves_child, "child"):
            leaves_child.child = subprocess.Popen(["sleep", "600"])
            open(os.environ.get("CHILD_FILE", "/dev/null"), "w").write(str(leaves_child.child.pid))
    return Network(fault)
def wrong_shape():
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 7))
'''


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("networks") / "networks.py"
    file.write_text(NETWORKS)
    return file


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    folder = tmp_path_factory.mktemp("engine")
    return Workspace(results=folder / "results", data_dir=folder / "data")


SHORT: dict[str, Any] = {"options": (("epoch_images", 64), ("test_images", 50), ("train_images", 64))}


def make_engine(space: Workspace, runner: Runner, *, take: bool = False) -> Engine:
    space.results.mkdir(exist_ok=True)
    engine = Engine(
        runner=runner,
        workspace=space,
        journal=Journal(space.results / "journal.jsonl"),
        case_timeout=lambda case: 60.0,
        progress=lambda line: None,
    )
    engine.survey("cpu", 1)
    facts = engine.prepare(a_case("cnn_small"), [])
    engine.resume([facts["dataset"]["digest"]], take=take)
    return engine


@pytest.fixture(scope="module")
def engine(space: Workspace) -> Engine:
    return make_engine(space, ProcessRunner())


def a_case(model: str, **changes: Any) -> Case:
    fields: dict[str, Any] = {
        "experiment": "inference",
        "dataset": "mnist5k",
        "image_size": 32,
        "device": "cpu",
        "threads": 1,
        "budget": "smoke",
        "batch_size": 3,
    }
    return Case(model=model, **{**fields, **changes})


@pytest.mark.parametrize(
    ("network", "kind", "message"),
    [
        ("raises", "error", "ZeroDivisionError: division by zero"),
        ("segfaults", "crashed", "SIGSEGV"),
        ("exits", "crashed", "exit status 3"),
        ("killed", "crashed", "SIGKILL"),
        ("lacks_memory", "out_of_memory", "memory"),
        ("wrong_shape", "error", r"returns shape \(3, 7\)"),
    ],
)
def test_a_fault_becomes_a_failure(engine: Engine, networks: Path, network: str, kind: str, message: str) -> None:
    outcome = engine.run(a_case(f"{networks}:{network}"))
    assert isinstance(outcome, Failure)
    assert outcome.kind == kind
    assert re.search(message, outcome.message), outcome.message
    assert "\n" not in outcome.message


def test_after_a_fault_the_next_case_runs(engine: Engine, networks: Path) -> None:
    engine.run(a_case(f"{networks}:segfaults"))
    assert isinstance(engine.run(a_case(f"{networks}:sound")), Measurement)


def test_a_hang_is_ended_at_its_time_limit(engine: Engine, networks: Path) -> None:
    engine.case_timeout = lambda case: 3.0
    begin = time.monotonic()
    outcome = engine.run(a_case(f"{networks}:hangs"))
    engine.case_timeout = lambda case: 60.0
    assert isinstance(outcome, Failure)
    assert outcome.kind == "timed_out"
    assert "time limit of 3 s" in outcome.message
    assert time.monotonic() - begin < 15
    log = engine.workspace.logs / f"{outcome.case.id}.log"
    assert "in forward" in log.read_text()  # the stack says where it hung


def test_a_worker_takes_its_children_along(
    engine: Engine, networks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "child"
    text = networks.read_text().replace('os.environ.get("CHILD_FILE", "/dev/null")', repr(str(file)))
    own = tmp_path / "own.py"
    own.write_text(text)
    assert isinstance(engine.run(a_case(f"{own}:leaves_child")), Measurement)
    deadline = time.monotonic() + 5
    while alive(int(file.read_text())) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not alive(int(file.read_text()))


def test_nothing_runs_twice(engine: Engine, networks: Path) -> None:
    case = a_case(f"{networks}:sound", batch_size=5)
    assert engine.run(case) is engine.run(case)


def test_a_killed_fork_server_is_started_again(engine: Engine, networks: Path) -> None:
    engine.run(a_case(f"{networks}:sound", batch_size=6))
    server = forkserver._forkserver._forkserver_pid  # type: ignore[attr-defined]
    os.kill(server, 9)
    time.sleep(0.2)
    assert isinstance(engine.run(a_case(f"{networks}:sound", batch_size=7)), Measurement)


def test_a_case_outlives_the_fork_server(engine: Engine, networks: Path) -> None:
    """Killed while its worker measures: the case is measured, and the next one has a new server."""
    killed = engine.run(a_case(f"{networks}:kills_server", batch_size=12))
    assert isinstance(killed, Measurement), killed
    assert isinstance(engine.run(a_case(f"{networks}:sound", batch_size=12)), Measurement)


def test_a_fork_server_killed_before_the_worker_starts_costs_no_case(space: Workspace, networks: Path) -> None:
    class Unlucky(ProcessRunner):
        blows = 1

        def start(self) -> None:
            super().start()
            server = forkserver._forkserver._forkserver_pid  # type: ignore[attr-defined]
            if self.blows and server:
                self.blows -= 1
                os.kill(server, 9)
                os.waitid(os.P_PID, server, os.WEXITED | os.WNOWAIT)

    runner = Unlucky()
    engine = make_engine(space, ProcessRunner())
    engine.runner = runner
    assert isinstance(engine.run(a_case(f"{networks}:sound", batch_size=13)), Measurement)
    assert runner.blows == 0


def test_too_large_a_batch_tells_the_largest_that_fits(engine: Engine, networks: Path) -> None:
    """The batch that was asked for stays out of memory: a smaller one is listed inside, and is no row."""
    case = a_case(f"{networks}:Large", batch_size=14)
    outcome = engine.run(case)
    assert isinstance(outcome, Failure)
    assert (outcome.kind, outcome.case) == ("out_of_memory", case)
    assert outcome.fitted is not None
    assert outcome.fitted.case.batch_size == 3
    assert re.search(r"memory.*; batch 7: out_of_memory; batch 3 fits: [0-9.e-]+ ms a call$", outcome.message)
    assert a_case(f"{networks}:Large", batch_size=3).id not in engine.outcomes
    assert engine.journal.read().entries[-1].outcome == outcome


def test_a_training_is_not_tried_at_another_batch_size(engine: Engine, networks: Path) -> None:
    training = a_case(f"{networks}:Large", experiment="training", recipe="user", batch_size=64, **SHORT)
    outcome = engine.run(training)
    assert isinstance(outcome, Failure)
    assert outcome.kind == "out_of_memory"
    assert outcome.fitted is None
    assert "batch 32" not in outcome.message


def test_logs_that_cannot_be_written_cost_no_case(tmp_path: Path, space: Workspace, networks: Path) -> None:
    (tmp_path / "logs").write_text("a file in the place of the folder")
    own = dataclasses.replace(space, results=tmp_path)
    assert isinstance(make_engine(own, ProcessRunner()).run(a_case(f"{networks}:sound")), Measurement)


def test_a_worker_writes_on_to_a_full_disk(capfd: pytest.CaptureFixture[str]) -> None:
    with open("/dev/full", "wb", buffering=0) as full:
        log = worker._Log(full.fileno())
        print("lost", file=log, flush=True)
        log.close()
    log = worker._Log(1)
    print("kept ± é", file=log)
    assert capfd.readouterr().out == "kept ± é\n"


def test_resume_takes_measurements_but_not_failures(engine: Engine, space: Workspace, networks: Path) -> None:
    good, bad = a_case(f"{networks}:sound", batch_size=8), a_case(f"{networks}:raises", batch_size=8)
    kept, _ = engine.run(good), engine.run(bad)
    again = make_engine(space, ProcessRunner())
    facts = again.prepare(a_case("cnn_small"), [])
    adoption = again.resume([facts["dataset"]["digest"]], take=True)
    assert again.run(good) == kept
    assert again.resumed == 1
    assert bad.id not in adoption.entries
    assert adoption.left_out["failed, and are tried again"] >= 1
    assert f" of run {engine.run_id}" in adoption.lines()[0]


def test_resume_takes_nothing_of_other_data(space: Workspace) -> None:
    again = make_engine(space, ProcessRunner())
    adoption = again.resume(["other data"], take=True)
    assert not adoption.entries
    assert list(adoption.left_out) == [
        "of other code, machine or package versions, flags, data"
    ]  # no header tells more


def test_what_was_measured_with_other_weights_is_not_taken(engine: Engine, space: Workspace) -> None:
    """An inference is adopted only together with the training whose weights it was judged with."""
    training = a_case("cnn_small", experiment="training", recipe="note4_cnn_small", batch_size=64, **SHORT)
    inference = a_case("cnn_small", recipe="note4_cnn_small", batch_size=4)
    engine.run(inference, needs=training)
    again = make_engine(space, ProcessRunner(), take=True)
    again.run(inference, needs=training)
    assert again.resumed == 2
    trained, judged = (again.outcomes[case.id] for case in (training, inference))
    assert isinstance(trained, Measurement)
    assert isinstance(judged, Measurement)
    weights = space.artefacts / str(trained.artefact)
    assert trained.weights_sha256 == judged.weights_sha256 == sha256_of(weights)
    torch.save({**torch.load(weights), "loss": 7.0}, weights)  # another training of the same name
    retrained = dataclasses.replace(trained, weights_sha256=sha256_of(weights))
    mark = again.workspace.fingerprint
    again.journal.append(Entry(run="killed", outcome=retrained, fingerprint=mark, case_seconds=1.0, at=1.0))
    mixed = make_engine(space, ProcessRunner(), take=True)
    found = mixed.run(inference, needs=training)
    assert mixed.resumed == 1  # the training that wrote the file, not what was judged with the weights before it
    assert isinstance(found, Measurement)
    assert found.weights_sha256 == sha256_of(weights)
    weights.unlink()
    anew = make_engine(space, ProcessRunner(), take=True)
    anew.run(inference, needs=training)
    assert anew.resumed == 0


def test_weights_of_an_earlier_run_stand_for_the_training(space: Workspace) -> None:
    training = a_case("cnn_small", experiment="training", recipe="note4_cnn_small", batch_size=64, seed=1, **SHORT)
    inference = a_case("cnn_small", recipe="note4_cnn_small", batch_size=6)
    first = make_engine(space, ProcessRunner())
    trained = first.run(training)
    assert isinstance(trained, Measurement)
    later = make_engine(space, ProcessRunner())
    later.artefact_of = lambda case: str(trained.artefact)
    found = later.run(inference, needs=training)
    assert isinstance(found, Measurement)
    assert found.artefact == trained.artefact
    assert found.quality is not None
    assert training.id not in later.outcomes
    later.artefact_of = lambda case: "of other code.pt"
    later.run(a_case("cnn_small", recipe="note4_cnn_small", batch_size=7), needs=training)
    assert training.id in later.outcomes


def test_a_training_that_fails_is_an_outcome_and_the_reason_for_no_accuracy(engine: Engine, networks: Path) -> None:
    model = f"{networks}:sound"
    training = a_case(model, experiment="training", recipe="no such recipe", batch_size=64)
    outcome = engine.run(a_case(model, batch_size=10), needs=training)
    assert isinstance(outcome, Measurement)
    assert isinstance(engine.outcomes[training.id], Failure)
    assert "its training failed (error: unknown recipe" in outcome.absent["quality"]


def test_a_full_disk_does_not_cost_the_measurement(
    engine: Engine, networks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(entry: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(engine.journal, "append", full)
    assert isinstance(engine.run(a_case(f"{networks}:sound", batch_size=11)), Measurement)


def test_a_preparation_that_fails_is_an_input_error(engine: Engine, networks: Path) -> None:
    with pytest.raises(InputError, match="wrong_shape' returns"):
        engine.prepare(a_case("cnn_small"), [a_case(f"{networks}:wrong_shape")])


@pytest.mark.parametrize("runner", [InlineRunner(), ProcessRunner("spawn")], ids=["inline", "spawn"])
def test_other_ways_to_run_a_case(space: Workspace, networks: Path, runner: Runner) -> None:
    outcome = make_engine(space, runner).run(a_case(f"{networks}:sound", batch_size=9))
    assert isinstance(outcome, Measurement), outcome
    assert outcome.flags["threads"] == 1
