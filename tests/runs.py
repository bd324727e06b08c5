"""Whole pytest runs of benchmark cases, as a user starts them, on one small network."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
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


def run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)


@contextmanager
def small_disk_at(place: Path, size: str) -> Iterator[Path]:
    """A file system of ``size`` (``400k``, ``30m``) at ``place``; skips the test where none can be mounted."""
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {mounted.stderr.decode().strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def refused(command: list[str]) -> str:
    """The one line with which ``command`` is refused."""
    done = run(command)
    output = done.stdout + done.stderr
    assert done.returncode == USAGE_ERROR, output
    errors = [line for line in output.splitlines() if line.startswith("ERROR: ")]
    assert len(errors) == 1, output
    assert "Traceback" not in output
    return errors[0]
