"""Exported files: put in their place whole, then run in a process that cannot see this suite."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

CHECK_SECONDS = 600


@dataclass(frozen=True, kw_only=True)
class Exported:
    """Files of a route, and whether their outputs are the route's own."""

    folder: Path
    reproduced: bool
    summary: str


def moved_into(out: Path, files: Path) -> None:
    """Make ``files`` the folder ``out``, which is missing or empty.

    Raises:
        OSError: it cannot be written.
    """
    if out.is_dir():
        out.rmdir()
    files.rename(out)


def checked(folder: Path) -> Exported:
    """Result of running ``load.py``, without this suite on Python's path."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, "load.py"]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=CHECK_SECONDS, check=False
    )
    last = (done.stdout + done.stderr).strip().splitlines()[-1:]
    said = last[0] if last else f"exit status {done.returncode}"
    return Exported(folder=folder, reproduced=done.returncode == 0, summary=f"{folder}: {said}")
