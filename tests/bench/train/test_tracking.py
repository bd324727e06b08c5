"""Curves that go on where a training goes on, are on the disk after each epoch, and leave nothing running."""

from __future__ import annotations

import importlib.util
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from bench.core.records import Case
from bench.core.workspace import TRACKERS as NAMES
from bench.core.workspace import Workspace
from bench.train.loop import train
from bench.train.tracking import TRACKERS, TensorBoard, Tracker, WeightsAndBiases, curve, tracker_of
from bench.train.training import Training

CASE = Case(
    experiment="training",
    model="tiny",
    dataset="stripes",
    image_size=8,
    device="cpu",
    threads=1,
    budget="smoke",
    recipe="user",
    pipeline="dataloader",
)
Make = Callable[..., Training]
needs_tensorboard = pytest.mark.skipif(
    importlib.util.find_spec("tensorboard") is None, reason="tensorboard is not installed"
)
needs_wandb = pytest.mark.skipif(importlib.util.find_spec("wandb") is None, reason="wandb is not installed")


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(results=tmp_path / "results", data_dir=tmp_path, fingerprint="a run")


def points(workspace: Workspace) -> dict[str, list[tuple[int, float]]]:
    """Curves as TensorBoard itself reads them: epochs and values by name."""
    from tensorboard.backend.event_processing.plugin_event_accumulator import EventAccumulator
    from tensorboard.util.tensor_util import make_ndarray

    found = EventAccumulator(str(workspace.tensorboard / CASE.name / CASE.id)).Reload()
    return {
        tag: [(event.step, make_ndarray(event.tensor_proto).item()) for event in found.Tensors(tag)]
        for tag in found.Tags()["tensors"]
    }


def running() -> set[object]:
    """Threads and processes besides the main thread."""
    threads = {thread.name for thread in threading.enumerate() if thread is not threading.main_thread()}
    return {*threads, *(child.pid for child in psutil.Process().children(recursive=True))}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("train_loss", "loss/train"),
        ("validation_accuracy", "accuracy/validation"),
        ("test_loss", "loss/test"),
        ("last_batch_loss", "loss/last_batch"),
        ("seconds", "seconds"),
    ],
)
def test_curves_of_one_quantity_stand_together(name: str, expected: str) -> None:
    assert curve(name) == expected


@needs_tensorboard
def test_an_epoch_can_be_read_as_soon_as_it_is_written(workspace: Workspace) -> None:
    tracker = TensorBoard(CASE, workspace)
    before = running()
    tracker.write(1, {"train_loss": 2.5})
    assert points(workspace) == {"loss/train": [(1, 2.5)]}
    tracker.write(2, {"train_loss": 1.5, "validation_accuracy": 0.75})
    assert points(workspace) == {"loss/train": [(1, 2.5), (2, 1.5)], "accuracy/validation": [(2, 0.75)]}
    assert running() == before


@needs_tensorboard
def test_a_training_that_goes_on_goes_on_in_its_curve(workspace: Workspace) -> None:
    """Killed after epoch 3 was drawn and before its checkpoint: epoch 3 comes again, and the curve has it once."""
    killed, resumed = TensorBoard(CASE, workspace), TensorBoard(CASE, workspace)
    for epoch, loss in ((1, 4.0), (2, 3.0), (3, 2.0)):
        killed.write(epoch, {"train_loss": loss})
    for epoch, loss in ((3, 2.5), (4, 1.0)):
        resumed.write(epoch, {"train_loss": loss})
    assert points(workspace) == {"loss/train": [(1, 4.0), (2, 3.0), (3, 2.5), (4, 1.0)]}
    TensorBoard(CASE, workspace).write(1, {"train_loss": 5.0})
    assert points(workspace) == {"loss/train": [(1, 5.0)]}


@needs_tensorboard
def test_the_loop_writes_its_history_after_each_epoch(
    make: Make, kill_after: Callable[[Training, int], None], workspace: Workspace
) -> None:
    track = tracker_of(CASE, replace(workspace, track=("tensorboard",)))
    choosing = replace(make().recipe, select="validation")
    kill_after(make(recipe=choosing, track=track), 2)
    assert [epoch for epoch, _ in points(workspace)["loss/train"]] == [1, 2, 3]
    again = tracker_of(CASE, replace(workspace, track=("tensorboard",)))
    trained = train(make(recipe=choosing, track=again))
    assert trained.resumed_after == 2
    found = points(workspace)
    assert set(found) == {curve(name) for name in trained.history}
    assert {"loss/train", "accuracy/train", "loss/validation", "accuracy/validation"} <= set(found)
    for name, values in trained.history.items():
        expected = list(enumerate(map(pytest.approx, values), start=1))
        if name != "seconds":
            assert found[curve(name)] == expected


def test_the_tracker_is_asked_outside_the_clock(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a clock that only the tracker moves forward, epochs take no time."""
    now = [0.0]
    monkeypatch.setattr("bench.train.loop.time.perf_counter", lambda: now[0])

    def track(epoch: int, values: Any) -> None:
        now[0] += 100

    trained = train(make(track=track))
    assert now[0] == 400
    assert trained.history["seconds"] == [0.0] * 4


def test_curves_that_cannot_be_written_do_not_end_a_training(
    make: Make, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, lines = [], []

    class Full:
        def __init__(self, case: Case, workspace: Workspace) -> None:
            """Nothing is opened yet."""

        def write(self, epoch: int, values: Any) -> None:
            asked.append(epoch)
            if epoch == 2:
                raise OSError(28, "No space left on device")

    fakes: dict[str, type[Tracker]] = {"full": Full}
    monkeypatch.setattr("bench.train.tracking.TRACKERS", fakes)
    track = tracker_of(CASE, replace(workspace, track=("full",), progress=lines.append))
    assert len(train(make(track=track)).history["seconds"]) == 4
    assert asked == [1, 2]
    assert len(lines) == 1
    assert "curves in full stop here (OSError" in lines[0]


def test_every_name_of_the_options_has_a_tracker() -> None:
    assert set(TRACKERS) == set(NAMES)


@needs_wandb
def test_weights_and_biases_offline(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each epoch has a file, whole before the next begins; all are of one run, which ``wandb sync`` knows."""
    monkeypatch.delenv("WANDB_MODE", raising=False)
    workspace.results.mkdir()
    before = running()
    for epoch in (1, 2):
        WeightsAndBiases(CASE, workspace).write(epoch, {"train_loss": 1 / epoch, "train_accuracy": 0.5})
        assert running() == before
    files = sorted(workspace.results.glob("wandb/offline-run-*/run-*.wandb"))
    assert len(files) == 2
    assert len({file.name for file in files}) == 1
    for file in files:
        assert all(name in file.read_bytes() for name in (b"loss/train", b"accuracy/train", b"epoch"))
    other = WeightsAndBiases(CASE, replace(workspace, fingerprint="other code"))
    other.write(1, {"train_loss": 1.0})
    assert len({file.name for file in workspace.results.glob("wandb/offline-run-*/run-*.wandb")}) == 2
