"""Training on several processes: arithmetic, result on two, and what is left when the first is killed."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.core.records import Measurement, from_json
from bench.experiments import scaling
from bench.experiments.scaling_process import Team
from tests.processes import alive, wait_for
from tests.runs import ROOT, run

CHILD = """
import os, sys, time
from bench.experiments.scaling_process import end_with
end_with(os.getppid())
print(os.getpid(), flush=True)
time.sleep(600)
"""
PARENT = """
import subprocess, sys, time
subprocess.Popen([sys.executable, "-c", sys.argv[1]], start_new_session=True)
time.sleep(600)
"""


def test_efficiency_is_work_a_process_by_that_of_one_alone() -> None:
    assert scaling.efficiency([1.0, 1.0, 9.0], [0.5, 0.8, 9.0], 2, weak=False) == pytest.approx(0.625)
    assert scaling.efficiency([1.0], [1.25], 2, weak=True) == pytest.approx(0.8)


def test_gradients_that_differ_are_no_result() -> None:
    scaling._check_gradients(1e-6, 2)
    for error in (0.5, math.nan):
        with pytest.raises(scaling.WrongGradients, match="differ from those of one"):
            scaling._check_gradients(error, 2)


def test_parts_are_the_global_batch() -> None:
    images, labels = torch.arange(7.0).view(7, 1, 1, 1), torch.arange(7)
    teams = [Team(rank=rank, processes=2, device=torch.device("cpu")) for rank in range(2)]
    parts = [team.part(images, labels) for team in teams]
    assert sorted(torch.cat([part[1] for part in parts]).tolist()) == [0, 1, 2, 3, 4, 5]
    assert [part[0].flatten().tolist() for part in parts] == [part[1].tolist() for part in parts]


@pytest.mark.slow
def test_two_processes_learn_as_one(command: Any, tmp_path: Path) -> None:
    done = run([*command("--train-images", "4000", "--threads", "2", cases="bench/test_scaling.py"), "-k", "strong"])
    assert done.returncode == 0, done.stdout
    rows = json.loads((tmp_path / "results" / "run.json").read_text())["benchmarks"]
    one, two = (from_json(Measurement, row["extra_info"]) for row in rows)
    assert [found.figures["processes"].value for found in (one, two)] == [1, 2]
    assert one.items_per_step == two.items_per_step
    assert one.figures["steps"] == two.figures["steps"]
    assert two.figures["gradient_error"].value <= scaling.GRADIENT_TOLERANCE
    assert two.figures["efficiency"].value > 0
    assert len(two.series["alone_seconds"]) == len(two.series["turn_seconds"])
    assert one.quality is not None
    assert two.quality is not None
    assert one.quality.value > 0.3
    error = 3 * math.hypot(one.quality.standard_error, two.quality.standard_error)
    assert two.quality.value == pytest.approx(one.quality.value, abs=error)


@pytest.mark.slow
def test_a_process_ends_with_the_one_that_started_it() -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT, CHILD], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    assert os.getsid(child) != os.getsid(parent.pid)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    wait_for(lambda: not alive(child), 10)
    parent.stdout.close()
