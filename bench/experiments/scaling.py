"""Training of one network on several processes of one machine, by DistributedDataParallel through torchrun."""

from __future__ import annotations

import dataclasses
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.core.errors import Unsupported
from bench.core.records import Case, Figure, Measurement, Peak, from_json, to_json
from bench.core.workspace import Workspace, recipe_of
from bench.experiments.training import dataset_for
from bench.experiments.training_record import exact, fraction, option_count
from bench.measure import memory
from bench.measure.quality import accuracy, keep_predictions

GRADIENT_TOLERANCE = 1e-4
"""Largest relative difference of gradients: sums in float32 differ by their order, a wrong mean by a factor of 2."""
PROCESS = "bench.experiments.scaling_process"


class WrongGradients(ArithmeticError):
    """Gradients of several processes that are not those of one."""


def run(case: Case, workspace: Workspace) -> Measurement:
    """Train ``case.model`` on as many processes as the option ``processes`` says, and time its steps.

    Option ``scaling``: ``strong`` divides the recipe's batch between the processes, ``weak`` gives each a whole one.
    Steps of one process alone, without communication, are timed in turns with those of all: the efficiency is the
    median over the turns of work a second and process, divided by that of the one.

    Raises:
        InputError: network, recipe or data cannot be used.
        Unsupported: there are fewer GPUs than processes.
        WrongGradients: on one global batch the processes' gradients differ from one process's.
        RuntimeError: a process failed.
    """
    processes = processes_of(case)
    if case.device != "cpu" and torch.cuda.device_count() < processes:
        raise Unsupported(f"{processes} processes need {processes} GPUs; {torch.cuda.device_count()} found")
    dataset = dataset_for(case, workspace)
    found = _launched(case, workspace, processes)
    _check_gradients(float(found["gradient_error"]), processes)
    predictions = np.array(found["predictions"], dtype=np.int64)
    labels = dataset.test.labels[: option_count(case, "test_images")]
    return Measurement(
        case=case,
        seconds=tuple(found["seconds"]),
        items_per_step=found["global_batch"],
        weight_bytes=found["weight_bytes"],
        peaks=tuple(from_json(Peak, peak) for peak in found["peaks"]),
        quality=accuracy(predictions, labels, keep_predictions(predictions, workspace.predictions, case.id)),
        flags=found["flags"],
        figures=_figures(found, processes, weak=is_weak(case)),
        series={"epoch_seconds": tuple(found["epoch_seconds"]), **_turns(found)},
        absent=_absent(case, processes),
        notes=_notes(case, found, processes),
    )


def processes_of(case: Case) -> int:
    """Number of processes of a training."""
    return int(case.option("processes") or 1)


def is_weak(case: Case) -> bool:
    """True if each process has a whole batch of the recipe's, False if they share one."""
    return case.option("scaling") == "weak"


def global_batch(case: Case) -> int:
    """Images of one step of all processes together."""
    return recipe_of(case).batch_size * (processes_of(case) if is_weak(case) else 1)


def on_device(case: Case, rank: int) -> Case:
    """``case`` on the device of the process ``rank``."""
    return case if case.device == "cpu" else dataclasses.replace(case, device=f"cuda:{rank}")


def _launched(case: Case, workspace: Workspace, processes: int) -> Mapping[str, Any]:
    """Result of the process of rank 0, after all have ended. Each imports torch anew."""
    # Imported here: it takes a second, and reaches for CUDA where there is one.
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    with tempfile.TemporaryDirectory(prefix="halfbyte-scaling-") as folder:
        request, result = _written(case, workspace, Path(folder))
        os.environ["OMP_NUM_THREADS"] = str(case.option("threads_each") or 1)
        config = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=processes,
            run_id=case.id,
            rdzv_backend="c10d",
            rdzv_endpoint="localhost:0",
            local_addr="localhost",
            max_restarts=0,
            logs_specs=DefaultLogsSpecs(log_dir=folder),
            shutdown_timeout=1,
        )
        workspace.progress(f"scaling {case.model}: {processes} processes, {case.option('scaling')}")
        try:
            elastic_launch(config, sys.executable)("-m", PROCESS, str(request))
        except ChildFailedError as error:
            reason = Path(f"{result}.failed")
            cause = reason.read_text() if reason.exists() else f"exit status {error.get_first_failure()[1].exitcode}"
            raise RuntimeError(f"a process of the training failed ({cause})") from error
        found: dict[str, Any] = json.loads(result.read_text())
        return found


