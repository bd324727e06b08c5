"""Workers end with their parent, however it ends."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from bench.run.resume import ROOT
from tests.processes import alive

LEAVES_A_WORKER = """
import sys
from bench.run.process import ProcessRunner

if __name__ == "__main__":
    runner = ProcessRunner()
    left = runner.open({"log": sys.argv[1], "time_limit": 600.0}, print)
    print(left.process.pid)
"""


def test_a_worker_that_nobody_ended_does_not_keep_its_parent(tmp_path: Path) -> None:
    """As after a second Ctrl-C, which interrupts the clean-up of the first."""
    script, log = tmp_path / "leaves.py", tmp_path / "log"
    script.write_text(LEAVES_A_WORKER)
    os.mkfifo(log)  # the worker waits for its reader
    command = [sys.executable, str(script), str(log)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True, timeout=60)
    assert not alive(int(done.stdout))
