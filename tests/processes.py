"""Processes of tests: what /proc says of those of a run (Linux only), and an export in one of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path


def children(pid: int) -> list[int]:
    """Processes that ``pid`` has started, by what /proc says now; none where it is gone."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def descendants(pid: int) -> list[int]:
    """Children of ``pid`` and theirs."""
    own = children(pid)
    return own + [grandchild for child in own for grandchild in descendants(child)]


def alive(pid: int) -> bool:
    """Whether ``pid`` is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def fork_server(pid: int) -> int | None:
    """The fork server of the pytest process ``pid``."""
    for child in children(pid):
        try:
            if b"forkserver import main" in Path(f"/proc/{child}/cmdline").read_bytes():
                return child
        except (FileNotFoundError, ProcessLookupError):
            continue
    return None


def marked(mark: str) -> list[int]:
    """Processes whose environment holds ``mark``, wherever they stand in the tree."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (folder / "environ").read_bytes() and alive(int(folder.name)):
                found.append(int(folder.name))
        except (OSError, ProcessLookupError):
            continue
    return [pid for pid in found if pid != os.getpid()]


def wait_for(condition: Callable[[], object], seconds: float = 120) -> None:
    """Look again and again until ``condition`` holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.1)


def export_in_a_process(*arguments: str | Path) -> None:
    """Run ``python -m bench.export`` as users do: ONNX Runtime was seen to crash in the process of all other tests."""
    root = Path(__file__).parents[1]
    command = [sys.executable, "-m", "bench.export", *map(str, arguments)]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