def _written(case: Case, workspace: Workspace, folder: Path) -> tuple[Path, Path]:
    """File of the request, and the path of its result."""
    request, result = folder / "request.json", folder / "result.json"
    paths = {"results": workspace.results, "data_dir": workspace.data_dir, "decoded": workspace.decoded}
    content = {
        "case": to_json(case),
        "workspace": {name: str(path) for name, path in paths.items() if path},
        "result": str(result),
        "parent": os.getpid(),
    }
    request.write_text(json.dumps(content))
    return request, result


def _check_gradients(error: float, processes: int) -> None:
    if not error <= GRADIENT_TOLERANCE:
        raise WrongGradients(
            f"gradients of {processes} processes differ from those of one by {error:.2g} of their length, "
            f"on the same global batch; {GRADIENT_TOLERANCE:g} is allowed"
        )


def _turns(found: Mapping[str, Any]) -> dict[str, tuple[float, ...]]:
    """Median seconds of a step in each turn, of all processes and of one alone."""
    named = {"turn_seconds": found["turns"], "alone_seconds": found["alone"]}
    return {name: tuple(values) for name, values in named.items() if values}


def _figures(found: Mapping[str, Any], processes: int, *, weak: bool) -> dict[str, Figure]:
    step = statistics.median(found["seconds"])
    figures = {
        "images_per_second": Figure(value=found["global_batch"] / step, unit="images/s", better="higher"),
        "training_seconds": Figure(value=sum(found["epoch_seconds"]), unit="s", better="lower"),
        "processes": exact(processes, "processes"),
        "steps": exact(found["steps"], "steps"),
        "gradient_error": Figure(value=found["gradient_error"], unit="fraction", better="lower"),
        "criterion_met": Figure(value=float(found["criterion_met"]), unit="yes=1"),
    }
    if processes > 1:
        figures["efficiency"] = fraction(efficiency(found["alone"], found["turns"], processes, weak=weak))
    return figures


def efficiency(alone: Sequence[float], together: Sequence[float], processes: int, *, weak: bool) -> float:
    """Median over turns of the speed a process, divided by that of one process alone.

    Args:
        alone: median seconds of a step of one process in each turn, of the recipe's batch.
        together: those of all processes: of the same batch in strong scaling, of one batch each in weak scaling.
    """
    ratios = [one / of_all for one, of_all in zip(alone, together, strict=True)]
    return statistics.median(ratios) / (1 if weak else processes)


def _absent(case: Case, processes: int) -> dict[str, str]:
    absent = {
        "device_seconds": "steps of several processes are timed by the wall clock of the first",
        "device_state": "the other processes of the training would count as a neighbour's",
        "serialized_bytes": "measured by the inference of such weights",
        "coverage": "nothing is quantised in training",
        "energy_joules_per_item": "not measured while training",
        **memory.absent_peaks(torch.device(case.device)),
    }
    if processes == 1:
        absent["figures.efficiency"] = "one process is what the others are compared with"
    return absent


def _notes(case: Case, found: Mapping[str, Any], processes: int) -> tuple[str, ...]:
    notes = []
    if case.device == "cpu":
        notes.append(f"threads a process: {case.option('threads_each')}")
    if processes > 1 and found["batch_norm"]:
        notes.append("batch norm takes its statistics from each process's part of the batch")
    if processes > 1 and is_weak(case):
        notes.append(f"steps of {found['global_batch']} images at the recipe's learning rate: fewer updates")
    return tuple(notes)
