"""Signals after OpenVINO: its plugins leave a stack for them that is no longer there."""

from __future__ import annotations

import subprocess
import sys

import pytest

TWO_CORES = """
import signal
from bench.runtimes.openvino_core import leave_signal_stack, openvino

first, second = openvino.Core(), openvino.Core()
for core in (first, second):
    core.get_property("CPU", "FULL_DEVICE_NAME")  # loads the plugin
core = None
del first
del second
{after}
signal.signal(signal.SIGUSR1, lambda *_: print("handled"))
signal.raise_signal(signal.SIGUSR1)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the CPU plugin sets the signal stack on Linux alone")
def test_a_signal_is_handled_after_two_plugins_were_loaded_at_once() -> None:
    code = TWO_CORES.format(after="leave_signal_stack()")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "handled\n")
