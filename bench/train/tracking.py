"""Curves of a running training, in TensorBoard or Weights & Biases.

A tracker writes one epoch and waits until it is on the disk or sent. It leaves no thread and no process, which would
run while the next epoch is timed. Libraries are imported on use; no torch is needed.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from bench.core.records import Case, digest_of
from bench.core.workspace import Workspace


class Tracker(Protocol):
    """Writer of the curves of one training."""

    def __init__(self, case: Case, workspace: Workspace) -> None: ...

    def write(self, epoch: int, values: Mapping[str, float]) -> None:
        """Write one point of each curve. Epochs count from 1.

        A resumed or restarted training may write an epoch again.
        """


class TensorBoard:
    """Event file of a case, under ``results/tensorboard/<name of the case>/<id>``, opened anew for each epoch.

    ``SummaryWriter`` would leave a thread. The first event of a process makes TensorBoard discard later points in the
    file: a resumed training continues its curve, and a new one begins it anew.
    """

    def __init__(self, case: Case, workspace: Workspace) -> None:
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog
        from tensorboard.plugins.scalar.summary_v2 import scalar_pb
        from tensorboard.summary.writer.record_writer import RecordWriter

        self._event, self._log, self._scalar, self._writer = Event, SessionLog, scalar_pb, RecordWriter
        self._path = workspace.tensorboard / case.name / case.id / f"events.out.tfevents.{case.id}"
        self._begun = False

    def write(self, epoch: int, values: Mapping[str, float]) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        events = [] if self._begun else self._beginning(epoch)
        events += [self._at(epoch, summary=self._scalar(curve(name), value)) for name, value in values.items()]
        with self._path.open("ab") as file:
            writer = self._writer(file)
            for event in events:
                writer.write(event.SerializeToString())
            writer.flush()
        self._begun = True

    def _beginning(self, epoch: int) -> list[Any]:
        version = [] if self._path.exists() else [self._event(wall_time=time.time(), file_version="brain.Event:2")]
        return [*version, self._at(epoch, session_log=self._log(status=self._log.START))]

    def _at(self, epoch: int, **content: Any) -> Any:
        return self._event(wall_time=time.time(), step=epoch, **content)


class WeightsAndBiases:
    """Run of Weights & Biases under ``results/wandb``, opened and finished for each epoch and identified by its id.

    It is offline, for ``wandb sync`` later, unless the environment variable ``WANDB_MODE`` is set.
    """

    def __init__(self, case: Case, workspace: Workspace) -> None:
        os.environ["WANDB_ERROR_REPORTING"] = "false"  # error reports keep threads
        os.environ.setdefault("WANDB_MODE", "offline")
        import wandb

        self._wandb, self._results, self._name = wandb, workspace.results, case.name
        self._id = digest_of({"case": case.id, "run": workspace.fingerprint})

    def write(self, epoch: int, values: Mapping[str, float]) -> None:
        settings = self._wandb.Settings(
            console="off", disable_git=True, save_code=False, silent=True, x_disable_meta=True, x_disable_stats=True
        )
        run = self._wandb.init(
            project="halfbyte",
            id=self._id,
            name=self._name,
            dir=str(self._results),
            resume="allow",
            settings=settings,
        )
        # W&B's own step would drop a repeated epoch.
        run.define_metric("*", step_metric="epoch")
        run.log({"epoch": epoch, **{curve(name): value for name, value in values.items()}})
        run.finish()
        self._wandb.teardown()


TRACKERS: dict[str, type[Tracker]] = {"tensorboard": TensorBoard, "wandb": WeightsAndBiases}


def tracker_of(case: Case, workspace: Workspace) -> Callable[[int, Mapping[str, float]], None]:
    """Return a function that writes an epoch to each tracker of ``workspace.track``.

    A tracker that fails is reported once and then left out.
    """
    trackers = {name: TRACKERS[name](case, workspace) for name in workspace.track}

    def track(epoch: int, values: Mapping[str, float]) -> None:
        for name, tracker in list(trackers.items()):
            try:
                tracker.write(epoch, values)
            except Exception as error:  # a full disk or a lost network must not end a training
                del trackers[name]
                workspace.progress(f"{case.model}: curves in {name} stop here ({type(error).__name__}: {error})")

    return track


def curve(name: str) -> str:
    """Name of the curve of a history's entry, grouped by quantity: ``train_loss`` is ``loss/train``."""
    split, _, quantity = name.rpartition("_")
    return f"{quantity}/{split}" if split else name
