"""A fresh process for each request: forked from a server that has imported torch but never touched CUDA.

Forking takes milliseconds where importing torch takes seconds, and what a case does to its process (leaked memory,
global flags, a crash in native code) ends with it. Where there is no fork server (macOS, Windows) it is spawned.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from bench.run import worker
from bench.run.resume import ROOT

PRELOAD = (
    "torch",
    "torchvision",
    "bench.run.worker",
    "bench.experiments.inference",
    "bench.experiments.training",
    "pytest",
)
"""Modules that the fork server imports. Never bitsandbytes: its import asks CUDA for its capability, which breaks CUDA
in every forked child. pytest is here because each child imports the main module of its parent."""
LANGUAGE_PRELOAD = ("bench.experiments.language.generation",)
"""Takes four seconds of every language case: the outside of transformers."""
CPU_LANGUAGE_PRELOAD = (
    "transformers.models.llama.modeling_llama",
    "bench.experiments.language.quality",
    "bitsandbytes",
)
"""Takes two seconds more of them. Only for CPU runs: torchao and bitsandbytes ask CUDA what it can do."""
CPU_PRELOAD = ("torch._inductor.compile_fx",)
"""Takes two seconds of every compiled case. Only for CPU runs: it has not been shown to leave CUDA untouched."""

ENVIRONMENT = {
    # glibc gives blocks above 32 MB back to the system at each free, and the next call of an eager network faults all
    # their pages in again: up to a quarter of its time. Kept for all routes, so that no speed-up is the allocator's.
    "MALLOC_MMAP_THRESHOLD_": str(2**32),
    "MALLOC_TRIM_THRESHOLD_": str(2**34),
    # torch.cuda.is_available() through NVML, so that asking in the server does not initialise CUDA there.
    "PYTORCH_NVML_BASED_CUDA_CHECK": "1",
    # The server is started with Python's -c, whose search path begins with the current folder and not with ours.
    "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")])),
}
CPU_ENVIRONMENT = {
    # The first compilation starts a pool of processes that import torch, for Triton alone: on a CPU they only disturb.
    "TORCH_WARM_POOL": "0",
}
PAUSES = (0.0, 0.1, 1.0)
"""Seconds before each try to start a worker. The fork server may be killed meanwhile: a new one imports for seconds,
and on a busy machine the old one takes a moment to be gone."""
LOG_LINES = 3


@dataclass(frozen=True, kw_only=True)
class Worker:
    """A process at work on a request, and the pipe to it."""

    process: Any
    pipe: Connection
    log: Path
    kills_before: int
    """Processes that the kernel had killed for want of memory before this one began."""
    progress: Callable[[str], None]

    def send(self, message: Any) -> None:
        """Send a message to it. One that has ended shows when its next message is awaited."""
        with suppress(OSError):
            self.pipe.send(message)

    def receive(self, time_limit: float) -> tuple[str, dict[str, Any]]:
        """Its next message that is no progress: ``reply`` is its last one, and so is every failure."""
        deadline = time.monotonic() + time_limit
        while self.pipe.poll(max(0.0, deadline - time.monotonic())):
            try:
                kind, content = self.pipe.recv()
            except (EOFError, OSError):
                return "reply", self._explained(_failure("crashed", "the worker ended without an answer"))
            if kind != "progress":
                return kind, dict(content)
            self.progress(content)
        late = f"no answer within the time limit of {time_limit:g} s (see --case-timeout)"
        return "reply", self._explained(_failure("timed_out", late))

    def end(self) -> None:
        """End it, with every process that it started."""
        end_group(self.process)
        self.pipe.close()

    def _explained(self, reply: dict[str, Any]) -> dict[str, Any]:
        return _explained(reply, self.process, self.log, _kernel_kills() - self.kills_before)


class ProcessRunner:
    """Runs requests, each in a process of its own."""

    def __init__(self, method: str | None = None, device: str = "cpu", *, language: bool = False) -> None:
        self.method = method or default_method()
        self._context: Any = multiprocessing.get_context(self.method)
        self._settings = ENVIRONMENT | (CPU_ENVIRONMENT if device == "cpu" else {})
        self._workers: list[Any] = []
        self.preload: tuple[str, ...] = ()
        if self.method == "forkserver":
            self.preload = _preload(on_cpu=device == "cpu", language=language)
            self._context.set_forkserver_preload(list(self.preload))

    def start(self) -> None:
        """Start the fork server now, so that it imports while pytest collects. This fixes its environment."""
        atexit.unregister(self.stop)
        atexit.register(self.stop)  # before multiprocessing's own, which would wait for each worker
        if self.method == "forkserver":
            from multiprocessing.forkserver import ensure_running

            with _environment(self._settings):
                ensure_running()

    def stop(self) -> None:
        """End the workers that are left. A second Ctrl-C interrupts what would have ended them after the first."""
        for process in self._workers:
            end_group(process)
        self._workers.clear()

    def perform(self, request: dict[str, Any], progress: Callable[[str], None]) -> dict[str, Any]:
        """Like ``worker.perform``, in a fresh process: a crash, a hang and a kill become failures too."""
        try:
            at_work = self.open(request, progress)
        except (OSError, EOFError) as error:
            return _failure("crashed", f"no worker could be started ({type(error).__name__}: {error})")
        try:
            return at_work.receive(request["time_limit"])[1]
        finally:
            at_work.end()

    def open(self, request: dict[str, Any], progress: Callable[[str], None]) -> Worker:
        """A fresh process that has begun with ``request``, to be ended by the caller.

        Raises:
            OSError, EOFError: none could be started.
        """
        kills_before = _kernel_kills()
        problem: Exception = OSError("not tried")
        for pause in PAUSES:
            time.sleep(pause)
            try:
                process, here = self._started(request)
                log = Path(request["log"])
                return Worker(process=process, pipe=here, log=log, kills_before=kills_before, progress=progress)
            except (OSError, EOFError) as error:
                problem = error
        raise problem

    def _started(self, request: dict[str, Any]) -> tuple[Any, Connection]:
        """A worker at its request, and our end of the pipe to it.

        Raises:
            OSError, EOFError: there is no fork server, or it ended meanwhile.
        """
        here, there = self._context.Pipe()
        process = self._context.Process(target=worker.main, args=(there, request), name="halfbyte-worker")
        self._workers = [*(one for one in self._workers if one.is_alive()), process]
        try:
            with _environment(self._settings):
                self.start()  # again if the server was killed
                process.start()
        except BaseException:
            end_group(process)
            here.close()
            raise
        finally:
            there.close()
        return process, here


def _preload(*, on_cpu: bool, language: bool) -> tuple[str, ...]:
    return (
        *PRELOAD,
        *(LANGUAGE_PRELOAD if language else ()),
        *(CPU_PRELOAD if on_cpu else ()),
        *(CPU_LANGUAGE_PRELOAD if on_cpu and language else ()),
    )


def default_method() -> str:
    """``forkserver`` on Linux; macOS and Windows cannot fork safely once their frameworks are loaded."""
    return "forkserver" if sys.platform.startswith("linux") else "spawn"


def end_group(process: Any) -> None:
    """End the worker and every process that it started, whether or not it is still there."""
    if process.pid is None:  # it never started
        return
    if hasattr(os, "killpg"):
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    if process.is_alive():
        process.kill()
    process.join(timeout=10)


def _explained(reply: dict[str, Any], process: Any, log: Path, kernel_kills: int) -> dict[str, Any]:
    """``reply``, with what the exit code, the kernel and the log tell of a crash."""
    kind = reply.get("failure", {}).get("kind")
    if kind == "timed_out":
        # faulthandler answers SIGABRT with the Python stack of every thread: where it hung is then in the log.
        with suppress(OSError):
            os.kill(process.pid, signal.SIGABRT)
        process.join(timeout=2)
        return _failure("timed_out", f"{reply['failure']['message']}; where it hung: logs/{log.name}")
    if kind != "crashed":
        return reply
    process.join(timeout=10)
    code = process.exitcode
    if code == -signal.SIGKILL and kernel_kills > 0:
        return _failure("out_of_memory", "the kernel killed the worker: the machine ran out of memory")
    how = f"killed by {signal.Signals(-code).name}" if code is not None and code < 0 else f"exit status {code}"
    return _failure("crashed", f"{reply['failure']['message']} ({how}){_last_lines(log)}")


def _last_lines(log: Path) -> str:
    with suppress(OSError):
        lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
        if lines:
            return f"; last in its log: {' | '.join(lines[-LOG_LINES:])[:400]}"
    return ""


def _failure(kind: str, message: str) -> dict[str, Any]:
    return {"failure": {"kind": kind, "message": message}}


def _kernel_kills() -> int:
    """Number of processes that the kernel has killed for want of memory; 0 where it does not say."""
    with suppress(OSError, ValueError):
        for line in Path("/proc/vmstat").read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return 0


@contextmanager
def _environment(settings: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
